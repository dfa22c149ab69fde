"""Bytes over HTTP from a real server that cuts, stalls, lies and redirects."""

import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from entrepot.cache import transfer
from entrepot.cache.layout import part_path
from entrepot.cache.store import Cache
from entrepot.cache.web import HttpSource
from entrepot.errors import (
    Denied,
    DigestMismatch,
    EntrepotError,
    NotFound,
    Refused,
    Unauthenticated,
    Unavailable,
    Unsupported,
    UsageError,
)

DATA = os.urandom(400_000)
HEX = hashlib.sha256(DATA).hexdigest()
TOKEN = "eyJ.secret"


class Face(http.server.BaseHTTPRequestHandler):
    """Answers by path: `/<what it does>`."""

    asked: ClassVar[list[tuple[str, str | None, str | None]]]
    other_port: ClassVar[int]
    turns: ClassVar[dict[str, int]]

    def do_GET(self) -> None:
        span = self.headers.get("Range")
        self.asked.append((self.path, span, self.headers.get("Authorization")))
        turn = self.turns[self.path] = self.turns.get(self.path, 0) + 1
        first, *words = self.path.partition("?")[0].split("/")[1:]
        if not self.refuse(first, words, turn):
            self.send(first, span, turn)

    def refuse(self, first: str, words: list[str], turn: int) -> bool:
        match first:
            case "busy" if turn < 3:
                self.answer(502 + turn)
            case "status":
                self.answer(int(words[0]))
            case "there":
                self.answer(307, Location=f"http://127.0.0.1:{self.other_port}/whole")
            case "here":
                self.answer(302, Location="/whole")
            case _:
                return False
        return True

    def send(self, first: str, span: str | None, turn: int) -> None:
        match first:
            case "deaf":  # knows no Range
                self.give(DATA, None, stop=None if span else 150_000)
            case "cut":
                self.give(DATA, span, stop=100_000)
            case "never":
                self.give(DATA, span, stop=0)
            case "lie":
                self.give(DATA[:-1] + bytes([DATA[-1] ^ 1]), span)
            case "lie-once":
                self.give(bytes(len(DATA)) if turn == 1 else DATA, span)
            case "grow" if turn == 1:
                self.give(DATA[:200_000], span, stop=150_000)
            case "stall":
                self.give(DATA, span, stop=1000, stall=turn == 1)
            case "sizeless":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(DATA)
            case _:
                self.give(DATA, span)

    def answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def give(self, data: bytes, span: str | None, stop: int | None = None, *, stall: bool = False) -> None:
        start = int(span.removeprefix("bytes=").removesuffix("-")) if span else 0
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : None if stop is None else start + stop])
        if stall:
            threading.Event().wait(0.5)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def servers() -> Iterator[tuple[str, list[tuple[str, str | None, str | None]]]]:
    """The address of one server, and what it and a second one were asked: path, Range, Authorization."""
    asked: list[tuple[str, str | None, str | None]] = []
    second = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Face)
    face = type("BoundFace", (Face,), {"asked": asked, "turns": {}, "other_port": second.server_port})
    second.RequestHandlerClass = face
    first = http.server.ThreadingHTTPServer(("127.0.0.1", 0), face)
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,)) for server in (first, second)]
    for thread in threads:
        thread.start()
    yield f"http://127.0.0.1:{first.server_port}", asked
    for server, thread in zip((first, second), threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    root = Cache.open(str(tmp_path / "root")).root
    return Cache(root, pause=lambda _: None)


def test_a_blob_of_a_server_is_asked_by_digest_with_the_token(cache: Cache, servers: tuple[str, list[object]]) -> None:
    address, asked = servers
    source = HttpSource.of_server(address + "/", HEX, TOKEN)
    assert Path(cache.get(HEX, source)).read_bytes() == DATA
    assert asked == [(f"/api/v1/blobs/sha256:{HEX}", None, f"Bearer {TOKEN}")]


def test_a_body_that_ends_early_is_continued_by_range(cache: Cache, servers: tuple[str, list[object]]) -> None:
    address, asked = servers
    assert Path(cache.get(HEX, HttpSource(f"{address}/cut"))).read_bytes() == DATA
    assert asked == [("/cut", span, None) for span in (None, "bytes=100000-", "bytes=200000-", "bytes=300000-")]


def test_a_server_that_ignores_range_restarts_from_zero(cache: Cache, servers: tuple[str, list[object]]) -> None:
    address, asked = servers
    assert Path(cache.get(HEX, HttpSource(f"{address}/deaf"))).read_bytes() == DATA
    assert asked == [("/deaf", None, None), ("/deaf", "bytes=150000-", None)]


def test_what_a_killed_process_left_is_continued(cache: Cache, servers: tuple[str, list[object]]) -> None:
    address, asked = servers
    Path(part_path(cache.path, HEX, len(DATA))).write_bytes(DATA[:123_456])
    Path(part_path(cache.path, HEX, 99)).write_bytes(b"of another time")
    assert Path(cache.get(HEX, HttpSource(f"{address}/whole"))).read_bytes() == DATA
    assert asked == [("/whole", "bytes=123456-", None)]
    assert os.listdir(f"{cache.path}/parts") == []


def test_a_part_that_was_whole_needs_no_server(cache: Cache, servers: tuple[str, list[object]]) -> None:
    address, asked = servers
    Path(part_path(cache.path, HEX, len(DATA))).write_bytes(DATA)
    assert Path(cache.get(HEX, HttpSource(f"{address}/whole"))).read_bytes() == DATA
    assert asked == []


def test_a_poisoned_part_costs_one_more_download_from_zero(cache: Cache, servers: tuple[str, list[object]]) -> None:
    address, asked = servers
    Path(part_path(cache.path, HEX, len(DATA))).write_bytes(b"x" * 1000)
    assert Path(cache.get(HEX, HttpSource(f"{address}/whole"))).read_bytes() == DATA
    assert asked == [("/whole", "bytes=1000-", None), ("/whole", None, None)]


def test_a_lie_is_fetched_twice_and_then_refused(cache: Cache, servers: tuple[str, list[object]]) -> None:
    address, asked = servers
    with pytest.raises(DigestMismatch):
        cache.get(HEX, HttpSource(f"{address}/lie"))
    assert asked == [("/lie", None, None)] * 2
    assert cache.entries() == ()
    assert os.listdir(f"{cache.path}/parts") == []


def test_a_single_lie_is_forgiven(cache: Cache, servers: tuple[str, list[object]]) -> None:
    assert Path(cache.get(HEX, HttpSource(f"{servers[0]}/lie-once"))).read_bytes() == DATA


def test_a_size_that_changes_on_the_way_begins_anew(cache: Cache, servers: tuple[str, list[object]]) -> None:
    assert Path(cache.get(HEX, HttpSource(f"{servers[0]}/grow"))).read_bytes() == DATA
    assert os.listdir(f"{cache.path}/parts") == []


def test_a_busy_server_is_asked_again(cache: Cache, servers: tuple[str, list[object]]) -> None:
    assert Path(cache.get(HEX, HttpSource(f"{servers[0]}/busy"))).read_bytes() == DATA


@pytest.mark.parametrize(
    ("status", "kind", "times"),
    [
        (401, Unauthenticated, 1),
        (403, Denied, 1),
        (404, NotFound, 1),
        (410, NotFound, 1),
        (400, Refused, 1),
        (304, Refused, 1),
        (429, Unavailable, transfer.TRIES),
        (502, Unavailable, transfer.TRIES),
    ],
)
def test_only_what_may_pass_is_tried_again(
    cache: Cache, servers: tuple[str, list[object]], status: int, kind: type[EntrepotError], times: int
) -> None:
    address, asked = servers
    with pytest.raises(kind) as caught:
        cache.get(HEX, HttpSource(f"{address}/status/{status}?X-Amz-Signature=geheim", TOKEN))
    assert len(asked) == times
    for secret in (TOKEN, "geheim", cache.path):
        assert secret not in str(caught.value)


def test_a_line_that_brings_nothing_is_given_up_and_its_part_stays(
    cache: Cache, servers: tuple[str, list[object]]
) -> None:
    address, asked = servers
    part = Path(part_path(cache.path, HEX, len(DATA)))
    part.write_bytes(DATA[:1000])
    with pytest.raises(Unavailable):
        cache.get(HEX, HttpSource(f"{address}/never"))
    assert len(asked) == transfer.TRIES
    assert part.read_bytes() == DATA[:1000]


def test_a_line_that_gets_on_may_break_more_often_than_the_tries(
    cache: Cache, servers: tuple[str, list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = servers
    monkeypatch.setattr(transfer, "TRIES", 2)
    monkeypatch.setattr(transfer, "PROGRESS_BYTES", 100_000)
    assert Path(cache.get(HEX, HttpSource(f"{address}/cut"))).read_bytes() == DATA
    assert len(asked) == 4


def test_a_stalled_line_is_left_after_the_idle_time(cache: Cache, servers: tuple[str, list[object]]) -> None:
    address, asked = servers
    with pytest.raises(Unavailable):
        cache.get(HEX, HttpSource(f"{address}/stall", idle_seconds=0.1))
    assert asked[1] == ("/stall", "bytes=1000-", None)


def test_the_token_stays_with_its_host(cache: Cache, servers: tuple[str, list[object]]) -> None:
    address, asked = servers
    assert Path(cache.get(HEX, HttpSource(f"{address}/there", TOKEN))).read_bytes() == DATA
    assert asked == [("/there", None, f"Bearer {TOKEN}"), ("/whole", None, None)]


def test_the_token_goes_along_within_its_host(cache: Cache, servers: tuple[str, list[object]]) -> None:
    address, asked = servers
    cache.get(HEX, HttpSource(f"{address}/here", TOKEN))
    assert asked[1] == ("/whole", None, f"Bearer {TOKEN}")


def test_a_source_without_a_size_is_refused(cache: Cache, servers: tuple[str, list[object]]) -> None:
    with pytest.raises(Unsupported, match="how large"):
        cache.get(HEX, HttpSource(f"{servers[0]}/sizeless"))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/x", "http:///x", "http://h/a b", "http://h:port/"])
def test_what_is_no_url_of_the_web_is_refused(cache: Cache, url: str) -> None:
    with pytest.raises(UsageError):
        cache.get(HEX, HttpSource(url))


def test_a_token_that_would_break_the_header_is_refused(cache: Cache, servers: tuple[str, list[object]]) -> None:
    with pytest.raises(UsageError) as caught:
        cache.get(HEX, HttpSource(f"{servers[0]}/whole", "a\r\nX: y"))
    assert "X: y" not in str(caught.value)


def test_no_server_at_all_is_worth_another_try(cache: Cache) -> None:
    with pytest.raises(Unavailable, match=r"cannot reach 127\.0\.0\.1:1"):
        cache.get(HEX, HttpSource("http://127.0.0.1:1/x"))


def test_a_source_shows_neither_token_nor_url() -> None:
    assert "s3cr3t" not in repr(HttpSource("https://h/x?sig=s3cr3t", "s3cr3t"))


def test_pauses_grow_and_differ_and_obey_the_server() -> None:
    from entrepot.errors import Busy

    pauses = [transfer.pause_seconds(number, Unavailable()) for number in (1, 2, 3, 4)]
    assert all(0.5 * 2**n <= pause <= 0.75 * 2**n for n, pause in enumerate(pauses))
    assert 20 <= transfer.pause_seconds(1, Busy(retry_after_seconds=20)) <= 30
