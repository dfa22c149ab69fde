"""OIDC: tokens of a real key set, userinfo answers, and each way they are refused."""

import json
from dataclasses import replace
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from entrepot.auth import oidc
from entrepot.auth.oidc import OidcConfig, OidcIdentity, UnknownKey
from entrepot.errors import BadRequest, Denied, Unauthenticated

NOW = 1_795_248_000.0
ISSUER = "https://idp.example"
CONFIG = OidcConfig(ISSUER, audience="entrepot")
KEYS: dict[str, RSAKey | ECKey | OKPKey] = {
    "RS256": RSAKey.generate_key(2048, {"kid": "rsa"}),
    "ES256": ECKey.generate_key("P-256", {"kid": "ec"}),
    "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "okp"}),
}
JWKS = {"keys": [key.as_dict(private=False) for key in KEYS.values()]}
SET = oidc.keys_of(JWKS)
BODY = {
    "iss": ISSUER,
    "sub": "248289761001",
    "aud": ["other", "entrepot"],
    "exp": NOW + 60,
    "preferred_username": "bob",
    "groups": ["vo", "vo/sub"],
    "email": "bob@example.org",
}


def token(body: dict[str, Any], algorithm: str = "RS256", key: Any = None, **header: Any) -> str:
    signer = key or KEYS[algorithm]
    head = {"alg": algorithm, "kid": signer.kid, **header}
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    head = {name: value for name, value in head.items() if value is not None}
    return jws.serialize_compact(head, json.dumps(body), signer, registry=registry)


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_token_of_the_issuer_is_verified(algorithm: str) -> None:
    expected = OidcIdentity(ISSUER, "248289761001", "bob", ("vo", "vo/sub"), "bob@example.org", NOW + 60)
    assert oidc.verify(SET, token(BODY, algorithm, extra="ignored"), CONFIG, NOW) == expected
    assert oidc.verify(SET, token(BODY, algorithm, kid=None), CONFIG, NOW) == expected


def test_verifying_eddsa_warns_nobody(recwarn: pytest.WarningsRecorder) -> None:
    registry = oidc._REGISTRY
    text = jws.serialize_compact({"alg": "EdDSA", "kid": "okp"}, json.dumps(BODY), KEYS["EdDSA"], registry=registry)
    oidc.verify(SET, text, CONFIG, NOW)
    assert not recwarn.list


def test_claim_names_are_configured_and_the_subject_stands_in_for_a_name() -> None:
    body = {name: value for name, value in BODY.items() if name != "preferred_username"}
    assert oidc.verify(SET, token(body), CONFIG, NOW).username == "248289761001"
    config = replace(CONFIG, username_claim="email", groups_claim="roles")
    found = oidc.verify(SET, token({**body, "roles": "a,b"}), config, NOW)
    assert (found.username, found.groups) == ("bob@example.org", ("a", "b"))


def test_another_issuer_is_refused_before_any_key_is_touched() -> None:
    with pytest.raises(Unauthenticated, match="issuer"):
        oidc.verify((), token({**BODY, "iss": "https://evil.example"}), CONFIG, NOW)
    with pytest.raises(Unauthenticated, match="issuer"):
        oidc.verify(SET, token({**BODY, "iss": f"{ISSUER}/"}), CONFIG, NOW)


@pytest.mark.parametrize("audience", ["other", ["other"], [], None, {"entrepot": 1}])
def test_another_audience_is_refused(audience: object) -> None:
    with pytest.raises(Unauthenticated, match="audience"):
        oidc.verify(SET, token({**BODY, "aud": audience}), CONFIG, NOW)


def test_any_audience_will_do_if_none_is_configured() -> None:
    oidc.verify(SET, token({**BODY, "aud": "other"}), replace(CONFIG, audience=None), NOW)


def test_an_expired_token_is_refused_and_so_is_one_without_an_end() -> None:
    oidc.verify(SET, token(BODY), CONFIG, NOW + 59)
    with pytest.raises(Unauthenticated, match="expired"):
        oidc.verify(SET, token(BODY), CONFIG, NOW + 60)
    for body in ({**BODY, "exp": None}, {**BODY, "exp": "soon"}):
        with pytest.raises(Unauthenticated, match="exp"):
            oidc.verify(SET, token(body), CONFIG, NOW)


def test_a_token_of_the_future_is_refused() -> None:
    oidc.verify(SET, token({**BODY, "nbf": NOW + 59}), CONFIG, NOW)
    with pytest.raises(Unauthenticated, match="not valid yet"):
        oidc.verify(SET, token({**BODY, "nbf": NOW + 61}), CONFIG, NOW)


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
def test_another_algorithm_of_the_same_key_is_refused(algorithm: str) -> None:
    with pytest.raises(Unauthenticated):
        oidc.verify(SET, token(BODY, algorithm, KEYS["RS256"]), CONFIG, NOW)


