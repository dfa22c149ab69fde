"""Answers and errors of `/v2/`.

Source: OCI distribution-spec 1.1, "Error Codes"; distribution/distribution:docs/content/spec/auth/token.md.
"""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec

from entrepot.errors import (
    BadDigest,
    BadManifest,
    BadName,
    BadRange,
    Busy,
    Conflict,
    Denied,
    DigestMismatch,
    DiskFull,
    EntrepotError,
    InUse,
    LimitReached,
    MissingReferences,
    NoBlob,
    NoManifest,
    NotFound,
    NoUpload,
    PreconditionFailed,
    QuotaExceeded,
    ReadOnly,
    Refused,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UsageError,
    WrongOffset,
    WrongSize,
)
from entrepot.formats.image_manifest import OCI_INDEX
from entrepot.model import NamedDigest, utc_text
from entrepot.protocols.base import ErrorTable, Header, MethodNotAllowed, Response, refusal_headers, row_of
from entrepot.protocols.browser import SHIELD
from entrepot.protocols.oci.calls import (
    BeginUpload,
    Call,
    DeleteBlob,
    DeleteManifest,
    ListRepositories,
    OfUpload,
    Ping,
    PutManifest,
)
from entrepot.protocols.oci.requests import TooManyTags
from entrepot.services.registry_tokens import TOKEN_SECONDS, RegistryToken
from entrepot.services.sessions import Session

VERSION: Final[Header] = (b"docker-distribution-api-version", b"registry/2.0")
SERVICE: Final = "entrepot"
JSON: Final[Header] = (b"content-type", b"application/json")
_NO_STORE: Final[Header] = (b"cache-control", b"no-store")


class ManifestTooLarge(TooLarge):
    """A manifest over the limit."""


ERRORS: Final[ErrorTable] = {
    NoManifest: (404, "MANIFEST_UNKNOWN"),
    NoBlob: (404, "BLOB_UNKNOWN"),
    NoUpload: (404, "BLOB_UPLOAD_UNKNOWN"),
    NotFound: (404, "NAME_UNKNOWN"),
    Unauthenticated: (401, "UNAUTHORIZED"),
    Denied: (403, "DENIED"),
    TooManyTags: (414, "MANIFEST_INVALID"),
    BadDigest: (400, "DIGEST_INVALID"),
    DigestMismatch: (400, "DIGEST_INVALID"),
    BadName: (400, "NAME_INVALID"),
    WrongOffset: (416, "BLOB_UPLOAD_INVALID"),
    BadRange: (416, "SIZE_INVALID"),
    MissingReferences: (400, "MANIFEST_BLOB_UNKNOWN"),
    WrongSize: (400, "SIZE_INVALID"),
    BadManifest: (400, "MANIFEST_INVALID"),
    UsageError: (400, "UNSUPPORTED"),
    ManifestTooLarge: (413, "MANIFEST_INVALID"),
    TooLarge: (413, "SIZE_INVALID"),
    QuotaExceeded: (403, "DENIED"),
    DiskFull: (507, "DENIED"),
    LimitReached: (413, "DENIED"),
    InUse: (405, "UNSUPPORTED"),
    ReadOnly: (405, "UNSUPPORTED"),
    PreconditionFailed: (412, "DENIED"),
    Conflict: (409, "DENIED"),
    Busy: (429, "TOOMANYREQUESTS"),
    Unavailable: (429, "TOOMANYREQUESTS"),
    MethodNotAllowed: (405, "UNSUPPORTED"),
    Refused: (400, "UNSUPPORTED"),
    EntrepotError: (500, "UNKNOWN"),
}
_WRITING: Final = (PutManifest, BeginUpload)


def refused(error: EntrepotError, call: Call | None, base_url: str) -> Response:
    """The error in the registry's own format; a stranger is told where tokens are."""
    status, code = row_of(ERRORS, error)
    headers = [VERSION, JSON, _NO_STORE, *SHIELD, *refusal_headers(error)]
    if status == 401:
        headers.append(_challenge(call, base_url))
    if isinstance(error, InUse | ReadOnly):
        headers.append((b"allow", b"GET, HEAD"))
    if isinstance(error, WrongOffset) and isinstance(call, OfUpload):
        headers += session_headers(call.path, Session(str(UUID(call.upload)), error.offset))
    body = msgspec.json.encode({"errors": _errors(error, code)})
    return Response(status, headers, body)


