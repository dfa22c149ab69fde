"""Limits hold, and nothing goes that somebody needs."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from entrepot.cache import opened
from entrepot.cache.hit import hit
from entrepot.cache.layout import blob_path, lock_name, part_path, pin_path, use_path
from entrepot.cache.limits import Limits
from entrepot.cache.locks import take
from entrepot.cache.opened import Openness, lease, openness
from entrepot.cache.root import Root
from entrepot.cache.source import Reply
from entrepot.cache.store import Cache
from entrepot.cache.survey import list_blobs, survey
from entrepot.errors import LimitReached, NotFound

SIZE = 10_000
LIMITS = Limits(max_bytes=3 * SIZE + 500, min_free_bytes=0, hold_seconds=3600)


class Bytes:
    """A source in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @contextmanager
    def open(self, offset: int) -> Iterator[Reply]:
        yield Reply(len(self.data), offset, iter([self.data[offset:]]))


def data_of(number: int) -> bytes:
    return bytes([number]) * SIZE


def hex_of(number: int) -> str:
    return hashlib.sha256(data_of(number)).hexdigest()


def get(cache: Cache, number: int) -> str:
    return cache.get(hex_of(number), Bytes(data_of(number)))


def age(cache: Cache, number: int, seconds: float = 7200) -> None:
    then = time.time() - seconds
    os.utime(use_path(cache.path, hex_of(number)), (then, then))


def here(cache: Cache) -> set[int]:
    return {number for number in range(20) if hit_without_touch(cache, number)}


def hit_without_touch(cache: Cache, number: int) -> bool:
    return any(entry.digest_hex == hex_of(number) for entry in cache.entries())


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache.open(str(tmp_path / "root"), limits=LIMITS)


@pytest.fixture
def full(cache: Cache) -> Cache:
    """Room for three, three in it, all unused for hours, 0 the longest."""
    for number in range(3):
        get(cache, number)
        age(cache, number, 9000 - number)
    return cache


def test_the_longest_unused_goes_first(full: Cache) -> None:
    age(full, 0, 7200)
    get(full, 3)
    assert here(full) == {0, 2, 3}
    assert hit(full.path, hex_of(1)) is None
    assert not Path(use_path(full.path, hex_of(1))).exists()


def test_what_was_just_used_stays_and_the_refusal_says_so(full: Cache) -> None:
    for number in range(3):
        age(full, number, 40)
    with pytest.raises(LimitReached) as caught:
        get(full, 3)
    assert here(full) == {0, 1, 2}
    assert "used 40 s ago" in caught.value.why
    assert hex_of(0)[:8] in caught.value.why
    assert "get -O FILE" in caught.value.advice
    assert os.listdir(f"{full.path}/parts") == []
    assert full.stats().counts.full == 1


def test_a_hit_protects_from_eviction(full: Cache) -> None:
    assert hit(full.path, hex_of(0))
    get(full, 3)
    assert here(full) == {0, 2, 3}


def test_a_pinned_blob_stays(full: Cache) -> None:
    pin = full.pin(hex_of(0))
    assert pin.until == 0
    get(full, 3)
    assert here(full) == {0, 2, 3}
    assert full.entries()[0].pins == (pin,)


def test_a_refusal_names_who_pinned(full: Cache) -> None:
    for number in range(3):
        full.pin(hex_of(number), seconds=60)
    with pytest.raises(LimitReached, match="pinned by"):
        get(full, 3)
    for number in range(3):
        assert full.unpin(hex_of(number)) == 1
    get(full, 3)
    assert here(full) == {1, 2, 3}


def test_a_pin_holds_until_its_time(full: Cache) -> None:
    Path(pin_path(full.path, hex_of(0), int(time.time()) - 1, os.geteuid())).touch()
    get(full, 3)
    assert here(full) == {1, 2, 3}


def test_a_new_pin_replaces_and_a_hold_never_shortens(full: Cache) -> None:
    full.pin(hex_of(0))
    full.get(hex_of(0), None, hold_seconds=60)
    assert [pin.until for pin in full.entries()[-1].pins] == [0]
    assert full.pin(hex_of(0), seconds=60).until > time.time()
    full.get(hex_of(0), None, hold_seconds=3000)
    (pin,) = full.entries()[-1].pins
    assert time.time() + 2900 < pin.until <= time.time() + 3001
    with pytest.raises(NotFound):
        full.pin(hex_of(9))


def test_an_open_blob_stays_however_old(full: Cache) -> None:
    path = full.get(hex_of(0), None)
    age(full, 0, 10**6)
    with open(path, "rb") as file:
        assert openness(path) is Openness.OPEN
        get(full, 3)
        assert here(full) == {0, 2, 3}
        assert file.read() == data_of(0)
    assert openness(path) is Openness.CLOSED


def test_who_opens_a_leased_file_waits_and_kills_nobody(full: Cache) -> None:
    path = full.get(hex_of(0), None)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(Path(path).read_bytes()))
    with lease(path) as state:
        assert state is Openness.CLOSED
        reader.start()
        reader.join(0.2)
        assert read == []
    reader.join(5)
    assert read == [data_of(0)]


def test_where_leases_are_unknown_the_hold_is_a_day(full: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "_ask", lambda _: Openness.UNKNOWN)
    with pytest.raises(LimitReached, match="perhaps open"):
        get(full, 3)
    age(full, 1, 90_000)
    get(full, 3)
    assert here(full) == {0, 2, 3}


