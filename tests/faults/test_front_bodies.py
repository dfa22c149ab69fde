"""Bodies that are offered, announced, cut or answered before their end: nothing stored by half, and no answer lost."""

import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.objects import (
    BIG,
    CHUNKED,
    MB,
    authorization,
    check_log,
    eventually,
    front_server,
    head,
    line,
    read_sized,
    send_slowly,
    sized,
    stored,
)
from tests.faults.sockets import Peer, hear_one
from tests.running import RunningServer

OFFER = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")


@pytest.mark.parametrize("pause", [False, True], ids=["in one packet", "the body later"])
@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
def test_the_body_behind_an_upgrade_offer_arrives_whole(server: RunningServer, pause: bool, chunked: bool) -> None:
    key = f"offered-{pause}-{chunked}"
    data = head(server, "DELETE", "big") * 300  # what must not be taken for requests
    framing = CHUNKED if chunked else b"Content-Length: %d" % len(data)
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data) if chunked else data
    with Peer(server) as peer:
        peer.send(head(server, "PUT", key, *OFFER, framing) + (b"" if pause else body))
        if pause:
            time.sleep(0.1)
            peer.send(body)
        assert peer.answer("PUT").status == 201
        peer.send(head(server, "GET", key, *OFFER))
        assert peer.answer().body == data
    assert stored(server, "big") == BIG


def test_two_pipelined_upgrade_offers_are_both_declined_and_served(server: RunningServer) -> None:
    offers = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: websocket"]
    one, two = (sized(server, f"offer-{number}", b"%d" % number, *offers) for number in (1, 2))
    with Peer(server) as peer:
        peer.send(one + two + head(server, "GET", "offer-2"))
        stream = peer.socket.makefile("rb")
        assert [read_sized(stream).status for _ in range(2)] == [201, 201]
        assert read_sized(stream).body == b"2"
        stream.close()


def test_an_answer_to_a_second_upgrade_offer_with_a_split_head(server: RunningServer) -> None:
    request = sized(server, "split-offer", b"hello", *OFFER)
    with Peer(server) as peer:
        for place in (10, 60, len(request) - 3):
            peer.send(request[:place])
            time.sleep(0.05)
            peer.send(request[place:])
            assert peer.answer("PUT").status == 201


def test_100_continue_comes_only_when_the_body_is_wanted(server: RunningServer) -> None:
    expect = b"Expect: 100-continue"
    with Peer(server) as peer:
        peer.send(head(server, "PUT", "expected", b"Content-Length: 100000", expect))
        assert peer.socket.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.send(bytes(100_000))
        assert peer.answer("PUT").status == 201
    stranger = head(server, "PUT", "expected", b"Content-Length: 100000", expect).replace(authorization(server), b"")
    refused = hear_one(server, stranger)
    assert (refused.statuses, refused.end) == ([401], "closed")
    assert b"connection: close" in refused.data
    nowhere = head(server, "PUT", "x", b"Content-Length: 100000", expect).replace(b"/front/", b"/no-such-bucket/")
    assert hear_one(server, nowhere).statuses == [404]


def test_an_early_answer_reaches_a_client_that_still_sends_50_mb(server: RunningServer) -> None:
    with Peer(server) as peer:
        peer.send(line("PUT", "early") + b"Host: x\r\nContent-Length: 50000000\r\n\r\n")
        sent = 0
        while sent < 50 and peer.send(bytes(MB)):
            sent += 1
        heard = peer.hear()
    assert heard.statuses == [401]
    assert heard.end != "open"
    assert sent < 40
    assert stored(server, "early") is None


def test_after_an_early_answer_to_a_small_body_the_connection_goes_on(server: RunningServer) -> None:
    with Peer(server) as peer:
        peer.send(line("PUT", "early") + b"Host: x\r\nContent-Length: 500000\r\n\r\n" + bytes(100_000))
        assert peer.answer("PUT").status == 401
        peer.send(bytes(400_000) + head(server, "GET", "big", b"Range: bytes=0-3"))
        assert peer.answer().body == BIG[:4]


def test_who_never_finishes_a_refused_body_is_let_go_after_two_seconds(server: RunningServer) -> None:
    with Peer(server) as peer:
        peer.send(line("PUT", "early") + b"Host: x\r\nContent-Length: 500000\r\n\r\n")
        assert peer.answer("PUT").status == 401
        began = time.monotonic()
        assert peer.hear(8).end != "open"
    assert time.monotonic() - began < 6


