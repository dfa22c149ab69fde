"""Open a root, or make it: folders, the test of flock, and last the CACHE file that says it is one."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from entrepot.cache.choose import choose_root, has_local_locks_only, mount_of
from entrepot.cache.layout import FOLDERS, FORMAT, rules_path
from entrepot.cache.limits import Limits, limits_of
from entrepot.cache.rules import (
    FLOCK,
    GROUP,
    LEASE,
    PRIVATE,
    Rules,
    Unusable,
    check_folder,
    is_folder,
    mode_for,
    read_rules,
)
from entrepot.cache.writing import disk_errors, make_folder, replace_file, temporary_beside
from entrepot.errors import Refused, Unsupported, UsageError


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that is a cache and safe to use, with what holds in it."""

    path: str
    rules: Rules
    limits: Limits

    @property
    def file_mode(self) -> int:
        """Mode of every file but blobs."""
        return 0o664 if self.rules.mode == GROUP else 0o600

    @property
    def folder_mode(self) -> int:
        """Mode of every folder."""
        return 0o2775 if self.rules.mode == GROUP else 0o700


def open_root(path: str | None = None, *, mode: str | None = None, limits: Limits | None = None) -> Root:
    """The root at `path`, made if there is none; None: the one `choose_root` gives.

    `mode` counts only when it is made; None: `group` for a folder that is 2775 already, else `private`.

    Raises: Refused, for a folder that is not safe or of a newer format; Unsupported; UsageError; Denied; LimitReached.
    """
    where = path or choose_root()
    if where.startswith("unix:"):
        raise Unsupported("no node service can be asked yet", advice="set ENTREPOT_CACHE to a folder")
    where = os.path.abspath(where)
    with disk_errors(), _refusals():
        try:
            rules = read_rules(where)
        except FileNotFoundError:
            make_root(where, mode)
            rules = read_rules(where)
        root = Root(where, rules, limits or limits_of(where, rules))
        for folder in FOLDERS:
            make_folder(f"{where}/{folder}", root.folder_mode)
    return root


def make_root(path: str, mode: str | None = None) -> None:
    """A cache at `path`; two may make it at once. Raises: Unusable, if the folder is another's or has other files."""
    if not os.path.lexists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        make_folder(path, 0o2775 if mode == GROUP else 0o700)
    status = os.lstat(path)
    if not is_folder(status):
        raise Unusable("it is not a folder, or a link to one")
    mode = mode or mode_for(status)
    strangers = [name for name in os.listdir(path) if name not in FOLDERS and name != "CACHE" and name[0] != "."]
    if strangers:
        raise Unusable("the folder holds other files and no cache")
    if mode == PRIVATE and status.st_uid == os.geteuid():
        os.chmod(path, 0o700)
    check_folder(os.lstat(path), mode)
    for folder in FOLDERS:
        make_folder(f"{path}/{folder}", 0o2775 if mode == GROUP else 0o700)
    locks = FLOCK if flock_excludes(f"{path}/locks") else LEASE
    text = f"format {FORMAT}\nmode {mode}\nlocks {locks}\n"
    replace_file(rules_path(path), 0o664 if mode == GROUP else 0o600, text.encode())


def flock_excludes(folder: str) -> bool:
    """True if flock in `folder` refuses a second descriptor, and not within this machine alone.

    Lustre without `-o flock` answers ENOSYS; some mounts keep flock from other machines.
    """
    if has_local_locks_only(mount_of(folder)):
        return False
    path = temporary_beside(f"{folder}/x")
    first = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    second = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
    except OSError:
        return False
    finally:
        os.close(first)
        os.close(second)
        os.unlink(path)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except Unusable as error:
        raise Refused(
            "this folder cannot be the node cache", why=str(error), advice="set ENTREPOT_CACHE to a folder of your own"
        ) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            "the node cache cannot be made there",
            why=error.strerror or "",
            advice="set ENTREPOT_CACHE to a folder of your own",
        ) from error
