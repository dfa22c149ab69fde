"""Bytes on this machine as an upload reads them: by ranges, hashed, and watched for changes."""

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol, Self

from entrepot.client.flow import Buffer
from entrepot.client.plan import EDGE_BYTES, Step
from entrepot.errors import Denied, DigestMismatch, DiskFull, EntrepotError, NotFound, UsageError

PIECE_BYTES: Final = 2**20


class Source(Protocol):
    """Bytes of a known number that can be read at any place, more than once."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    @property
    def size(self) -> int:
        """Its length in bytes."""
        ...

    def read(self, step: Step) -> Buffer:
        """These bytes. Raises: DigestMismatch, if it changed."""
        ...

    def check(self) -> None:
        """Nothing. Raises: DigestMismatch, if it changed since it was opened."""
        ...


@dataclass(frozen=True, slots=True)
class MemorySource:
    """Bytes in memory."""

    name: str
    content: Buffer

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return len(self.content)

    def read(self, step: Step) -> Buffer:
        """These bytes."""
        return memoryview(self.content)[step.start : step.stop]

    def check(self) -> None:
        """Nothing: it cannot change."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """An open file. `size` and `mtime_ns` are as they were when it was opened."""

    name: str
    descriptor: int
    size: int
    mtime_ns: int

    @classmethod
    def open(cls, path: str) -> Self:
        """The file at `path`. Raises: NotFound; Denied; UsageError, for a folder or what is no file."""
        with file_errors(path):
            # a FIFO must not block before we can refuse it
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise UsageError(f"{path} is not a file", advice="push - reads standard input")
        return cls(path, descriptor, status.st_size, status.st_mtime_ns)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)

    def read(self, step: Step) -> Buffer:
        """These bytes. Raises: DigestMismatch, if the file ends before."""
        buffer = memoryview(bytearray(step.stop - step.start))
        filled = 0
        with file_errors(self.name):
            while filled < len(buffer):
                count = os.preadv(self.descriptor, [buffer[filled:]], step.start + filled)
                if not count:
                    raise self._changed("it became shorter")
                filled += count
        return buffer

    def check(self) -> None:
        """Nothing. Raises: DigestMismatch, if the file changed since it was opened."""
        status = os.fstat(self.descriptor)
        if (status.st_size, status.st_mtime_ns) != (self.size, self.mtime_ns):
            clock = time.strftime("%H:%M:%S", time.localtime(status.st_mtime))
            raise self._changed(f"modified {clock}")

    def _changed(self, how: str) -> DigestMismatch:
        return DigestMismatch(
            f"{self.name} is not what it was when the upload began",
            why=f"the file changed while it was read ({how})",
            advice="run the same command again when nobody writes it",
        )


def pieces(source: Source, step: Step) -> Iterator[Buffer]:
    """These bytes, a MiB at a time."""
    for start in range(step.start, step.stop, PIECE_BYTES):
        yield source.read(Step(start, min(start + PIECE_BYTES, step.stop)))


def edges(source: Source) -> str:
    """The sha256 of its first and last MiB together, in hex: a cheap question whether someone has it."""
    hashed = hashlib.sha256(source.read(Step(0, min(EDGE_BYTES, source.size))))
    hashed.update(source.read(Step(max(0, source.size - EDGE_BYTES), source.size)))
    return hashed.hexdigest()


def hash_all(source: Source, moved: Callable[[int], None] = lambda _: None) -> str:
    """The sha256 of it all, in hex. Raises: DigestMismatch, if it changed meanwhile."""
    hashed = hashlib.sha256()
    for piece in pieces(source, Step(0, source.size)):
        hashed.update(piece)
        moved(len(piece))
    source.check()
    return hashed.hexdigest()


@contextmanager
def file_errors(name: str) -> Iterator[None]:
    """What the system refuses on the file `name`, in our words; that nobody reads what is written passes as it is."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise file_error(error, name) from error


@contextmanager
def target_errors(path: str) -> Iterator[None]:
    """As `file_errors`, for what is to be made at `path`: a missing folder is a wrong call, not a thing not found."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        why = (error.strerror or "").lower()
        raise UsageError(f"{path} cannot be made", why=why, advice="make its folder, or give another -O") from error
    except OSError as error:
        raise file_error(error, path) from error


def check_target(path: str) -> None:
    """Nothing, if a file can appear at `path`. Raises: UsageError, without a folder or for what is no file; Denied."""
    with target_errors(path):
        os.stat(os.path.join(os.path.dirname(path), "."))
    if os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(f"{path} is not a file", why="a pull replaces files only", advice="give another -O")


def file_error(error: OSError, name: str) -> EntrepotError:
    """The error that `error` means for the file `name`."""
    why = (error.strerror or type(error).__name__).lower()
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return NotFound(f"no file {name}", why=why)
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return Denied(f"this user may not use {name}", why=why)
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return DiskFull(f"no room for {name}", why=why, advice="make room, then run the same command again")
        case errno.EISDIR | errno.EEXIST | errno.ELOOP | errno.ENAMETOOLONG:
            return UsageError(f"{name} cannot be that file", why=why)
        case _:
            return EntrepotError(f"{name} cannot be used", why=why)
