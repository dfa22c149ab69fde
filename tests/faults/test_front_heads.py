"""Heads and framing that are broken, hostile or in pieces: one right answer or one refusal, and nothing behind it."""

import os
import socket
import time
from collections.abc import Iterator

import pytest

from tests.faults.objects import (
    BUCKET,
    CHUNKED,
    MB,
    authorization,
    head,
    line,
    send_slowly,
    sized,
    stored,
)
from tests.faults.sockets import Peer, hear_one
from tests.running import RunningServer

BAD_HEADERS = {
    "two lengths that differ": (b"Content-Length: 5", b"Content-Length: 0"),
    "two lengths that agree": (b"Content-Length: 5", b"Content-Length: 5"),
    "a list of lengths": (b"Content-Length: 5, 5",),
    "a length with a sign": (b"Content-Length: +5",),
    "a negative length": (b"Content-Length: -1",),
    "a length in hex": (b"Content-Length: 0x5",),
    "a length of 23 digits": (b"Content-Length: 99999999999999999999999",),
    "no length at all": (b"Content-Length:",),
    "two words of length": (b"Content-Length: 5 5",),
    "length and chunks": (b"Content-Length: 5", CHUNKED),
    "chunks and length": (CHUNKED, b"Content-Length: 5"),
    "an unknown coding": (b"Transfer-Encoding: xchunked",),
    "chunks not last": (b"Transfer-Encoding: chunked, identity",),
    "a space before the colon": (b"Transfer-Encoding : chunked",),
    "a control character before chunked": (b"Transfer-Encoding: \x0bchunked",),
    "chunked twice": (b"Transfer-Encoding: chunked, chunked",),
    "a folded header": (b"Content-Length: 5\r\nX-A: b\r\n c",),
    "a folded length": (b"Content-Length:\r\n 5",),
    "a bare CR": (b"Content-Length: 5", b"X-A: b\rX-B: c"),
    "a NUL": (b"Content-Length: 5", b"X-A: b\x00c"),
    "a header without a colon": (b"Content-Length: 5", b"nonsense"),
    "a header without a name": (b"Content-Length: 5", b": x"),
    "a space in a name": (b"Content-Length: 5", b"X A: b"),
    "a second host": (b"Content-Length: 5", b"Host: y"),
    "a header of 200 KB": (b"Content-Length: 5", b"X-A: " + b"a" * 200_000),
    "10,000 headers": (b"Content-Length: 5", *(b"X-%d: a" % number for number in range(10_000))),
    "300 headers": (b"Content-Length: 5", *(b"X-%d: a" % number for number in range(300))),
}
BAD_CHUNKS = {
    "a chunk size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a negative chunk": b"-1\r\nhello\r\n0\r\n\r\n",
    "a chunk of 2**70": b"400000000000000000\r\nhello\r\n0\r\n\r\n",
    "a chunk line ended by LF": b"5\nhello\r\n0\r\n\r\n",
    "a chunk longer than it says": b"5\r\nhelloXX\r\n0\r\n\r\n",
    "a chunk without a size": b"\r\nhello\r\n0\r\n\r\n",
    "an endless trailer": b"5\r\nhello\r\n0\r\n"
    + b"".join(b"X-%d: a\r\n" % number for number in range(20_000))
    + b"\r\n",
    "a trailer of 200 KB": b"5\r\nhello\r\n0\r\nX-A: " + b"a" * 200_000 + b"\r\n\r\n",
    "a chunk extension with a NUL": b"5;a=\x00\r\nhello\r\n0\r\n\r\n",
}
BAD_LINES = {
    "no host": line("PUT", "first"),
    "an unknown method": line("SPLICE", "first") + b"Host: x\r\n",
    "a method in lower case": line("put", "first") + b"Host: x\r\n",
    "version 1.2": line("PUT", "first", "1.2") + b"Host: x\r\n",
    "version 2.0": line("PUT", "first", "2.0") + b"Host: x\r\n",
    "no version": f"PUT /api/v1/objects/{BUCKET}/first\r\n".encode() + b"Host: x\r\n",
    "chunks on HTTP/1.0": line("PUT", "first", "1.0") + b"Host: x\r\n" + CHUNKED + b"\r\n",
    "a target of 200 KB": line("PUT", "first" + "a" * 200_000) + b"Host: x\r\n",
    "a target of 20 KB": line("PUT", "first" + "a" * 20_000) + b"Host: x\r\n",
    "a control character in the target": line("PUT", "fir\x01st") + b"Host: x\r\n",
    "a space in the target": line("PUT", "fir st") + b"Host: x\r\n",
    "another authority": line("PUT", "first").replace(b"/api", b"http://y/api", 1) + b"Host: x\r\n",
    "a user in the authority": line("PUT", "first").replace(b"/api", b"http://x@y/api", 1) + b"Host: y\r\n",
    "an absolute target without host": line("PUT", "first").replace(b"/api", b"http://x/api", 1),
    "CONNECT": b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n",
    "the target *": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n",
    "a target that is no path": b"GET api HTTP/1.1\r\nHost: x\r\n",
    "TLS on a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
}