def test_a_broken_rest_of_an_answered_body_gets_no_second_answer(server: RunningServer) -> None:
    with Peer(server) as peer:
        peer.send(line("PUT", "early") + b"Host: x\r\n" + CHUNKED + b"\r\n\r\n5\r\nhello\r\n")
        assert peer.answer("PUT").status == 401
        peer.send(b"no chunk\r\n")
        heard = peer.hear()
    assert (heard.data, heard.end) == (b"", "closed")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The same, over TLS."""
    with front_server(tmp_path_factory.mktemp("front") / "data", tls=True) as running:
        yield running
        check_log(running)


def encrypt(peer: Peer, server: RunningServer) -> None:
    """From here on it speaks TLS, if the server does."""
    if server.cafile:
        context = ssl.create_default_context(cafile=server.cafile)
        peer.socket = context.wrap_socket(peer.socket, server_hostname="127.0.0.1")


CLOSING = {
    "HTTP/1.0": line("PUT", "early", "1.0") + b"Content-Length: 900000\r\n\r\n",
    "Connection: close": line("PUT", "early") + b"Host: x\r\nConnection: close\r\nContent-Length: 900000\r\n\r\n",
    "an offer": line("PUT", "early") + b"Host: x\r\nExpect: 100-continue\r\nContent-Length: 900000\r\n\r\n",
}
each_closing = pytest.mark.parametrize("request_head", CLOSING.values(), ids=CLOSING)


@each_closing
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_an_early_answer_that_ends_the_connection_reaches_a_client_that_still_sends(
    server: RunningServer, tls: RunningServer, request_head: bytes, secure: bool
) -> None:
    asked = tls if secure else server
    with Peer(asked) as peer:
        encrypt(peer, asked)
        peer.send(request_head)
        time.sleep(0.3)
        assert send_slowly(peer, bytes(900_000) + sized(asked, "behind", b"evil", b"Connection: close"))
        heard = peer.hear()
    assert (heard.statuses, heard.end) == ([401], "closed")
    assert heard.data.endswith(b"}")
    assert stored(asked, "behind") is None


@each_closing
def test_over_tls_nothing_says_the_end_while_the_client_may_still_send(tls: RunningServer, request_head: bytes) -> None:
    with Peer(tls) as peer:
        encrypt(peer, tls)
        peer.send(request_head)
        assert peer.answer("PUT").status == 401
        assert peer.hear(0.5).end == "open"
        assert peer.send(bytes(900_000))
        assert peer.hear(4).end == "closed"


@each_closing
def test_a_client_that_sends_50_mb_behind_the_last_answer_is_cut_after_one(
    server: RunningServer, request_head: bytes
) -> None:
    with Peer(server) as peer:
        peer.send(request_head.replace(b"900000", b"50000000"))
        sent = 0
        while sent < 50 and peer.send(bytes(MB)):
            sent += 1
        assert peer.hear().statuses == [401]
    assert sent < 40


@each_closing
def test_a_client_that_stays_behind_the_last_answer_is_let_go_after_two_seconds(
    server: RunningServer, request_head: bytes
) -> None:
    with Peer(server) as peer:
        peer.send(request_head)
        heard = peer.hear()
        assert (heard.statuses, heard.end) == ([401], "closed")  # our side, at once
        began = time.monotonic()
        eventually(lambda: not peer.send(b"more"))
    assert 1 < time.monotonic() - began < 4


@pytest.mark.parametrize("more", [b"X-Nothing: 1", b"Connection: close"], ids=["kept open", "closing"])
def test_a_slow_reader_gets_all_of_an_answer_though_its_body_never_ends(tmp_path: Path, more: bytes) -> None:
    environ = {"ENTREPOT_INLINE_BYTES": str(32 * MB)}  # the answer is one write, and waits in our buffer
    with front_server(tmp_path / "data", environ=environ) as server, Peer(server, window=64 << 10) as peer:
        peer.send(head(server, "GET", "big", b"Content-Length: 5", more))
        time.sleep(3)
        assert peer.answer().body == BIG


@pytest.mark.parametrize("end", ["FIN", "RST"])
@pytest.mark.parametrize("framing", ["length", "chunked", "small length", "small chunk", "part of a chunk"])
def test_a_body_that_is_cut_stores_nothing(server: RunningServer, framing: str, end: str) -> None:
    key = f"cut-{framing.replace(' ', '-')}-{end}"
    data = bytes(1_500_000)
    requests = {
        "length": head(server, "PUT", key, b"Content-Length: 3000000") + data,
        "small length": head(server, "PUT", key, b"Content-Length: 100") + data[:50],
        "chunked": head(server, "PUT", key, CHUNKED) + b"%x\r\n%s\r\n" % (len(data), data),
        "small chunk": head(server, "PUT", key, CHUNKED) + b"5\r\nhello\r\n",
        "part of a chunk": head(server, "PUT", key, CHUNKED) + b"5\r\nhel",
    }
    with Peer(server) as peer:
        peer.send(requests[framing])
        time.sleep(0.1)
        if end == "RST":
            peer.reset()
        else:
            peer.socket.shutdown(socket.SHUT_WR)
            heard = peer.hear()
            assert heard.end != "open"
            assert all(400 <= status < 500 for status in heard.statuses)
    eventually(lambda: key in server.log.read_text())  # it is done with the request
    assert stored(server, key) is None
    eventually(lambda: os.listdir(server.data / "staging") == [])
    eventually(lambda: server.call("GET", "/projects")[0]["reserved"] == 0)
