"""GET of a large body by a signed URL: the server's CPU seconds per GiB, against nginx with sendfile."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from benchmarks.bodies import get, put
from benchmarks.figures import Figure, at_most, plain, ratio, skipped
from benchmarks.processes import Program, spent_by
from benchmarks.put import UNIT, check
from benchmarks.rounds import GIB, WARM_BYTES, Bench, Variant, alternate
from benchmarks.servers import Entrepot, Missing, Running, entrepot, nginx

TARGET = at_most(1.3)


def measure(bench: Bench) -> Iterator[Figure]:
    """Plain and TLS against nginx; with verification on the way, against nginx and a pass of SHA-256."""
    if bench.quick:
        return
    try:
        with ExitStack() as stack:
            costs = alternate(_variants(bench, stack), bench.rounds, bench.size, WARM_BYTES)
    except Missing as missing:
        yield skipped("GET", str(missing), TARGET)
        return
    yield ratio("GET, plain", costs["plain"], costs["nginx"], UNIT, TARGET, "nginx")
    yield ratio("GET, TLS", costs["TLS"], costs["nginx TLS"], UNIT, TARGET, "nginx")
    least = [sent + hashed for sent, hashed in zip(costs["nginx"], costs["hash"], strict=True)]
    yield ratio("GET, verified on the way", costs["verifying"], least, UNIT, TARGET, "nginx and a pass of SHA-256")
    yield plain("GET, plain, ours", costs["plain"], UNIT)


def _variants(bench: Bench, stack: ExitStack) -> dict[str, Variant]:
    always = {"ENTREPOT_VERIFY_READS_DAYS": "0"}
    server = stack.enter_context(entrepot(bench.memory / "get"))
    secure = stack.enter_context(entrepot(bench.memory / "get-tls", tls=True))
    verifying = stack.enter_context(entrepot(bench.memory / "get-verifying", environ=always))
    tls_files = bench.memory / "get-tls" / "tls"
    peer, tls_port = stack.enter_context(
        nginx(bench.memory / "get-nginx", bench.memory, tls_files / "cert.pem", tls_files / "key.pem")
    )
    reference = Program.compile("reference", bench.native)
    return {
        "plain": _from(bench, server, _link(bench, server)),
        "TLS": _from(bench, secure, _link(bench, secure), secure.tls),
        "verifying": _from(bench, verifying, _link(bench, verifying)),
        "nginx": _from(bench, peer, lambda size: f"http://127.0.0.1:{peer.port}/payload-{size}"),
        "nginx TLS": _from(bench, peer, lambda size: f"https://127.0.0.1:{tls_port}/payload-{size}", secure.tls),
        "hash": _hash(bench, reference),
    }


def _link(bench: Bench, server: Entrepot) -> Callable[[int], str]:
    """Puts bodies of both sizes there; makes a signed URL for one."""
    for size in (WARM_BYTES, bench.size):
        put(server.place(f"body-{size}"), bench.payload(size).path, size, tls=server.tls)
    return lambda size: server.link(f"body-{size}")


def _from(bench: Bench, server: Running, link: Callable[[int], str], tls: ssl.SSLContext | None = None) -> Variant:
    def run(size: int) -> float:
        url = link(size)
        before = server.cpu()
        found = get(url, size, tls)
        spent = server.cpu() - before
        check(found, bench.payload(size))
        return spent * GIB / size

    return run


def _hash(bench: Bench, reference: Program) -> Variant:
    def run(size: int) -> float:
        payload = bench.payload(size)
        spent, found = spent_by([str(reference.path), "hash", str(payload.path)])
        check(found.strip(), payload)
        return spent * GIB / size

    return run
