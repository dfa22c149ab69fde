"""A TCP proxy on loopback that counts what it passes on: proof of what crossed the wire."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TLS_HELLO = b"\x16\x03"
"""How a client begins that tries TLS first."""


@dataclass
class Meter:
    """A proxy's address, and all that clients sent through it, in the order it came on each connection."""

    url: str
    streams: list[bytearray] = field(default_factory=list)

    def reset(self) -> None:
        """Count from zero."""
        for stream in self.streams:
            stream.clear()

    @property
    def requests(self) -> list[tuple[str, int]]:
        """Method and bytes of the body of each request, as they crossed the wire."""
        plain = (bytes(stream) for stream in self.streams if not stream.startswith(TLS_HELLO))
        return [found for stream in plain for found in _requests(stream)]


def _requests(stream: bytes) -> Iterator[tuple[str, int]]:
    """Requests with a Content-Length; one whose body was never sent must be the last of its connection."""
    while stream:
        head, _, stream = stream.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        assert b"transfer-encoding: chunked" not in lines
        length = next((int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")), 0)
        yield head.split()[0].decode(), len(stream[:length])
        stream = stream[length:]


@contextmanager
def metered(url: str) -> Iterator[Meter]:
    """A proxy in front of the server at `url`, for plain http."""
    target = urlsplit(url)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        meter = Meter(f"http://127.0.0.1:{listening.getsockname()[1]}")
        accepting = threading.Thread(target=_accept, args=(listening, (target.hostname, target.port), meter))
        accepting.start()
        try:
            yield meter
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()


def _accept(listening: socket.socket, target: tuple[str | None, int | None], meter: Meter) -> None:
    pairs: list[threading.Thread] = []
    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            server = socket.create_connection((target[0] or "", target[1] or 0))
            meter.streams.append(bytearray())
            for source, sink, kept in ((client, server, meter.streams[-1]), (server, client, None)):
                pairs.append(threading.Thread(target=_pass_on, args=(source, sink, kept), daemon=True))
                pairs[-1].start()
    for thread in pairs:
        thread.join(10)


def _pass_on(source: socket.socket, sink: socket.socket, kept: bytearray | None) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            if kept is not None:
                kept += piece
            sink.sendall(piece)
    for one in (source, sink):  # an end on one side ends both: no client of ours half-closes
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
    source.close()
