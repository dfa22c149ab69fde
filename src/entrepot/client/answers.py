"""What an answer means: a shape, or one of our errors. Nothing but JSON of ours is ever believed."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, TypeVar

import msgspec

from entrepot.client.flow import Reply
from entrepot.errors import (
    BadRange,
    Busy,
    Conflict,
    Denied,
    DigestMismatch,
    DiskFull,
    EntrepotError,
    LimitReached,
    NotFound,
    PreconditionFailed,
    Refused,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
    UsageError,
)
from entrepot.shapes import Problem

T = TypeVar("T")

LONGEST_PAUSE_SECONDS: Final = 30

STATUSES: Final[Mapping[int, type[EntrepotError]]] = {
    400: UsageError,
    401: Unauthenticated,
    403: Denied,
    404: NotFound,
    405: Unsupported,
    408: Unavailable,
    409: Conflict,
    410: NotFound,
    412: PreconditionFailed,
    413: TooLarge,
    416: BadRange,
    422: DigestMismatch,
    429: Busy,
    501: Unsupported,
    502: Unavailable,
    503: Busy,
    504: Unavailable,
    507: DiskFull,
}

CODES: Final[Mapping[str, type[EntrepotError]]] = {
    kind.code: kind
    for kind in (
        EntrepotError, UsageError, NotFound, Denied, Unavailable, DigestMismatch, Conflict, LimitReached, Refused
    )
}  # fmt: skip

_ADVICE: Final[Mapping[int, str]] = {
    413: "raise its limit of a body's size (nginx: client_max_body_size 0)",
    502: "it does not reach entrepot: is that running?",
    504: "raise its time-out (nginx: proxy_read_timeout)",
}


class Unreached(Unavailable):
    """No connection: the request certainly did not arrive."""


def decoded(reply: Reply, shape: type[T]) -> T:
    """The JSON of `reply` as `shape`. Raises: Refused, if it is none: this is no server of ours."""
    try:
        return msgspec.json.decode(reply.body, type=shape)
    except msgspec.DecodeError as error:
        raise Refused(
            "the answer is not of an entrepot server",
            why=str(error),
            advice="is the address right? entrepot config show",
        ) from error


class RegistryProblem(msgspec.Struct, frozen=True):
    """One error of `/v2` and `/registry`. Source: distribution-spec, error codes."""

    code: str
    message: str


class RegistryProblems(msgspec.Struct, frozen=True):
    """All of them."""

    errors: list[RegistryProblem]


def refusal(status: int, headers: Mapping[str, str], body: bytes | bytearray, host: str) -> EntrepotError:
    """The error that an answer of 300 or more means."""
    if headers.get("content-type", "").startswith("application/problem+json"):
        try:
            return problem_error(msgspec.json.decode(body, type=Problem), status, headers)
        except msgspec.DecodeError:
            pass
    if headers.get("content-type", "") == "application/json":
        try:
            # the answer to a HEAD has the type and no body
            found = msgspec.json.decode(body, type=RegistryProblems) if body else RegistryProblems([])
            return registry_error(found, status, headers)
        except msgspec.DecodeError:
            pass
    return foreign_error(status, headers, host)


def problem_error(problem: Problem, status: int, headers: Mapping[str, str]) -> EntrepotError:
    """The error the server spoke of. Its code decides, its status which kind of that."""
    general = CODES.get(problem.code, EntrepotError)
    exact = STATUSES.get(status, EntrepotError)
    kind = exact if issubclass(exact, general) else general
    advice = problem.advice or ("entrepot login" if status == HTTPStatus.UNAUTHORIZED else "")
    if issubclass(kind, Busy):
        return Busy(problem.message, why=problem.why, advice=advice, retry_after_seconds=retry_after(headers))
    return kind(problem.message, why=problem.why, advice=advice)


def registry_error(found: RegistryProblems, status: int, headers: Mapping[str, str]) -> EntrepotError:
    """The error a registry spoke of. It has one code for many causes, so its status decides."""
    what = found.errors[0].message if found.errors else f"the registry answered {status}"
    kind = STATUSES.get(status, EntrepotError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Refused)
    if found.errors and found.errors[0].code == "DIGEST_INVALID":
        kind = DigestMismatch
    if issubclass(kind, Busy):
        return Busy(what, retry_after_seconds=retry_after(headers))
    return kind(what, advice="entrepot login" if status == HTTPStatus.UNAUTHORIZED else "")


def foreign_error(status: int, headers: Mapping[str, str], host: str) -> EntrepotError:
    """The error of an answer whose body is not ours: a HEAD's, or that of something in between."""
    kind = STATUSES.get(status, EntrepotError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Refused)
    advice = _ADVICE.get(status, "entrepot login" if status == HTTPStatus.UNAUTHORIZED else "")
    what = f"{host} answered {status}"
    if headers.get("content-type") and not headers["content-type"].startswith("application/problem+json"):
        what = f"{status} came from {headers.get('server') or 'something before the server'}, not entrepot"
    if status in range(HTTPStatus.MULTIPLE_CHOICES, HTTPStatus.BAD_REQUEST):
        what, advice = f"{host} points elsewhere", "give the address it points to (https?)"
    if issubclass(kind, Busy):
        return Busy(what, advice=advice, retry_after_seconds=retry_after(headers))
    return kind(what, advice=advice)


def retry_after(headers: Mapping[str, str]) -> int:
    """How long the server wants us to wait, in seconds, within reason."""
    told = headers.get("retry-after", "")
    return min(int(told), LONGEST_PAUSE_SECONDS) if told.isdigit() else 2
