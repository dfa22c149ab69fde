"""Steps in which something breaks: a damaged file on the server, a kill in the middle of an upload, a stop."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Final

from demo.image import MIB, sha256_of
from demo.node import flip
from demo.stage import Stage, need, shown
from demo.uploads import NAME, SECOND

PART_BYTES: Final = 16 * MIB
PARTS: Final = 6
BIG: Final = "big.bin"
BIG_REF: Final = "object:demo/big.bin"


def heal_the_server(stage: Stage) -> str:
    """A stored file with one bit changed: never served as whole, and mended by the next upload."""
    key = next(name for name in stage.server.stored() if name.startswith(stage.image.sha256))
    flip(stage.server.data / "blobs" / key[:2] / key)
    empty = {"ENTREPOT_CACHE": str(stage.folder / "another-cache")}
    words = ("entrepot", "cache", "get", "--sha256", stage.image.sha256, "--url", stage.link)
    before = len(stage.server.requests())
    done = stage.run(*words, **empty)
    need(done.code == 3 and not done.out, f"exit {done.code}: {done.last_words}")
    answers = [(one["status"], one["sent"]) for one in stage.server.requests()[before:] if one["protocol"] == "s3"]
    cut = answers[0][0] == 200 and answers[0][1] < stage.image.size
    need(cut and {status for status, _ in answers[1:]} == {404}, f"the answers (status, bytes) were {answers}")
    stage.succeed("prominence", "upload", "--filename", NAME, "--name", NAME)
    path = Path(stage.succeed(*words, **empty).out.strip())
    need(sha256_of(path) == stage.image.sha256, "a wrong file was handed out")
    answer = stage.ask("/prominence/v1/data/download", {"name": SECOND})
    need(answer["sha256"] == stage.image.sha256, "the second name was not mended")
    return "one bit changed on the server: the download is cut, the next is 404 (exit 3); one upload mends both names"


def kill_the_server(stage: Stage) -> str:
    """SIGKILL in the middle of a push, a new start, and the push goes on."""
    file = stage.work / BIG
    file.write_bytes(os.urandom(PARTS * PART_BYTES))
    words = ("entrepot", "push", BIG, BIG_REF, "--make-bucket", "--json", "--bwlimit", "32M")
    pushing = stage.begin(*words)
    deadline = time.monotonic() + 60
    while (acknowledged := int(stage.server.counted("entrepot_requests_total", protocol="api", status="204"))) < 2:
        need(pushing.process.poll() is None and time.monotonic() < deadline, "the push did not get on")
        time.sleep(0.05)
    stage.server.stop(signal.SIGKILL)
    seconds = stage.server.start()
    done = pushing.wait()
    tries = 1
    if done.code == 5:  # a slow machine: its patience was shorter than the start of the server
        done, tries = stage.succeed(*words), 2
    need(done.code == 0, f"the push ended with exit {done.code}: {done.last_words}")
    report = json.loads(done.out)
    need(report["digest"] == f"sha256:{sha256_of(file)}", "the server has other bytes")
    after = int(stage.server.counted("entrepot_requests_total", protocol="api", status="204"))
    need(after <= PARTS - acknowledged, f"{acknowledged} parts were safe, {after} of {PARTS} came after the kill")
    file.unlink()
    how = "the same command went on" if tries == 1 else "the same command was run again"
    return (
        f"kill -9 after {acknowledged} of {PARTS} parts of {shown(PART_BYTES)}, back in {seconds:.1f} s: {how}, "
        f"only {after} parts were sent"
    )


def stop_the_server(stage: Stage) -> str:
    """SIGTERM."""
    began = time.monotonic()
    code = stage.server.stop()
    need(code == 0, f"exit {code}")
    need(not stage.server.staged(), f"left in staging: {stage.server.staged()}")
    on_disk = sum(stage.server.stored().values())
    return f"exit 0 after {time.monotonic() - began:.1f} s, staging empty, {shown(on_disk)} of blobs on disk"
