"""What a start of the command line costs, against a bare Python: CPU of the child, no wall clock."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from benchmarks.figures import Figure, at_most, ratio
from benchmarks.processes import spent_by
from benchmarks.rounds import Bench, Variant, alternate
from entrepot.cache.source import Reply
from entrepot.cache.store import Cache

RUNS = 10
WARM_RUNS = 2


@dataclass(frozen=True, slots=True)
class Given:
    """A source that has the bytes at hand."""

    data: bytes

    @contextmanager
    def open(self, offset: int) -> Iterator[Reply]:
        """As `Source.open`."""
        yield Reply(len(self.data), offset, iter([self.data[offset:]]))


def measure(bench: Bench) -> Iterator[Figure]:
    """A hit of the node cache, and the help page, by the installed script."""
    data = os.urandom(1 << 20)
    digest = sha256(data).hexdigest()
    root = bench.disk / "cache"
    Cache.open(str(root)).get(digest, Given(data))
    script = str(Path(sys.executable).with_name("entrepot"))
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environ["ENTREPOT_CACHE"] = str(root)
    variants = {
        "python": _runs([sys.executable, "-c", "pass"], environ, ""),
        "hit": _runs([script, "cache", "get", digest], environ, digest),
        "help": _runs([script, "--help"], environ, "Usage"),
    }
    costs = alternate(variants, bench.rounds, RUNS, WARM_RUNS)
    yield ratio("entrepot cache get, a hit", costs["hit"], costs["python"], "CPU ms", at_most(2.5), "python3 -c pass")
    yield ratio("entrepot --help", costs["help"], costs["python"], "CPU ms", at_most(6), "python3 -c pass")


def _runs(command: list[str], environ: dict[str, str], said: str) -> Variant:
    """CPU milliseconds of a run, out of so many; what it prints must hold `said`."""

    def run(times: int) -> float:
        total = 0.0
        for _ in range(times):
            spent, text = spent_by(command, environ)
            if said not in text:
                raise RuntimeError(f"{command[1:3]} printed {text[:200]!r}")
            total += spent
        return total / times * 1e3

    return run
