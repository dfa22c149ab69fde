"""The frame every protocol stands in: a request, a response, an endpoint with its error table.

    parse (pure: bytes in, a call out)  →  identify (a proof becomes a principal)  →  act (one `match`)  →  response

Every kind of call declares the action it needs; `check_calls` stops the start if one does not.
"""

import logging
import random
import types
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar, Union, get_args, get_origin
from urllib.parse import unquote_to_bytes

import msgspec

from entrepot import strict_json
from entrepot.auth.permissions import require_admin, require_known
from entrepot.errors import (
    BadName,
    BadRange,
    BadRequest,
    Busy,
    Conflict,
    Denied,
    DigestMismatch,
    DiskFull,
    EntrepotError,
    NoSuchRange,
    NotFound,
    QuotaExceeded,
    TooLarge,
    Unauthenticated,
    Unsupported,
)
from entrepot.model import Body, Opened, Piece
from entrepot.principals import ANONYMOUS, Action, Origin, Principal

_log = logging.getLogger("entrepot.request")

Header = tuple[bytes, bytes]
CallT = TypeVar("CallT")

_ids = random.Random()  # noqa: S311 they tell requests apart, and open nothing

KINDS: tuple[type[EntrepotError], ...] = (
    BadName, BadRange, BadRequest, NotFound, Denied, Unauthenticated, Busy, DigestMismatch, Conflict, TooLarge,
    QuotaExceeded, DiskFull, Unsupported, EntrepotError,
)  # fmt: skip
"""What every error table has a row for, by itself or by an ancestor."""


class NoSuchRoute(NotFound):
    """The path means nothing in this protocol."""


class MethodNotAllowed(Unsupported):
    """The path is known, not with this method; `allow` are the ones it has."""

    def __init__(self, allow: str) -> None:
        super().__init__("this method is not allowed here", advice=f"use {allow}")
        self.allow = allow


class UnsupportedType(BadRequest):
    """A body of a media type that is not read here."""


class LengthRequired(BadRequest):
    """A body whose length must be announced, and is not."""


class Wire(Protocol):
    """What a request needs of its connection; `front.connection.Connection` is one, tests have their own."""

    @property
    def body(self) -> AsyncIterator[Sequence[Piece]]:
        """The request's body."""
        ...

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        ...

    @property
    def plain(self) -> bool:
        """Whether the kernel can send files on it."""
        ...

    def proven(self) -> None:
        """A valid proof came in on it."""

    def answering(self) -> None:
        """An answer begins."""

    def abort(self) -> None:
        """End it by a reset."""

    async def sendfile(self, descriptor: int, offset: int, count: int) -> None:
        """Send a range of a file."""


class Request:
    """One HTTP request as it was sent: raw path and query are kept, and decoded once."""

    __slots__ = (
        "_query", "address", "headers", "host", "id", "memo", "method", "principal", "raw_path", "raw_query", "scheme",
        "wire",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        raw_path: bytes,
        raw_query: bytes,
        headers: Sequence[Header],
        wire: Wire,
        *,
        scheme: str = "http",
        address: str = "",
    ) -> None:
        self.method = method
        self.raw_path = raw_path
        self.raw_query = raw_query
        self.headers = headers
        self.wire = wire
        self.scheme = scheme
        self.address = address
        self.host = self.header(b"host") or ""
        self.id = f"{_ids.getrandbits(64):016x}"
        self.principal = ANONYMOUS
        """Who it turned out to be."""
        self.memo: Any = None
        """What its protocol learnt while it looked for a proof."""
        self._query: dict[str, str] | None = None

    def header(self, name: bytes) -> str | None:
        """The first header of that lower-case name, as text; bytes beyond ASCII stand for themselves (latin-1)."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    @property
    def query(self) -> Mapping[str, str]:
        """The query's pairs, percent-decoded, `+` as space. Raises: BadRequest for a key sent twice or no UTF-8."""
        if self._query is None:
            self._query = _pairs(self.raw_query)
        return self._query

    @property
    def base_url(self) -> str:
        """How the client reached us: scheme and host, no path."""
        return f"{self.scheme}://{self.host}"

    @property
    def length(self) -> int | None:
        """The announced length of the body; 0 if none comes, None if it is sent in chunks."""
        text = self.header(b"content-length")
        if text is not None:
            return int(text)
        return None if self.header(b"transfer-encoding") is not None else 0

    @property
    def body(self) -> Body:
        """The body in batches of pieces."""
        return self.wire.body

    async def read(self, limit: int) -> bytes:
        """The whole body, at most `limit` bytes. Raises: TooLarge; BodyCut."""
        if (self.length or 0) > limit:
            raise TooLarge(f"the body has more than {limit} bytes")
        found = bytearray()
        async for pieces in self.body:
            for piece in pieces:
                found += piece
            if len(found) > limit:
                raise TooLarge(f"the body has more than {limit} bytes")
        return bytes(found)


