"""`/`, `/livez`, `/readyz`, `/metrics`, `/version`."""

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from entrepot import __version__
from entrepot.errors import (
    Denied,
    EntrepotError,
    LimitReached,
    NotFound,
    Refused,
    Unauthenticated,
    Unavailable,
    UsageError,
)
from entrepot.principals import ANONYMOUS, Action, Principal
from entrepot.protocols.base import (
    Endpoint,
    ErrorTable,
    MethodNotAllowed,
    NoSuchRoute,
    Request,
    Response,
    bearer,
    json_response,
    refusal_headers,
    row_of,
)
from entrepot.services.identity import Identity

API_VERSION: Final = "2.0.0-alpha.2"
"""The version library clients look for at `/version`."""

ERRORS: Final[ErrorTable] = {
    Unauthenticated: (401, ""),
    Denied: (403, ""),
    NotFound: (404, ""),
    MethodNotAllowed: (405, ""),
    UsageError: (400, ""),
    LimitReached: (413, ""),
    Refused: (400, ""),
    Unavailable: (503, ""),
    EntrepotError: (500, ""),
}


@dataclass(frozen=True, slots=True)
class Live:  # GET, HEAD /livez  200
    """Does the process answer?"""

    action: ClassVar = Action.OPEN


@dataclass(frozen=True, slots=True)
class Ready:  # GET, HEAD /readyz  200 503
    """May traffic come?"""

    action: ClassVar = Action.OPEN


@dataclass(frozen=True, slots=True)
class Metrics:  # GET /metrics  200
    """Prometheus text; for loopback, or with a token."""

    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class ShowVersion:  # GET /version  200
    """Ours, and the one library clients ask for."""

    action: ClassVar = Action.OPEN


@dataclass(frozen=True, slots=True)
class Index:  # GET, HEAD /  200
    """What is served where."""

    action: ClassVar = Action.OPEN


Call = Live | Ready | Metrics | ShowVersion | Index
_PATHS: Final[dict[bytes, type[Call]]] = {
    b"/livez": Live,
    b"/readyz": Ready,
    b"/metrics": Metrics,
    b"/version": ShowVersion,
    b"/": Index,
}


@dataclass(frozen=True, slots=True)
class State:
    """Whether traffic may come; the text says why not, or what is wrong all the same."""

    ready: bool
    text: str


@dataclass(frozen=True, slots=True)
class Ops(Endpoint[Call]):
    """`state` is asked by `/readyz`."""

    name: ClassVar[str] = "ops"
    calls: ClassVar[Any] = Call
    identity: Identity
    registry: CollectorRegistry
    state: Callable[[], Awaitable[State]]

    def parse(self, request: Request) -> Call:
        """As `Endpoint.parse`."""
        kind = _PATHS.get(request.raw_path)
        if kind is None:
            raise NoSuchRoute("there is nothing at this path")
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("GET, HEAD")
        return kind()

    async def identify(self, call: Call, request: Request) -> Principal:
        """A bearer token, or the loopback address."""
        token = bearer(request)
        if token is not None:
            return await self.identity.of_token(token)
        if _is_loopback(request.address):
            return ANONYMOUS
        raise Unauthenticated("metrics want a token")

    async def act(self, call: Call, principal: Principal, request: Request) -> Response:
        """As `Endpoint.act`."""
        match call:
            case Live():
                return json_response(200, {"status": "ok"})
            case Ready():
                state = await self.state()
                return json_response(200 if state.ready else 503, {"status": state.text})
            case Metrics():
                kind = b"text/plain; version=0.0.4; charset=utf-8"
                return Response(200, [(b"content-type", kind)], generate_latest(self.registry))
            case ShowVersion():
                return json_response(200, {"data": {"version": __version__, "apiVersion": API_VERSION}})
            case Index():
                return json_response(200, index(request.base_url))

    def refuse(self, error: EntrepotError, request: Request) -> Response:
        """As `Endpoint.refuse`."""
        status = row_of(ERRORS, error)[0]
        headers = refusal_headers(error)
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        return json_response(status, {"error": {"code": error.code, "message": str(error)}}, headers)


def _is_loopback(address: str) -> bool:
    """Whether it is this machine; what a proxy wrote need not be an address at all."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def index(base: str) -> dict[str, object]:
    """What a program finds at `/`."""
    return {
        "product": "entrepot",
        "version": __version__,
        "endpoints": {
            "api": f"{base}/api/v1",
            "openapi": f"{base}/api/v1/openapi.json",
            "prominence": f"{base}/prominence/v1",
            "s3": base,
            "oci": f"{base}/v2/",
            "registry": f"{base}/registry/",
            "health": f"{base}/readyz",
        },
    }
