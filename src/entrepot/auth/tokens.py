"""JSON web tokens signed by a shared secret: our own, and those of a PROMINENCE server. Text in, claims out.

Who issued a token is read first (`peek`), and that alone chooses key and algorithm; what a token names for itself is
never used. Times are seconds since the epoch. S3 secrets are derived here too: nothing is stored.

Source: RFC 7515, 7519, 8725 (best practices).
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NoReturn

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.jws import JWSRegistry

from entrepot.errors import BadName, Unauthenticated
from entrepot.model import Instant
from entrepot.strict_json import read_object

MAX_TOKEN_CHARACTERS: Final = 16 * 1024
CACHED_TOKENS: Final = 4096
KNOWN_ALGORITHMS: Final = frozenset("HS256 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA".split())
"""What an issuer that we ask about each token may sign with; whoever verifies a signature takes fewer."""

_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
_KEYS_OF_ITS_OWN: Final = frozenset({"jwk", "jku", "x5u", "x5c"})
_HS256: Final = JWSRegistry(algorithms=["HS256"], strict_check_header=False)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class TokenKey:
    """The key our tokens of one version are signed by; `version` is their `kid`."""

    version: int
    secret: bytes = field(repr=False)

    @classmethod
    def derive(cls, master: bytes, version: int) -> "TokenKey":
        """The key of `version`: HKDF-SHA256 of the master key (32 bytes), info `jwt|<version>`."""
        info = f"jwt|{version}".encode()
        return cls(version, HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(master))


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a token of ours says. Rights are not in it, they are looked up; `job` is the batch job it was made for."""

    issuer: str
    subject: str
    token_id: str
    issued_at: int
    expires_at: int
    audience: str
    username: str
    groups: tuple[str, ...] = ()
    email: str | None = None
    job: str | None = None


@dataclass(frozen=True, slots=True)
class JobClaims:
    """What a job token of a PROMINENCE server says."""

    username: str
    groups: tuple[str, ...]
    expires_at: Instant
    email: str | None = None
    job: str | None = None


@dataclass(frozen=True, slots=True)
class Peeked:
    """What a token says of itself before anything is verified: enough to choose the verifier, and for nothing else."""

    algorithm: str
    key_id: str | None
    issuer: str | None


def mint(key: TokenKey, claims: TokenClaims) -> str:
    """A token of `[A-Za-z0-9_.-]` alone, as workers look for it.

    Raises: BadName for a group named with a comma, or for more than we take ourselves: 16 KiB.
    """
    if any("," in group or not group for group in claims.groups):
        raise BadName("a group's name in a token is not empty and has no comma")
    body = {
        "iss": claims.issuer,
        "sub": claims.subject,
        "jti": claims.token_id,
        "iat": claims.issued_at,
        "exp": claims.expires_at,
        "aud": claims.audience,
        "username": claims.username,
        "groups": ",".join(claims.groups),
        "email": claims.email,
        "job": claims.job,
    }
    payload = json.dumps({name: value for name, value in body.items() if value is not None}, separators=(",", ":"))
    header = {"alg": "HS256", "typ": "JWT", "kid": str(key.version)}
    text = jws.serialize_compact(header, payload, _oct_key(key.secret), registry=_HS256)
    if len(text) > MAX_TOKEN_CHARACTERS:
        raise BadName(
            f"the token would have {len(text)} characters, {MAX_TOKEN_CHARACTERS} are allowed",
            advice="name fewer groups",
        )
    return text


@lru_cache(maxsize=CACHED_TOKENS)
def peek(text: str) -> Peeked:
    """Algorithm, key id and issuer a token claims to have.

    Raises: Unauthenticated if it is no JWT, is over 16 KiB, has `alg: none` or one we do not know, brings a key along
    (jwk, jku, x5u, x5c) or wants an extension understood (crit).
    """
    header, claims = _unverified(text)
    algorithm, key_id, issuer = header.get("alg"), header.get("kid"), claims.get("iss")
    if not isinstance(algorithm, str) or algorithm not in KNOWN_ALGORITHMS:
        refuse("it is signed by no algorithm that is taken here")
    if "crit" in header or _KEYS_OF_ITS_OWN.intersection(header):
        refuse("it brings a key of its own or needs an extension")
    return Peeked(algorithm, key_id if isinstance(key_id, str) else None, issuer if isinstance(issuer, str) else None)


