"""Where things lie below a root. A `digest_hex` is the 64 lower-case hex digits of a digest. Imports nothing."""

FORMAT = 1
"""The format of a root this code reads and writes; a newer one is refused."""

FOLDERS = ("blobs", "stamps", "uses", "locks", "parts", "pins", "refs", "spool")

EVICT_LOCK = "evict.lock"
"""The only lock for the whole root, for misses alone; a name below the root like those of `lock_name`."""


def is_digest_hex(text: str) -> bool:
    """True for 64 lower-case hex digits, and nothing else becomes a file name here."""
    return len(text) == 64 and not text.strip("0123456789abcdef")


def rules_path(root: str) -> str:
    """The text that makes a folder a cache: format, mode, kind of locks, limits."""
    return f"{root}/CACHE"


def blob_path(root: str, digest_hex: str) -> str:
    """Complete, verified, never written again, 0444."""
    return f"{root}/blobs/{digest_hex[:2]}/{digest_hex}"


def stamp_path(root: str, digest_hex: str) -> str:
    """What the blob's file looked like when its bytes were hashed: made after it, removed before it."""
    return f"{root}/stamps/{digest_hex}"


def use_path(root: str, digest_hex: str) -> str:
    """Empty; its mtime is the last use."""
    return f"{root}/uses/{digest_hex}"


def lock_name(digest_hex: str) -> str:
    """The lock of one entry, below the root; it stays when the blob goes."""
    return f"locks/{digest_hex}"


def part_path(root: str, digest_hex: str, size: int) -> str:
    """A running or broken download; the full size in its name is its reservation."""
    return f"{root}/parts/{digest_hex}.{size}"


def pin_path(root: str, digest_hex: str, until: int, uid: int) -> str:
    """Empty; `until` in seconds since the epoch, 0 for ever."""
    return f"{root}/pins/{digest_hex}.{until}.{uid}"


def spool_path(root: str, digest_hex: str) -> str:
    """The size of the blob, a line end, then one letter for each event; see `events`."""
    return f"{root}/spool/{digest_hex}"
