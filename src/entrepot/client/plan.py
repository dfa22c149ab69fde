"""Which bytes go in which request. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from entrepot.model import Span
from entrepot.shapes import Range

ONE_REQUEST_BYTES: Final = 64 * 2**10
"""Up to here a file is one PUT."""

HASH_FIRST_BYTES: Final = 64 * 2**20
"""Up to here a file is hashed before anything is asked; above, several ranges go side by side."""

EDGE_BYTES: Final = 2**20
PART_BYTES: Final = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Step:
    """Bytes from `start` up to and without `stop`; `sha256`: what the server has there already."""

    start: int
    stop: int
    sha256: str | None = None

    @property
    def span(self) -> Span:
        """The same bytes as a span."""
        return Span(self.start, self.stop)


def split(start: int, stop: int, part_size: int = PART_BYTES) -> Iterator[Step]:
    """The bytes from `start` to `stop` in steps of at most `part_size`."""
    while start < stop:
        yield Step(start, min(start + part_size, stop))
        start += part_size


def steps(size: int, part_size: int, have: Sequence[Range]) -> Iterator[Step]:
    """All bytes of a file in order, each once: what the server has as it has it, the rest in parts."""
    position = 0
    for held in sorted(have, key=lambda held: held.start):
        if position <= held.start < held.stop <= size:
            yield from split(position, held.start, part_size)
            yield Step(held.start, held.stop, held.sha256)
            position = held.stop
    yield from split(position, size, part_size)
