"""Uploads in numbered parts that become one object: no copy at the end if the parts are of one size.

Parts as long as the first lie at their place in the upload's staging area, and a hash follows behind. A part that came
too early, has another length, or is sent again gets an area to itself, and is moved at the end. Nothing that was
acknowledged is ever written over before the upload is being completed.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from entrepot.catalog import blobs, listing, parts, uploads
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.ids import text_id
from entrepot.catalog.parts import REFERS, Part
from entrepot.catalog.uploads import Piece, Upload
from entrepot.errors import (
    Conflict,
    NotFound,
)
from entrepot.model import (
    Action,
    Algorithm,
    Body,
    Claims,
    Clock,
    Facts,
    ObjectName,
    Principal,
    Span,
    StoredObject,
    VersionId,
)
from entrepot.model import Piece as Bytes
from entrepot.names import object_key
from entrepot.services.joining import MAX_BYTES, NO_UPLOAD, BadParts, NoUpload, known_bytes, known_upload
from entrepot.services.objects import MAX_AREA_KEY_BYTES, MAX_KEY_BYTES, Objects
from entrepot.services.places import allowed, reading
from entrepot.services.room import STEP
from entrepot.services.staging import Area, StagingAreas
from entrepot.services.uploads import LIFE_SECONDS
from entrepot.storage.blobs import BlobStore, check_claims, check_size
from entrepot.storage.driver import Staging
from entrepot.storage.hashing import Checksums

MAX_PART_BYTES: Final = 5 << 30
LEAST_PART_BYTES: Final = 5 << 20
COPY_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Multipart:
    """Numbered parts into objects."""

    objects: Objects
    blobs: BlobStore
    catalog: Catalog
    now: Clock
    areas: StagingAreas

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
        return await self.catalog.read(lambda tx: known_upload(tx, principal, name, upload_id, "open"))

    async def known(self, principal: Principal, name: ObjectName, upload_id: str) -> Upload:
        """The upload, open or not. Raises: NoUpload; NoBucket; Denied."""
        states = ("open", "completing", "done")
        return await self.catalog.read(lambda tx: known_upload(tx, principal, name, upload_id, *states))

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
        held = _Held(await self._reserve(upload, STEP if claims.size is None else claims.size))
        kept = False
        try:
            async with self.areas.of(upload_id) as area:
                slot = await self._slot(area, upload, number, claims.size)
                try:
                    received = await self._receive(area, upload, number, slot, body, claims, want, algorithm, held)
                    kept = True
                    return received
                except Conflict as error:  # it was completed or aborted meanwhile
                    raise NoUpload(NO_UPLOAD) from error
                finally:
                    if slot is not None and not kept:
                        area.slots.discard(number)
        finally:
            if not kept:
                await self.catalog.write(lambda tx: uploads.shrink(tx, upload.project_id, upload_id, held.size))

    async def put_known(
        self, principal: Principal, name: ObjectName, upload_id: str, number: int, claims: Claims,
        want: frozenset[Algorithm],
    ) -> Part | None:  # fmt: skip
        """As `put`, if the caller may already read these bytes, as a whole or as a part: the part refers to them.

        None if they must be sent. What is referred to stays as long as the upload lives.
        """
        sha256 = claims.checksums.get(Algorithm.SHA256)
        if sha256 is None or claims.size is None:
            return None
        upload = await self.find(principal, name, upload_id)
        wanted = want | {Algorithm.MD5, Algorithm(upload.facts["want"])}

        def refer(tx: Transaction) -> tuple[Part, Part | None] | None:
            found = known_bytes(tx, principal, sha256, claims, wanted, Algorithm(upload.facts["want"]), self.now())
            if found is None:
                return None
            digest, part = found
            known_upload(tx, principal, name, upload_id, "open")
            blobs.hold(tx, digest)
            blobs.take_lease(tx, digest, f"upload:{upload_id}", self.now() + LIFE_SECONDS)
            added = replace(part, number=number, created_at=self.now())
            old = parts.find(tx, upload_id, number)
            parts.add(tx, upload_id, added)
            uploads.prolong(tx, upload_id, self.now() + LIFE_SECONDS)
            return added, old

        done = await self.catalog.write(refer)
        if done is None:
            return None
        await self._discard(done[1])
        return done[0]

    async def _discard(self, old: Part | None) -> None:
        """A part that counts no more; only what it had to itself goes."""
        if old and old.area and not old.area.startswith(REFERS):
            await self.blobs.run(self.blobs.driver.discard, old.area)

    async def _reserve(self, upload: Upload, size: int) -> int:
        self.blobs.check_room(size)
        if size:
            await self.catalog.write(lambda tx: uploads.grow(tx, upload.project_id, upload.id, size))
        return size

    async def _slot(self, area: Area, upload: Upload, number: int, size: int | None) -> int | None:
        """Where in the upload's own area the part may lie; None if it needs an area to itself."""
        if number == 1 and size and upload.part_size is None:
            await self.catalog.write(lambda tx: parts.set_size(tx, upload.id, size))
        fresh, known = await self.catalog.read(lambda tx: (uploads.known(tx, upload.id), parts.of(tx, upload.id)))
        length = fresh.part_size
        taken = area.slots
        taken |= {part.number for part in known if not part.area}
        if not length or not size or size > length or number in taken or number * length > MAX_BYTES:
            return None
        if area.assembly.touches((number - 1) * length, number * length):
            return None  # bytes of a part that was sent before lie there, and are in the hash
        taken.add(number)
        return (number - 1) * length

    async def _receive(
        self, area: Area, upload: Upload, number: int, slot: int | None, body: Body, claims: Claims,
        want: frozenset[Algorithm], algorithm: Algorithm, held: "_Held",
    ) -> Part:  # fmt: skip
        """The part, received into its place or an area of its own, and acknowledged."""
        own = "" if slot is not None else f"{upload.id}.{number}.{text_id()[:8]}"
        staging = area.assembly.staging if not own else await self.blobs.run(self.blobs.driver.stage, own, claims.size)
        start = slot or 0
        try:
            async with self.blobs.uploading:
                size, sums = await self._fill(area, upload, staging, start, body, claims, want, held)
            with area.writing():
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
        await self._discard(old)
        return part

    async def _fill(
        self, area: Area, upload: Upload, staging: Staging, start: int, body: Body, claims: Claims,
        want: frozenset[Algorithm], held: "_Held",
    ) -> tuple[int, dict[Algorithm, str]]:  # fmt: skip
        """Length and checksums of what was written from `start` on."""
        sums, size = Checksums(want | claims.checksums.keys()), 0
        most = MAX_PART_BYTES if claims.size is None else claims.size
        async for pieces in body:
            length = sum(map(len, pieces))
            if size + length > most:
                raise BadParts("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
            if claims.size is None and (size + length) // STEP > size // STEP:
                held.size += await self._reserve(upload, STEP)
            with area.writing():
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
            old = parts.find(tx, upload.id, part.number)
            parts.add(tx, upload.id, part)
            if not part.area and part.size:
                uploads.add_piece(tx, upload.id, Piece(part.start, part.start + part.size, part.sha256))
            until = self.now() + LIFE_SECONDS
            uploads.progress(tx, upload.id, front, state, until)
            blobs.renew_leases(tx, f"upload:{upload.id}", until)
            if old and not old.area.startswith(REFERS):
                uploads.shrink(tx, upload.project_id, upload.id, old.size)
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
        old, blob = await self.objects.find(reading(principal, version), source, version)
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
            return known_upload(tx, principal, name, upload_id, "open"), parts.of(tx, upload_id)

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
            if known_upload(tx, principal, name, upload_id, "open", "completing").state == "completing":
                raise Conflict("the upload is just being completed")

        await self.catalog.read(check)
        await self.areas.forget(upload_id)


@dataclass(slots=True)
class _Held:
    """Bytes one part has reserved so far."""

    size: int


def _take(staging: Staging, sums: Checksums, offset: int, pieces: Sequence[Bytes]) -> int:
    for piece in pieces:
        sums.update(piece)
    return staging.write(offset, pieces)


def _pread(descriptor: int, length: int, offset: int) -> bytes:
    piece = os.pread(descriptor, length, offset)
    if len(piece) != length:
        raise NotFound("the source's stored bytes are shorter than they were")
    return piece
