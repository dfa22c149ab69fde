"""Numbers and texts that name rows."""

import random
import secrets
from typing import Final

from entrepot.model import Instant

_random: Final = random.Random()  # noqa: S311 not secret, and no system call: that would hand the GIL to another thread


def row_id(now: Instant) -> int:
    """A positive 63-bit number that grows with time to the millisecond; two of one millisecond differ by chance.

    A collision breaks a key, and the catalog runs the job again.
    """
    return (int(now * 1000) << 21 | _random.getrandbits(21)) & (2**63 - 1)


def first_id(at: Instant) -> int:
    """The smallest number `row_id` gives at that moment or later."""
    return int(at * 1000) << 21


def text_id() -> str:
    """128 random bits as 32 hex digits: names an upload, and is the right to it."""
    return secrets.token_hex(16)
