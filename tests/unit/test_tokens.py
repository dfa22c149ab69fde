"""Our own tokens and PROMINENCE's: what is verified, and each way a token is refused."""

import base64
import hashlib
import hmac
import json
import re
import time
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from entrepot.auth import tokens
from entrepot.auth.tokens import Peeked, TokenClaims, TokenKey
from entrepot.errors import BadName, Unauthenticated

MASTER = bytes(range(32))
KEY = TokenKey.derive(MASTER, 1)
NOW = 1_795_248_000.0
CLAIMS = TokenClaims(
    issuer="https://entrepot.example",
    subject="bob",
    token_id="x8Jq",
    issued_at=int(NOW),
    expires_at=int(NOW) + 3600,
    audience="entrepot",
    username="bob",
    groups=("vo", "vo/sub"),
    email="bob@example.org",
    job="4711",
)
BODY = {"iss": "i", "sub": "bob", "jti": "j", "iat": 1, "exp": NOW + 60, "aud": "a", "username": "bob", "groups": "vo"}
JOB_SECRET = "a job token secret of a server"


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(body: Any, secret: bytes = KEY.secret, raw: bytes | None = None, **header: Any) -> str:
    """A token signed by hand, so that everything about it can be wrong but the signature."""
    head = {"alg": "HS256", "typ": "JWT", "kid": "1", **header}
    text = f"{part(json.dumps(head).encode())}.{part(raw if raw is not None else json.dumps(body).encode())}"
    return f"{text}.{part(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def test_a_token_says_what_was_put_into_it() -> None:
    text = tokens.mint(KEY, CLAIMS)
    assert tokens.verify(KEY, text, NOW) == CLAIMS
    assert tokens.peek(text) == Peeked("HS256", "1", CLAIMS.issuer)
    assert re.fullmatch(r"[\w.-]+", text, re.ASCII)


def test_a_token_made_by_hand_is_verified_like_ours() -> None:
    assert tokens.verify(KEY, token(BODY), NOW).groups == ("vo",)


def test_prominence_reads_groups_as_one_string_and_needs_exp() -> None:
    body = json.loads(base64.urlsafe_b64decode(tokens.mint(KEY, CLAIMS).split(".")[1] + "=="))
    assert body["groups"] == "vo,vo/sub"
    assert isinstance(body["exp"], int)
    assert {"iss", "sub", "jti", "iat", "aud", "username", "email", "job"} <= body.keys()
    plain = json.loads(
        base64.urlsafe_b64decode(tokens.mint(KEY, replace(CLAIMS, email=None, job=None)).split(".")[1] + "==")
    )
    assert not {"email", "job"} & plain.keys()


def test_a_group_with_a_comma_cannot_become_two() -> None:
    for group in ("vo,admin", ""):
        with pytest.raises(BadName):
            tokens.mint(KEY, replace(CLAIMS, groups=(group,)))


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.lists(st.text("abé/ -", min_size=1), max_size=3)
)
def test_any_user_and_groups_come_back(username: str, groups: list[str]) -> None:
    claims = replace(CLAIMS, username=username, subject=username, groups=tuple(groups))
    assert tokens.verify(KEY, tokens.mint(KEY, claims), NOW) == claims


def test_the_key_is_derived_from_master_key_and_version() -> None:
    assert KEY.secret == HKDF(algorithm=SHA256(), length=32, salt=None, info=b"jwt|1").derive(MASTER)
    assert TokenKey.derive(MASTER, 2).secret != KEY.secret
    assert KEY.secret.hex() not in repr(KEY)
    assert repr(KEY.secret) not in repr(KEY)


def test_a_token_ends_at_its_time_though_it_was_verified_before() -> None:
    text = tokens.mint(KEY, CLAIMS)
    tokens.verify(KEY, text, CLAIMS.expires_at - 0.5)
    with pytest.raises(Unauthenticated, match="expired"):
        tokens.verify(KEY, text, CLAIMS.expires_at)


def test_a_remembered_token_does_not_pass_under_another_key() -> None:
    text = tokens.mint(KEY, CLAIMS)
    tokens.verify(KEY, text, NOW)
    for other in (TokenKey.derive(MASTER, 2), TokenKey.derive(bytes(32), 1), TokenKey(1, b"x" * 32)):
        with pytest.raises(Unauthenticated):
            tokens.verify(other, text, NOW)


def test_verified_tokens_are_remembered_up_to_a_bound() -> None:
    assert tokens._own_claims.cache_info().maxsize == 4096


def test_a_changed_token_is_refused_and_no_message_shows_it() -> None:
    text = tokens.mint(KEY, CLAIMS)
    head, body, signature = text.split(".")
    forged = part(json.dumps({**BODY, "username": "admin"}).encode())
    for other in (f"{head}.{forged}.{signature}", f"{head}.{body}.{signature[:-4]}AAAA", f"{head}.{body}."):
        with pytest.raises(Unauthenticated) as refusal:
            tokens.verify(KEY, other, NOW)
        assert body not in str(refusal.value)
        assert signature not in str(refusal.value)


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "", "HS384", "HS512", "RS256", "ES256", "EdDSA", "hs256", None, 5]
)
def test_another_algorithm_is_refused(algorithm: object) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(KEY, token(BODY, alg=algorithm), NOW)


def test_a_token_without_a_signature_is_refused() -> None:
    head, body, _ = token(BODY, alg="none").split(".")
    for text in (f"{head}.{body}.", f"{head}.{body}"):
        with pytest.raises(Unauthenticated):
            tokens.verify(KEY, text, NOW)


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "crit"])
def test_a_token_that_brings_its_own_key_or_an_extension_is_refused(name: str) -> None:
    header: dict[str, Any] = {name: ["b64"] if name == "crit" else {"kty": "oct", "k": "eHh4"}}
    text = token(BODY, **header)
    with pytest.raises(Unauthenticated):
        tokens.peek(text)
    with pytest.raises(Unauthenticated):
        tokens.verify(KEY, text, NOW)


