"""One holder at a time: flock, or a lease file where flock does not exclude."""

import fcntl
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol, Self

from entrepot.cache.leases import LeaseLock
from entrepot.cache.root import Root
from entrepot.cache.rules import LEASE
from entrepot.cache.writing import create_file

SLOW_SECONDS: Final = 2.0
_FIRST_POLL_SECONDS: Final = 0.005
_LONGEST_POLL_SECONDS: Final = 0.2


class Lock(Protocol):
    """A lock this process holds until `release`; a context manager. A killed process holds nothing."""

    def is_held(self) -> bool:
        """False if the lock was lost, as a lease that could not be renewed is."""
        ...

    def release(self) -> None:
        """Let the next one in; a second time does nothing."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FlockLock:
    """The kernel's lock on an open file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def is_held(self) -> bool:
        """True until `release`."""
        return self._descriptor is not None

    def release(self) -> None:
        """Let the next one in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def take(root: Root, name: str, when_slow: Callable[[], None] | None = None) -> tuple[Lock, bool]:
    """The lock `name` below the root, and whether another held it first; waits for ever.

    `when_slow` is called once, after `SLOW_SECONDS` of waiting. Raises: OSError.
    """
    lock = try_take(root, name)
    waited = lock is None
    began, delay = time.monotonic(), _FIRST_POLL_SECONDS
    while lock is None:
        time.sleep(delay)
        delay = min(delay * 1.5, _LONGEST_POLL_SECONDS)
        lock = try_take(root, name)
        if lock is None and when_slow and time.monotonic() - began > SLOW_SECONDS:
            when_slow()
            when_slow = None
    return lock, waited


def try_take(root: Root, name: str) -> Lock | None:
    """The lock, or None while another has it. Raises: OSError."""
    path = f"{root.path}/{name}"
    if root.rules.locks == LEASE:
        return LeaseLock.attempt(f"{path}.lease", root.file_mode)
    return _try_flock(path, root.file_mode)


def _try_flock(path: str, mode: int) -> FlockLock | None:
    try:
        descriptor = _open(path)
    except FileNotFoundError:
        create_file(path, mode)
        descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return FlockLock(descriptor)


def _open(path: str) -> int:
    # NFS grants an exclusive lock only on a descriptor that may write
    return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
