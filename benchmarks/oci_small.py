"""Small images by 8 clients, and their manifests by tag on 16 connections: rates against docker-registry, on a disk."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from urllib.parse import quote

from benchmarks.bodies import WrongAnswer, dialled
from benchmarks.figures import Figure, Target, at_least, plain, ratio, skipped
from benchmarks.oci_images import MANIFEST, TAG, Image, digest_of
from benchmarks.oci_servers import Site, ours, registry
from benchmarks.processes import Program
from benchmarks.rounds import Bench, alternate
from benchmarks.s3_signed import hear
from benchmarks.servers import Missing
from benchmarks.small import ANY, CONNECTIONS, Load, Requests, row

CLIENTS = 8
IMAGES, WARM_IMAGES = 200, 20
READS = {"entrepot": 8000, "docker-registry": 2400}
PUSH, READ = at_least(3), at_least(5)
ACCEPT = (
    f"{MANIFEST}, application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.index.v1+json"
)
KINDS: tuple[tuple[str, Mapping[str, str], Target | None], ...] = (
    (f"OCI push of small images, {CLIENTS} clients", {}, PUSH),
    ("OCI push of small images, a connection a request", {"Connection": "close"}, None),
)


@dataclass(slots=True)
class Pushes:
    """Images of new bytes to one server, each into a new repository, as skopeo pushes it, and read back at the end."""

    site: Site
    load: Load
    headers: Mapping[str, str]
    repositories: Iterator[str]
    last: list[Image] = field(default_factory=list)

    def run(self, amount: int) -> float:
        """Images per second. Raises: CalledProcessError, also for any answer that is not right."""
        self.last = [Image.make(next(self.repositories)) for _ in range(amount)]
        rows = b"".join(self._push(image) for image in self.last)
        os.sync()  # what another server has not written yet is not written at this one's cost
        rate = self.load.rate(self.site.running, lambda _: rows, amount)
        path = self.load.folder / "check"
        path.write_bytes(b"".join(self._pull(image) for image in self.last))
        self.load.program.run(str(self.site.running.port), str(CLIENTS), str(path))
        return rate

    def _push(self, image: Image) -> bytes:
        """Each blob is asked for twice. Source: what skopeo sent to a proxy that wrote it down."""
        kind, repository, rows = "application/octet-stream", image.repository, []
        for data in image.blobs:
            digest = digest_of(data)
            asked = self._head("HEAD", f"/v2/{repository}/blobs/{digest}")
            begun = self._head("POST", f"/v2/{repository}/blobs/uploads/")
            sent = self._head("PATCH", "@", Content_Length=str(len(data)), Content_Type=kind) + data
            closed = self._head("PUT", f"@{self.site.mark}digest={quote(digest)}", Content_Type=kind)
            rows += [(asked, 404), (asked, 404), (begun, 202), (sent, 202), (closed, 201)]
        length = str(len(image.manifest))
        tagged = self._head("PUT", f"/v2/{repository}/manifests/{TAG}", Content_Length=length, Content_Type=MANIFEST)
        rows.append((tagged + image.manifest, 201))
        return b"".join(row(request, status=status, after=at > 0) for at, (request, status) in enumerate(rows))

    def _head(self, method: str, target: str, **headers: str) -> bytes:
        return self.site.head(method, target, **headers, **self.headers)

    def _pull(self, image: Image) -> bytes:
        rows = row(_manifest(self.site, "GET", image), image.manifest)
        for data in image.blobs:
            rows += row(self.site.head("GET", f"/v2/{image.repository}/blobs/{digest_of(data)}"), data)
        return rows


def measure(bench: Bench) -> Iterator[Figure]:
    """Pushes on kept connections, pushes as skopeo does; then GET and HEAD of the manifests of the last ones."""
    if bench.quick:
        return
    with ExitStack() as stack:
        sites = [stack.enter_context(ours(bench.disk / "oci-small"))]
        try:
            sites.append(stack.enter_context(registry(bench.disk / "oci-small-registry")))
        except Missing as missing:
            yield skipped("OCI, small images", str(missing), PUSH)
            yield skipped("OCI, manifests", str(missing), READ)
            return
        program = Program.compile("load", bench.native)
        repositories = (f"small/image-{number}" for number in count())
        for name, headers, least in KINDS:
            pushes = [Pushes(site, Load(program, bench.memory, CLIENTS), headers, repositories) for site in sites]
            rates = alternate({one.site.name: one.run for one in pushes}, bench.rounds, IMAGES, WARM_IMAGES)
            loads = {one.site.name: one.load for one in pushes}
            yield from _figures(name, rates, loads, "images/s", least, "CPU ms")
        for method in ("GET", "HEAD"):
            loads = {site.name: Load(program, bench.memory) for site in sites}
            variants = {
                one.site.name: partial(_share, loads[one.site.name], one.site, _reads(one.site, one.last, method))
                for one in pushes
            }
            rates = alternate(variants, bench.rounds, 100, 20)
            name = f"OCI {method} of a manifest, {CONNECTIONS} connections"
            yield from _figures(name, rates, loads, "/s", READ, "CPU us")


def _figures(
    name: str, rates: Mapping[str, list[float]], loads: Mapping[str, Load], unit: str, target: Target | None, cpu: str
) -> Iterator[Figure]:
    """The rates' ratio; then what each server spent on one of them, in the unit `cpu`, and its slowest requests."""
    (_, mine), (other, theirs) = rates.items()
    yield ratio(name, mine, theirs, unit, target, other)
    for one, load in loads.items():
        costs = [cost if cpu == "CPU us" else cost / 1e3 for cost in load.cpu[1:]]
        yield plain(f"{name}, {one}", costs, cpu, detail=f"p99 {max(load.slowest[1:]):.1f} ms a request")


def _manifest(site: Site, method: str, image: Image) -> bytes:
    return site.head(method, f"/v2/{image.repository}/manifests/{TAG}", Accept=ACCEPT)


def _reads(site: Site, images: list[Image], method: str) -> Requests:
    """Manifests by tag, in turn. Raises: WrongAnswer for a HEAD that names another digest; a GET's body is hashed."""
    rows = [row(_manifest(site, method, one), one.manifest if method == "GET" else ANY) for one in images]
    with dialled(site.url) as connection:
        for image in images:
            connection.sendall(_manifest(site, method, image))
            answer, _ = hear(connection, bare=method == "HEAD")
            if answer.headers["docker-content-digest"] != digest_of(image.manifest):
                raise WrongAnswer(f"{site.name}: {answer.headers}")
    return lambda amount: b"".join(rows[number % len(rows)] for number in range(amount))


def _share(load: Load, site: Site, requests: Requests, percent: int) -> float:
    """Requests per second over so many percent of the usual amount."""
    return load.rate(site.running, requests, READS[site.name] * percent // 100)
