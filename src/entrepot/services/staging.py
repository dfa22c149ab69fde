"""Staging areas of resumable uploads: one for each, opened at its first part, and never more open than `MOST_OPEN`.

An area says what its upload's row says: it is made from the row, and after a commit whose outcome it did not see, it
looks there again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final

from entrepot.catalog import blobs, parts, uploads
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.parts import Part
from entrepot.catalog.uploads import Piece
from entrepot.errors import Conflict, NotFound, NoUpload
from entrepot.model import Algorithm
from entrepot.services.rates import Turns
from entrepot.storage.assembly import Assembly
from entrepot.storage.blobs import BlobStore
from entrepot.storage.hashing import Hash, new_hash

MOST_OPEN: Final = 256
"""Areas idle longest are closed; each open one costs a descriptor."""
FINISHED: Final = "the upload is finished, or just being completed"


@dataclass(slots=True, eq=False)
class Arrival:
    """Bytes on their way in: those from `start` to `stop` are written."""

    start: int
    stop: int
    spoiled: bool = False
    """Another part wrote over them before they were acknowledged."""


@dataclass(slots=True, eq=False)
class Area:
    """One upload's bytes, and whose turn it is: a batch is written, a piece counted, or the whole named; never two."""

    assembly: Assembly
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    closed: bool = False
    stale: bool = False
    """Its row is being changed, or a change of it failed: what the area knows may not be what the row says."""
    users: int = 0
    arriving: list[Arrival] = field(default_factory=list)
    part_size: int | None = None
    """Of numbered parts: how long those are that lie at their place here."""
    slots: set[int] = field(default_factory=set)
    """Those whose place here somebody has taken."""
    apart: set[int] = field(default_factory=set)
    """Those that have an area to themselves, since they came before `part_size` was known."""
    following: bool = False
    """Somebody goes on with the hash."""
    sha512: Hash | None = None
    """Of an upload whose bytes come in order, if it was asked for and has seen all of them."""
    safe: int = 0
    """How many of such bytes its row says are there."""
    epoch: int = 0
    """Whose turn it is to send such bytes: who comes later takes it over."""
    writers: int = 0
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while nobody writes to a place of its own."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Somebody writes to a place of its own, beside others. Raises: Conflict if these bytes may not change."""
        self.check()
        self.writers += 1
        self.quiet.clear()
        try:
            yield
        finally:
            self.writers -= 1
            if not self.writers:
                self.quiet.set()

    async def close(self) -> None:
        """From now on these bytes do not change: nobody begins to write, and who writes has ended."""
        self.closed = True
        if self.writers:
            await self.quiet.wait()

    def check(self) -> None:
        """Raises: Conflict if these bytes may not change any more."""
        if self.closed:
            raise Conflict(FINISHED)

    def spoil(self, writer: Arrival, start: int, stop: int) -> None:
        """`writer` is about to write there: what others wrote and nobody acknowledged is not theirs any more."""
        for part in self.arriving:
            if part is not writer and part.start < stop and part.stop > start:
                part.spoiled = True


