"""The HTTP front against broken, hostile, slow and dying clients: one right answer or none, nothing stored by half."""

import asyncio
import errno
import hashlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from entrepot import front
from tests.asking import Answer, ask
from tests.faults.sockets import Peer, hear_one
from tests.running import RunningServer, running_server

MB = 1 << 20
BUCKET = "front"
BIG = bytes(range(256)) * (24 * MB // 256)
"""More than the sockets' buffers of both ends hold."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all tests here, with a bucket and one large object."""
    with running_server(tmp_path_factory.mktemp("front") / "data") as running:
        running.bucket(BUCKET)
        put(running, "big", BIG)
        yield running


def authorization(server: RunningServer) -> bytes:
    return b"Authorization: Bearer " + server.admin_token.encode() + b"\r\n"


def put(server: RunningServer, key: str, data: bytes) -> None:
    assert ask(url_of(server, key), "PUT", data, {"Authorization": f"Bearer {server.admin_token}"}).status == 201


def url_of(server: RunningServer, key: str) -> str:
    return f"{server.url}/api/v1/objects/{BUCKET}/{key}"


def stored(server: RunningServer, key: str) -> bytes | None:
    answer = ask(url_of(server, key), headers={"Authorization": f"Bearer {server.admin_token}"})
    assert answer.status in (200, 404)
    return answer.body if answer.status == 200 else None


def line(method: str, key: str, version: str = "1.1") -> bytes:
    return f"{method} /api/v1/objects/{BUCKET}/{key} HTTP/{version}\r\n".encode()


def head(server: RunningServer, method: str, key: str, *more: bytes) -> bytes:
    """A head that is right, with these header lines behind the usual ones."""
    lines = b"".join(header + b"\r\n" for header in more)
    return line(method, key) + b"Host: x\r\n" + authorization(server) + lines + b"\r\n"


def sized(server: RunningServer, key: str, data: bytes, *more: bytes) -> bytes:
    return head(server, "PUT", key, b"Content-Length: %d" % len(data), *more) + data


CHUNKED = b"Transfer-Encoding: chunked"
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
    assert heard.end != "open"
    assert heard.statuses == [] or (len(heard.statuses) == 1 and 400 <= heard.statuses[0] < 500), heard
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
    assert heard.statuses in ([], [431])
    assert heard.end != "open"


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


def eventually(holds: Any, seconds: float = 5) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def closed_among(peers: list[Peer]) -> int:
    """How many the server has closed."""
    count = 0
    for peer in peers:
        peer.socket.setblocking(False)
        try:
            count += peer.socket.recv(1000) == b""
        except BlockingIOError:
            pass
        except OSError:
            count += 1
    return count


def test_beside_400_half_heads_others_are_served_and_the_halves_are_closed_in_ten_seconds(
    server: RunningServer,
) -> None:
    with ExitStack() as stack:
        halves = [stack.enter_context(Peer(server, source=f"127.0.{2 + number // 200}.1")) for number in range(400)]
        for number, peer in enumerate(halves):
            if number % 4:
                peer.send(line("GET", "big") + b"Host: x\r\nX-A: ")
        began = time.monotonic()
        waits = []
        while (closed := closed_among(halves)) < 400 and time.monotonic() - began < 20:
            for peer in halves[::7]:
                peer.send(b"a")  # a drop now and then keeps none alive
            asked = time.monotonic()
            honest = head(server, "GET", "big", b"Range: bytes=0-9", b"Connection: close")
            assert hear_one(server, honest).statuses == [206]
            waits.append(time.monotonic() - asked)
            time.sleep(0.2)
        assert closed == 400
        assert 8 < time.monotonic() - began < 14
        assert sorted(waits)[len(waits) * 9 // 10] < 0.5


def test_strangers_of_one_address_are_limited_and_those_with_a_proof_are_not(tmp_path: Path) -> None:
    environ = {"ENTREPOT_MAX_CONNECTIONS_PER_ADDRESS": "4", "ENTREPOT_MAX_CONNECTIONS": "12"}
    with running_server(tmp_path / "data", environ=environ) as server, ExitStack() as stack:

        def peer(source: str) -> Peer:
            return stack.enter_context(Peer(server, source=source))

        def is_served(one: Peer) -> bool:
            try:
                return one.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n") and one.answer().status == 200
            except ConnectionError:
                return False

        strangers = [peer("127.0.0.2") for _ in range(4)]
        assert all(is_served(one) for one in strangers)
        assert not is_served(peer("127.0.0.2"))
        assert is_served(peer("127.0.0.3"))
        me = b"GET /api/v1/me HTTP/1.1\r\nHost: x\r\n" + authorization(server) + b"\r\n"
        for one in strangers[:2]:
            one.send(me)
            assert one.answer().status == 200
        assert all(is_served(peer("127.0.0.2")) for _ in range(2))
        assert not is_served(peer("127.0.0.2"))
        strangers[-1].socket.close()
        time.sleep(0.2)
        assert is_served(peer("127.0.0.2"))
        filling = [peer(f"127.0.1.{number}") for number in range(2, 12)]
        assert not all(is_served(one) for one in filling)
        assert any(is_served(one) for one in filling)


def memory_of(process: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("verify_days", ["7", "0"], ids=["sent by the kernel", "hashed on the way"])
def test_readers_that_do_not_read_cost_no_memory(tmp_path: Path, verify_days: str) -> None:
    with running_server(tmp_path / "data", environ={"ENTREPOT_VERIFY_READS_DAYS": verify_days}) as server:
        server.bucket(BUCKET)
        put(server, "big", BIG)
        assert stored(server, "big") == BIG
        before = memory_of(server.process.pid)
        with ExitStack() as stack:
            peers = [stack.enter_context(Peer(server, window=64 << 10)) for _ in range(12)]
            for peer in peers:
                peer.send(head(server, "GET", "big", b"Connection: close"))
            time.sleep(1)
            grown = memory_of(server.process.pid) - before
            assert grown < 5 * MB * len(peers)  # of 24 MB each
            assert stored(server, "big") == BIG
            data = peers[0].hear().data
            assert data.endswith(BIG[-MB:])
            assert len(data) > len(BIG)


def test_pipelined_requests_are_answered_in_order(server: RunningServer) -> None:
    count = 60
    parts = [
        sized(server, f"pipe-{number}", b"%d" % number) + head(server, "GET", f"pipe-{number}")
        for number in range(count)
    ]
    with Peer(server) as peer:
        sender = threading.Thread(target=peer.send, args=(b"".join(parts),))
        sender.start()
        stream = peer.socket.makefile("rb")
        for number in range(count):
            assert read_sized(stream).status == 201
            assert read_sized(stream).body == b"%d" % number
        stream.close()
        sender.join()


def read_sized(stream: Any) -> Answer:
    """One answer with a Content-Length, from a stream that holds more."""
    status = int(stream.readline().split()[1])
    headers = []
    while text := stream.readline().strip():
        name, _, value = text.decode().partition(": ")
        headers.append((name.lower(), value))
    return Answer(status, tuple(headers), stream.read(int(dict(headers).get("content-length", 0))))


def test_a_slow_upload_pipelined_behind_a_request_is_not_cut(server: RunningServer) -> None:
    data = bytes(3000)
    with Peer(server) as peer:
        peer.send(head(server, "GET", "big", b"Range: bytes=0-3") + sized(server, "slow", data)[:-2000])
        stream = peer.socket.makefile("rb")
        assert read_sized(stream).body == BIG[:4]
        time.sleep(3)
        peer.send(data[-2000:])
        assert read_sized(stream).status == 201
        stream.close()
    assert stored(server, "slow") == data


def test_rubbish_behind_a_right_request_does_not_eat_its_answer(server: RunningServer) -> None:
    heard = hear_one(server, sized(server, "before-rubbish", bytes(20_000)) + b"\x00\x01rubbish\r\n\r\n")
    assert heard.statuses[0] == 201
    assert len(heard.statuses) == 1
    assert heard.end == "closed"


def test_a_connection_is_used_again_after_every_kind_of_answer(server: RunningServer) -> None:
    put(server, "small", b"0123456789")
    etag = hashlib.sha256(b"0123456789").hexdigest()
    asked: list[tuple[str, bytes, int, int | None]] = [
        ("GET", head(server, "GET", "small"), 200, 10),
        ("HEAD", head(server, "HEAD", "small"), 200, 0),
        ("GET", head(server, "GET", "small", b"Range: bytes=2-4"), 206, 3),
        ("GET", head(server, "GET", "small", b'If-None-Match: "%s"' % etag.encode()), 304, 0),
        ("GET", head(server, "GET", "small", b'If-Match: "other"'), 412, None),
        ("GET", head(server, "GET", "small", b"Range: bytes=20-"), 416, None),
        ("GET", head(server, "GET", "missing"), 404, None),
        ("HEAD", head(server, "HEAD", "missing"), 404, 0),
        ("GET", head(server, "GET", "big"), 200, len(BIG)),
        ("GET", head(server, "GET", "big", b"Range: bytes=1000-2000999"), 206, 2_000_000),
        ("PUT", sized(server, "new", b"new"), 201, None),
        ("PUT", head(server, "PUT", "new", CHUNKED) + b"3\r\nnew\r\n0\r\n\r\n", 201, None),
        ("PUT", sized(server, "new", bytes(100_000)), 201, None),
        ("PUT", sized(server, "new", bytes(100_000), b"If-None-Match: *"), 412, None),
        ("PUT", sized(server, "new", b"x", b"Content-Digest: sha-256=:" + b"A" * 43 + b"=:"), 422, None),
        ("DELETE", head(server, "DELETE", "new"), 204, 0),
        ("DELETE", head(server, "DELETE", "new"), 404, None),
        ("PATCH", head(server, "PATCH", "new"), 405, None),
        ("PUT", sized(server, "stranger", bytes(100_000)).replace(authorization(server), b""), 401, None),
        (
            "POST",
            head(server, "POST", "x", b"Content-Length: 2").replace(b"objects/front/x", b"uploads") + b"[]",
            400,
            None,
        ),
        ("GET", b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", 200, None),
        ("GET", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200, None),
    ]
    with Peer(server) as peer:
        for method, request, status, length in asked * 2:
            peer.send(request)
            answer = peer.answer(method)
            assert answer.status == status, (request, answer)
            assert length is None or len(answer.body) == length


def test_http_1_0_is_answered_and_closed(server: RunningServer) -> None:
    put(server, "small", b"0123456789")
    heard = hear_one(server, line("GET", "small", "1.0") + authorization(server) + b"\r\n")
    assert (heard.statuses, heard.end) == ([200], "closed")
    assert heard.data.endswith(b"\r\n\r\n0123456789")


def is_refused(server: RunningServer) -> bool:
    parts = urlsplit(server.url)
    with socket.socket() as knocking:
        return knocking.connect_ex((parts.hostname, parts.port)) == errno.ECONNREFUSED


@pytest.fixture
def stopping(tmp_path: Path) -> Iterator[RunningServer]:
    """A server of its own, to be stopped; large reads are hashed on their way, so our buffers hold some of them."""
    with running_server(tmp_path / "data", environ={"ENTREPOT_VERIFY_READS_DAYS": "0"}) as server:
        server.bucket(BUCKET)
        put(server, "big", BIG)
        yield server


def test_a_stop_lets_an_upload_and_downloads_finish_and_takes_nothing_new(stopping: RunningServer) -> None:
    data = os.urandom(300_000)
    request = sized(stopping, "late", data)
    with ExitStack() as stack:
        up, down, ready, idle, half = (stack.enter_context(Peer(stopping, window=64 << 10)) for _ in range(5))
        up.send(request[:150_000])
        down.send(head(stopping, "GET", "big"))
        ready.send(head(stopping, "GET", "big") + b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        idle.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.answer().status == 200
        half.send(b"GET /livez HTT")
        time.sleep(0.3)
        stopping.process.send_signal(signal.SIGTERM)
        eventually(lambda: is_refused(stopping))
        assert idle.hear().end == "closed"
        assert half.hear().end == "closed"
        time.sleep(0.3)
        assert stopping.process.poll() is None
        assert down.answer().body == BIG
        stream = ready.socket.makefile("rb")
        assert read_sized(stream).body == BIG
        answer = read_sized(stream)
        assert (answer.status, b"draining" in answer.body) == (503, True)
        stream.close()
        up.send(request[150_000:])
        answer = up.answer("PUT")
        assert (answer.status, answer["connection"]) == (201, "close")
    assert stopping.process.wait(5) == 0
    with running_server(stopping.data) as again:
        assert stored(again, "late") == data


def test_the_end_of_an_answer_that_waits_for_a_slow_reader_is_not_cut_by_a_stop(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", environ={"ENTREPOT_INLINE_BYTES": str(32 * MB)}) as server:
        server.bucket(BUCKET)
        put(server, "big", BIG)  # one piece in the catalog, and in one write in the connection's buffer
        with Peer(server, window=64 << 10) as peer:
            peer.send(head(server, "GET", "big"))
            time.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert server.process.poll() is None
            assert peer.answer().body == BIG
        assert server.process.wait(5) == 0


def test_who_is_not_done_when_the_time_to_stop_is_over_is_cut(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", environ={"ENTREPOT_DRAIN_SECONDS": "0.5"}) as server:
        server.bucket(BUCKET)
        put(server, "big", BIG)
        with Peer(server) as up, Peer(server, window=64 << 10) as down:
            up.send(sized(server, "never", bytes(100_000))[:-10])
            down.send(head(server, "GET", "big"))
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(8) == 0
            heard = down.hear()
            assert len(heard.data) < len(BIG)
        with running_server(server.data) as again:
            assert stored(again, "never") is None
            assert os.listdir(again.data / "staging") == []
            assert again.call("GET", "/projects")[0]["reserved"] == 0


def test_a_second_signal_ends_at_once(stopping: RunningServer) -> None:
    with Peer(stopping) as up:
        up.send(sized(stopping, "never", bytes(100_000))[:-10])
        time.sleep(0.3)
        stopping.process.send_signal(signal.SIGTERM)
        eventually(lambda: is_refused(stopping))
        assert stopping.process.poll() is None
        stopping.process.send_signal(signal.SIGTERM)
        assert stopping.process.wait(3) == 1
    with running_server(stopping.data) as again:
        assert stored(again, "never") is None
        assert stored(again, "big") == BIG


def test_wrong_stored_bytes_end_in_a_reset_and_never_in_a_clean_end(stopping: RunningServer) -> None:
    digest = hashlib.sha256(BIG).hexdigest()
    (path,) = (stopping.data / "blobs" / digest[:2]).iterdir()
    with path.open("r+b") as file:
        file.seek(5 * MB)
        file.write(b"evil")
    with Peer(stopping) as peer:
        peer.send(head(stopping, "GET", "big", b"Connection: close"))
        heard = peer.hear()
    assert heard.end == "reset"
    assert len(heard.data.partition(b"\r\n\r\n")[2]) < len(BIG)
    assert stored(stopping, "big") is None
    put(stopping, "elsewhere", BIG)
    assert stored(stopping, "big") == BIG


def test_no_answer_and_no_log_of_all_this_shows_a_token_or_a_fault_of_ours(server: RunningServer) -> None:
    log = server.log.read_text()
    assert server.admin_token not in log
    assert "a fault of ours" not in log
    assert "Traceback" not in log
    assert "Exception in ASGI" not in log


async def test_a_descriptor_is_closed_only_when_the_kernel_is_done_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    file, out = os.open(__file__, os.O_RDONLY), os.dup(ours.fileno())
    steps: list[str] = []
    sending, send = threading.Event(), front._send_some

    def slow_send(*args: int) -> int:
        sending.set()
        time.sleep(0.1)
        steps.append("sent")
        return send(*args)

    async def serve() -> None:
        try:
            await front._send_all(out, file, 0, 1000)
        finally:
            steps.append("closed")

    monkeypatch.setattr(front, "_send_some", slow_send)
    task = asyncio.create_task(serve())
    assert await asyncio.to_thread(sending.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.3)
    assert steps == ["sent", "closed"]
    for descriptor in (file, out):
        os.close(descriptor)
    ours.close()
    theirs.close()
