"""All bytes of one blob from a source that may break, stall or lie. Knows nothing of roots and locks."""

import random
import time
from collections.abc import Callable
from typing import Final

from entrepot.cache.parts import Part
from entrepot.cache.source import Reply, Source
from entrepot.cache.wording import shown_digest
from entrepot.errors import BadRange, Busy, DigestMismatch, Refused, Unavailable

TRIES: Final = 5
"""How often in a row a download may fail without getting on."""

PROGRESS_BYTES: Final = 2**20
"""What a try must bring for the count to begin again: a slow, often cut line may take as long as it needs."""

_FIRST_PAUSE_SECONDS: Final = 0.5


class Transfer:
    """One download: `reserve` makes the part once the size is known, `pause` waits between tries."""

    def __init__(
        self,
        source: Source,
        digest_hex: str,
        reserve: Callable[[int], Part],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._digest_hex = digest_hex
        self._reserve = reserve
        self._pause = pause
        self._part: Part | None = None

    def run(self, begun: Part | None = None) -> Part:
        """A part, still open, that holds the right bytes; it continues `begun`. Wrong bytes are fetched once more.

        After Unavailable, Denied or NotFound the part stays for the next one; it is gone after all else.

        Raises: DigestMismatch; Unavailable, when tries are used up; Denied; NotFound; Refused; what `reserve` raises;
        OSError.
        """
        self._part = begun
        try:
            for _ in range(2):
                part = self._fill()
                if part.has(self._digest_hex):
                    return part
                self._drop()
        except (OSError, Refused):
            self._drop()
            raise
        finally:
            if self._part and not self._part.has(self._digest_hex):
                self._part.close()
        raise DigestMismatch(
            f"the source does not have the bytes of {shown_digest(self._digest_hex)}",
            why="it sent others, twice",
            advice="tell who runs it; nothing was kept",
        )

    def _fill(self) -> Part:
        failures, furthest = 0, self._written()
        while self._part is None or not self._part.is_full:
            try:
                self._read_on()
            except Unavailable as error:
                failures += 1
                if self._written() - furthest >= PROGRESS_BYTES:
                    failures, furthest = 1, self._written()
                if failures >= TRIES:
                    raise
                self._pause(pause_seconds(failures, error))
        return self._part

    def _read_on(self) -> None:
        """Append what one reply brings. Raises: Unavailable, if it is cut."""
        try:
            with self._source.open(self._written()) as reply:
                part = self._fitting(reply)
                for piece in reply.pieces:
                    part.append(piece)
        except BadRange as error:
            self._drop()
            raise Unavailable("the source has less than before", advice="run the same command again") from error
        if not part.is_full:
            raise Unavailable("the source ended early", advice="the same command continues where it stopped")

    def _fitting(self, reply: Reply) -> Part:
        """The part this reply continues. Raises: Unavailable, if that is not ours; Refused; what `reserve` raises."""
        part = self._part
        if part and part.size != reply.total:
            self._drop()
            part = None
            if reply.start:
                raise Unavailable("the source changed meanwhile", advice="run the same command again")
        if part is None:
            part = self._part = self._reserve(reply.total)
        elif reply.start == 0 and part.written:
            part.restart()
        if reply.start != part.written:
            raise Refused("the source answered with a range nobody asked for")
        return part

    def _written(self) -> int:
        return self._part.written if self._part else 0

    def _drop(self) -> None:
        if self._part:
            self._part.drop()
            self._part = None


def pause_seconds(failures: int, error: Unavailable) -> float:
    """How long to wait after so many failures in a row: doubled each time, never the same for two, longer if told."""
    told = error.retry_after_seconds if isinstance(error, Busy) else 0
    doubled = _FIRST_PAUSE_SECONDS * float(2 ** (failures - 1))
    return max(told, doubled) * random.uniform(1, 1.5)  # noqa: S311
