"""The header of a SIF, the file of Singularity and Apptainer: read from its bytes, and told again as an OCI config.

Source: specs of the registry, section 2.6; siftool 2.8.3, `pkg/sif` (`load.go`, `sif.go`, `descriptor.go`).
"""

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from entrepot import strict_json

Read = Callable[[int, int], bytes]
"""Offset and length in bytes to the bytes there, fewer only where the file ends; as `os.pread` of an open file."""

MAX_DESCRIPTORS: Final = 1024
"""Of more, the first are read."""
MAX_TEXT: Final = 2**20
"""Bytes of a definition file or of labels; a longer text is left out."""
CONFIG_TYPE: Final = "application/vnd.sylabs.sif.config.v1+json"
"""The media type of the config of an OCI artifact that is a SIF."""
MAGIC: Final = b"SIF_MAGIC\0"
MAGIC_OFFSET: Final = 32
UNKNOWN: Final = "unknown"
"""The word for every number that has none here."""

_VERSION: Final = b"01\0"
_LAST_SECOND: Final = 253_402_300_799  # of the year 9999, the last one RFC 3339 can write
_FINGERPRINT_BYTES: Final = 20
_METADATA_NAME: Final = "inspect-metadata.json"
_HEADER: Final = struct.Struct("<32x10s3s3s16xq16xqqq16x")
_DESCRIPTOR: Final = struct.Struct("<i?I8xqq40x128s384s")
_PARTITION: Final = struct.Struct("<ii3s")

