"""What the server says a tree of static files consists of, and what of that is believed."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from entrepot.client.answers import decoded
from entrepot.client.flow import Flow, Request, send
from entrepot.client.layout import Descriptor
from entrepot.client.pull import Found
from entrepot.client.reference import RepositoryBytes
from entrepot.errors import Refused, UsageError
from entrepot.model import NamedDigest

_PARTS: Final = re.compile(r"[A-Za-z0-9._:-]+(?:/[A-Za-z0-9._:-]+)*\Z")
_TYPE: Final = re.compile(r"[A-Za-z0-9.+_-]+/[A-Za-z0-9.+_-]+\Z")
_BASE_URL: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+(?:/[A-Za-z0-9._~/-]*)?\Z")


class PlanFile(msgspec.Struct, frozen=True):
    """A file of the tree: the bytes of a digest, or a text."""

    path: str
    type: str
    digest: str | None = None
    size: int = 0
    text: str | None = None

    @property
    def named(self) -> NamedDigest:
        """The digest of one that has one. Raises: BadDigest."""
        return NamedDigest.parse(self.digest or "")

    @property
    def rank(self) -> int:
        """When it appears: blobs, manifests by digest, tags, then lists and pages, which only name what is there."""
        if self.digest is None:
            return 3
        kind, _, last = self.path.rpartition("/")
        if not kind.endswith("/manifests"):
            return 0
        return 1 if ":" in last else 2


class PlanImage(msgspec.Struct, frozen=True, rename="camel"):
    """A tagged manifest."""

    media_type: str
    digest: str
    size: int
    tag: str


class Plan(msgspec.Struct, frozen=True):
    """The files of one repository."""

    files: list[PlanFile]
    images: list[PlanImage]


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of many repositories, in the order in which they appear."""

    base_url: str
    plans: Mapping[str, Plan]
    files: tuple[PlanFile, ...]

    @classmethod
    def of(cls, base_url: str, plans: Mapping[str, Plan]) -> "Tree":
        """All of them together. Raises: Refused, if two cannot be in one tree."""
        by_path = {file.path: file for plan in plans.values() for file in plan.files}
        _refuse_collisions({*by_path, "v2/index.html", "registry/index.html"})
        return cls(base_url, plans, tuple(sorted(by_path.values(), key=lambda file: (file.rank, file.path))))

    @property
    def names(self) -> list[str]:
        """The repositories, in order."""
        return sorted(self.plans)

    @property
    def images(self) -> Iterator[tuple[str, Descriptor]]:
        """All tagged manifests by `NAME:TAG`."""
        for name, plan in self.plans.items():
            for one in plan.images:
                yield f"{name}:{one.tag}", Descriptor(one.media_type, one.digest, one.size)

    def blobs(self) -> dict[NamedDigest, Found]:
        """All bytes, each once, and where the registry has them; manifests last."""
        found: dict[NamedDigest, Found] = {}
        for name, plan in self.plans.items():
            for file in plan.files:
                if file.digest is not None:
                    kind = "manifests" if file.rank else "blobs"
                    found.setdefault(file.named, Found(RepositoryBytes(name, kind, file.named), file.digest, file.size))
        return dict(sorted(found.items(), key=lambda item: getattr(item[1].ref, "kind", "")))


def _refuse_collisions(paths: set[str]) -> None:
    for path in paths:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in paths:
                raise Refused(f"{path} and what is above it cannot both be files", advice="export them apart")


def plan_of(name: str, base_url: str, *, linked: bool) -> Flow[Plan]:
    """What the server would put there. Raises: NotFound; Denied; Refused, for a plan that leaves the tree."""
    query = {"static": base_url} if linked else {"static": base_url, "linked": "0"}
    request = Request("GET", f"/registry/{name}/?{urlencode(query)}", f"static tree of {name}")
    plan = decoded((yield from send(request)), Plan)
    for file in plan.files:
        check_file(name, file)
    for image in plan.images:
        _check_type(image.media_type)
        NamedDigest.parse(image.digest)
    return plan


def check_file(name: str, file: PlanFile) -> None:
    """Nothing. Raises: Refused, if it is no file of this repository: a server must not write anywhere else here.

    Names and types also go into rules for web servers, so no character that means something there gets through.
    """
    parts = file.path.split("/")
    is_below = file.path.startswith((f"v2/{name}/", f"registry/{name}/", "registry/files/"))
    is_hidden = parts[-1].startswith(".") or any(part in (".", "..") or part.startswith(".ht") for part in parts)
    if not _PARTS.match(file.path) or not is_below or is_hidden:
        raise Refused(f"the server wants a file {file.path!r} in the tree of {name}", why="it is not one of a registry")
    if (file.digest is None) == (file.text is None) or file.size < 0:
        raise Refused(f"the server does not say what {file.path} holds")
    if file.digest is not None:
        NamedDigest.parse(file.digest)
    _check_type(file.type)


def _check_type(text: str) -> None:
    if not _TYPE.match(text):
        raise Refused(f"the server names a type {text[:100]!r}", why="it is no media type")


def checked_base_url(text: str) -> str:
    """`text` without a slash at its end. Raises: UsageError."""
    try:
        if _BASE_URL.match(text) and urlsplit(text).hostname and urlsplit(text).port != 0:
            return text.rstrip("/")
    except ValueError:
        pass
    raise UsageError(f"not an address for a tree: {text!r}", advice="--base-url http(s)://HOST[/PATH]")
