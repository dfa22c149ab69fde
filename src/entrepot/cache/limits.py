"""How much a root may hold, and how much it must leave to others."""

import os
from dataclasses import dataclass

from entrepot.cache.rules import Rules
from entrepot.errors import UsageError

HOLD_SECONDS = 3600
BLIND_HOLD_SECONDS = 86400
"""The hold where nobody can tell which files are open (NFS, files of other users)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_bytes`: blobs and reservations together; `min_free_bytes`: of the file system; both are hard.

    `hold_seconds`: after a use the blob stays at least so long, the time from `get` to the runtime's open.
    """

    max_bytes: int
    min_free_bytes: int
    hold_seconds: float = HOLD_SECONDS
    blind_hold_seconds: float = BLIND_HOLD_SECONDS


def limits_of(root: str, rules: Rules) -> Limits:
    """As the environment says, else CACHE, else half the file system and max(2 GiB, 5 %). Raises: UsageError."""
    volume = os.statvfs(root)
    whole = volume.f_blocks * volume.f_frsize
    return Limits(
        _first(_told("ENTREPOT_CACHE_MAX_BYTES"), rules.max_bytes, whole // 2),
        _first(_told("ENTREPOT_CACHE_MIN_FREE_BYTES"), rules.min_free_bytes, max(2 * 2**30, whole // 20)),
    )


def _first(told: int | None, kept: int | None, default: int) -> int:
    return told if told is not None else kept if kept is not None else default


def _told(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    if not text:
        return None
    if not text.isdigit():
        raise UsageError(f"{variable} is not a number", why="it counts bytes", advice=f"{variable}=10737418240")
    return int(text)
