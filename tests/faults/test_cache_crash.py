"""Real processes on one root, killed where it hurts: the next one goes on, and no wrong byte is ever given."""

import hashlib
import http.server
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import entrepot
from entrepot.cache.hit import hit
from entrepot.cache.layout import blob_path, stamp_path
from entrepot.cache.store import Cache
from entrepot.cache.web import HttpSource

DATA = os.urandom(3_000_000)
HEX = hashlib.sha256(DATA).hexdigest()
SOURCES = str(Path(entrepot.__file__).parent.parent)

GET = """
import sys
from entrepot.cache.store import Cache
from entrepot.cache.web import HttpSource
from entrepot.errors import LimitReached
try:
    print(Cache.open(sys.argv[1]).get(sys.argv[2], HttpSource(sys.argv[3])))
except LimitReached as error:
    sys.exit(8)
"""

CHURN = """
import hashlib, os, random, sys
from entrepot.cache.layout import EVICT_LOCK
from entrepot.cache.limits import Limits
from entrepot.cache.locks import take
from entrepot.cache.store import Cache
from entrepot.cache.survey import survey
from entrepot.cache.web import HttpSource
from entrepot.errors import LimitReached
root, address, seed, room, *names = sys.argv[1:]
cache = Cache.open(root, limits=Limits(int(room), 0, hold_seconds=0, blind_hold_seconds=0))
chance = random.Random(seed)
for _ in range(25):
    name = chance.choice(names)
    try:
        descriptor = cache.open_blob(name, HttpSource(address + "/" + name))
    except LimitReached:
        continue
    with os.fdopen(descriptor, "rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == name
    with take(cache.root, EVICT_LOCK)[0]:
        assert survey(cache.root).used_bytes <= int(room)
"""


@dataclass
class World:
    """A server of blobs by `/<hex>`, and one root. `slow_seconds` lie between two pieces of a body."""

    root: str
    address: str = ""
    blobs: dict[str, bytes] = field(default_factory=lambda: {HEX: DATA})
    asked: list[str | None] = field(default_factory=list)
    slow_seconds: float = 0.0

    def start(self, *, failpoint: str = "", script: str = GET, words: list[str] | None = None) -> subprocess.Popen[str]:
        env = {**os.environ, "PYTHONPATH": SOURCES, "ENTREPOT_FAILPOINT": failpoint}
        argv = words if words is not None else [self.root, HEX, f"{self.address}/{HEX}"]
        command = [sys.executable, "-c", script, *argv]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def get(self) -> bytes:
        return Path(Cache.open(self.root).get(HEX, HttpSource(f"{self.address}/{HEX}"))).read_bytes()

    def wait_for_part(self, more_than: int = 0) -> int:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for path in Path(self.root).glob("parts/[0-9a-f]*"):
                if path.stat().st_size > more_than:
                    return path.stat().st_size
            time.sleep(0.01)
        raise AssertionError("no download began")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(str(tmp_path / "root"))

    class Face(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(span := self.headers.get("Range"))
            start = int(span.removeprefix("bytes=").removesuffix("-")) if span else 0
            data = made.blobs[self.path[1:]]
            self.send_response(206 if span else 200)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            try:
                for place in range(start, len(data), 100_000):
                    self.wfile.write(data[place : min(place + 100_000, len(data))])
                    time.sleep(made.slow_seconds)
            except ConnectionError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Face) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        made.address = f"http://127.0.0.1:{server.server_port}"
        yield made
        made.slow_seconds = 0
        server.shutdown()
        thread.join()


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL


def test_sixteen_processes_at_once_cause_one_download(world: World) -> None:
    world.slow_seconds = 0.1  # 3 s: longer than the last of them takes to start
    processes = [world.start() for _ in range(16)]
    ends = [finish(process) for process in processes]
    assert {(code, out) for code, out, _ in ends} == {(0, blob_path(world.root, HEX) + "\n")}
    assert world.asked == [None]
    assert Path(blob_path(world.root, HEX)).read_bytes() == DATA
    counts = Cache.open(world.root).stats().counts
    assert (counts.misses, counts.hits + counts.waits, counts.repairs) == (1, 15, 0)


def test_who_waits_for_long_is_told_once_how_far_the_other_is(world: World) -> None:
    world.slow_seconds = 0.15
    first = world.start()
    world.wait_for_part()
    second = world.start()
    code, out, err = finish(second)
    assert finish(first)[0] == code == 0
    assert out == blob_path(world.root, HEX) + "\n"
    assert re.fullmatch(rf"entrepot: waiting for .* sha256:{HEX[:8]}…{HEX[-4:]}: [\d.]+ \w+ of 2\.9 MiB\n", err)


