"""AWS Signature V2 in URLs and forms, and the few words both AWS signatures share. Bytes in, values out.

A V2 signature is base64(HMAC-SHA1(secret, text)). Only URLs (`?AWSAccessKeyId=…&Signature=…&Expires=…`) and POST
forms are read; `Authorization: AWS …` is not. `now` is seconds since the epoch.

Query parameters are decoded once, names too: a name the router knows is the name that was signed. `+` stays `+`.

Source: AWS S3, "Signing and Authenticating REST Requests"; botocore `HmacV1QueryAuth` (moves headers into the URL).
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from entrepot.errors import BadRequest, Denied
from entrepot.model import Instant

Headers = Sequence[tuple[bytes, bytes]]
"""Names and values as sent, in order."""

Parameter = tuple[bytes, bytes | None]
"""Name and value, decoded once; the value is None where no `=` was sent."""

SUB_RESOURCES: Final = frozenset(
    b"""
    accelerate acl analytics cors defaultObjectAcl delete inventory lifecycle location logging metrics notification
    object-lock partNumber policy replication requestPayment restore select select-type storageClass tagging torrent
    uploadId uploads versionId versioning versions website
    """.split()
)
"""Query keys that are part of the signed resource, beside every `response-*`."""

UNSIGNABLE: Final = frozenset(
    b"""
    attributes encryption intelligent-tiering legal-hold ownershipControls policyStatus publicAccessBlock retention
    session
    """.split()
)
"""Query keys that choose another operation and that V2 leaves out of the signature: a URL's holder could add one."""

MAX_FORM_FIELDS: Final = 100
MAX_FORM_BYTES: Final = 64 * 1024

_EPOCH_SECONDS: Final = re.compile(r"[0-9]{1,15}\Z")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class BadProof(Denied):
    """A proof that does not hold, or does not hold for this. It says why: that tells nothing of what is stored."""


class WrongSignature(BadProof):
    """The signature is not the one this secret gives. The texts are what we signed, for the client's author.

    Said of an unknown key too, in the same words.
    """

    def __init__(
        self, string_to_sign: bytes = b"", access_key: str = "", signature: str = "", canonical_request: bytes = b""
    ) -> None:
        super().__init__(
            "the signature does not match",
            why="the request or the secret key is another one than was signed",
            advice="check the secret key, and that nothing between changed the path, query or headers",
        )
        self.string_to_sign = string_to_sign
        self.access_key = access_key
        self.signature = signature
        self.canonical_request = canonical_request


class Expired(BadProof):
    """A signed URL or form whose time is over."""


class ClockSkewed(BadProof):
    """A signature made too far from our clock."""


class SignedTwice(BadRequest):
    """A request with two proofs."""


class Malformed(BadRequest):
    """A proof that cannot be read. `region` is the one it should be for, if that is what is wrong with it."""

    def __init__(self, what: str, *, why: str = "", advice: str = "", region: str = "") -> None:
        super().__init__(what, why=why, advice=advice)
        self.region = region


class BadHeader(Malformed):
    """In the Authorization header."""


class BadQuery(Malformed):
    """In the query."""


class BadForm(Malformed):
    """Among the fields of a form; or fields that cannot be read at all."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as its signature sees it: path and query as sent (no `?`), headers in the order they came."""

    method: str
    raw_path: bytes
    raw_query: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class QueryProof:
    """The V2 signature in a URL. `expires` is the text that was signed, seconds since the epoch."""

    access_key: str
    signature: str = field(repr=False)
    expires: str


@dataclass(frozen=True, slots=True)
class FormProof:
    """The V2 signature of a form; it covers the base64 text of the policy as sent."""

    access_key: str
    signature: str = field(repr=False)
    policy: str = field(repr=False)


@lru_cache(maxsize=64)
def parameters(raw_query: bytes) -> tuple[Parameter, ...]:
    """The pairs of a query in order, names and values percent-decoded once; `a` gives None, `a=` gives b""."""
    found: list[Parameter] = []
    for pair in filter(None, raw_query.split(b"&")):
        name, equals, value = pair.partition(b"=")
        found.append((unquote_to_bytes(name), unquote_to_bytes(value) if equals else None))
    return tuple(found)


def text_of(value: bytes | None) -> str:
    """A proof's word as text. Raises: BadRequest if it is not ASCII."""
    try:
        return (value or b"").decode("ascii")
    except UnicodeDecodeError as error:
        raise BadRequest("a signature's parameters are ASCII") from error


