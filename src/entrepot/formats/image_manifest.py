"""Image manifests and indexes: bytes in, what they name out. Pure; the bytes themselves are kept as they came.

Source: OCI image-spec 1.1 manifest.md, image-index.md, descriptor.md; Docker image manifest V2, schema 2.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from entrepot import strict_json
from entrepot.errors import BadManifest, WrongSize
from entrepot.model import NamedDigest

MAX_BYTES: Final = 4 << 20
MAX_DESCRIPTORS: Final = 10_000
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
TITLE: Final = "org.opencontainers.image.title"
SOURCE: Final = "org.opencontainers.image.source"
REVISION: Final = "org.opencontainers.image.revision"
CREATED: Final = "org.opencontainers.image.created"
EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
_ELSEWHERE: Final = (
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
"""Layers of these types may lie with somebody else; what follows names a compression."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest names. `size` 0 of an index's child may mean that its maker did not know."""

    media_type: str
    digest: NamedDigest
    size: int
    annotations: Mapping[str, str]
    elsewhere: bool = False
    """It need not be here: its type says so, or it has `urls`."""
    platform: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ImageManifest:
    """An image manifest, or an index if it has no config."""

    media_type: str
    artifact_type: str | None
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Descriptor | None
    annotations: Mapping[str, str]

    @property
    def is_index(self) -> bool:
        """Whether it names manifests, not layers."""
        return self.media_type in INDEXES

    @property
    def shown_type(self) -> str | None:
        """The artifact type referrers are listed with: its own, else the one of its config."""
        return self.artifact_type or (self.config.media_type if self.config else None)


def parse(data: bytes, content_type: str) -> ImageManifest:
    """What those bytes are, sent with that Content-Type. Raises: BadManifest; WrongSize; BadDigest."""
    try:
        body = strict_json.read_object(data)
    except ValueError as error:
        raise BadManifest("the manifest is not a JSON object", why=str(error)) from error
    kind = _kind_of(body, content_type.partition(";")[0].strip().lower())
    if body.get("schemaVersion") != 2:
        raise BadManifest("not a manifest of schema version 2")
    index = kind in INDEXES
    named = _list(body, "manifests" if index else "layers")
    if len(named) > MAX_DESCRIPTORS:
        raise BadManifest(f"a manifest names {MAX_DESCRIPTORS} things at most")
    descriptors = tuple(_descriptor(one, of_index=index) for one in named)
    subject = body.get("subject")
    return ImageManifest(
        kind,
        _text(body, "artifactType") or None,
        None if index else _descriptor(body.get("config")),
        () if index else descriptors,
        descriptors if index else (),
        None if subject is None else _descriptor(subject),
        _annotations(body),
    )


def _kind_of(body: Mapping[str, Any], sent: str) -> str:
    """The media type: as sent, as the body has it, else by its shape."""
    own = _text(body, "mediaType")
    if body.get("layers") is not None and body.get("manifests") is not None:
        raise BadManifest("a manifest has layers or manifests, not both")
    if sent in ("", "application/json"):
        sent = own or (OCI_INDEX if "manifests" in body else OCI_MANIFEST)
    if own and own != sent:
        raise BadManifest(f"the Content-Type says {sent}, the manifest {own}")
    if sent not in MANIFESTS | INDEXES:
        raise BadManifest(f"not a type of manifest that is kept here: {sent[:200]}", advice=f"push as {OCI_MANIFEST}")
    if body.get("layers" if sent in INDEXES else "manifests") is not None:
        raise BadManifest(f"what is in the manifest does not fit its type {sent}")
    return sent


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    found = body.get(name)
    if found is not None and not isinstance(found, list):
        raise BadManifest(f"{name} is not a list")
    return found or []  # Go writes an empty list as null


def _text(body: Mapping[str, Any], name: str) -> str:
    found = body.get(name)
    if found is not None and (not isinstance(found, str) or "\0" in found):
        raise BadManifest(f"{name} is not a string, or holds a NUL")
    return found or ""


def _annotations(body: Mapping[str, Any]) -> Mapping[str, str]:
    found = body.get("annotations") or {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise BadManifest("annotations are strings by name")
    if any("\0" in text for pair in found.items() for text in pair):
        raise BadManifest("an annotation holds a NUL")
    return found


def _descriptor(body: object, *, of_index: bool = False) -> Descriptor:
    if not isinstance(body, dict):
        raise BadManifest("a descriptor is missing, or no object")
    media_type, digest = _text(body, "mediaType"), NamedDigest.parse(_text(body, "digest"))
    size = body.get("size", 0 if of_index else None)
    if type(size) is not int or not 0 <= size < 2**63:
        raise BadManifest(f"the descriptor of {digest} has no size")
    urls, platform = body.get("urls") or [], body.get("platform")
    if not isinstance(urls, list) or (platform is not None and not isinstance(platform, dict)):
        raise BadManifest(f"the descriptor of {digest} has urls that are no list, or a platform that is no object")
    if body.get("data") is not None:
        _check_data(_text(body, "data"), digest, size)
    return Descriptor(
        media_type, digest, size, _annotations(body), bool(urls) or media_type.startswith(_ELSEWHERE), platform
    )


def _check_data(text: str, digest: NamedDigest, size: int) -> None:
    """Raises: BadManifest, WrongSize if bytes in the manifest are not those it describes."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadManifest(f"the data of {digest} is not base64") from error
    if len(data) != size:
        raise WrongSize(f"the data of {digest} has {len(data)} bytes, not {size}")
    if hashlib.new(digest.algorithm.value, data).hexdigest() != digest.hex:
        raise BadManifest(f"the data of {digest} has another digest")
