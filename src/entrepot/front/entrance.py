"""One connection: uvicorn's httptools protocol with the limits it lacks, bodies as pieces, and careful ends.

It knows nothing of protocols. What uvicorn 0.54 leaves open and this closes: an Upgrade offer whose body is lost
(Kludex/uvicorn#2722), heads that never end, two or no Host, trailers without bound, an answered request's endless body,
an answer lost by closing over unread bytes, readers that never drain. uvicorn's names used here: `on_*`, `scope`,
`cycle`, its `transport`, `flow`, `connections`.
"""

import asyncio
import collections
from collections.abc import Callable
from typing import Any, ClassVar, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from entrepot.front.body import PieceBody
from entrepot.front.connection import READER_IDLE_SECONDS, Connection
from entrepot.front.head import HEAD_BYTES, HEAD_LINES, TARGET_BYTES, BadHead, check_head, read_refusal, refusal
from entrepot.front.outlet import Outlet

HEAD_SECONDS: Final = 10.0
BODY_IDLE_SECONDS: Final = 60.0
DRAIN_SECONDS: Final = 2.0
CLOCK_SECONDS: Final = 0.001
"""As fine as the event loop's timers are."""
DRAIN_BYTES: Final = 1 << 20
LONG_HEAD: Final = f"the headers are longer than {HEAD_BYTES >> 10} KiB"


