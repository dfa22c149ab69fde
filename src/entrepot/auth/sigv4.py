"""AWS Signature V4 in headers, URLs and chunks: who signed, and is it true? Bytes in, values out.

    find_proof(request)  ->  a proof that names the access key id  ->  verify(proof, its secret, request, now)

Every query parameter, Host and all `x-amz-*` headers are signed. Path and query are compared as sent and, failing that,
decoded once and encoded again as AWS does; both mean the same to the router. Forms are in `post_policy`.

Source: AWS, "Authenticating Requests (AWS Signature Version 4)"; "Signature Calculations for the Authorization Header".
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

from entrepot.auth import sigv2
from entrepot.auth.sigv2 import (
    BadHeader,
    BadProof,
    BadQuery,
    ClockSkewed,
    Expired,
    Headers,
    Malformed,
    SignedRequest,
    SignedTwice,
    WrongSignature,
    parameters,
    text_of,
)
from entrepot.errors import BadRequest
from entrepot.model import Instant

ALGORITHM: Final = "AWS4-HMAC-SHA256"
DEFAULT_REGION: Final = "us-east-1"
WINDOW_SECONDS: Final = 15 * 60
MAX_EXPIRES_SECONDS: Final = 7 * 24 * 3600
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()

_DATE: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z\Z")
_INTEGER: Final = re.compile(r"-?[0-9]{1,15}\Z")
_QUERY_NAMES: Final = ("algorithm", "credential", "date", "expires", "signedheaders", "signature")


@dataclass(frozen=True, slots=True)
class Credential:
    """Whose key, and what it may sign: `<access key>/<day>/<region>/<service>/<end>`."""

    access_key: str
    day: str
    region: str
    service: str = "s3"
    end: str = "aws4_request"

    @classmethod
    def parse(cls, text: str, malformed: type[Malformed] = BadHeader) -> "Credential":
        """The credential `text` holds. Raises: `malformed`."""
        parts = text.rsplit("/", 4)
        if len(parts) != 5 or not all(parts):
            raise malformed("a credential is <access key>/<day>/<region>/s3/aws4_request")
        return cls(*parts)

    @property
    def scope(self) -> str:
        """What follows the access key."""
        return f"{self.day}/{self.region}/{self.service}/{self.end}"


@dataclass(frozen=True, slots=True)
class Proof:
    """A V4 signature. `expires_seconds` from `date` (as `20261121T080000Z`) for a URL, None for a header."""

    credential: Credential
    date: str
    signed_headers: tuple[str, ...]
    signature: str = field(repr=False)
    expires_seconds: int | None = None

    @property
    def access_key(self) -> str:
        """The access key id whose secret must have signed."""
        return self.credential.access_key

    @property
    def malformed(self) -> type[Malformed]:
        """What a mistake in it is called: by where it stands."""
        return BadHeader if self.expires_seconds is None else BadQuery


def find_proof(request: SignedRequest) -> Proof | sigv2.QueryProof | None:
    """The one AWS proof of a request, V4 or V2, None if it has none. Bearer, Basic and other words are not looked at.

    Raises: SignedTwice; Malformed, also for a parameter twice; BadProof; BadRequest for a V2 header.
    """
    if not request.raw_query:
        return parse_header(request)
    header, query, old = parse_header(request), parse_query(request.raw_query), sigv2.parse_query(request.raw_query)
    if sum(proof is not None for proof in (header, query, old)) > 1:
        raise SignedTwice("the request is signed twice", advice="send one signature, in the header or in the query")
    return header or query or old


def parse_header(request: SignedRequest) -> Proof | None:
    """The V4 proof in the Authorization header, None if that is missing or another's.

    Raises: SignedTwice; BadHeader; BadRequest for V2.
    """
    sent = [value for name, value in request.headers if name.lower() == b"authorization"]
    ours = [value for value in sent if value.startswith(b"AWS")]
    if not ours:
        return None
    if len(sent) > 1:
        raise SignedTwice("two Authorization headers")
    scheme, _, rest = text_of(ours[0]).partition(" ")
    if scheme != ALGORITHM:
        raise BadRequest(f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}.")
    words = [part.strip().partition("=") for part in rest.split(",")]
    parts = {name: value for name, _, value in words}
    if len(words) != 3 or not parts.keys() == {"Credential", "SignedHeaders", "Signature"}:
        raise BadHeader(f"an {ALGORITHM} header has Credential, SignedHeaders and Signature, each once")
    signed = tuple(parts["SignedHeaders"].split(";"))
    return Proof(Credential.parse(parts["Credential"], BadHeader), _header_date(request), signed, parts["Signature"])


def parse_query(raw_query: bytes) -> Proof | None:
    """The V4 proof in a query, None if there is none; names in any case. Raises: BadQuery."""
    pairs = [(name[6:].lower(), value) for name, value in parameters(raw_query) if name[:6].lower() == b"x-amz-"]
    table = dict(pairs)
    if not {b"algorithm", b"credential", b"signature"}.intersection(table):
        return None
    if len(table) < len(pairs):
        raise BadQuery("an X-Amz query parameter was sent twice")
    algorithm, credential, date, expires, headers, signature = (text_of(table.get(n.encode())) for n in _QUERY_NAMES)
    if not (date and headers and signature):
        raise BadQuery("a signed URL has X-Amz-Algorithm, -Credential, -Date, -Expires, -SignedHeaders, -Signature")
    if algorithm != ALGORITHM or not _INTEGER.match(expires):
        raise BadQuery(f"X-Amz-Algorithm is {ALGORITHM}, X-Amz-Expires a number of seconds")
    return Proof(Credential.parse(credential, BadQuery), date, tuple(headers.split(";")), signature, int(expires))


def verify(proof: Proof, secret: str, request: SignedRequest, now: Instant, region: str = DEFAULT_REGION) -> bytes:
    """The canonical request, if `secret` signed this very request, for this day, region and service, and in time.

    Raises: WrongSignature, Expired, ClockSkewed, BadProof; Malformed for another scope; BadRequest for no payload word.
    """
    signed_at = scoped_time(proof.credential, proof.date, proof.malformed, region)
    if proof.expires_seconds is not None:
        check_lifetime(signed_at, proof.expires_seconds, now)
    elif abs(now - signed_at) > WINDOW_SECONDS:
        raise ClockSkewed("the signature's time is more than 15 minutes from ours", advice="set the clock")
    _check_signed_headers(proof.signed_headers, request)
    payload = payload_word(proof, request)
    text = canonical = b""
    for path, query in _readings(request):
        canonical = canonical_request(request.method, path, query, request.headers, proof.signed_headers, payload)
        text = string_to_sign(proof.date, proof.credential.scope, canonical)
        if is_signature(proof.signature, secret, proof.credential, text):
            return canonical
    raise WrongSignature(text, proof.access_key, proof.signature, canonical)


def payload_word(proof: Proof, request: SignedRequest) -> str:
    """What the client says of the body: a sha256, UNSIGNED-PAYLOAD or STREAMING-…; in a URL it may be left out.

    Raises: BadRequest if a header-signed request has none, or two.
    """
    name = b"x-amz-content-sha256"
    words = [value.strip() for sent, value in request.headers if sent.lower() == name]
    if not words and proof.expires_seconds is not None:
        moved = [value or b"" for sent, value in parameters(request.raw_query) if sent.lower() == name]
        words = moved or [UNSIGNED_PAYLOAD.encode()]
    if not words:
        raise BadRequest("Missing required header for this request: x-amz-content-sha256")
    if len(words) > 1:
        raise BadRequest("x-amz-content-sha256 was sent twice")
    return text_of(words[0])


def canonical_request(
    method: str, path: bytes, query: bytes, headers: Headers, signed_headers: Sequence[str], payload: str
) -> bytes:
    """The request in the one form that is signed. `path` and `query` come encoded; twin headers join by `,`."""
    names = sorted(set(signed_headers))
    sent: dict[bytes, list[bytes]] = {name.encode(): [] for name in names}
    for name, value in headers:
        lower = name.lower()
        if lower in sent:
            sent[lower].append(b" ".join(value.split()))
    lines = b"".join(name + b":" + b",".join(values) + b"\n" for name, values in sent.items())
    return b"\n".join([method.encode(), path, query, lines, ";".join(names).encode(), payload.encode()])


def string_to_sign(date: str, scope: str, canonical: bytes) -> bytes:
    """The text whose HMAC is the signature of a request."""
    return f"{ALGORITHM}\n{date}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}".encode()


def chunk_string_to_sign(date: str, scope: str, previous: str, chunk_sha256: str) -> bytes:
    """The text one aws-chunk signs. `previous` is the signature before it, at first that of the request."""
    return f"{ALGORITHM}-PAYLOAD\n{date}\n{scope}\n{previous}\n{EMPTY_SHA256}\n{chunk_sha256}".encode()


def trailer_string_to_sign(date: str, scope: str, previous: str, trailer_sha256: str) -> bytes:
    """The text a signed trailer signs; the sha256 is over `name:value` lines, `previous` is the last chunk's."""
    return f"{ALGORITHM}-TRAILER\n{date}\n{scope}\n{previous}\n{trailer_sha256}".encode()


