"""Numbers and texts that name rows."""

import os
import secrets
import threading
from typing import Final

from entrepot.model import Instant

_MICROSECONDS: Final = 1_000_000
_PROCESS_BITS: Final = 10
MOST: Final = 2**63 - 1


class _RowIds:
    """The next number, for all threads of this process."""

    def __init__(self) -> None:
        self._process = int.from_bytes(os.urandom(2)) & (2**_PROCESS_BITS - 1)
        self._lock = threading.Lock()
        self._last = 0

    def after(self, now: Instant) -> int:
        with self._lock:
            self._last = max(self._last + 1, int(now * _MICROSECONDS))
            return self._last << _PROCESS_BITS | self._process


_row_ids: Final = _RowIds()


def row_id(now: Instant) -> int:
    """A positive 63-bit number that grows with time and never comes twice from one process.

    Microseconds since the epoch, or one more than the last, and 10 bits that tell processes apart. Two processes that
    share these bits may meet: where that would be wrong, a unique column refuses the second, and its job runs again.
    """
    return _row_ids.after(now)


def first_id(at: Instant) -> int:
    """The smallest number `row_id` gives at that moment or later; of a time no row has, the nearest number."""
    return min(max(int(at * _MICROSECONDS) << _PROCESS_BITS, 0), MOST)


def text_id() -> str:
    """128 random bits as 32 hex digits: names an upload, and is the right to it."""
    return secrets.token_hex(16)


def ordered_id(now: Instant) -> str:
    """32 hex digits that sort by time: names an upload in parts. Half of them are random, but it is no right to it."""
    return f"{row_id(now):016x}{secrets.token_hex(8)}"