@pytest.mark.parametrize(("point", "downloads"), [("cache.filled", 1), ("cache.renamed", 1)])
def test_killed_at_a_failpoint_the_next_get_goes_on_without_a_second_download(
    world: World, point: str, downloads: int
) -> None:
    assert finish(world.start(failpoint=f"{point}:kill"))[0] == -signal.SIGKILL
    assert hit(world.root, HEX) is None
    assert not os.path.exists(stamp_path(world.root, HEX))
    assert world.get() == DATA
    assert len(world.asked) == downloads
    assert hit(world.root, HEX)
    assert os.listdir(f"{world.root}/parts") == []


def test_killed_while_it_downloads_the_next_get_continues(world: World) -> None:
    world.slow_seconds = 0.05
    victim = world.start()
    world.wait_for_part(more_than=400_000)
    kill(victim)
    world.slow_seconds = 0
    assert hit(world.root, HEX) is None
    assert world.get() == DATA
    assert world.asked[0] is None
    assert int(str(world.asked[1]).removeprefix("bytes=").removesuffix("-")) > 400_000


def test_when_the_holder_is_killed_one_waiter_goes_on_and_the_rest_wait_for_it(world: World) -> None:
    world.slow_seconds = 0.05
    victim = world.start()
    world.wait_for_part(more_than=200_000)
    waiters = [world.start() for _ in range(4)]
    time.sleep(0.3)
    kill(victim)
    assert {finish(waiter)[:2] for waiter in waiters} == {(0, blob_path(world.root, HEX) + "\n")}
    assert len(world.asked) == 2
    assert Path(blob_path(world.root, HEX)).read_bytes() == DATA


@pytest.mark.parametrize("point", ["cache.filled", "cache.renamed"])
def test_a_full_disk_is_exit_8_and_the_next_get_works(world: World, point: str) -> None:
    code, out, _ = finish(world.start(failpoint=f"{point}:errno=ENOSPC"))
    assert (code, out) == (8, "")
    assert os.listdir(f"{world.root}/parts") == []
    assert world.get() == DATA


def test_a_failed_fsync_keeps_nothing(world: World) -> None:
    code, out, err = finish(world.start(failpoint="cache.filled:errno=EIO"))
    assert (code, out) == (1, "")
    assert world.root not in err.splitlines()[-1]
    assert os.listdir(f"{world.root}/parts") == []
    assert not os.path.exists(blob_path(world.root, HEX))
    assert world.get() == DATA


def test_a_small_limit_is_exit_8(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTREPOT_CACHE_MAX_BYTES", "1000000")
    assert finish(world.start())[:2] == (8, "")
    monkeypatch.delenv("ENTREPOT_CACHE_MAX_BYTES")
    assert finish(world.start())[0] == 0


def test_of_two_jobs_one_poisons_the_file_and_the_other_gets_right_bytes(world: World) -> None:
    assert finish(world.start())[0] == 0
    path = Path(blob_path(world.root, HEX))
    before = path.stat()
    poison = "import os, sys; p = sys.argv[1]; os.chmod(p, 0o644); open(p, 'r+b').write(b'evil'); os.chmod(p, 0o444)"
    assert (
        finish(world.start(script=poison + f"; os.utime(p, ns=({before.st_mtime_ns},) * 2)", words=[str(path)]))[0] == 0
    )
    assert finish(world.start())[:2] == (0, f"{path}\n")
    assert path.read_bytes() == DATA
    assert len(world.asked) == 2


def test_many_processes_with_room_for_few_never_see_a_wrong_byte_or_pass_the_limit(world: World) -> None:
    blobs = [os.urandom(20_000 + 1000 * number) for number in range(8)]
    world.blobs = {hashlib.sha256(data).hexdigest(): data for data in blobs}
    words = [str(80_000), *world.blobs]
    processes = [world.start(script=CHURN, words=[world.root, world.address, str(seed), *words]) for seed in range(6)]
    time.sleep(0.4)
    for process in random.Random(1).sample(processes, 2):
        process.kill()
    ends = [finish(process) for process in processes]
    assert all(code in (0, -signal.SIGKILL) for code, _, _ in ends), ends
    assert sum(code == 0 for code, _, _ in ends) >= 4
    cache = Cache.open(world.root)
    assert all(verdict.is_right for verdict in cache.verify())
    assert cache.stats().used_bytes <= 80_000
    assert cache.stats().counts.misses > len(blobs)