def _errors(error: EntrepotError, code: str) -> list[dict[str, object]]:
    if isinstance(error, MissingReferences):
        said = "is not in this repository; push it first"
        return [{"code": code, "message": f"{digest} {said}", "detail": {"digest": digest}} for digest in error.digests]
    detail: dict[str, object] = {}
    if isinstance(error, InUse):
        detail = {"manifests": list(error.users)}
    elif isinstance(error, WrongOffset):
        detail = {"offset": error.offset}
    elif isinstance(error, QuotaExceeded):
        detail = {"why": error.why}
    return [{"code": code, "message": str(error), "detail": detail}]


def _challenge(call: Call | None, base_url: str) -> Header:
    """Where a token is to be had. Clients read the first of these words, or the last: there is one."""
    text = f'Bearer realm="{base_url}/v2/token",service="{SERVICE}"'
    if isinstance(call, ListRepositories):
        text += ',scope="registry:catalog:*"'
    elif call is not None and not isinstance(call, Ping) and hasattr(call, "path"):
        rights = "pull,push" if isinstance(call, _WRITING) or hasattr(call, "upload") else "pull"
        rights = "delete" if isinstance(call, DeleteManifest | DeleteBlob) else rights
        text += f',scope="repository:{call.path}:{rights}"'
    return b"www-authenticate", text.encode()


def told(value: object, headers: Sequence[Header] = ()) -> Response:
    """`value` as JSON."""
    return Response(200, [VERSION, JSON, _NO_STORE, *SHIELD, *headers], msgspec.json.encode(value))


def token(found: RegistryToken) -> Response:
    """A token, under both of its names."""
    body: dict[str, object] = {
        "token": found.text, "access_token": found.text, "expires_in": TOKEN_SECONDS,
        "issued_at": utc_text(found.issued_at),
    }  # fmt: skip
    if found.refresh:
        body["refresh_token"] = found.refresh
    return told(body)


def _next(path: str, **query: object) -> Header:
    return b"link", f'<{path}?{urlencode(query)}>; rel="next"'.encode()


def repositories(found: Sequence[str], limit: int, *, more: bool) -> Response:
    """A page of names."""
    return told({"repositories": list(found)}, [_next("/v2/_catalog", n=limit, last=found[-1])] if more else [])


def tags(path: str, found: Sequence[str], limit: int, *, more: bool) -> Response:
    """A page of tags."""
    link = [_next(f"/v2/{path}/tags/list", n=limit, last=found[-1])] if more else []
    return told({"name": path, "tags": list(found)}, link)


def referrers(
    path: str, subject: NamedDigest, shown: Sequence[dict[str, Any]], artifact_type: str | None, after: str | None
) -> Response:
    """An image index of what refers to a manifest; `after` is where the next page begins."""
    headers = [VERSION, (b"content-type", OCI_INDEX.encode()), _NO_STORE, *SHIELD]
    asked: dict[str, object] = {}
    if artifact_type is not None:
        headers.append((b"oci-filters-applied", b"artifactType"))
        asked["artifactType"] = artifact_type
    if after is not None:
        headers.append(_next(f"/v2/{path}/referrers/{subject}", **asked, last=after))
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(shown)}
    return Response(200, headers, msgspec.json.encode(body))


def kept(path: str, kind: str, digest: NamedDigest, headers: Sequence[Header] = ()) -> Response:
    """201: a blob or manifest is in the repository."""
    location = f"/v2/{path}/{kind}/{digest}".encode()
    return Response(201, [VERSION, (b"location", location), _digest(digest), *headers])


def session(status: int, path: str, found: Session) -> Response:
    """How far an upload is, and where it goes on."""
    return Response(status, [VERSION, *session_headers(path, found)])


def session_headers(path: str, found: Session) -> list[Header]:
    """The same as headers. `Range: 0-0` is one byte, or none."""
    return [
        (b"location", f"/v2/{path}/blobs/uploads/{quote(found.id)}".encode()),
        (b"range", f"0-{max(0, found.offset - 1)}".encode()),
        (b"docker-upload-uuid", found.id.encode()),
        (b"upload-offset", str(found.offset).encode()),
    ]


def _digest(digest: NamedDigest) -> Header:
    return b"docker-content-digest", str(digest).encode()


def content_headers(media_type: str, digest: NamedDigest) -> list[Header]:
    """Of bytes going out. They are never changed, whatever a browser would make of them."""
    saved = (b"content-disposition", b"attachment")
    return [VERSION, (b"content-type", media_type.encode()), _digest(digest), saved, *SHIELD]
