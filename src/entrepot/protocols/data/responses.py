"""Answers and errors as the PROMINENCE client expects them: JSON, each error with a string `error`."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from entrepot.errors import (
    BadName,
    BadRange,
    Busy,
    Conflict,
    Denied,
    DigestMismatch,
    DiskFull,
    EntrepotError,
    LimitReached,
    NotFound,
    QuotaExceeded,
    Refused,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UsageError,
)
from entrepot.protocols.base import (
    ErrorTable,
    Header,
    MethodNotAllowed,
    NoSuchRoute,
    Response,
    UnsupportedType,
    json_response,
    refusal_headers,
    row_of,
)
from entrepot.protocols.browser import SHIELD
from entrepot.protocols.delivery import http_date
from entrepot.services.areas import PAGE_ITEMS, Listed

# 404 stands for unknown routes only: to the client it means "Invalid PROMINENCE URL".
ERRORS: Final[ErrorTable] = {
    Unauthenticated: (401, ""),
    Denied: (403, ""),
    QuotaExceeded: (403, ""),
    UnsupportedType: (415, ""),
    TooLarge: (413, ""),
    BadName: (400, ""),
    BadRange: (400, ""),
    UsageError: (400, ""),
    NoSuchRoute: (404, ""),
    NotFound: (400, ""),
    DigestMismatch: (400, ""),
    MethodNotAllowed: (405, ""),
    Refused: (400, ""),
    Conflict: (409, ""),
    Busy: (503, ""),
    Unavailable: (503, ""),
    DiskFull: (507, ""),
    LimitReached: (413, ""),
    EntrepotError: (500, ""),
}


def refused(error: EntrepotError) -> Response:
    """The error as its one JSON member."""
    headers = refusal_headers(error)
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    return told(row_of(ERRORS, error)[0], {"error": str(error)}, headers)


def told(status: int, value: object, headers: Sequence[Header] = ()) -> Response:
    """`value` as JSON."""
    return json_response(status, value, [*SHIELD, *headers])


def gone() -> Response:
    """204: the name is not there any more."""
    return Response(204, [(b"cache-control", b"no-store"), *SHIELD])


async def listed(pages: AsyncIterator[Sequence[Listed]]) -> Response:
    """A JSON array: whole if it is short, else streamed, one chunk a page.

    Its first page is fetched here, so that what can be refused is refused before the status line.
    """
    first: list[Listed] = []
    async for page in pages:
        first += page
        if len(first) >= PAGE_ITEMS:
            headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), *SHIELD]
            return Response(200, headers, _array(first, pages))
    return told(200, _items(first))


async def _array(first: Sequence[Listed], rest: AsyncIterator[Sequence[Listed]]) -> AsyncIterator[bytes]:
    yield msgspec.json.encode(_items(first))[:-1]
    async for page in rest:
        text = msgspec.json.encode(_items(page))[1:-1]
        yield b"," + text if text else b""
    yield b"]"


def _items(page: Sequence[Listed]) -> list[dict[str, object]]:
    return [
        {"name": item.name, "size": item.object.size, "lastModified": http_date(item.object.created_at)}
        for item in page
    ]