def _pairs(raw: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in filter(None, raw.split(b"&")):
        name, _, value = (unquote_to_bytes(part.replace(b"+", b" ")) for part in pair.partition(b"="))
        try:
            key, text = name.decode(), value.decode()
        except UnicodeDecodeError as error:
            raise BadRequest("the query is not UTF-8") from error
        if key in found or "\x00" in key or "\x00" in text:
            raise BadRequest(f"the query has {key!r} twice, or holds a NUL")
        found[key] = text
    return found


def segments(raw_path: bytes) -> list[str]:
    """The path's segments, decoded once. `..`, `.` and `//` are only text. Raises: BadName if it is no UTF-8."""
    if b"%00" in raw_path:
        raise BadName("the path holds a NUL")
    try:
        return [unquote_to_bytes(part).decode() for part in raw_path.split(b"/")[1:]]
    except UnicodeDecodeError as error:
        raise BadName("the path is not UTF-8") from error


@dataclass(slots=True)
class Response:
    """What goes out. A body of bytes gets its Content-Length; a stream has it among `headers`, or goes in chunks."""

    status: int
    headers: list[Header] = field(default_factory=list)
    body: bytes | Opened | AsyncIterator[bytes] = b""


def json_response(status: int, value: object, headers: Sequence[Header] = ()) -> Response:
    """`value` as JSON, not to be kept by any cache."""
    return Response(
        status,
        [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), *headers],
        msgspec.json.encode(value),
    )


