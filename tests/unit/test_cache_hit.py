"""What is here is found fast, and what is wrong is never given."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import entrepot
from entrepot.cache.hit import STAMP_AGE_SECONDS, hit
from entrepot.cache.layout import blob_path, stamp_path, use_path
from entrepot.cache.quick import answer, wanted
from entrepot.cache.source import Reply
from entrepot.cache.store import Cache
from entrepot.errors import BadName, NotFound

DATA = os.urandom(300_000)
HEX = hashlib.sha256(DATA).hexdigest()
SOURCES = str(Path(entrepot.__file__).parent.parent)


class Bytes:
    """A source in memory that counts how often it is asked."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked = 0

    @contextmanager
    def open(self, offset: int) -> Iterator[Reply]:
        self.asked += 1
        yield Reply(len(self.data), offset, iter([self.data[offset:]]))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache.open(str(tmp_path / "root"))


@pytest.fixture
def source() -> Bytes:
    return Bytes(DATA)


@pytest.fixture
def blob(cache: Cache, source: Bytes) -> Path:
    path = Path(cache.get(HEX, source))
    source.asked = 0
    return path


def assert_heals(cache: Cache, source: Bytes, *, downloads: int) -> None:
    assert hit(cache.path, HEX) is None
    assert Path(cache.get(HEX, source)).read_bytes() == DATA
    assert source.asked == downloads
    assert hit(cache.path, HEX) is not None


def test_a_second_get_asks_nobody(cache: Cache, source: Bytes, blob: Path) -> None:
    assert cache.get(f"sha256:{HEX.upper()}", source) == str(blob)
    assert cache.get(HEX, None) == str(blob)
    assert source.asked == 0
    assert blob.read_bytes() == DATA
    assert blob.stat().st_mode & 0o777 == 0o444


def test_a_hit_touches_the_use(cache: Cache, blob: Path) -> None:
    os.utime(use_path(cache.path, HEX), (1, 1))
    assert hit(cache.path, HEX) == str(blob)
    assert os.stat(use_path(cache.path, HEX)).st_mtime > 1e9


def test_a_hit_imports_nothing_but_os_sys_and_fcntl(cache: Cache, blob: Path) -> None:
    script = (
        "import sys, entrepot; before = set(sys.modules); from entrepot.cache.quick import answer;"
        f"print(answer(['cache', 'get', 'sha256:{HEX}'])); new = set(sys.modules) - before;"
        "print(*sorted(name for name in new if not name.startswith('entrepot.cache')))"
    )
    env = {"PYTHONPATH": SOURCES, "ENTREPOT_CACHE": cache.path}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(blob), "fcntl"]


def test_what_is_not_here_is_answered_by_none_without_making_a_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENTREPOT_CACHE", str(tmp_path / "new"))
    assert answer(["cache", "get", HEX]) is None
    assert not (tmp_path / "new").exists()
    monkeypatch.setenv("ENTREPOT_CACHE", "unix:/run/x.sock")
    assert answer(["cache", "get", HEX]) is None


@pytest.mark.parametrize(
    "words",
    [
        [HEX],
        [f"sha256:{HEX}"],
        [HEX.upper()],
        ["--sha256", HEX, "--url", "https://h/x?sig=1"],
        ["--url=u://x=y", f"--sha256={HEX}", "--offline"],
    ],
)
def test_a_digest_among_known_options_is_wanted(words: list[str]) -> None:
    assert wanted(["cache", "get", *words]) == HEX


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["cache", "ls"],
        ["cache", "get"],
        ["cache", "get", "phys/app:1"],
        ["cache", "get", f"phys/app@sha256:{HEX}"],
        ["cache", "get", HEX, "-O", "x"],
        ["cache", "get", HEX, "--verify", "always"],
        ["cache", "get", HEX, HEX],
        ["cache", "get", HEX[:-1] + "/"],
        ["cache", "get", "--url", "https://h/x"],
        ["cache", "get", HEX, "--url"],
        ["--json", "cache", "get", HEX],
    ],
)
def test_all_else_is_left_to_the_whole_command_line(argv: list[str]) -> None:
    assert wanted(argv) is None


def test_without_a_source_a_missing_blob_is_not_found(cache: Cache) -> None:
    with pytest.raises(NotFound):
        cache.get(HEX, None)
    with pytest.raises(BadName):
        cache.get("../../etc/passwd", None)


def test_a_lost_stamp_costs_a_hash_and_no_download(cache: Cache, source: Bytes, blob: Path) -> None:
    os.unlink(stamp_path(cache.path, HEX))
    assert_heals(cache, source, downloads=0)


def test_a_broken_stamp_costs_a_hash_and_no_download(cache: Cache, source: Bytes, blob: Path) -> None:
    Path(stamp_path(cache.path, HEX)).write_bytes(b"1 2 \xff")
    assert_heals(cache, source, downloads=0)


