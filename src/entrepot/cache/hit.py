"""The blob is here: found without network, hashing or waiting. Imports os and fcntl, and nothing slow may come in."""

import fcntl
import os

from entrepot.cache.layout import blob_path, lock_name, spool_path, stamp_path, use_path
from entrepot.cache.rules import FLOCK, Rules, Unusable, read_rules

STAMP_AGE_SECONDS = 30 * 86400
"""After this long a blob is hashed again."""

OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""How a blob is opened: no link is followed, and a FIFO in its place blocks nobody."""


def hit(root: str, digest_hex: str) -> str | None:
    """The path of a verified blob; None if it is not here, busy, changed, or due for a new hash."""
    descriptor = open_hit(root, digest_hex)
    if descriptor is None:
        return None
    os.close(descriptor)
    return blob_path(root, digest_hex)


def open_hit(root: str, digest_hex: str) -> int | None:
    """A descriptor of a verified blob, to be closed by the caller; None as `hit`.

    None too where flock does not exclude: the slow path takes its lock in another way.
    """
    try:
        rules = read_rules(root)
        if rules.locks != FLOCK:
            return None
        lock = os.open(f"{root}/{lock_name(digest_hex)}", os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, Unusable):
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        descriptor = open_verified(root, rules, digest_hex)
        if descriptor is not None:
            note(root, digest_hex, b"h")
        return descriptor
    except OSError:
        return None
    finally:
        os.close(lock)


def open_verified(root: str, rules: Rules, digest_hex: str) -> int | None:
    """A descriptor of a blob whose stamp fits, its use touched; None if anything is missing or different.

    The entry must be locked, shared or not.
    """
    try:
        descriptor = os.open(blob_path(root, digest_hex), OPEN_FLAGS)
    except OSError:
        return None
    kept = False
    try:
        status = os.fstat(descriptor)
        if rules.trusts(status):
            fresh = is_stamped(root, digest_hex, status, touch(root, digest_hex))
            kept = fresh
    except OSError:
        return None
    finally:
        if not kept:
            os.close(descriptor)
    return descriptor if kept else None


def touch(root: str, digest_hex: str) -> float:
    """Mark the entry as used now; gives that time, by the clock of the file system. Raises: OSError."""
    path = use_path(root, digest_hex)
    os.utime(path)
    return os.stat(path).st_mtime


def is_stamped(root: str, digest_hex: str, status: os.stat_result, now: float) -> bool:
    """True if the stamp was made of a file that looked like `status`, at most `STAMP_AGE_SECONDS` ago."""
    stamp = read_stamp(root, digest_hex)
    return (
        stamp is not None
        and stamp[:4] == (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        and abs(now - stamp[4]) <= STAMP_AGE_SECONDS
    )


def read_stamp(root: str, digest_hex: str) -> tuple[int, ...] | None:
    """Inode, size, mtime_ns, ctime_ns and the second of the hash; None if there is no stamp or it cannot be read."""
    try:
        descriptor = os.open(stamp_path(root, digest_hex), OPEN_FLAGS)
        try:
            fields = os.read(descriptor, 256).split()
        finally:
            os.close(descriptor)
        return tuple(int(field) for field in fields) if len(fields) == 5 else None
    except (OSError, ValueError):
        return None


def note(root: str, digest_hex: str, letter: bytes) -> None:
    """Count one event of this entry, if it can be: a count is never worth a refusal."""
    try:
        descriptor = os.open(spool_path(root, digest_hex), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.write(descriptor, letter)
        finally:
            os.close(descriptor)
    except OSError:
        pass
