"""A client for large bodies, of the standard library: raw sockets, sendfile, no copies to spare. Only servers count."""

import hashlib
import mmap
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from benchmarks.rounds import MIB

CHUNK: Final = 32 << 10


class WrongAnswer(Exception):
    """A status or a digest that must not be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers in lower case, and what came of the body with them."""

    status: int
    headers: dict[str, str]
    rest: bytes


@contextmanager
def dialled(url: str, tls: ssl.SSLContext | None = None) -> Iterator[socket.socket]:
    """A connection to the host of that URL."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), 120) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is None:
            yield plain
            return
        with tls.wrap_socket(plain, server_hostname=parts.hostname) as secure:
            yield secure


def head_of(method: str, url: str, **headers: str) -> bytes:
    """A request's head."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_answer(connection: socket.socket) -> Answer:
    """The head of an answer. Raises: WrongAnswer if it is not 2xx."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise WrongAnswer("the connection ended")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    answer = Answer(int(first.split()[1]), headers, rest)
    if not 200 <= answer.status < 300:
        raise WrongAnswer(f"{first}: {rest[:500]!r}")
    return answer


def send_file(connection: socket.socket, path: Path, start: int, size: int) -> None:
    """Bytes of a file, by the kernel if there is no TLS."""
    with path.open("rb") as file:
        if not isinstance(connection, ssl.SSLSocket):
            connection.sendfile(file, start, size)
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages, memoryview(pages) as view:
            for at in range(start, start + size, MIB):
                with view[at : min(at + MIB, start + size)] as piece:
                    connection.sendall(piece)


def send_repeatedly(connection: socket.socket, path: Path, size: int, times: int) -> None:
    """Bytes of a file, so many times over."""
    for _ in range(times):
        send_file(connection, path, 0, size)


def send_chunked(connection: socket.socket, path: Path, size: int, times: int = 1) -> None:
    """Bytes of a file in chunks of 32 KiB, so many times over."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        with memoryview(pages) as view:
            for start in [*range(0, size, MIB)] * times:
                vectors: list[memoryview | bytes] = []
                for at in range(start, min(start + MIB, size), CHUNK):
                    piece = view[at : min(at + CHUNK, size)]
                    vectors += [b"%x\r\n" % len(piece), piece, b"\r\n"]
                _send_vectors(connection, vectors)
                for vector in vectors:
                    if isinstance(vector, memoryview):
                        vector.release()
    connection.sendall(b"0\r\n\r\n")


def _send_vectors(connection: socket.socket, vectors: list[memoryview | bytes]) -> None:
    sent, index = 0, 0
    while index < len(vectors):
        first = memoryview(vectors[index])[sent:]
        sent += connection.sendmsg([first, *vectors[index + 1 :]])
        first.release()
        while index < len(vectors) and sent >= len(vectors[index]):
            sent -= len(vectors[index])
            index += 1


def put(
    url: str, path: Path, size: int, *, start: int = 0, chunked: bool = False, tls: ssl.SSLContext | None = None
) -> Answer:
    """PUT bytes of a file. Raises: WrongAnswer."""
    with dialled(url, tls) as connection:
        if chunked:
            connection.sendall(head_of("PUT", url, Transfer_Encoding="chunked"))
            send_chunked(connection, path, size)
        else:
            connection.sendall(head_of("PUT", url, Content_Length=str(size)))
            send_file(connection, path, start, size)
        return read_answer(connection)


def put_repeatedly(url: str, path: Path, size: int, times: int) -> Answer:
    """PUT the same bytes of a file so many times over, as one body. Raises: WrongAnswer."""
    with dialled(url) as connection:
        connection.sendall(head_of("PUT", url, Content_Length=str(size * times)))
        send_repeatedly(connection, path, size, times)
        return read_answer(connection)


def put_to_least(port: int, path: Path, size: int) -> str:
    """The sha256 that L found in the first bytes of a file."""
    with dialled(f"tcp://127.0.0.1:{port}") as connection:
        connection.sendall(size.to_bytes(8, "little"))
        send_file(connection, path, 0, size)
        return connection.recv(64, socket.MSG_WAITALL).decode()


def post_form(url: str, fields: dict[str, str], path: Path, size: int) -> Answer:
    """POST the bytes of a file as the part `file` of a form. Raises: WrongAnswer."""
    boundary = os.urandom(16).hex()
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="'
    front = "".join(f'{part}{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    front += f'{part}file"; filename="file"\r\nContent-Type: application/octet-stream\r\n\r\n'
    back = f"\r\n--{boundary}--\r\n"
    length = len(front) + size + len(back)
    with dialled(url) as connection:
        kind = f"multipart/form-data; boundary={boundary}"
        connection.sendall(head_of("POST", url, Content_Length=str(length), Content_Type=kind) + front.encode())
        send_file(connection, path, 0, size)
        connection.sendall(back.encode())
        return read_answer(connection)


def get(url: str, size: int, tls: ssl.SSLContext | None = None) -> str:
    """The sha256 of a body that has that size. Raises: WrongAnswer."""
    with dialled(url, tls) as connection:
        connection.sendall(head_of("GET", url))
        answer = read_answer(connection)
        if int(answer.headers["content-length"]) != size:
            raise WrongAnswer(f"{answer.headers['content-length']} bytes, not {size}")
        running, left = hashlib.sha256(answer.rest), size - len(answer.rest)
        with memoryview(bytearray(MIB)) as room:
            while left:
                count = connection.recv_into(room[: min(MIB, left)])
                if not count:
                    raise WrongAnswer("the body was cut")
                running.update(room[:count])
                left -= count
        return running.hexdigest()
