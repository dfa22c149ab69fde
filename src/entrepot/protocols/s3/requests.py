"""From an HTTP request to an S3 call. Pure: raw path, query and headers in, one value out."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from entrepot.auth import sigv2
from entrepot.errors import BadName
from entrepot.protocols.base import MethodNotAllowed, Request
from entrepot.protocols.s3 import calls
from entrepot.protocols.s3.calls import AnyCall, Call
from entrepot.protocols.s3.errors import invalid_argument, invalid_bucket_name
from entrepot.services.places import VIRTUAL

CONFIG: Final = frozenset(
    """
    acl policy cors tagging publicAccessBlock ownershipControls lifecycle versioning object-lock location policyStatus
    """.split()
)
_UNSET: Final = frozenset({"policy", "cors", "tagging", "publicAccessBlock", "ownershipControls", "lifecycle"})
_GET_ONLY: Final = frozenset({"location", "policyStatus"})
FACTS: Final = frozenset({"acl", "tagging", "retention", "legal-hold"})
_NOT_DONE: Final = frozenset(
    b"""
    abac annotation append metadataAnnotationTable metadataConfiguration metadataInventoryTable metadataJournalTable
    metadataTable renameObject
    """.split()
)
OPERATIONS: Final = frozenset(word.decode() for word in sigv2.SUB_RESOURCES | sigv2.UNSIGNABLE | _NOT_DONE) - {
    "versionId", "partNumber",
}  # fmt: skip
"""Query keys that choose another operation than that of the bare path."""

_BUCKET: Final[dict[tuple[str, str], type[Call]]] = {
    ("GET", ""): calls.ListObjects,
    ("HEAD", ""): calls.HeadBucket,
    ("PUT", ""): calls.CreateBucket,
    ("DELETE", ""): calls.DeleteBucket,
    ("POST", ""): calls.PostForm,
    ("GET", "versions"): calls.ListVersions,
    ("GET", "uploads"): calls.ListUploads,
    ("POST", "delete"): calls.DeleteObjects,
    **{("GET", word): calls.GetConfig for word in CONFIG},
    **{("PUT", word): calls.PutConfig for word in CONFIG - _GET_ONLY},
    **{("DELETE", word): calls.DeleteConfig for word in _UNSET},
}
_OBJECT: Final[dict[tuple[str, str], type[Call]]] = {
    ("GET", ""): calls.GetObject,
    ("HEAD", ""): calls.GetObject,
    ("PUT", ""): calls.PutObject,
    ("DELETE", ""): calls.DeleteObject,
    ("GET", "attributes"): calls.GetAttributes,
    ("POST", "uploads"): calls.CreateUpload,
    ("PUT", "uploadId"): calls.UploadPart,
    ("GET", "uploadId"): calls.ListParts,
    ("POST", "uploadId"): calls.CompleteUpload,
    ("DELETE", "uploadId"): calls.AbortUpload,
    ("DELETE", "tagging"): calls.DeleteFacts,
    **{("GET", word): calls.GetFacts for word in FACTS},
    **{("PUT", word): calls.PutFacts for word in FACTS},
}
_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"})
# What asks for these must not be passed over in silence; a signed URL has them in its query.
FORBIDDEN: Final = (
    "x-amz-server-side-encryption", "x-amz-copy-source-server-side-encryption", "x-amz-website-redirect", "x-amz-mfa",
    "x-amz-write-offset",
)  # fmt: skip


def parse(request: Request, hosts: Sequence[str] = ()) -> AnyCall:
    """The call this request means. Raises: MethodNotAllowed; BadName; S3Error."""
    path = resource(request, hosts)
    raw_bucket, _, raw_key = path[1:].partition(b"/")
    bucket, key, query = _text(raw_bucket), _text(raw_key), query_of(request.raw_query)
    if request.method not in _METHODS:
        raise MethodNotAllowed(", ".join(sorted(_METHODS)))
    if request.method == "OPTIONS":
        return calls.Preflight(bucket, key, query)
    if not bucket and key:
        raise invalid_bucket_name()
    if not bucket:  # any method: a proof is judged before it
        return calls.ListBuckets(bucket, key, query)
    if bucket in VIRTUAL and request.method not in ("GET", "HEAD"):
        raise MethodNotAllowed("GET, HEAD")
    asked = operation(query)
    kind = (_OBJECT if key else _BUCKET).get((request.method, asked))
    said = {name.decode("latin-1") for name, _ in request.headers} | {name.lower() for name in query}
    if kind is None or any(name.startswith(FORBIDDEN) for name in said):
        kind = calls.Unimplemented
    elif "x-amz-copy-source" in said and kind in (calls.PutObject, calls.UploadPart):
        kind = calls.CopyObject if kind is calls.PutObject else calls.CopyPart
    made: AnyCall = kind(bucket, key, query)  # type: ignore[assignment]
    return made


def check_new(call: Call) -> None:
    """Nothing, if that is what a new object can be named by. Raises: BadName; S3Error."""
    if call.query.keys() & {"versionId", "partNumber"}:
        raise invalid_argument("This operation does not accept a version id, nor a part number without an upload id.")
    depth = 0
    for segment in call.key.split("/") if ".." in call.key else ():
        depth += -1 if segment == ".." else segment not in ("", ".")
        if depth < 0:
            raise BadName("a key does not climb above its bucket", why="browsers and tools would")


def operation(query: Mapping[str, str]) -> str:
    """The query key that chooses the operation, or two of them in one word; empty for the bare path's own."""
    found = sorted(OPERATIONS & query.keys())
    return "+".join(found)


def resource(request: Request, hosts: Sequence[str] = ()) -> bytes:
    """The raw path with the bucket in front, which may stand in the Host header."""
    host = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdigit() else request.host
    for known in sorted(hosts, key=len, reverse=True):
        if host.lower() == known:
            break
        bucket = host.lower().removesuffix(f".{known}")
        if bucket and bucket != host.lower():
            return b"/" + bucket.encode("latin-1") + request.raw_path
    return request.raw_path


def query_of(raw: bytes) -> dict[str, str]:
    """The query, decoded once; of twins the first counts. Raises: S3Error for what is no UTF-8 or holds a NUL."""
    found: dict[str, str] = {}
    for name, value in sigv2.parameters(raw):
        try:
            found.setdefault(name.decode(), (value or b"").decode())
        except UnicodeDecodeError as error:
            raise invalid_argument("the query is not UTF-8") from error
        if b"\0" in name + (value or b""):
            raise invalid_argument("the query holds a NUL")
    return found


def _text(raw: bytes) -> str:
    if b"%00" in raw:
        raise BadName("a key holds no NUL")
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise BadName("a key is UTF-8") from error
