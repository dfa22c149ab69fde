"""Small objects on 16 connections: requests per second, ours against docker-registry's, both on disk."""

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path

from benchmarks.bodies import head_of, put
from benchmarks.figures import Figure, at_least, plain, ratio, skipped
from benchmarks.processes import Program
from benchmarks.rounds import Bench, Variant, alternate
from benchmarks.servers import Entrepot, Missing, Running, docker_registry, entrepot

CONNECTIONS = 16
BYTES = 4096
BUCKET = "small"
TO_PUT, TO_READ = at_least(10), at_least(5)
ANY = bytes(32)

Requests = Callable[[int], bytes]
"""The file of `native/load.c` with so many operations."""


def row(request: bytes, body: bytes = ANY, *, status: int = 0, after: bool = False) -> bytes:
    """One request as `load` reads it, and what its answer must have: that body, that status (0: any 2xx).

    With `after` it waits for the one before it.
    """
    digest = body if body is ANY else sha256(body).digest()
    return struct.pack("<IHH", len(request), status, after) + digest + request


@dataclass(slots=True)
class Load:
    """Runs `load` against a server; keeps CPU per request and latencies beside the rates."""

    program: Program
    folder: Path
    connections: int = CONNECTIONS
    cpu: list[float] = field(default_factory=list)
    slowest: list[float] = field(default_factory=list)

    def rate(self, server: Running, requests: Requests, amount: int) -> float:
        """Operations per second; an operation may be several requests. Raises: CalledProcessError."""
        path = self.folder / "requests"
        path.write_bytes(requests(amount))
        before = server.cpu()
        _, seconds, _, slow, _ = self.program.run(str(server.port), str(self.connections), str(path)).split()
        self.cpu.append((server.cpu() - before) / amount * 1e6)
        self.slowest.append(int(slow) / 1000)
        return amount / float(seconds)


def measure(bench: Bench) -> Iterator[Figure]:
    """Durable uploads, HEAD and GET of 4 KiB."""
    if bench.quick:
        return
    with entrepot(bench.disk / "small") as server:
        server.call("PUT", f"/api/v1/buckets/{BUCKET}", {"public": True})
        try:
            with docker_registry(bench.disk / "small-registry") as peer:
                yield from _compare(bench, server, peer)
        except Missing as missing:
            for name, target in (("upload of 4 KiB", TO_PUT), ("HEAD", TO_READ), ("GET of 4 KiB", TO_READ)):
                yield skipped(name, str(missing), target)


def _compare(bench: Bench, server: Entrepot, peer: Running) -> Iterator[Figure]:
    ours, theirs = partial(_reads, bench, server), partial(_registry_reads, bench, peer)
    kinds = (
        ("upload of 4 KiB", _uploads(server), _registry_uploads(peer), TO_PUT, 8000, 640),
        ("HEAD, signed", ours("HEAD"), theirs("HEAD"), TO_READ, 16000, 3200),
        (
            "GET of 4 KiB, signed",
            _reads(bench, server, "GET"),
            _registry_reads(bench, peer, "GET"),
            TO_READ,
            16000,
            3200,
        ),
    )
    program = Program.compile("load", bench.native)
    for name, asked, asked_peer, target, amount, peer_amount in kinds:
        load, other = Load(program, bench.memory), Load(program, bench.memory)
        variants = {
            "entrepot": _shares(load, server, asked, amount),
            "registry": _shares(other, peer, asked_peer, peer_amount),
        }
        rates = alternate(variants, bench.rounds, 100, 20)
        yield ratio(name, rates["entrepot"], rates["registry"], "/s", target, "docker-registry")
        yield plain(f"{name}, ours", load.cpu[1:], "CPU us", detail=f"p99 {max(load.slowest[1:]):.1f} ms")
        yield plain(f"{name}, docker-registry", other.cpu[1:], "CPU us", detail=f"p99 {max(other.slowest[1:]):.1f} ms")


def _shares(load: Load, server: Running, requests: Requests, amount: int) -> Variant:
    """Operations per second over so many percent of `amount`."""
    return lambda percent: load.rate(server, requests, amount * percent // 100)


def _uploads(server: Entrepot) -> Requests:
    """PUTs of new names with new bytes, by a token."""
    numbers = count()

    def requests(amount: int) -> bytes:
        rows = []
        for _ in range(amount):
            url = f"{server.url}/api/v1/objects/{BUCKET}/{next(numbers):09d}"
            head = head_of("PUT", url, Authorization=f"Bearer {server.token}", Content_Length=str(BYTES))
            rows.append(row(head + os.urandom(BYTES)))
        return b"".join(rows)

    return requests


def _registry_uploads(peer: Running) -> Requests:
    """POST for a place, then PUT of the blob, both on one connection."""
    url = f"http://127.0.0.1:{peer.port}/v2/small/blobs/uploads/"

    def requests(amount: int) -> bytes:
        rows = []
        for _ in range(amount):
            body = os.urandom(BYTES)
            head = f"PUT @&digest=sha256:{sha256(body).hexdigest()} HTTP/1.1\r\nHost: 127.0.0.1:{peer.port}\r\n"
            rows.append(row(head_of("POST", url, Content_Length="0")))
            rows.append(row(f"{head}Content-Length: {BYTES}\r\n\r\n".encode() + body))
        return b"".join(rows)

    return requests


def _reads(bench: Bench, server: Entrepot, method: str) -> Requests:
    """The same request again and again, by a signed URL."""
    payload = bench.payload(BYTES)
    put(server.place("small"), payload.path, BYTES)
    one = row(head_of(method, server.link("small")), payload.path.read_bytes() if method == "GET" else ANY)
    return lambda amount: one * amount


def _registry_reads(bench: Bench, peer: Running, method: str) -> Requests:
    payload = bench.payload(BYTES)
    body = payload.path.read_bytes()
    head = f"PUT @&digest=sha256:{payload.sha256} HTTP/1.1\r\nHost: 127.0.0.1:{peer.port}\r\n"
    upload = row(head_of("POST", f"http://127.0.0.1:{peer.port}/v2/small/blobs/uploads/", Content_Length="0"))
    upload += row(f"{head}Content-Length: {BYTES}\r\n\r\n".encode() + body)
    path = bench.memory / "upload"
    path.write_bytes(upload)
    Program.compile("load", bench.native).run(str(peer.port), "1", str(path))
    url = f"http://127.0.0.1:{peer.port}/v2/small/blobs/sha256:{payload.sha256}"
    one = row(head_of(method, url), body if method == "GET" else ANY)
    return lambda amount: one * amount