async def read_json(request: Request, limit: int, *, needed: bool = True) -> dict[str, Any]:
    """The members of a JSON object body; of an empty one none, if it is not `needed`.

    Raises: UnsupportedType; TooLarge; BodyCut; BadRequest for what is no strict JSON object.
    """
    data = await request.read(limit)
    if not data and not needed:
        return {}
    kind = (request.header(b"content-type") or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedType("the body is not JSON", advice="send Content-Type: application/json")
    try:
        return strict_json.read_body(data)
    except ValueError as error:
        raise BadRequest("the body is not a JSON object", why=str(error)) from error


ErrorTable = Mapping[type[EntrepotError], tuple[int, str]]


def row_of(table: ErrorTable, error: EntrepotError) -> tuple[int, str]:
    """Status and code of an error: its own row, or its nearest ancestor's."""
    for kind in type(error).__mro__:
        if kind in table:
            return table[kind]
    raise LookupError(type(error).__name__)


def refusal_headers(error: EntrepotError) -> list[Header]:
    """Headers any protocol sends with some errors: Retry-After, Allow, Content-Range."""
    if isinstance(error, Busy):
        return [(b"retry-after", str(error.retry_after_seconds).encode())]
    if isinstance(error, MethodNotAllowed):
        return [(b"allow", error.allow.encode())]
    if isinstance(error, NoSuchRange):
        return [(b"content-range", f"bytes */{error.size}".encode())]
    return []


class Endpoint(Generic[CallT]):
    """A protocol: parse, identify, act, refuse. Subclasses are the only inheritance in the server."""

    name: ClassVar[str]
    strangers_may_write: ClassVar[bool] = False
    """Whether a service says what strangers may do; else they are asked to log in before anything but reading."""
    calls: ClassVar[Any]
    """The union of all kinds of call; each has a class attribute `action`."""

    def parse(self, request: Request) -> CallT:
        """The call this request means. Pure. Raises: NoSuchRoute; MethodNotAllowed; BadName; BadRequest."""
        raise NotImplementedError

    async def identify(self, call: CallT, request: Request) -> Principal:
        """Who is calling, by whatever proof this protocol takes. Raises: Unauthenticated; BadRequest."""
        raise NotImplementedError

    def origin(self, call: CallT, request: Request) -> Origin:
        """How the request came in, as services and the audit are told."""
        return Origin(request.address, self.name, request.id, words=lambda: words_of(request))

    async def act(self, call: CallT, principal: Principal, request: Request) -> Response:
        """Do it."""
        raise NotImplementedError

    def refuse(self, error: EntrepotError, request: Request) -> Response:
        """The error in this protocol's own words."""
        raise NotImplementedError

    async def handle(self, request: Request) -> Response:
        """The answer, whatever happens."""
        try:
            call = self.parse(request)
            return await self.act(call, await self._admit(call, request), request)
        except EntrepotError as error:
            return self.refuse(error, request)
        except Exception:
            _log.exception("a fault of ours", extra={"request_id": request.id})
            return self.refuse(EntrepotError(f"something went wrong here; request {request.id}"), request)

    async def _admit(self, call: CallT, request: Request) -> Principal:
        """The principal, if the declared action does not already rule it out."""
        origin = self.origin(call, request)
        action: Action = call.action  # type: ignore[attr-defined]
        if action in (Action.OPEN, Action.CAPABILITY):
            return with_origin(ANONYMOUS, origin)
        request.principal = principal = with_origin(await self.identify(call, request), origin)
        if action is Action.ADMIN:
            require_admin(principal)
        elif action is not Action.GET and action is not Action.LIST and not self.strangers_may_write:
            require_known(principal)
        if principal.id:
            request.wire.proven()
        return principal


def words_of(request: Request) -> dict[str, Sequence[str]]:
    """What a bucket's policy may ask of any request, by condition key."""
    found: dict[str, Sequence[str]] = {"aws:SecureTransport": [str(request.scheme == "https").lower()]}
    if request.address:
        found["aws:SourceIp"] = [request.address]
    referer = request.header(b"referer")
    if referer is not None:
        found["aws:Referer"] = [referer]
    return found


def with_origin(principal: Principal, origin: Origin) -> Principal:
    """The same principal, calling from there."""
    return Principal(
        principal.id, principal.kind, principal.name, principal.admin, principal.roles, principal.project,
        principal.groups, principal.job, principal.grant, principal.expires_at, origin,
    )  # fmt: skip


def kinds_of(endpoint: "Endpoint[Any] | type[Endpoint[Any]]") -> tuple[type, ...]:
    """The kinds of call of a protocol."""
    union = endpoint.calls
    return get_args(union) if get_origin(union) in (Union, types.UnionType) else (union,)


def check_calls(endpoint: Endpoint[Any]) -> None:
    """Nothing, if every kind of call declares its action. Raises: TypeError."""
    for kind in kinds_of(endpoint):
        if not isinstance(getattr(kind, "action", None), Action):
            raise TypeError(f"{endpoint.name}: {kind.__name__} declares no action")


def bearer(request: Request) -> str | None:
    """The token behind the first word of Authorization, or of X-Auth-Token; None without one.

    Raises: BadRequest for two proofs of one kind; Unauthenticated for a word alone.
    """
    found = [value for name, value in request.headers if name == b"authorization"]
    if len(found) > 1:
        raise BadRequest("two Authorization headers")
    if not found:
        return None
    words = found[0].decode("latin-1").split()
    if len(words) != 2:
        raise Unauthenticated("the Authorization header cannot be read", advice="send: Authorization: Bearer TOKEN")
    return words[1]
