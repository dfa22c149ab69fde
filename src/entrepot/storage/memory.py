"""Bytes in memory, for tests and for judging the contract: the same promises, nothing survives the process."""

import itertools
import os
import time
from collections.abc import Iterator, Sequence

from entrepot.errors import NotFound
from entrepot.model import FileSpan, Piece, Span, Stamp
from entrepot.storage.driver import Room, Staging

_numbers = itertools.count(1)


class MemoryStaging:
    """An anonymous file."""

    def __init__(self, driver: "MemoryDriver", id: str, descriptor: int) -> None:
        self.id = id
        self._driver = driver
        self._descriptor = descriptor

    def write(self, offset: int, pieces: Sequence[Piece]) -> int:
        """As `Staging.write`."""
        return os.pwrite(self._descriptor, b"".join(pieces), offset)

    def read(self, offset: int, length: int) -> bytes:
        """As `Staging.read`."""
        return os.pread(self._descriptor, length, offset)

    def size(self) -> int:
        """As `Staging.size`."""
        return os.fstat(self._descriptor).st_size

    def sync(self) -> None:
        """As `Staging.sync`: nothing to do."""

    def cut(self, length: int) -> None:
        """As `Staging.cut`."""
        os.ftruncate(self._descriptor, length)

    def commit(self, key: str) -> Stamp:
        """As `Staging.commit`."""
        size = os.fstat(self._descriptor).st_size
        stamp = Stamp(size, time.time_ns(), next(_numbers))
        self._driver.kept[key] = (self._driver.areas.pop(self.id), stamp)
        self.close()
        return stamp

    def close(self) -> bool:
        """As `Staging.close`."""
        was_open, self._descriptor = self._descriptor >= 0, -1
        return was_open

    def discard(self) -> None:
        """As `Staging.discard`."""
        if self.close():
            self._driver.discard(self.id)


class MemoryDriver:
    """Anonymous files by key."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[int, Stamp]] = {}
        self.areas: dict[str, int] = {}

    def stage(self, id: str, expected_size: int | None) -> Staging:
        """As `Driver.stage`."""
        self.areas[id] = os.memfd_create("staging")
        return MemoryStaging(self, id, self.areas[id])

    def reopen(self, id: str) -> Staging:
        """As `Driver.reopen`."""
        if id not in self.areas:
            raise NotFound("no such staging area")
        return MemoryStaging(self, id, self.areas[id])

    def restage(self, key: str, id: str) -> None:
        """As `Driver.restage`."""
        if key not in self.kept:
            raise NotFound("no bytes under that key")
        self.areas[id] = self.kept.pop(key)[0]

    def open(self, key: str, span: Span) -> FileSpan:
        """As `Driver.open`."""
        if key not in self.kept:
            raise NotFound("no bytes under that key")
        descriptor, stamp = self.kept[key]
        return FileSpan(os.dup(descriptor), span, stamp)

    def delete(self, key: str) -> None:
        """As `Driver.delete`."""
        if key in self.kept:
            os.close(self.kept.pop(key)[0])

    def keys(self) -> Iterator[str]:
        """As `Driver.keys`."""
        return iter(list(self.kept))

    def staged(self) -> Iterator[str]:
        """As `Driver.staged`."""
        return iter(list(self.areas))

    def discard(self, id: str) -> None:
        """As `Driver.discard`."""
        if id in self.areas:
            os.close(self.areas.pop(id))

    def room(self) -> Room:
        """As `Driver.room`: plenty."""
        return Room(1 << 50, 1 << 50)
