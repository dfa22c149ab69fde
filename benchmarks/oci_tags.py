"""The tags of a repository that has very many, page by page to the end: the server's CPU for a page."""

import json
import socket
import statistics
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from benchmarks.bodies import WrongAnswer, dialled
from benchmarks.figures import Figure, at_most, plain
from benchmarks.oci_images import MANIFEST, Image, digest_of
from benchmarks.oci_servers import Site, ours
from benchmarks.oci_uploads import begun
from benchmarks.rounds import Bench, say
from benchmarks.s3_signed import hear

TAGS, QUICK_TAGS = 50_000, 5_000
PAGE_TAGS = 1000
AT_ONCE = 100
REPOSITORY = "tags/many"
PAGE = at_most(10)


def measure(bench: Bench) -> Iterator[Figure]:
    """All pages, some times over."""
    names = [f"build-{number:06d}" for number in range(QUICK_TAGS if bench.quick else TAGS)]
    with ours(bench.memory / "oci-tags") as site, dialled(site.url) as connection:
        say(f"making {len(names):,} tags")
        _push(site, connection, names)
        _to_the_end(site, connection, names)  # the first requests find nothing at hand
        passes = [_to_the_end(site, connection, names) for _ in range(bench.rounds)]
    means, slowest = [statistics.fmean(costs) for costs in passes], max(max(costs) for costs in passes)
    yield plain(
        "OCI page of 1,000 tags", means, "CPU ms", PAGE,
        f"{len(passes[0])} pages of {len(names):,}; the dearest {slowest:.1f}",
    )  # fmt: skip
    tenth = max(1, len(passes[0]) // 10)
    growth = [statistics.median(costs[-tenth:]) / statistics.median(costs[:tenth]) for costs in passes]
    yield plain("OCI pages of tags, the last tenth to the first", growth, "x", detail="medians of the pages")


def _push(site: Site, connection: socket.socket, names: Sequence[str]) -> None:
    """An image with all these tags."""
    image = Image.make(REPOSITORY)
    for data in image.blobs:
        with begun(site, REPOSITORY) as upload:
            upload.patch(lambda to, data=data: to.sendall(data), Content_Length=str(len(data)))  # type: ignore[misc]
            upload.close(digest_of(data))
    digest = digest_of(image.manifest)
    for start in range(0, len(names), AT_ONCE):
        query = "&".join(f"tag={name}" for name in names[start : start + AT_ONCE])
        target = f"/v2/{REPOSITORY}/manifests/{digest}?{query}"
        length = str(len(image.manifest))
        connection.sendall(site.head("PUT", target, Content_Length=length, Content_Type=MANIFEST) + image.manifest)
        answer, _ = hear(connection)
        if (answer.status, answer.headers["docker-content-digest"]) != (201, digest):
            raise WrongAnswer(f"{answer.status} {answer.headers}")


def _to_the_end(site: Site, connection: socket.socket, names: Sequence[str]) -> list[float]:
    """CPU milliseconds of each page. Raises: WrongAnswer unless these are all tags, in order."""
    costs: list[float] = []
    found: list[str] = []
    more = True
    while more:
        last = f"&last={quote(found[-1])}" if found else ""
        request = site.head("GET", f"/v2/{REPOSITORY}/tags/list?n={PAGE_TAGS}{last}")
        before = site.running.cpu()
        connection.sendall(request)
        answer, body = hear(connection)
        costs.append((site.running.cpu() - before) * 1e3)
        found += json.loads(body)["tags"]
        more = "link" in answer.headers
    if found != list(names):
        raise WrongAnswer(f"{len(found)} tags, not {len(names)}")
    return costs
