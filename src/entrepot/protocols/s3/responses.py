"""Answers and errors as S3 clients expect them: XML, a code and a message that are never empty."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from entrepot.auth import sigv2
from entrepot.auth.bucket_policy import MalformedPolicy
from entrepot.auth.post_policy import BadPolicy
from entrepot.auth.sigv2 import (
    BadForm,
    BadHeader,
    BadProof,
    BadQuery,
    ClockSkewed,
    Malformed,
    SignedTwice,
    WrongSignature,
)
from entrepot.errors import (
    BadName,
    BadPart,
    BadRange,
    BodyCut,
    BucketNotEmpty,
    Busy,
    Conflict,
    Deleted,
    Denied,
    DigestMismatch,
    DiskFull,
    EntrepotError,
    Hidden,
    LimitReached,
    Locked,
    MarkerAsked,
    NameTooLong,
    NoBucket,
    NotFound,
    NothingToReplace,
    NoUpload,
    NoVersion,
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
from entrepot.protocols.s3 import xml
from entrepot.protocols.s3.errors import S3Error, invalid_argument

# 403 and no other code means "this URL is no longer good": workers renew on 403 alone.
ERRORS: Final[ErrorTable] = {
    WrongSignature: (403, "SignatureDoesNotMatch"),
    ClockSkewed: (403, "RequestTimeTooSkewed"),
    BadHeader: (400, "AuthorizationHeaderMalformed"),
    BadQuery: (400, "AuthorizationQueryParametersError"),
    BadForm: (400, "InvalidArgument"),
    SignedTwice: (400, "InvalidArgument"),
    BadPolicy: (400, "InvalidPolicyDocument"),
    Denied: (403, "AccessDenied"),
    QuotaExceeded: (403, "QuotaExceeded"),
    Hidden: (403, "AccessDenied"),
    NoBucket: (404, "NoSuchBucket"),
    NoUpload: (404, "NoSuchUpload"),
    NoVersion: (404, "NoSuchVersion"),
    NothingToReplace: (404, "NoSuchKey"),
    MalformedPolicy: (400, "MalformedPolicy"),
    MarkerAsked: (405, "MethodNotAllowed"),
    BucketNotEmpty: (409, "BucketNotEmpty"),
    NotFound: (404, "NoSuchKey"),
    LengthRequired: (411, "MissingContentLength"),
    BadRange: (416, "InvalidRange"),
    BadPart: (400, "InvalidPart"),
    BodyCut: (400, "IncompleteBody"),
    NameTooLong: (400, "KeyTooLongError"),
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


SHOWN_SIGNATURE: Final = 8
"""Characters of a signature that an error shows."""
BUCKET_ERRORS: Final = (NoBucket,)
"""These are about the whole request, not one of its names."""
_MESSAGES: Final = {
    "AccessDenied": "Access Denied",
    "BucketNotEmpty": "The bucket you tried to delete is not empty",
    "IncompleteBody": "You did not provide the number of bytes specified by the Content-Length HTTP header",
    "KeyTooLongError": "Your key is too long",
    "MethodNotAllowed": "The specified method is not allowed against this resource.",
    "NoSuchBucket": "The specified bucket does not exist",
    "NoSuchUpload": (
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed."
    ),
    "NoSuchKey": "The specified key does not exist.",
    "NoSuchVersion": "The specified version does not exist.",
    "PreconditionFailed": "At least one of the pre-conditions you specified did not hold",
    "InvalidRange": "The requested range is not satisfiable",
    "RequestTimeTooSkewed": "The difference between the request time and the current time is too large.",
    "SignatureDoesNotMatch": (
        "The request signature we calculated does not match the signature you provided. Check your key and signing "
        "method."
    ),
    "SlowDown": "Please reduce your request rate.",
}
"""Where clients look for AWS's own words."""


def refused(error: EntrepotError, request: Request, resource: bytes = b"") -> Response:
    """The error as XML, with the request's id. `resource` is the raw path with the bucket in front."""
    status, code = code_of(error)
    headers = [*with_id(request), (b"content-type", b"application/xml"), *SHIELD, *refusal_headers(error)]
    if isinstance(error, Deleted | MarkerAsked):
        headers += [(b"x-amz-delete-marker", b"true"), (b"x-amz-version-id", error.version.encode())]
    if isinstance(error, MarkerAsked):
        headers.append((b"allow", b"DELETE"))
    if isinstance(error, Malformed) and error.region:
        headers.append((b"x-amz-bucket-region", error.region.encode()))
    body = xml.document(
        "Error", ("Code", code), ("Message", message_of(code, error)),
        *(_details(error, request) or _missing(status, code, request, resource or request.raw_path)),
        ("Resource", request.raw_path.decode("latin-1")), ("RequestId", request_id(request)), namespace="",
    )  # fmt: skip
    return Response(status, headers, body)


