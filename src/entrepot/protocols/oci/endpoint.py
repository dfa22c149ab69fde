"""`/v2/…`: a call in, a service asked, a response out."""

import asyncio
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec

from entrepot.errors import BadDigest, BadRequest, BodyCut, EntrepotError, TooLarge, Unauthenticated
from entrepot.formats.image_manifest import MAX_BYTES
from entrepot.model import ALWAYS, Algorithm, Blob, Condition, NamedDigest
from entrepot.principals import ANONYMOUS, Principal
from entrepot.protocols.base import Endpoint, Request, Response
from entrepot.protocols.credentials import principal_by, proof_of
from entrepot.protocols.delivery import Representation, deliver
from entrepot.protocols.oci import requests, responses
from entrepot.protocols.oci.calls import (
    Append,
    AskToken,
    BeginUpload,
    Call,
    CancelUpload,
    DeleteBlob,
    DeleteManifest,
    EndUpload,
    GetBlob,
    GetManifest,
    ListReferrers,
    ListRepositories,
    ListTags,
    OfUpload,
    Ping,
    PutManifest,
    ShowUpload,
)
from entrepot.services.identity import Identity
from entrepot.services.manifests import Manifests, Wish
from entrepot.services.registry_tokens import RegistryToken, RegistryTokens
from entrepot.services.repositories import Repositories, descriptor_of
from entrepot.services.sessions import Sessions
from entrepot.services.streaming import Incoming, nothing

