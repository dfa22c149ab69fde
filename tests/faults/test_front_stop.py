"""A stop of the server: what is under way finishes in its time, and no answer is cut."""

import errno
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.objects import BIG, MB, eventually, front_server, head, line, read_sized, send_slowly, sized, stored
from tests.faults.sockets import Peer
from tests.running import RunningServer, running_server


def is_refused(server: RunningServer) -> bool:
    """Whether nobody listens any more."""
    parts = urlsplit(server.url)
    with socket.socket() as knocking:
        return knocking.connect_ex((parts.hostname, parts.port)) == errno.ECONNREFUSED


@pytest.fixture
def stopping(tmp_path: Path) -> Iterator[RunningServer]:
    """A server of its own, to be stopped; large reads are hashed on their way, so our buffers hold some of them."""
    with front_server(tmp_path / "data", environ={"ENTREPOT_VERIFY_READS_DAYS": "0"}) as server:
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
    environ = {"ENTREPOT_INLINE_BYTES": str(32 * MB)}  # one piece in the catalog, in one write in the buffer
    with front_server(tmp_path / "data", environ=environ) as server:
        with Peer(server, window=64 << 10) as peer:
            peer.send(head(server, "GET", "big"))
            time.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert server.process.poll() is None
            assert peer.answer().body == BIG
        assert server.process.wait(5) == 0


def test_who_is_not_done_when_the_time_to_stop_is_over_is_cut(tmp_path: Path) -> None:
    with front_server(tmp_path / "data", environ={"ENTREPOT_DRAIN_SECONDS": "0.5"}) as server:
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


@pytest.mark.parametrize("close", [b"X-Nothing: 1", b"Connection: close"], ids=["kept open", "closing"])
def test_a_stop_does_not_cost_a_client_that_still_sends_its_answer(stopping: RunningServer, close: bytes) -> None:
    with Peer(stopping) as peer:
        peer.send(line("PUT", "early") + b"Host: x\r\nContent-Length: 900000\r\n" + close + b"\r\n\r\n")
        time.sleep(0.3)
        stopping.process.send_signal(signal.SIGTERM)
        eventually(lambda: is_refused(stopping))
        assert send_slowly(peer, bytes(900_000))
        heard = peer.hear()
        assert (heard.statuses, heard.end) == ([401], "closed")
    assert stopping.process.wait(5) == 0
