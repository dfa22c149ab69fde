"""`/api/v1`: a call in, a service asked, a response out."""

import base64
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import quote

from entrepot import shapes
from entrepot.errors import BadName, EntrepotError, NotFound
from entrepot.model import Claims, Clock, Condition, Digest, Facts, ObjectName, StoredObject
from entrepot.principals import ANONYMOUS, Principal
from entrepot.protocols.api import openapi, requests, responses
from entrepot.protocols.api.administration import Administration
from entrepot.protocols.api.bodies import read_shape
from entrepot.protocols.api.calls import (
    BeginUpload,
    Call,
    ChangeRepository,
    CommitUpload,
    DeleteObject,
    DiscardUpload,
    GetBlob,
    GetObject,
    InspectObject,
    ListBuckets,
    ListObjects,
    ListRepositories,
    ListTagMoves,
    LogIn,
    MakeLink,
    PutBucket,
    PutObject,
    PutPart,
    RemoveBucket,
    ShowMe,
    ShowOpenApi,
    ShowRepository,
    ShowUpload,
    Undelete,
)
from entrepot.protocols.api.registry import Registry
from entrepot.protocols.base import Endpoint, Request, Response, bearer, json_response
from entrepot.protocols.browser import shielded
from entrepot.protocols.delivery import Representation, deliver
from entrepot.services.contents import Contents
from entrepot.services.identity import Identity
from entrepot.services.links import Links
from entrepot.services.objects import Objects
from entrepot.services.projects import Projects
from entrepot.services.uploads import Session, Uploads, Wish

DEFAULT_TYPE: Final = "application/octet-stream"
MAX_PAGE: Final = 1000
_CONTENT_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")


