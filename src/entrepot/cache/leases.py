"""A lock made of a file, for file systems whose flock does not exclude: made by O_EXCL, touched, stale when untouched.

All times are the file system's own, so the clocks of two machines need not agree. Who finds a stale lease removes it
only after winning a second O_EXCL file named by the inode of that very lease: two cannot both remove it.
"""

import os
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from entrepot.cache.writing import temporary_beside, write_all

TOUCH_SECONDS: Final = 10.0
STALE_SECONDS: Final = 60.0


class LeaseLock:
    """A lease that a thread keeps fresh until `release`."""

    def __init__(self, path: str, token: bytes) -> None:
        self._path = path
        self._token = token
        self._done = threading.Event()
        self._toucher = threading.Thread(target=self._keep, name="entrepot-lease", daemon=True)
        self._toucher.start()

    @classmethod
    def attempt(cls, path: str, mode: int) -> Self | None:
        """The lease, or None while another's is fresh. Raises: OSError."""
        token = os.urandom(16)  # an inode would not do: it is given to the next file at once
        made = _create(path, mode, token) or (_break_stale(path, mode) and _create(path, mode, token))
        return cls(path, token) if made else None

    def is_held(self) -> bool:
        """False if the lease was taken for stale, after a long stop of this process."""
        try:
            return not self._done.is_set() and _read(self._path) == self._token
        except OSError:
            return False

    def release(self) -> None:
        """Let the next one in."""
        if self._done.is_set():
            return
        mine = self.is_held()
        self._done.set()
        self._toucher.join()
        if mine:
            with suppress(FileNotFoundError):
                os.unlink(self._path)

    def _keep(self) -> None:
        while not self._done.wait(TOUCH_SECONDS):
            if self.is_held():
                with suppress(OSError):
                    os.utime(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _create(path: str, mode: int, token: bytes = b"") -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        return False
    try:
        write_all(descriptor, token)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
    return True


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _break_stale(path: str, mode: int) -> bool:
    """True if the lease was stale and is gone."""
    inode = _stale_inode(path)
    if inode is None:
        return False
    claim = f"{path}.{inode}"
    if not _create(claim, mode):
        if _stale_inode(claim) is not None:  # who claimed it died as well
            with suppress(FileNotFoundError):
                os.unlink(claim)
        return False
    try:
        if _stale_inode(path) != inode:
            return False
        os.unlink(path)
        return True
    except FileNotFoundError:
        return False
    finally:
        os.unlink(claim)


def _stale_inode(path: str) -> int | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if abs(time.time() - status.st_mtime) < STALE_SECONDS / 2:
        return None  # even if the clocks differ this only makes it stale later
    return status.st_ino if _now_there(path) - status.st_mtime > STALE_SECONDS else None


def _now_there(path: str) -> float:
    """The file system's clock."""
    probe = temporary_beside(path)
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        os.unlink(probe)
