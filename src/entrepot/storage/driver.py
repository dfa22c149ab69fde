"""What holds bytes: under keys we choose, whole or not at all. A driver knows no digests, names or principals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from entrepot.model import FileSpan, Piece, Span, Stamp


@dataclass(frozen=True, slots=True)
class Room:
    """Free and total bytes where a driver writes."""

    free: int
    total: int


class Staging(Protocol):
    """A private area that becomes one key. All calls block; they are made from worker threads.

    Several threads may write at once, at different offsets.
    """

    @property
    def id(self) -> str:
        """The name it was staged under."""
        ...

    def write(self, offset: int, pieces: Sequence[Piece]) -> int:
        """Bytes written: all of `pieces`, one behind the other from `offset`. Raises: DiskFull."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`: fewer only at the end of what was written."""
        ...

    def size(self) -> int:
        """Where the last byte that was written ends."""
        ...

    def sync(self) -> None:
        """All that was written is on disk. Raises: OSError; then the area is lost and must be discarded."""

    def cut(self, length: int) -> None:
        """Drop whatever lies behind `length`."""

    def commit(self, key: str) -> Stamp:
        """Make it `key`, safe on disk, in one step; what the file looks like then. The area is gone after it.

        Raises: OSError, final: the area is lost.
        """
        ...

    def close(self) -> bool:
        """Let go of what it costs to have it open; it can be reopened. Whether it was open."""
        ...

    def discard(self) -> None:
        """Forget it, and its bytes; nothing happens to one that is closed or committed."""


class Driver(Protocol):
    """A place for bytes. `stage`, `reopen`, `open`, `delete` and `keys` block; they are made from worker threads."""

    def stage(self, id: str, expected_size: int | None) -> Staging:
        """A new empty area, with room kept for `expected_size`. Raises: DiskFull; Busy if too many are open."""
        ...

    def reopen(self, id: str) -> Staging:
        """An area staged earlier, perhaps by another process. Raises: NotFound; Busy if too many are open."""
        ...

    def restage(self, key: str, id: str) -> None:
        """Take back a commit that got no name: `key` is gone, its bytes are the area `id` again. Raises: NotFound."""

    def open(self, key: str, span: Span) -> FileSpan:
        """Those bytes of `key`, as a descriptor the caller closes. Raises: NotFound; Busy if too many are open."""
        ...

    def delete(self, key: str) -> None:
        """Remove `key`; a missing one is fine."""

    def keys(self) -> Iterator[str]:
        """All keys, in any order."""
        ...

    def staged(self) -> Iterator[str]:
        """Ids of all staging areas."""
        ...

    def discard(self, id: str) -> None:
        """Remove a staging area nobody has open; a missing one is fine."""

    def room(self) -> Room:
        """How much is free."""
        ...
