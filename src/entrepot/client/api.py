"""The calls of `/api/v1` about bytes: each is a small flow from words to a shape."""

import base64
import hashlib
from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from entrepot.client.answers import decoded
from entrepot.client.flow import Buffer, Flow, Reply, Request, pause, send, work
from entrepot.client.plan import Step
from entrepot.client.reference import BlobRef, ObjectRef, RepositoryBytes
from entrepot.errors import Conflict, DigestMismatch, NotFound, Refused
from entrepot.shapes import (
    BucketRequest,
    BucketShape,
    CommitRequest,
    Committed,
    Link,
    LinkRequest,
    Me,
    ObjectPage,
    ObjectShape,
    PutAnswer,
    UploadRequest,
    UploadShape,
    UploadState,
)

BASE: Final = "/api/v1"
PAGE_ITEMS: Final = 1000
_JSON: Final = {"Content-Type": "application/json"}
_LONGEST_POLL_SECONDS: Final = 2.0


def json_request(
    method: str,
    url: str,
    name: str,
    shape: msgspec.Struct | None = None,
    *,
    repeat: bool = True,
    anonymous: bool = False,
) -> Request:
    """A request with `shape` as its JSON body."""
    body = msgspec.json.encode(shape) if shape is not None else None
    return Request(method, url, name, _JSON if body else {}, body, repeat=repeat, anonymous=anonymous)


def me() -> Flow[Me]:
    """Who this token is. Raises: Unauthenticated."""
    return decoded((yield from send(Request("GET", f"{BASE}/me", "me"))), Me)


def buckets(project: str | None) -> Flow[list[BucketShape]]:
    """The buckets of a project, None: one's own."""
    query = f"?{urlencode({'project': project})}" if project else ""
    return decoded((yield from send(Request("GET", f"{BASE}/buckets{query}", "buckets"))), list[BucketShape])


def make_bucket(place: str) -> Flow[BucketShape]:
    """The bucket `[PROJECT:]NAME`, made if there is none. Raises: Denied."""
    request = json_request("PUT", f"{BASE}/buckets/{quote(place, safe=':')}", f"bucket {place}", BucketRequest())
    return decoded((yield from send(request)), BucketShape)


def inspect(ref: ObjectRef) -> Flow[ObjectShape]:
    """All about one object. Raises: NotFound."""
    return decoded((yield from send(Request("GET", f"{BASE}/inspect/{ref.path}", f"{ref}"))), ObjectShape)


def page(ref: ObjectRef, after: str = "", delimiter: str = "", limit: int = PAGE_ITEMS) -> Flow[ObjectPage]:
    """Objects whose key begins with that of `ref`, in order, from behind the marker `after`."""
    query = {"prefix": ref.key, "after": after, "delimiter": delimiter, "limit": str(limit)}
    words = urlencode({name: value for name, value in query.items() if value})
    url = f"{BASE}/objects/{quote(ref.place, safe=':')}?{words}"
    return decoded((yield from send(Request("GET", url, f"list of {ref}"))), ObjectPage)


def delete(ref: ObjectRef) -> Flow[None]:
    """Nothing; the object is in the trash. Raises: NotFound; Denied."""
    yield from send(Request("DELETE", f"{BASE}/objects/{ref.path}", f"{ref}"))


def link(ref: ObjectRef, seconds: int) -> Flow[Link]:
    """A signed URL to read it. Raises: NotFound; Denied."""
    return decoded(
        (yield from send(json_request("POST", f"{BASE}/links", "link", LinkRequest(str(ref), seconds)))), Link
    )


def url_of(ref: ObjectRef | BlobRef | RepositoryBytes) -> str:
    """Where its bytes are."""
    match ref:
        case ObjectRef():
            return f"{BASE}/objects/{ref.path}"
        case BlobRef():
            return f"{BASE}/blobs/{ref}"
        case RepositoryBytes():
            return ref.path


def head(ref: ObjectRef | BlobRef) -> Flow[Reply]:
    """Headers of its bytes. Raises: NotFound."""
    return (yield from send(Request("HEAD", url_of(ref), f"{ref}")))