MAX_FORM: Final = 64 << 10
BLOB_TYPE: Final = "application/octet-stream"
MAX_LIST_BYTES: Final = 4 << 20
MOST_SKIPPED: Final = 32 << 20
SKIP_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Oci(Endpoint[Call]):
    """A registry over repositories."""

    name: ClassVar[str] = "oci"
    strangers_may_write: ClassVar[bool] = True
    calls: ClassVar[Any] = Call
    identity: Identity
    tokens: RegistryTokens
    repositories: Repositories
    manifests: Manifests
    sessions: Sessions

    def parse(self, request: Request) -> Call:
        """As `Endpoint.parse`."""
        call = requests.parse(request.method, request.raw_path)
        request.memo = call
        return call

    async def identify(self, call: Call, request: Request) -> Principal:
        """By a token, or a name and a password; without either it is anonymous."""
        proof = proof_of(request)
        if proof is None and isinstance(call, Ping | ListRepositories):
            raise Unauthenticated("log in first", advice="get a token at /v2/token")
        try:
            return await principal_by(proof, request, self.identity, self.tokens)
        except Unauthenticated:
            if isinstance(proof, str) and isinstance(call, OfUpload):
                return ANONYMOUS  # its address is the right to it: the end of a token ends no running upload
            raise

    def refuse(self, error: EntrepotError, request: Request) -> Response:
        """As `Endpoint.refuse`."""
        return responses.refused(error, request.memo, request.base_url)

    async def act(self, call: Call, principal: Principal, request: Request) -> Response:
        """As `Endpoint.act`."""
        match call:
            case Ping():
                return responses.told({})
            case AskToken():
                return await self._token(request)
            case ListRepositories() | ListTags() | ListReferrers():
                return await self._list(call, principal, request)
            case GetManifest(path, reference):
                found = await self.repositories.manifest(principal, path, reference)
                return await self._deliver(request, found.blob, found.media_type, found.told)
            case PutManifest(path, reference):
                return await self._put_manifest(principal, path, reference, request)
            case DeleteManifest(path, reference):
                await self.manifests.remove(principal, path, reference)
                return Response(202, [responses.VERSION])
            case GetBlob(path, digest):
                named = NamedDigest.parse(digest)
                blob = await self.repositories.blob(principal, path, named, telling=request.method == "HEAD")
                return await self._deliver(request, blob, BLOB_TYPE, named)
            case DeleteBlob(path, digest):
                await self.repositories.remove_blob(principal, path, NamedDigest.parse(digest))
                return Response(202, [responses.VERSION])
            case BeginUpload(path):
                return await self._begin(principal, path, request)
            case Append() | EndUpload() | ShowUpload() | CancelUpload():
                return await self._of_upload(call, principal, request)

    async def _list(
        self, call: ListRepositories | ListTags | ListReferrers, principal: Principal, request: Request
    ) -> Response:
        query = requests.query_of(request.raw_query)
        match call:
            case ListRepositories():
                after, limit = requests.page_in(query)
                names, more = await self.repositories.page(principal, after, limit)
                return responses.repositories(names, limit, more=more)
            case ListTags(path):
                after, limit = requests.page_in(query)
                names, more = await self.repositories.tags(principal, path, after, limit)
                return responses.tags(path, names, limit, more=more)
            case ListReferrers(path, digest):
                return await self._referrers(principal, path, NamedDigest.parse(digest), query)

    async def _deliver(self, request: Request, blob: Blob, media_type: str, named: NamedDigest) -> Response:
        headers = responses.content_headers(media_type, named)
        requests.check_range(request, blob.size)
        what = Representation(blob.size, str(named), 0)
        return await deliver(request, blob, what, self.repositories.keeping.open, headers)

    async def _token(self, request: Request) -> Response:
        if request.method == "POST":
            form = requests.query_of(await request.read(MAX_FORM))
            asked = {name: values[0] for name, values in form.items()}
            return responses.token(await self._granted(asked, request))
        query = requests.query_of(request.raw_query)
        principal = await principal_by(proof_of(request), request, self.identity, self.tokens)
        offline = query.get("offline_token", [""])[0] == "true" or query.get("access_type", [""])[0] == "offline"
        return responses.token(await self.tokens.issue(principal, refresh=offline))

    async def _granted(self, form: dict[str, str], request: Request) -> RegistryToken:
        match form.get("grant_type"):
            case "password":
                name, password = form.get("username", ""), form.get("password", "")
                principal = await self.tokens.of_password(name, password, request.address)
            case "refresh_token":
                principal = await self.identity.of_token(form.get("refresh_token", ""))
            case _:
                raise BadRequest("not a kind of grant", advice="use grant_type=password or refresh_token")
        return await self.tokens.issue(principal, refresh=form.get("access_type") == "offline")

    async def _referrers(
        self, principal: Principal, path: str, subject: NamedDigest, query: Mapping[str, list[str]]
    ) -> Response:
        wanted, after = query.get("artifactType", [None])[0], query.get("last", [""])[0]
        found = await self.repositories.referrers(principal, path, subject, wanted, after, requests.PAGE_ITEMS + 1)
        shown: list[dict[str, Any]] = []
        size = 0
        for one in found[: requests.PAGE_ITEMS]:
            descriptor = descriptor_of(one)
            size += len(msgspec.json.encode(descriptor)) + 1
            if size > MAX_LIST_BYTES - 1024 and shown:
                break
            shown.append(descriptor)
        more = found[len(shown) - 1].digest.hex if len(shown) < len(found) else None
        return responses.referrers(path, subject, shown, wanted, more)

    async def _put_manifest(self, principal: Principal, path: str, reference: str, request: Request) -> Response:
        named = NamedDigest.parse(reference) if ":" in reference else None
        more = requests.tags_in(requests.query_of(request.raw_query))
        await self.sessions.check_may_push(principal, path)
        try:
            data = await request.read(MAX_BYTES)
        except TooLarge as error:
            await _skip(request)
            raise responses.ManifestTooLarge("a manifest has at most 4 MiB") from error
        wish = Wish(
            data, request.header(b"content-type") or "", named, more if named else [reference],
            ALWAYS if named else _condition(request),
        )  # fmt: skip
        kept = await self.manifests.put(principal, path, wish)
        headers = []
        if kept.subject:
            headers.append((b"oci-subject", str(kept.subject).encode()))
        if named and more:
            headers.append((b"oci-tag", ", ".join(more).encode()))
        if kept.filled is not None:
            headers.append((b"warning", f'299 - "the project uses {kept.filled:.0%} of its quota"'.encode()))
        return responses.kept(path, "manifests", kept.digest, headers)

    async def _begin(self, principal: Principal, path: str, request: Request) -> Response:
        query = requests.query_of(request.raw_query)
        mount, named = requests.digest_in(query, "mount"), requests.digest_in(query, "digest")
        algorithm = requests.algorithm_in(query)
        if mount:
            if await self.repositories.mount(principal, path, mount, query.get("from", [None])[0]):
                return responses.kept(path, "blobs", mount)
        elif named and (request.length != 0 or _is_of_nothing(named)):
            await self.sessions.put(principal, path, named, request.body, request.length)
            return responses.kept(path, "blobs", named)
        elif named:
            found = await self.sessions.resume(principal, path, named)
            return responses.session(202, path, found) if found else responses.kept(path, "blobs", named)
        begun = await self.sessions.begin(principal, path, sha512=algorithm is Algorithm.SHA512)
        return responses.session(202, path, begun)

    async def _of_upload(self, call: OfUpload, principal: Principal, request: Request) -> Response:
        upload = requests.upload_id(call.upload)
        match call:
            case Append(path):
                found = await self.sessions.append(principal, path, upload, _incoming(request))
                return responses.session(202, path, found)
            case EndUpload(path):
                return await self._end(principal, path, upload, request)
            case ShowUpload(path):
                return responses.session(204, path, await self.sessions.state(principal, path, upload))
            case CancelUpload(path):
                await self.sessions.cancel(principal, path, upload)
                return Response(204, [responses.VERSION])

    async def _end(self, principal: Principal, path: str, upload: str, request: Request) -> Response:
        named = requests.digest_in(requests.query_of(request.raw_query), "digest")
        if named is None:
            raise BadDigest("no digest", advice="add ?digest=sha256:…")
        await self.sessions.close(principal, path, upload, named, _incoming(request))
        return responses.kept(path, "blobs", named)


async def _skip(request: Request) -> None:
    """Read what is left of a body that is refused, if it is not much: many clients read the answer only then."""
    skipped = 0
    if (request.length or 0) > MOST_SKIPPED or request.header(b"expect") is not None:
        return
    with suppress(TimeoutError, BodyCut):
        async with asyncio.timeout(SKIP_SECONDS):
            async for pieces in request.body:
                skipped += sum(map(len, pieces))
                if skipped > MOST_SKIPPED:
                    return


def _incoming(request: Request) -> Incoming:
    """The bytes a request brings."""
    start, wanted = requests.range_of(request)
    if request.length == 0:  # a closing request may name the place of bytes that came before
        return Incoming(nothing(), start, 0)
    return Incoming(request.body, start, request.length, wanted)


def _is_of_nothing(named: NamedDigest) -> bool:
    return named.hex == hashlib.new(named.algorithm.value).hexdigest()


def _condition(request: Request) -> Condition:
    """What must hold of a tag for it to move."""
    match, none_match = request.header(b"if-match"), request.header(b"if-none-match")
    etag = match.strip().strip('"') if match else None
    return Condition(absent=none_match is not None and none_match.strip() == "*", etag=etag)