def code_of(error: EntrepotError) -> tuple[int, str]:
    """Status and code."""
    return (error.status, error.s3_code) if isinstance(error, S3Error) else row_of(ERRORS, error)


def message_of(code: str, error: EntrepotError) -> str:
    """AWS's own words where clients look for them, else ours; never empty. What is wrong with a proof is said."""
    if isinstance(error, Locked):
        return "Access Denied because object protected by object lock."
    own = isinstance(error, S3Error) or (code == "AccessDenied" and isinstance(error, BadProof))
    return ("" if own else _MESSAGES.get(code)) or str(error) or code


def _details(error: EntrepotError, request: Request) -> Sequence[xml.Item]:
    """The elements that follow the message."""
    match error:
        case PreconditionFailed():
            return [("Condition", _failed_condition(request))]
        case MarkerAsked():
            return [("Method", request.method), ("ResourceType", "DeleteMarker")]
        case MethodNotAllowed():
            return [("Method", request.method), ("ResourceType", "SERVICE" if request.raw_path == b"/" else "OBJECT")]
        case S3Error():
            return error.details
        case Malformed() if error.region:
            return [("Region", error.region)]
        case NameTooLong():
            return [("Size", error.size), ("MaxSizeAllowed", error.most)]
        case WrongSignature():
            return _signed_texts(error)
        case _:
            return ()


def _failed_condition(request: Request) -> str:
    """The header that did not hold: of a pair the first is judged alone."""
    if request.header(b"if-match") is not None:
        return "If-Match"
    return "If-Unmodified-Since" if request.method in ("GET", "HEAD") else "If-None-Match"


def _missing(status: int, code: str, request: Request, resource: bytes) -> Sequence[xml.Item]:
    """What is not there, or in the way: a key, one of its versions, or the bucket."""
    bucket, _, key = (unquote_to_bytes(part).decode("utf-8", "replace") for part in resource[1:].partition(b"/"))
    if code == "NoSuchKey" and key:
        return [("Key", key)]
    if code == "NoSuchVersion":
        version = dict(sigv2.parameters(request.raw_query)).get(b"versionId") or b""
        return [("Key", key), ("VersionId", version.decode("utf-8", "replace"))]
    bucket_wide = code == "NoSuchBucket" or (status in (404, 409) and not key)
    return [("BucketName", bucket)] if bucket_wide and bucket else []


def _signed_texts(error: WrongSignature) -> list[xml.Item]:
    """What we signed, for whoever looks for the difference."""
    shown: list[xml.Item] = [
        ("AWSAccessKeyId", error.access_key), ("SignatureProvided", error.signature[:SHOWN_SIGNATURE]),
    ]  # fmt: skip
    texts = (("StringToSign", error.string_to_sign), ("CanonicalRequest", error.canonical_request))
    for name, text in texts:
        if text:
            shown += [(name, text.decode("utf-8", "replace")), (f"{name}Bytes", text.hex(" "))]
    return shown


def request_id(request: Request) -> str:
    """The request's id as S3 clients show it."""
    return request.id.upper()


def with_id(request: Request) -> list[Header]:
    """The header every S3 answer has."""
    return [(b"x-amz-request-id", request_id(request).encode())]


def xml_response(request: Request, document: bytes, headers: Sequence[Header] = (), status: int = 200) -> Response:
    """A document."""
    return Response(status, [*with_id(request), (b"content-type", b"application/xml"), *headers], document)


def checksum_items(found: tuple[str, str, str] | None) -> list[xml.Item]:
    """A checksum as elements: name, type and base64 in, `ChecksumCRC32` and `ChecksumType` out."""
    return [(f"Checksum{found[0]}", found[2]), ("ChecksumType", found[1])] if found else []


def count_of(text: str | None, default: int, name: str, most: int = 1000) -> int:
    """A number of items that was asked for, `most` at most. Raises: S3Error."""
    if text is None or text == "":
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 11):
        raise invalid_argument(f"Provided {name} not an integer or within integer range", name, text)
    return min(int(text), most)
