"""Answers and errors of `/api/v1`: the shapes of `entrepot.shapes`, errors as `application/problem+json`."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from entrepot import shapes
from entrepot.auth.permissions import UNKNOWN
from entrepot.catalog.accounts import AccessKey, Account, Token
from entrepot.catalog.tags import Move
from entrepot.catalog.uploads import Piece
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
    NoBucket,
    NotFound,
    PreconditionFailed,
    ReadOnly,
    Refused,
    TooOften,
    Unauthenticated,
    Unavailable,
    UsageError,
)
from entrepot.formats.content import Content
from entrepot.formats.sif import Sif
from entrepot.model import (
    MAX_QUOTA,
    Blob,
    Bucket,
    CommonPrefix,
    Page,
    Project,
    Repository,
    StoredObject,
    utc_text,
)
from entrepot.principals import Kind, Principal
from entrepot.protocols.base import (
    ErrorTable,
    MethodNotAllowed,
    Response,
    UnsupportedType,
    refusal_headers,
    row_of,
)
from entrepot.services.identity import Minted
from entrepot.services.uploads import PART_BYTES, Session

ERRORS: Final[ErrorTable] = {
    Unauthenticated: (401, ""),
    Denied: (403, ""),
    NotFound: (404, ""),
    MethodNotAllowed: (405, ""),
    PreconditionFailed: (412, ""),
    Conflict: (409, ""),
    BadRange: (416, ""),
    UnsupportedType: (415, ""),
    BadName: (400, ""),
    UsageError: (400, ""),
    DigestMismatch: (422, ""),
    DiskFull: (507, ""),
    LimitReached: (413, ""),
    TooOften: (429, ""),
    Busy: (503, ""),
    Unavailable: (503, ""),
    ReadOnly: (405, ""),
    Refused: (400, ""),
    EntrepotError: (500, ""),
}
_DURATION: Final = re.compile(r"(\d{1,9})([smhdw]?)\Z")
_UNIT_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def refused(error: EntrepotError, request_id: str, principal: Principal) -> Response:
    """The error as a problem document. Source: RFC 9457.

    A bucket that is missing answers as one the principal may not know of.
    """
    if isinstance(error, NoBucket):
        stranger = principal.kind is Kind.ANONYMOUS
        error = Unauthenticated("log in first", advice="send a token") if stranger else NotFound(UNKNOWN)
    status = row_of(ERRORS, error)[0]
    headers = [(b"content-type", b"application/problem+json"), (b"cache-control", b"no-store"), *refusal_headers(error)]
    if isinstance(error, ReadOnly):
        headers.append((b"allow", b"GET, HEAD"))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    problem = shapes.Problem(error.code, error.what, status, why=error.why, advice=error.advice, request_id=request_id)
    return Response(status, headers, msgspec.json.encode(problem))


def seconds_of(text: str) -> int:
    """`14d`, `12h`, `30m`, `90s`, `2w` or plain seconds. Raises: BadName."""
    found = _DURATION.match(text)
    if not found or int(found[1]) == 0:
        raise BadName(f"not a duration: {text!r}", advice="write 14d, 12h, 30m or 90s")
    return int(found[1]) * _UNIT_SECONDS[found[2]]


def object_shape(stored: StoredObject, blob: Blob | None = None, content: Content | None = None) -> shapes.ObjectShape:
    """An object, with the checksums of its blob and what its bytes are, if they are given."""
    checksums = {"sha256": stored.digest.hex}
    if blob:
        checksums |= {algorithm.value: text for algorithm, text in blob.checksums.items()}
    return shapes.ObjectShape(
        ref=f"object:{stored.project}:{stored.bucket}/{stored.key}",
        project=stored.project,
        bucket=stored.bucket,
        key=stored.key,
        digest=str(stored.digest),
        size=stored.size,
        type=stored.content_type,
        labels=dict(stored.metadata),
        checksums=checksums,
        created=utc_text(stored.created_at),
        expires=utc_text(stored.expires_at) if stored.expires_at is not None else None,
        sniffed=content.media_type if content else None,
        sif=_sif_shape(content.sif) if content and content.sif else None,
    )


def _sif_shape(found: Sif) -> shapes.SifShape:
    return shapes.SifShape(
        found.architecture, utc_text(found.created_at) if found.created_at else "", found.signed, found.encrypted,
        list(found.fingerprints),
        [shapes.PartitionShape(one.file_system, one.kind, one.architecture, one.size) for one in found.partitions],
        found.labels, found.definition,
    )  # fmt: skip


def page_shape(page: Page) -> shapes.ObjectPage:
    """A page of a list."""
    return shapes.ObjectPage(
        objects=[object_shape(item) for item in page.items if isinstance(item, StoredObject)],
        prefixes=[shapes.PrefixShape(item.prefix) for item in page.items if isinstance(item, CommonPrefix)],
        next=page.next,
    )


def ranges(pieces: Sequence[Piece]) -> list[shapes.Range]:
    """What an upload holds."""
    return [shapes.Range(piece.start, piece.stop, piece.sha256) for piece in pieces]


def upload_shape(session: Session, base: str) -> shapes.UploadShape:
    """An open upload and where to send its parts."""
    return shapes.UploadShape(f"{base}/api/v1/uploads/{session.id}", PART_BYTES, ranges(session.have), session.maybe)


def state_shape(session: Session) -> shapes.UploadState:
    """How far an upload is."""
    stored = object_shape(session.object) if session.object else None
    return msgspec.convert({"state": session.state, "have": ranges(session.have), "object": stored}, shapes.UploadState)


def token_answer(minted: Minted) -> shapes.TokenAnswer:
    """A new token."""
    return shapes.TokenAnswer(minted.text, minted.jti, minted.account.name, utc_text(minted.expires_at))


def token_shape(token: Token) -> shapes.TokenShape:
    """A token, without its text."""
    return shapes.TokenShape(
        token.jti, token.account, utc_text(token.issued_at), utc_text(token.expires_at), token.revoked
    )


def user_shape(account: Account) -> shapes.UserShape:
    """A user or robot."""
    return shapes.UserShape(
        account.name,
        account.kind.value,
        account.admin,
        account.disabled,
        account.project,
        utc_text(account.created_at),
    )


def project_shape(project: Project) -> shapes.ProjectShape:
    """A project; a quota of 2^63-1 is none."""
    return shapes.ProjectShape(project.name, _quota(project.quota), project.used, project.reserved, project.objects)


def bucket_shape(bucket: Bucket) -> shapes.BucketShape:
    """A bucket."""
    return shapes.BucketShape(bucket.project, bucket.name, bucket.public, utc_text(bucket.created_at))


def repository_shape(found: Repository) -> shapes.RepositoryShape:
    """A repository."""
    return shapes.RepositoryShape(
        found.path, found.public, list(found.config.get("immutable_tags", [])),
        bool(found.config.get("sparse_index")), utc_text(found.created_at),
    )  # fmt: skip


def tag_move(found: Move) -> shapes.TagMove:
    """A move of a tag."""
    return shapes.TagMove(found.name, str(found.digest) if found.digest else None, found.principal, utc_text(found.at))


def key_shape(key: AccessKey, secret: str | None = None) -> shapes.KeyShape:
    """An access key, its secret only when it is new."""
    return shapes.KeyShape(key.id, key.account.name, key.project, utc_text(key.created_at), secret)


def me(principal: Principal, projects: Sequence[Project]) -> shapes.Me:
    """Who is calling."""
    return shapes.Me(
        name=principal.name,
        kind=principal.kind.value,
        admin=principal.admin,
        groups=list(principal.groups),
        job=principal.job,
        project=principal.project,
        projects=[
            shapes.MyProject(found.name, principal.roles[found.id].name.lower(), found.used, _quota(found.quota))
            for found in projects
        ],
        expires=utc_text(principal.expires_at) if principal.expires_at is not None else None,
    )


def _quota(quota: int) -> int | None:
    return None if quota == MAX_QUOTA else quota
