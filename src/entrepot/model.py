"""The words every layer shares: frozen values, no behaviour beyond reading and checking themselves.

Sizes and offsets are bytes. An `Instant` is seconds since the epoch, UTC, as `time.time()` gives it.
"""

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from entrepot.errors import BadDigest, BadName, NoSuchRange

Instant = float
Clock = Callable[[], Instant]


def utc_text(at: Instant) -> str:
    """The second, as RFC 3339 writes it; the first or the last it can, if that is beyond them."""
    try:
        return datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError):
        return "0001-01-01T00:00:00Z" if at < 0 else "9999-12-31T23:59:59Z"


Piece = bytes | bytearray | memoryview
Body = AsyncIterator[Sequence[Piece]]
"""A body as batches of pieces: a batch is worked on in one hop to a thread, pieces are never joined."""

MAX_QUOTA: Final = 2**63 - 1
"""The quota of a project that has none."""


class Algorithm(Enum):
    """A checksum we can compute; the value is its name in digests, tables and JSON."""

    __hash__ = object.__hash__  # each is there once; the one of `Enum` is written in Python
    SHA256 = "sha256"
    MD5 = "md5"
    SHA1 = "sha1"
    SHA512 = "sha512"
    CRC32 = "crc32"
    CRC32C = "crc32c"
    CRC64NVME = "crc64nvme"

    @property
    def hex_length(self) -> int:
        """Number of hex digits of one checksum."""
        return _HEX_LENGTH[self]


_HEX_LENGTH: Final = {
    Algorithm.SHA256: 64, Algorithm.MD5: 32, Algorithm.SHA1: 40, Algorithm.SHA512: 128,
    Algorithm.CRC32: 8, Algorithm.CRC32C: 8, Algorithm.CRC64NVME: 16,
}  # fmt: skip
_HEX64: Final = re.compile(r"[0-9a-f]{64}\Z")
_VERSION: Final = re.compile(r"[0-7][0-9a-f]{15}\Z")
_FINGERPRINT: Final = re.compile(r"[0-9a-f]+\Z")
_NAMES_BYTES: Final = frozenset({"sha256", "sha512"})


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The identity of bytes: their SHA-256, always computed by us. Written `sha256:<64 hex>`."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX64.match(self.hex):
            raise BadName("not a sha256 digest", why="it has 64 hex digits")

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """The digest `text` names: 64 hex digits in any case, `sha256:` in front allowed. Raises: BadName."""
        return cls(text.removeprefix("sha256:").lower())


@dataclass(frozen=True, slots=True)
class NamedDigest:
    """A digest as a registry's client writes it, `sha256:<64 hex>` or `sha512:<128 hex>`. Bytes have one `Digest`."""

    algorithm: Algorithm
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm.value}:{self.hex}"

    @classmethod
    def parse(cls, text: str) -> "NamedDigest":
        """The digest `text` is, in lower case. Raises: BadDigest."""
        name, _, digits = text.partition(":")
        if name not in _NAMES_BYTES or len(digits) != Algorithm(name).hex_length or not _FINGERPRINT.match(digits):
            raise BadDigest(f"not a digest: {text[:200]!r}", why="it is sha256: and 64, or sha512: and 128 hex digits")
        return cls(Algorithm(name), digits)

    @classmethod
    def of(cls, digest: Digest) -> "NamedDigest":
        """The same by its sha256."""
        return cls(Algorithm.SHA256, digest.hex)


