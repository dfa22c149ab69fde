"""A large multipart upload on 8 connections: memory, completing it, and copies of what it became."""

import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from re import search

from benchmarks.bodies import WrongAnswer, dialled, send_file
from benchmarks.figures import Figure, at_most, plain
from benchmarks.processes import forget_peak, memory_bytes
from benchmarks.put import UNIT
from benchmarks.rounds import GIB, MIB, Bench, Payload
from benchmarks.s3_servers import BUCKET, Site, ours
from benchmarks.s3_signed import ask, hear

PART = 8 * MIB
CONNECTIONS = 8
LATE_SIZE = GIB
COPIES = 9
LARGE = f"/{BUCKET}/large"
MEMORY, COMPLETE, COPY, NOTHING, READ = at_most(120), at_most(200), at_most(50), at_most(0), at_most(PART / MIB)


@dataclass(slots=True)
class Upload:
    """A multipart upload of equal parts: the same bytes again and again."""

    site: Site
    path: str
    payload: Payload
    order: list[int]
    """Part numbers as they are sent: the first by itself, which says where the others may lie."""
    id: str = ""
    etags: dict[int, str] = field(default_factory=dict)

    def send(self) -> None:
        """All parts on some connections. Raises: WrongAnswer."""
        _, answer = ask(self.site.account, "POST", self.path, {"uploads": ""})
        found = search(rb"<UploadId>([^<]+)</UploadId>", answer)
        if not found:
            raise WrongAnswer(answer.decode())
        self.id = found[1].decode()
        numbers: SimpleQueue[int] = SimpleQueue()
        numbers.put(self.order[0])
        self._send_some(numbers)
        for number in self.order[1:]:
            numbers.put(number)
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            for one in [threads.submit(self._send_some, numbers) for _ in range(CONNECTIONS)]:
                one.result()

    def _send_some(self, numbers: SimpleQueue[int]) -> None:
        account, payload = self.site.account, self.payload
        with dialled(account.url) as connection:
            while True:
                try:
                    number = numbers.get_nowait()
                except Empty:
                    return
                query = {"partNumber": str(number), "uploadId": self.id}
                connection.sendall(account.head("PUT", self.path, query, sha256=payload.sha256, length=str(PART)))
                send_file(connection, payload.path, 0, PART)
                self.etags[number] = hear(connection)[0].headers["etag"]

    def complete(self) -> None:
        """The parts become the object. Raises: WrongAnswer."""
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in sorted(self.etags.items())
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        _, answer = ask(self.site.account, "POST", self.path, {"uploadId": self.id}, body)
        if b"<ETag>" not in answer:
            raise WrongAnswer(answer.decode())


def measure(bench: Bench) -> Iterator[Figure]:
    """One upload gives most figures; a second, whose first part is not the first to come, how that one is joined."""
    size, why = bench.largest()
    title = f"S3 upload of {size / GIB:g} GiB in parts{why}"
    data = bench.disk / "s3-parts"
    with ours(data) as site:
        upload = Upload(site, LARGE, bench.payload(PART), list(range(1, size // PART + 1)))
        pid = site.running.pid
        forget_peak(pid)
        resident, cpu, seen, began = memory_bytes(pid), site.running.cpu(), _read_bytes(pid), time.perf_counter()
        upload.send()
        seconds, spent = time.perf_counter() - began, site.running.cpu() - cpu
        grown, again = (memory_bytes(pid, "VmHWM") - resident) / MIB, _read_bytes(pid) - seen - size
        yield plain(f"{title}, memory", [grown], "MiB", MEMORY, f"grown from {resident / MIB:.0f} MiB, 8 connections")
        yield plain(
            title, [spent * GIB / size], UNIT,
            detail=f"{size / GIB / seconds:.3g} GiB/s; {again / size:.2f} x its bytes read back on the way",
        )  # fmt: skip
        yield from _completed(upload, "")
        yield from _copied(site, data, size)
        order = [2, 1, *range(3, min(size, LATE_SIZE) // PART + 1)]
        late = Upload(site, f"/{BUCKET}/late", bench.payload(PART), order)
        late.send()
        yield from _completed(late, ", part 2 before 1")
    shutil.rmtree(data)


def _completed(upload: Upload, how: str) -> Iterator[Figure]:
    pid, size = upload.site.running.pid, len(upload.order) * PART
    seen, began = _read_bytes(pid), time.perf_counter()
    upload.complete()
    taken, again = (time.perf_counter() - began) * 1e3, (_read_bytes(pid) - seen) / MIB
    head, _ = ask(upload.site.account, "HEAD", upload.path)
    if head.headers["content-length"] != str(size):
        raise WrongAnswer(f"{head.headers['content-length']} bytes, not {size}")
    title, what = f"S3 CompleteMultipartUpload{how}", f"{size / GIB:g} GiB, {len(upload.order):,} parts"
    yield plain(title, [taken], "ms", COMPLETE, what)
    yield plain(f"{title}, read", [again], "MiB", READ, "a part has 8")


def _copied(site: Site, data: Path, size: int) -> Iterator[Figure]:
    before, times = _disk_bytes(data), []
    for number in range(1 + COPIES):
        began = time.perf_counter()
        ask(site.account, "PUT", f"/{BUCKET}/copy-{number}", x_amz_copy_source=LARGE)
        times.append((time.perf_counter() - began) * 1e3)
    grown = (_disk_bytes(data) - before) / MIB
    yield plain("S3 CopyObject", times[1:], "ms", COPY, f"of {size / GIB:g} GiB")
    yield plain(f"S3 CopyObject, {len(times)} times, on disk", [grown], "MiB", NOTHING, "all but the catalog")


def _read_bytes(pid: int) -> int:
    """Bytes that the process has read, from the disk, the page cache and sockets. Source: proc(5), rchar."""
    text = Path(f"/proc/{pid}/io").read_text()
    return int(text.partition("rchar: ")[2].split()[0])


def _disk_bytes(data: Path) -> int:
    """Bytes allocated to all files in the data folder but the catalog's."""
    found = 0
    for folder, _, names in os.walk(data):
        for name in names:
            if not name.startswith("catalog.db"):
                found += Path(folder, name).stat().st_blocks * 512
    return found
