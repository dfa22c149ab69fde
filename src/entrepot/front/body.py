"""A request's body, handed on in the pieces it came in."""

import asyncio
from collections.abc import Callable
from typing import ClassVar, Final

from uvicorn.protocols.http.flow_control import FlowControl

from entrepot.errors import BodyCut

BATCH: Final = 1 << 20
"""Bytes of one body handed on at a time, while few arrive."""
LEAST_BATCH: Final = 128 << 10
WAITING: Final = 4 << 20
"""Bytes of all bodies together that may wait, as long as no batch gets too small."""


class PieceBody:
    """A request body as lists of the parser's pieces, never joined.

    A batch is handed on at 1 MiB, and until it is asked for nothing more is read. Many bodies at once share `WAITING`
    bytes: with smaller batches no connection keeps the event loop for long. `wanted` is called at the first asking.
    """

    __slots__ = ("_counted", "_cut", "_done", "_flow", "_pieces", "_ready", "_size", "_wanted", "touched")
    arriving: ClassVar[int] = 0
    """Bodies that have begun and not ended."""

    def __init__(self, flow: FlowControl, wanted: Callable[[], None]) -> None:
        self._flow = flow
        self._wanted = wanted
        self._pieces: list[bytes] = []
        self._size = 0
        self._done = self._cut = self._counted = False
        self._ready = asyncio.Event()
        self.touched = False

    def add(self, piece: bytes) -> None:
        """The parser's next bytes."""
        if not self._counted:
            self._counted = True
            PieceBody.arriving += 1
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= max(LEAST_BATCH, min(BATCH, WAITING // PieceBody.arriving)):
            self._ready.set()
            self._flow.pause_reading()

    def finish(self, *, cut: bool = False) -> None:
        """No more will come: the end, or `cut`, the connection's."""
        self._cut = self._cut or (cut and not self._done)
        self._done = True
        if self._counted:
            self._counted = False
            PieceBody.arriving -= 1
        self._ready.set()

    def __aiter__(self) -> "PieceBody":
        return self

    async def __anext__(self) -> list[bytes]:
        if not self.touched:
            self.touched = True
            self._wanted()
        await self._ready.wait()
        if not self._pieces and self._done:
            if self._cut:
                raise BodyCut("the connection ended before the body did")
            raise StopAsyncIteration
        lent, self._pieces, self._size = self._pieces, [], 0
        if not self._done:
            self._ready.clear()
        self._flow.resume_reading()
        return lent
