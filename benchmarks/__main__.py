"""`python3 dev bench [--quick] [name…]`: measures, prints the table, writes last.json and the table of README.md."""

import argparse
import importlib
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import report
from benchmarks.figures import Figure, skipped
from benchmarks.rounds import Bench, say

MEASURES = {
    "put": "large bodies in: CPU against L, and against docker-registry",
    "get": "large bodies out: CPU against nginx",
    "small": "4 KiB objects on 16 connections: rates against docker-registry",
    "listing": "a page of 1,000 of a million names: CPU against sqlite3",
    "memory": "memory, and the event loop, under large uploads",
    "startup": "the command line against a bare Python",
    "form": "a form's POST against a PUT",
    "s3": "S3: bodies, small objects, lists, parts and copies, against SeaweedFS and rclone",
    "oci": "OCI: images of 1 GiB, small images, manifests, closing, tags, memory, against docker-registry",
}
SLACK, QUICK_SLACK = 0.1, 0.2


@contextmanager
def prepared(quick: bool) -> Iterator[Bench]:
    """Folders in memory and on disk, gone afterwards."""
    memory = Path(tempfile.mkdtemp(prefix="entrepot-bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    disk = Path(tempfile.mkdtemp(prefix="entrepot-bench-"))
    (memory / "native").mkdir()
    try:
        yield Bench(memory, disk, memory / "native", quick)
    finally:
        shutil.rmtree(memory, ignore_errors=True)
        shutil.rmtree(disk, ignore_errors=True)


def figures_of(name: str, quick: bool) -> list[Figure]:
    """What that measure finds; a fault of it is a line too, so that the others still run."""
    found: list[Figure] = []
    say(f"{name}: {MEASURES[name]}")
    try:
        with prepared(quick) as bench:
            found.extend(importlib.import_module(f"benchmarks.{name}").measure(bench))
    except Exception as error:
        traceback.print_exc()
        found.append(skipped(name, f"failed: {type(error).__name__}"))
    return found


def is_kept(figure: Figure, slack: float) -> bool:
    """Whether nothing failed and no target is missed by more than `slack`."""
    if figure.value is None or figure.target is None:
        return not figure.detail.startswith("skipped: failed")
    return figure.target.met(figure.value, slack)


def main() -> int:
    """The exit status: 1 if a target was missed by more than a tenth (with --quick, a fifth)."""
    rows = "\n".join(f"  {name:8} {what}" for name, what in MEASURES.items())
    parser = argparse.ArgumentParser(
        "dev bench", epilog=f"measures:\n{rows}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="name", help="measures; all, if none is named")
    parser.add_argument("--quick", action="store_true", help="64 MiB, 3 rounds, no peers; nothing is written")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and folders go with us
    if unknown := set(asked.names) - set(MEASURES):
        parser.error(f"no measure {', '.join(sorted(unknown))}")
    every = []
    for name in asked.names or MEASURES:
        figures = figures_of(name, asked.quick)
        if not asked.quick:
            report.keep(name, figures)
        every += figures
    print(report.table(every))
    return 0 if all(is_kept(figure, QUICK_SLACK if asked.quick else SLACK) for figure in every) else 1


sys.exit(main())