@dataclass(frozen=True, slots=True)
class StagingAreas:
    """The areas this process has open."""

    blobs: BlobStore
    catalog: Catalog
    _open: OrderedDict[str, Area] = field(default_factory=OrderedDict)
    _opening: Turns = field(default_factory=Turns)

    @asynccontextmanager
    async def of(self, upload_id: str, *, completing: bool = False) -> AsyncIterator[Area]:
        """The upload's area, taken up again if nobody has it open; while it is `completing` only for who does that.

        Raises: NotFound if its bytes were lost; Conflict; DiskFull; Busy.
        """
        async with self._opening.of(upload_id):
            area = self._open.get(upload_id)
            if area is None:
                area = self._open[upload_id] = await self._taken_up(upload_id, "completing" if completing else "open")
            area.users += 1
            self._open.move_to_end(upload_id)
        try:
            yield area
        finally:
            area.users -= 1
            await self._close_idle()

    @asynccontextmanager
    async def turn(self, upload_id: str, area: Area) -> AsyncIterator[None]:
        """Nobody else changes this area meanwhile. Raises: Conflict if it may not change any more."""
        async with area.turn:
            area.check()
            if area.stale:
                left = await self.catalog.read(lambda tx: uploads.pieces(tx, upload_id))
                area.assembly.start_again(_ranges(left))
                area.stale = False
            yield

    async def forget(self, upload_id: str, *, completing: bool = False) -> None:
        """The row, if it is still there, and the bytes are gone.

        Raises: Conflict while it is completed, but for who does that.
        """
        async with self._opening.of(upload_id):
            await self._forget(upload_id, completing=completing)

    async def _forget(self, upload_id: str, *, completing: bool) -> None:
        def drop(tx: Transaction) -> list[Part]:
            row = uploads.find(tx, upload_id)
            if row and row.state == "completing" and not completing:
                raise Conflict(FINISHED)
            found = parts.of(tx, upload_id)
            parts.drop(tx, upload_id)
            blobs.end_lease(tx, f"upload:{upload_id}")
            uploads.drop(tx, upload_id)
            return found

        for part in await self.catalog.write(drop, slow=True):
            if part.is_apart:
                await self.blobs.run(self.blobs.driver.discard, part.area)
        area = self._open.pop(upload_id, None)
        if area is None:
            await self.blobs.run(self.blobs.driver.discard, upload_id)
            return
        async with area.turn:
            await area.close()
            await self.blobs.run(area.assembly.staging.discard)

    def is_open(self, upload_id: str) -> bool:
        """Whether somebody has its area open, and so may know more of it than its row."""
        return upload_id in self._open

    def let_go(self, upload_id: str) -> None:
        """Its bytes are no staging area any more."""
        self._open.pop(upload_id, None)

    async def _close_idle(self) -> None:
        if len(self._open) <= MOST_OPEN:
            return
        idle = next((found for found in self._open.items() if not found[1].users), None)
        if idle:
            del self._open[idle[0]]
            await self.blobs.run(idle[1].assembly.staging.close)

    async def _taken_up(self, upload_id: str, state: str) -> Area:
        fresh, pieces, known = await self.catalog.read(
            lambda tx: (uploads.known(tx, upload_id), uploads.pieces(tx, upload_id), parts.of(tx, upload_id))
        )
        if fresh.state != state:
            raise Conflict(FINISHED)
        driver = self.blobs.driver
        try:
            staging = await self.blobs.run(driver.reopen, upload_id)
        except NotFound:
            if pieces or not fresh.is_in_row:
                raise await self._lost(upload_id) from None
            staging = await self.blobs.run(driver.stage, upload_id, fresh.size)
        if fresh.head:  # it was in the row until now
            await self.blobs.run(staging.write, 0, [fresh.head])
        if staging.size() < max([fresh.front, *(piece.stop for piece in pieces)]):
            await self.blobs.run(staging.discard)
            raise await self._lost(upload_id)
        landed = [(0, fresh.front)] if fresh.is_stream and fresh.front else _ranges(pieces)
        assembly = Assembly(staging, fresh.front, fresh.hash_state, landed)
        while fresh.is_stream and await self.blobs.run_hash(assembly.follow):
            pass  # what it holds counts from its front on
        sha512 = new_hash(Algorithm.SHA512) if fresh.facts.get("sha512") and not fresh.front else None
        apart = {part.number for part in known if part.is_apart}
        return Area(assembly, part_size=fresh.part_size, apart=apart, sha512=sha512, safe=fresh.front)

    async def _lost(self, upload_id: str) -> NoUpload:
        """The staging area is gone, or shorter than what was acknowledged."""
        await self._forget(upload_id, completing=True)
        return NoUpload("no such upload", why="its bytes were lost", advice="begin a new one")


def _ranges(pieces: list[Piece]) -> list[tuple[int, int]]:
    return [(piece.start, piece.stop) for piece in pieces]
