"""SIF files for tests, byte for byte as siftool 2.8.3 writes them, but for the id and the times, which are fixed."""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from entrepot.formats.sif import Read

CREATED_AT: Final = 1_700_000_000
UUID: Final = bytes(range(16))
SQUASHFS: Final = b"hsqs" + bytes(4092)
"""By its magic a squashfs, and no more: nothing can mount it."""
SLOTS: Final = 48
"""Descriptors that siftool leaves room for."""
TABLE_OFFSET: Final = 4096
HEADER: Final = struct.Struct("<32s10s3s3s16sqqqqqqqq")
HEADER_FIELDS: Final = (
    "script magic version architecture uuid created modified free total offset length data_offset data_length"
).split()
DESCRIPTOR: Final = struct.Struct("<i?IIIqqqqqqq128s384s")
DESCRIPTOR_FIELDS: Final = "kind used number group link offset size stored created modified uid gid name extra".split()
DEFINITION, ENVIRONMENT, LABELS, PARTITION, SIGNATURE, JSON, GENERIC, MESSAGE, SBOM, ROOT_INDEX, BLOB = range(
    0x4001, 0x400C
)


@dataclass(frozen=True, slots=True)
class Thing:
    """One data object: its number in the format, its bytes, and what its kind says of it."""

    kind: int
    data: bytes = b""
    name: str = ""
    extra: bytes = b""


def partition(architecture: str = "02", *, file_system: int = 1, kind: int = 2, data: bytes = SQUASHFS) -> Thing:
    """A partition; by default the primary one, a squashfs for amd64."""
    return Thing(PARTITION, data, extra=struct.pack("<ii3s", file_system, kind, architecture.encode()))


def signature(fingerprint: str, *, hash: int = 1, data: bytes = b"signed") -> Thing:
    """A signature by the key of that fingerprint, in hex; nothing verifies it."""
    return Thing(SIGNATURE, data, extra=struct.pack("<i", hash) + bytes.fromhex(fingerprint))


def fingerprint(number: int) -> str:
    """The one of the key that made signature `number`, from 0, in `sif`; upper-case hex."""
    return hashlib.sha1(b"key %d" % number).hexdigest().upper()


def metadata(labels: Mapping[str, object]) -> Thing:
    """Labels where Apptainer keeps them."""
    document = {"data": {"attributes": {"labels": labels}}, "type": "container"}
    return Thing(JSON, json.dumps(document).encode(), "inspect-metadata.json")


def sif(
    *,
    architecture: str = "02",
    definition: str | None = None,
    labels: Mapping[str, object] | None = None,
    payload: bytes = SQUASHFS,
    signatures: int = 0,
    encrypted: bool = False,
    created_at: int = CREATED_AT,
) -> bytes:
    """A SIF as Apptainer makes one: definition file, labels, the primary partition with `payload`, signatures.

    Equal arguments give equal bytes, 36 KiB and a little. `architecture` is the number in the format: 02 is amd64.
    """
    things = [] if definition is None else [Thing(DEFINITION, definition.encode())]
    things += [] if labels is None else [metadata(labels)]
    things.append(partition(architecture, file_system=5 if encrypted else 1, data=payload))
    things += [signature(fingerprint(number)) for number in range(signatures)]
    return sif_of(things, architecture=architecture, created_at=created_at)


def sif_of(
    things: Iterable[Thing], *, architecture: str = "00", created_at: int = CREATED_AT, slots: int = SLOTS
) -> bytes:
    """A SIF of just those data objects, at most `slots`; `architecture` is only that of the header."""
    table, data = bytearray(), bytearray()
    data_offset = TABLE_OFFSET + slots * DESCRIPTOR.size
    for number, thing in enumerate(things, 1):
        unaligned = data_offset + len(data)
        offset = -(-unaligned // 4096) * 4096 if thing.kind == PARTITION else unaligned
        data += bytes(offset - unaligned) + thing.data
        stored = data_offset + len(data) - unaligned
        place = (offset, len(thing.data), stored, created_at, created_at, 0, 0)
        table += DESCRIPTOR.pack(thing.kind, True, number, 0xF0000000, 0, *place, thing.name.encode(), thing.extra)
    used = len(table) // DESCRIPTOR.size
    header = HEADER.pack(
        *(b"", b"SIF_MAGIC", b"01", architecture.encode(), UUID, created_at, created_at),
        *(slots - used, slots, TABLE_OFFSET, slots * DESCRIPTOR.size, data_offset, len(data)),
    )
    return header.ljust(TABLE_OFFSET, b"\0") + table.ljust(slots * DESCRIPTOR.size, b"\0") + data


def with_header(data: bytes, **fields: bytes | int) -> bytes:
    """That SIF with other values in its header, by the names in `HEADER_FIELDS`."""
    return _with(data, 0, HEADER, HEADER_FIELDS, fields)


def with_descriptor(data: bytes, row: int, **fields: bytes | int) -> bytes:
    """That SIF with other values in row `row` of its table, from 0, by the names in `DESCRIPTOR_FIELDS`."""
    return _with(data, TABLE_OFFSET + row * DESCRIPTOR.size, DESCRIPTOR, DESCRIPTOR_FIELDS, fields)


def _with(data: bytes, start: int, shape: struct.Struct, names: Sequence[str], fields: dict[str, bytes | int]) -> bytes:
    values = dict(zip(names, shape.unpack_from(data, start), strict=True))
    assert fields.keys() <= values.keys()
    return data[:start] + shape.pack(*(values | fields).values()) + data[start + shape.size :]


def reader(data: bytes) -> Read:
    """As `os.pread` of a file with those bytes, and as strict about what it is asked."""

    def read(offset: int, length: int) -> bytes:
        assert 0 <= offset < 2**63
        assert length >= 0
        return data[offset : offset + length]

    return read
