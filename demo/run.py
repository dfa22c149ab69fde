"""`python3 dev demo`: the whole store at work, in a folder that goes away again; exit 0 only if every step held.

Nothing outside that folder is touched, only the loopback interface is used, and every process ends with the demo,
unless `--keep` leaves the server running.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from demo import node, registry, trouble, uploads
from demo.stage import BIN, Failed, Stage, need, shown

Step = tuple[str, Callable[[Stage], str]]
STEPS: Final[tuple[Step, ...]] = (
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
    ("as a registry", registry.pull_by_other_roads),
    ("damage on the server", trouble.heal_the_server),
    ("kill -9", trouble.kill_the_server),
)
LAST: Final[Step] = ("stop", trouble.stop_the_server)
PROGRAMS: Final = ("entrepot", "prominence", "mksquashfs", "unsquashfs")
ROOM_BYTES: Final = 1 << 30


def main() -> int:
    """Every step, a line each; then nothing is left, or with `--keep` a server to play with."""
    arguments = read_arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    folder = Path(tempfile.mkdtemp(prefix="entrepot-demo-"))
    kept = False
    try:
        stage = Stage(folder, arguments.mib)
        try:
            held = play(stage, STEPS if arguments.keep else (*STEPS, LAST))
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


def read_arguments() -> argparse.Namespace:
    """`keep` and `mib`."""
    parser = argparse.ArgumentParser(prog="python3 dev demo", description="Shows the whole store at work.")
    parser.add_argument("--keep", action="store_true", help="leave the server running, and say how to use it")
    parser.add_argument("--mib", type=int, default=96, help="size of the image (96), 1 to 1024")
    arguments = parser.parse_args()
    if not 1 <= arguments.mib <= 1024:
        parser.error("--mib is 1 to 1024")
    return arguments


def interrupt(number: int, frame: FrameType | None) -> None:
    """Any signal that ends the demo ends it as Ctrl-C does."""
    raise KeyboardInterrupt


def play(stage: Stage, steps: tuple[Step, ...]) -> bool:
    """Whether all steps held; the first that does not ends it."""
    began = time.monotonic()
    print(f"entrepot demo in {stage.folder}", flush=True)
    for name, step in (("look around", look_around), *steps):
        since = time.monotonic()
        try:
            said = step(stage)
        except (Failed, OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
            print(f"FAIL  {name:<21} {str(error) or type(error).__name__}", flush=True)
            return False
        print(f"ok  {name:<21} {time.monotonic() - since:5.1f} s  {said}", flush=True)
    print(f"all {len(steps) + 1} steps held, in {time.monotonic() - began:.0f} s")
    return True


def look_around(stage: Stage) -> str:
    """The programs and the room there must be."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=stage.environ["PATH"])]
    need(not missing, f"not installed: {', '.join(missing)} (`python3 dev demo` installs them; squashfs-tools has two)")
    free, wanted = shutil.disk_usage(stage.folder).free, ROOM_BYTES + 6 * (stage.mib << 20)
    need(free >= wanted, f"{shown(wanted)} of room are needed, {shown(free)} are free; set TMPDIR to another folder")
    client = subprocess.run(
        [str(BIN / "python"), "-c", "import importlib.metadata as m; print(m.version('prominence'))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return f"prominence {client.stdout.strip()} from PyPI, unmodified; mksquashfs; room for all"


def farewell(stage: Stage) -> str:
    """Lines to paste into a shell, for the server that stays."""
    variables = {**stage.as_user(), "ENTREPOT_CACHE": stage.environ["ENTREPOT_CACHE"], "PATH": f"{BIN}:$PATH"}
    exports = [f'export {name}="{value}"' for name, value in variables.items()]
    return "\n".join(
        [
            "",
            "The server runs on. In a shell:",
            *exports,
            "prominence ls -l",
            "prominence upload --filename FILE --name NAME",
            f"entrepot pull object:prominence-data/{uploads.AREA}/{uploads.NAME}",
            f"entrepot cache get sha256:{stage.image.sha256}",
            f"curl {stage.server.url}/metrics",
            "To end it:",
            f"kill {stage.server.pid}; sleep 1; rm -r {stage.folder}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
