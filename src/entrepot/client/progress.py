"""How far a transfer is, for whoever watches."""

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` bytes in one phase (`hash`, `upload`, `download`, `verify`, `commit`); `total` None: unknown.

    `saved` of the done bytes did not have to move: they were there already.
    """

    phase: str
    done: int
    total: int | None
    saved: int = 0


Watcher = Callable[[Progress], None]
"""Called from any thread, one call at a time; it must be quick."""


def nobody(progress: Progress) -> None:
    """Watch nothing."""


class Meter:
    """Counts the bytes of one transfer, from any thread, and tells its watcher.

    `total`: the bytes of many files together. Then only `phase` counts, and no file begins it anew.
    """

    def __init__(self, watcher: Watcher = nobody, *, phase: str = "", total: int | None = None) -> None:
        self._watcher = watcher
        self._lock = threading.Lock()
        self._phase = phase
        self._shared = bool(phase)
        self._total = total
        self._done = 0
        self._saved = 0
        if self._shared:
            self._tell()

    def begin(self, phase: str, total: int | None) -> None:
        """A phase of so many bytes begins."""
        if self._shared:
            return
        with self._lock:
            self._phase, self._total, self._done, self._saved = phase, total, 0, 0
            self._tell()

    def moved(self, phase: str) -> Callable[[int], None]:
        """A function to be told of bytes that passed in `phase`; a negative number takes some back."""

        def add(count: int) -> None:
            with self._lock:
                if phase == self._phase:
                    self._done += count
                    self._tell()

        return add

    def skip(self, phase: str, count: int) -> None:
        """So many bytes need not move."""
        with self._lock:
            if phase == self._phase:
                self._done += count
                self._saved += count
                self._tell()

    def _tell(self) -> None:
        self._watcher(Progress(self._phase, self._done, self._total, self._saved))
