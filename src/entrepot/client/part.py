"""Where downloaded bytes land, in order: `<file>.part` until they are verified, or a stream."""

import fcntl
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol, Self

from entrepot.client.flow import Buffer
from entrepot.client.localfile import PIECE_BYTES, file_errors, target_errors
from entrepot.errors import Busy

SUFFIX: Final = ".part"


class Sink(Protocol):
    """Takes bytes in order and hashes them."""

    @property
    def written(self) -> int:
        """Bytes it holds."""
        ...

    def write(self, buffer: Buffer) -> None:
        """Take the next bytes."""
        ...

    def digest_hex(self) -> str:
        """The checksum of all it holds."""
        ...


class StreamSink:
    """Bytes go out at once; only the hash stays."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._hashed = hashlib.sha256()
        self.written = 0

    def write(self, buffer: Buffer) -> None:
        """Take the next bytes. Raises: BrokenPipeError, if nobody reads; DiskFull."""
        _write_all(self._descriptor, buffer, "standard output")
        self._hashed.update(buffer)
        self.written += len(buffer)

    def digest_hex(self) -> str:
        """The sha256 of all that went out."""
        return self._hashed.hexdigest()


class PartFile:
    """`<target>.part`, locked: always the first bytes of the file without a hole, so the same command continues."""

    def __init__(self, target: str, descriptor: int, algorithm: str) -> None:
        self.target = target
        self.path = target + SUFFIX
        self._descriptor = descriptor
        self._algorithm = algorithm
        self._hashed = hashlib.new(algorithm)
        self.written = 0

    @classmethod
    def open(cls, target: str, algorithm: str = "sha256") -> Self:
        """The part beside `target`, made if there is none. Raises: Busy, if another pull has it; Denied; UsageError."""
        path = target + SUFFIX
        with target_errors(path):
            while True:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
                _lock(descriptor, path)
                # another pull may have renamed it between our open and our lock
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                        return cls(target, descriptor, algorithm)
                os.close(descriptor)

    def resume(self, size: int, moved: Callable[[int], None]) -> int:
        """How many bytes of an earlier pull are here; more than `size` are none. They are hashed, not believed."""
        with file_errors(self.path):
            if os.fstat(self._descriptor).st_size > size:
                self.restart()
            while piece := os.pread(self._descriptor, PIECE_BYTES, self.written):
                self._hashed.update(piece)
                self.written += len(piece)
                moved(len(piece))
            os.lseek(self._descriptor, self.written, os.SEEK_SET)
        return self.written

    def restart(self) -> None:
        """Begin again at zero."""
        with file_errors(self.path):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._hashed = hashlib.new(self._algorithm)
        self.written = 0

    def cut(self, size: int) -> None:
        """Drop what is behind the first `size` bytes."""
        with file_errors(self.path):
            os.ftruncate(self._descriptor, size)

    def write(self, buffer: Buffer) -> None:
        """Append the next bytes. Raises: DiskFull."""
        _write_all(self._descriptor, buffer, self.path)
        self._hashed.update(buffer)
        self.written += len(buffer)

    def digest_hex(self) -> str:
        """The checksum of all that is here."""
        return self._hashed.hexdigest()

    def appear(self, *, durable: bool = False) -> None:
        """Give the file its name: the bytes are right. `durable`: they outlast a loss of power first."""
        with file_errors(self.target):
            if durable:
                os.fsync(self._descriptor)
            os.rename(self.path, self.target)

    def drop(self) -> None:
        """Remove it: its bytes are wrong."""
        with suppress(OSError):
            os.unlink(self.path)

    def close(self) -> None:
        """Give descriptor and lock back."""
        os.close(self._descriptor)


def _lock(descriptor: int, path: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Busy(f"another pull writes {path}", advice="wait for it, or give another -O") from error
    except OSError:
        pass  # no locks on this file system: two pulls of one file at once may then spoil it, and the hash tells


def _write_all(descriptor: int, buffer: Buffer, name: str) -> None:
    rest = memoryview(buffer)
    with file_errors(name):
        while rest:
            rest = rest[os.write(descriptor, rest) :]
