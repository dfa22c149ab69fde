"""Container images and artifacts made by hand, and pushed by bare requests."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Final

import requests

IMAGE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER: Final = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
SIF_CONFIG: Final = "application/vnd.sylabs.sif.config.v1+json"
SIF_LAYER: Final = "application/vnd.sylabs.sif.layer.v1.sif"
TITLE: Final = "org.opencontainers.image.title"


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@dataclass(frozen=True)
class Image:
    """A manifest, the blobs it names, and the manifests below it."""

    data: bytes
    media_type: str
    blobs: tuple[bytes, ...] = ()
    children: tuple["Image", ...] = ()

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}


def _descriptor(kind: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest_of(data), "size": len(data), **more}


def _tar_of(word: str) -> bytes:
    """A layer that unpacks: an empty tar, and then a word nobody reads."""
    return bytes(1024) + word.encode().ljust(9216, b"\0")


def container(word: str, *, architecture: str = "amd64", media_type: str = IMAGE, more: bytes = b"") -> Image:
    """An image of one or two layers; another word is another image."""
    layers = [_tar_of(word), *([more] if more else [])]
    ids = [digest_of(layer) for layer in layers]
    config = json.dumps(
        {"architecture": architecture, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": ids}}
    ).encode()
    kinds = (CONFIG, LAYER)
    if media_type == DOCKER:
        kinds = ("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar")
    manifest = {
        "schemaVersion": 2, "mediaType": media_type, "config": _descriptor(kinds[0], config),
        "layers": [_descriptor(kinds[1], layer) for layer in layers],
    }  # fmt: skip
    return Image(json.dumps(manifest).encode(), media_type, (config, *layers))


def index(*children: Image) -> Image:
    """An index of images, each for the platform of its place."""
    platforms = ("amd64", "arm64", "s390x")
    shown = [
        {**child.descriptor, "platform": {"os": "linux", "architecture": platform}}
        for child, platform in zip(children, platforms, strict=False)
    ]
    manifest = {"schemaVersion": 2, "mediaType": INDEX, "manifests": shown}
    return Image(json.dumps(manifest).encode(), INDEX, (), children)


def sif_artifact(data: bytes, title: str = "app.sif") -> Image:
    """A SIF as apptainer pushes it."""
    manifest = {
        "schemaVersion": 2, "mediaType": IMAGE, "config": _descriptor(SIF_CONFIG, b"{}"),
        "layers": [_descriptor(SIF_LAYER, data, annotations={TITLE: title})],
    }  # fmt: skip
    return Image(json.dumps(manifest).encode(), IMAGE, (b"{}", data))


def signature_of(subject: Image, text: bytes = b"signed") -> Image:
    """An artifact that refers to another image."""
    manifest = {
        "schemaVersion": 2, "mediaType": IMAGE, "artifactType": "application/vnd.example.signature",
        "config": _descriptor("application/vnd.oci.empty.v1+json", b"{}"), "layers": [_descriptor("text/plain", text)],
        "subject": subject.descriptor,
    }  # fmt: skip
    return Image(json.dumps(manifest).encode(), IMAGE, (b"{}", text))


@dataclass(frozen=True)
class Registry:
    """A registry as bare requests see it."""

    url: str
    token: str = ""
    session: requests.Session = field(default_factory=requests.Session)

    def ask(self, method: str, path: str, *, status: int = 200, **rest: Any) -> requests.Response:
        """The answer, which must have that status."""
        headers = {**({"Authorization": f"Bearer {self.token}"} if self.token else {}), **rest.pop("headers", {})}
        answer = self.session.request(method, f"{self.url}{path}", headers=headers, timeout=30, **rest)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text[:2000])
        return answer

    def push(self, name: str, image: Image, *tags: str) -> str:
        """The digest of an image that is there now, with all below it."""
        for child in image.children:
            self.push(name, child)
        for blob in image.blobs:
            self.ask("POST", f"/v2/{name}/blobs/uploads/?digest={digest_of(blob)}", data=blob, status=201)
        for reference in tags or (image.digest,):
            self.ask(
                "PUT", f"/v2/{name}/manifests/{reference}", data=image.data, status=201,
                headers={"Content-Type": image.media_type},
            )  # fmt: skip
        return image.digest

    def tags(self, name: str) -> list[str]:
        """All tags."""
        found: list[str] = self.ask("GET", f"/v2/{name}/tags/list").json()["tags"]
        return found

    def digest(self, name: str, reference: str) -> str:
        """What a tag means."""
        return self.ask("HEAD", f"/v2/{name}/manifests/{reference}").headers["Docker-Content-Digest"]

    def open_to_all(self, name: str) -> None:
        """Make a repository public."""
        self.ask("PUT", f"/api/v1/repositories/{name}", json={"public": True})
