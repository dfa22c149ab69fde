"""Which bytes go in which request."""

from hypothesis import given
from hypothesis.strategies import builds, integers, lists

from entrepot.client.plan import Step, split, steps
from entrepot.shapes import Range

HAVE = lists(builds(Range, integers(0, 200), integers(0, 200), integers(0, 9).map(str)), max_size=8)


@given(integers(0, 150), integers(1, 40), HAVE)
def test_every_byte_is_in_exactly_one_step_in_order(size: int, part_size: int, have: list[Range]) -> None:
    position = 0
    for step in steps(size, part_size, have):
        assert step.start == position < step.stop
        position = step.stop
    assert position == size


@given(integers(0, 150), integers(1, 40), HAVE)
def test_what_is_sent_fits_a_part_and_what_is_skipped_is_what_the_server_said(
    size: int, part_size: int, have: list[Range]
) -> None:
    for step in steps(size, part_size, have):
        if step.sha256 is None:
            assert step.stop - step.start <= part_size
        else:
            assert Range(step.start, step.stop, step.sha256) in have


def test_ranges_of_the_server_that_overlap_count_once() -> None:
    have = [Range(0, 10, "a"), Range(5, 15, "b"), Range(20, 30, "c")]
    assert list(steps(30, 8, have)) == [Step(0, 10, "a"), Step(10, 18), Step(18, 20), Step(20, 30, "c")]


def test_an_empty_file_has_no_steps() -> None:
    assert list(split(0, 0)) == []
