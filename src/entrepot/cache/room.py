"""Room for a new blob: counted, made and reserved under the one lock of the root, so two never take the last of it."""

import os

from entrepot.cache.entry import event
from entrepot.cache.evict import drop_stale_parts, evict_until
from entrepot.cache.layout import EVICT_LOCK, part_path
from entrepot.cache.locks import take
from entrepot.cache.parts import Part
from entrepot.cache.root import Root
from entrepot.cache.survey import Survey, describe, survey
from entrepot.cache.wording import shown_digest, shown_size
from entrepot.errors import LimitReached

ADVICE = "get -O FILE for a copy of your own, entrepot cache prune, or a larger ENTREPOT_CACHE_MAX_BYTES"


def reserve(root: Root, digest_hex: str, size: int) -> Part:
    """An empty part whose name keeps `size` bytes of room. The entry is locked.

    Raises: LimitReached, saying what is held by whom; OSError.
    """
    try:
        if size > root.limits.max_bytes:
            raise LimitReached(
                f"{shown_digest(digest_hex)} is {shown_size(size)}, larger than the whole node cache",
                why=f"it may hold {shown_size(root.limits.max_bytes)}",
                advice=ADVICE,
            )
        lock, _ = take(root, EVICT_LOCK)
        with lock:
            make_room(root, size)
            return Part.create(part_path(root.path, digest_hex, size), size, root.file_mode)
    except LimitReached:
        event(root, digest_hex, b"f", size)
        raise


def make_room(root: Root, size: int) -> None:
    """Return when `size` more bytes fit into both limits. Raises: LimitReached; OSError."""
    found = survey(root)
    missing = shortage(root, found, size)
    if missing > 0:
        missing -= drop_stale_parts(root)
    if missing <= 0:
        return
    freed, kept = evict_until(root, found, missing)
    if freed >= missing:
        return
    filling = sum(part.size for part in found.parts)
    held = describe(root, kept) if kept else "no blob"
    raise LimitReached(
        f"no room for {shown_size(size)} in the node cache, {shown_size(missing - freed)} are missing",
        why=f"{shown_size(found.used_bytes)} of {shown_size(root.limits.max_bytes)} are used"
        f"{f', {shown_size(filling)} by downloads' if filling else ''}; kept: {held}",
        advice=ADVICE,
    )


def shortage(root: Root, found: Survey, size: int) -> int:
    """Bytes to free before `size` more fit; 0 or less: they fit."""
    volume = os.statvfs(root.path)
    free = volume.f_bavail * volume.f_frsize - found.outstanding_bytes - size
    return max(found.used_bytes + size - root.limits.max_bytes, root.limits.min_free_bytes - free)
