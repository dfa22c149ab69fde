"""One upload's bytes: parts land anywhere, a hash follows the contiguous front of those that were acknowledged.

The hash reads them back from the page cache once they are verified and synced: a part that turns out wrong, or is
still on its way when the process dies, is never in a saved state.
"""

import threading
from collections.abc import Iterable, Sequence
from typing import Final

from entrepot.errors import BadRange
from entrepot.model import Piece
from entrepot.storage.driver import Staging
from entrepot.storage.hashing import Sha256

READ_BYTES: Final = 1 << 20
FOLLOW_BYTES: Final = 64 << 20
"""The most that is hashed in one go: a thread is not kept for a whole file whose first part came last."""


class Assembly:
    """A staging area and the running hash of its first `front` bytes. Threads may write and land at once."""

    def __init__(
        self, staging: Staging, front: int = 0, state: bytes | None = None, landed: Iterable[tuple[int, int]] = ()
    ) -> None:
        """`landed`: acknowledged ranges. A state this library cannot take up means reading from the start."""
        self.staging = staging
        self._lock = threading.Lock()
        self._landed: list[tuple[int, int]] = []
        for start, stop in landed:
            self._add(start, stop)
        self.resumed = bool(state)
        """Whether a part of the hash is from an earlier process, and so not of the bytes as they are now."""
        try:
            self._hash, self._front = (Sha256(state), front) if state else (Sha256(), 0)
        except ValueError:
            self._hash, self._front, self.resumed = Sha256(), 0, False
        if self._front > (self._landed[0][1] if self._landed and self._landed[0][0] == 0 else 0):
            self._hash, self._front, self.resumed = Sha256(), 0, False

    def write(self, offset: int, pieces: Sequence[Piece]) -> int:
        """Bytes written at `offset`. Raises: DiskFull."""
        return self.staging.write(offset, pieces)

    def append(self, pieces: Sequence[Piece]) -> int:
        """How far the bytes go once `pieces` are behind those there are; hashed as they come, never read back.

        Only for bytes that come in order, one batch at a time. Raises: DiskFull.
        """
        with self._lock:
            while self._follow():
                pass
            start = self._front
            self._front += self.staging.write(start, pieces)
            for piece in pieces:
                self._hash.update(piece)
            self._landed = [(0, self._front)] if self._front else []
            return self._front

    def state(self) -> bytes | None:
        """The hash state at the front."""
        with self._lock:
            return self._hash.state()

    def land(self, start: int, stop: int) -> tuple[int, bytes | None]:
        """Those bytes count from now on; the front and the hash state there."""
        with self._lock:
            if stop > start:
                self._add(start, stop)
            self._follow()
            return self._front, self._hash.state()

    def follow(self) -> bool:
        """Hash a little more of what landed; whether that was not all. Raises: OSError."""
        with self._lock:
            return self._follow()

    @property
    def front(self) -> int:
        """How far the hash is."""
        return self._front

    def touches(self, start: int, stop: int) -> bool:
        """Whether any acknowledged byte lies there."""
        with self._lock:
            return any(a < stop and b > start for a, b in self._landed)

    def holds_only(self, ranges: Iterable[tuple[int, int]]) -> bool:
        """Whether what was acknowledged, and so hashed, is exactly these bytes."""
        wanted: list[tuple[int, int]] = []
        for start, stop in sorted(ranges):
            if wanted and wanted[-1][1] == start:
                wanted[-1] = (wanted[-1][0], stop)
            else:
                wanted.append((start, stop))
        with self._lock:
            return self._landed == wanted

    def start_again(self, landed: Iterable[tuple[int, int]]) -> None:
        """Only those ranges count from now on, and the hash begins anew: bytes it has seen are about to change."""
        with self._lock:
            self._hash, self._front, self._landed, self.resumed = Sha256(), 0, [], False
            for start, stop in landed:
                self._add(start, stop)

    def finish(self, size: int) -> str:
        """The sha256 in hex of all `size` bytes. Raises: BadRange if some are missing or more came."""
        with self._lock:
            while self._follow():
                pass
            if self._front != size:
                raise BadRange(
                    f"the upload holds {self._front} bytes without a gap, not {size}", advice="send what is missing"
                )
            return self._hash.hexdigest()

    def _add(self, start: int, stop: int) -> None:
        """Keep the ranges sorted and merged: an upload in order has one."""
        apart = [(a, b) for a, b in self._landed if b < start or a > stop]
        joined = [(a, b) for a, b in self._landed if not (b < start or a > stop)]
        whole = (min([start, *(a for a, _ in joined)]), max([stop, *(b for _, b in joined)]))
        self._landed = sorted([*apart, whole])

    def _follow(self) -> bool:
        """Up to `FOLLOW_BYTES` more, from the range that covers the front; whether some of it is left."""
        stop = next((b for a, b in self._landed if a <= self._front < b), self._front)
        until = min(stop, self._front + FOLLOW_BYTES)
        while self._front < until:
            piece = self.staging.read(self._front, min(READ_BYTES, until - self._front))
            if not piece:
                raise BadRange("bytes that were acknowledged are missing from the staging area")
            self._hash.update(piece)
            self._front += len(piece)
        return until < stop