@pytest.mark.parametrize("key_id", ["2", "", 1, None])
def test_the_key_id_must_be_the_version(key_id: object) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(KEY, token(BODY, kid=key_id), NOW)


@pytest.mark.parametrize("name", ["iss", "sub", "jti", "iat", "exp", "aud", "username"])
def test_a_token_without_a_needed_claim_is_refused(name: str) -> None:
    with pytest.raises(Unauthenticated, match=name):
        tokens.verify(KEY, token({key: value for key, value in BODY.items() if key != name}), NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": 10**400},
        {"exp": None},
        {"jti": 5},
        {"jti": ""},
        {"sub": ["bob"]},
        {"groups": {"vo": 1}},
        {"groups": [1]},
        {"email": 5},
        {"job": ["4711"]},
        {"username": "\ud800"},
        {"groups": ["\udfff"]},
    ],
    ids=repr,
)
def test_a_claim_of_the_wrong_kind_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(KEY, token({**BODY, **wrong}), NOW)


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b"{",
        b"\xff",
        json.dumps(BODY).encode()[:-1] + b', "username": "admin"}',
        json.dumps(BODY).encode()[:-1] + b', "note": NaN}',
        json.dumps(BODY).encode().replace(b'"iat": 1', b'"iat": 1e999'),
        json.dumps(BODY).encode()[:-1] + b', "deep": ' + b"[" * 65 + b"]" * 65 + b"}",
        json.dumps(BODY).encode()[:-1] + b', "deep": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        json.dumps(BODY).encode("utf-16"),
    ],
    ids=["list", "cut", "no UTF-8", "a key twice", "NaN", "infinite", "65 deep", "3000 deep", "UTF-16"],
)
def test_claims_that_are_no_strict_json_are_refused(raw: bytes) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(KEY, token(None, raw=raw), NOW)


def test_brackets_in_text_are_not_depth() -> None:
    assert tokens.verify(KEY, token({**BODY, "note": '["{' * 50}), NOW).subject == "bob"


def test_a_token_over_sixteen_kibibytes_is_refused() -> None:
    tokens.verify(KEY, token({**BODY, "note": "x" * 10_000}), NOW)
    with pytest.raises(Unauthenticated):
        tokens.verify(KEY, token({**BODY, "note": "x" * 13_000}), NOW)


def test_no_token_is_made_that_we_would_refuse_for_its_size() -> None:
    tokens.verify(KEY, tokens.mint(KEY, replace(CLAIMS, groups=("x" * 11_900,))), NOW)
    with pytest.raises(BadName, match="16384"):
        tokens.mint(KEY, replace(CLAIMS, groups=("x" * 12_200,)))


@given(st.text(max_size=60) | st.from_regex(r"[\w-]{1,9}\.[\w-]{1,9}\.[\w-]{0,9}", fullmatch=True))
def test_any_text_is_peeked_or_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.peek(text)


@pytest.mark.parametrize("groups", ["vo,vo/sub", ["vo", "vo/sub"]])
def test_a_job_token_has_its_groups_as_text_or_list(groups: object) -> None:
    body = {"username": "bob", "groups": groups, "exp": NOW + 60, "job": "12", "email": "b@x"}
    claims = tokens.verify_job_token(JOB_SECRET, token(body, JOB_SECRET.encode()), NOW)
    assert (claims.username, claims.groups, claims.job, claims.email) == ("bob", ("vo", "vo/sub"), "12", "b@x")


@pytest.mark.parametrize("groups", ["", [], None])
def test_a_job_token_may_have_no_groups(groups: object) -> None:
    body = {"username": "bob", "groups": groups, "exp": NOW + 60}
    assert tokens.verify_job_token(JOB_SECRET, token(body, JOB_SECRET.encode()), NOW).groups == ()


@pytest.mark.parametrize(
    ("secret", "body"),
    [
        ("another secret of a server", {"username": "bob", "exp": NOW + 60}),
        ("", {"username": "bob", "exp": NOW + 60}),
        (JOB_SECRET, {"username": "bob"}),
        (JOB_SECRET, {"exp": NOW + 60}),
        (JOB_SECRET, {"username": "bob", "exp": NOW}),
    ],
    ids=["another secret", "no secret", "no exp", "no username", "expired"],
)
def test_a_job_token_is_refused(secret: str, body: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify_job_token(secret, token(body, JOB_SECRET.encode()), NOW)


def test_a_job_token_signed_by_an_empty_secret_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify_job_token("", token({"username": "bob", "exp": NOW + 60}, b""), NOW)


def test_an_s3_secret_is_derived_and_changes_with_key_and_version() -> None:
    expected = base64.b64encode(hmac.digest(MASTER, b"s3|AK1|1", "sha256")).decode()[:40]
    assert tokens.derive_secret(MASTER, "AK1", 1) == expected
    assert len({expected, tokens.derive_secret(MASTER, "AK2", 1), tokens.derive_secret(MASTER, "AK1", 2)}) == 3


def test_a_token_seen_before_is_verified_far_faster_than_a_request_takes() -> None:
    text = tokens.mint(KEY, CLAIMS)
    tokens.verify(KEY, text, NOW)
    best = min(timed(text) for _ in range(5))
    assert best < 60e-6


def timed(text: str) -> float:
    begin = time.perf_counter()
    for _ in range(200):
        tokens.verify(KEY, text, NOW)
    return (time.perf_counter() - begin) / 200
