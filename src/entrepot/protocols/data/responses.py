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
    MethodNotAllowed,
    NoSuchRoute,
    Response,
    UnsupportedType,
    json_response,
    refusal_headers,
    row_of,
)
from entrepot.protocols.delivery import http_date
from entrepot.services.areas import Listed

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
    return json_response(row_of(ERRORS, error)[0], {"error": str(error)}, headers)


def listed(pages: AsyncIterator[Sequence[Listed]]) -> Response:
    """A JSON array, streamed: one chunk a page."""
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    return Response(200, headers, _array(pages))


async def _array(pages: AsyncIterator[Sequence[Listed]]) -> AsyncIterator[bytes]:
    first = True
    async for page in pages:
        items = [
            {"name": item.name, "size": item.object.size, "lastModified": http_date(item.object.created_at)}
            for item in page
        ]
        text = msgspec.json.encode(items)[1:-1]
        yield (b"[" if first else b"," if text else b"") + text
        first = False
    yield b"[]" if first else b"]"