def bad_requests() -> Iterator[tuple[str, bytes, bytes]]:
    """Name, head up to the authorization, and the rest."""
    for name, headers in BAD_HEADERS.items():
        lines = b"\r\n".join(headers)
        yield name, line("PUT", "first") + b"Host: x\r\n" + lines + b"\r\n", b"5\r\nhello\r\n0\r\n\r\n"
    for name, body in BAD_CHUNKS.items():
        yield name, line("PUT", "first") + b"Host: x\r\n" + CHUNKED + b"\r\n", body
    for name, begin in BAD_LINES.items():
        yield name, begin, b"hello"


@pytest.mark.parametrize(("begin", "rest"), [pytest.param(b, r, id=name) for name, b, r in bad_requests()])
def test_a_malformed_request_gets_one_refusal_and_nothing_behind_it_runs(
    server: RunningServer, begin: bytes, rest: bytes
) -> None:
    smuggled = sized(server, "smuggled", b"evil")
    heard = hear_one(server, begin + authorization(server) + b"\r\n" + rest + smuggled)
    assert heard.end == "closed"
    assert len(heard.statuses) == 1, heard
    assert 400 <= heard.statuses[0] < 500
    assert stored(server, "smuggled") is None
    assert stored(server, "first") is None


def test_the_request_the_malformed_ones_are_made_of_is_right(server: RunningServer) -> None:
    begin = line("PUT", "right") + b"Host: x\r\n" + CHUNKED + b"\r\n" + authorization(server) + b"\r\n"
    heard = hear_one(
        server, begin + b"5\r\nhello\r\n0\r\n\r\n" + sized(server, "behind-it", b"more", b"Connection: close")
    )
    assert heard.statuses == [201, 201]
    assert (stored(server, "right"), stored(server, "behind-it")) == (b"hello", b"more")


def test_an_absolute_target_with_the_authority_of_host_is_served(server: RunningServer) -> None:
    request = head(server, "GET", "big", b"Range: bytes=0-3", b"Connection: close")
    heard = hear_one(server, request.replace(b" /api", b" http://x/api", 1))
    assert heard.statuses == [206]


def test_a_few_trailers_are_dropped(server: RunningServer) -> None:
    body = b"5\r\nhello\r\n0\r\nX-Checksum: 1\r\nHost: y\r\nAuthorization: none\r\n\r\n"
    heard = hear_one(server, head(server, "PUT", "trailed", CHUNKED, b"Connection: close") + body)
    assert heard.statuses == [201]
    assert stored(server, "trailed") == b"hello"


@pytest.mark.parametrize("first", [20, 120, 700], ids="cut after {} bytes".format)
def test_a_head_in_two_packets_before_a_large_body_is_served(server: RunningServer, first: int) -> None:
    data = os.urandom(250_000)
    request = sized(server, "in-two-packets", data, b"X-Padding: " + b"p" * 9000, b"Connection: close")
    with Peer(server) as peer:
        peer.send(request[:first])
        time.sleep(0.05)
        peer.send(request[first:])
        assert peer.hear().statuses == [201]
    assert stored(server, "in-two-packets") == data


def test_a_head_that_comes_byte_by_byte_is_served(server: RunningServer) -> None:
    request = sized(server, "bytewise", b"hello", b"Connection: close")
    with Peer(server) as peer:
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            peer.send(bytes([byte]))
        assert peer.hear().statuses == [201]
    assert stored(server, "bytewise") == b"hello"


