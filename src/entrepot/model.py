"""The words every layer shares: frozen values, no behaviour beyond reading and checking themselves.

Sizes and offsets are bytes. An `Instant` is seconds since the epoch, UTC, as `time.time()` gives it.
"""

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, Final

from entrepot.errors import BadName, BadRange

Instant = float
Clock = Callable[[], Instant]
Piece = bytes | bytearray | memoryview
Body = AsyncIterator[Sequence[Piece]]
"""A body as batches of pieces: a batch is worked on in one hop to a thread, pieces are never joined."""

MAX_QUOTA: Final = 2**63 - 1
"""The quota of a project that has none."""


class Algorithm(Enum):
    """A checksum we can compute; the value is its name in digests, tables and JSON."""

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


EMPTY_DIGEST: Final = Digest("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` up to and without `stop`; `stop` None means to the end."""

    start: int = 0
    stop: int | None = None

    def within(self, size: int) -> "Span":
        """The same span with an end, cut to a body of `size` bytes. Raises: BadRange if nothing of it is there."""
        stop = size if self.stop is None else min(self.stop, size)
        if self.start < 0 or (self.start >= stop and not self.start == stop == size):
            raise BadRange(f"no such range in {size} bytes")
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


class Role(IntEnum):
    """What a principal may do in a project; each adds to the one before."""

    GUEST = 1
    READER = 2
    WRITER = 3
    MAINTAINER = 4
    OWNER = 5


class Action(Enum):
    """What is asked for. Every route declares one; `auth.permissions` knows which role it takes."""

    OPEN = "open"
    """For everyone: health, version, log in, the OpenAPI document."""
    KNOWN = "known"
    """For every principal that proved itself."""
    CAPABILITY = "capability"
    """The URL itself is the right: an upload's unguessable address."""
    LIST = "list"
    GET = "get"
    CREATE = "create"
    OVERWRITE = "overwrite"
    DELETE = "delete"
    MEMBERS = "members"
    QUOTA = "quota"
    KEYS = "keys"
    ADMIN = "admin"


class Kind(Enum):
    """What sort of caller a principal is."""

    USER = "user"
    ROBOT = "robot"
    WORKER = "worker"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Grant:
    """The right a signed URL or form carries: these actions on one key, as its maker could do them."""

    actions: frozenset[Action]
    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class Origin:
    """How a request came in, for audit and logs."""

    address: str = ""
    protocol: str = ""
    request_id: str = ""
    operation: str = ""
    """What is asked for, in the words of bucket policies, if its protocol has them."""
    words: "Callable[[], Mapping[str, Sequence[str]]] | None" = None
    """Of the request, what a policy may ask about: values by condition key."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling, with the rights that were looked up for this request."""

    id: int
    kind: Kind
    name: str
    admin: bool = False
    roles: Mapping[int, Role] = field(default_factory=dict)
    """By project id."""
    project: str = "default"
    """Where bare bucket names are looked up."""
    groups: tuple[str, ...] = ()
    job: str | None = None
    """The batch job this token was made for."""
    grant: Grant | None = None
    expires_at: Instant | None = None
    origin: Origin = Origin()


ANONYMOUS: Final = Principal(0, Kind.ANONYMOUS, "anonymous")
SYSTEM: Final = Principal(0, Kind.ANONYMOUS, "system")
"""The server itself, in the audit. It has no rights: jobs do not ask."""


class AreaKind(Enum):
    """Whose part of a shared bucket a key lies in."""

    USER = "user"
    GROUP = "group"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class Area:
    """A part of a bucket that belongs to one user, group or job, whatever roles others have in the project."""

    kind: AreaKind
    name: str
    owner: str = ""
    """Of a job's area: the user whose token wrote there first."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What an action is asked on: a project, a bucket of it, or an area in a bucket."""

    project_id: int
    public: bool = False
    area: Area | None = None
    bucket: str = ""
    key: str = ""


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


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A live name and what it points to. Metadata are the client's own headers and labels."""

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
