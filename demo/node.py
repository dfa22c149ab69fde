"""Steps on a worker node: many jobs and one download, a hit, a damaged cache file, and a pull."""

import json
import os
import time
from pathlib import Path
from typing import Any, Final

from demo.image import sha256_of
from demo.stage import Done, Stage, need, rate, shown
from demo.uploads import AREA, NAME

WORKERS: Final = 16


def get(stage: Stage, link: str | None = None) -> Done:
    """One job that wants the image, by its digest and the signed URL."""
    return stage.succeed("entrepot", "cache", "get", "--sha256", stage.image.sha256, "--url", link or stage.link)


def counts(stage: Stage) -> Any:
    """`entrepot cache stats`."""
    return json.loads(stage.succeed("entrepot", "cache", "stats", "--json").out)


def downloads(stage: Stage) -> tuple[int, int]:
    """How many GETs of objects the server's log tells of, and the bytes they got."""
    gets = [one for one in stage.server.requests() if one["protocol"] == "s3" and one["method"] == "GET"]
    return len(gets), sum(one["sent"] for one in gets)


def start_all_workers(stage: Stage) -> str:
    """Sixteen processes ask an empty cache at once."""
    before, sent_before = downloads(stage), stage.server.counted("entrepot_sent_bytes_total", protocol="s3")
    began = time.monotonic()
    words = ("entrepot", "cache", "get", "--sha256", stage.image.sha256, "--url", stage.link)
    jobs = [stage.begin(*words) for _ in range(WORKERS)]
    ended = [job.wait() for job in jobs]
    seconds = time.monotonic() - began
    wrong = [job.last_words for job in ended if job.code]
    need(not wrong, f"{len(wrong)} of {WORKERS} failed: {wrong[:1]}")
    paths = {job.out.strip() for job in ended}
    need(len(paths) == 1, f"{len(paths)} different paths")
    need(sha256_of(Path(paths.pop())) == stage.image.sha256, "the cached file is wrong")
    count, size = (now - then for now, then in zip(downloads(stage), before, strict=True))
    need(count == 1 and size == stage.image.size, f"the server's log has {count} downloads, {size} bytes")
    sent = stage.server.counted("entrepot_sent_bytes_total", protocol="s3") - sent_before
    need(sent == stage.image.size, f"the server's metrics say {sent:.0f} bytes were sent")
    found = counts(stage)
    need(found["misses"] == 1 and found["hits"] + found["waits"] == WORKERS - 1, f"the cache counts {found}")
    return f"{WORKERS} processes, 1 download of {shown(size)} by the server's log and metrics, in {seconds:.1f} s"


def hit(stage: Stage) -> str:
    """The next job: no network at all."""
    before = len(stage.server.requests())
    times = sorted(get(stage, "http://127.0.0.1:9/dead-link").seconds for _ in range(5))
    need(len(stage.server.requests()) == before, "the server was asked")
    return f"the next job has its path in {times[2] * 1000:.0f} ms (median of 5), nobody is asked, its URL may be dead"


def flip(path: Path) -> None:
    """Change one byte in the middle of a file, whatever its mode."""
    path.chmod(0o644)
    descriptor = os.open(path, os.O_RDWR)
    try:
        middle = os.fstat(descriptor).st_size // 2
        os.pwrite(descriptor, bytes([os.pread(descriptor, 1, middle)[0] ^ 1]), middle)
    finally:
        os.close(descriptor)


def heal_the_cache(stage: Stage) -> str:
    """A cached file with one bit changed, its times set back."""
    path = Path(get(stage).out.strip())
    seen = path.stat()
    flip(path)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    path.chmod(0o444)
    need(sha256_of(path) != stage.image.sha256, "the file was not changed")
    before = downloads(stage)[0]
    again = Path(get(stage).out.strip())
    need(sha256_of(again) == stage.image.sha256, "a wrong file was handed out")
    need(downloads(stage)[0] - before == 1, "it was not fetched again")
    need(counts(stage)["repairs"] == 1, "the repair was not counted")
    return "one bit changed and the file's times set back: the next get notices, fetches it again, counts 1 repair"


def pull(stage: Stage) -> str:
    """`entrepot pull` by the other protocol."""
    target = stage.work / "pulled.sif"
    done = stage.succeed("entrepot", "pull", f"object:prominence-data/{AREA}/{NAME}", "-O", str(target))
    need(sha256_of(target) == stage.image.sha256, "the pulled file is wrong")
    target.unlink()
    return f"the same name by our own API, verified, {rate(stage.image.size, done.seconds)}"
