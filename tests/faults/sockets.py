"""Raw sockets to a server: bytes as they are written, and what comes back, however broken."""

import re
import socket
import struct
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Self
from urllib.parse import urlsplit

from tests.asking import Answer, answer_of
from tests.running import RunningServer


@dataclass(frozen=True)
class Heard:
    """All that came, and how it ended: `closed`, `reset`, or `open` if the server went silent."""

    data: bytes
    end: str

    @property
    def statuses(self) -> list[int]:
        """Of every answer in it, 100 Continue among them."""
        return [int(text) for text in re.findall(rb"HTTP/1\.1 (\d\d\d) ", self.data)]


class Peer:
    """One connection. Loopback only; `source` is another loopback address to come from."""

    def __init__(self, server: RunningServer, *, source: str = "", timeout: float = 10, window: int = 0) -> None:
        parts = urlsplit(server.url)
        self.socket = socket.socket()
        if window:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.socket.settimeout(timeout)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect((parts.hostname, parts.port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """Whether all of it went out before the server closed."""
        try:
            self.socket.sendall(data)
        except ConnectionError:
            return False
        return True

    def hear(self, seconds: float = 3) -> Heard:
        """Everything until the server ends the connection, or is silent for that long."""
        self.socket.settimeout(seconds)
        found = b""
        try:
            while piece := self.socket.recv(1 << 16):
                found += piece
        except TimeoutError:
            return Heard(found, "open")
        except ConnectionError:
            return Heard(found, "reset")
        return Heard(found, "closed")

    def answer(self, method: str = "GET") -> Answer:
        """The next answer, whole. Raises: whatever a cut one raises."""
        response = HTTPResponse(self.socket, method=method)
        response.begin()
        return answer_of(response)

    def reset(self) -> None:
        """End it by a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def hear_one(server: RunningServer, data: bytes, seconds: float = 3) -> Heard:
    """What comes back for these bytes on a connection of their own."""
    with Peer(server) as peer:
        peer.send(data)
        return peer.hear(seconds)