@lru_cache(maxsize=1024)
def signing_key(secret: str, day: str, region: str, service: str = "s3") -> bytes:
    """The key that signs for one day, region and service."""
    key = f"AWS4{secret}".encode()
    for word in (day, region, service, "aws4_request"):
        key = hmac.digest(key, word.encode(), hashlib.sha256)
    return key


def sign(secret: str, credential: Credential, text: bytes) -> str:
    """The signature of `text`: 64 hex digits."""
    key = signing_key(secret, credential.day, credential.region, credential.service)
    return hmac.digest(key, text, hashlib.sha256).hex()


def is_signature(signature: str, secret: str, credential: Credential, text: bytes) -> bool:
    """Is it the signature of `text`? Takes the same time wherever it differs."""
    return hmac.compare_digest(sign(secret, credential, text).encode(), signature.encode())


def scoped_time(credential: Credential, date: str, malformed: type[Malformed], region: str) -> Instant:
    """When it was signed. Raises: `malformed` if its scope is not that day, our region or us-east-1, s3; BadProof."""
    if not _DATE.match(date):
        raise BadProof("AWS authentication requires a valid date", why="x-amz-date is one as 20261121T080000Z")
    if credential.day != date[:8]:
        raise malformed("the credential is for another day than the date")
    if credential.region not in (region, DEFAULT_REGION):
        raise malformed("the region of the credential is wrong", advice=f"sign for {region}", region=region)
    if (credential.service, credential.end) != ("s3", "aws4_request"):
        raise malformed("the credential is not for s3/aws4_request")
    try:
        return datetime.fromisoformat(date).timestamp()
    except ValueError as error:
        raise BadProof("AWS authentication requires a date that exists") from error


