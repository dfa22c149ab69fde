"""Where the bytes of numbered parts lie: at their place in the whole, or in an area of their own.

A part's place is known once the first part has said how long they are. One that came before, has another length, or is
sent again lies apart. Those that came before go to their place as soon as the hash arrives there; the others when the
upload is completed. Nothing that was acknowledged is written over before.
"""

import hashlib
import os
from asyncio import shield
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from entrepot.catalog import blobs, parts, uploads
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.ids import text_id
from entrepot.catalog.parts import Part
from entrepot.catalog.uploads import Piece, Upload
from entrepot.errors import BadPart, Conflict, EntrepotError, NoUpload, TooLarge
from entrepot.model import WHOLE, Algorithm, Blob, Body, Claims, Clock
from entrepot.services.room import STEP
from entrepot.services.staging import FINISHED, Area, StagingAreas
from entrepot.services.uploads import LIFE_SECONDS
from entrepot.storage.blobs import BlobStore, check_claims, check_size, take
from entrepot.storage.driver import Staging
from entrepot.storage.hashing import Checksums

MAX_BYTES: Final = 5 << 40
COPY_BYTES: Final = 8 << 20


@dataclass(slots=True)
class _Arrival:
    """A part on its way in."""

    upload: Upload
    number: int
    claims: Claims
    want: frozenset[Algorithm]
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class Placing:
    """Receives parts and moves them."""

    blobs: BlobStore
    catalog: Catalog
    now: Clock
    areas: StagingAreas

    async def put(self, upload: Upload, number: int, body: Body, claims: Claims, want: frozenset[Algorithm]) -> Part:
        """The part, safe on disk; one of the same number counts no more.

        Raises: NoUpload; DigestMismatch; BodyCut; TooLarge; QuotaExceeded; DiskFull; Busy. Nothing is kept then.
        """
        coming = _Arrival(upload, number, claims, want)
        await self._reserve(coming, STEP if claims.size is None else claims.size)
        try:
            async with self.areas.of(upload.id) as area:
                part, old = await self._receive(area, coming, body)
                coming.reserved -= part.size  # that is the part's now
                await self.discard(old)
                await self._follow(area, upload)
        except Conflict as error:
            raise NoUpload("the upload was completed or aborted meanwhile") from error
        finally:
            if coming.reserved:
                await self.catalog.write(lambda tx: uploads.shrink(tx, upload.project_id, upload.id, coming.reserved))
        return part

    async def discard(self, old: Part | None) -> None:
        """A part that counts no more; only what it had to itself goes."""
        if old and old.is_apart:
            await self.blobs.run(self.blobs.driver.discard, old.area)

    async def move(self, area: Area, part: Part, source: Blob | None, target: Staging, start: int) -> None:
        """Copy a part from where it lies to its place in `target`. `source` is the blob it refers to.

        Raises: BadPart if its bytes are not what they were; DiskFull.
        """
        read, close = await self.blobs.run(self._reader, area, part, source)
        running = hashlib.sha256()
        try:
            for offset in range(0, part.size, COPY_BYTES):
                length = min(COPY_BYTES, part.size - offset)
                await self.blobs.run_hash(_copy, running, read, part.start + offset, target, start + offset, length)
        finally:
            close()
        if running.hexdigest() != part.sha256:
            raise BadPart(f"the stored bytes of part {part.number} are damaged; send it again")

    async def _reserve(self, coming: _Arrival, size: int) -> None:
        self.blobs.check_room(size)
        if size:
            upload = coming.upload
            await self.catalog.write(lambda tx: uploads.grow(tx, upload.project_id, upload.id, size))
            coming.reserved += size

    async def _place(self, area: Area, upload: Upload, number: int, size: int | None) -> int | None:
        """Where in the upload's own area the part may lie, which is its own from now on; None if it must lie apart."""
        if number == 1 and size and area.part_size is None:
            area.part_size = size
            await self.catalog.write(lambda tx: parts.set_size(tx, upload.id, size))
        length = area.part_size
        if not length or not size or size > length or number in area.slots or number * length > MAX_BYTES:
            return None
        if area.assembly.touches((number - 1) * length, number * length):
            return None  # bytes of a part that was sent before lie there, and are in the hash
        area.slots.add(number)
        return (number - 1) * length

    async def _receive(self, area: Area, coming: _Arrival, body: Body) -> tuple[Part, Part | None]:
        """The part, received into its place or an area of its own, and acknowledged; and the one that was before."""
        upload, number = coming.upload, coming.number
        place = await self._place(area, upload, number, coming.claims.size)
        if place is not None:
            try:
                return await self._fill(area, coming, body, area.assembly.staging, "", place)
            except BaseException:
                area.slots.discard(number)
                raise
        apart = f"{upload.id}.{number}.{text_id()[:8]}"
        staging = await self.blobs.run(self.blobs.driver.stage, apart, coming.claims.size)
        try:
            received = await self._fill(area, coming, body, staging, apart, 0)
        except BaseException:
            await shield(self.blobs.run(staging.discard))
            raise
        staging.close()
        area.apart.add(number)
        return received

    async def _fill(
        self, area: Area, coming: _Arrival, body: Body, staging: Staging, name: str, start: int
    ) -> tuple[Part, Part | None]:
        """As `_receive`: written from `start` on in the area of that name, verified, synced and acknowledged."""
        upload, claims = coming.upload, coming.claims
        algorithm = Algorithm(upload.facts["want"])
        sums, size = Checksums(coming.want | {Algorithm.MD5, algorithm} | claims.checksums.keys()), 0
        async with self.blobs.uploading:
            async for pieces in body:
                length = sum(map(len, pieces))
                if claims.size is not None and size + length > claims.size:
                    raise TooLarge("the part is longer than was announced")  # behind it lies the next one
                if size + length > coming.reserved:
                    await self._reserve(coming, STEP)
                with area.writing():
                    size += await self.blobs.run_hash(take, staging, sums, start + size, pieces)
        check_size(size, claims)
        found = sums.result()
        check_claims(found, claims)
        with area.writing():
            await self.blobs.run(staging.sync)
        part = Part(
            coming.number, name, start, size, found[Algorithm.MD5], found[Algorithm.SHA256], found[algorithm],
            self.now(),
        )  # fmt: skip
        return part, await self._acknowledge(area, upload, part)

    async def _acknowledge(self, area: Area, upload: Upload, part: Part, was: Part | None = None) -> Part | None:
        """Write its row; the part of that number that was there before. `was`: the same part where it lay until now.

        Raises: Conflict if the upload is not open, or `was` is not the part any more.
        """

        def remember(tx: Transaction) -> Part | None:
            now = uploads.find(tx, upload.id)
            old = parts.find(tx, upload.id, part.number)
            if now is None or now.state != "open" or (was and old != was):
                raise Conflict(FINISHED)
            parts.add(tx, upload.id, part)
            if not part.area and part.size:
                uploads.add_piece(tx, upload.id, Piece(part.start, part.start + part.size, part.sha256))
            until = self.now() + LIFE_SECONDS
            uploads.progress(tx, upload.id, front, state, until)
            blobs.renew_leases(tx, f"upload:{upload.id}", until)
            if old and not was and not old.refers_to:
                uploads.shrink(tx, upload.project_id, upload.id, old.size)
            return old

        async with self.areas.turn(upload.id, area):
            area.stale = True
            stop = part.start + (0 if part.area else part.size)
            front, state = await self.blobs.run_hash(area.assembly.land, part.start, stop)
            old = await self.catalog.write(remember, slow=True)
            area.stale = False
            return old

    async def _follow(self, area: Area, upload: Upload) -> None:
        """The hash goes on behind what has landed, and takes along parts that came before their place was known."""
        if area.following:
            return
        area.following = True
        try:
            while area.part_size:
                more = True
                while more:
                    with area.writing():
                        more = await self.blobs.run_hash(area.assembly.follow)
                number, rest = divmod(area.assembly.front, area.part_size)
                if rest or number + 1 not in area.apart or number + 1 in area.slots:
                    break
                await self._settle(area, upload, number + 1)
        except EntrepotError:
            pass  # who completes the upload does what is left, or says what is wrong
        finally:
            area.following = False

    async def _settle(self, area: Area, upload: Upload, number: int) -> None:
        """A part that lies apart goes to its place. Raises: Conflict; BadPart; DiskFull."""
        assert area.part_size
        area.apart.discard(number)
        area.slots.add(number)  # before anything is waited for: one that is sent again must not take it meanwhile
        was = await self.catalog.read(lambda tx: parts.find(tx, upload.id, number))
        if was is None or not was.is_apart or was.size > area.part_size:
            area.slots.discard(number)
            return
        start = (number - 1) * area.part_size
        with area.writing():
            await self.move(area, was, None, area.assembly.staging, start)
            await self.blobs.run(area.assembly.staging.sync)
        await self.discard(await self._acknowledge(area, upload, replace(was, area="", start=start), was))

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


def _copy(
    running: "hashlib._Hash", read: Callable[[int, int], bytes], at: int, target: Staging, offset: int, length: int
) -> None:
    piece = read(at, length)
    if len(piece) != length:
        raise BadPart("bytes of a part are missing; send it again")
    running.update(piece)
    target.write(offset, [piece])