def form_table(fields: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Form fields by lower-case name.

    Raises: BadForm for a field sent twice, more than 100 fields or more than 64 KiB of them.
    """
    if len(fields) > MAX_FORM_FIELDS:
        raise BadForm("the form has too many fields", why=f"at most {MAX_FORM_FIELDS} are read")
    if sum(len(name.encode()) + len(value.encode()) for name, value in fields) > MAX_FORM_BYTES:
        raise BadForm("the form's fields are too long", why=f"at most {MAX_FORM_BYTES} bytes are read")
    table: dict[str, str] = {}
    for name, value in fields:
        if name.lower() in table:
            raise BadForm(f"the form field {name.lower()!r} was sent twice")
        table[name.lower()] = value
    return table


def parse_query(raw_query: bytes) -> QueryProof | None:
    """The V2 proof in a query, None if there is none.

    Raises: BadQuery if a signed parameter comes twice; BadProof for an incomplete one or an operation V2 cannot sign.
    """
    pairs = parameters(raw_query)
    names = [name for name, _ in pairs]
    if b"AWSAccessKeyId" not in names and b"Signature" not in names:
        return None
    _refuse_twins(names)
    if UNSIGNABLE.intersection(names):
        raise BadProof("Signature V2 cannot sign this operation", advice="sign with Signature V4")
    values = dict(pairs)
    access_key, signature, expires = (
        text_of(values.get(name)) for name in (b"AWSAccessKeyId", b"Signature", b"Expires")
    )
    if not (access_key and signature and _EPOCH_SECONDS.match(expires)):
        raise BadProof("a signed URL has AWSAccessKeyId, Signature and Expires, in seconds since the epoch")
    return QueryProof(access_key, signature, expires)


def parse_form(table: Mapping[str, str]) -> FormProof | None:
    """The V2 proof among a form's fields (lower-case names), None if there is none. Raises: BadForm."""
    if "awsaccesskeyid" not in table and "signature" not in table:
        return None
    access_key, signature, policy = (table.get(name, "") for name in ("awsaccesskeyid", "signature", "policy"))
    if not (access_key and signature and policy):
        raise BadForm("a signed form has AWSAccessKeyId, policy and signature")
    return FormProof(access_key, signature, policy)


def string_to_sign(method: str, resource_raw_path: bytes, query: bytes, headers: Headers, expires: str) -> bytes:
    """The text a V2 URL signs. Content-MD5, Content-Type and `x-amz-*` count from header or query.

    The path starts with the bucket, for a virtual host too. Different values in both places are joined by a comma, so
    that neither passes as signed. Raises: BadQuery for control characters in a query value that acts as a header.
    """
    signed = _signed_values(query, headers)
    amz = [name + b":" + signed[name] for name in sorted(signed) if name.startswith(b"x-amz-")]
    first = [method.encode(), signed.get(b"content-md5", b""), signed.get(b"content-type", b""), expires.encode()]
    return b"\n".join([*first, *amz, _resource(resource_raw_path, query)])


def sign(secret: str, text: bytes) -> str:
    """The V2 signature of `text`: base64 of HMAC-SHA1."""
    return base64.b64encode(hmac.digest(secret.encode(), text, hashlib.sha1)).decode()


def verify(proof: QueryProof, secret: str, request: SignedRequest, now: Instant, resource: bytes | None = None) -> None:
    """Nothing, if `secret` signed this very request and its time is not over.

    `resource` is the raw path with the bucket in front, where the bucket came from the Host header.
    Raises: WrongSignature, Expired (both BadProof); BadQuery.
    """
    path = request.raw_path if resource is None else resource
    text = string_to_sign(request.method, path, request.raw_query, request.headers, proof.expires)
    _compare(proof, secret, text)
    if now >= int(proof.expires):
        raise Expired("the signed URL has expired", advice="ask for a new one")


def verify_form(proof: FormProof, secret: str) -> None:
    """Nothing, if `secret` signed this policy text; for its words see `post_policy.check`. Raises: WrongSignature."""
    _compare(proof, secret, proof.policy.encode())


def signed_url(base_url: str, method: str, bucket: str, key: str, access: str, secret: str, expires_at: Instant) -> str:
    """A URL for one method on one key, until `expires_at` (whole seconds). `base_url` has no path.

    Parameters come in this order and the signature percent-encoded: PROMINENCE's job server cuts URLs up by text.
    """
    path = f"/{quote(bucket)}/{quote(key)}"
    expires = str(int(expires_at))
    signature = sign(secret, string_to_sign(method, path.encode(), b"", (), expires))
    proof = f"AWSAccessKeyId={quote(access, safe='')}&Signature={quote(signature, safe='')}&Expires={expires}"
    return f"{base_url.rstrip('/')}{path}?{proof}"


def _compare(proof: QueryProof | FormProof, secret: str, text: bytes) -> None:
    if not hmac.compare_digest(sign(secret, text).encode(), proof.signature.encode()):
        raise WrongSignature(text, proof.access_key, proof.signature)


def _refuse_twins(names: Sequence[bytes]) -> None:
    proof = {b"AWSAccessKeyId", b"Signature", b"Expires"}
    seen: set[bytes] = set()
    for name in names:
        word = name.lower() if _is_header(name.lower()) else name
        if word in seen and (word in proof or _is_header(word) or _is_sub_resource(word)):
            raise BadQuery("a signed query parameter was sent twice")
        seen.add(word)


def _is_header(name: bytes) -> bool:
    return name in {b"content-md5", b"content-type"} or name.startswith(b"x-amz-")


def _is_sub_resource(name: bytes) -> bool:
    return name in SUB_RESOURCES or name.startswith(b"response-")


def _signed_values(query: bytes, headers: Headers) -> dict[bytes, bytes]:
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if _is_header(name.lower()):
            values.setdefault(name.lower(), []).append(value.strip(b" \t"))
    for name, moved in parameters(query):
        if not _is_header(name.lower()):
            continue
        value = (moved or b"").strip(b" \t")
        if _CONTROL.search(name + value) or b":" in name:
            raise BadQuery("a header in the query holds control characters or a colon in its name")
        twins = values.setdefault(name.lower(), [])
        if value not in twins:
            twins.append(value)
    return {name: b",".join(twins) for name, twins in values.items()}


def _resource(raw_path: bytes, query: bytes) -> bytes:
    chosen = sorted((name, value) for name, value in parameters(query) if _is_sub_resource(name))
    words = [name if value is None else name + b"=" + value for name, value in chosen]
    return raw_path + b"?" + b"&".join(words) if words else raw_path
