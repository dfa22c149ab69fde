"""A download on its way: a file whose full size is known, and the hash of what is in it."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Self

from entrepot.cache.entry import PIECE_BYTES
from entrepot.cache.layout import part_path
from entrepot.cache.root import Root
from entrepot.cache.rules import LEASE
from entrepot.cache.writing import temporary_beside, write_all
from entrepot.errors import Refused

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Part:
    """An open file that grows to `size` bytes; `written` are there and hashed. Close or drop it."""

    def __init__(self, path: str, size: int, descriptor: int) -> None:
        self.path = path
        self.size = size
        self.descriptor = descriptor
        self.written = 0
        self._hash = hashlib.sha256()

    @classmethod
    def create(cls, path: str, size: int, mode: int | None = None) -> Self:
        """An empty one in place of what was at `path`. `mode` None: as the umask says. Raises: OSError."""
        with suppress(FileNotFoundError):
            os.unlink(path)
        descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600 if mode is not None else 0o666)
        if mode is not None:
            os.fchmod(descriptor, mode)
        return cls(path, size, descriptor)

    @property
    def is_full(self) -> bool:
        """True if all bytes are there, right or not."""
        return self.written == self.size

    def append(self, piece: bytes | memoryview) -> None:
        """Write and hash the next bytes. Raises: Refused, if they are more than `size`; OSError."""
        if self.written + len(piece) > self.size:
            raise Refused("the source sent more bytes than it announced")
        write_all(self.descriptor, piece)
        self.count(piece)

    def count(self, piece: bytes | memoryview) -> None:
        """Hash bytes that are in the file already."""
        self._hash.update(piece)
        self.written += len(piece)

    def restart(self) -> None:
        """Be empty again. Raises: OSError."""
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        os.ftruncate(self.descriptor, 0)
        self.written = 0
        self._hash = hashlib.sha256()

    def has(self, digest_hex: str) -> bool:
        """True if it is full and its bytes are those of the digest."""
        return self.is_full and self._hash.hexdigest() == digest_hex

    def close(self) -> None:
        """Leave the file for the next one who continues."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def drop(self) -> None:
        """Remove the file, and with it the reservation."""
        self.close()
        with suppress(FileNotFoundError):
            os.unlink(self.path)


def list_parts(root: Root) -> Iterator[tuple[str, int, os.stat_result]]:
    """Digest in hex, reserved size and status of each part. Raises: OSError."""
    with os.scandir(f"{root.path}/parts") as found:
        for item in found:
            digest_hex, _, size = item.name.partition(".")
            if digest_hex and size.isdigit():
                with suppress(FileNotFoundError):
                    yield digest_hex, int(size), item.stat(follow_symlinks=False)


def resume(root: Root, digest_hex: str) -> Part | None:
    """What a killed process left of this download, hashed; None if nothing is of use. Entry locked. Raises: OSError."""
    found: Part | None = None
    left = [(status.st_size, size) for name, size, status in list_parts(root) if name == digest_hex]
    for _, size in sorted(left, reverse=True):
        path = part_path(root.path, digest_hex, size)
        if found is None:
            found = _continue(root, path, size)
        if found is None or found.path != path:
            with suppress(FileNotFoundError):
                os.unlink(path)
    return found


def _continue(root: Root, path: str, size: int) -> Part | None:
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if not root.rules.trusts(status) or not 0 < status.st_size <= size:
        os.close(descriptor)
        return None
    if status.st_uid != os.geteuid() or root.rules.locks == LEASE:
        return _adopt(root, path, size, descriptor)
    part = Part(path, size, descriptor)
    for piece in _read(descriptor):
        part.count(piece)
    return part


def _adopt(root: Root, path: str, size: int, theirs: int) -> Part:
    """A copy of our own: only an owner may make it 0444, and a lease does not stop a process that slept through it."""
    try:
        part = Part.create(temporary_beside(path), size, root.file_mode)
        try:
            for piece in _read(theirs):
                part.append(piece)
            os.rename(part.path, path)
        except BaseException:
            part.drop()
            raise
        part.path = path
        return part
    finally:
        os.close(theirs)


def _read(descriptor: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(PIECE_BYTES))
    while count := os.readv(descriptor, [buffer]):
        yield buffer[:count]
