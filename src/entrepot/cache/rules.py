"""What the `CACHE` file of a root says, and whom that root trusts. On the hit path: imports os alone."""

import os

from entrepot.cache.layout import FORMAT, rules_path

PRIVATE = "private"
GROUP = "group"
FLOCK = "flock"
LEASE = "lease"

_FILE_TYPE = 0o170000
_FOLDER = 0o040000
_REGULAR = 0o100000


class Unusable(Exception):
    """A root this process must not use. The text says why, without a path."""


class Rules:
    """What holds in one root. `locks` is `flock`, or `lease` where flock does not exclude; limits None: the default.

    A plain class: dataclasses would double the time a hit takes to start.
    """

    __slots__ = ("group", "locks", "max_bytes", "min_free_bytes", "mode", "owner")

    def __init__(
        self,
        mode: str,
        locks: str,
        owner: int,
        group: int,
        max_bytes: int | None = None,
        min_free_bytes: int | None = None,
    ) -> None:
        self.mode = mode
        self.locks = locks
        self.owner = owner
        self.group = group
        self.max_bytes = max_bytes
        self.min_free_bytes = min_free_bytes

    def trusts(self, status: os.stat_result) -> bool:
        """True for a regular file only I, root, the cache's owner, and in group mode its members can change.

        Only a member can make a file with the group of the cache; that is how members are known.
        """
        if status.st_mode & _FILE_TYPE != _REGULAR:
            return False
        shared = self.mode == GROUP and status.st_gid == self.group
        if not shared and status.st_uid not in (os.geteuid(), 0, self.owner):
            return False
        return not status.st_mode & (0o002 if shared else 0o022)


def read_rules(root: str) -> Rules:
    """The rules of a root whose folder is safe to use.

    Raises: FileNotFoundError, if there is no cache yet; Unusable, for a folder or format this process must not use.
    """
    status = os.lstat(root)
    descriptor = os.open(rules_path(root), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        text = os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
    rules = parse_rules(text, status)
    check_folder(status, rules.mode)
    return rules


def parse_rules(text: bytes, status: os.stat_result) -> Rules:
    """The rules `text` means in a folder with that `status`. Raises: Unusable."""
    words = dict(line.partition(b" ")[::2] for line in text.splitlines())
    form = _number(words.get(b"format", b""))
    if form is None:
        raise Unusable("its CACHE file cannot be read")
    if form > FORMAT:
        raise Unusable(f"it has format {form}, this program knows {FORMAT}")
    mode = words.get(b"mode", b"").decode("ascii", "replace")
    locks = words.get(b"locks", b"").decode("ascii", "replace")
    if mode not in (PRIVATE, GROUP) or locks not in (FLOCK, LEASE):
        raise Unusable(f"its mode {mode!r} with locks {locks!r} is not one this program knows")
    max_bytes, min_free_bytes = _number(words.get(b"max_bytes", b"")), _number(words.get(b"min_free_bytes", b""))
    return Rules(mode, locks, status.st_uid, status.st_gid, max_bytes, min_free_bytes)


def check_folder(status: os.stat_result, mode: str) -> None:
    """Nothing, if a root with that `lstat` is safe in that mode. Raises: Unusable."""
    if not is_folder(status):
        raise Unusable("it is not a folder, or a link to one")
    if mode == GROUP:
        if status.st_mode & 0o002:
            raise Unusable("everybody may write in it")
        if status.st_uid not in (os.geteuid(), 0) and not _is_member(status.st_gid):
            raise Unusable("it belongs to another user, and its group has not you")
    elif status.st_uid != os.geteuid():
        raise Unusable("it belongs to another user")
    elif status.st_mode & 0o077:
        raise Unusable("others may enter it, and it is private")


def mode_for(status: os.stat_result) -> str:
    """The mode a new cache gets in a folder with that `lstat`: `group` for 2775, else `private`."""
    return GROUP if status.st_mode & 0o2020 == 0o2020 else PRIVATE


def is_folder(status: os.stat_result) -> bool:
    """True for a folder itself; a link to one is none."""
    return status.st_mode & _FILE_TYPE == _FOLDER


def _is_member(group: int) -> bool:
    return group == os.getegid() or group in os.getgroups()


def _number(text: bytes) -> int | None:
    return int(text) if text.isdigit() else None
