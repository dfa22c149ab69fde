"""How calls of `/v2/` are written. Pure: request line and headers in, values out.

A path is read from its end, as names have slashes too.
"""

import re
import uuid
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from entrepot.errors import BadDigest, BadName, BadRequest, NoSuchRange, NoUpload, Unsupported
from entrepot.model import Algorithm, NamedDigest
from entrepot.names import repository_path
from entrepot.protocols.base import MethodNotAllowed, NoSuchRoute, Request, segments
from entrepot.protocols.oci.calls import (
    Append,
    AskToken,
    BeginUpload,
    Call,
    CancelUpload,
    DeleteBlob,
    DeleteManifest,
    EndUpload,
    GetBlob,
    GetManifest,
    ListReferrers,
    ListRepositories,
    ListTags,
    Ping,
    PutManifest,
    ShowUpload,
)

PAGE_ITEMS: Final = 1000
MAX_TAGS: Final = 100
_CONTENT_RANGE: Final = re.compile(r"(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/(?:\d+|\*))?\Z", re.ASCII)
_BACKWARDS: Final = re.compile(r"bytes=(\d{1,18})-(\d{1,18})\Z", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,18}\Z", re.ASCII)

_Made = type[Call]
_PLAIN: Final[Mapping[tuple[str, ...], Mapping[str, _Made]]] = {
    (): {"GET": Ping},
    ("",): {"GET": Ping},
    ("token",): {"GET": AskToken, "POST": AskToken},
    ("_catalog",): {"GET": ListRepositories},
}
_UPLOADS: Final[Mapping[str, _Made]] = {"POST": BeginUpload}
_UPLOAD: Final[Mapping[str, _Made]] = {
    "PATCH": Append, "PUT": EndUpload, "GET": ShowUpload, "DELETE": CancelUpload,
}  # fmt: skip
_ONE: Final[Mapping[str, Mapping[str, _Made]]] = {
    "manifests": {"GET": GetManifest, "PUT": PutManifest, "DELETE": DeleteManifest},
    "blobs": {"GET": GetBlob, "DELETE": DeleteBlob},
    "referrers": {"GET": ListReferrers},
}


def parse(method: str, raw_path: bytes) -> Call:
    """The call these bytes mean. Raises: NoSuchRoute; MethodNotAllowed; BadName; NoUpload."""
    if b"%00" in raw_path:
        raise NoSuchRoute("there is nothing at this path")
    parts = segments(raw_path)[1:]
    if any("/" in part or part == ".." for part in parts):
        raise NoSuchRoute("there is nothing at this path")
    plain = _PLAIN.get(tuple(parts))
    if plain is not None:
        return _made(plain, method)
    name, made, last = _read(parts)
    path = repository_path("/".join(name))
    return _made(made, method, path, *last)


def _read(parts: list[str]) -> tuple[list[str], Mapping[str, _Made], tuple[str, ...]]:
    """The name's components, what can be done with what follows it, and what that names."""
    match parts:
        case [*name, "blobs", "uploads"] | [*name, "blobs", "uploads", ""] if name:
            return name, _UPLOADS, ()
        case [*name, "blobs", "uploads", upload] if name:
            return name, _UPLOAD, (upload,)
        case [*name, "tags", "list"] if name:
            return name, {"GET": ListTags}, ()
        case [*name, ("manifests" | "blobs" | "referrers") as kind, one] if name and one:
            return name, _ONE[kind], (one,)
        case _:
            raise NoSuchRoute("there is nothing at this path")


def _made(kinds: Mapping[str, _Made], method: str, *values: str) -> Call:
    kind = kinds.get("GET" if method == "HEAD" else method)
    if kind is None:
        allowed = [*kinds, *(["HEAD"] if "GET" in kinds else [])]
        raise MethodNotAllowed(", ".join(allowed))
    return kind(*values)


def upload_id(text: str) -> str:
    """The id of an upload as its row has it. Raises: NoUpload for what is no UUID."""
    try:
        return uuid.UUID(text).hex
    except ValueError:
        raise NoUpload("no such upload") from None


def query_of(raw_query: bytes) -> dict[str, list[str]]:
    """All values of each key of a query or form, in order. Raises: BadRequest for what is no UTF-8, or too much."""
    found: dict[str, list[str]] = {}
    try:
        for key, value in parse_qsl(raw_query.decode(), keep_blank_values=True, errors="strict", max_num_fields=1000):
            found.setdefault(key, []).append(value)
    except ValueError as error:
        raise BadRequest("the query cannot be read", why="it is not UTF-8, or has too many fields") from error
    if any("\0" in text for texts in found.values() for text in texts):
        raise BadRequest("the query holds a NUL")
    return found


def digest_in(query: Mapping[str, list[str]], key: str) -> NamedDigest | None:
    """The digest that key has. Raises: BadDigest."""
    texts = query.get(key)
    return NamedDigest.parse(texts[0]) if texts else None


def algorithm_in(query: Mapping[str, list[str]]) -> Algorithm:
    """What an upload is to be hashed by. Raises: BadDigest."""
    text = query.get("digest-algorithm", ["sha256"])[0]
    if text not in ("sha256", "sha512"):
        raise BadDigest(f"not an algorithm of digests here: {text[:100]}", advice="use sha256 or sha512")
    return Algorithm(text)


def page_in(query: Mapping[str, list[str]]) -> tuple[str, int]:
    """After which name a list begins, and how many it shows. Raises: Unsupported for a bad `n`."""
    text = query.get("n", [str(PAGE_ITEMS)])[0]
    if not _NUMBER.match(text):
        raise Unsupported("n is a whole number")
    return query.get("last", [""])[0], min(int(text), PAGE_ITEMS)


def tags_in(query: Mapping[str, list[str]]) -> list[str]:
    """Tags a manifest is to get beside its digest. Raises: TooManyTags."""
    found = list(dict.fromkeys(query.get("tag", [])))
    if len(found) > MAX_TAGS:
        raise TooManyTags(f"a push sets {MAX_TAGS} tags at most")
    return found


class TooManyTags(BadName):
    """More tags in a query than one push sets."""


def range_of(request: Request) -> tuple[int | None, int | None]:
    """Where the bytes of a request begin in their upload, and how many it says they are. Raises: BadRequest."""
    text = request.header(b"content-range")
    if text is None:
        return None, None
    found = _CONTENT_RANGE.match(text.strip())
    if not found or int(found[2]) < int(found[1]):
        raise BadRequest("Content-Range cannot be read", advice="write FIRST-LAST")
    return int(found[1]), int(found[2]) - int(found[1]) + 1


def check_range(request: Request, size: int) -> None:
    """Raises: NoSuchRange for a range that ends before it begins."""
    found = _BACKWARDS.match(request.header(b"range") or "")
    if found and int(found[2]) < int(found[1]):
        raise NoSuchRange(size)