@dataclass(frozen=True, slots=True)
class Api(Endpoint[Call]):
    """Our own API. `public_url` goes into the URLs it gives out, else the address the client used."""

    name: ClassVar[str] = "api"
    calls: ClassVar[Any] = Call
    identity: Identity
    objects: Objects
    contents: Contents
    uploads: Uploads
    projects: Projects
    links: Links
    registry: Registry
    administration: Administration
    now: Clock
    public_url: str = ""

    def parse(self, request: Request) -> Call:
        """As `Endpoint.parse`."""
        return requests.parse(request.method, request.raw_path, request.query)

    async def identify(self, call: Call, request: Request) -> Principal:
        """By a bearer token; without one it is anonymous."""
        token = bearer(request)
        return ANONYMOUS if token is None else await self.identity.of_token(token)

    def refuse(self, error: EntrepotError, request: Request) -> Response:
        """As `Endpoint.refuse`."""
        return responses.refused(error, request.id, request.principal)

    async def act(self, call: Call, principal: Principal, request: Request) -> Response:
        """As `Endpoint.act`."""
        match call:
            case ShowOpenApi():
                return json_response(200, openapi.document())
            case LogIn():
                asked = await read_shape(request, shapes.LoginRequest)
                minted = await self.identity.log_in(asked.user, asked.password, asked.seconds, request.address)
                return json_response(201, responses.token_answer(minted))
            case ShowMe():
                return json_response(200, responses.me(principal, await self.projects.mine(principal)))
            case ListBuckets() | PutBucket() | RemoveBucket():
                return await self._buckets(call, principal, request)
            case ListObjects() | GetObject() | PutObject() | DeleteObject() | InspectObject():
                return await self._objects(call, principal, request)
            case GetBlob(text):
                look_up = self.objects.tell if request.method == "HEAD" else self.objects.find_digest
                blob = await look_up(principal, Digest.parse(text))
                what = Representation(blob.size, blob.digest.hex, 0)
                shield = shielded(DEFAULT_TYPE, blob.digest.hex)
                return await deliver(request, blob, what, self.objects.keeping.open, shield)
            case BeginUpload() | PutPart() | ShowUpload() | DiscardUpload() | CommitUpload():
                return await self._uploads(call, principal, request)
            case MakeLink():
                link = await read_shape(request, shapes.LinkRequest)
                name = ObjectName.parse(link.ref.removeprefix("object:"))
                url, found = await self.links.get(principal, name, self._base(request), link.seconds)
                return json_response(201, shapes.Link(url, str(found.digest), found.size))
            case ListRepositories() | ShowRepository() | ChangeRepository() | ListTagMoves() | Undelete():
                return await self.registry.act(call, principal, request)
            case _:
                return await self.administration.act(call, principal, request)

    async def _buckets(
        self, call: ListBuckets | PutBucket | RemoveBucket, principal: Principal, request: Request
    ) -> Response:
        match call:
            case ListBuckets(project):
                found = await self.projects.buckets(principal, project or None)
                return json_response(200, [responses.bucket_shape(bucket) for bucket in found])
            case PutBucket(text):
                wish = await read_shape(request, shapes.BucketRequest)
                home, name = _bucket(text)
                bucket, made = await self.projects.put_bucket(principal, name, home, public=wish.public)
                return json_response(201 if made else 200, responses.bucket_shape(bucket))
            case RemoveBucket(text):
                home, name = _bucket(text)
                await self.projects.remove_bucket(principal, name, home)
                return Response(204)

    async def _objects(
        self,
        call: ListObjects | GetObject | PutObject | DeleteObject | InspectObject,
        principal: Principal,
        request: Request,
    ) -> Response:
        match call:
            case ListObjects(text, prefix, after, limit, delimiter):
                page = await self.objects.names.page(
                    principal, _object(text, ""), prefix=prefix, after=after,
                    limit=max(1, min(limit, MAX_PAGE)), delimiter=delimiter,
                )  # fmt: skip
                return json_response(200, responses.page_shape(page))
            case GetObject(bucket, key):
                stored, blob = await self.objects.find(principal, _object(bucket, key))
                what = Representation(stored.size, stored.etag, stored.created_at)
                shield = shielded(stored.content_type, stored.key)
                return await deliver(request, blob, what, self.objects.keeping.open, shield)
            case PutObject(bucket, key, expires):
                return await self._put(principal, _object(bucket, key), expires, request)
            case DeleteObject(bucket, key):
                if (await self.objects.names.delete(principal, _object(bucket, key))).removed is None:
                    raise NotFound("no such object")
                return Response(204)
            case InspectObject(bucket, key):
                stored, blob = await self.objects.find(principal, _object(bucket, key))
                return json_response(200, responses.object_shape(stored, blob, await self.contents.of(blob)))

    async def _put(self, principal: Principal, name: ObjectName, expires: str, request: Request) -> Response:
        facts = Facts(request.header(b"content-type") or DEFAULT_TYPE, {}, self._end(expires))
        condition = Condition(absent=request.header(b"if-none-match") == "*")
        claims = Claims.of(request.length, sha256=_content_digest(request))
        stored, _ = await self.objects.put(principal, name, request.body, claims, facts, condition)
        url = f"{self._base(request)}/api/v1/objects/{stored.project}:{stored.bucket}/{quote(stored.key)}"
        if (request.header(b"accept") or "").startswith("text/plain"):
            return Response(201, [(b"content-type", b"text/plain")], f"{stored.digest.hex}  {url}\n".encode())
        return json_response(201, shapes.PutAnswer(url, stored.digest.hex, stored.size))

    def _end(self, expires: str) -> float | None:
        return self.now() + responses.seconds_of(expires) if expires else None

    async def _uploads(
        self,
        call: BeginUpload | PutPart | ShowUpload | DiscardUpload | CommitUpload,
        principal: Principal,
        request: Request,
    ) -> Response:
        match call:
            case BeginUpload():
                begun = await self.uploads.begin(principal, self._wish(await read_shape(request, shapes.UploadRequest)))
                if isinstance(begun, StoredObject):
                    return json_response(200, shapes.Committed(responses.object_shape(begun), sent=False))
                status = 200 if begun.resumed else 201
                return json_response(status, responses.upload_shape(begun, self._base(request)))
            case PutPart(upload, offset):
                await self.uploads.write(upload, offset, request.body, _content_digest(request), request.length)
                return Response(204)
            case ShowUpload(upload):
                return json_response(200, responses.state_shape(await self.uploads.state(upload)))
            case DiscardUpload(upload):
                await self.uploads.discard(upload)
                return Response(204)
            case CommitUpload(upload):
                asked = await read_shape(request, shapes.CommitRequest)
                digest = Digest.parse(asked.sha256) if asked.sha256 else None
                return _committed(await self.uploads.commit(upload, asked.size, digest))

    def _wish(self, asked: shapes.UploadRequest) -> Wish:
        facts = Facts(asked.type or DEFAULT_TYPE, asked.labels, self._end(asked.expires or ""))
        name = ObjectName.parse(asked.to.removeprefix("object:"))
        digest = Digest.parse(asked.sha256) if asked.sha256 else None
        return Wish(name, facts, asked.size, digest, asked.edges, asked.if_absent)

    def _base(self, request: Request) -> str:
        return self.public_url or request.base_url


def _committed(session: Session) -> Response:
    if session.object is None:
        return json_response(202, responses.state_shape(session))
    return json_response(201, shapes.Committed(responses.object_shape(session.object)))


def _bucket(text: str) -> tuple[str | None, str]:
    project, colon, name = text.rpartition(":")
    if colon and not project:
        raise BadName(f"not a bucket: {text!r}", advice="write [PROJECT:]BUCKET")
    return project or None, name


def _object(bucket: str, key: str) -> ObjectName:
    project, name = _bucket(bucket)
    return ObjectName(name, key, project)


def _content_digest(request: Request) -> str | None:
    """The sha256 of Content-Digest in hex. Raises: BadName if it has none we read. Source: RFC 9530."""
    text = request.header(b"content-digest")
    if text is None:
        return None
    found = _CONTENT_DIGEST.search(text)
    if not found:
        raise BadName("Content-Digest has no sha-256", advice="send sha-256=:BASE64:")
    return base64.b64decode(found[1]).hex()
