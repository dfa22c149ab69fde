"""What every driver promises. A new one adds a line to DRIVERS and passes unchanged."""

import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from entrepot.errors import NotFound
from entrepot.model import WHOLE, Span
from entrepot.storage.driver import Driver
from entrepot.storage.local import LocalDriver
from entrepot.storage.memory import MemoryDriver

DRIVERS: dict[str, Callable[[Path], Driver]] = {
    "local": lambda folder: LocalDriver(str(folder)),
    "memory": lambda _: MemoryDriver(),
}
KEY = "ab" * 32 + ".00000001"


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    return DRIVERS[request.param](tmp_path)


def read(driver: Driver, key: str, span: Span = WHOLE) -> bytes:
    opened = driver.open(key, span)
    try:
        return os.pread(opened.descriptor, 1 << 20, 0)
    finally:
        os.close(opened.descriptor)


def test_a_key_appears_whole_or_not_at_all(driver: Driver) -> None:
    staging = driver.stage("one", 10)
    staging.write(5, [b"wo", b"rld"])  # parts land in any order
    with pytest.raises(NotFound):
        driver.open(KEY, WHOLE)
    staging.write(0, [b"hello"])
    stamp = staging.commit(KEY)
    assert read(driver, KEY) == b"helloworld"
    assert stamp.size == 10


def test_the_stamp_of_a_commit_is_the_one_an_open_shows(driver: Driver) -> None:
    staging = driver.stage("one", None)
    staging.write(0, [b"bytes"])
    stamp = staging.commit(KEY)
    opened = driver.open(KEY, WHOLE)
    os.close(opened.descriptor)
    assert opened.stamp == stamp


def test_a_staging_area_can_be_taken_up_again(driver: Driver) -> None:
    driver.stage("one", 6).write(0, [b"abc"])
    again = driver.reopen("one")
    again.write(3, [b"def"])
    again.sync()
    assert again.read(0, 100) == b"abcdef"
    again.commit(KEY)
    assert read(driver, KEY) == b"abcdef"


def test_an_unknown_area_cannot_be_taken_up(driver: Driver) -> None:
    with pytest.raises(NotFound):
        driver.reopen("never")


def test_a_discarded_area_leaves_nothing(driver: Driver) -> None:
    staging = driver.stage("one", 3)
    staging.write(0, [b"abc"])
    staging.discard()
    staging.discard()  # may come twice
    assert list(driver.staged()) == []
    assert list(driver.keys()) == []


def test_an_area_nobody_has_open_can_be_discarded_by_its_id(driver: Driver) -> None:
    driver.stage("one", 3).write(0, [b"abc"])
    driver.discard("one")
    driver.discard("one")
    assert list(driver.staged()) == []


def test_a_commit_ends_the_area(driver: Driver) -> None:
    staging = driver.stage("one", 3)
    staging.write(0, [b"abc"])
    staging.commit(KEY)
    staging.discard()
    assert list(driver.staged()) == []
    assert list(driver.keys()) == [KEY]


def test_bytes_behind_a_cut_are_gone(driver: Driver) -> None:
    staging = driver.stage("one", None)
    staging.write(0, [b"keep", b"drop"])
    staging.cut(4)
    staging.commit(KEY)
    assert read(driver, KEY) == b"keep"


def test_a_deleted_key_is_gone_and_may_be_deleted_again(driver: Driver) -> None:
    staging = driver.stage("one", 3)
    staging.write(0, [b"abc"])
    staging.commit(KEY)
    driver.delete(KEY)
    driver.delete(KEY)
    with pytest.raises(NotFound):
        driver.open(KEY, WHOLE)


def test_an_open_file_outlives_its_key(driver: Driver) -> None:
    staging = driver.stage("one", 3)
    staging.write(0, [b"abc"])
    staging.commit(KEY)
    opened = driver.open(KEY, WHOLE)
    driver.delete(KEY)
    assert os.pread(opened.descriptor, 10, 0) == b"abc"
    os.close(opened.descriptor)


def test_many_pieces_and_threads_write_one_area(driver: Driver) -> None:
    data = random.Random(7).randbytes(2_000_000)
    staging = driver.stage("one", len(data))
    parts = range(0, len(data), 250_000)

    def write(start: int) -> int:
        part = data[start : start + 250_000]
        return staging.write(start, [part[i : i + 100] for i in range(0, len(part), 100)])

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, parts)) == len(data)
    staging.commit(KEY)
    opened = driver.open(KEY, WHOLE)
    assert os.pread(opened.descriptor, 3_000_000, 0) == data
    os.close(opened.descriptor)


def test_room_is_told_in_bytes(driver: Driver) -> None:
    room = driver.room()
    assert 0 < room.free <= room.total
