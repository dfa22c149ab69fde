"""4 KiB by S3 on 16 connections, signed in headers before the clock starts: requests per second against SeaweedFS."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count

from benchmarks.figures import Figure, at_least, plain, ratio, skipped
from benchmarks.processes import Program
from benchmarks.rounds import Bench, alternate
from benchmarks.s3_servers import BUCKET, Site, ours, seaweedfs
from benchmarks.s3_signed import ask
from benchmarks.servers import Missing
from benchmarks.small import BYTES, Load, Requests, row

TARGET = at_least(0.5)
UPLOADS, READS = 3000, 5000
OBJECTS = 500


def measure(bench: Bench) -> Iterator[Figure]:
    """PUT, ours durable; then GET of the objects of a set, in turn."""
    if bench.quick:
        return
    with ExitStack() as stack:
        site = stack.enter_context(ours(bench.disk / "s3-small"))
        try:
            peer = stack.enter_context(seaweedfs(bench.disk / "s3-small-weed"))
        except Missing as missing:
            yield skipped("S3, 4 KiB", str(missing), TARGET)
            return
        program = Program.compile("load", bench.native)
        for name, made, amount in (("PUT", _uploads, UPLOADS), ("GET", _reads, READS)):
            loads = {one.name: Load(program, bench.memory) for one in (site, peer)}
            variants = {one.name: partial(_share, loads[one.name], one, made(one), amount) for one in (site, peer)}
            rates = alternate(variants, bench.rounds, 100, 20)
            title = f"S3 {name} of 4 KiB, 16 connections"
            yield ratio(title, rates[site.name], rates[peer.name], "/s", TARGET, peer.name)
            for one, load in loads.items():
                yield plain(f"{title}, {one}", load.cpu[1:], "CPU us", detail=f"p99 {max(load.slowest[1:]):.1f} ms")


def _share(load: Load, site: Site, requests: Requests, amount: int, percent: int) -> float:
    """Requests per second over so many percent of `amount`."""
    return load.rate(site.running, requests, amount * percent // 100)


def _uploads(site: Site) -> Requests:
    """PUTs of new keys with new bytes, whose digest is signed."""
    numbers = count()

    def requests(amount: int) -> bytes:
        bodies = [os.urandom(BYTES) for _ in range(amount)]
        heads = (site.account.head("PUT", f"/{BUCKET}/put-{next(numbers):09d}", body=body) for body in bodies)
        return b"".join(row(head + body) for head, body in zip(heads, bodies, strict=True))

    return requests


def _reads(site: Site) -> Requests:
    """GETs of objects that are there, whose bytes are checked."""
    bodies = [os.urandom(BYTES) for _ in range(OBJECTS)]
    for number, body in enumerate(bodies):
        ask(site.account, "PUT", f"/{BUCKET}/get-{number:03d}", body=body)

    def requests(amount: int) -> bytes:
        rows = [
            row(site.account.head("GET", f"/{BUCKET}/get-{number:03d}"), body) for number, body in enumerate(bodies)
        ]
        return b"".join(rows[number % OBJECTS] for number in range(amount))

    return requests
