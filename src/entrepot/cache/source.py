"""Where missing bytes come from, as a download sees it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes on their way: `pieces` begin at `start` of a body of `total` bytes. They may end early."""

    total: int
    start: int
    pieces: Iterator[bytes]


class Source(Protocol):
    """One blob that can be read from any offset; nothing it says is believed before it is hashed."""

    def open(self, offset: int) -> AbstractContextManager[Reply]:
        """The bytes from `offset` on, or all of them where a source cannot begin in the middle (`start` is 0 then).

        Raises: Unavailable, also while reading: worth another try; BadRange: nothing is at `offset`; NotFound; Denied;
        Refused. Those are final.
        """
        ...
