"""ListObjectsV2 over a million keys, page by page to the end, and by folders: the server's CPU for a page."""

import html
import re
import socket
import sqlite3
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.bodies import WrongAnswer, dialled
from benchmarks.figures import Figure, at_most, plain
from benchmarks.rounds import Bench, say
from benchmarks.s3_servers import BUCKET, Site, ours
from benchmarks.s3_signed import ask, hear

FOLDERS = 1000
KEYS_IN_FOLDER = 1000
TEMPLATE = "template"
TOKEN = re.compile(rb"<NextContinuationToken>([^<]+)</NextContinuationToken>")
PAGE, FOLDER_PAGE, LINEAR = at_most(12), at_most(20), at_most(1.25)
PASSES, QUICK_PASSES = 2, 3
CALLS = 20


def measure(bench: Bench) -> Iterator[Figure]:
    """All pages, some times over; then the page of folders, many times."""
    folders = FOLDERS // 10 if bench.quick else FOLDERS
    data = bench.memory / "s3-listing"
    with ours(data) as site:
        ask(site.account, "PUT", f"/{BUCKET}/{TEMPLATE}", body=bytes(1000))
    fill(data / "catalog.db", folders)
    with ours(data) as site, dialled(site.account.url) as connection:
        count = QUICK_PASSES if bench.quick else PASSES
        _page(site, connection, {"list-type": "2"})  # the first request finds nothing at hand
        passes = [_to_the_end(site, connection, folders) for _ in range(count)]
        yield from _pages(passes)
        wanted = {"list-type": "2", "delimiter": "/"}
        costs = []
        for _ in range(1 + bench.rounds):
            before = site.running.cpu()
            found = [_page(site, connection, wanted) for _ in range(CALLS)]
            costs.append((site.running.cpu() - before) / CALLS * 1e3)
            if any(page.count(b"<CommonPrefixes>") != folders for page in found):
                raise WrongAnswer("not all folders are listed")
        yield plain(
            f"S3 page of {folders:,} folders", costs[1:], "CPU ms", FOLDER_PAGE, f"of {folders * KEYS_IN_FOLDER:,} keys"
        )


def fill(path: Path, folders: int) -> None:
    """Keys `folder-0000/key-0000` and on, 1,000 in each folder: rows like that of the template, by SQL."""
    say(f"making {folders * KEYS_IN_FOLDER:,} keys")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    (found,) = connection.execute("SELECT * FROM object WHERE name = ?", [TEMPLATE]).fetchall()
    columns = found.keys()
    marks = ", ".join(f":{column}" for column in columns)
    connection.execute("BEGIN")
    connection.execute("DELETE FROM object WHERE name = ?", [TEMPLATE])
    for folder in range(folders):
        connection.executemany(
            f"INSERT INTO object ({', '.join(columns)}) VALUES ({marks})",
            (
                dict(found)
                | {
                    "name": f"folder-{folder:04d}/key-{key:04d}",
                    "version": found["version"] + number,
                    "digest": f"{number:064x}",
                    "etag": f"{number:032x}",
                }
                for key, number in enumerate(range(folder * KEYS_IN_FOLDER, (folder + 1) * KEYS_IN_FOLDER))
            ),
        )
    connection.execute("COMMIT")
    connection.close()


def _page(site: Site, connection: socket.socket, query: Mapping[str, str]) -> bytes:
    connection.sendall(site.account.head("GET", f"/{BUCKET}", query))
    return hear(connection)[1]


def _to_the_end(site: Site, connection: socket.socket, folders: int) -> list[float]:
    """CPU milliseconds of each page. Raises: WrongAnswer if a key is missing."""
    costs, keys, token = [], 0, {"start-after": ""}
    while True:
        before = site.running.cpu()
        found = _page(site, connection, {"list-type": "2", **token})
        costs.append((site.running.cpu() - before) * 1e3)
        keys += found.count(b"<Contents>")
        match = TOKEN.search(found)
        if match is None:
            break
        token = {"continuation-token": html.unescape(match[1].decode())}
    if keys != folders * KEYS_IN_FOLDER:
        raise WrongAnswer(f"{keys} keys, not {folders * KEYS_IN_FOLDER}")
    return costs


def _pages(passes: list[list[float]]) -> Iterator[Figure]:
    tenth = len(passes[0]) // 10
    growth = [statistics.median(costs[-tenth:]) / statistics.median(costs[:tenth]) for costs in passes]
    means = [statistics.fmean(costs) for costs in passes]
    slowest = max(max(costs) for costs in passes)
    yield plain("S3 page of 1,000 keys", means, "CPU ms", PAGE, f"{len(passes[0]):,} pages; the dearest {slowest:.1f}")
    yield plain("S3 pages, the last tenth to the first", growth, "x", LINEAR, "medians of the pages")
