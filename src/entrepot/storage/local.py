"""Bytes on a local disk: `blobs/<2 hex>/<key>` and `staging/<id>`; written as restic and SQLite would.

Order of a commit: fsync(file), rename to a key that never was before, fsync(folder). A failed fsync is final: ext4 and
XFS report success to a second one while the data is gone, so the area is dropped and never tried again.
"""

import ctypes
import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from entrepot.errors import Busy, DiskFull, NotFound
from entrepot.failpoints import failpoint
from entrepot.model import FileSpan, Piece, Span, Stamp
from entrepot.storage.driver import Room, Staging

_VECTORS: Final = 512
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_MANY: Final = {errno.EMFILE, errno.ENFILE}


_KEEP_SIZE: Final = 1
_fallocate: Final = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
if _fallocate:
    _fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def refusal(error: OSError) -> Exception:
    """What a failed call means to a client: a full disk, too many open files; else the error itself."""
    if error.errno in _FULL:
        return DiskFull("the server's disk is full", advice="try again later, or tell the operator")
    if error.errno in _MANY:
        return Busy("the server has too many files open")
    return error


def stamp_of(descriptor: int) -> Stamp:
    """What an open file looks like now."""
    seen = os.fstat(descriptor)
    return Stamp(seen.st_size, seen.st_mtime_ns, seen.st_ino)


class LocalStaging:
    """One open file below `staging/`."""

    def __init__(self, driver: "LocalDriver", id: str, descriptor: int) -> None:
        self.id = id
        self._driver = driver
        self._path = driver.staging_path(id)
        self._descriptor = descriptor
        self._closing = threading.Lock()

    def allocate(self, size: int) -> None:
        """Keep room on disk without changing the length; file systems that cannot, do without. Raises: DiskFull."""
        if _fallocate and _fallocate(self._descriptor, _KEEP_SIZE, 0, size) and ctypes.get_errno() in _FULL:
            self.discard()
            raise refusal(OSError(ctypes.get_errno(), ""))

    def write(self, offset: int, pieces: Sequence[Piece]) -> int:
        """As `Staging.write`."""
        total = 0
        try:
            for first in range(0, len(pieces), _VECTORS):
                total += self._write_some(offset + total, pieces[first : first + _VECTORS])
            failpoint("upload.written")
        except OSError as error:
            raise refusal(error) from error
        return total

    def _write_some(self, offset: int, pieces: Sequence[Piece]) -> int:
        wanted = sum(map(len, pieces))
        done = os.pwritev(self._descriptor, pieces, offset)
        if done < wanted:
            rest = memoryview(b"".join(pieces))
            while done < wanted:
                done += os.pwrite(self._descriptor, rest[done:], offset + done)
        return wanted

    def read(self, offset: int, length: int) -> bytes:
        """As `Staging.read`."""
        return os.pread(self._descriptor, length, offset)

    def size(self) -> int:
        """As `Staging.size`."""
        return os.fstat(self._descriptor).st_size

    def sync(self) -> None:
        """As `Staging.sync`."""
        try:
            os.fdatasync(self._descriptor)
            failpoint("upload.synced")
        except OSError as error:
            self.discard()
            raise refusal(error) from error

    def cut(self, length: int) -> None:
        """As `Staging.cut`."""
        os.ftruncate(self._descriptor, length)

    def commit(self, key: str) -> Stamp:
        """As `Staging.commit`."""
        target = self._driver.path(key)
        renamed = False
        try:
            os.fsync(self._descriptor)
            failpoint("blob.synced")
            os.rename(self._path, target)
            renamed = True
            failpoint("blob.renamed")
            self._driver.sync_folder(os.path.dirname(target))
            failpoint("blob.folder_synced")
            stamp = stamp_of(self._descriptor)
        except OSError as error:
            if renamed:
                with suppress(OSError):
                    os.unlink(target)
            self.discard()
            raise refusal(error) from error
        self.close()
        return stamp

    def discard(self) -> None:
        """As `Staging.discard`."""
        if self.close():
            with suppress(FileNotFoundError):
                os.unlink(self._path)

    def close(self) -> bool:
        """As `Staging.close`; whether it was open."""
        with self._closing:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        return descriptor >= 0


class LocalDriver:
    """Bytes below one folder of one file system. Keys are `<64 hex>.<8 hex>`."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._staging = os.path.join(root, "staging")
        self._blobs = os.path.join(root, "blobs")
        os.makedirs(self._staging, 0o700, exist_ok=True)
        if not os.path.isdir(os.path.join(self._blobs, "ff")):
            for number in range(256):
                os.makedirs(os.path.join(self._blobs, f"{number:02x}"), 0o700, exist_ok=True)
            self.sync_folder(self._blobs)
            self.sync_folder(root)

    def path(self, key: str) -> str:
        """Where `key` lies."""
        return os.path.join(self._blobs, key[:2], key)

    def staging_path(self, id: str) -> str:
        """Where the area `id` lies."""
        return os.path.join(self._staging, id)

    def stage(self, id: str, expected_size: int | None) -> Staging:
        """As `Driver.stage`."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            staging = LocalStaging(self, id, os.open(self.staging_path(id), flags, 0o600))
        except OSError as error:
            raise refusal(error) from error
        if expected_size:
            staging.allocate(expected_size)
        failpoint("upload.staged")
        return staging

    def reopen(self, id: str) -> Staging:
        """As `Driver.reopen`."""
        try:
            return LocalStaging(self, id, os.open(self.staging_path(id), os.O_RDWR | os.O_CLOEXEC))
        except FileNotFoundError as error:
            raise NotFound("no such staging area") from error
        except OSError as error:
            raise refusal(error) from error

    def restage(self, key: str, id: str) -> None:
        """As `Driver.restage`."""
        try:
            os.rename(self.path(key), self.staging_path(id))
        except FileNotFoundError as error:
            raise NotFound("no bytes under that key") from error
        self.sync_folder(self._staging)

    def open(self, key: str, span: Span) -> FileSpan:
        """As `Driver.open`."""
        try:
            descriptor = os.open(self.path(key), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFound("no bytes under that key") from error
        except OSError as error:
            raise refusal(error) from error
        return FileSpan(descriptor, span, stamp_of(descriptor))

    def delete(self, key: str) -> None:
        """As `Driver.delete`."""
        with suppress(FileNotFoundError):
            os.unlink(self.path(key))

    def keys(self) -> Iterator[str]:
        """As `Driver.keys`."""
        for number in range(256):
            with os.scandir(os.path.join(self._blobs, f"{number:02x}")) as entries:
                for entry in entries:
                    yield entry.name

    def staged(self) -> Iterator[str]:
        """As `Driver.staged`."""
        with os.scandir(self._staging) as entries:
            for entry in entries:
                yield entry.name

    def discard(self, id: str) -> None:
        """As `Driver.discard`."""
        with suppress(FileNotFoundError):
            os.unlink(self.staging_path(id))

    def room(self) -> Room:
        """As `Driver.room`."""
        seen = os.statvfs(self._root)
        return Room(seen.f_bavail * seen.f_frsize, seen.f_blocks * seen.f_frsize)

    @staticmethod
    def sync_folder(path: str) -> None:
        """What was renamed into or out of `path` is on disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
