"""Remove what may go, the longest unused first. Everything here runs under `evict.lock`."""

import os
import time
from contextlib import ExitStack, suppress

from entrepot.cache.entry import remove
from entrepot.cache.layout import blob_path, lock_name, part_path
from entrepot.cache.locks import try_take
from entrepot.cache.opened import Openness, lease
from entrepot.cache.parts import list_parts
from entrepot.cache.pins import list_pins
from entrepot.cache.root import Root
from entrepot.cache.survey import STALE_PART_SECONDS, Held, Survey, held_blob


def drop_stale_parts(root: Root) -> int:
    """Bytes of reservations given back, of parts untouched for a day that nobody is filling. Raises: OSError."""
    freed = 0
    for digest_hex, size, status in list_parts(root):
        lock = try_take(root, lock_name(digest_hex)) if is_stale(status) else None
        if lock:
            path = part_path(root.path, digest_hex, size)
            with lock, suppress(FileNotFoundError):
                if is_stale(os.lstat(path)):
                    os.unlink(path)
                    freed += size
    return freed


def is_stale(status: os.stat_result) -> bool:
    """True for a part nobody has touched for a day."""
    return time.time() - status.st_mtime > STALE_PART_SECONDS


def may_go(root: Root, blob: Held) -> bool:
    """True if neither a pin nor a recent use keeps it; whether it is open is asked only when it is removed."""
    return not blob.reason(root, time.time())


def evict(root: Root, blob: Held, *, dry_run: bool = False) -> Openness | None:
    """None if the blob is gone, or would be; else what the kernel said of it. Raises: OSError.

    Under its lock, use and pins are read again, and no other process can open the file while it is removed.
    """
    lock = try_take(root, lock_name(blob.digest_hex))
    if lock is None:
        return Openness.UNKNOWN
    with lock, ExitStack() as leased:
        now_there = held_blob(root, blob.digest_hex, list_pins(root).get(blob.digest_hex, ()))
        if now_there is None:
            return None
        try:
            state = leased.enter_context(lease(blob_path(root.path, blob.digest_hex)))
        except OSError:
            state = Openness.UNKNOWN  # a link or a FIFO that somebody put there
        if now_there.reason(root, time.time(), state):
            return state
        if not dry_run:
            remove(root, blob.digest_hex)
        return None


def evict_until(root: Root, found: Survey, wanted: int) -> tuple[int, list[tuple[Held, Openness]]]:
    """Bytes freed on the way to `wanted`, and the blobs that had to stay. Nothing goes if it would not be enough."""
    kept = [(blob, Openness.CLOSED) for blob in found.blobs if not may_go(root, blob)]
    victims = [blob for blob in found.blobs if may_go(root, blob)]
    if sum(blob.size for blob in victims) < wanted:
        return 0, [*kept, *((blob, Openness.CLOSED) for blob in victims)]
    freed = 0
    for blob in victims:
        if freed >= wanted:
            break
        state = evict(root, blob)
        if state is None:
            freed += blob.size
        else:
            kept.append((blob, state))
    return freed, kept