_ARCHITECTURES: Final = {
    b"%02d\0" % number: word
    for number, word in enumerate(
        "386 amd64 arm arm64 ppc64 ppc64le mips mipsle mips64 mips64le s390x riscv64 loong64".split(), 1
    )
}
_KINDS: Final = dict(
    enumerate(
        (
            "definition environment labels partition signature json generic crypto-message sbom oci-root-index oci-blob"
        ).split(),
        0x4001,
    )
)
_FILE_SYSTEMS: Final = dict(enumerate("squashfs ext3 archive raw encrypted gocryptfs".split(), 1))
_PARTITION_KINDS: Final = dict(enumerate("system primary data overlay".split(), 1))


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One data object of a SIF; `name` is empty if it has none, `size` is in bytes."""

    kind: str
    id: int
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Partition:
    """A file system in a SIF. `kind` is system, primary, data or overlay; `size` is in bytes."""

    file_system: str
    kind: str
    architecture: str
    size: int


@dataclass(frozen=True, slots=True)
class Sif:
    """What a SIF says of itself; nothing of it is proven.

    `architecture` is a GOARCH word. `created_at` is seconds since the epoch, 0 if the file gives no time.
    `definition` is the text the image was built from. `fingerprints` are those of the keys that signed, upper-case hex,
    each once; a signature may have none, so `signed` can hold without any.
    """

    architecture: str
    created_at: int
    partitions: tuple[Partition, ...]
    labels: dict[str, str]
    definition: str | None
    fingerprints: tuple[str, ...]
    signed: bool
    encrypted: bool
    descriptors: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class _Header:
    """The fields of the global header that are used here."""

    architecture: str
    created_at: int
    descriptors: int
    table_offset: int


@dataclass(frozen=True, slots=True)
class _Object:
    """A used descriptor, its range checked, with the bytes that its kind gives a meaning."""

    about: Descriptor
    offset: int
    extra: bytes


def parse(read: Read, size: int) -> Sif | None:
    """What the SIF of `size` bytes says of itself; None if it is none, or if a range in it lies outside the file.

    No bytes make it fail; it reads at most 3.6 MiB: the header, 1024 descriptors, three texts of 1 MiB.
    """
    header = _header(read, size)
    objects = _objects(read, size, header) if header else None
    if header is None or objects is None:
        return None
    partitions = tuple(_partition(found) for found in objects if found.about.kind == "partition")
    signatures = [found for found in objects if found.about.kind == "signature"]
    primary = next((partition for partition in partitions if partition.kind == "primary"), None)
    return Sif(
        architecture=header.architecture,
        created_at=header.created_at,
        partitions=partitions,
        labels=_labels(read, objects),
        definition=_definition(read, objects),
        fingerprints=_fingerprints(signatures),
        signed=bool(signatures),
        encrypted=primary is not None and primary.file_system in ("encrypted", "gocryptfs"),
        descriptors=tuple(found.about for found in objects),
    )


def as_json(sif: Sif) -> dict[str, Any]:
    """`sif` as an object that any JSON writer takes; `from_json` reads it again."""
    built: dict[str, Any] = msgspec.to_builtins(sif)
    return built


def from_json(value: Any) -> Sif:
    """The SIF that `as_json` gave, also after its way through JSON text. Raises: msgspec.ValidationError."""
    return msgspec.convert(value, Sif)


def config_of(digest_hex: str, sif: Sif) -> bytes:
    """The OCI config for the SIF with that SHA-256: compact, keys in a fixed order, so equal files give equal bytes.

    Source: specs of the registry, section 2.6; library clients need it, oras:// ignores it.
    """
    config = {
        "architecture": sif.architecture,
        "os": "linux",
        "rootfs": f"sha256:{digest_hex}",
        "signed": sif.signed,
        "encrypted": sif.encrypted,
    }
    return json.dumps(config, separators=(",", ":")).encode()


def _header(read: Read, size: int) -> _Header | None:
    """The global header, if it is one and its table lies in the file."""
    data = read(0, _HEADER.size)
    if len(data) != _HEADER.size:
        return None
    magic, version, architecture, created_at, descriptors, offset, length = _HEADER.unpack(data)
    if magic != MAGIC or version != _VERSION:
        return None
    # siftool does not open it either if the table is said to be shorter than its descriptors.
    if descriptors * _DESCRIPTOR.size > length or not _lies_within(size, offset, descriptors * _DESCRIPTOR.size):
        return None
    return _Header(
        architecture=_ARCHITECTURES.get(architecture, UNKNOWN),
        created_at=created_at if 0 <= created_at <= _LAST_SECOND else 0,
        descriptors=min(descriptors, MAX_DESCRIPTORS),
        table_offset=offset,
    )


def _objects(read: Read, size: int, header: _Header) -> list[_Object] | None:
    """The data objects, in the order of the table; None if one lies outside the file."""
    table_length = header.descriptors * _DESCRIPTOR.size
    table = read(header.table_offset, table_length)
    if len(table) != table_length:
        return None
    objects = []
    for kind, used, number, offset, length, name, extra in _DESCRIPTOR.iter_unpack(table):
        if not used:
            continue
        if not _lies_within(size, offset, length):
            return None
        text = name.rstrip(b"\0").decode(errors="replace")
        objects.append(_Object(Descriptor(_KINDS.get(kind, UNKNOWN), number, text, length), offset, extra))
    return objects


def _lies_within(size: int, offset: int, length: int) -> bool:
    return 0 <= offset <= size and 0 <= length <= size - offset


def _partition(found: _Object) -> Partition:
    file_system, kind, architecture = _PARTITION.unpack_from(found.extra)
    return Partition(
        file_system=_FILE_SYSTEMS.get(file_system, UNKNOWN),
        kind=_PARTITION_KINDS.get(kind, UNKNOWN),
        architecture=_ARCHITECTURES.get(architecture, UNKNOWN),
        size=found.about.size,
    )


def _fingerprints(signatures: Sequence[_Object]) -> tuple[str, ...]:
    """Those of the keys, each once; zeros stand for none, as with keys that are not of OpenPGP."""
    found = [signature.extra[4 : 4 + _FINGERPRINT_BYTES] for signature in signatures]
    return tuple(dict.fromkeys(fingerprint.hex().upper() for fingerprint in found if any(fingerprint)))


def _definition(read: Read, objects: Sequence[_Object]) -> str | None:
    data = _text(read, _first(objects, "definition"))
    return None if data is None else data.decode(errors="replace")


def _labels(read: Read, objects: Sequence[_Object]) -> dict[str, str]:
    """The labels in both places where there may be some; Apptainer's own win."""
    plain = _json(read, _first(objects, "labels"))
    metadata = _json(read, _first(objects, "json", _METADATA_NAME))
    return _strings(plain) | _strings(_inner(metadata, "data", "attributes", "labels"))


def _first(objects: Sequence[_Object], kind: str, name: str | None = None) -> _Object | None:
    """The first of that kind, and name if one is given: the one Apptainer takes."""
    fitting = (found for found in objects if found.about.kind == kind and name in (None, found.about.name))
    return next(fitting, None)


def _text(read: Read, found: _Object | None) -> bytes | None:
    """The bytes of an object that holds a text; None without one, or if it is too long."""
    if found is None or found.about.size > MAX_TEXT:
        return None
    data = read(found.offset, found.about.size)
    return data if len(data) == found.about.size else None


def _json(read: Read, found: _Object | None) -> object:
    """The value in an object that holds JSON; None if there is none, or none that can be read."""
    try:
        value: object = strict_json.read(_text(read, found) or b"null")
    except ValueError:
        return None
    return value


def _inner(value: object, *keys: str) -> object:
    """What lies under those keys, one below the other; None where the way ends."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _strings(value: object) -> dict[str, str]:
    """The strings by name in a JSON object; what else it holds is left out."""
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}
