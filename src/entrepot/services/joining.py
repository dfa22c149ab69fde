"""Numbered parts become one object: chosen, joined with as little copying as can be, verified, named in one commit.

Parts of one size lie at their place already, and nothing is copied. Parts that refer to all of one blob in order are
that blob: nothing is read either.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from entrepot.catalog import blobs, objects, parts, uploads, versions
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.parts import REFERS, Part
from entrepot.catalog.uploads import Piece, Upload
from entrepot.errors import BadRequest, EntrepotError, NotFound, Unavailable
from entrepot.model import (
    WHOLE,
    Action,
    Algorithm,
    Blob,
    Claims,
    Clock,
    Condition,
    Digest,
    Facts,
    Instant,
    ObjectName,
    Principal,
    StoredObject,
)
from entrepot.services.objects import Objects
from entrepot.services.places import allowed, can_read
from entrepot.services.staging import Area, StagingAreas
from entrepot.services.uploads import DONE_SECONDS, LIFE_SECONDS
from entrepot.storage.assembly import Assembly
from entrepot.storage.blobs import BlobStore, Received
from entrepot.storage.driver import Staging

MAX_BYTES: Final = 5 << 40
COPY_BYTES: Final = 8 << 20
WAIT_SECONDS: Final = 60.0
NO_UPLOAD: Final = (
    "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
    "completed."
)


class NoUpload(NotFound):
    """There is no such upload: it was completed, aborted, or never was."""


class BadParts(BadRequest):
    """The list of parts is not one that can be joined; `code` says why in S3's words."""

    def __init__(self, s3_code: str, what: str) -> None:
        super().__init__(what)
        self.s3_code = s3_code


@dataclass(frozen=True, slots=True)
class Joined:
    """What the parts are together: the ETag, and of the whole its checksum, in the upload's own algorithm."""

    etag: str
    size: int
    extra: dict[str, Any]
    sums: dict[Algorithm, str]


Join = Callable[[Sequence[Part]], tuple[list[Part], Joined]]
"""Chooses among the parts that are here, in order, and says what they are together; or refuses."""


def known_upload(tx: Transaction, principal: Principal, name: ObjectName, upload_id: str, *states: str) -> Upload:
    """The upload to that name, in one of those states. Raises: NoUpload; NoBucket; Denied."""
    bucket, _ = allowed(tx, principal, Action.CREATE, name)
    found = uploads.find(tx, upload_id)
    fits = found and found.facts.get("numbered") and (found.bucket_id, found.name) == (bucket.id, name.key)
    if found is None or not fits or found.state not in states:
        raise NoUpload(NO_UPLOAD)
    return found


def known_bytes(
    tx: Transaction,
    principal: Principal,
    sha256: str,
    claims: Claims,
    want: frozenset[Algorithm],
    algorithm: Algorithm,
    now: Instant,
) -> tuple[Digest, Part] | None:
    """Bytes the caller may read, a whole blob or a part of an object, of which every claim is known to hold."""
    whole = blobs.find(tx, Digest(sha256))
    if whole and whole.size == claims.size and can_read(tx, principal, whole.digest, now):
        sums = {Algorithm.SHA256: sha256, **whole.checksums}
        if _holds(sums, claims, want):
            return whole.digest, _reference(whole.digest, 0, whole.size, sums, algorithm, now)
    for digest, start, size, md5, checksum, kind in versions.parts_with(tx, sha256):
        sums = {Algorithm.SHA256: sha256, Algorithm.MD5: md5}
        if checksum and kind:
            sums[Algorithm(kind)] = checksum
        here = size == claims.size and _holds(sums, claims, want)
        if here and blobs.find(tx, Digest(digest)) and can_read(tx, principal, Digest(digest), now):
            return Digest(digest), _reference(Digest(digest), start, size, sums, algorithm, now)
    return None


def _holds(sums: dict[Algorithm, str], claims: Claims, want: frozenset[Algorithm]) -> bool:
    return want <= sums.keys() and all(sums.get(one) == value for one, value in claims.checksums.items())


def _reference(
    digest: Digest, start: int, size: int, sums: dict[Algorithm, str], algorithm: Algorithm, now: Instant
) -> Part:
    return Part(
        0, f"{REFERS}{digest.hex}", start, size, sums[Algorithm.MD5], sums[Algorithm.SHA256], sums[algorithm], now
    )


