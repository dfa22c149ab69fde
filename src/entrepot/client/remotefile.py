"""An object as a seekable file: ranged reads, bounded memory."""

import io
from collections.abc import Callable
from typing import Protocol

from entrepot.client import api
from entrepot.client.flow import Flow, Reply
from entrepot.client.plan import Step
from entrepot.client.pull import Found
from entrepot.errors import Conflict

READ_AHEAD_BYTES = 2**20


def read_range(found: Found, start: int, stop: int) -> Flow[Reply]:
    """These bytes of `found`. Raises: Conflict, if it was overwritten since it was opened."""
    step = Step(start, min(stop, found.size))
    reply = yield from api.get_range(api.url_of(found.ref), step, found.size, str(found.ref), lambda _: None)
    if api.digest_in(reply) not in (None, found.digest):
        raise Conflict(
            f"{found.ref} became another while it was read", why="it was overwritten", advice="open it again"
        )
    return reply


class RemoteFile(io.RawIOBase):
    """Raw and read-only; wrapped in a `BufferedReader` by `Client.open`."""

    def __init__(self, found: Found, run: Callable[[Flow[Reply]], Reply]) -> None:
        self._found = found
        self._run = run
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """The new position, which may be behind the end. Raises: ValueError."""
        self._position = sought(offset, whence, self._position, self._found.size)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # any writable buffer
        """How many bytes came; 0 at the end. Raises: as `read_range`."""
        view = memoryview(buffer).cast("B")
        if self._position >= self._found.size or not view:
            return 0
        reply = self._run(read_range(self._found, self._position, self._position + len(view)))
        view[: len(reply.body)] = reply.body
        self._position += len(reply.body)
        return len(reply.body)


class AsyncRemoteFile:
    """As `RemoteFile`, awaited; `async with` closes nothing that matters."""

    def __init__(self, found: Found, run: "_AsyncRun") -> None:
        self._found = found
        self._run = run
        self._position = 0

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self._found.size

    def tell(self) -> int:
        """The position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """The new position, which may be behind the end. Raises: ValueError."""
        self._position = sought(offset, whence, self._position, self._found.size)
        return self._position

    async def read(self, size: int = READ_AHEAD_BYTES) -> bytes:
        """At most `size` bytes from here on; none at the end. Raises: as `read_range`."""
        if self._position >= self._found.size or size <= 0:
            return b""
        reply = await self._run(read_range(self._found, self._position, self._position + size))
        self._position += len(reply.body)
        return bytes(reply.body)


def sought(offset: int, whence: int, position: int, size: int) -> int:
    """Where a seek leads. Raises: ValueError, before the beginning."""
    start = {io.SEEK_SET: 0, io.SEEK_CUR: position, io.SEEK_END: size}[whence]
    if start + offset < 0:
        raise ValueError("a position before the beginning")
    return start + offset


class _AsyncRun(Protocol):
    async def __call__(self, flow: Flow[Reply], /) -> Reply: ...
