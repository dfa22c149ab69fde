"""S3 signed URLs and forms: a call in, a service asked, a response out."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final
from urllib.parse import quote

from entrepot.auth import post_policy, sigv2, sigv4
from entrepot.errors import BadName, BadRequest, Denied, EntrepotError, NotFound, TooLarge, Unsupported
from entrepot.model import (
    ANONYMOUS,
    Action,
    Algorithm,
    Body,
    Claims,
    Clock,
    Facts,
    ObjectName,
    Principal,
    StoredObject,
    checksum,
)
from entrepot.protocols.base import Endpoint, Header, LengthRequired, Request, Response, with_origin
from entrepot.protocols.browser import shielded
from entrepot.protocols.delivery import Representation, deliver, unsatisfiable
from entrepot.protocols.forms import read_form
from entrepot.protocols.s3 import requests, responses
from entrepot.protocols.s3.requests import Call, GetObject, PostForm, PutObject, Unimplemented
from entrepot.services.identity import Identity
from entrepot.services.links import CLAIM
from entrepot.services.objects import Objects
from entrepot.services.places import AREAS_BUCKET

META: Final = "x-amz-meta-"
DEFAULT_TYPE: Final = "binary/octet-stream"
MAX_META_BYTES: Final = 2048
_WRITE: Final = frozenset({Action.CREATE, Action.OVERWRITE})
_READ: Final = frozenset({Action.GET})
_META_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+\Z")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class S3(Endpoint[Call]):
    """`/<bucket>/<key>`, with a signature in the query or header, and forms to `/<bucket>`."""

    name: ClassVar[str] = "s3"
    calls: ClassVar[Any] = Call
    identity: Identity
    objects: Objects
    now: Clock

    def parse(self, request: Request) -> Call:
        """As `Endpoint.parse`."""
        return requests.parse(request.method, request.raw_path, request.raw_query)

    async def identify(self, call: Call, request: Request) -> Principal:
        """By the signature; without one it is anonymous. Bearer and X-Auth-Token beside it are ignored."""
        signed = sigv2.SignedRequest(
            request.method, request.raw_path, request.raw_query, [h for h in request.headers if not _is_bearer(h)]
        )
        proof = sigv4.find_proof(signed)
        if proof is None or isinstance(call, PostForm):
            return ANONYMOUS
        in_query = isinstance(proof, sigv2.QueryProof) or proof.expires_seconds is not None
        key, secret = await self._key(proof.access_key, hidden_too=in_query)
        if request.method == "HEAD" and in_query:
            signed = _as_signed(signed, proof, secret, self.now())
        elif isinstance(proof, sigv2.QueryProof):
            sigv2.verify(proof, secret, signed, self.now())
        else:
            sigv4.verify(proof, secret, signed, self.now())
        write = isinstance(call, PutObject)
        return self.identity.of_grant(key, _WRITE if write else _READ, call.bucket, call.key)

    async def _key(self, key_id: str, *, hidden_too: bool) -> tuple[Any, str]:
        try:
            key, secret = await self.identity.of_access_key(key_id)
        except NotFound:
            key, secret = None, "no such key"
        if key is None or (key.hidden and not hidden_too):
            raise sigv2.WrongSignature
        return key, secret

    async def act(self, call: Call, principal: Principal, request: Request) -> Response:
        """As `Endpoint.act`."""
        match call:
            case GetObject(bucket, key):
                return await self._get(principal, ObjectName(bucket, key), request)
            case PutObject(bucket, key):
                return await self._put(principal, ObjectName(bucket, key), request)
            case PostForm(bucket):
                return await self._post(principal, bucket, request)
            case Unimplemented(_, _, what):
                raise Unsupported(f"{what} is not implemented")

    def refuse(self, error: EntrepotError, request: Request) -> Response:
        """As `Endpoint.refuse`."""
        return responses.refused(error, request)

    async def _get(self, principal: Principal, name: ObjectName, request: Request) -> Response:
        stored, blob = await self.objects.find(principal, name)
        what = Representation(stored.size, stored.etag, stored.created_at)
        headers = [*responses.with_id(request), *shielded(stored.content_type, stored.key), *_kept(stored)]
        try:
            return await deliver(request, blob, what, self.objects.open_blob, headers)
        except EntrepotError as error:
            answer = responses.refused(error, request)
            if answer.status == 416:
                answer.headers.append(unsatisfiable(stored.size))
            return answer

    async def _put(self, principal: Principal, name: ObjectName, request: Request) -> Response:
        if request.header(b"content-length") is None and request.header(b"transfer-encoding") is None:
            raise LengthRequired("the body's length is not announced")
        facts = Facts(request.header(b"content-type") or DEFAULT_TYPE, _metadata(_texts(request.headers)))
        stored = await self.objects.put(principal, name, request.body, _claims(request), facts)
        status = 201 if stored.bucket == AREAS_BUCKET and _is_signed_url(request) else 200
        return Response(status, [*responses.with_id(request), (b"etag", f'"{stored.etag}"'.encode())])

    async def _post(self, principal: Principal, bucket: str, request: Request) -> Response:
        form = await read_form(request)
        if form.file is None:
            raise BadName("the form has no part named file")
        table = sigv2.form_table(form.fields)
        key = table.get("key", "").replace("${filename}", form.filename)
        fields = [(name, key if name.lower() == "key" else value) for name, value in form.fields]
        proof = post_policy.find_proof(form.fields)
        if proof is None or not key:
            raise Denied("the form carries no signed policy")
        access_key, secret = await self._key(proof.access_key, hidden_too=True)
        post_policy.verify(proof, secret, self.now())
        policy = post_policy.check(proof.policy, fields, bucket, self.now())
        signer = with_origin(self.identity.of_grant(access_key, _WRITE, bucket, key), principal.origin)
        request.principal = signer
        request.wire.proven()
        stored = await self.objects.put(
            signer, ObjectName(bucket, key),
            _within(form.file, policy.min_size, policy.max_size), _form_claims(table),
            Facts(table.get("content-type") or DEFAULT_TYPE, _metadata(table.items())),
        )  # fmt: skip
        location = f"{request.base_url}/{quote(bucket)}/{quote(key)}".encode()
        return Response(
            204, [*responses.with_id(request), (b"etag", f'"{stored.etag}"'.encode()), (b"location", location)]
        )


def _is_signed_url(request: Request) -> bool:
    """Whether the proof stands in the query."""
    query = request.raw_query
    return sigv2.parse_query(query) is not None or sigv4.parse_query(query) is not None


def _is_bearer(header: Header) -> bool:
    return header[0] == b"authorization" and not header[1].startswith((b"AWS4", b"AWS "))


def _as_signed(signed: sigv2.SignedRequest, proof: Any, secret: str, now: float) -> sigv2.SignedRequest:
    """A HEAD is as good as the GET its URL was signed for. Raises: Denied if it was signed for neither."""
    verify = sigv2.verify if isinstance(proof, sigv2.QueryProof) else sigv4.verify
    as_get = replace(signed, method="GET")
    try:
        verify(proof, secret, as_get, now)
    except sigv2.WrongSignature:
        verify(proof, secret, signed, now)
        return signed
    return as_get


def _texts(headers: Sequence[Header]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _metadata(pairs: Any) -> dict[str, str]:
    """The client's own metadata, without the checksum we keep ourselves. Raises: BadName; TooLarge."""
    found = {
        name.lower().removeprefix(META): value
        for name, value in pairs
        if name.lower().startswith(META) and name.lower() != CLAIM
    }
    if not all(_META_NAME.match(name) and not _CONTROL.search(value) for name, value in found.items()):
        raise BadName("metadata cannot be a header", why="its name is no token, or it holds control characters")
    if sum(len(name) + len(value.encode()) for name, value in found.items()) > MAX_META_BYTES:
        raise TooLarge("the metadata are too large", why=f"at most {MAX_META_BYTES} bytes are kept")
    return found