@dataclass(frozen=True, slots=True)
class Joining:
    """Completes uploads."""

    objects: Objects
    blobs: BlobStore
    catalog: Catalog
    now: Clock
    areas: StagingAreas

    async def complete(
        self, principal: Principal, name: ObjectName, upload_id: str, join: Join, condition: Condition, etag: str
    ) -> tuple[StoredObject, Blob]:
        """The object the parts became. `etag` is the one they give: the same list again gets the same answer.

        Raises: NoUpload; BadParts and what `join` raises; PreconditionFailed; Denied; QuotaExceeded; Unavailable.
        """
        waited = 0.0
        while True:
            upload = await self.catalog.read(
                lambda tx: known_upload(tx, principal, name, upload_id, "open", "completing", "done")
            )
            if upload.state == "done":
                return await self._done(principal, name, upload, etag)
            if upload.state == "open" and await self.catalog.write(lambda tx: uploads.claim(tx, upload_id)):
                break
            if waited > WAIT_SECONDS:
                raise Unavailable("the upload is just being completed")
            await asyncio.sleep(0.05)
            waited += 0.05
        try:
            return await self._complete(principal, name, upload, join, condition)
        except BaseException:
            await self.catalog.write(lambda tx: uploads.reopen(tx, upload_id))
            raise

    async def _done(
        self, principal: Principal, name: ObjectName, upload: Upload, etag: str
    ) -> tuple[StoredObject, Blob]:
        def look_up(tx: Transaction) -> tuple[StoredObject, Blob] | None:
            bucket, _ = allowed(tx, principal, Action.CREATE, name)
            found = objects.find_with_blob(tx, bucket, name.key)
            if found is None or found[1] is None or found[0].version != upload.result or found[0].etag != etag:
                return None
            return found[0], found[1]

        found = await self.catalog.read(look_up)
        if found is None:
            raise NoUpload(NO_UPLOAD)
        return found

    async def _complete(
        self, principal: Principal, name: ObjectName, upload: Upload, join: Join, condition: Condition
    ) -> tuple[StoredObject, Blob]:
        known = await self.catalog.read(lambda tx: parts.of(tx, upload.id))
        chosen, joined = join(known)
        await self.catalog.read(lambda tx: self.objects.may_put(tx, principal, name, condition))
        whole = _is_one_blob(chosen)
        here = await self.catalog.read(lambda tx: blobs.find(tx, whole)) if whole else None
        is_here = here is not None and here.size == joined.size
        received = Received(here) if here and is_here else await self._received(upload, chosen, joined)
        blob = replace(received.blob, checksums={**received.blob.checksums, **joined.sums})

        def bind(tx: Transaction) -> tuple[StoredObject, str]:
            bucket, checked = self.objects.may_put(tx, principal, name, condition)
            key = blobs.keep(tx, blob, received.edges, self.now())
            facts = Facts(upload.facts["type"], upload.facts["labels"], None, {**_carried(upload), **joined.extra})
            held = uploads.known(tx, upload.id).reserved
            stored = self.objects.point(tx, principal, bucket, name.key, blob, facts, checked, held, etag=joined.etag)
            for part, start in _layout(chosen):
                versions.add_part(tx, stored.version, blob.digest, upload.facts["want"], start, part)
            parts.drop(tx, upload.id)
            blobs.end_lease(tx, f"upload:{upload.id}")
            uploads.finish(tx, upload.id, stored.version, self.now() + DONE_SECONDS)
            return stored, key

        try:
            stored, key = await self.catalog.write(bind)
        except EntrepotError:
            if not is_here:
                await self._take_back(upload, received)
            raise
        finally:
            self.areas.let_go(upload.id)
        if not is_here and key != received.blob.key:
            await self.blobs.unlink_loser(received)
        own = [part.area for part in known if part.area and not part.area.startswith(REFERS)]
        for area_id in [upload.id, *own]:
            await self.blobs.run(self.blobs.driver.discard, area_id)
        return stored, blob

    async def _received(self, upload: Upload, chosen: list[Part], joined: Joined) -> Received:
        """The parts as one blob of our own."""
        async with self.areas.of(upload.id, completing=True) as area, self.areas.turn(upload.id, area):
            await area.close()  # and stays in sight until its row is done, so that no late part opens the file again
            try:
                return await self._assemble(area, upload, chosen, joined)
            except BaseException:
                self.areas.let_go(upload.id)
                raise
            finally:
                area.assembly.staging.close()

    async def _assemble(self, area: Area, upload: Upload, chosen: list[Part], joined: Joined) -> Received:
        """All chosen parts one behind the other, verified and kept."""
        layout = list(_layout(chosen))
        driver = self.blobs.driver
        referred = {part.area for part in chosen if part.area.startswith(REFERS)}
        sources = {one: await self._blob_of(one) for one in referred}
        if all(part.area or part.start == start for part, start in layout):
            assembly = area.assembly
            await self._keep_only(area, upload, chosen)
            moved = [(part, start) for part, start in layout if part.area]
        else:
            assembly = Assembly(await self.blobs.run(driver.stage, f"{upload.id}.whole", joined.size))
            moved = layout
        try:
            for part, start in moved:
                await self._move(area, part, sources.get(part.area), assembly.staging, start)
                await self.blobs.run_hash(assembly.land, start, start + part.size)
            while await self.blobs.run_hash(assembly.follow):
                pass
            claims = Claims(joined.size, {Algorithm.SHA256: assembly.finish(joined.size)})
            received = await self.blobs.run(self.blobs.assemble, assembly, joined.size, claims)
        except BaseException:
            if assembly is not area.assembly:
                await self.blobs.run(assembly.staging.discard)
            raise
        return received

    async def _keep_only(self, area: Area, upload: Upload, chosen: list[Part]) -> None:
        """Of the upload's own area only these parts count from now on; others may be written over."""
        ranges = [(part.start, part.start + part.size) for part in chosen if not part.area and part.size]
        numbers = {part.number for part in chosen}

        def keep(tx: Transaction) -> list[Piece]:
            kept = [piece for piece in uploads.pieces(tx, upload.id) if (piece.start, piece.stop) in ranges]
            uploads.drop_pieces(tx, upload.id, 0, MAX_BYTES)
            for piece in kept:
                uploads.add_piece(tx, upload.id, piece)
            for part in parts.of(tx, upload.id):
                if part.number not in numbers:
                    parts.drop_one(tx, upload.id, part.number)
            uploads.progress(tx, upload.id, 0, None, self.now() + LIFE_SECONDS)
            return kept

        whole = sum(part.size for part in chosen)
        if area.assembly.holds_only(ranges) and area.assembly.front <= whole and not any(part.area for part in chosen):
            return
        left = await self.catalog.write(keep)
        area.assembly.start_again((piece.start, piece.stop) for piece in left)

    async def _move(self, area: Area, part: Part, source: Blob | None, target: Staging, start: int) -> None:
        """Copy a part from where it lies to its place."""
        read, close = await self.blobs.run(self._reader, area, part, source)
        running = hashlib.sha256()
        try:
            for offset in range(0, part.size, COPY_BYTES):
                length = min(COPY_BYTES, part.size - offset)
                await self.blobs.run_hash(_copy, running, read, part.start + offset, target, start + offset, length)
        finally:
            close()
        if running.hexdigest() != part.sha256:
            raise BadParts("InvalidPart", f"the stored bytes of part {part.number} are damaged; send it again")

    async def _blob_of(self, area: str) -> Blob:
        """The blob a part refers to; a lease keeps it. Raises: NotFound if its bytes were found wrong."""
        found = await self.catalog.read(lambda tx: blobs.find(tx, Digest(area.removeprefix(REFERS))))
        if found is None:
            raise NotFound("the bytes a part refers to are damaged", advice="send that part again")
        return found

    def _reader(
        self, area: Area, part: Part, blob: Blob | None
    ) -> tuple[Callable[[int, int], bytes], Callable[[], object]]:
        """What reads the bytes that part lies among, and what lets go of them. Blocks."""
        if not part.area:
            return area.assembly.staging.read, lambda: None
        if blob is None:
            staging = self.blobs.driver.reopen(part.area)
            return staging.read, staging.close
        if blob.inline is not None:
            inline = blob.inline
            return (lambda offset, length: inline[offset : offset + length]), lambda: None
        opened = self.blobs.driver.open(blob.key, WHOLE)
        return (
            lambda offset, length: os.pread(opened.descriptor, length, offset),
            lambda: os.close(opened.descriptor),
        )

    async def _take_back(self, upload: Upload, received: Received) -> None:
        """The whole got no name: its parts are there again."""
        driver = self.blobs.driver
        if upload.id in await self.blobs.run(lambda: set(driver.staged())):
            await self.blobs.unlink_loser(received)
        else:
            await self.blobs.run(driver.restage, received.blob.key, upload.id)


def _is_one_blob(chosen: Sequence[Part]) -> Digest | None:
    """The blob that the parts refer to, one behind the other from its beginning; None if they do not."""
    area = chosen[0].area
    in_order = all(part.area == area and part.start == start for part, start in _layout(chosen))
    return Digest(area.removeprefix(REFERS)) if area.startswith(REFERS) and in_order else None


def _layout(chosen: Sequence[Part]) -> list[tuple[Part, int]]:
    """Each part with where it begins in the whole."""
    found, start = [], 0
    for part in chosen:
        found.append((part, start))
        start += part.size
    return found


def _carried(upload: Upload) -> dict[str, Any]:
    """What the object gets of what its upload was begun with."""
    return {name: value for name, value in upload.facts["extra"].items() if name != "asked"}


def _copy(
    running: "hashlib._Hash", read: Callable[[int, int], bytes], at: int, target: Staging, offset: int, length: int
) -> None:
    piece = read(at, length)
    if len(piece) != length:
        raise BadRequest("bytes of a part are missing")
    running.update(piece)
    target.write(offset, [piece])
