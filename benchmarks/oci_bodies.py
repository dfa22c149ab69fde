"""An image of 1 GiB in 5 layers by skopeo, there and back: wall time, and CPU of the server, beside docker-registry."""

import json
import os
import shutil
import subprocess
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, at_least, at_most, plain, ratio, skipped
from benchmarks.oci_images import TAG, Layout
from benchmarks.oci_servers import Site, ours, registry
from benchmarks.processes import program_path
from benchmarks.put import UNIT
from benchmarks.rounds import GIB, WARM_BYTES, Bench, alternate
from benchmarks.servers import USER, Missing

LAYERS = 5
RATE, CPU = at_least(1), at_most(1)


@dataclass(slots=True)
class Trips:
    """What each registry took for images that skopeo pushed and pulled."""

    bench: Bench
    program: str
    layouts: dict[int, Layout]
    """By size; the servers take turns with them."""
    seen: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """By what was measured, and whose; the first is the warm-up's."""
    _numbers: "count[int]" = field(default_factory=count)

    def make(self, site: Site, size: int) -> float:
        """New layers, there and back. The rate there, in GiB/s. Raises: WrongAnswer; RuntimeError."""
        layout, back = self.layouts[size], self.bench.memory / "oci-back"
        layout.renew()
        there = f"docker://{site.address}/bodies/image-{next(self._numbers)}:{TAG}"
        rate = self._copy(site, "push", f"oci:{layout.path}:{TAG}", there, size)
        self._copy(site, "pull", there, f"oci:{back}:{TAG}", size)
        layout.check(back)
        shutil.rmtree(back)
        return rate

    def _copy(self, site: Site, verb: str, source: str, destination: str, size: int) -> float:
        home = self.bench.disk / "oci-home"
        home.mkdir()  # what skopeo remembers of blobs goes with it
        side = "dest" if verb == "push" else "src"
        command = [self.program, "--insecure-policy", "copy", "--quiet", f"--{side}-tls-verify=false"]
        command += ["--authfile", str(_log_in(home, site)), source, destination]
        self.bench.prime(size)
        os.sync()  # what a server has not written yet is not written at the next one's cost
        before, began = site.running.cpu(), time.perf_counter()
        done = subprocess.run(
            command, env=_environ(home), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False,
        )  # fmt: skip
        rate = size / GIB / (time.perf_counter() - began)
        if done.returncode:
            raise RuntimeError(f"skopeo {verb}, {site.name}: {done.stdout[-2000:]}")
        self.seen[f"{verb} rate", site.name].append(rate)
        self.seen[f"{verb} cpu", site.name].append((site.running.cpu() - before) * GIB / size)
        shutil.rmtree(home)
        return rate

    def of(self, what: str, name: str) -> list[float]:
        """The rounds of one server."""
        return self.seen[what, name][1:]


def measure(bench: Bench) -> Iterator[Figure]:
    """Push and pull."""
    if bench.quick:
        return
    with ExitStack() as stack:
        site = stack.enter_context(ours(bench.disk / "oci-bodies"))
        try:
            peer = stack.enter_context(registry(bench.disk / "oci-bodies-registry"))
            program = program_path("skopeo")
            if program is None:
                raise Missing("skopeo is not installed (Debian: skopeo)")
        except Missing as missing:
            yield skipped("OCI, 1 GiB by skopeo", str(missing), RATE)
            return
        layouts = {
            size: Layout.make(bench.memory / f"oci-layout-{size}", size, LAYERS) for size in {WARM_BYTES, bench.size}
        }
        trips = Trips(bench, program, layouts)
        alternate({one.name: partial(trips.make, one) for one in (site, peer)}, bench.rounds, bench.size, WARM_BYTES)
    for verb in ("push", "pull"):
        name = f"OCI {verb} of {bench.size / GIB:g} GiB in {LAYERS} layers, skopeo"
        rates = trips.of(f"{verb} rate", site.name), trips.of(f"{verb} rate", peer.name)
        costs = trips.of(f"{verb} cpu", site.name), trips.of(f"{verb} cpu", peer.name)
        yield ratio(f"{name}, rate", *rates, "GiB/s", RATE, peer.name)
        yield ratio(f"{name}, CPU", *costs, UNIT, CPU, peer.name)
        for one, rate, cost in zip((site, peer), rates, costs, strict=True):
            yield plain(f"{name}, {one.name}", rate, "GiB/s", detail=f"{median(cost):.3g} {UNIT}")


def _log_in(home: Path, site: Site) -> Path:
    """The file that `skopeo login` would write; a token of ours is a password too."""
    proof = b64encode(f"{USER}:{site.token}".encode()).decode()
    path = home / "auth.json"
    path.write_text(json.dumps({"auths": {site.address: {"auth": proof}} if site.token else {}}))
    return path


def _environ(home: Path) -> dict[str, str]:
    """As of one who is not root: then what skopeo remembers lies in the home, not in /var/lib."""
    return {
        "PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "TMPDIR": str(home),
        "_CONTAINERS_ROOTLESS_UID": "1000",
    }  # fmt: skip
