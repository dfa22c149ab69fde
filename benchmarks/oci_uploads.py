"""A large layer by POST, one PATCH and an empty PUT: how long the last takes, and what the bytes do to memory."""

import hashlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from statistics import median

from benchmarks.bodies import WrongAnswer, dialled, read_answer, send_chunked, send_file, send_repeatedly
from benchmarks.figures import Figure, at_most, plain, skipped
from benchmarks.oci_images import Layer
from benchmarks.oci_servers import Site, ours, registry
from benchmarks.processes import forget_peak, memory_bytes
from benchmarks.put import UNIT
from benchmarks.rounds import GIB, MIB, WARM_BYTES, Bench, alternate
from benchmarks.servers import Missing

PAYLOAD = 64 * MIB
CLOSE, MEMORY = at_most(50), at_most(120)

Send = Callable[[socket.socket], None]


@dataclass(slots=True)
class Upload:
    """One that has begun."""

    site: Site
    connection: socket.socket
    place: str

    def patch(self, send: Send, **headers: str) -> None:
        """All its bytes in one request. Raises: WrongAnswer."""
        kind = "application/octet-stream"
        self.connection.sendall(self.site.head("PATCH", self.place, Content_Type=kind, **headers))
        send(self.connection)
        self.place = read_answer(self.connection).headers["location"]

    def close(self, digest: str) -> float:
        """Seconds that the closing took. Raises: WrongAnswer."""
        request = self.site.head("PUT", f"{self.place}{self.site.mark}digest={digest}")
        began = time.perf_counter()
        self.connection.sendall(request)
        answer = read_answer(self.connection)
        seconds = time.perf_counter() - began
        if (answer.status, answer.headers["docker-content-digest"]) != (201, digest):
            raise WrongAnswer(f"{answer.status} {answer.headers['docker-content-digest']}, not 201 {digest}")
        return seconds


@contextmanager
def begun(site: Site, repository: str) -> Iterator[Upload]:
    """An upload, and the connection it stays on."""
    with dialled(site.url) as connection:
        connection.sendall(site.head("POST", f"/v2/{repository}/blobs/uploads/"))
        yield Upload(site, connection, read_answer(connection).headers["location"])


def measure(bench: Bench) -> Iterator[Figure]:
    """The end of uploads of 1 GiB; then memory, which takes a server of its own each time."""
    yield from _closing(bench)
    for left in bench.disk.glob("oci-*"):  # room for the larger ones
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    size, why = bench.largest()
    payload, running = bench.payload(PAYLOAD), hashlib.sha256()
    data = payload.path.read_bytes()
    for _ in range(size // PAYLOAD):
        running.update(data)
    for how, chunked in (("", False), (" in chunks", True)):
        title = f"OCI layer of {size / GIB:g} GiB{how}{why}"
        yield from _memory(bench, title, size, f"sha256:{running.hexdigest()}", chunked=chunked)


@dataclass(slots=True)
class Closings:
    """Uploads of new bytes to one server."""

    bench: Bench
    site: Site
    layers: dict[int, Layer]
    """By size; the servers take turns with them."""
    cpu: list[float] = field(default_factory=list)
    """CPU seconds per GiB, of all three requests; the first is the warm-up's."""
    _numbers: "count[int]" = field(default_factory=count)

    def run(self, size: int) -> float:
        """Milliseconds of the closing PUT."""
        layer = self.layers[size]
        layer.renew()
        self.bench.prime(size)
        os.sync()  # what another server has not written yet is not written at this one's cost
        before = self.site.running.cpu()
        with begun(self.site, f"closing/layer-{next(self._numbers)}") as upload:
            upload.patch(lambda connection: send_file(connection, layer.path, 0, size), Content_Length=str(size))
            seconds = upload.close(layer.digest)
        self.cpu.append((self.site.running.cpu() - before) * GIB / size)
        return seconds * 1e3


def _closing(bench: Bench) -> Iterator[Figure]:
    title = f"OCI closing PUT of {bench.size / GIB:g} GiB"
    with ExitStack() as stack:
        sites = [stack.enter_context(ours(bench.disk / "oci-closing"))]
        if not bench.quick:
            try:
                sites.append(stack.enter_context(registry(bench.disk / "oci-closing-registry")))
            except Missing as missing:
                yield skipped(f"{title}, docker-registry", str(missing))
        folder = bench.memory / "oci-layers"
        folder.mkdir()
        layers = {size: Layer.make(folder, size) for size in {WARM_BYTES, bench.size}}
        closings = {site.name: Closings(bench, site, layers) for site in sites}
        variants = {name: one.run for name, one in closings.items()}
        times = alternate(variants, bench.rounds, bench.size, WARM_BYTES)
        for number, site in enumerate(sites):
            costs = closings[site.name].cpu[1:]
            yield plain(
                f"{title}, {site.name}" if number else title, times[site.name], "ms", None if number else CLOSE,
                f"with POST and PATCH {median(costs):.3g} {UNIT}",
            )  # fmt: skip


def _memory(bench: Bench, title: str, size: int, digest: str, *, chunked: bool) -> Iterator[Figure]:
    """The same bytes again and again, as one layer."""
    payload, times = bench.payload(PAYLOAD), size // PAYLOAD
    folder = bench.disk / f"oci-memory-{chunked:d}"
    with ours(folder) as site, begun(site, "memory/layer") as upload:
        pid = site.running.pid
        forget_peak(pid)
        resident, cpu, began = memory_bytes(pid), site.running.cpu(), time.perf_counter()
        if chunked:
            upload.patch(lambda to: send_chunked(to, payload.path, PAYLOAD, times), Transfer_Encoding="chunked")
        else:
            upload.patch(lambda to: send_repeatedly(to, payload.path, PAYLOAD, times), Content_Length=str(size))
        closed = upload.close(digest)
        seconds, spent = time.perf_counter() - began, site.running.cpu() - cpu
        grown = (memory_bytes(pid, "VmHWM") - resident) / MIB
        _check_size(site, f"/v2/memory/layer/blobs/{digest}", size)
    shutil.rmtree(folder)
    yield plain(f"{title}, memory", [grown], "MiB", MEMORY, f"grown from {resident / MIB:.0f} MiB")
    yield plain(
        title, [spent * GIB / size], UNIT,
        detail=f"{size / GIB / seconds:.3g} GiB/s; the closing PUT took {closed * 1e3:.1f} ms",
    )  # fmt: skip


def _check_size(site: Site, target: str, size: int) -> None:
    with dialled(site.url) as connection:
        connection.sendall(site.head("HEAD", target))
        found = read_answer(connection).headers["content-length"]
    if found != str(size):
        raise WrongAnswer(f"{found} bytes, not {size}")