def test_a_blob_being_checked_by_another_is_passed_over(full: Cache) -> None:
    with take(full.root, lock_name(hex_of(0)))[0]:
        get(full, 3)
    assert here(full) == {0, 2, 3}


def test_a_blob_larger_than_the_cache_evicts_nothing(full: Cache) -> None:
    data = b"x" * (4 * SIZE)
    with pytest.raises(LimitReached, match="larger than the whole"):
        full.get(hashlib.sha256(data).hexdigest(), Bytes(data))
    assert here(full) == {0, 1, 2}


def test_nothing_goes_when_it_would_not_be_enough(full: Cache) -> None:
    data = b"x" * (3 * SIZE)
    age(full, 2, 1)
    with pytest.raises(LimitReached, match="missing"):
        full.get(hashlib.sha256(data).hexdigest(), Bytes(data))
    assert here(full) == {0, 1, 2}


def test_a_running_download_counts_in_full(full: Cache) -> None:
    Path(part_path(full.path, hex_of(9), 2 * SIZE)).write_bytes(b"begun")
    get(full, 3)
    assert here(full) == {3}


def test_a_stale_part_goes_before_any_blob(full: Cache) -> None:
    part = Path(part_path(full.path, hex_of(9), SIZE))
    full.prune(max_bytes=2 * SIZE)
    part.write_bytes(b"begun")
    os.utime(part, (1, 1))
    get(full, 3)
    assert not part.exists()
    assert here(full) == {1, 2, 3}


def test_a_stale_part_somebody_fills_stays(full: Cache) -> None:
    part = Path(part_path(full.path, hex_of(9), 10))
    part.touch()
    os.utime(part, (1, 1))
    with take(full.root, lock_name(hex_of(9)))[0]:
        full.prune()
        assert part.exists()
    full.prune()
    assert not part.exists()


def test_the_free_space_of_others_is_kept(full: Cache) -> None:
    volume = os.statvfs(full.path)
    no_room = replace(LIMITS, max_bytes=10**15, min_free_bytes=volume.f_blocks * volume.f_frsize)
    cache = Cache.open(full.path, limits=no_room)
    with pytest.raises(LimitReached, match="no room"):
        get(cache, 3)


def test_a_copy_needs_no_room_in_the_cache(full: Cache, tmp_path: Path) -> None:
    for number in range(3):
        full.pin(hex_of(number))
    full.copy(hex_of(3), Bytes(data_of(3)), str(tmp_path / "copy"))
    full.copy(hex_of(0), None, str(tmp_path / "here"))
    assert (tmp_path / "copy").read_bytes() == data_of(3)
    assert (tmp_path / "here").read_bytes() == data_of(0)
    assert (tmp_path / "copy").stat().st_mode & 0o200
    assert {path.name for path in tmp_path.iterdir()} == {"root", "copy", "here"}
    assert here(full) == {0, 1, 2}


def test_prune_goes_down_to_a_size_and_a_dry_run_only_says_so(full: Cache) -> None:
    would = full.prune(max_bytes=SIZE, dry_run=True)
    assert [gone.digest_hex for gone in would] == [hex_of(0), hex_of(1)]
    assert here(full) == {0, 1, 2}
    assert full.prune(max_bytes=SIZE) == would
    assert here(full) == {2}


def test_prune_by_age_keeps_what_is_younger_or_held(full: Cache) -> None:
    age(full, 0, 3 * 86400)
    age(full, 1, 3 * 86400)
    full.pin(hex_of(1))
    assert [gone.digest_hex for gone in full.prune(older_than_seconds=2 * 86400)] == [hex_of(0)]
    assert full.prune(older_than_seconds=0)[0].digest_hex == hex_of(2)
    assert here(full) == {1}


def test_prune_without_a_wish_keeps_the_limit_and_sweeps(full: Cache) -> None:
    Path(f"{full.path}/stamps/.left").touch()
    os.utime(f"{full.path}/stamps/.left", (1, 1))
    ended = Path(pin_path(full.path, hex_of(0), 1, 0))
    ended.touch()
    assert full.prune() == ()
    assert not ended.exists()
    assert sorted(os.listdir(f"{full.path}/stamps")) == sorted(map(hex_of, range(3)))


def test_a_part_that_gets_its_name_while_all_is_counted_is_counted_once(
    full: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = part_path(full.path, hex_of(9), SIZE)
    Path(part).write_bytes(data_of(9))

    def list_then_name(root: Root) -> list[str]:
        names = list(list_blobs(root))
        os.rename(part, blob_path(root.path, hex_of(9)))
        return names

    os.mkdir(os.path.dirname(blob_path(full.path, hex_of(9))))
    with monkeypatch.context() as patched:
        patched.setattr("entrepot.cache.survey.list_blobs", list_then_name)
        assert survey(full.root).used_bytes == 4 * SIZE
    assert survey(full.root).used_bytes == 4 * SIZE


def test_an_empty_blob_is_one_too(cache: Cache) -> None:
    empty = hashlib.sha256(b"").hexdigest()
    assert Path(cache.get(empty, Bytes(b""))).read_bytes() == b""
    assert cache.get(empty, None)