class Entrance(HttpToolsProtocol):
    """One connection.

    Phases: idle, head, body, drain (answered, the rest of the body is dropped), closed (refused, nothing more is
    parsed), leaving (the last answer is out, what still comes is dropped for a while).
    """

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
        self.body: PieceBody | None = None
        self._head_bytes = self._head_lines = self._dropped = self._unfinished = 0
        self._declined = False
        self._heard_at = 0.0
        self._due: float | None = None
        self._rings_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None
        self._stranger: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, and begin to wait for a head."""
        super().connection_made(transport)
        self.outlet = Outlet(transport, self.leave)
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
        if self._timer:
            self._timer.cancel()
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
        """Expire after so long, unless told otherwise. The timer stays as it is and looks again: it is told often."""
        self._due = None
        if seconds:
            self._heard_at = self.loop.time()
            self._expire_at(self._heard_at + seconds)

    def _expire_at(self, due: float) -> None:
        self._due = due
        if self._timer is None or self._rings_at > due:
            if self._timer:
                self._timer.cancel()
            self._timer, self._rings_at = self.loop.call_at(due, self._ring), due

    def _ring(self) -> None:
        self._timer = None
        if self._due is None:
            return
        if self._due > self.loop.time() + CLOCK_SECONDS:
            self._expire_at(self._due)
        else:
            self._due = None
            self._expired()

    def _expired(self) -> None:
        if self.phase == "body":
            silent = self.loop.time() - self._heard_at
            if self.flow.read_paused or silent < BODY_IDLE_SECONDS:  # we are slow, or bytes came meanwhile
                rest = BODY_IDLE_SECONDS if self.flow.read_paused else BODY_IDLE_SECONDS - silent
                self._expire_at(self.loop.time() + rest)
                return
        if self.phase in ("drain", "leaving") and not self.transport.is_closing():
            self._close()
        else:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self.phase in ("closed", "leaving") or self.transport.is_closing():
            if self.phase == "leaving":
                self._drop(len(data))
            return
        self._heard_at = self.loop.time()
        if self.phase == "idle" and self._due is None and not self._answering():
            self._wait(HEAD_SECONDS)
        self._unset_keepalive_if_required()
        in_head = self.phase == "head"
        try:
            self._feed(data)
        except httptools.HttpParserInvalidMethodError as error:
            self._refuse(read_refusal(error), method=b"")  # the parser has that of the request before
        except httptools.HttpParserError as error:
            self._refuse(read_refusal(error), method=self.parser.get_method())
        if in_head and self.phase == "head":  # all of it was head, and there is no end
            self._unfinished += len(data)
            if self._unfinished > 8 * HEAD_BYTES:
                self._refuse(BadHead(431, LONG_HEAD), method=self.parser.get_method())

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

    def _refuse(self, bad: BadHead, *, method: bytes) -> None:
        """Take no more. What came before is still answered, a cut body as one; else the refusal is the answer."""
        answered = self.phase == "drain"
        self.phase = "closed"
        self._wait(None)
        if self._answering():
            self.cycle.keep_alive = False
            if self.body:
                self.body.finish(cut=True)
            return
        if not answered:
            self.transport.write(refusal(bad, self.server_state.default_headers, to_head=method == b"HEAD"))
        self.leave()

    def leave(self) -> None:
        """Close, for the last answer is out. While the client sends, that would be a reset, and the answer be lost.

        So this side alone says that it is done, and drops what comes: until the client is done too, 1 MiB, or 2 s.
        Over TLS it does not say so: a client must stop writing then. Source: RFC 9112 section 9.6, RFC 5246 section
        7.2.1.
        """
        if self.phase == "idle" or self._answering() or self.transport.is_closing():
            self.transport.close()
            return
        self.phase = "leaving"
        self._dropped = 0
        self._wait(DRAIN_SECONDS)
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _drop(self, count: int) -> None:
        self._dropped += count
        if self._dropped > DRAIN_BYTES and self.transport.get_write_buffer_size():
            self._close()
        elif self._dropped > DRAIN_BYTES:
            self.transport.abort()

    def _close(self) -> None:
        """Close; what is written may still go out, and over TLS the client answer."""
        self.transport.close()
        self._wait(READER_IDLE_SECONDS if self.transport.get_write_buffer_size() else DRAIN_SECONDS)

    def shutdown(self) -> None:
        """The server stops: as uvicorn does it, but an answer is not lost for that."""
        if self.phase == "drain":
            self.leave()
        elif self.phase != "leaving":
            super().shutdown()

    def _answering(self) -> bool:
        """Whether a request is under way whose answer is not out."""
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def on_message_begin(self) -> None:
        """A request line is coming."""
        self._head_bytes = self._head_lines = self._dropped = self._unfinished = 0
        self.phase = "head"
        self._wait(HEAD_SECONDS)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        super().on_url(url)
        if len(self.url) > TARGET_BYTES:
            raise BadHead(414, f"the target of the request is longer than {TARGET_BYTES >> 10} KiB")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer: those are counted, not kept."""
        self._head_lines += 1
        self._head_bytes += len(name) + len(value) + 4
        if self._head_lines > HEAD_LINES:
            raise BadHead(431, f"there are more than {HEAD_LINES} headers")
        if self._head_bytes > HEAD_BYTES:
            raise BadHead(431, LONG_HEAD)
        if self.phase == "head":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: refuse it, or start the request."""
        check_head(self.parser.get_http_version(), self.parser.get_method(), self.url, self.headers)
        if self.parser.should_upgrade():
            self._declined = True
            return
        self.phase = "body"
        self._wait(BODY_IDLE_SECONDS)
        self.body = PieceBody(self.flow, self.send_continue)
        connection = Connection(self, self.body)
        self.scope["extensions"] = {"entrepot": connection}  # type: ignore[dict-item]
        super().on_headers_complete()
        cycle: Any = self.cycle
        cycle.transport = self.outlet
        connection.bind(cycle)

    def on_body(self, body: bytes) -> None:
        """A piece of the body; once answered, a little more is taken so that the answer is not lost, then it is cut."""
        if not self.cycle.response_complete:
            assert self.body
            self.body.add(body)
            return
        self._drop(len(body))

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
        self.outlet.flush()
        if self.phase == "leaving":
            return  # and nothing behind it gets one
        if self.phase == "body" and not self._answering():
            self.phase = "drain"
            self._wait(DRAIN_SECONDS)
        super().on_response_complete()

    def send_continue(self) -> None:
        """100, now that somebody wants the body; a request that waits behind another is not the one that asks."""
        if not self.pipeline and self.cycle.waiting_for_100_continue and not self.transport.is_closing():
            self.cycle.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

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
