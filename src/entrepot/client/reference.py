"""What the words of a command or a call point to. The prefix decides the kind, never what a server happens to hold."""

from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from entrepot.errors import BadName, Unsupported
from entrepot.model import Digest, NamedDigest

ELSEWHERE: Final = ("docker://", "oras://", "s3://", "swift://", "glance://", "http://", "https://")
DEFAULT_BUCKET: Final = "files"


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """`object:[PROJECT:]BUCKET/KEY`, the key taken literally. A key that is empty or ends in `/` means all below."""

    bucket: str
    key: str
    project: str | None = None

    def __str__(self) -> str:
        return f"object:{self.place}/{self.key}"

    @property
    def place(self) -> str:
        """`[PROJECT:]BUCKET`."""
        return f"{self.project}:{self.bucket}" if self.project else self.bucket

    @property
    def is_prefix(self) -> bool:
        """True for all objects below, false for one object."""
        return not self.key or self.key.endswith("/")

    @property
    def last(self) -> str:
        """The last part of the key: what its file would be called."""
        return self.key.rstrip("/").rpartition("/")[2]

    @property
    def path(self) -> str:
        """Bucket and key as the end of a URL's path."""
        return f"{quote(self.place, safe=':')}/{quoted_key(self.key)}"

    def below(self, name: str) -> "ObjectRef":
        """The object `name` below this prefix."""
        return replace(self, key=f"{self.key}{name}")

    def within(self, project: str | None) -> "ObjectRef":
        """The same in `project`, unless it names one."""
        return self if self.project or not project else replace(self, project=project)


@dataclass(frozen=True, slots=True)
class BlobRef:
    """`sha256:HEX`: a blob this principal may read."""

    digest: Digest

    def __str__(self) -> str:
        return str(self.digest)


@dataclass(frozen=True, slots=True)
class RepositoryBytes:
    """Bytes of a repository in the registry, by digest; `kind`, `blobs` or `manifests`, says where they are asked."""

    name: str
    kind: str
    digest: NamedDigest

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}"

    @property
    def path(self) -> str:
        """The path of their URL."""
        return f"/v2/{self.name}/{self.kind}/{self.digest}"


@dataclass(frozen=True, slots=True)
class StandardStream:
    """`-`: standard input or output."""

    def __str__(self) -> str:
        return "-"


@dataclass(frozen=True, slots=True)
class LaterRef:
    """A reference we can read and do nothing with yet: `what` it is, in words."""

    text: str
    what: str

    def __str__(self) -> str:
        return self.text


Reference = ObjectRef | BlobRef | StandardStream | LaterRef


def parse(text: str) -> Reference:
    """The thing `text` points to. Raises: BadName."""
    if text == "-":
        return StandardStream()
    if text.startswith("object:"):
        return parse_object(text)
    if text.startswith("sha256:"):
        return BlobRef(Digest.parse(text))
    if text.startswith("machine:"):
        return LaterRef(text, "a machine image")
    if text.startswith(ELSEWHERE):
        return LaterRef(text, "something elsewhere")
    if not text or text.startswith(("/", ".")):
        raise BadName(f"not a reference: {text!r}", advice="entrepot help references")
    return LaterRef(text, "a container image or artifact by name and tag")


def parse_object(text: str) -> ObjectRef:
    """`object:[PROJECT:]BUCKET/KEY`. Raises: BadName."""
    where, slash, key = text.removeprefix("object:").partition("/")
    project, colon, bucket = where.rpartition(":")
    if not slash and bucket:
        raise BadName(f"no key in {text!r}", why="a key follows the bucket", advice=f"{text}/ for all in it")
    if not bucket or (colon and not project) or ":" in project:
        raise BadName(f"not an object: {text!r}", advice="write object:[PROJECT:]BUCKET/KEY")
    return ObjectRef(bucket, key, project or None)


def parse_known(text: str) -> ObjectRef | BlobRef:
    """An object or a blob. Raises: BadName; Unsupported, for what this version does not do."""
    match parse(text):
        case ObjectRef() | BlobRef() as reference:
            return reference
        case StandardStream():
            raise BadName("- is no reference here", advice="entrepot help references")
        case LaterRef() as reference:
            raise later(reference)


def later(reference: LaterRef) -> Unsupported:
    """What to say to a reference of a later version."""
    return Unsupported(
        f"{reference.text!r} is not in this version yet",
        why=f"it means {reference.what}",
        advice="write object:[PROJECT:]BUCKET/KEY or sha256:HEX",
    )


def quoted_key(key: str) -> str:
    """`key` for the path of a URL. Parts that are only dots are escaped: clients and proxies would drop them."""
    parts = (part.replace(".", "%2E") if part in (".", "..") else quote(part, safe="") for part in key.split("/"))
    return "/".join(parts)
