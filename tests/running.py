"""Real servers and databases on loopback, started and stopped by the tests that need them."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

START = "import sys; from entrepot.cli import main; sys.exit(main())"


@dataclass
class RunningServer:
    """An `entrepot serve` in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    data: Path
    log: Path
    cafile: str | None = None
    admin_token: str = ""
    tokens: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, body: object = None, *, token: str | None = None) -> Any:
        """The JSON answer of `/api/v1`; an HTTP error raises."""
        headers = {"Authorization": f"Bearer {token or self.admin_token}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers, method=method)
        context = None
        if self.cafile:
            import ssl

            context = ssl.create_default_context(cafile=self.cafile)
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def user(self, name: str, *, groups: tuple[str, ...] = (), job: str | None = None, role: str | None = None) -> str:
        """A token of that user, made if missing; with a role in project `default` if one is given."""
        if name not in self.tokens:
            self.call("POST", "/users", {"name": name, "password": f"password of {name}"})
        if role:
            self.call("PUT", "/roles", {"principal": name, "project": "default", "role": role})
        wish = {"user": name, "groups": list(groups), "job": job, "expires": "1h"}
        self.tokens[name] = self.call("POST", "/tokens", wish)["token"]
        return self.tokens[name]

    def bucket(self, name: str, *, public: bool = False) -> str:
        """A bucket of project `default`."""
        self.call("PUT", f"/buckets/{name}", {"public": public})
        return name

    def stop(self, number: int = signal.SIGTERM, timeout: float = 40) -> int:
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout)
        if self.process.stdout:
            self.process.stdout.close()
        return code


def start_server(
    data: Path, *args: str, environ: Mapping[str, str] | None = None, tls: bool = False, listen: str = "127.0.0.1:0"
) -> RunningServer:
    """A server that answers. Its log is `<data>.log`."""
    log = data.with_suffix(".log")
    command = [sys.executable, "-c", START, "serve", "--data", str(data), "--listen", listen, *args]
    if tls:
        command += ["--tls", "self"]
    with log.open("a") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True,
            env={**os.environ, "ENTREPOT_RESERVE_BYTES": str(64 << 20), **(environ or {})},
        )  # fmt: skip
    assert process.stdout
    url = process.stdout.readline().strip()
    if not url:
        process.wait(10)
        process.stdout.close()
        raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")
    token = data / "admin-token"
    return RunningServer(
        process, url, data, log, str(data / "tls" / "cert.pem") if tls else None,
        token.read_text().strip() if token.exists() else "",
    )  # fmt: skip


@contextmanager
def running_server(data: Path, *args: str, **options: Any) -> Iterator[RunningServer]:
    """As `start_server`, stopped behind it."""
    server = start_server(data, *args, **options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
        elif server.process.stdout:
            server.process.stdout.close()


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def running_postgres(folder: Path, bin_folder: Path) -> Iterator[str]:
    """SQLAlchemy URL of a PostgreSQL cluster of our own, on loopback. fsync is off: it only holds test rows."""
    port = free_port()
    data = folder / "pg"
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        folder.chmod(0o755)
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/", **as_user}
    subprocess.run(
        [bin_folder / "initdb", "-D", data, "-U", "test", "-A", "trust", "-E", "UTF8", "--no-sync"], check=True, **quiet
    )
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-c", "fsync=off", "-c", "max_connections=60"]
    process = subprocess.Popen([bin_folder / "postgres", "-D", data, *options], **quiet)
    try:
        for _ in range(200):
            ready = subprocess.run(
                [bin_folder / "pg_isready", "-h", "127.0.0.1", "-p", str(port)], check=False, **quiet
            )
            if ready.returncode == 0:
                break
            time.sleep(0.1)
        yield f"postgresql+psycopg://test@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


@contextmanager
def new_postgres(url: str) -> Iterator[str]:
    """URL of an empty database beside that one."""
    name = f"test_{secrets.token_hex(4)}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        yield url.rpartition("/")[0] + f"/{name}"
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        engine.dispose()
