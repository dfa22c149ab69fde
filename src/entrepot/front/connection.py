"""What an answer may do with the connection it goes out on: send files by the kernel, or end it by a reset."""

import asyncio
import os
import select
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from entrepot.front.body import PieceBody

if TYPE_CHECKING:
    from entrepot.front.entrance import Entrance

READER_IDLE_SECONDS: Final = 60.0
SENDFILE_BYTES: Final = 8 << 20
PAUSE_MILLISECONDS: Final = 10

_senders: Final = ThreadPoolExecutor(16, "sendfile")


class Connection:
    """What an answer needs of the connection it goes out on; the ASGI scope has it as `extensions["entrepot"]`."""

    __slots__ = ("_cycle", "_http", "body")

    def __init__(self, http: "Entrance", body: PieceBody) -> None:
        self._http = http
        self._cycle: Any = None
        self.body = body

    def bind(self, cycle: Any) -> None:
        """The request cycle it belongs to."""
        self._cycle = cycle

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return bool(self._cycle.disconnected)

    @property
    def plain(self) -> bool:
        """Whether the kernel can send files on it: no TLS."""
        return self._http.scheme == "http"

    def proven(self) -> None:
        """A valid proof came in on it: it counts no more against its address's limit of strangers."""
        self._http.forget_stranger()

    def answering(self) -> None:
        """An answer begins; its head leaves with what follows it.

        If the request's body was announced and never asked for, the connection ends with it.
        """
        if self._cycle.waiting_for_100_continue and not self.body.touched:
            self._cycle.keep_alive = False
        self._http.outlet.hold()

    def abort(self) -> None:
        """End it by a TCP reset: never a clean end, which some clients take for the end of the body."""
        self._http.outlet.flush()
        self._cycle.disconnected = True
        with suppress(OSError, AttributeError):
            own = socket.socket(fileno=os.dup(self._http.transport.get_extra_info("socket").fileno()))
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            own.close()
        self._http.transport.abort()

    async def sendfile(self, descriptor: int, offset: int, count: int) -> None:
        """Send `count` bytes of a file, by the kernel, off the event loop; after the headers, before the last message.

        Raises: ConnectionError if the client leaves or does not read for 60 s.
        """
        self._http.outlet.flush()
        self._http.transport.set_write_buffer_limits(high=0)
        await self._http.flow.drain()
        self._http.transport.set_write_buffer_limits()
        if self._http.transport.is_closing():
            raise ConnectionResetError
        sock = self._http.transport.get_extra_info("socket")
        out = os.dup(sock.fileno())
        try:
            await _send_all(out, descriptor, offset, count)
        finally:
            os.close(out)
        self._cycle.expected_content_length -= count


async def _send_all(out: int, descriptor: int, offset: int, count: int) -> None:
    loop = asyncio.get_running_loop()
    while count:
        sending = loop.run_in_executor(_senders, _send_some, out, descriptor, offset, count)
        try:
            sent = await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.wait([sending])  # until then neither descriptor may become another file's
            raise
        offset, count = offset + sent, count - sent
        if count and sent < SENDFILE_BYTES:
            writable = asyncio.Event()
            loop.add_writer(out, writable.set)
            try:
                await asyncio.wait_for(writable.wait(), READER_IDLE_SECONDS)
            except TimeoutError:
                raise ConnectionAbortedError("the client does not read") from None
            finally:
                loop.remove_writer(out)


def _send_some(out: int, descriptor: int, offset: int, count: int) -> int:
    """Bytes sent: up to 8 MiB, fewer if the reader pauses. A reader that keeps up is waited for here, it costs less."""
    total, limit = 0, min(count, SENDFILE_BYTES)
    while total < limit:
        try:
            sent = os.sendfile(out, descriptor, offset + total, limit - total)
        except BlockingIOError:
            if not _is_writable(out):
                break
            continue
        if sent == 0:
            raise ConnectionAbortedError("the file is shorter than it was")
        total += sent
    return total


def _is_writable(out: int) -> bool:
    poll = select.poll()
    poll.register(out, select.POLLOUT)
    return bool(poll.poll(PAUSE_MILLISECONDS))
