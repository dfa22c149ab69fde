"""The HTTP front: uvicorn's httptools protocol with the limits it lacks, bodies as pieces, sendfile, and a reset.

It knows nothing of protocols. What uvicorn 0.54 leaves open and this closes: an Upgrade offer whose body is lost
(Kludex/uvicorn#2722), heads that never end, two or no Host, trailers without bound, an answered request's endless body,
readers that never drain. uvicorn's names used here: `on_*`, `scope`, `cycle`, `flow`, `connections`.
"""

import asyncio
import collections
import os
import select
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ClassVar, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from entrepot.errors import BodyCut

BATCH: Final = 1 << 20
"""Bytes of one body handed on at a time, while few arrive."""
LEAST_BATCH: Final = 128 << 10
WAITING: Final = 4 << 20
"""Bytes of all bodies together that may wait, as long as no batch gets too small."""
HEAD_SECONDS: Final = 10.0
BODY_IDLE_SECONDS: Final = 60.0
READER_IDLE_SECONDS: Final = 60.0
DRAIN_SECONDS: Final = 2.0
DRAIN_BYTES: Final = 1 << 20
HEAD_BYTES: Final = 64 << 10
HEAD_LINES: Final = 256
TARGET_BYTES: Final = 16 << 10
SENDFILE_BYTES: Final = 8 << 20
PAUSE_MILLISECONDS: Final = 10

_senders: Final = ThreadPoolExecutor(16, "sendfile")


class _BadHead(Exception):
    """The request line or headers are refused."""


class PieceBody:
    """A request body as lists of the parser's pieces, never joined.

    A batch is handed on at 1 MiB, and until it is asked for nothing more is read. Many bodies at once share `WAITING`
    bytes: with smaller batches no connection keeps the event loop for long.
    """

    __slots__ = ("_counted", "_cut", "_done", "_http", "_pieces", "_ready", "_size", "touched")
    arriving: ClassVar[int] = 0
    """Bodies that have begun and not ended."""

    def __init__(self, http: "Entrance") -> None:
        self._http = http
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
            self._http.flow.pause_reading()

    def finish(self, *, cut: bool = False) -> None:
        """No more will come: the end, or `cut`, the connection's."""
        self._cut = self._cut or (cut and not self._done)
        self._done = True
        if self._counted:
            self._counted = False
            PieceBody.arriving -= 1
        self._ready.set()

    @property
    def complete(self) -> bool:
        """Whether all of it has arrived."""
        return self._done and not self._cut

    def __aiter__(self) -> "PieceBody":
        return self

    async def __anext__(self) -> list[bytes]:
        if not self.touched:
            self.touched = True
            self._http.send_continue()
        await self._ready.wait()
        if not self._pieces and self._done:
            if self._cut:
                raise BodyCut("the connection ended before the body did")
            raise StopAsyncIteration
        lent, self._pieces, self._size = self._pieces, [], 0
        if not self._done:
            self._ready.clear()
        self._http.flow.resume_reading()
        return lent


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
        """An answer begins. If its body was announced and never asked for, the connection ends with it."""
        if self._cycle.waiting_for_100_continue and not self.body.touched:
            self._cycle.keep_alive = False

    def abort(self) -> None:
        """End it by a TCP reset: never a clean end, which some clients take for the end of the body."""
        self._cycle.disconnected = True
        self._http.reset()

    async def sendfile(self, descriptor: int, offset: int, count: int) -> None:
        """Send `count` bytes of a file, by the kernel, off the event loop; after the headers, before the last message.

        Raises: ConnectionError if the client leaves or does not read for 60 s.
        """
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