def test_a_head_without_end_is_refused_long_before_it_fills_the_memory(server: RunningServer) -> None:
    with Peer(server) as peer:
        peer.send(line("GET", "big") + b"Host: x\r\nX-A: ")
        sent = 0
        while peer.send(b"a" * 10_000) and sent < 16 * MB:
            sent += 10_000
        assert sent < 8 * MB
        heard = peer.hear()
    assert heard.statuses == [431]
    assert heard.end != "open"


LONG, TOO_LONG = line("GET", "a" * 16_000), line("GET", "a" * 17_000)
REFUSALS = {
    "no host": (line("GET", "big"), b"400 Bad Request", b"one Host header; this one has 0"),
    "two hosts": (line("GET", "big") + b"Host: x\r\nHost: x\r\n", b"400 Bad Request", b"this one has 2"),
    "another host": (BAD_LINES["another authority"], b"400 Bad Request", b"another host than the Host header"),
    "no path": (b"GET http://x HTTP/1.1\r\nHost: x\r\n", b"400 Bad Request", b"has no path that can be read"),
    "not ASCII": (line("GET", "\u00e9") + b"Host: x\r\n", b"400 Bad Request", b"Invalid char in url path"),
    "HTTP/2.0": (BAD_LINES["version 2.0"], b"400 Bad Request", b"only HTTP/1.0 and HTTP/1.1 are spoken here"),
    "chunks on HTTP/1.0": (BAD_LINES["chunks on HTTP/1.0"], b"400 Bad Request", b"send a Content-Length"),
    "no method": (BAD_LINES["an unknown method"], b"400 Bad Request", b"cannot be read as HTTP/1.1: Invalid method"),
    "a length twice": (line("GET", "big") + b"Content-Length: 5\r\n" * 2, b"400 Bad Request", b"Duplicate"),
    "CONNECT": (BAD_LINES["CONNECT"], b"405 Method Not Allowed", b"CONNECT is for proxies"),
    "a long target": (TOO_LONG + b"Host: x\r\n", b"414 Request-URI Too Long", b"longer than 16 KiB"),
    "many headers": (line("GET", "big") + b"X-A: a\r\n" * 257, b"431 Request Header Fields Too Large", b"256 headers"),
    "a long header": (
        line("GET", "big") + b"X-A: " + b"a" * 70_000 + b"\r\n",
        b"431 Request Header Fields Too Large",
        b"longer than 64 KiB",
    ),
}


@pytest.mark.parametrize(("begin", "status", "why"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_says_in_a_line_of_text_what_was_wrong(
    server: RunningServer, begin: bytes, status: bytes, why: bytes
) -> None:
    heard = hear_one(server, begin + b"\r\n")
    first, *headers = heard.data.partition(b"\r\n\r\n")[0].split(b"\r\n")
    text = heard.data.partition(b"\r\n\r\n")[2]
    assert first == b"HTTP/1.1 " + status
    assert b"content-type: text/plain; charset=utf-8" in headers
    assert b"content-length: %d" % len(text) in headers
    assert b"connection: close" in headers
    assert any(header.startswith(b"date: ") for header in headers)
    assert why in text
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    assert heard.end == "closed"


def test_a_target_of_almost_16_kib_is_no_reason_to_refuse(server: RunningServer) -> None:
    assert hear_one(server, LONG + b"Host: x\r\nConnection: close\r\n\r\n").statuses != [414]


@pytest.mark.parametrize("wrong", [line("HEAD", "big"), line("HEAD", "a\x01") + b"Host: x\r\n"])
def test_a_refused_head_request_gets_the_headers_alone(server: RunningServer, wrong: bytes) -> None:
    heard = hear_one(server, wrong + b"\r\n")
    assert heard.statuses == [400]
    assert b"content-length: 0\r\n" not in heard.data
    assert heard.data.endswith(b"\r\n\r\n")


def test_rubbish_behind_a_head_request_is_refused_with_text(server: RunningServer) -> None:
    with Peer(server) as peer:
        peer.send(head(server, "HEAD", "big"))
        assert peer.answer("HEAD").status == 200
        peer.send(b"SPLICE / HTTP/1.1\r\n\r\n")
        assert b"Invalid method" in peer.answer().body


def test_a_refusal_reaches_a_client_that_still_sends(server: RunningServer) -> None:
    with Peer(server) as peer:
        peer.send(TOO_LONG)
        time.sleep(0.1)
        assert send_slowly(peer, b"X-A: a\r\n" * 90_000)
        heard = peer.hear()
    assert (heard.statuses, heard.end) == ([414], "closed")
