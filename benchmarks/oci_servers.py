"""Registries that are measured, ours and docker-registry; and requests to them as skopeo 1.9.3 writes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.servers import Running, docker_registry, entrepot

REGISTRY: Final = "docker-registry"


@dataclass(frozen=True, slots=True)
class Site:
    """A running registry. Ours wants a token, the other knows no accounts."""

    name: str
    running: Running
    token: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """As clients name it in front of a repository."""
        return f"127.0.0.1:{self.running.port}"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.address}"

    @property
    def mark(self) -> str:
        """What joins a query to the address of one of its uploads; docker-registry's has one already."""
        return "&" if self.name == REGISTRY else "?"

    def head(self, method: str, target: str, **headers: str) -> bytes:
        """A request's head. Source: what skopeo sent to a proxy that wrote it down."""
        known = {"Host": self.address, "User-Agent": "skopeo/1.9.3"}
        if method in ("POST", "PUT"):
            known["Content-Length"] = "0"
        known |= {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            known["Authorization"] = f"Bearer {self.token}"
        known["Docker-Distribution-Api-Version"] = "registry/2.0"
        if method != "HEAD":
            known["Accept-Encoding"] = "gzip"
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in known.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


@contextmanager
def ours(data: Path) -> Iterator[Site]:
    """Our server over that data folder."""
    with entrepot(data) as server:
        yield Site("entrepot", server, server.token)


@contextmanager
def registry(folder: Path) -> Iterator[Site]:
    """Debian's docker-registry. Raises: Missing."""
    with docker_registry(folder) as server:
        yield Site(REGISTRY, server)
