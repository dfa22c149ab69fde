"""Is a file open anywhere on this machine? The kernel knows: it gives a write lease only if it is not."""

import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from entrepot.cache.hit import OPEN_FLAGS


class Openness(Enum):
    """What the kernel says. `UNKNOWN`: no leases here (NFS), or the file is another user's."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


@contextmanager
def lease(path: str) -> Iterator[Openness]:
    """Whether another has `path` open, mapped or loop-mounted; if `CLOSED`, whoever opens it waits until the end.

    Raises: OSError, if it cannot be opened. Source: F_SETLEASE(2const).
    """
    descriptor = os.open(path, OPEN_FLAGS)
    try:
        yield _ask(descriptor)
    finally:
        os.close(descriptor)


def openness(path: str) -> Openness:
    """Whether another has `path` open just now. Raises: OSError, if it cannot be opened."""
    with lease(path) as state:
        return state


def _ask(descriptor: int) -> Openness:
    try:
        # the signal of a lease is SIGIO, which kills; SIGURG is ignored, and unlike a handler this works in any thread
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        return Openness.OPEN if error.errno == errno.EAGAIN else Openness.UNKNOWN
    return Openness.CLOSED
