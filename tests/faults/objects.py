"""Requests for the objects of one bucket, byte by byte, and a server that has it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.asking import Answer, ask
from tests.faults.sockets import Peer
from tests.running import RunningServer, running_server

MB: Final = 1 << 20
BUCKET: Final = "front"
BIG: Final = bytes(range(256)) * (24 * MB // 256)
"""More than the sockets' buffers of both ends hold."""
CHUNKED: Final = b"Transfer-Encoding: chunked"


@contextmanager
def front_server(data: Path, **options: Any) -> Iterator[RunningServer]:
    """A server with the bucket and one large object."""
    with running_server(data, **options) as server:
        server.bucket(BUCKET)
        put(server, "big", BIG)
        yield server


def check_log(server: RunningServer) -> None:
    """It shows no token and no fault of ours."""
    log = server.log.read_text()
    for word in (server.admin_token, "a fault of ours", "Traceback", "Exception in ASGI"):
        assert word not in log


def bearer(server: RunningServer) -> dict[str, str]:
    """What proves the admin."""
    return {"Authorization": f"Bearer {server.admin_token}"}


def authorization(server: RunningServer) -> bytes:
    """The same as a header line."""
    return b"Authorization: Bearer " + server.admin_token.encode() + b"\r\n"


def put(server: RunningServer, key: str, data: bytes) -> None:
    """Store it."""
    assert ask(url_of(server, key), "PUT", data, bearer(server), cafile=server.cafile).status == 201


def url_of(server: RunningServer, key: str) -> str:
    """Where the object is."""
    return f"{server.url}/api/v1/objects/{BUCKET}/{key}"


def stored(server: RunningServer, key: str) -> bytes | None:
    """The bytes of the object; None if there is none."""
    answer = ask(url_of(server, key), headers=bearer(server), cafile=server.cafile)
    assert answer.status in (200, 404)
    return answer.body if answer.status == 200 else None


def line(method: str, key: str, version: str = "1.1") -> bytes:
    """A request line."""
    return f"{method} /api/v1/objects/{BUCKET}/{key} HTTP/{version}\r\n".encode()


def head(server: RunningServer, method: str, key: str, *more: bytes) -> bytes:
    """A head that is right, with these header lines behind the usual ones."""
    lines = b"".join(header + b"\r\n" for header in more)
    return line(method, key) + b"Host: x\r\n" + authorization(server) + lines + b"\r\n"


def sized(server: RunningServer, key: str, data: bytes, *more: bytes) -> bytes:
    """A PUT of it, whole."""
    return head(server, "PUT", key, b"Content-Length: %d" % len(data), *more) + data


def read_sized(stream: Any) -> Answer:
    """One answer with a Content-Length, from a stream that holds more."""
    status = int(stream.readline().split()[1])
    headers = []
    while text := stream.readline().strip():
        name, _, value = text.decode().partition(": ")
        headers.append((name.lower(), value))
    return Answer(status, tuple(headers), stream.read(int(dict(headers).get("content-length", 0))))


def send_slowly(peer: Peer, data: bytes) -> bool:
    """Whether all of it went out before the server closed, in a third of a second or more."""
    for begin in range(0, len(data), len(data) // 30):
        if not peer.send(data[begin : begin + len(data) // 30]):
            return False
        time.sleep(0.01)
    return True


def eventually(holds: Callable[[], bool], seconds: float = 5) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