def test_a_stamp_of_last_month_costs_a_hash_and_no_download(cache: Cache, source: Bytes, blob: Path) -> None:
    path = Path(stamp_path(cache.path, HEX))
    fields = path.read_text().split()
    path.write_text(" ".join([*fields[:4], str(int(fields[4]) - STAMP_AGE_SECONDS - 60)]))
    assert_heals(cache, source, downloads=0)


def test_a_flipped_byte_is_fetched_again_even_if_the_times_were_put_back(
    cache: Cache, source: Bytes, blob: Path
) -> None:
    before = blob.stat()
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.write(bytes([DATA[0] ^ 1]))
    blob.chmod(0o444)
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert_heals(cache, source, downloads=1)
    assert cache.stats().counts.repairs == 1


def test_a_truncated_file_is_fetched_again(cache: Cache, source: Bytes, blob: Path) -> None:
    blob.chmod(0o644)
    os.truncate(blob, 1000)
    assert_heals(cache, source, downloads=1)


def test_a_link_in_place_of_the_blob_is_not_followed(cache: Cache, source: Bytes, blob: Path, tmp_path: Path) -> None:
    (tmp_path / "evil").write_bytes(DATA)
    blob.unlink()
    blob.symlink_to(tmp_path / "evil")
    assert_heals(cache, source, downloads=1)
    assert (tmp_path / "evil").exists()


def test_a_fifo_in_place_of_the_blob_blocks_nobody(cache: Cache, source: Bytes, blob: Path) -> None:
    blob.unlink()
    os.mkfifo(blob)
    assert_heals(cache, source, downloads=1)


def test_a_folder_in_place_of_the_blob_goes(cache: Cache, source: Bytes, blob: Path) -> None:
    blob.unlink()
    (blob / "x").mkdir(parents=True)
    assert_heals(cache, source, downloads=1)


def test_a_file_others_may_write_is_fetched_again_though_it_is_right(cache: Cache, source: Bytes, blob: Path) -> None:
    blob.chmod(0o666)
    assert_heals(cache, source, downloads=1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_fetched_again_though_it_is_right(cache: Cache, source: Bytes, blob: Path) -> None:
    os.chown(blob, 12345, 12345)
    assert_heals(cache, source, downloads=1)


def test_verify_always_finds_what_no_stamp_shows(cache: Cache, source: Bytes, blob: Path) -> None:
    blob.chmod(0o644)
    blob.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    blob.chmod(0o444)
    status = blob.stat()
    fields = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, int(status.st_mtime))
    Path(stamp_path(cache.path, HEX)).write_text(" ".join(map(str, fields)))
    assert hit(cache.path, HEX) is not None
    assert Path(cache.get(HEX, source, verify_always=True)).read_bytes() == DATA
    assert source.asked == 1


def test_who_poisons_the_name_after_the_check_changes_nothing_for_who_has_the_descriptor(
    cache: Cache, source: Bytes, blob: Path, tmp_path: Path
) -> None:
    descriptor = cache.open_blob(HEX, source)
    try:
        (tmp_path / "evil").write_bytes(b"evil")
        os.rename(tmp_path / "evil", blob)
        assert os.read(descriptor, len(DATA) + 1) == DATA
    finally:
        os.close(descriptor)
    assert_heals(cache, source, downloads=1)


def test_verify_removes_and_names_the_wrong(cache: Cache, source: Bytes, blob: Path) -> None:
    other = b"other"
    other_hex = hashlib.sha256(other).hexdigest()
    cache.get(other_hex, Bytes(other))
    blob.chmod(0o644)
    blob.write_bytes(b"x" * len(DATA))
    verdicts = {verdict.digest_hex: verdict.is_right for verdict in cache.verify(bytes_per_second=1e9)}
    assert verdicts == {HEX: False, other_hex: True}
    assert not Path(blob_path(cache.path, HEX)).exists()
    assert [entry.digest_hex for entry in cache.entries()] == [other_hex]
    with pytest.raises(NotFound):
        cache.verify([HEX])


def test_verify_keeps_to_its_rate(cache: Cache, blob: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("entrepot.cache.verify.time.sleep", waited.append)
    from entrepot.cache.verify import pace

    told = pace(1000, waited.append)
    told(500)
    told(500)
    assert 0.4 < waited[0] <= 0.5
    assert 0.9 < waited[1] <= 1.0


def test_stats_count_what_happened(cache: Cache, source: Bytes, blob: Path) -> None:
    cache.get(HEX, source)
    hit(cache.path, HEX)
    stats = cache.stats()
    assert (stats.counts.hits, stats.counts.misses, stats.counts.bytes_saved) == (2, 1, 2 * len(DATA))
    assert (stats.entries, stats.used_bytes) == (1, len(DATA))
