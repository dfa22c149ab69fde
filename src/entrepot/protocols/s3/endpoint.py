"""S3: a call in, a service asked, a response out."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar, Final
from urllib.parse import unquote

from entrepot.auth.permissions import require_known
from entrepot.errors import EntrepotError, Unsupported
from entrepot.model import Clock
from entrepot.principals import Action, Origin, Principal
from entrepot.protocols.base import Endpoint, Request, Response
from entrepot.protocols.s3 import calls, cors, requests, responses, words, xml
from entrepot.protocols.s3.buckets import BucketCalls
from entrepot.protocols.s3.calls import AnyCall, Call, name_of, named
from entrepot.protocols.s3.claims import declared
from entrepot.protocols.s3.errors import S3Error, invalid_request, malformed_xml
from entrepot.protocols.s3.facts import FactCalls
from entrepot.protocols.s3.forms import FormCalls
from entrepot.protocols.s3.lists import ListCalls
from entrepot.protocols.s3.multipart import MultipartCalls
from entrepot.protocols.s3.objects import ObjectCalls, bypasses, conditions_of, version_of
from entrepot.protocols.s3.proofs import Proofs, Proven
from entrepot.services.buckets import Buckets
from entrepot.services.identity import Identity
from entrepot.services.joining import Joining
from entrepot.services.multipart import Multipart
from entrepot.services.objects import Objects
from entrepot.services.projects import Projects

MAX_DELETES: Final = 1000


class S3(Endpoint[AnyCall]):
    """`/<bucket>/<key>`, or `<bucket>.<host>/<key>`."""

    name: ClassVar[str] = "s3"
    calls: ClassVar[Any] = AnyCall
    strangers_may_write: ClassVar[bool] = True

    def __init__(
        self,
        identity: Identity,
        objects: Objects,
        multipart: Multipart,
        joining: Joining,
        buckets: Buckets,
        projects: Projects,
        now: Clock,
        hosts: Sequence[str] = (),
    ) -> None:
        self.hosts = tuple(hosts)
        self.proofs = Proofs(identity, now, self.hosts)
        self.objects = ObjectCalls(objects, now)
        self.buckets = BucketCalls(buckets, projects, now)
        self.facts = FactCalls(objects, self.buckets, now)
        self.lists = ListCalls(objects, buckets)
        self.multipart = MultipartCalls(multipart, joining, self.objects, now)
        self.forms = FormCalls(self.objects, self.facts, self.proofs, now)

    def parse(self, request: Request) -> AnyCall:
        """As `Endpoint.parse`."""
        return requests.parse(request, self.hosts)

    async def identify(self, call: AnyCall, request: Request) -> Principal:
        """As `Endpoint.identify`."""
        return await self.proofs.identify(call, request)

    def origin(self, call: AnyCall, request: Request) -> Origin:
        """As `Endpoint.origin`, and what a bucket's policy may ask."""
        return Origin(
            request.address, self.name, request.id, words.operation_of(call), lambda: words.words_of(call, request)
        )

    async def act(self, call: AnyCall, principal: Principal, request: Request) -> Response:
        """As `Endpoint.act`."""
        proven: Proven = request.memo
        if isinstance(call, calls.Preflight):
            return await self._preflight(call, request)
        if isinstance(call, calls.Unimplemented):
            require_known(principal)
            raise Unsupported("A header you provided implies functionality that is not implemented.")
        if call.key:
            return await self._act_on_object(call, principal, request, proven)
        return await self._act_on_bucket(call, principal, request, proven)

    async def _act_on_bucket(self, call: Call, principal: Principal, request: Request, proven: Proven) -> Response:
        what = requests.operation(call.query)
        match call:
            case calls.ListBuckets():
                return await self.lists.list_buckets(call, principal, request)
            case calls.ListObjects():
                return await self.lists.list_objects(call, principal, request, proven)
            case calls.ListVersions():
                return await self.lists.list_versions(call, principal, request)
            case calls.ListUploads():
                return await self.multipart.list_uploads(call, principal, request)
            case calls.HeadBucket():
                return await self.lists.head_bucket(call, principal, request)
            case calls.CreateBucket():
                return await self.buckets.create(call, principal, request, proven)
            case calls.DeleteBucket():
                return await self.buckets.remove(call, principal, request)
            case calls.GetConfig():
                return await self.buckets.show(call, principal, request, what)
            case calls.PutConfig():
                return await self.buckets.set(call, principal, request, proven, what)
            case calls.DeleteConfig():
                return await self.buckets.unset(call, principal, request, what)
            case calls.DeleteObjects():
                return await self._delete_many(call, principal, request, proven)
            case _:
                return await self.forms.post(call, principal, request)

    async def _act_on_object(self, call: Call, principal: Principal, request: Request, proven: Proven) -> Response:
        if isinstance(call, calls.PutObject | calls.CopyObject | calls.CreateUpload):
            requests.check_new(call)
        match call:
            case calls.GetObject():
                return await self.objects.get(call, principal, request, proven)
            case calls.PutObject():
                return await self.objects.put(call, principal, request, proven, self.facts.asked)
            case calls.CopyObject():
                return await self.objects.copy(call, principal, request, proven, self.facts.asked)
            case calls.DeleteObject():
                return await self.objects.delete(call, principal, request, proven)
            case calls.GetAttributes():
                return await self.objects.attributes(call, principal, request, proven)
            case calls.GetFacts():
                return await self.facts.show(call, principal, request, requests.operation(call.query))
            case calls.PutFacts():
                return await self.facts.set(call, principal, request, proven, requests.operation(call.query))
            case calls.DeleteFacts():
                return await self.facts.unset(call, principal, request)
            case _:
                return await self._act_on_upload(call, principal, request, proven)

    async def _act_on_upload(self, call: Call, principal: Principal, request: Request, proven: Proven) -> Response:
        match call:
            case calls.CreateUpload():
                return await self.multipart.create(call, principal, request, proven, self.facts.asked)
            case calls.UploadPart():
                return await self.multipart.put_part(call, principal, request, proven)
            case calls.CopyPart():
                return await self.multipart.copy_part(call, principal, request, proven)
            case calls.ListParts():
                return await self.multipart.list_parts(call, principal, request)
            case calls.CompleteUpload():
                return await self.multipart.complete(call, principal, request, proven)
            case _:
                return await self.multipart.abort(call, principal, request)

    def refuse(self, error: EntrepotError, request: Request) -> Response:
        """As `Endpoint.refuse`."""
        return responses.refused(error, request, requests.resource(request, self.hosts))

    async def handle(self, request: Request) -> Response:
        """As `Endpoint.handle`; pages of another origin are told what its bucket lets them read."""
        answer = await super().handle(request)
        origin = request.header(b"origin")
        if origin is not None and request.method != "OPTIONS":
            bucket = unquote(requests.resource(request, self.hosts)[1:].partition(b"/")[0].decode("latin-1"))
            found = await self.buckets.buckets.public(named(bucket, "")) if "\0" not in bucket else None
            if found and "cors" in found.config:
                asked = request.header(b"access-control-request-method")
                allowed = cors.simple(found.config["cors"], origin, asked or request.method)
                if len(allowed) > 1:
                    answer.headers = [one for one in answer.headers if one[0] != b"cross-origin-resource-policy"]
                answer.headers += allowed
        return answer

    async def _preflight(self, call: Call, request: Request) -> Response:
        """OPTIONS."""
        origin, method = request.header(b"origin"), request.header(b"access-control-request-method")
        if origin is None or method is None:
            message = "Insufficient information. Origin request header needed."
            raise S3Error("BadRequest", message)
        names = cors.header_names(request.header(b"access-control-request-headers") or "")
        found = await self.buckets.buckets.public(name_of(call))
        headers = cors.preflight(found.config.get("cors", []), origin, method, names) if found else None
        if headers is None:
            message = "CORSResponse: This CORS request is not allowed."
            raise S3Error("AccessForbidden", message)
        return Response(200, [*responses.with_id(request), *headers])

    async def _delete_many(self, call: Call, principal: Principal, request: Request, proven: Proven) -> Response:
        """POST /b?delete: each name by itself, told one by one."""
        if proven.headers.get("content-md5") is None and not declared(proven.headers)[0]:
            raise invalid_request("Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
        await self.buckets.buckets.check_may_be_allowed(principal, name_of(call), Action.DELETE)
        data = await proven.document(request)
        root = (await self.objects.objects.blobs.run_hash(xml.read, data, "Delete")).only("Object", "Quiet")
        quiet = root.text_of("Quiet", "false").strip() == "true"
        found = root.all("Object")
        if not 1 <= len(found) <= MAX_DELETES:
            raise malformed_xml()
        wanted = []
        for node in found:
            node.only("Key", "VersionId", "ETag", "LastModifiedTime", "Size")
            wanted.append((node.text_of("Key"), node.text_of("VersionId", ""), node.text_of("ETag", "")))
        bypass = bypasses(proven.headers)
        done = await asyncio.gather(  # which is one commit for many of them
            *(self._delete_one(call, principal, *one, quiet=quiet, bypass=bypass) for one in wanted)
        )
        items = [item for found in done for item in found]
        return responses.xml_response(request, xml.document("DeleteResult", *items))

    async def _delete_one(
        self, call: Call, principal: Principal, key: str, version: str, etag: str, *, quiet: bool, bypass: bool
    ) -> list[xml.Item]:
        name = name_of(Call(call.bucket, key, {}))
        try:
            wanted = version_of({"versionId": version}) if version else None
            condition = conditions_of(etag)
            done = await self.objects.objects.names.delete(principal, name, wanted, condition, bypass=bypass)
        except EntrepotError as error:
            if isinstance(error, responses.BUCKET_ERRORS):
                raise
            status, code = responses.code_of(error)
            if status >= 500:
                raise
            return [
                ("Error", ("Key", key), ("VersionId", version) if version else None, ("Code", code),
                 ("Message", responses.message_of(code, error)))
            ]  # fmt: skip
        if quiet:
            return []
        marker = done.marker or (done.removed if done.removed and done.removed.marker else None)
        return [
            (
                "Deleted", ("Key", key), ("VersionId", version) if version else None,
                ("DeleteMarker", "true") if marker else None,
                ("DeleteMarkerVersionId", marker.version_id or "null") if marker else None,
            )
        ]  # fmt: skip
