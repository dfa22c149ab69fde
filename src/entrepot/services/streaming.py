"""Bytes of upload sessions on their way to the disk: in order, hashed as they come, safe before anybody is told.

Whoever sends to a session last has it: an older request that is still sending is cut off.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from entrepot.catalog import uploads
from entrepot.catalog.database import Catalog
from entrepot.catalog.uploads import Upload
from entrepot.errors import Conflict, DigestMismatch, EntrepotError, NoUpload, TooLarge, WrongOffset, WrongSize
from entrepot.failpoints import failpoint
from entrepot.model import Algorithm, Body, Claims, Clock, NamedDigest, Piece
from entrepot.services.room import Room
from entrepot.services.staging import Area, StagingAreas
from entrepot.storage.blobs import BlobStore, Received

LIFE_SECONDS: Final = 86400.0
"""Of a session after its last byte."""
SAFE_BYTES: Final = 64 << 20
"""At least so often a running request is made safe, so that a crash costs no more."""
MAX_BYTES: Final = 1 << 43


async def nothing() -> AsyncIterator[Sequence[Piece]]:
    """A body of no bytes."""
    return
    yield


async def whole(data: bytes) -> AsyncIterator[Sequence[Piece]]:
    """A body of bytes that are all here."""
    yield [data]


@dataclass(frozen=True, slots=True)
class Incoming:
    """Bytes of one request: where its client believes they go, the length it announced, and the one of its range."""

    body: Body
    start: int | None = None
    size: int | None = None
    wanted: int | None = None

    def check(self, begun: int, length: int, *, ended: bool) -> None:
        """Raises: WrongSize, TooLarge if `length` bytes after `begun` are not what was announced, or too many."""
        if begun + length > MAX_BYTES:
            raise TooLarge("a blob has at most 8 TiB")
        if self.wanted is not None and (length > self.wanted or (ended and length < self.wanted)):
            raise WrongSize(f"the body is not the {self.wanted} bytes of Content-Range")

    def check_announced(self) -> None:
        """Raises: WrongSize if the body is not as long as its range, before any of it is read."""
        if self.wanted is not None and self.size is not None and self.wanted != self.size:
            raise WrongSize(f"the body has {self.size} bytes, Content-Range says {self.wanted}")


@dataclass(frozen=True, slots=True)
class Streams:
    """The staging areas of sessions."""

    blobs: BlobStore
    catalog: Catalog
    now: Clock
    areas: StagingAreas

    async def state(self, upload: Upload) -> int:
        """How many bytes it holds; all of them are safe. Raises: NoUpload."""
        async with self.areas.of(upload.id) as area, self.areas.turn(upload.id, area):
            return await self._make_safe(upload.id, area)

    async def append(self, upload: Upload, incoming: Incoming, first: Sequence[Piece] = ()) -> int:
        """How many bytes it holds with those of `incoming` behind the others; `first` was read from it already.

        What comes of a body that is cut is kept. Raises: NoUpload; WrongOffset, also for who is overtaken by a later
        request; WrongSize; BodyCut; QuotaExceeded; DiskFull; TooLarge.
        """
        async with self.blobs.uploading, self.areas.of(upload.id) as area:
            try:
                async with self.areas.turn(upload.id, area):
                    area.epoch += 1
                    epoch, front = area.epoch, area.assembly.front
                    if incoming.start not in (None, front):
                        raise WrongOffset(await self._make_safe(upload.id, area))
                await self._receive(upload, area, epoch, incoming, first)
                async with self.areas.turn(upload.id, area):
                    return await self._make_safe(upload.id, area)
            except Conflict as error:
                raise NoUpload("no such upload", why="it was closed or cancelled meanwhile") from error

    async def _receive(
        self, upload: Upload, area: Area, epoch: int, incoming: Incoming, first: Sequence[Piece]
    ) -> None:
        room = Room(self.catalog, self.now, upload.project_id, upload.principal_id, upload.id, upload.reserved)
        begun = area.assembly.front
        if incoming.size:
            await room.cover_exactly(begun + incoming.size)
            self.blobs.check_room(incoming.size)
        try:
            async for pieces in _behind(first, incoming.body):
                stop = area.assembly.front + sum(map(len, pieces))
                incoming.check(begun, stop - begun, ended=False)
                await room.cover(stop)
                self.blobs.check_room(0)
                async with self.areas.turn(upload.id, area):
                    if area.epoch != epoch:
                        raise WrongOffset(await self._make_safe(upload.id, area))
                    front = await self.blobs.run_hash(_append, area, pieces)
                    if front - area.safe >= SAFE_BYTES:
                        await self._make_safe(upload.id, area)
        except BaseException:
            if not area.closed and area.epoch == epoch:
                async with area.turn:
                    await self._make_safe(upload.id, area)
            await room.keep_only(area.assembly.front)
            raise
        if room.reserved > area.assembly.front:
            await room.keep_only(area.assembly.front)
        incoming.check(begun, area.assembly.front - begun, ended=True)

    async def _make_safe(self, upload_id: str, area: Area) -> int:
        """How many bytes the upload holds, now that they are on disk and its row says so."""
        front = area.assembly.front
        if front == area.safe:
            return front
        try:
            await self.blobs.run(area.assembly.staging.sync)
        except (OSError, EntrepotError):  # final: what was written may be gone, whatever a second sync says
            self._let_go(upload_id, area)
            await self.catalog.write(lambda tx: uploads.drop(tx, upload_id))
            await self.blobs.run(area.assembly.staging.discard)
            raise
        failpoint("upload.synced")
        was, state, until = area.safe, area.assembly.state(), self.now() + LIFE_SECONDS
        if not await self.catalog.write(
            lambda tx: uploads.advance(tx, upload_id, was, front, until, hash_state=state)
        ):  # fmt: skip
            self._let_go(upload_id, area)
            found = await self.catalog.read(lambda tx: uploads.known(tx, upload_id))
            if found.state == "open":
                raise WrongOffset(found.front)
            raise NoUpload("no such upload", why="it was closed meanwhile")
        area.safe = front
        failpoint("upload.progressed")
        return front

    def _let_go(self, upload_id: str, area: Area) -> None:
        area.closed = True
        self.areas.let_go(upload_id)

    async def finish(self, upload: Upload, named: NamedDigest) -> Received:
        """The bytes of a claimed upload, if they are those that were named, kept under a key; no area is left then.

        Raises: DigestMismatch; NoUpload.
        """
        async with self.areas.of(upload.id, completing=True) as area, self.areas.turn(upload.id, area):
            area.epoch += 1  # whoever still sends is cut off
            size = area.assembly.front
            sums = {Algorithm.SHA256: await self.blobs.run_hash(area.assembly.finish, size)}
            if named.algorithm is Algorithm.SHA512:
                sums[named.algorithm] = await self._sha512(area, size)
            check_named(sums[named.algorithm], named)
            area.closed = True
            try:
                claims = Claims(size, {Algorithm.SHA256: sums[Algorithm.SHA256]})
                return await self.blobs.run(self.blobs.assemble, area.assembly, size, claims, sums)
            except Exception:  # a failed sync is final; of a process that ends, the next one finds the bytes
                await self.catalog.write(lambda tx: uploads.drop(tx, upload.id))
                raise
            finally:
                self.areas.let_go(upload.id)

    async def _sha512(self, area: Area, size: int) -> str:
        if area.sha512:
            return area.sha512.hexdigest()
        return await self.blobs.checksum_staged(area.assembly.staging, size, Algorithm.SHA512)


def check_named(found: str, named: NamedDigest) -> None:
    """Raises: DigestMismatch if bytes of that checksum are not those that were named."""
    if found != named.hex:
        raise DigestMismatch(
            f"the {named.algorithm.value} of the bytes is {found}, you gave {named.hex}",
            algorithm=named.algorithm.value, found=found, claimed=named.hex,
        )  # fmt: skip


async def _behind(first: Sequence[Piece], body: Body) -> AsyncIterator[Sequence[Piece]]:
    if first:
        yield first
    async for pieces in body:
        yield pieces


def _append(area: Area, pieces: Sequence[Piece]) -> int:
    front = area.assembly.append(pieces)
    if area.sha512:
        for piece in pieces:
            area.sha512.update(piece)
    return front
