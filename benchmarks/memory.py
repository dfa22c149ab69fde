"""What large uploads do to the server's memory, and how long its event loop keeps others waiting meanwhile.

The lag is seen from outside: GET /livez every 5 ms on one warm connection. So it holds the wait for a core too.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.bodies import head_of, put, put_repeatedly
from benchmarks.figures import Figure, Target, at_most, plain
from benchmarks.processes import Program, forget_peak, memory_bytes, stop
from benchmarks.rounds import MIB, Bench
from benchmarks.servers import Entrepot, entrepot
from benchmarks.small import row

UPLOADS = 20
EACH = 128 * MIB
EVERY_US = 5000
LAG = at_most(20)


def measure(bench: Bench) -> Iterator[Figure]:
    """One body of 3 GiB, then 20 of 128 MiB at once; each on a fresh server, with files on a disk."""
    bench.payload(bench.size)
    kinds: tuple[tuple[str, Target, Callable[[Entrepot], None]], ...] = (
        ("upload of 3 GiB", at_most(120), lambda server: _one_large(server, bench)),
        ("20 uploads of 128 MiB", at_most(250), lambda server: _many(server, bench)),
    )
    for number, (name, target, work) in enumerate(kinds):
        with entrepot(bench.disk / f"memory-{number}") as server:
            yield from _watched(bench, server, name, target, partial(work, server))


def _one_large(server: Entrepot, bench: Bench) -> None:
    put_repeatedly(server.place("large"), bench.payload(bench.size).path, bench.size, 3)


def _many(server: Entrepot, bench: Bench) -> None:
    """Bodies that differ: each begins elsewhere in the payload."""
    each = min(EACH, bench.size // 2)
    step = (bench.size - each) // UPLOADS // 4096 * 4096
    places = [server.place(f"many-{number}") for number in range(UPLOADS)]
    path = bench.payload(bench.size).path
    with ThreadPoolExecutor(UPLOADS, initializer=os.nice, initargs=(10,)) as threads:  # elsewhere, in real life
        sent = [threads.submit(put, place, path, each, start=at * step) for at, place in enumerate(places)]
        for one in sent:
            one.result()


def _watched(bench: Bench, server: Entrepot, name: str, target: Target, work: Callable[[], None]) -> Iterator[Figure]:
    """The growth of the peak over what was resident before, and the wait of a probe."""
    path = bench.memory / "probe"
    path.write_bytes(row(head_of("GET", f"{server.url}/livez")))
    idle = _lag(bench, server, lambda: time.sleep(3))
    forget_peak(server.pid)
    before, began = memory_bytes(server.pid), time.perf_counter()
    middle, slow, most = _lag(bench, server, work)
    seconds = time.perf_counter() - began
    grown = (memory_bytes(server.pid, "VmHWM") - before) / MIB
    yield plain(f"{name}, memory", [grown], "MiB", target, f"grown from {before / MIB:.0f} MiB, in {seconds:.1f} s")
    yield plain(
        f"{name}, p99 of the probe",
        [slow],
        "ms",
        LAG,
        f"median {middle:.2f}, longest {most:.1f}; idle p99 {idle[1]:.2f} ms",
    )


def _lag(bench: Bench, server: Entrepot, work: Callable[[], None]) -> tuple[float, float, float]:
    """Median, 99th centile and longest answer of /livez in milliseconds, while `work` is done."""
    program = Program.compile("load", bench.native)
    process = program.start(str(server.port), "1", str(bench.memory / "probe"), str(EVERY_US))
    try:
        work()
    finally:
        process.terminate()
        assert process.stdout
        said = process.stdout.read()
        stop(process)
    middle, slow, most = (int(word) / 1000 for word in said.split()[2:])
    return middle, slow, most
