"""What every measure is given, and how variants take turns: inside one run, in an order that rotates."""

import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

GIB: Final = 1 << 30
MIB: Final = 1 << 20
WARM_BYTES: Final = 64 * MIB
LARGEST, SMALLER, QUICK = 10 * GIB, 2 * GIB, 256 * MIB

Variant = Callable[[int], float]
"""Does its work on so many bytes (or requests) once; gives what it cost."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and how large to measure. `memory` is a folder on tmpfs, `disk` one on a disk; both are removed later."""

    memory: Path
    disk: Path
    native: Path
    quick: bool = False
    _payloads: dict[int, "Payload"] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of a large body."""
        return WARM_BYTES if self.quick else GIB

    @property
    def rounds(self) -> int:
        """How often each variant runs."""
        return 3 if self.quick else 5

    def largest(self) -> tuple[int, str]:
        """Bytes of a very large upload to the disk; and if there is no room for more, why."""
        if self.quick:
            return QUICK, ""
        free = shutil.disk_usage(self.disk).free
        return (LARGEST, "") if free > 2 * LARGEST else (SMALLER, f" (not 10: {free / GIB:.0f} GiB free)")

    def prime(self, size: int) -> None:
        """So many bytes of memory are written and freed: a virtual machine pays for pages it has not touched lately.

        Without this, whoever makes a new file pays up to five times its own cost, by chance.
        """
        path, piece = self.memory / "prime", bytes(MIB)
        with path.open("wb", buffering=0) as file:
            for _ in range(0, size + size // 8, MIB):
                file.write(piece)
        path.unlink()

    def payload(self, size: int) -> "Payload":
        """A file of that many random bytes on tmpfs, made once."""
        if size not in self._payloads:
            self._payloads[size] = Payload.make(self.memory / f"payload-{size}", size)
        return self._payloads[size]


@dataclass(frozen=True, slots=True)
class Payload:
    """Random bytes in a file."""

    path: Path
    size: int
    sha256: str

    @classmethod
    def make(cls, path: Path, size: int) -> "Payload":
        """Write it."""
        running = sha256()
        with path.open("wb") as file:
            for start in range(0, size, MIB):
                piece = os.urandom(min(MIB, size - start))
                running.update(piece)
                file.write(piece)
        return cls(path, size, running.hexdigest())


def say(text: str) -> None:
    """One line about what happens now, on stderr."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def alternate(variants: Mapping[str, Variant], rounds: int, amount: int, warm: int) -> dict[str, list[float]]:
    """What each variant cost in each round, after one warm-up of `warm`; each round begins with another variant."""
    order = deque(variants)
    for name in order:
        variants[name](warm)
    costs: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds):
        for name in order:
            costs[name].append(variants[name](amount))
        order.rotate(-1)
        say(f"round {number + 1} of {rounds}: " + ", ".join(f"{name} {costs[name][-1]:.4g}" for name in variants))
    return costs
