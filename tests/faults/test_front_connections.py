"""Many connections, slow ones, and many requests on one: others are served, memory stays, answers come in order."""

import asyncio
import hashlib
import os
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from entrepot.front import connection
from tests.faults.objects import (
    BIG,
    CHUNKED,
    MB,
    authorization,
    front_server,
    head,
    line,
    put,
    read_sized,
    sized,
    stored,
)
from tests.faults.sockets import Peer, hear_one
from tests.running import RunningServer, running_server


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
    with front_server(tmp_path / "data", environ={"ENTREPOT_VERIFY_READS_DAYS": verify_days}) as server:
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


def test_wrong_stored_bytes_end_in_a_reset_and_never_in_a_clean_end(tmp_path: Path) -> None:
    digest = hashlib.sha256(BIG).hexdigest()
    with front_server(tmp_path / "data", environ={"ENTREPOT_VERIFY_READS_DAYS": "0"}) as server:
        (path,) = (server.data / "blobs" / digest[:2]).iterdir()
        with path.open("r+b") as file:
            file.seek(5 * MB)
            file.write(b"evil")
        with Peer(server) as peer:
            peer.send(head(server, "GET", "big", b"Connection: close"))
            heard = peer.hear()
        assert heard.end == "reset"
        assert len(heard.data.partition(b"\r\n\r\n")[2]) < len(BIG)
        assert stored(server, "big") is None
        put(server, "elsewhere", BIG)
        assert stored(server, "big") == BIG


async def test_a_descriptor_is_closed_only_when_the_kernel_is_done_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    file, out = os.open(__file__, os.O_RDONLY), os.dup(ours.fileno())
    steps: list[str] = []
    sending, send = threading.Event(), connection._send_some

    def slow_send(*args: int) -> int:
        sending.set()
        time.sleep(0.1)
        steps.append("sent")
        return send(*args)

    async def serve() -> None:
        try:
            await connection._send_all(out, file, 0, 1000)
        finally:
            steps.append("closed")

    monkeypatch.setattr(connection, "_send_some", slow_send)
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
