"""`python3 dev demo`: the whole store at work, in a folder that goes away again; exit 0 only if every step held.

Nothing outside that folder is touched, only the loopback interface is used, and every process ends with the demo,
unless `--keep` leaves the server running.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from demo import node, trouble, uploads
from demo.stage import BIN, Failed, Stage, need, shown

ROOM_BYTES: Final = 1536 << 20
STEPS: Final[tuple[tuple[str, Callable[[Stage], str]], ...]] = (
    ("make an image", uploads.make_the_image),
    ("start a server", uploads.start_the_server),
    ("make a user", uploads.make_the_user),
    ("upload", uploads.upload),
    ("upload, no checksum", uploads.upload_without_checksum),
    ("list", uploads.list_names),
    ("kept once", uploads.count_bytes_on_disk),
    ("false checksum", uploads.refuse_a_lie),
    ("16 jobs on a node", node.start_all_workers),
    ("one more job", node.hit),
    ("damage in the cache", node.heal_the_cache),
    ("pull", node.pull),
    ("damage on the server", trouble.heal_the_server),
    ("kill the server", trouble.kill_the_server),
)
LAST: Final = ("stop the server", trouble.stop_the_server)


def main() -> int:
    """Every step, a line each; then nothing is left, or with `--keep` a server to play with."""
    arguments = _arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="entrepot-demo-"))
    kept = False
    try:
        stage = Stage(folder, arguments.mib)
        try:
            held = play(stage, keep=arguments.keep)
            kept = held and arguments.keep
        finally:
            if not kept:
                stage.close()
        if kept:
            print(farewell(stage))
        return 0 if held else 1
    except KeyboardInterrupt:
        print("interrupted")
        return 130
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def play(stage: Stage, *, keep: bool) -> bool:
    """Whether all steps held; the first that does not ends it."""
    began = time.monotonic()
    steps = STEPS if keep else (*STEPS, LAST)
    for name, step in steps:
        since = time.monotonic()
        try:
            need(bool(stage.mib), "no image")
            _check_machine(stage)
            said = step(stage)
        except (Failed, OSError, ValueError, KeyError) as error:
            print(f"FAIL {name:<21} {error or type(error).__name__}", flush=True)
            return False
        print(f"ok   {name:<21} {said}  [{time.monotonic() - since:.1f} s]", flush=True)
    print(f"all {len(steps)} steps held, in {time.monotonic() - began:.0f} s")
    return True
