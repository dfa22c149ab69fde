"""A page of 1,000 names out of a million: CPU of the listing call, against sqlite3 running the same SQL."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.bodies import head_of
from benchmarks.figures import Figure, Target, at_most, plain, ratio
from benchmarks.processes import Program
from benchmarks.rounds import Bench, alternate, say
from benchmarks.servers import Entrepot, entrepot
from benchmarks.small import Load, row
from entrepot.catalog import listing, projects
from entrepot.catalog.database import Transaction
from entrepot.catalog.sqlite import DIALECT
from entrepot.model import Bucket
from entrepot.services.identity import DEFAULT_PROJECT

BUCKET = "names"
GROUPS = 1000
ITEMS = 1000
AFTER = "group-0500/"
MILLISECONDS = at_most(8)
CALLS = 5


def measure(bench: Bench) -> Iterator[Figure]:
    """Without and with a delimiter, in this process; then over HTTP, for information."""
    groups = GROUPS // 10 if bench.quick else GROUPS
    data = bench.memory / "listing"
    with entrepot(data) as server:
        server.call("PUT", f"/api/v1/buckets/{BUCKET}", {})
    fill(data / "catalog.db", groups)
    for name, after, delimiter, target in (
        ("page of 1,000", f"group-{groups // 2:04d}/", "", at_most(2)),
        ("page of 1,000 with a delimiter", "", "/", at_most(3)),
    ):
        yield from _in_process(bench, data / "catalog.db", name, after, delimiter, target)
    if not bench.quick:
        with entrepot(data) as server:
            yield from _over_http(bench, server)


def fill(path: Path, groups: int) -> None:
    """Names `group-0000/name-0000` and on, 1,000 in each group, put there by SQL."""
    say(f"making {groups * ITEMS:,} names")
    with sqlite3.connect(path, isolation_level=None) as connection:
        bucket = _bucket(connection)
        connection.execute("BEGIN")
        for group in range(groups):
            connection.executemany(
                "INSERT INTO object (bucket_id, name, version, digest, size, etag, content_type, metadata,"
                " extra, unversioned, created_at)"
                " VALUES (?, ?, ?, ?, 4096, ?, 'binary/octet-stream', '{}', '{}', 1, 1.7e9)",
                [
                    (bucket.id, f"group-{group:04d}/name-{item:04d}", version, f"{version:064x}", f"{version:064x}")
                    for item, version in enumerate(range(group * ITEMS, group * ITEMS + ITEMS))
                ],
            )
        connection.execute("COMMIT")
    connection.close()


def _bucket(connection: sqlite3.Connection) -> Bucket:
    found = projects.find_bucket(Transaction(connection, DIALECT), DEFAULT_PROJECT, BUCKET)
    assert found
    return found


def _in_process(bench: Bench, path: Path, name: str, after: str, delimiter: str, target: Target) -> Iterator[Figure]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    bucket, transaction = _bucket(connection), Transaction(connection, DIALECT)
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    page = listing.page(transaction, bucket, "", after, ITEMS, delimiter, now=time.time())
    connection.set_trace_callback(None)
    assert page.items
    variants = {
        "page": _timed(lambda: listing.page(transaction, bucket, "", after, ITEMS, delimiter, now=time.time())),
        "sqlite3": _timed(lambda: connection.execute(asked[0]).fetchall()),
    }
    costs = alternate(variants, bench.rounds, CALLS, 2)
    connection.close()
    yield ratio(name, costs["page"], costs["sqlite3"], "CPU ms", target, "sqlite3 with the same SQL")
    yield plain(f"{name}, the call", costs["page"], "CPU ms", MILLISECONDS, f"{len(page.items)} entries")


def _timed(call: Callable[[], object]) -> Callable[[int], float]:
    """CPU milliseconds of one call, out of so many."""

    def run(times: int) -> float:
        before = time.process_time()
        for _ in range(times):
            call()
        return (time.process_time() - before) / times * 1e3

    return run


def _over_http(bench: Bench, server: Entrepot) -> Iterator[Figure]:
    """The whole request, of the API's JSON, on one connection."""
    for name, query in (
        ("page of 1,000 over HTTP", f"limit={ITEMS}&after={AFTER}"),
        ("page of 1,000 with a delimiter over HTTP", f"limit={ITEMS}&delimiter=/"),
    ):
        url = f"{server.url}/api/v1/objects/{BUCKET}?{query}"
        one = row(head_of("GET", url, Authorization=f"Bearer {server.token}"))
        load = Load(Program.compile("load", bench.native), bench.memory, connections=1)
        for _ in range(bench.rounds):
            load.rate(server, one.__mul__, 50)
        yield plain(name, [cost / 1e3 for cost in load.cpu], "CPU ms", detail="the server's whole request")
