"""What a root holds just now, and why each blob must stay or may go."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from entrepot.cache.layout import blob_path, is_digest_hex, use_path
from entrepot.cache.opened import Openness
from entrepot.cache.parts import list_parts
from entrepot.cache.pins import Pin, list_pins
from entrepot.cache.root import Root
from entrepot.cache.wording import shown_digest, shown_seconds, shown_size, shown_user

STALE_PART_SECONDS = 86400
"""After this long a part nobody continues gives its room back."""


@dataclass(frozen=True, slots=True)
class Held:
    """A blob with its size, last use (seconds since the epoch) and pins."""

    digest_hex: str
    size: int
    used_at: float
    pins: tuple[Pin, ...] = ()

    def reason(self, root: Root, now: float, state: Openness = Openness.CLOSED) -> str:
        """Why it must stay, in words; empty if it may go."""
        if self.pins:
            return "pinned by " + ", ".join(sorted({shown_user(pin.uid) for pin in self.pins}))
        if state is Openness.OPEN:
            return "open"
        blind = state is Openness.UNKNOWN
        hold = root.limits.blind_hold_seconds if blind else root.limits.hold_seconds
        age = now - self.used_at
        if age >= hold:
            return ""
        return f"used {shown_seconds(age)} ago" + (" and perhaps open" if blind else "")


@dataclass(frozen=True, slots=True)
class Reserved:
    """A part: `size` is reserved, `written` of it on the disk."""

    digest_hex: str
    size: int
    written: int


@dataclass(frozen=True, slots=True)
class Survey:
    """Blobs, the longest unused first, and parts."""

    blobs: tuple[Held, ...]
    parts: tuple[Reserved, ...]

    @property
    def used_bytes(self) -> int:
        """Blobs and reservations."""
        return sum(blob.size for blob in self.blobs) + sum(part.size for part in self.parts)

    @property
    def outstanding_bytes(self) -> int:
        """Reserved, and not on the disk yet."""
        return sum(max(0, part.size - part.written) for part in self.parts)


def survey(root: Root) -> Survey:
    """What is there now; under `evict.lock` nothing is missed. Raises: OSError."""
    pins = list_pins(root)
    # parts first: one that is renamed meanwhile is then seen twice, and never not at all
    parts = [Reserved(name, size, file.st_size) for name, size, file in list_parts(root)]
    found = (held_blob(root, digest_hex, pins.get(digest_hex, ())) for digest_hex in list_blobs(root))
    blobs = sorted(filter(None, found), key=lambda blob: blob.used_at)
    named = {(blob.digest_hex, blob.size) for blob in blobs}
    return Survey(tuple(blobs), tuple(part for part in parts if (part.digest_hex, part.size) not in named))


def list_blobs(root: Root) -> Iterator[str]:
    """The digests that have a name, verified or not, in no order. Raises: OSError."""
    for folder in os.listdir(f"{root.path}/blobs"):
        with suppress(NotADirectoryError, FileNotFoundError):
            yield from filter(is_digest_hex, os.listdir(f"{root.path}/blobs/{folder}"))


def held_blob(root: Root, digest_hex: str, pins: tuple[Pin, ...]) -> Held | None:
    """The blob as it is now; None if it is gone. Without a mark its use is when it came. Raises: OSError."""
    try:
        status = os.lstat(blob_path(root.path, digest_hex))
    except FileNotFoundError:
        return None
    try:
        used_at = os.stat(use_path(root.path, digest_hex)).st_mtime
    except FileNotFoundError:
        used_at = status.st_ctime
    return Held(digest_hex, status.st_size, used_at, pins)


def describe(root: Root, blobs: list[tuple[Held, Openness]], most: int = 5) -> str:
    """The largest of these blobs and why each must stay, in one line."""
    now = time.time()
    largest = sorted(blobs, key=lambda pair: -pair[0].size)[:most]
    lines = [
        f"{shown_digest(blob.digest_hex)} {shown_size(blob.size)} {blob.reason(root, now, state) or 'locked'}"
        for blob, state in largest
    ]
    more = len(blobs) - len(largest)
    return ", ".join(lines) + (f" and {more} more" if more else "")