class Entrance(HttpToolsProtocol):
    """One connection. Phases: idle, head, body, drain (answered, the rest of the body is dropped), closed."""

    max_connections: ClassVar[int] = 1024
    max_strangers: ClassVar[int] = 256
    strangers: ClassVar[collections.Counter[str]] = collections.Counter()

    @staticmethod
    def is_proxy(address: str) -> bool:
        """Whether many clients come from that address."""
        return False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.phase = "idle"
        self.refusal = 400
        self.body: PieceBody | None = None
        self._head_bytes = self._head_lines = self._hosts = self._dropped = self._unfinished = 0
        self._declined = False
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None
        self._stranger: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, and begin to wait for a head."""
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if not self.is_proxy(address):
            self._stranger = address
            self.strangers[address] += 1
        if len(self.connections) > self.max_connections or self.strangers[address] > self.max_strangers:
            transport.abort()
            return
        self._wait(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever was under way is cut."""
        self.forget_stranger()
        self._wait(None)
        self._stop_reader_timer()
        super().connection_lost(exc)
        if self.body:
            self.body.finish(cut=True)

    def forget_stranger(self) -> None:
        """It proved itself, or is gone."""
        if self._stranger is not None:
            self.strangers[self._stranger] -= 1
            if self.strangers[self._stranger] <= 0:
                del self.strangers[self._stranger]
            self._stranger = None

    def _wait(self, seconds: float | None) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if seconds:
            self._heard_at = self.loop.time()
            self._timer = self.loop.call_later(seconds, self._expired)

    def _expired(self) -> None:
        if self.phase == "body":
            silent = self.loop.time() - self._heard_at
            if self.flow.read_paused or silent < BODY_IDLE_SECONDS:  # we are slow, or bytes came meanwhile
                rest = BODY_IDLE_SECONDS if self.flow.read_paused else BODY_IDLE_SECONDS - silent
                self._timer = self.loop.call_later(rest, self._expired)
                return
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self.phase == "closed" or self.transport.is_closing():
            return
        self._heard_at = self.loop.time()
        if self.phase == "idle" and self._timer is None and not self._answering():
            self._wait(HEAD_SECONDS)
        self._unset_keepalive_if_required()
        in_head = self.phase == "head"
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse()
        if in_head and self.phase == "head":  # all of it was head, and there is no end
            self._unfinished += len(data)
            if self._unfinished > 8 * HEAD_BYTES:
                self.transport.abort()

    def _feed(self, data: bytes) -> None:
        """Parse; after an offer of another protocol, what follows its head is the request's body."""
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._declined_head() + data[upgrade.args[0] :]
            else:
                return

    def _declined_head(self) -> bytes:
        """The same head without its offer, for a new parser (RFC 9110 section 7.8)."""
        line = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        kept = [b"%s: %s\r\n" % pair for pair in self.headers if pair[0] not in (b"upgrade", b"http2-settings")]
        self._declined = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return line + b"".join(kept) + b"\r\n"

    def _refuse(self) -> None:
        """Take no more. What came before is still answered, a cut body as one; else the refusal is the answer."""
        self.phase = "closed"
        self._wait(None)
        if self._answering():
            self.cycle.keep_alive = False
            if self.body:
                self.body.finish(cut=True)
        else:
            text = b"HTTP/1.1 %d Refused\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write(text % self.refusal)
            self.transport.close()

    def _answering(self) -> bool:
        """Whether a request is under way whose answer is not out."""
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def send_400_response(self, msg: str) -> None:
        """As uvicorn names it."""
        self._refuse()

    def on_message_begin(self) -> None:
        """A request line is coming."""
        self._head_bytes = self._head_lines = self._hosts = self._dropped = self._unfinished = 0
        self.phase = "head"
        self._wait(HEAD_SECONDS)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        super().on_url(url)
        if len(self.url) > TARGET_BYTES:
            self._bad_head(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer: those are counted, not kept."""
        self._head_lines += 1
        self._head_bytes += len(name) + len(value) + 4
        if self._head_lines > HEAD_LINES or self._head_bytes > HEAD_BYTES:
            self._bad_head(431)
        if self.phase == "head":
            self._hosts += name.lower() == b"host"
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: refuse it, or start the request."""
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1") or self._is_astray():
            self._bad_head(400)
        if self._hosts > 1 or (self._hosts == 0 and version != "1.0"):
            self._bad_head(400)
        if version == "1.0" and any(name == b"transfer-encoding" for name, _ in self.headers):
            self._bad_head(400)
        if self.parser.get_method() == b"CONNECT":
            self._bad_head(405)
        if self.parser.should_upgrade():
            self._declined = True
            return
        self.phase = "body"
        self._wait(BODY_IDLE_SECONDS)
        self.body = PieceBody(self)
        connection = Connection(self, self.body)
        self.scope["extensions"] = {"entrepot": connection}  # type: ignore[dict-item]
        super().on_headers_complete()
        connection.bind(self.cycle)

    def _is_astray(self) -> bool:
        """Whether an absolute target names another authority than Host."""
        if self.url[:1] in (b"/", b"*"):
            return False
        host = next((value for name, value in self.headers if name == b"host"), b"")
        return self.url.partition(b"://")[2].partition(b"/")[0].lower() != host.lower()

    def _bad_head(self, status: int) -> None:
        self.refusal = status
        raise _BadHead

    def on_body(self, body: bytes) -> None:
        """A piece of the body; once answered, a little more is taken so that the answer is not lost, then it is cut."""
        if not self.cycle.response_complete:
            assert self.body
            self.body.add(body)
            return
        self._dropped += len(body)
        if self._dropped > DRAIN_BYTES:
            self.transport.abort()

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._declined:
            return
        self.phase = "idle"
        self._wait(None)
        if self.body:
            self.body.finish()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is out; of pipelined requests not always that of the one whose body is coming."""
        if self.phase == "body" and not self._answering():
            self.phase = "drain"
            self._wait(DRAIN_SECONDS)
        super().on_response_complete()

    def send_continue(self) -> None:
        """100, now that somebody wants the body."""
        if self.cycle.waiting_for_100_continue and not self.transport.is_closing():
            self.cycle.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def reset(self) -> None:
        """End the connection by a TCP reset."""
        with suppress(OSError, AttributeError):
            own = socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno()))
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            own.close()
        self.transport.abort()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._reader_timer = self.loop.call_later(READER_IDLE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        self._stop_reader_timer()
        super().resume_writing()

    def _stop_reader_timer(self) -> None:
        if self._reader_timer:
            self._reader_timer.cancel()
            self._reader_timer = None


def entrance(max_connections: int, max_strangers: int, is_proxy: Callable[[str], bool]) -> type[Entrance]:
    """The protocol class with these limits; addresses that are proxies have none of their own."""
    own = {
        "max_connections": max_connections,
        "max_strangers": max_strangers,
        "strangers": collections.Counter(),
        "is_proxy": staticmethod(is_proxy),
    }
    return type("Entrance", (Entrance,), own)
