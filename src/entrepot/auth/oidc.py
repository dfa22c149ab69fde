"""Bearer tokens of an OpenID Connect issuer, and its userinfo answer. Pure: a service fetches, this reads.

A service fetches `discovery_url(issuer)`, reads it by `endpoints_of`, fetches the key set, reads it by `keys_of`, and
keeps the keys. A token signed by a key that is not among them raises `UnknownKey`: fetch the set again, but not often.

Source: OpenID Connect Core 1.0, Discovery 1.0; RFC 7517, 7519; RFC 8725 (algorithms by issuer, never by token).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from entrepot.auth.tokens import group_names, optional_text, peek, refuse, text_claim, time_claim, unverified_claims
from entrepot.errors import BadRequest, Denied, Unauthenticated
from entrepot.model import Instant
from entrepot.strict_json import read_object

KEY_TYPES: Final = {"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
MIN_RSA_BITS: Final = 2048
NOT_BEFORE_LEEWAY_SECONDS: Final = 60


class UnknownKey(Unauthenticated):
    """The token is signed by a key that the issuer did not have when its keys were last fetched."""


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """An issuer that is trusted, and where its answers keep what we ask.

    `audience` None: any. `entitlements`: a caller must hold all of one of these sets; empty: everyone may.
    """

    issuer: str
    audience: str | None = None
    username_claim: str = "preferred_username"
    groups_claim: str = "groups"
    entitlements: tuple[frozenset[str], ...] = ()
    entitlements_claim: str = "edu_person_entitlements"


@dataclass(frozen=True, slots=True)
class OidcIdentity:
    """Who the issuer says is calling. `subject` never changes; `username` is the claim asked for, else the subject."""

    issuer: str
    subject: str
    username: str
    groups: tuple[str, ...]
    email: str | None = None
    expires_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where an issuer keeps its keys and, if it has one, its userinfo."""

    jwks_uri: str
    userinfo: str | None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One public key of an issuer that may sign tokens."""

    id: str | None
    key: RSAKey | ECKey | OKPKey


def discovery_url(issuer: str) -> str:
    """Where an issuer describes itself. Source: Discovery 1.0 section 4."""
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


def endpoints_of(document: Mapping[str, Any], issuer: str) -> Endpoints:
    """What we need of a discovery document. Raises: BadRequest if it is another issuer's or names no keys."""
    jwks_uri, userinfo = document.get("jwks_uri"), document.get("userinfo_endpoint")
    if document.get("issuer") != issuer or not isinstance(jwks_uri, str):
        raise BadRequest("the discovery document is another issuer's or names no jwks_uri")
    return Endpoints(jwks_uri, userinfo if isinstance(userinfo, str) else None)


def keys_of(document: Mapping[str, Any]) -> tuple[SigningKey, ...]:
    """The keys of a JSON Web Key Set that may sign tokens here; others, and those we cannot read, are left out.

    Raises: BadRequest if it is no key set.
    """
    keys = document.get("keys")
    if not isinstance(keys, list):
        raise BadRequest("the issuer's answer is not a key set")
    return tuple(found for key in keys if isinstance(key, dict) and (found := _signing_key(key)))


def verify(keys: Sequence[SigningKey], text: str, config: OidcConfig, now: Instant) -> OidcIdentity:
    """Who the issuer's token `text` says is calling.

    Raises: UnknownKey; Unauthenticated for another issuer, audience or algorithm, a wrong signature, out of its time;
    Denied without the entitlements asked for.
    """
    peeked = peek(text)
    if peeked.issuer != config.issuer or peeked.algorithm not in KEY_TYPES:
        refuse("it is another issuer's, or signed by an algorithm that is not taken from issuers")
    body = _verified_body(_candidates(keys, peeked.algorithm, peeked.key_id), text)
    if config.audience is not None and config.audience not in _audiences(body):
        refuse("it is meant for another audience")
    expires_at = time_claim(body, "exp")
    if now >= expires_at:
        refuse("it has expired", advice="log in again")
    if "nbf" in body and now + NOT_BEFORE_LEEWAY_SECONDS < time_claim(body, "nbf"):
        refuse("it is not valid yet")
    return _identity(body, config, expires_at)


def principal_of(userinfo: Mapping[str, Any], config: OidcConfig) -> OidcIdentity:
    """Who a userinfo answer says is calling. It is the issuer's word only if it came from its endpoint over TLS.

    Raises: Unauthenticated if a claim is missing or no text; Denied without the entitlements asked for.
    """
    return _identity(userinfo, config, None)


class _Registry(JWSRegistry):
    """The three algorithms; joserfc warns of the name EdDSA at each use (RFC 9864), issuers still send it."""

    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in KEY_TYPES:
            refuse("it is signed by an algorithm that is not taken from issuers")
        return self.algorithms[name]


_REGISTRY: Final = _Registry(algorithms=list(KEY_TYPES), strict_check_header=False)


def _signing_key(data: Mapping[str, Any]) -> SigningKey | None:
    public = {name: data[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in data}
    if data.get("use", "sig") != "sig" or _is_short(public):
        return None
    if "alg" in data and (data["alg"], data.get("kty")) not in list(KEY_TYPES.items()):
        return None
    try:
        key = JWKRegistry.import_key(public)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if not isinstance(key, RSAKey | ECKey | OKPKey):
        return None
    key_id = data.get("kid")
    return SigningKey(key_id if isinstance(key_id, str) else None, key)


def _is_short(public: Mapping[str, Any]) -> bool:
    return public.get("kty") == "RSA" and len(str(public.get("n", "")).lstrip("A")) * 6 < MIN_RSA_BITS


def _candidates(keys: Sequence[SigningKey], algorithm: str, key_id: str | None) -> list[SigningKey]:
    found = [key for key in keys if key.key.key_type == KEY_TYPES[algorithm] and (key_id is None or key.id == key_id)]
    if not found:
        raise UnknownKey("the token is not accepted", why="the issuer has no such key")
    return found


def _verified_body(candidates: Sequence[SigningKey], text: str) -> dict[str, Any]:
    for candidate in candidates:
        try:
            return read_object(jws.deserialize_compact(text, candidate.key, registry=_REGISTRY).payload)
        except BadSignatureError:
            continue
        except (JoseError, ValueError):
            break
    return refuse("its signature is wrong")


def _audiences(body: Mapping[str, Any]) -> list[str]:
    audience = body.get("aud")
    return [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []


def _identity(body: Mapping[str, Any], config: OidcConfig, expires_at: Instant | None) -> OidcIdentity:
    held = body.get(config.entitlements_claim)
    entitlements = {item for item in held if isinstance(item, str)} if isinstance(held, list) else set()
    if config.entitlements and not any(needed <= entitlements for needed in config.entitlements):
        raise Denied("the issuer does not give this caller the entitlements needed")
    subject = text_claim(body, "sub")
    username = optional_text(body, config.username_claim) or subject
    groups = group_names(body.get(config.groups_claim))
    return OidcIdentity(config.issuer, subject, username, groups, optional_text(body, "email"), expires_at)


def claimed_end(text: str) -> Instant:
    """When a token that was not verified says it ends. Raises: Unauthenticated if it does not say."""
    return time_claim(unverified_claims(text), "exp")
