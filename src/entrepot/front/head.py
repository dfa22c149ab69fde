"""What the head of a request must be, and the answer to one that is not: a line of plain text, of no protocol."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final

import httptools

HEAD_BYTES: Final = 64 << 10
HEAD_LINES: Final = 256
TARGET_BYTES: Final = 16 << 10

Pair = tuple[bytes, bytes]


class BadHead(Exception):
    """The request line or headers are refused, with that status, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def check_head(version: str, method: bytes, target: bytes, headers: Sequence[Pair]) -> None:
    """Nothing, if it can be served; header names are in lower case. Raises: BadHead.

    Source: RFC 9112 sections 3.2 and 6.1; RFC 9110 section 7.4 (misdirected targets).
    """
    if version not in ("1.0", "1.1"):
        raise BadHead(400, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    if method == b"CONNECT":
        raise BadHead(405, "CONNECT is for proxies, and this is none")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise BadHead(400, f"a request has one Host header; this one has {len(hosts)}")
    if target[:1] not in (b"/", b"*") and _authority(target) != b"".join(hosts).lower():
        raise BadHead(400, "the target of the request is no path, or names another host than the Host header")
    if version == "1.0" and any(name == b"transfer-encoding" for name, _ in headers):
        raise BadHead(400, "HTTP/1.0 has no Transfer-Encoding; send a Content-Length, or HTTP/1.1")


def _authority(target: bytes) -> bytes:
    return target.partition(b"://")[2].partition(b"/")[0].lower()


def read_refusal(error: httptools.HttpParserError) -> BadHead:
    """Why the parser stopped: because one of our callbacks did, or on its own."""
    if isinstance(error.__context__, BadHead):
        return error.__context__
    if isinstance(error, httptools.HttpParserCallbackError):
        return BadHead(400, "the target of the request has no path that can be read")
    return BadHead(400, f"this cannot be read as HTTP/1.1: {error}")


def refusal(bad: BadHead, headers: Iterable[Pair], *, to_head: bool) -> bytes:
    """The last answer of a connection; one to the method HEAD has no text."""
    text = f"{bad}\n".encode()
    more = b"".join(b"%s: %s\r\n" % pair for pair in headers)
    head = (
        f"HTTP/1.1 {bad.status} {HTTPStatus(bad.status).phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
        f"content-length: {len(text)}\r\nconnection: close\r\n"
    )
    return head.encode() + more + b"\r\n" + (b"" if to_head else text)