def put_object(
    ref: ObjectRef, body: Buffer, type_: str | None, expires: str | None, moved: Callable[[int], None], *, absent: bool
) -> Flow[PutAnswer]:
    """The whole object in one request. Raises: as `open_upload`, and DigestMismatch."""
    query = f"?{urlencode({'expires': expires})}" if expires else ""
    headers = {"Content-Digest": content_digest(body)}
    headers |= {"Content-Type": type_} if type_ else {}
    headers |= {"If-None-Match": "*"} if absent else {}
    request = Request("PUT", f"{BASE}/objects/{ref.path}{query}", f"{ref}", headers, body, moved=moved)
    return decoded((yield from send(request)), PutAnswer)


def open_upload(request: UploadRequest) -> Flow[UploadShape | Committed]:
    """An upload, new or begun before; or the object, if its bytes are there and ours to read.

    Raises: NotFound, for the bucket; Conflict; TooLarge; QuotaExceeded; Denied.
    """
    reply = yield from send(json_request("POST", f"{BASE}/uploads", f"upload to {request.to}", request))
    found = decoded(reply, _Opened)
    if found.object is not None:
        return decoded(reply, Committed)
    return decoded(reply, UploadShape)


class _Opened(msgspec.Struct, frozen=True):
    """Tells the two answers to POST /uploads apart."""

    object: ObjectShape | None = None


def put_part(upload: UploadShape, step: Step, body: Buffer, moved: Callable[[int], None]) -> Flow[None]:
    """Nothing; the server holds this part. Raises: DigestMismatch, if it was changed on its way."""
    headers = {"Content-Digest": (yield from work(lambda: content_digest(body)))}
    name = f"part at {step.start}"
    yield from send(Request("PUT", f"{upload.url}/{step.start}", name, headers, body, moved=moved))


def commit(upload: UploadShape, ref: ObjectRef, size: int, digest_hex: str) -> Flow[ObjectShape]:
    """The object this upload became. Raises: DigestMismatch; Conflict; QuotaExceeded."""
    request = json_request("POST", f"{upload.url}/commit", "commit", CommitRequest(size, digest_hex))
    try:
        reply = yield from send(request)
    except NotFound:
        # the answer to an earlier try may have been lost: then the object is there
        found = yield from inspect(ref)
        if found.digest != f"sha256:{digest_hex}":
            raise
        return found
    if reply.status != HTTPStatus.ACCEPTED:
        return decoded(reply, Committed).object
    return (yield from _poll(upload))


def _poll(upload: UploadShape) -> Flow[ObjectShape]:
    seconds = 0.1
    while True:
        yield from pause(seconds)
        state = decoded((yield from send(Request("GET", upload.url, "state of the upload"))), UploadState)
        if state.state == "done" and state.object is not None:
            return state.object
        if state.state == "open":
            raise Conflict("the upload was not completed", why="the server opened it again", advice="run it again")
        seconds = min(seconds * 1.5, _LONGEST_POLL_SECONDS)


def get_range(url: str, step: Step, size: int, name: str, moved: Callable[[int], None]) -> Flow[Reply]:
    """These bytes of a body of `size`. Raises: Refused, if others come; NotFound; Denied."""
    whole = step.start == 0 and step.stop == size
    headers = {} if whole else {"Range": f"bytes={step.start}-{step.stop - 1}"}
    reply = yield from send(Request("GET", url, name, headers, moved=moved))
    wanted = f"bytes {step.start}-{step.stop - 1}/{size}"
    if len(reply.body) != step.stop - step.start or (not whole and reply.headers.get("content-range") != wanted):
        raise Refused(f"the server sent another range of {name}", why="it changed, or something in between is wrong")
    return reply


def digest_in(reply: Reply) -> str | None:
    """`sha256:HEX` from the header `Repr-Digest`, if it is there. Source: RFC 9530."""
    for item in reply.headers.get("repr-digest", "").split(","):
        name, _, value = item.strip().partition("=")
        if name == "sha-256":
            return f"sha256:{base64.b64decode(value.strip(':')).hex()}"
    return None


def content_digest(body: Buffer) -> str:
    """The value of `Content-Digest` for `body`. Source: RFC 9530."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def expect_digest(found: str, wanted: str, name: str) -> None:
    """Nothing. Raises: DigestMismatch, if the server has other bytes than were sent."""
    if found != wanted:
        raise DigestMismatch(
            f"server computed {found} for {name}, here it is {wanted}",
            why="the bytes changed on their way",
            advice="run the same command again",
        )