def check_lifetime(signed_at: Instant, seconds: int, now: Instant) -> None:
    """Nothing, if now is within the 1 to 604,800 seconds it is good for. Raises: BadProof, ClockSkewed, Expired."""
    if not 1 <= seconds <= MAX_EXPIRES_SECONDS:
        raise BadProof(f"X-Amz-Expires is 1 to {MAX_EXPIRES_SECONDS} seconds")
    if signed_at - now > WINDOW_SECONDS:
        raise ClockSkewed("the signature was made more than 15 minutes in the future", advice="set the clock")
    if now >= signed_at + seconds:
        raise Expired("the signature has expired", advice="ask for a new one")


def signed_url(
    base_url: str,
    method: str,
    bucket: str,
    key: str,
    access: str,
    secret: str,
    expires_seconds: int,
    now: Instant,
    region: str = DEFAULT_REGION,
) -> str:
    """A URL for one method on one key, good for `expires_seconds` from now, 604,800 at most. `base_url` has no path."""
    date = amz_date(now)
    credential = Credential(access, date[:8], region)
    path = f"/{quote(bucket)}/{quote(key)}"
    query = (
        f"X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={quote(f'{access}/{credential.scope}', safe='')}"
        f"&X-Amz-Date={date}&X-Amz-Expires={expires_seconds}&X-Amz-SignedHeaders=host"
    )
    parts = urlsplit(base_url)
    host = parts.netloc.lower().removesuffix({"http": ":80", "https": ":443"}.get(parts.scheme, ""))
    headers = [(b"host", host.encode())]
    canonical = canonical_request(method, path.encode(), query.encode(), headers, ["host"], UNSIGNED_PAYLOAD)
    signature = sign(secret, credential, string_to_sign(date, credential.scope, canonical))
    return f"{base_url.rstrip('/')}{path}?{query}&X-Amz-Signature={signature}"


def amz_date(now: Instant) -> str:
    """`now` as `20261121T080000Z`."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")


def _header_date(request: SignedRequest) -> str:
    sent = {name.lower(): value for name, value in request.headers}
    text = text_of((sent.get(b"x-amz-date") or sent.get(b"date", b"")).strip())
    if _DATE.match(text):
        return text
    try:
        return amz_date(parsedate_to_datetime(text).timestamp())
    except (ValueError, OverflowError, OSError):
        return ""


def _check_signed_headers(signed: Sequence[str], request: SignedRequest) -> None:
    sent = {name.lower() for name, _ in request.headers}
    needed = {"host"} | {name.decode("latin-1") for name in sent if name.startswith(b"x-amz-")}
    if unsigned := sorted(needed.difference(signed)):
        raise BadProof(
            f"these headers were not signed: {', '.join(unsigned)}", advice="sign host and every x-amz-* header"
        )


def _readings(request: SignedRequest) -> Iterator[tuple[bytes, bytes]]:
    pairs = [pair.partition(b"=")[::2] for pair in request.raw_query.split(b"&") if pair]
    pairs = [(name, value) for name, value in pairs if unquote_to_bytes(name).lower() != b"x-amz-signature"]
    yield request.raw_path, _joined(pairs)
    encoded = [(_encoded(name), _encoded(value)) for name, value in pairs]
    path = _encoded(request.raw_path, safe="/")
    if (path, encoded) != (request.raw_path, pairs):
        yield path, _joined(encoded)


def _encoded(raw: bytes, safe: str = "") -> bytes:
    return quote(unquote_to_bytes(raw), safe=safe).encode()


def _joined(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"&".join(name + b"=" + value for name, value in sorted(pairs))
