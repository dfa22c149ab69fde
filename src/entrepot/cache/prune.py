"""Make a root smaller on request: the same rules as for a new blob, down to the size or age that was asked for."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from entrepot.cache.evict import drop_stale_parts, evict
from entrepot.cache.layout import EVICT_LOCK, FOLDERS
from entrepot.cache.locks import take
from entrepot.cache.pins import drop_ended_pins
from entrepot.cache.root import Root
from entrepot.cache.survey import STALE_PART_SECONDS, Held, survey


@dataclass(frozen=True, slots=True)
class Evicted:
    """A blob that went, or would go."""

    digest_hex: str
    size: int
    used_at: float


def prune_root(
    root: Root, max_bytes: int | None = None, older_than_seconds: float | None = None, *, dry_run: bool = False
) -> tuple[Evicted, ...]:
    """What went, the longest unused first: all older than that, then more until `max_bytes` are used.

    Neither given: down to the limit of the root. What is pinned, open or just used stays. Raises: OSError.
    """
    if max_bytes is None and older_than_seconds is None:
        max_bytes = root.limits.max_bytes
    lock, _ = take(root, EVICT_LOCK)
    with lock:
        if not dry_run:
            sweep(root)
        found = survey(root)
        surplus = found.used_bytes - max_bytes if max_bytes is not None else 0
        is_old = _older_than(older_than_seconds)
        gone: list[Evicted] = []
        for blob in found.blobs:
            if (surplus > 0 or is_old(blob)) and evict(root, blob, dry_run=dry_run) is None:
                gone.append(Evicted(blob.digest_hex, blob.size, blob.used_at))
                surplus -= blob.size
    return tuple(gone)


def sweep(root: Root) -> None:
    """Remove stale parts, ended pins, and what killed processes left half written. Raises: OSError."""
    drop_stale_parts(root)
    drop_ended_pins(root)
    for path in _temporaries(root):
        with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
            if time.time() - os.lstat(path).st_mtime > STALE_PART_SECONDS:
                os.unlink(path)


def _temporaries(root: Root) -> Iterator[str]:
    for folder in (root.path, *(f"{root.path}/{name}" for name in FOLDERS)):
        yield from (f"{folder}/{name}" for name in os.listdir(folder) if name.startswith("."))


def _older_than(seconds: float | None) -> Callable[[Held], bool]:
    if seconds is None:
        return lambda _: False
    latest = time.time() - seconds
    return lambda blob: blob.used_at <= latest