def _kept(stored: StoredObject) -> list[Header]:
    """What an object shows of itself; in the bucket of areas the digest under the name its readers look for."""
    headers = [
        (f"{META}{name}".encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        for name, value in stored.metadata.items()
    ]
    if stored.bucket == AREAS_BUCKET:
        headers.append((CLAIM.encode(), stored.digest.hex.encode()))
    return headers


def _claims(request: Request) -> Claims:
    """What the headers say of the body. Raises: BadName; Unsupported for a body in signed chunks."""
    sha256 = request.header(CLAIM.encode())
    word = request.header(b"x-amz-content-sha256") or ""
    if word.startswith("STREAMING-"):
        raise Unsupported("bodies in aws-chunked encoding are not implemented")
    claims = {Algorithm.SHA256: checksum("sha256", sha256)} if sha256 is not None else {}
    if len(word) == 64:
        promised = checksum("sha256", word)
        if claims.setdefault(Algorithm.SHA256, promised) != promised:
            raise BadRequest("two sha256 were given, and they differ")
    md5 = request.header(b"content-md5")
    if md5 is not None:
        claims[Algorithm.MD5] = _md5(md5)
    return Claims(request.length, claims)


def _form_claims(table: dict[str, str]) -> Claims:
    sha256 = table.get(CLAIM)
    return Claims(None, {Algorithm.SHA256: checksum("sha256", sha256)} if sha256 is not None else {})


def _md5(text: str) -> str:
    try:
        return checksum("md5", base64.b64decode(text, validate=True).hex())
    except binascii.Error as error:
        raise BadName("Content-MD5 is not base64") from error


async def _within(body: Body, least: int, most: int | None) -> Any:
    """The same body. Raises: TooLarge; BadRequest if it ends before `least`."""
    size = 0
    async for pieces in body:
        size += sum(map(len, pieces))
        if most is not None and size > most:
            raise TooLarge(f"the policy allows {most} bytes")
        yield pieces
    if size < least:
        raise BadRequest(f"the policy wants at least {least} bytes")
