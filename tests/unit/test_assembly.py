"""Parts land anywhere; the hash follows the contiguous front of those that were acknowledged."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.errors import BadRange
from entrepot.storage.assembly import Assembly
from entrepot.storage.memory import MemoryDriver


def assembly_of(driver: MemoryDriver) -> Assembly:
    return Assembly(driver.stage("one", None))


@given(st.binary(min_size=1, max_size=400), st.integers(1, 60), st.randoms())
def test_parts_in_any_order_give_the_hash_of_the_whole(data: bytes, part: int, random: object) -> None:
    assembly = assembly_of(MemoryDriver())
    starts = list(range(0, len(data), part))
    random.shuffle(starts)  # type: ignore[attr-defined]
    for start in starts:
        stop = start + assembly.write(start, [data[start : start + part]])
        assembly.land(start, stop)
    assert assembly.finish(len(data)) == hashlib.sha256(data).hexdigest()


def test_the_front_stops_at_the_first_gap() -> None:
    assembly = assembly_of(MemoryDriver())
    assembly.write(0, [b"aaa"])
    assert assembly.land(0, 3)[0] == 3
    assembly.write(6, [b"ccc"])
    assert assembly.land(6, 9)[0] == 3
    with pytest.raises(BadRange):
        assembly.finish(9)
    assembly.write(3, [b"bbb"])
    assert assembly.land(3, 6)[0] == 9


def test_bytes_that_were_written_and_not_acknowledged_do_not_count() -> None:
    assembly = assembly_of(MemoryDriver())
    assembly.write(0, [b"aaa"])
    with pytest.raises(BadRange):
        assembly.finish(3)


def test_a_saved_state_goes_on_where_it_was() -> None:
    driver = MemoryDriver()
    first = assembly_of(driver)
    first.write(0, [b"hello "])
    front, state = first.land(0, 6)
    second = Assembly(driver.reopen("one"), front, state, [(0, 6)])
    second.write(6, [b"world"])
    second.land(6, 11)
    assert second.finish(11) == hashlib.sha256(b"hello world").hexdigest()


def test_a_state_that_cannot_be_taken_up_means_reading_again() -> None:
    driver = MemoryDriver()
    assembly_of(driver).write(0, [b"hello"])
    again = Assembly(driver.reopen("one"), 5, b"of another library", [(0, 5)])
    assert again.finish(5) == hashlib.sha256(b"hello").hexdigest()


def test_a_part_sent_again_with_other_bytes_is_hashed_again() -> None:
    assembly = assembly_of(MemoryDriver())
    assembly.write(0, [b"wrong"])
    assembly.land(0, 5)
    assert assembly.touches(4, 9)
    assert not assembly.touches(5, 9)
    assembly.start_again([])
    assembly.write(0, [b"right"])
    assembly.land(0, 5)
    assert assembly.finish(5) == hashlib.sha256(b"right").hexdigest()


def test_more_bytes_than_were_announced_are_refused() -> None:
    assembly = assembly_of(MemoryDriver())
    assembly.write(0, [b"12345"])
    assembly.land(0, 5)
    with pytest.raises(BadRange):
        assembly.finish(4)
