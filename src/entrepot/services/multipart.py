"""Uploads in numbered parts that become one object: no copy at the end if the parts are of one size.

Parts as long as the first lie at their place in the upload's staging area, and a hash follows behind. A part that came
too early, has another length, or is sent again gets an area to itself, and is moved at the end. Nothing that was
acknowledged is ever written over before the upload is being completed.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from entrepot.catalog import blobs, listing, objects, parts, uploads, versions
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.ids import text_id
from entrepot.catalog.parts import Part
from entrepot.catalog.uploads import Piece, Upload
from entrepot.errors import (
    BadRequest,
    Conflict,
    EntrepotError,
    NotFound,
    Unavailable,
)
from entrepot.model import (
    Action,
    Algorithm,
    Blob,
    Body,
    Claims,
    Clock,
    Condition,
    Facts,
    ObjectName,
    Principal,
    Span,
    StoredObject,
    VersionId,
)
from entrepot.model import Piece as Bytes
from entrepot.names import object_key
from entrepot.services.objects import MAX_AREA_KEY_BYTES, MAX_KEY_BYTES, STEP, Objects
from entrepot.services.places import allowed
from entrepot.services.staging import Area, StagingAreas
from entrepot.services.uploads import DONE_SECONDS, LIFE_SECONDS
from entrepot.storage.assembly import Assembly
from entrepot.storage.blobs import BlobStore, Received, check_claims, check_size
from entrepot.storage.driver import Staging
from entrepot.storage.hashing import Checksums

MAX_PART_BYTES: Final = 5 << 30
MAX_BYTES: Final = 5 << 40
LEAST_PART_BYTES: Final = 5 << 20
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


@dataclass(frozen=True, slots=True)
class Multipart:
    """Numbered parts into objects."""

    objects: Objects
    blobs: BlobStore
    catalog: Catalog
    now: Clock
    areas: StagingAreas
    _slots: dict[str, set[int]] = field(default_factory=dict)
    """Numbers whose place in the upload's own area somebody has taken, by upload."""

    async def begin(self, principal: Principal, name: ObjectName, facts: Facts, want: Algorithm) -> str:
        """The id of a new upload. Raises: NoBucket; Denied; BadName; QuotaExceeded."""
        upload_id = text_id()

        def begin(tx: Transaction) -> None:
            bucket, _ = allowed(tx, principal, Action.CREATE, name)
            object_key(name.key, MAX_AREA_KEY_BYTES if bucket.areas else MAX_KEY_BYTES)
            now = self.now()
            carried = {
                "numbered": True, "type": facts.content_type, "labels": dict(facts.metadata),
                "extra": dict(facts.extra), "want": want.value, "principal": principal.name,
            }  # fmt: skip
            uploads.begin(
                tx, upload_id, bucket.project_id, principal.id, now, now + LIFE_SECONDS, bucket_id=bucket.id,
                name=name.key, size=None, reserve=0, facts=carried,
            )  # fmt: skip

        await self.catalog.write(begin)
        return upload_id

    async def find(self, principal: Principal, name: ObjectName, upload_id: str) -> Upload:
        """The open upload. Raises: NoUpload; NoBucket; Denied."""
        return await self.catalog.read(lambda tx: self._known(tx, principal, name, upload_id, "open"))

    def _known(self, tx: Transaction, principal: Principal, name: ObjectName, upload_id: str, *states: str) -> Upload:
        bucket, _ = allowed(tx, principal, Action.CREATE, name)
        found = uploads.find(tx, upload_id)
        fits = found and found.facts.get("numbered") and (found.bucket_id, found.name) == (bucket.id, name.key)
        if found is None or not fits or found.state not in states:
            raise NoUpload(NO_UPLOAD)
        return found

    async def known(self, principal: Principal, name: ObjectName, upload_id: str) -> Upload:
        """The upload, open or not. Raises: NoUpload; NoBucket; Denied."""
        states = ("open", "completing", "done")
        return await self.catalog.read(lambda tx: self._known(tx, principal, name, upload_id, *states))

    async def put(
        self, principal: Principal, name: ObjectName, upload_id: str, number: int, body: Body, claims: Claims,
        want: frozenset[Algorithm],
    ) -> Part:  # fmt: skip
        """The part, safe on disk; one of the same number counts no more.

        Raises: NoUpload; Denied; DigestMismatch; BodyCut; QuotaExceeded; DiskFull; Busy. Nothing is kept then.
        """
        upload = await self.find(principal, name, upload_id)
        algorithm = Algorithm(upload.facts["want"])
        want = want | {Algorithm.MD5, algorithm}
        reserved = await self._reserve(upload, claims.size or STEP)
        kept = False
        try:
            async with self.areas.of(upload_id) as area:
                slot = await self._slot(upload, number, claims.size)
                try:
                    received = await self._receive(area, upload, number, slot, body, claims, want, algorithm)
                    kept = True
                    return received
                finally:
                    if slot is not None and not kept:
                        self._slots[upload_id].discard(number)
        finally:
            if not kept:
                await self.catalog.write(lambda tx: _grow(tx, upload_id, -reserved))

    async def _reserve(self, upload: Upload, size: int) -> int:
        self.blobs.check_room(size)
        await self.catalog.write(lambda tx: _grow(tx, upload.id, size))
        return size

    async def _slot(self, upload: Upload, number: int, size: int | None) -> int | None:
        """Where in the upload's own area the part may lie; None if it needs an area to itself."""
        if number == 1 and size and upload.part_size is None:
            await self.catalog.write(lambda tx: parts.set_size(tx, upload.id, size))
        fresh, known = await self.catalog.read(lambda tx: (uploads.known(tx, upload.id), parts.of(tx, upload.id)))
        length = fresh.part_size
        taken = self._slots.setdefault(upload.id, set())
        taken |= {part.number for part in known if not part.area}
        if not length or not size or size > length or number in taken or number * length > MAX_BYTES:
            return None
        taken.add(number)
        return (number - 1) * length

    async def _receive(
        self, area: Area, upload: Upload, number: int, slot: int | None, body: Body, claims: Claims,
        want: frozenset[Algorithm], algorithm: Algorithm,
    ) -> Part:  # fmt: skip
        """The part, received into its place or an area of its own, and acknowledged."""
        own = "" if slot is not None else f"{upload.id}.{number}.{text_id()[:8]}"
        staging = area.assembly.staging if not own else await self.blobs.run(self.blobs.driver.stage, own, claims.size)
        start = slot or 0
        try:
            async with self.blobs.uploading:
                size, sums = await self._fill(upload, staging, start, body, claims, want)
            await self.blobs.run(staging.sync)
            part = Part(
                number, own, start, size, sums[Algorithm.MD5], sums[Algorithm.SHA256], sums[algorithm], self.now()
            )
            old = await self._acknowledge(area, upload, part)
        except BaseException:
            if own:
                await asyncio.shield(self.blobs.run(staging.discard))
            raise
        if own:
            staging.close()
        if old and old.area:
            await self.blobs.run(self.blobs.driver.discard, old.area)
        return part

    async def _fill(
        self, upload: Upload, staging: Staging, start: int, body: Body, claims: Claims, want: frozenset[Algorithm]
    ) -> tuple[int, dict[Algorithm, str]]:
        """Length and checksums of what was written from `start` on."""
        sums, size = Checksums(want | claims.checksums.keys()), 0
        most = MAX_PART_BYTES if claims.size is None else claims.size
        async for pieces in body:
            length = sum(map(len, pieces))
            if size + length > most:
                raise BadParts("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
            if claims.size is None and (size + length) // STEP > size // STEP:
                await self._reserve(upload, STEP)
            size += await self.blobs.run_hash(_take, staging, sums, start + size, pieces)
        check_size(size, claims)
        found = dict(sums.result())
        check_claims(found, claims)
        return size, found

    async def _acknowledge(self, area: Area, upload: Upload, part: Part) -> Part | None:
        """Write its row; the part of that number that was there before."""

        def remember(tx: Transaction) -> Part | None:
            now = uploads.find(tx, upload.id)
            if now is None or now.state != "open":
                raise NoUpload(NO_UPLOAD)
            old = next((one for one in parts.of(tx, upload.id) if one.number == part.number), None)
            parts.add(tx, upload.id, part)
            if not part.area and part.size:
                uploads.add_piece(tx, upload.id, Piece(part.start, part.start + part.size, part.sha256))
            uploads.progress(tx, upload.id, front, state, self.now() + LIFE_SECONDS)
            return old

        async with self.areas.turn(upload.id, area):
            area.stale = True
            front, state = await self.blobs.run_hash(
                area.assembly.land, part.start, part.start + (0 if part.area else part.size)
            )
            old = await self.catalog.write(remember)
            area.stale = False
            return old

    async def copy_part(
        self, principal: Principal, name: ObjectName, upload_id: str, number: int, source: ObjectName,
        version: VersionId | None, choose: Callable[[StoredObject], Span],
    ) -> tuple[StoredObject, Part]:  # fmt: skip
        """A part with bytes of another object. `choose` says which, or refuses. Raises: as `put`; NotFound."""
        await self.find(principal, name, upload_id)
        old, blob = await self.objects.find(principal, source, version)
        span = choose(old).within(blob.size)
        opened = await self.objects.open_blob(blob, span)
        try:
            body = self._bytes_of(opened.delivery, span)
            claims = Claims(span.length)
            return old, await self.put(principal, name, upload_id, number, body, claims, frozenset())
        finally:
            opened.close()

    async def _bytes_of(self, delivery: Any, span: Span) -> Any:
        if isinstance(delivery, bytes):
            yield [delivery]
            return
        offset = span.start
        while offset < span.start + span.length:
            length = min(COPY_BYTES, span.start + span.length - offset)
            piece = await self.blobs.run(_pread, delivery.descriptor, length, offset)
            offset += len(piece)
            yield [piece]

    async def parts(self, principal: Principal, name: ObjectName, upload_id: str) -> tuple[Upload, list[Part]]:
        """The open upload and its parts, by number. Raises: NoUpload; NoBucket; Denied."""

        def look_up(tx: Transaction) -> tuple[Upload, list[Part]]:
            return self._known(tx, principal, name, upload_id, "open"), parts.of(tx, upload_id)

        return await self.catalog.read(look_up)

    async def open_ones(self, principal: Principal, name: ObjectName, prefix: str) -> list[Upload]:
        """Open uploads to names of that bucket that begin with `prefix`, in order. Raises: NoBucket; Denied."""

        def look_up(tx: Transaction) -> list[Upload]:
            bucket, _ = allowed(tx, principal, Action.LIST, replace(name, key=prefix))
            found = parts.open_uploads(tx, bucket.id, prefix, listing.successor(prefix))
            return [upload for upload in found if upload.facts.get("numbered")]

        return await self.catalog.read(look_up)

    async def abort(self, principal: Principal, name: ObjectName, upload_id: str) -> None:
        """The upload and its parts are gone. Raises: NoUpload; Conflict while it is completed; Denied."""

        def check(tx: Transaction) -> None:
            if self._known(tx, principal, name, upload_id, "open", "completing").state == "completing":
                raise Conflict("the upload is just being completed")

        await self.catalog.read(check)
        await self.areas.forget(upload_id)
        self._slots.pop(upload_id, None)

    async def complete(
        self, principal: Principal, name: ObjectName, upload_id: str, join: Join, condition: Condition, etag: str
    ) -> tuple[StoredObject, Blob]:
        """The object the parts became. `etag` is the one they give: the same list again gets the same answer.

        Raises: NoUpload; BadParts and what `join` raises; PreconditionFailed; Denied; QuotaExceeded; Unavailable.
        """
        waited = 0.0
        while True:
            upload = await self.catalog.read(
                lambda tx: self._known(tx, principal, name, upload_id, "open", "completing", "done")
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
        bucket, checked = await self.catalog.read(lambda tx: self.objects.may_put(tx, principal, name, condition))
        async with self.areas.of(upload.id) as area:
            async with self.areas.turn(upload.id, area):
                area.closed = True
                try:
                    received = await self._assemble(area, upload, chosen, joined)
                finally:
                    self.areas.let_go(upload.id)
                    area.assembly.staging.close()
        blob = replace(received.blob, checksums={**received.blob.checksums, **joined.sums})
        received = replace(received, blob=blob)

        def bind(tx: Transaction) -> tuple[StoredObject, str]:
            key = blobs.keep(tx, blob, received.edges, self.now())
            facts = Facts(upload.facts["type"], upload.facts["labels"], None, {**_carried(upload), **joined.extra})
            held = uploads.known(tx, upload.id).reserved
            stored = self.objects.point(tx, principal, bucket, name.key, blob, facts, checked, held, etag=joined.etag)
            for part, start in _layout(chosen):
                versions.add_part(
                    tx, stored.version, part.number, start, part.size, part.md5, part.sha256, part.checksum
                )
            parts.drop(tx, upload.id)
            uploads.finish(tx, upload.id, stored.version, self.now() + DONE_SECONDS)
            return stored, key

        try:
            stored, key = await self.catalog.write(bind)
        except EntrepotError:
            await self._take_back(upload, chosen, received)
            raise
        if key != received.blob.key:
            await self.blobs.unlink_loser(received)
        for area_id in [upload.id, *(part.area for part in known if part.area)]:
            await self.blobs.run(self.blobs.driver.discard, area_id)
        self._slots.pop(upload.id, None)
        return stored, blob

    async def _assemble(self, area: Area, upload: Upload, chosen: list[Part], joined: Joined) -> Received:
        """All chosen parts one behind the other, verified and kept."""
        layout = list(_layout(chosen))
        driver = self.blobs.driver
        if all(part.area or part.start == start for part, start in layout):
            assembly = area.assembly
            await self._keep_only(area, upload, chosen)
            moved = [(part, start) for part, start in layout if part.area]
        else:
            assembly = Assembly(await self.blobs.run(driver.stage, f"{upload.id}.whole", joined.size))
            moved = layout
        try:
            for part, start in moved:
                await self._move(area, part, assembly.staging, start)
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

        if area.assembly.holds_only(ranges) and not any(part.area for part in chosen):
            return
        left = await self.catalog.write(keep)
        area.assembly.start_again((piece.start, piece.stop) for piece in left)

    async def _move(self, area: Area, part: Part, target: Staging, start: int) -> None:
        """Copy a part from where it lies to its place."""
        driver = self.blobs.driver
        source = await self.blobs.run(driver.reopen, part.area) if part.area else area.assembly.staging
        try:
            for offset in range(0, part.size, COPY_BYTES):
                length = min(COPY_BYTES, part.size - offset)
                await self.blobs.run(_copy, source, part.start + offset, target, start + offset, length)
        finally:
            if part.area:
                source.close()

    async def _take_back(self, upload: Upload, chosen: list[Part], received: Received) -> None:
        """The whole got no name: its parts are there again."""
        driver = self.blobs.driver
        if upload.id in await self.blobs.run(lambda: set(driver.staged())):
            await self.blobs.unlink_loser(received)
        else:
            await self.blobs.run(driver.restage, received.blob.key, upload.id)


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


def _grow(tx: Transaction, upload_id: str, more: int) -> None:
    found = uploads.find(tx, upload_id)
    if found is not None and found.state == "open":
        uploads.grow(tx, found.project_id, upload_id, more)


def _take(staging: Staging, sums: Checksums, offset: int, pieces: Sequence[Bytes]) -> int:
    for piece in pieces:
        sums.update(piece)
    return staging.write(offset, pieces)


def _copy(source: Staging, at: int, target: Staging, offset: int, length: int) -> None:
    piece = source.read(at, length)
    if len(piece) != length:
        raise BadRequest("bytes of a part are missing from its staging area")
    target.write(offset, [piece])


def _pread(descriptor: int, length: int, offset: int) -> bytes:
    piece = os.pread(descriptor, length, offset)
    if len(piece) != length:
        raise NotFound("the source's stored bytes are shorter than they were")
    return piece
