"""PUT of a large body by a signed URL: the server's CPU seconds per GiB, against L on tmpfs, against a peer on disk."""

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.bodies import WrongAnswer, dialled, head_of, put, put_to_least, read_answer
from benchmarks.figures import Figure, at_most, plain, ratio, skipped
from benchmarks.rounds import GIB, WARM_BYTES, Bench, Payload, Variant, alternate
from benchmarks.servers import Entrepot, Missing, Running, docker_registry, entrepot, least

UNIT = "CPU s/GiB"
TO_REGISTRY = at_most(0.5)


def measure(bench: Bench) -> Iterator[Figure]:
    """Plain, chunked and TLS against L; then on disk against docker-registry."""
    with ExitStack() as stack:
        server = stack.enter_context(entrepot(bench.memory / "put"))
        secure = stack.enter_context(entrepot(bench.memory / "put-tls", tls=True))
        reused = stack.enter_context(least(bench.native, bench.memory / "least"))
        fresh = stack.enter_context(least(bench.native, bench.memory / "least-fresh", fresh=True))
        variants: dict[str, Variant] = {
            "L": to_least(bench, reused),
            "plain": to_entrepot(bench, server),
            "chunked": to_entrepot(bench, server, chunked=True),
            "TLS": to_entrepot(bench, secure),
            "L, new file": to_least(bench, fresh),
        }
        to_least(bench, reused)(bench.size)  # its file has all its pages from now on
        costs = alternate(variants, bench.rounds, bench.size, WARM_BYTES)
    least_costs = costs["L"]
    yield ratio("PUT, plain", costs["plain"], least_costs, UNIT, at_most(1.7))
    yield ratio("PUT, chunks of 32 KiB", costs["chunked"], least_costs, UNIT, at_most(1.5))
    yield ratio("PUT, TLS", costs["TLS"], least_costs, UNIT, at_most(2.1))
    yield ratio("PUT, plain, to L that makes a new file each time", costs["plain"], costs["L, new file"], UNIT, None)
    if not bench.quick:
        yield from on_disk(bench)


def on_disk(bench: Bench) -> Iterator[Figure]:
    """The same body to files on a disk, synced by us: only peers are compared there."""
    try:
        with entrepot(bench.disk / "put") as server, docker_registry(bench.disk / "put-registry") as peer:
            variants = {"entrepot": to_entrepot(bench, server), "registry": to_registry(bench, peer)}
            costs = alternate(variants, bench.rounds, bench.size, WARM_BYTES)
    except Missing as missing:
        yield skipped("PUT on disk", str(missing), TO_REGISTRY)
        return
    yield ratio("PUT on disk", costs["entrepot"], costs["registry"], UNIT, TO_REGISTRY, "docker-registry")
    yield plain("PUT on disk, ours", costs["entrepot"], UNIT)


def to_entrepot(bench: Bench, server: Entrepot, *, chunked: bool = False) -> Variant:
    """A PUT of the PROMINENCE way: ask for a URL, send the bytes there."""

    def run(size: int) -> float:
        payload = bench.payload(size)
        url = server.place("body")
        bench.prime(size)
        before = server.cpu()
        answer = put(url, payload.path, size, chunked=chunked, tls=server.tls)
        spent = server.cpu() - before
        check(answer.headers["etag"].strip('"'), payload)
        return spent * GIB / size

    return run


def to_least(bench: Bench, server: Running) -> Variant:
    """The bytes to L."""

    def run(size: int) -> float:
        payload = bench.payload(size)
        bench.prime(size)
        before = server.cpu()
        found = put_to_least(server.port, payload.path, size)
        spent = server.cpu() - before
        check(found, payload)
        return spent * GIB / size

    return run


def to_registry(bench: Bench, server: Running) -> Variant:
    """A blob to docker-registry, in one PUT; it checks the digest itself."""

    def run(size: int) -> float:
        payload = bench.payload(size)
        bench.prime(size)
        before = server.cpu()
        begin = f"http://127.0.0.1:{server.port}/v2/bench/blobs/uploads/"
        with dialled(begin) as connection:
            connection.sendall(head_of("POST", begin, Content_Length="0"))
            place = read_answer(connection).headers["location"]
        found = put(f"http://127.0.0.1:{server.port}{place}&digest=sha256:{payload.sha256}", payload.path, size)
        spent = server.cpu() - before
        check(found.headers["docker-content-digest"].removeprefix("sha256:"), payload)
        return spent * GIB / size

    return run


def check(found: str, payload: Payload) -> None:
    """Raises: WrongAnswer if that is not the payload's digest."""
    if found != payload.sha256:
        raise WrongAnswer(f"digest {found}, not {payload.sha256}")