def verify(key: TokenKey, text: str, now: Instant) -> TokenClaims:
    """What our token `text` says. Whether its `jti` or its principal is revoked is for the caller to look up.

    Verified tokens are remembered, their end is looked at each time.
    Raises: Unauthenticated if it is not ours, not of this key, expired, or lacks a claim.
    """
    claims = _own_claims(key, text)
    if now >= claims.expires_at:
        refuse("it has expired", advice="log in again")
    return claims


def verify_job_token(secret: str, text: str, now: Instant) -> JobClaims:
    """What a PROMINENCE server's job token says; `groups` may be a string with commas or a list.

    Raises: Unauthenticated if the secret is empty or another, or the token expired, or has no `exp` or `username`.
    """
    if peek(text).algorithm != "HS256" or not secret:
        refuse("a job token is signed by HS256")
    body = _verified_body(secret.encode(), text)
    claims = JobClaims(
        text_claim(body, "username"),
        group_names(body.get("groups")),
        time_claim(body, "exp"),
        optional_text(body, "email"),
        optional_text(body, "job"),
    )
    if now >= claims.expires_at:
        refuse("it has expired")
    return claims


@lru_cache(maxsize=1024)
def derive_secret(master: bytes, key_id: str, version: int) -> str:
    """The S3 secret of an access key: 40 characters, the same each time. A new version makes another."""
    mac = hmac.digest(master, f"s3|{key_id}|{version}".encode(), hashlib.sha256)
    return base64.b64encode(mac).decode()[:40]


def refuse(why: str, advice: str = "") -> NoReturn:
    """No return. Raises: Unauthenticated, always; never with a word of the token."""
    raise Unauthenticated("the token is not accepted", why=why, advice=advice)


def text_claim(body: Mapping[str, Any], name: str) -> str:
    """A claim that must be there as text. Raises: Unauthenticated."""
    value = body.get(name)
    if not isinstance(value, str) or not value or _SURROGATE.search(value):
        refuse(f"it has no claim {name!r}")
    return value


def optional_text(body: Mapping[str, Any], name: str) -> str | None:
    """A claim that may be missing, null or empty. Raises: Unauthenticated if it is not text."""
    return text_claim(body, name) if body.get(name) not in (None, "") else None


def time_claim(body: Mapping[str, Any], name: str) -> Instant:
    """A time that must be there, seconds since the epoch. Raises: Unauthenticated."""
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**53:
        refuse(f"it has no time {name!r}")
    return value


def group_names(value: object) -> tuple[str, ...]:
    """Groups from a string with commas or a list of strings; missing or null are none. Raises: Unauthenticated."""
    names = value.split(",") if isinstance(value, str) else [] if value is None else value
    if not isinstance(names, list) or not all(isinstance(name, str) and not _SURROGATE.search(name) for name in names):
        refuse("its groups are neither a string nor a list of strings")
    return tuple(name for name in names if name)


@lru_cache(maxsize=CACHED_TOKENS)
def _own_claims(key: TokenKey, text: str) -> TokenClaims:
    peeked = peek(text)
    if peeked.algorithm != "HS256" or peeked.key_id != str(key.version):
        refuse("it is signed by another key or algorithm")
    body = _verified_body(key.secret, text)
    return TokenClaims(
        issuer=text_claim(body, "iss"),
        subject=text_claim(body, "sub"),
        token_id=text_claim(body, "jti"),
        issued_at=int(time_claim(body, "iat")),
        expires_at=int(time_claim(body, "exp")),
        audience=text_claim(body, "aud"),
        username=text_claim(body, "username"),
        groups=group_names(body.get("groups")),
        email=optional_text(body, "email"),
        job=optional_text(body, "job"),
    )


@lru_cache(maxsize=16)
def _oct_key(secret: bytes) -> OctKey:
    return OctKey.import_key(secret)


def _verified_body(secret: bytes, text: str) -> dict[str, Any]:
    try:
        return read_object(jws.deserialize_compact(text, _oct_key(secret), registry=_HS256).payload)
    except (JoseError, ValueError):
        refuse("its signature is wrong")


def unverified_claims(text: str) -> dict[str, Any]:
    """What a token says, for questions that need no proof. Raises: Unauthenticated if it is no JWT."""
    return _unverified(text)[1]


def _unverified(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if len(text) > MAX_TOKEN_CHARACTERS or not _COMPACT.match(text):
        refuse("it is not a signed JWT")
    head, body, _ = text.split(".")
    try:
        return read_object(_decoded(head)), read_object(_decoded(body))
    except ValueError:
        refuse("it is not a signed JWT")


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
