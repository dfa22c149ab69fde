"""The servers that are measured: ours, and its peers, on free loopback ports in temporary folders."""

import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.processes import Program, cpu_seconds, program_path, stop, tree

START: Final = "import sys; from entrepot.cli import main; sys.exit(main())"
USER: Final = "bench"


class Missing(Exception):
    """A peer that is not installed."""


@dataclass(slots=True)
class Running:
    """A server process that answers at `port`."""

    process: subprocess.Popen[str]
    port: int
    _pids: list[int] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def cpu(self) -> float:
        """CPU seconds it and its children used so far."""
        if not self._pids:
            self._pids = tree(self.pid)
        return cpu_seconds(self._pids)


@dataclass(slots=True)
class Entrepot(Running):
    """Our server, with an account that may write into buckets of project `default`."""

    url: str = ""
    admin: str = ""
    tls: ssl.SSLContext | None = None
    token: str = ""

    def call(self, method: str, path: str, body: object = None, *, token: str = "") -> Any:
        """The JSON answer to a request with JSON. Raises: HTTPError."""
        headers = {"Authorization": f"Bearer {token or self.token or self.admin}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60, context=self.tls) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def add_user(self) -> None:
        """The account, made if it is missing, and its token."""
        users = self.call("GET", "/api/v1/users", token=self.admin)
        if USER not in json.dumps(users):
            self.call("POST", "/api/v1/users", {"name": USER, "password": f"password of {USER}"})
        self.call("PUT", "/api/v1/roles", {"principal": USER, "project": "default", "role": "owner"}, token=self.admin)
        self.token = self.call("POST", "/api/v1/tokens", {"user": USER, "expires": "6h"}, token=self.admin)["token"]

    def place(self, name: str) -> str:
        """The signed URL the PROMINENCE API gives for an upload."""
        url: str = self.call("POST", "/data/upload", {"filename": name})["url"]
        return url

    def form(self, name: str, sha256: str) -> tuple[str, dict[str, str]]:
        """The URL and the fields of a form for bytes of that digest."""
        answer = self.call("POST", "/data/upload", {"filename": name, "checksum": sha256})
        return answer["url"], answer["fields"]

    def link(self, name: str) -> str:
        """The signed URL to read it by."""
        url: str = self.call("POST", "/data/download", {"name": name})["url"]
        return url


@contextmanager
def entrepot(data: Path, *, tls: bool = False, environ: Mapping[str, str] | None = None) -> Iterator[Entrepot]:
    """Our server over that data folder; its log lies beside it."""
    command = [sys.executable, "-c", START, "serve", "--data", str(data), "--listen", "127.0.0.1:0"]
    known = {**os.environ, "ENTREPOT_RESERVE_BYTES": str(64 << 20), **(environ or {})}
    with data.with_suffix(".log").open("a") as log:
        process = subprocess.Popen(
            [*command, *(["--tls", "self"] if tls else [])], stdout=subprocess.PIPE, stderr=log, text=True, env=known
        )
    try:
        assert process.stdout
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the server did not start: {data.with_suffix('.log').read_text()[-2000:]}")
        context = ssl.create_default_context(cafile=data / "tls" / "cert.pem") if tls else None
        admin = (data / "admin-token").read_text().strip()
        server = Entrepot(process, urlsplit(url).port or 0, url=url, admin=admin, tls=context)
        server.add_user()
        yield server
    finally:
        stop(process)


@contextmanager
def least(native: Path, file: Path, *, fresh: bool = False) -> Iterator[Running]:
    """L: recv, SHA-256, write, in C. It overwrites `file`, or with `fresh` makes it anew for every body."""
    process = Program.compile("reference", native).start("receive-fresh" if fresh else "receive", str(file))
    try:
        assert process.stdout
        yield Running(process, int(process.stdout.readline()))
    finally:
        stop(process)


REGISTRY: Final = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}, maintenance: {{uploadpurging: {{enabled: false}}}}}}
http: {{addr: "127.0.0.1:{port}", relativeurls: true}}
"""


@contextmanager
def docker_registry(folder: Path) -> Iterator[Running]:
    """Debian's docker-registry, without accounts. Raises: Missing."""
    program, port = _needed("docker-registry", "docker-registry"), free_port()
    folder.mkdir()
    config = folder / "config.yml"
    config.write_text(REGISTRY.format(folder=folder / "registry", port=port))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log, text=True)
    try:
        _await(port)
        yield Running(process, port)
    finally:
        stop(process)


NGINX: Final = """
daemon off; master_process on; worker_processes 1; {user} pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; default_type application/octet-stream;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
  server {{ listen 127.0.0.1:{secure} ssl; root {root}; ssl_certificate {cert}; ssl_certificate_key {key}; }}
}}
"""


@contextmanager
def nginx(folder: Path, root: Path, cert: Path, key: Path) -> Iterator[tuple[Running, int]]:
    """Debian's nginx over the files in `root`; the second port speaks TLS. Raises: Missing."""
    program, port, secure = _needed("nginx", "nginx-light"), free_port(), free_port()
    folder.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(user=user, folder=folder, root=root, port=port, secure=secure, cert=cert, key=key))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=log, text=True)
    try:
        _await(port)
        yield Running(process, port), secure
    finally:
        stop(process)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _needed(program: str, package: str) -> str:
    path = program_path(program)
    if path is None:
        raise Missing(f"{program} is not installed (Debian: {package})")
    return path


def _await(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"nothing answers on port {port}")
