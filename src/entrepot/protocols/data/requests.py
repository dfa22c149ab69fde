"""What a PROMINENCE client asks for. Pure: request line in, one value out.

Served under `/prominence/v1/data` and `/data`. The client appends paths to its base URL verbatim, so slashes in front
of `data` may be repeated; they are taken as one, never redirected.
"""

import re
from dataclasses import dataclass
from typing import ClassVar, Final
from urllib.parse import unquote_to_bytes

from entrepot.errors import BadName
from entrepot.principals import Action
from entrepot.protocols.base import MethodNotAllowed, NoSuchRoute

PATH: Final = re.compile(rb"/+(?:prominence/+v1/+)?data(?:/(.*))?\Z", re.DOTALL)
PREFIX: Final = re.compile(rb"/+prominence(?:/|\Z)")


@dataclass(frozen=True, slots=True)
class AskUpload:  # POST /data/upload, /data  201 {"url"[, "fields"]}
    """A place to put bytes. Name and checksum stand in the query or the body; the query wins."""

    action: ClassVar = Action.KNOWN


@dataclass(frozen=True, slots=True)
class AskOutput:  # POST /data/output  201 {"url"}
    """A place for an output of the token's job."""

    action: ClassVar = Action.KNOWN


@dataclass(frozen=True, slots=True)
class AskDownload:  # POST /data/download  201 {"url", "sha256", "size"}
    """A signed GET; ours, not in the original."""

    action: ClassVar = Action.KNOWN


@dataclass(frozen=True, slots=True)
class ListOwn:  # GET, HEAD /data  200
    """The caller's own objects."""

    action: ClassVar = Action.KNOWN


@dataclass(frozen=True, slots=True)
class ListGroup:  # GET, HEAD /data/<path>  200
    """Objects of a group."""

    path: str
    action: ClassVar = Action.KNOWN


@dataclass(frozen=True, slots=True)
class Delete:  # DELETE /data/<name>  204
    """The name is gone, if it was there."""

    name: str
    action: ClassVar = Action.KNOWN


Call = AskUpload | AskOutput | AskDownload | ListOwn | ListGroup | Delete
_POSTED: Final[dict[bytes | None, type[AskUpload | AskOutput | AskDownload]]] = {
    None: AskUpload,
    b"": AskUpload,
    b"upload": AskUpload,
    b"output": AskOutput,
    b"download": AskDownload,
}


def parse(method: str, raw_path: bytes) -> Call:
    """The call these bytes mean. Raises: NoSuchRoute; MethodNotAllowed; BadName."""
    found = PATH.match(raw_path)
    if found is None:
        raise NoSuchRoute("no such page here", why="this server has the data part of PROMINENCE, not jobs or workflows")
    rest: bytes | None = found[1]
    match method:
        case "POST" if rest in _POSTED:
            return _POSTED[rest]()
        case "GET" | "HEAD":
            return ListGroup(_text(rest)) if rest else ListOwn()
        case "DELETE" if rest:
            return Delete(_text(rest))
        case _:
            allow = "GET, HEAD, POST" if not rest else "GET, HEAD, DELETE"
            raise MethodNotAllowed(f"{allow}, POST" if rest in _POSTED and rest else allow)


def _text(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise BadName("a name is UTF-8") from error
