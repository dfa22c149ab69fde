"""What an OCI image layout and the manifests in it say. Pure. Source: image-spec, image-layout.md."""

from collections.abc import Iterable
from typing import Final

import msgspec

from entrepot.errors import Refused
from entrepot.model import NamedDigest

LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
REF_NAME: Final = "org.opencontainers.image.ref.name"
MAX_MANIFEST_BYTES: Final = 4 * 2**20
_FOREIGN: Final = ("nondistributable", ".foreign.")


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What points to bytes."""

    media_type: str = ""
    digest: str = ""
    size: int = 0
    annotations: dict[str, str] | None = None
    urls: list[str] | None = None

    @property
    def named(self) -> NamedDigest:
        """Its digest. Raises: BadDigest."""
        return NamedDigest.parse(self.digest)

    @property
    def is_elsewhere(self) -> bool:
        """True where a registry need not have the bytes."""
        return bool(self.urls) or any(word in self.media_type for word in _FOREIGN)


class Content(msgspec.Struct, frozen=True, rename="camel"):
    """What a manifest or an index names."""

    media_type: str = ""
    config: Descriptor | None = None
    layers: list[Descriptor] | None = None
    manifests: list[Descriptor] | None = None
    subject: Descriptor | None = None

    @property
    def blobs(self) -> list[Descriptor]:
        """Config and layers."""
        return [*([self.config] if self.config else []), *(self.layers or [])]


def content_of(data: bytes | bytearray, name: str) -> Content:
    """What the manifest `data` names. Raises: Refused."""
    try:
        return msgspec.json.decode(data, type=Content)
    except msgspec.DecodeError as error:
        raise Refused(f"{name} is not an image manifest", why=str(error)) from error


def layout_index(images: Iterable[tuple[str, Descriptor]]) -> bytes:
    """`index.json` of images by name, an empty one for what has none; the same images give the same bytes."""
    named = {(name, one.digest): _entry(name, one) for name, one in images}
    entries = [named[key] for key in sorted(named)]
    head = {"schemaVersion": 2, "mediaType": INDEX_TYPE}
    return msgspec.json.encode({**head, "manifests": entries})


def _entry(name: str, one: Descriptor) -> Descriptor:
    return Descriptor(one.media_type, one.digest, one.size, {REF_NAME: name} if name else None)


def blob_path(digest: NamedDigest) -> str:
    """Where a layout has these bytes."""
    return f"blobs/{digest.algorithm.value}/{digest.hex}"
