"""Answers and errors as S3 clients expect them: XML, a code and a message that are never empty."""

from typing import Final
from xml.sax.saxutils import escape

from entrepot.auth.sigv2 import ClockSkewed, WrongSignature
from entrepot.errors import (
    BadName,
    BadRange,
    BodyCut,
    Busy,
    Conflict,
    Denied,
    DigestMismatch,
    DiskFull,
    EntrepotError,
    Hidden,
    LimitReached,
    NoBucket,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    Refused,
    TooLarge,
    Unavailable,
    UsageError,
)
from entrepot.protocols.base import (
    ErrorTable,
    Header,
    LengthRequired,
    MethodNotAllowed,
    Request,
    Response,
    refusal_headers,
    row_of,
)
from entrepot.protocols.browser import SHIELD

# 403 and no other code means "this URL is no longer good": workers renew on 403 alone.
ERRORS: Final[ErrorTable] = {
    WrongSignature: (403, "SignatureDoesNotMatch"),
    ClockSkewed: (403, "RequestTimeTooSkewed"),
    Denied: (403, "AccessDenied"),
    QuotaExceeded: (403, "QuotaExceeded"),
    Hidden: (403, "AccessDenied"),
    NoBucket: (404, "NoSuchBucket"),
    NotFound: (404, "NoSuchKey"),
    LengthRequired: (411, "MissingContentLength"),
    BadRange: (416, "InvalidRange"),
    BodyCut: (400, "IncompleteBody"),
    BadName: (400, "InvalidArgument"),
    UsageError: (400, "InvalidRequest"),
    DigestMismatch: (400, "BadDigest"),
    PreconditionFailed: (412, "PreconditionFailed"),
    Conflict: (409, "OperationAborted"),
    TooLarge: (400, "EntityTooLarge"),
    DiskFull: (507, "InsufficientStorage"),
    LimitReached: (400, "EntityTooLarge"),
    MethodNotAllowed: (405, "MethodNotAllowed"),
    Refused: (501, "NotImplemented"),
    Busy: (503, "SlowDown"),
    Unavailable: (503, "ServiceUnavailable"),
    EntrepotError: (500, "InternalError"),
}


def refused(error: EntrepotError, request: Request) -> Response:
    """The error as XML, with the request's id."""
    status, code = row_of(ERRORS, error)
    path = escape(request.raw_path.decode("latin-1"))
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(_printable(str(error)))}</Message><Resource>{_printable(path)}</Resource>"
        f"<RequestId>{request.id}</RequestId></Error>"
    )
    headers = [*with_id(request), (b"content-type", b"application/xml"), *SHIELD, *refusal_headers(error)]
    return Response(status, headers, body.encode())


def _printable(text: str) -> str:
    """XML 1.0 has no control characters, not even escaped."""
    return "".join(letter if letter.isprintable() or letter in "\t\n" else "?" for letter in text)


def with_id(request: Request) -> list[Header]:
    """The header every S3 answer has."""
    return [(b"x-amz-request-id", request.id.upper().encode())]
