"""A form's POST against a PUT of the same bytes: how fast they go in, and what they cost."""

import time
from collections.abc import Iterator
from functools import partial

from benchmarks.bodies import post_form, put
from benchmarks.figures import Figure, at_least, ratio
from benchmarks.put import UNIT
from benchmarks.rounds import GIB, WARM_BYTES, Bench, alternate
from benchmarks.servers import Entrepot, entrepot

TARGET = at_least(0.9)


def measure(bench: Bench) -> Iterator[Figure]:
    """The rate of one over the rate of the other; and CPU, for information."""
    with entrepot(bench.memory / "form") as server:
        cpu: dict[str, list[float]] = {"form": [], "PUT": []}

        def timed(kind: str, size: int) -> float:
            bench.prime(size)
            before, began = server.cpu(), time.perf_counter()
            _send(bench, server, kind, size)
            rate = size / GIB / (time.perf_counter() - began)
            cpu[kind].append((server.cpu() - before) * GIB / size)
            return rate

        variants = {kind: partial(timed, kind) for kind in cpu}
        rates = alternate(variants, bench.rounds, bench.size, WARM_BYTES)
    yield ratio("form, rate of a PUT", rates["form"], rates["PUT"], "GiB/s", TARGET, "PUT")
    yield ratio("form, CPU of a PUT", cpu["form"][1:], cpu["PUT"][1:], UNIT, None, "PUT")


def _send(bench: Bench, server: Entrepot, kind: str, size: int) -> None:
    """One body in; the form carries the digest, so a wrong one is refused by the server."""
    payload = bench.payload(size)
    if kind == "PUT":
        put(server.place("body"), payload.path, size)
    else:
        url, fields = server.form("body", payload.sha256)
        post_form(url, fields, payload.path, size)