EMPTY_DIGEST: Final = Digest("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` up to and without `stop`; `stop` None means to the end."""

    start: int = 0
    stop: int | None = None

    def within(self, size: int) -> "Span":
        """The same span with an end, cut to a body of `size` bytes. Raises: NoSuchRange if nothing of it is there."""
        stop = size if self.stop is None else min(self.stop, size)
        if self.start < 0 or (self.start >= stop and not self.start == stop == size):
            raise NoSuchRange(size)
        return Span(self.start, stop)

    @property
    def length(self) -> int:
        """Bytes in a span that has an end."""
        assert self.stop is not None
        return self.stop - self.start


WHOLE: Final = Span()


@dataclass(frozen=True, slots=True)
class Claims:
    """What a client says of bytes it sends: size, checksums in lower-case hex. Compared before anything is named."""

    size: int | None = None
    checksums: Mapping[Algorithm, str] = field(default_factory=dict)

    @classmethod
    def of(cls, size: int | None = None, **checksums: str | None) -> "Claims":
        """Claims by algorithm name; None or empty is no claim. Raises: BadName for what is not a checksum."""
        return cls(size, {Algorithm(name): checksum(name, text) for name, text in checksums.items() if text})

    def hold(self, size: int, known: Mapping[Algorithm, str], want: frozenset[Algorithm]) -> bool:
        """Whether all of this is known to be true of stored bytes, and every checksum in `want` is known too."""
        same = all(known.get(algorithm) == value for algorithm, value in self.checksums.items())
        return size == self.size and same and want <= known.keys()


def checksum(algorithm: str, text: str) -> str:
    """`text` as lower-case hex of that algorithm. Raises: BadName."""
    lower = text.removeprefix(f"{algorithm}:").lower()
    if len(lower) != Algorithm(algorithm).hex_length or not _FINGERPRINT.match(lower):
        raise BadName(f"not a {algorithm} checksum", why=f"it has {Algorithm(algorithm).hex_length} hex digits")
    return lower


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file looked like when its bytes were verified; any write, rename or copy changes it."""

    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Blob:
    """Immutable bytes kept once. `key` is where the driver holds them; None: they are `inline`, in the catalog."""

    digest: Digest
    size: int
    key: str
    checksums: Mapping[Algorithm, str]
    verified_at: Instant
    stamp: Stamp | None = None
    inline: bytes | None = None


@dataclass(frozen=True, slots=True)
class FileSpan:
    """A range of an open file and what the file looks like; who delivers it closes it."""

    descriptor: int
    span: Span
    stamp: Stamp


Delivery = FileSpan | bytes | AsyncIterator[Piece]
"""Bytes on their way out: a file range the kernel can send, bytes in memory, or a stream."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A blob, the span of it that was asked for, and its bytes."""

    blob: Blob
    span: Span
    delivery: Delivery
    judge: "Callable[[bool], Awaitable[None]] | None" = None
    """To be told that the bytes are right, or that they are wrong or cannot be read."""
    must_hash: bool = False
    """On their way out; the judge is told before the last of them leave."""

    def close(self) -> None:
        """Let go of the bytes: they were sent, or will not be."""
        if isinstance(self.delivery, FileSpan):
            os.close(self.delivery.descriptor)


@dataclass(frozen=True, slots=True)
class Project:
    """Owner of names, unit of quota. `used` counts the live bytes of its names, `reserved` those on their way in."""

    id: int
    name: str
    quota: int
    used: int
    reserved: int
    objects: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """A flat name space in a project."""

    id: int
    project_id: int
    project: str
    name: str
    public: bool
    areas: bool
    """Keys here belong to users, groups and jobs; a project role opens none of them but to robots and admins."""
    created_at: Instant
    versioning: str = ""
    """`Enabled` keeps what a name pointed to before; `Suspended` keeps what was kept; empty: never asked for."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What protocols keep of a bucket, each under its own word: JSON."""

    @property
    def is_open(self) -> bool:
        """Whether everybody may read and list it: it was made public, and nobody has closed it over that."""
        block = self.config.get("publicAccessBlock", {})
        return self.public and not (block.get("RestrictPublicBuckets") or block.get("IgnorePublicAcls"))


@dataclass(frozen=True, slots=True)
class Repository:
    """A name for container images and artifacts. `path` is as `/v2/` has it, without `default/` in front."""

    id: int
    project_id: int
    path: str
    public: bool
    created_at: Instant
    config: Mapping[str, Any] = field(default_factory=dict)
    """What its owners decided: `immutable_tags`, patterns of tags that never move; `sparse_index`."""


@dataclass(frozen=True, slots=True)
class ObjectName:
    """A key in a bucket. `project` None: the caller's own project, or if `anywhere`, else the oldest of that name."""

    bucket: str
    key: str
    project: str | None = None
    anywhere: bool = False

    def __str__(self) -> str:
        return f"{self.project}:{self.bucket}/{self.key}" if self.project else f"{self.bucket}/{self.key}"

    @classmethod
    def parse(cls, text: str) -> "ObjectName":
        """`[PROJECT:]BUCKET/KEY`, the key taken literally. Raises: BadName."""
        where, slash, key = text.partition("/")
        project, colon, bucket = where.rpartition(":")
        if not slash or not bucket or (colon and not project):
            raise BadName(f"not an object name: {text!r}", advice="write [PROJECT:]BUCKET/KEY")
        return cls(bucket, key, project or None)


@dataclass(frozen=True, slots=True)
class VersionId:
    """One version of a name: its number, or None for the one put while its bucket kept no versions."""

    number: int | None

    def __str__(self) -> str:
        return "null" if self.number is None else f"{self.number:016x}"

    @classmethod
    def of(cls, version: int, *, unversioned: bool) -> "VersionId":
        """The id of a version."""
        return cls(None if unversioned else version)

    @classmethod
    def parse(cls, text: str) -> "VersionId":
        """`null` or 16 hex digits. Raises: BadName."""
        if text == "null":
            return cls(None)
        if not _VERSION.match(text):
            raise BadName("not a version id")
        return cls(int(text, 16))


@dataclass(slots=True)
class StoredObject:
    """A live name and what it points to. Metadata are the client's own headers and labels.

    Nobody changes one; it is not frozen because that makes it four times as dear, and a page has a thousand.
    """

    version: int
    project: str
    bucket: str
    key: str
    digest: Digest
    size: int
    etag: str
    content_type: str
    metadata: Mapping[str, str]
    created_at: Instant
    expires_at: Instant | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    unversioned: bool = True
    """It was put while its bucket kept no versions."""
    version_id: str = ""
    """What S3 calls this version; empty where its bucket never kept any."""
    marker: bool = False
    """Of a list of versions: it says that the name was deleted, and has no bytes."""

    @property
    def owner(self) -> str:
        """The project whose it is: the bucket's, or of a guest who wrote it."""
        found: str = self.extra.get("owner", self.project)
        return found


@dataclass(frozen=True, slots=True)
class Facts:
    """What a name carries beside its bytes. Metadata are the client's own headers and labels.

    `extra` is JSON: `headers` (Cache-Control and the like, lower case), and what one protocol keeps under its own word.
    """

    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)
    expires_at: Instant | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold, inside the commit, for a name to move."""

    absent: bool = False
    etag: str | None = None
    overwrite: bool = True
    """False: the principal may create, not overwrite."""
    other_than: str | None = None
    """An ETag that what is there must not have."""


ALWAYS: Final = Condition()


@dataclass(frozen=True, slots=True)
class CommonPrefix:
    """What a delimiter folds: all keys that begin like this."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, in order of name; `next` is the marker for the following one."""

    items: tuple[StoredObject | CommonPrefix, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class VersionPage:
    """One page of versions, each with whether it is its name's newest; the next one begins after these two markers."""

    items: tuple[tuple[StoredObject | CommonPrefix, bool], ...]
    next: str | None = None
    next_version: str = ""