def test_a_public_key_is_never_a_shared_secret() -> None:
    public = KEYS["RS256"].as_dict(private=False)
    forged = token(BODY, "HS256", OctKey.import_key({"kty": "oct", "k": str(public["n"]), "kid": "rsa"}))
    with pytest.raises(Unauthenticated):
        oidc.verify(SET, forged, CONFIG, NOW)
    assert oidc.keys_of({"keys": [{"kty": "oct", "k": "eHh4eHh4eHh4eHh4eHh4eHh4", "kid": "rsa"}]}) == ()


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_in_the_token_is_never_used(name: str) -> None:
    mine = RSAKey.generate_key(2048, {"kid": "rsa"})
    value: Any = mine.as_dict(private=False) if name == "jwk" else ["eA=="] if name == "x5c" else "https://evil.example"
    with pytest.raises(Unauthenticated):
        oidc.verify(SET, token(BODY, key=mine, **{name: value}), CONFIG, NOW)


def test_a_token_signed_by_another_key_is_refused() -> None:
    with pytest.raises(Unauthenticated) as refusal:
        oidc.verify(SET, token(BODY, key=RSAKey.generate_key(2048, {"kid": "rsa"})), CONFIG, NOW)
    assert not isinstance(refusal.value, UnknownKey)


def test_a_key_the_issuer_did_not_have_asks_for_its_keys_again() -> None:
    with pytest.raises(UnknownKey):
        oidc.verify(SET, token(BODY, kid="new"), CONFIG, NOW)
    with pytest.raises(UnknownKey):
        oidc.verify(oidc.keys_of({"keys": []}), token(BODY), CONFIG, NOW)


def test_es256_takes_no_other_curve() -> None:
    other = ECKey.generate_key("P-384", {"kid": "ec384"})
    keys = oidc.keys_of({"keys": [other.as_dict(private=False)]})
    head, body, signature = token(BODY, "ES256", kid="ec384").split(".")
    with pytest.raises(Unauthenticated):
        oidc.verify(keys, f"{head}.{body}.{signature}", CONFIG, NOW)


def test_keys_for_other_uses_or_too_short_ones_are_left_out(recwarn: pytest.WarningsRecorder) -> None:
    good = KEYS["RS256"].as_dict(private=False)
    others = [
        {**good, "use": "enc"},
        {**good, "alg": "RS512"},
        {**good, "alg": "ES256"},
        {**good, "alg": 5},
        {**good, "alg": ["RS256"]},
        {"kty": "RSA", "n": "3q2-7w", "e": "AQAB"},
        {"kty": "RSA", "n": "A" * 400 + "3q2-7w", "e": "AQAB"},
        {"kty": "RSA"},
        {"kty": ["RSA"]},
        {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"},
        {"kty": "AKP", "pub": "AA"},
        {},
        "text",
    ]
    assert oidc.keys_of({"keys": others}) == ()
    assert len(oidc.keys_of({"keys": [*others, {**good, "use": "sig", "alg": "RS256", "x5c": ["MII"]}]})) == 1
    assert not recwarn.list


@pytest.mark.parametrize("document", [{}, {"keys": {}}, {"keys": "x"}])
def test_what_is_no_key_set_is_a_bad_request(document: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        oidc.keys_of(document)


def test_discovery_is_below_the_issuer_and_must_be_its_own() -> None:
    assert (
        oidc.discovery_url("https://idp.example/realm/") == "https://idp.example/realm/.well-known/openid-configuration"
    )
    document = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys", "userinfo_endpoint": f"{ISSUER}/userinfo"}
    assert oidc.endpoints_of(document, ISSUER) == oidc.Endpoints(f"{ISSUER}/keys", f"{ISSUER}/userinfo")
    for wrong in ({**document, "issuer": "https://evil.example"}, {"issuer": ISSUER}):
        with pytest.raises(BadRequest):
            oidc.endpoints_of(wrong, ISSUER)


def test_a_userinfo_answer_names_user_and_groups() -> None:
    answer = {"sub": "1", "preferred_username": "bob", "groups": ["vo"], "email": "b@x"}
    assert oidc.principal_of(answer, CONFIG) == OidcIdentity(ISSUER, "1", "bob", ("vo",), "b@x")
    assert oidc.principal_of({"sub": "1"}, CONFIG) == OidcIdentity(ISSUER, "1", "1", ())


@pytest.mark.parametrize(
    "answer", [{}, {"sub": 1}, {"sub": "1", "groups": {"a": 1}}, {"sub": "1", "preferred_username": 5}]
)
def test_a_userinfo_answer_without_a_name_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        oidc.principal_of(answer, CONFIG)


def test_all_entitlements_of_one_organisation_are_needed() -> None:
    config = replace(CONFIG, entitlements=(frozenset({"a1", "a2"}), frozenset({"b"})))
    for held in (["a1", "a2"], ["b", "x"]):
        assert oidc.principal_of({"sub": "1", "edu_person_entitlements": held}, config).subject == "1"
    for lacking in (["a1", "x"], [], None, "b", [{"b": 1}]):
        with pytest.raises(Denied):
            oidc.principal_of({"sub": "1", "edu_person_entitlements": lacking}, config)
    with pytest.raises(Denied):
        oidc.verify(SET, token(BODY), config, NOW)
