"""A connection that is none: what a request reads and an answer touches, kept in memory."""

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from entrepot.model import Piece
from entrepot.protocols.base import Header, Request, Response
from entrepot.protocols.delivery import respond


class MemoryWire:
    """Gives the batches of a body it was made with, and remembers what was done to it."""

    def __init__(self, batches: Iterable[Sequence[Piece]] = (), *, plain: bool = False) -> None:
        self._batches = iter(batches)
        self.plain = plain
        self.gone = False
        self.steps: list[str] = []
        self.sent_by_kernel = b""

    @property
    def body(self) -> AsyncIterator[Sequence[Piece]]:
        return self._run()

    async def _run(self) -> AsyncIterator[Sequence[Piece]]:
        for batch in self._batches:
            yield batch

    def proven(self) -> None:
        self.steps.append("proven")

    def answering(self) -> None:
        self.steps.append("answering")

    def abort(self) -> None:
        self.gone = True
        self.steps.append("abort")

    async def sendfile(self, descriptor: int, offset: int, count: int) -> None:
        self.sent_by_kernel += os.pread(descriptor, count, offset)


def request_of(
    method: str = "GET",
    path: bytes = b"/",
    query: bytes = b"",
    headers: Sequence[Header] = (),
    *batches: Sequence[Piece],
    plain: bool = False,
) -> Request:
    """A request with a wire of its own."""
    return Request(method, path, query, headers, MemoryWire(batches, plain=plain))


def wire_of(request: Request) -> MemoryWire:
    """The wire of a request that `request_of` made."""
    assert isinstance(request.wire, MemoryWire)
    return request.wire


async def sent(response: Response, request: Request) -> tuple[dict[bytes, bytes], bytes]:
    """Headers and body as they would leave; a body a reset cut short is what came before it."""
    messages: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    await respond(response, request, send)
    body = b"".join(bytes(message.get("body", b"")) for message in messages)
    return dict(messages[0]["headers"]), body + wire_of(request).sent_by_kernel
