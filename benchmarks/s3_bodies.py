"""1 GiB by `aws s3 cp` and by rclone, there and back: wall time, and CPU of the server, beside two peers."""

import hashlib
import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.bodies import WrongAnswer
from benchmarks.figures import Figure, at_least, at_most, plain, ratio, skipped
from benchmarks.put import UNIT
from benchmarks.rounds import GIB, MIB, WARM_BYTES, Bench, alternate
from benchmarks.s3_servers import BUCKET, Site, ours, peer_program, rclone_server, seaweedfs
from benchmarks.s3_signed import REGION
from benchmarks.servers import Missing

ROUNDS = 3
RATE, PUT_CPU, GET_CPU = at_least(1), at_most(1.3), at_most(1)

Command = Callable[[str, str, str], list[str]]
"""What moves a file: from its arguments `put` or `get`, the key, the path."""


@dataclass(slots=True)
class Trips:
    """What each server took for bodies that one client sent and fetched."""

    bench: Bench
    environ: Callable[[Site], dict[str, str]]
    command: Command
    seen: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """By what was measured, and whose; the first is the warm-up's."""

    def make(self, site: Site, size: int) -> float:
        """New bytes, there and back. The rate there, in GiB/s. Raises: WrongAnswer; RuntimeError."""
        path, sha256 = _renewed(self.bench, size)
        back = self.bench.memory / "back"
        rate = self._move(site, "put", path, size)
        self._move(site, "get", back, size)
        with back.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise WrongAnswer(f"{site.name} gave other bytes back")
        back.unlink()
        return rate

    def _move(self, site: Site, verb: str, path: Path, size: int) -> float:
        command = self.command(verb, f"body-{size}", str(path))
        self.bench.prime(size)
        os.sync()  # what a server has not written yet is not written at the next one's cost
        before, began = site.running.cpu(), time.perf_counter()
        done = subprocess.run(
            command, env=self.environ(site), cwd=self.bench.disk, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False,
        )  # fmt: skip
        rate = size / GIB / (time.perf_counter() - began)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} to {site.name}: {done.stdout[-2000:]}")
        self.seen[f"{verb} rate", site.name].append(rate)
        self.seen[f"{verb} cpu", site.name].append((site.running.cpu() - before) * GIB / size)
        return rate

    def of(self, what: str, name: str) -> list[float]:
        """The rounds of one server."""
        return self.seen[what, name][1:]


def measure(bench: Bench) -> Iterator[Figure]:
    """Both clients, one after the other, on the same servers."""
    if bench.quick:
        return
    with ExitStack() as stack:
        site = stack.enter_context(ours(bench.disk / "s3-bodies"))
        try:
            peers = [stack.enter_context(seaweedfs(bench.disk / "s3-bodies-weed"))]
            peers.append(stack.enter_context(rclone_server(bench.disk / "s3-bodies-rclone")))
            clients = {
                "aws s3 cp": (_aws_environ, partial(_aws, peer_program("aws"))),
                "rclone": (_rclone_environ, partial(_rclone, peer_program("rclone"))),
            }
        except Missing as missing:
            yield skipped("S3, 1 GiB", str(missing), RATE)
            return
        for name, (environ, command) in clients.items():
            trips = Trips(bench, environ, command)
            variants = {one.name: partial(trips.make, one) for one in (site, *peers)}
            alternate(variants, ROUNDS, bench.size, WARM_BYTES)
            yield from _figures(name, trips, site, peers)


def _figures(client: str, trips: Trips, site: Site, peers: list[Site]) -> Iterator[Figure]:
    weed = peers[0].name
    for verb, target in (("put", PUT_CPU), ("get", GET_CPU)):
        name = f"S3 {verb.upper()} of 1 GiB, {client}"
        rates = [trips.of(f"{verb} rate", one.name) for one in peers]
        better = [max(both) for both in zip(*rates, strict=True)]
        said = " or ".join(one.name for one in peers)
        yield ratio(
            f"{name}, rate", trips.of(f"{verb} rate", site.name), better, "GiB/s", RATE, f"the better of {said}"
        )
        cpu, other = trips.of(f"{verb} cpu", site.name), trips.of(f"{verb} cpu", weed)
        yield ratio(f"{name}, CPU", cpu, other, UNIT, target, weed)
        for peer in peers:
            yield plain(
                f"{name}, {peer.name}", trips.of(f"{verb} rate", peer.name), "GiB/s",
                detail=f"{median(trips.of(f'{verb} cpu', peer.name)):.3g} {UNIT}",
            )  # fmt: skip


def _renewed(bench: Bench, size: int) -> tuple[Path, str]:
    """A file of bytes of which no server has seen any part; and their digest."""
    path = bench.payload(size).path
    with path.open("r+b") as file:
        for at in range(0, size, MIB):
            os.pwrite(file.fileno(), os.urandom(16), at)
        return path, hashlib.file_digest(file, "sha256").hexdigest()


def _aws(program: str, verb: str, key: str, path: str) -> list[str]:
    there = f"s3://{BUCKET}/{key}"
    return [program, "s3", "cp", "--only-show-errors", *((path, there) if verb == "put" else (there, path))]


def _aws_environ(site: Site) -> dict[str, str]:
    account = site.account
    return {
        "PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent", "AWS_ACCESS_KEY_ID": account.access,
        "AWS_SECRET_ACCESS_KEY": account.secret, "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL_S3": account.url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip


def _rclone(program: str, verb: str, key: str, path: str) -> list[str]:
    there = f"there:{BUCKET}/{key}"
    return [program, "copyto", "--ignore-times", *((path, there) if verb == "put" else (there, path))]


def _rclone_environ(site: Site) -> dict[str, str]:
    account, name = site.account, "RCLONE_CONFIG_THERE_"
    return {
        "PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent", "RCLONE_CONFIG": "/nonexistent/rclone",
        f"{name}TYPE": "s3", f"{name}PROVIDER": "Other", f"{name}ACCESS_KEY_ID": account.access,
        f"{name}SECRET_ACCESS_KEY": account.secret, f"{name}REGION": REGION, f"{name}ENDPOINT": account.url,
        f"{name}NO_CHECK_BUCKET": "true",
    }  # fmt: skip
