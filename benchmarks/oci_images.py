"""Images: small ones in memory, large ones as an OCI layout in a folder. No layer is ever the same twice."""

import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.bodies import WrongAnswer
from benchmarks.rounds import MIB

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
GZIP: Final = b"\x1f\x8b\x08\0"
"""By this skopeo knows what is compressed already. It does not look further."""
TAIL_BYTES: Final = 16
TAG: Final = "latest"
CONFIG_BYTES: Final = 1500
LAYER_BYTES: Final = (40_000, 3_000)


def digest_of(data: bytes) -> str:
    """As a registry writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def config_of(layers: Sequence[str], size: int = 0) -> bytes:
    """A config that names these digests, padded to about that size."""
    rootfs = {"type": "layers", "diff_ids": layers}
    bare = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs})
    label = secrets.token_hex(max(8, (size - len(bare)) // 2))
    return json.dumps({**json.loads(bare), "config": {"Labels": {"bench": label}}}).encode()


def manifest_of(config: bytes, layers: Sequence[tuple[str, int]]) -> bytes:
    """A manifest of that config, and of layers with these digests and sizes."""
    listed = [_described(LAYER, digest, size) for digest, size in layers]
    first = _described(CONFIG, digest_of(config), len(config))
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": first, "layers": listed}).encode()


def _described(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


@dataclass(frozen=True, slots=True)
class Image:
    """A small image, in memory."""

    repository: str
    layers: tuple[bytes, ...]
    config: bytes
    manifest: bytes

    @classmethod
    def make(cls, repository: str) -> "Image":
        """One of new bytes."""
        layers = tuple(GZIP + os.urandom(size - len(GZIP)) for size in LAYER_BYTES)
        named = [(digest_of(layer), len(layer)) for layer in layers]
        config = config_of([digest for digest, _ in named], CONFIG_BYTES)
        return cls(repository, layers, config, manifest_of(config, named))

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """In the order that skopeo sends them in."""
        return (*self.layers, self.config)


@dataclass(slots=True)
class Layer:
    """A large file of random bytes. Its last ones can be renewed, which costs next to nothing, its digest included."""

    path: Path
    size: int
    digest: str
    _before_tail: "hashlib._Hash"

    @classmethod
    def make(cls, folder: Path, size: int) -> "Layer":
        """Written into that folder, where its name is its digest."""
        running, path = hashlib.sha256(), folder / "new"
        with path.open("wb") as file:
            for start in range(0, size - TAIL_BYTES, MIB):
                piece = os.urandom(min(MIB, size - TAIL_BYTES - start))
                piece = piece if start else GZIP + piece[len(GZIP) :]
                running.update(piece)
                file.write(piece)
        made = cls(path, size, "", running)
        made.renew()
        return made

    def renew(self) -> None:
        """Another digest, and the file's name with it."""
        tail, running = os.urandom(TAIL_BYTES), self._before_tail.copy()
        with self.path.open("r+b") as file:
            os.pwrite(file.fileno(), tail, self.size - TAIL_BYTES)
        running.update(tail)
        self.digest = f"sha256:{running.hexdigest()}"
        self.path = self.path.rename(self.path.with_name(running.hexdigest()))


@dataclass(slots=True)
class Layout:
    """An image of large layers as an OCI layout."""

    path: Path
    layers: list[Layer]
    small: tuple[bytes, ...] = ()
    """Config and manifest."""

    @classmethod
    def make(cls, path: Path, size: int, count: int) -> "Layout":
        """So many layers of that size together."""
        blobs = path / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return cls(path, [Layer.make(blobs, size // count) for _ in range(count)])

    def renew(self) -> None:
        """Every digest in it is another afterwards."""
        blobs = self.path / "blobs" / "sha256"
        for data in self.small:
            (blobs / digest_of(data)[7:]).unlink()
        for layer in self.layers:
            layer.renew()
        config = config_of([layer.digest for layer in self.layers])
        manifest = manifest_of(config, [(layer.digest, layer.size) for layer in self.layers])
        self.small = (config, manifest)
        for data in self.small:
            (blobs / digest_of(data)[7:]).write_bytes(data)
        described = _described(MANIFEST, digest_of(manifest), len(manifest))
        described["annotations"] = {"org.opencontainers.image.ref.name": TAG}
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))

    def check(self, other: Path) -> None:
        """Raises: WrongAnswer unless that layout has the same blobs, each hashed anew, and no other."""
        digests = {layer.digest for layer in self.layers} | {digest_of(data) for data in self.small}
        found = set()
        for path in (other / "blobs" / "sha256").iterdir():
            with path.open("rb") as file:
                found.add(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")
        if found != digests:
            raise WrongAnswer(f"{len(digests - found)} blobs of {self.path} did not come back")
