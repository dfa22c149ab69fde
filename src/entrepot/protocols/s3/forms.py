"""POST of a form to a bucket: an object, its proof and policy among the fields, the file last."""

from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from entrepot.auth import post_policy, sigv2, sigv4
from entrepot.auth.sigv2 import SignedRequest
from entrepot.errors import Unsupported
from entrepot.model import Algorithm, Clock, Facts, checksum
from entrepot.principals import ANONYMOUS, Action, Principal
from entrepot.protocols.base import Request, Response, with_origin
from entrepot.protocols.forms import Form, read_form
from entrepot.protocols.s3 import claims, heads, requests, responses, tagging, xml
from entrepot.protocols.s3.calls import Call, named
from entrepot.protocols.s3.claims import Sent
from entrepot.protocols.s3.errors import invalid_argument
from entrepot.protocols.s3.facts import FactCalls
from entrepot.protocols.s3.objects import ObjectCalls, condition_of, facts_of, put_headers, quoted
from entrepot.protocols.s3.proofs import Proofs, Proven
from entrepot.protocols.s3.words import words_in
from entrepot.services.links import CLAIM
from entrepot.services.places import with_words

_WRITE: Final = frozenset({Action.CREATE, Action.OVERWRITE})


@dataclass(frozen=True, slots=True)
class FormCalls:
    """Forms in."""

    objects: ObjectCalls
    facts: FactCalls
    proofs: Proofs
    now: Clock

    async def post(self, call: Call, principal: Principal, request: Request) -> Response:
        """POST /b."""
        if sigv4.find_proof(SignedRequest(request.method, request.raw_path, request.raw_query, request.headers)):
            raise invalid_argument("The proof of a form is among its fields.")
        form = await read_form(request)
        if form.file is None:
            raise invalid_argument("POST requires exactly one file upload per request.")
        table = sigv2.form_table(form.fields)
        key = table.get("key", "").replace("${filename}", form.filename)
        if not key:
            raise invalid_argument("Bucket POST must contain a field named 'key'.")
        requests.check_new(Call(call.bucket, key, {}))
        if any(name.startswith(requests.FORBIDDEN) for name in table):
            raise Unsupported("A field you provided implies functionality that is not implemented.")
        signer, least, most = await self._signer(call, key, form, principal, request)
        sent = _sent(form, table, least, most)
        signer = with_words(signer, words_in(table))
        where = named(call.bucket, key)
        facts = await self._facts(call, key, signer, table, sent.algorithm)
        condition = condition_of(heads.table_of(request, {}))
        stored, blob = await self.objects.store(signer, where, sent, facts, condition, request)
        location = f"{request.base_url}{request.raw_path.decode('latin-1').rstrip('/')}/{quote(key)}"
        headers = [*responses.with_id(request), *put_headers(stored, blob), (b"location", location.encode())]
        redirect = table.get("success_action_redirect") or table.get("redirect", "")
        told = f"bucket={quote(call.bucket)}&key={quote(key, safe='')}&etag=%22{stored.etag}%22"
        if url := _with_query(redirect, told):
            return Response(303, [*headers[:-1], (b"location", url.encode())])
        status = table.get("success_action_status", "")
        if status == "201":
            result = xml.document(
                "PostResponse", ("Location", location), ("Bucket", call.bucket), ("Key", key),
                ("ETag", quoted(stored.etag)), namespace="",
            )  # fmt: skip
            return Response(201, [*headers, (b"content-type", b"application/xml")], result)
        return Response(200 if status == "200" else 204, headers)

    async def _facts(self, call: Call, key: str, signer: Principal, table: dict[str, str], algorithm: str) -> Facts:
        """What the fields say of the object."""
        headers = {name: text.encode().decode("latin-1") for name, text in table.items() if name != "x-amz-tagging"}
        carried = facts_of(headers, algorithm)
        if "tagging" in table:
            tags = tagging.read_tags(table["tagging"].encode(), tagging.MAX_OBJECT_TAGS)
            carried = replace(carried, extra={**carried.extra, "tags": tags})
        if "acl" in table:
            headers["x-amz-acl"] = table["acl"]
        return await self.facts.asked(Call(call.bucket, key, {}), signer, Proven(headers), carried)

    async def _signer(
        self, call: Call, key: str, form: Form, principal: Principal, request: Request
    ) -> tuple[Principal, int, int | None]:
        """Who signed the form, and the sizes its policy allows. Raises: Denied; BadRequest."""
        fields = [(name, key if name.lower() == "key" else value) for name, value in form.fields]
        proof = post_policy.find_proof(form.fields)
        if proof is None:
            return with_origin(ANONYMOUS, principal.origin), 0, None
        access_key, _, _ = await self.proofs.check(
            proof.access_key, lambda secret: post_policy.verify(proof, secret, self.now()), hidden_too=True
        )
        policy = post_policy.check(proof.policy, fields, call.bucket, self.now())
        identity = self.proofs.identity
        signer = with_origin(identity.of_grant(access_key, _WRITE, call.bucket, key), principal.origin)
        request.principal = signer
        request.wire.proven()
        return signer, policy.min_size, policy.max_size


def _sent(form: Form, table: dict[str, str], least: int, most: int | None) -> Sent:
    assert form.file is not None
    name, value = claims.declared(table)
    sums: dict[Algorithm, str] = {}
    if value is not None:
        sums[claims.ALGORITHMS[name]] = claims.hex_of(name, value)
    if CLAIM in table:
        sums[Algorithm.SHA256] = checksum("sha256", table[CLAIM])
    if md5 := claims.content_md5(table.get("content-md5")):
        sums[Algorithm.MD5] = md5
    named = name or "CRC64NVME"
    want = frozenset({Algorithm.MD5, claims.ALGORITHMS[named]})
    return Sent(claims.within(form.file, most, least), None, sums, named, want=want, given=bool(name))


def _with_query(url: str, more: str) -> str:
    """The same address with more in its query; empty if that is nothing a browser may be sent to."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not (url.isprintable() and url.isascii()):
        return ""
    return urlunsplit(parts._replace(query=f"{parts.query}&{more}" if parts.query else more))
