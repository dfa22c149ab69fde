"""Bucket policies: what is refused when it is put, and what the rest decides."""

import fnmatch
import json
import re
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.auth import bucket_policy as policy
from entrepot.auth.bucket_policy import MalformedPolicy, Policy, PolicyRequest

A, B = "a" * 64, "b" * 64
PLAIN: dict[str, Any] = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}


def text_of(*statements: Any, **more: Any) -> bytes:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **more}).encode()


def read(*changes: dict[str, Any]) -> Policy:
    """A policy of plain statements with those changes, as it comes back from its store."""
    found = policy.read_policy(text_of(*({**PLAIN, **change} for change in changes)), "b")
    restored: Policy = json.loads(json.dumps(found))
    return restored


def asked(
    action: str = "s3:GetObject", resource: str = "b/k", ids: Sequence[str] = (), **context: str
) -> PolicyRequest:
    facts = {name.replace("__", ":").replace("_", "-"): [value] for name, value in context.items()}
    return PolicyRequest(frozenset(ids), action, policy.ARN + resource, facts)


def refusal(data: bytes) -> str:
    with pytest.raises(MalformedPolicy) as refused:
        policy.read_policy(data, "b")
    return str(refused.value)


@pytest.mark.parametrize(
    "data",
    [
        text_of(PLAIN),
        b" \n" + text_of(PLAIN),
        text_of(PLAIN, Id="an id"),
        text_of({**PLAIN, "Sid": "Allow Public Access to All Objects"}, {**PLAIN, "Sid": "2"}),
        json.dumps({"Version": "2008-10-17", "Statement": PLAIN}).encode(),
        json.dumps({"Statement": [PLAIN]}).encode(),
    ],
)
def test_a_policy_is_accepted(data: bytes) -> None:
    assert policy.decide(policy.read_policy(data, "b"), asked()) == "allow"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "first byte"),
        (b"[]", "first byte"),
        (b"{", "invalid Json"),
        (b'{"Version": "2012-10-17", "Version": "2012-10-17", "Statement": []}', "a key twice"),
        (b'{"Id": "\xff"}', "invalid Json"),
        (b'{"Id": ' + b"[" * 5000 + b"]" * 5000 + b"}", "64 levels"),
        (b"{}", "Missing required field Statement"),
        (text_of(), "Statement is empty"),
        (text_of("x"), "A Statement is an object"),
        (text_of([PLAIN]), "A Statement is an object"),
        (text_of(PLAIN, Version="2012-10-16"), "valid version"),
        (text_of(PLAIN, Version=""), "valid version"),
        (text_of(PLAIN, Version=["2012-10-17"]), "valid version"),
        (text_of(PLAIN, Id=1), "The Id"),
        (text_of(PLAIN, Comment=""), "Unknown field Comment"),
        (text_of({**PLAIN, "Sid": "1"}, {**PLAIN, "Sid": "1"}), "Statement IDs"),
        (text_of({**PLAIN, "Sid": [1]}), "Statement IDs"),
        (text_of({**PLAIN, "Sid": "x" * policy.MAX_BYTES}), "maximum allowed size"),
        (text_of({**PLAIN, "Sid": "?" * 101}), "question marks"),
    ],
)
def test_a_document_is_refused(data: bytes, message: str) -> None:
    assert message in refusal(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"effect": "Allow"}, "Unknown field effect"),
        ({"Effect": "allow"}, "Invalid effect"),
        ({"Effect": ["Allow"]}, "Invalid effect"),
        ({"NotPrincipal": "*"}, "NotPrincipal is not possible"),
        ({"NotAction": "s3:GetObject"}, "NotAction is not possible"),
        ({"NotResource": "arn:aws:s3:::b/*"}, "NotResource is not possible"),
        ({"Principal": A}, "Invalid principal"),
        ({"Principal": ["*"]}, "Invalid principal"),
        ({"Principal": {"AWS": []}}, "Invalid principal"),
        ({"Principal": {"AWS": [["*"]]}}, "Invalid principal"),
        ({"Principal": {"AWS": A[1:]}}, "Invalid principal"),
        ({"Principal": {"AWS": f"{A}*"}}, "Invalid principal"),
        ({"Principal": {"AWS": f"arn:aws:iam::{A}"}}, "Invalid principal"),
        ({"Principal": {"AWS": f"{A}:root"}}, "Invalid principal"),
        ({"Principal": {"AWS": f"arn:aws:iam::{A}:user/x"}}, "Invalid principal"),
        ({"Principal": {"AWS": "arn:aws:iam::123456789012:root"}}, "Invalid principal"),
        ({"Principal": {"Service": "x.amazonaws.com"}}, "Invalid principal"),
        ({"Principal": {"AWS": "*", "Federated": "x"}}, "Invalid principal"),
        ({"Action": []}, "invalid action"),
        ({"Action": ""}, "invalid action"),
        ({"Action": "GetObject"}, "invalid action"),
        ({"Action": "s3:GetObjekt"}, "invalid action"),
        ({"Action": ["s3:GetObject", "s3:Frob*"]}, "invalid action"),
        ({"Action": "iam:*"}, "invalid action"),
        ({"Resource": []}, "invalid resource"),
        ({"Resource": ""}, "invalid resource"),
        ({"Resource": "*"}, "invalid resource"),
        ({"Resource": "arn:aws:s3:::"}, "invalid resource"),
        ({"Resource": "arn:aws:s3:::/b"}, "invalid resource"),
        ({"Resource": "arn:aws:s3:::bb/*"}, "invalid resource"),
        ({"Resource": "arn:aws:s3:::other*"}, "invalid resource"),
        ({"Resource": ["arn:aws:s3:::b", "arn:aws:s3:::c"]}, "invalid resource"),
        ({"Resource": "arn:aws:iam:::b"}, "invalid resource"),
        ({"Resource": "arn:aws:s3:::b/${aws:username}/*"}, "invalid resource"),
        ({"Condition": []}, "A Condition is an object"),
        ({"Condition": {"StringEquals": []}}, "A Condition is an object"),
        ({"Condition": {"StringIs": {"s3:prefix": "a"}}}, "Invalid Condition type"),
        ({"Condition": {"stringequals": {"s3:prefix": "a"}}}, "Invalid Condition type"),
        ({"Condition": {"ForAnyValue:StringEquals": {"s3:prefix": "a"}}}, "Invalid Condition type"),
        ({"Condition": {"NullIfExists": {"s3:prefix": "true"}}}, "Invalid Condition type"),
        ({"Condition": {"DateLessThan": {"s3:prefix": "2030-01-01"}}}, "Invalid Condition type"),
        ({"Condition": {"Bool": {"s3:prefix": "true"}}}, "Invalid Condition type"),
        ({"Condition": {"StringEquals": {"aws:SourceIp": "10.0.0.1"}}}, "Invalid Condition type"),
        ({"Condition": {"StringEquals": {"s3:prefiks": "a"}}}, "invalid condition key"),
        ({"Condition": {"StringEquals": {"s3:x-amz-server-side-encryption": "AES256"}}}, "invalid condition key"),
        ({"Condition": {"StringEquals": {"s3:ExistingObjectTag/": "a"}}}, "invalid condition key"),
        ({"Condition": {"StringEquals": {"aws:PrincipalArn": "a"}}}, "invalid condition key"),
        ({"Condition": {"Null": {"aws:userid": "true"}}}, "invalid condition key"),
        ({"Condition": {"StringEquals": {"s3:prefix": []}}}, "Invalid value"),
        ({"Condition": {"StringEquals": {"s3:prefix": None}}}, "Invalid value"),
        ({"Condition": {"StringEquals": {"s3:prefix": "${aws:username}/"}}}, "Invalid value"),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}}, "Invalid value"),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "example.org"}}}, "Invalid value"),
        ({"Condition": {"Bool": {"aws:SecureTransport": "yes"}}}, "Invalid value"),
        ({"Condition": {"Null": {"s3:prefix": "maybe"}}}, "Invalid value"),
        ({"Condition": {"NumericLessThan": {"s3:max-keys": "ten"}}}, "Invalid value"),
        ({"Condition": {"NumericLessThan": {"s3:max-keys": 1.5}}}, "Invalid value"),
    ],
)
def test_a_statement_is_refused(change: dict[str, Any], message: str) -> None:
    assert message in refusal(text_of({**PLAIN, **change}))
    assert message in refusal(text_of(PLAIN, {**PLAIN, "Effect": "Deny", **change}))


@pytest.mark.parametrize("missing", sorted(PLAIN))
def test_a_statement_lacks_nothing(missing: str) -> None:
    found = {name: value for name, value in PLAIN.items() if name != missing}
    assert f"Missing required field {missing}" in refusal(text_of(found))


def test_a_principal_must_be_known_if_one_can_tell() -> None:
    data = text_of({**PLAIN, "Principal": {"AWS": [A, "*"]}})
    assert policy.read_policy(data, "b", {A}.__contains__) == policy.read_policy(data, "b")
    with pytest.raises(MalformedPolicy, match="Invalid principal"):
        policy.read_policy(data, "b", {B}.__contains__)


@pytest.mark.parametrize(
    ("principal", "nobody", "a", "both"),
    [
        ("*", True, True, True),
        ({"AWS": "*"}, True, True, True),
        ({"AWS": A}, False, True, True),
        ({"AWS": f"arn:aws:iam::{A}:root"}, False, True, True),
        ({"CanonicalUser": A}, False, True, True),
        ({"CanonicalUser": [B]}, False, False, True),
        ({"AWS": [A], "CanonicalUser": [B]}, False, True, True),
    ],
)
def test_whom_a_statement_means(principal: Any, nobody: bool, a: bool, both: bool) -> None:
    found = read({"Principal": principal})
    for ids, expected in (((), nobody), ((A,), a), ((A, B), both)):
        assert (policy.decide(found, asked(ids=ids)) == "allow") == expected


@pytest.mark.parametrize(
    ("patterns", "action", "named"),
    [
        ("s3:GetObject", "s3:GetObject", True),
        ("s3:GetObject", "s3:GetObjectTagging", False),
        ("s3:getobject", "s3:GetObject", True),
        ("s3:Get*", "s3:GetObjectTagging", True),
        ("s3:Get*", "s3:PutObject", False),
        ("s3:?etObject", "s3:GetObject", True),
        ("s3:*", "s3:PutBucketPolicy", True),
        ("*", "s3:DeleteObject", True),
        (["s3:ListBucket", "s3:PutObject"], "s3:PutObject", True),
        (["s3:ListBucket", "s3:PutObject"], "s3:GetObject", False),
    ],
)
def test_which_actions_are_meant(patterns: Any, action: str, named: bool) -> None:
    assert (policy.decide(read({"Action": patterns}), asked(action)) == "allow") == named


@pytest.mark.parametrize(
    ("patterns", "resource", "named"),
    [
        ("b", "b", True),
        ("b", "b/k", False),
        ("b/*", "b", False),
        ("b/*", "b/", True),
        ("b/*", "b/k/l", True),
        ("b/k", "b/k", True),
        ("b/k", "b/K", False),
        ("b/*.txt", "b/x.txt.gz", False),
        ("b/*/*", "b/k", False),
        ("b/*/*", "b/k/l", True),
        ("b/m?-o/*", "b/my-o/x", True),
        ("b/m?-o/*", "b/myy-o/x", False),
        ("b/[a]*", "b/a", False),
        ("b/a.c", "b/abc", False),
        ("b*", "b/k", True),
        ("*", "b", True),
        ("*/*", "b/k", True),
        ("?/k", "b/k", True),
        (["b", "b/k"], "b/k", True),
        ("b/*\n", "b/k", False),
    ],
)
def test_which_resources_are_meant(patterns: Any, resource: str, named: bool) -> None:
    several = [patterns] if isinstance(patterns, str) else patterns
    found = read({"Resource": [policy.ARN + pattern for pattern in several]})
    assert (policy.decide(found, asked(resource=resource)) == "allow") == named


@given(st.text("ab?*", max_size=12), st.text("ab", max_size=12))
def test_patterns_fit_as_in_a_shell(pattern: str, text: str) -> None:
    fits = re.match(fnmatch.translate(pattern), text) is not None
    assert policy._like(text, pattern) == fits


@pytest.mark.parametrize("pattern", ["*a" * 5000 + "b", "*a?" * 100 + "b", "?" * 100 + "*" + "a" * 1000 + "b"])
def test_no_pattern_is_slow(pattern: str) -> None:
    started = time.perf_counter()
    assert not policy._like("a" * 1024, pattern)
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    ("statements", "decided"),
    [
        ([{"Effect": "Deny"}], "deny"),
        ([{}, {"Effect": "Deny"}], "deny"),
        ([{"Effect": "Deny"}, {}], "deny"),
        ([{}, {"Effect": "Deny", "Action": "s3:PutObject"}], "allow"),
        ([{"Action": "s3:PutObject"}], None),
        ([{"Effect": "Deny", "Principal": {"AWS": B}}, {}], "allow"),
        ([{"Principal": {"AWS": B}}], None),
    ],
)
def test_a_denial_wins(statements: list[dict[str, Any]], decided: str | None) -> None:
    assert policy.decide(read(*statements), asked(ids=[A])) == decided


TLS, PREFIX = "aws__SecureTransport", "s3__prefix"


@pytest.mark.parametrize(
    ("operator", "key", "values", "have", "holds"),
    [
        ("StringEquals", "s3:prefix", "a", "a", True),
        ("StringEquals", "s3:prefix", "a", "A", False),
        ("StringEquals", "s3:prefix", ["b", ""], "", True),
        ("StringEquals", "s3:prefix", "a*", "ab", False),
        ("StringEquals", "s3:prefix", "a", None, False),
        ("StringEqualsIfExists", "s3:prefix", "a", None, True),
        ("StringEqualsIfExists", "s3:prefix", "a", "b", False),
        ("StringNotEquals", "s3:prefix", "a", "b", True),
        ("StringNotEquals", "s3:prefix", ["a", "b"], "b", False),
        ("StringNotEquals", "s3:prefix", "a", None, True),
        ("StringEqualsIgnoreCase", "S3:Prefix", "aB", "Ab", True),
        ("StringNotEqualsIgnoreCase", "s3:prefix", "aB", "Ab", False),
        ("StringLike", "s3:prefix", ["x", "a*c?"], "abcd", True),
        ("StringLike", "s3:prefix", "a*", None, False),
        ("StringLike", "aws:Referer", "http://www.example.com/*", "http://www.example.com/i", True),
        ("StringLikeIfExists", "aws:Referer", "http://www.example.com/*", None, True),
        ("StringLikeIfExists", "aws:Referer", "http://www.example.com/*", "http://example.com", False),
        ("StringNotLike", "s3:prefix", "a*", "ab", False),
        ("IpAddress", "aws:SourceIp", "10.0.0.0/8", "10.1.2.3", True),
        ("IpAddress", "aws:SourceIp", "10.0.0.0/8", "11.1.2.3", False),
        ("IpAddress", "aws:SourceIp", ["192.0.2.1", "10.1.2.3/8"], "10.9.9.9", True),
        ("IpAddress", "aws:SourceIp", "10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("IpAddress", "aws:SourceIp", "2001:db8::/32", "2001:db8::1", True),
        ("IpAddress", "aws:SourceIp", "10.0.0.0/8", "2001:db8::1", False),
        ("IpAddress", "aws:SourceIp", "0.0.0.0/0", "unix", False),
        ("IpAddress", "aws:SourceIp", "10.0.0.0/8", None, False),
        ("IpAddressIfExists", "aws:SourceIp", "10.0.0.0/8", None, True),
        ("NotIpAddress", "aws:SourceIp", "10.0.0.0/8", "10.1.2.3", False),
        ("NotIpAddress", "aws:SourceIp", ["10.0.0.0/8", "11.0.0.0/8"], "12.1.2.3", True),
        ("Bool", "aws:SecureTransport", "false", "false", True),
        ("Bool", "aws:SecureTransport", False, "true", False),
        ("Bool", "aws:SecureTransport", True, "true", True),
        ("NumericEquals", "s3:max-keys", 10, "10", True),
        ("NumericEquals", "s3:max-keys", "10", "010", True),
        ("NumericNotEquals", "s3:max-keys", "10", "10", False),
        ("NumericLessThan", "s3:max-keys", "10", "9", True),
        ("NumericLessThan", "s3:max-keys", "10", "10", False),
        ("NumericLessThanEquals", "s3:max-keys", "10", "10", True),
        ("NumericGreaterThan", "s3:max-keys", "10", "10", False),
        ("NumericGreaterThanEquals", "s3:max-keys", "10", "10", True),
        ("NumericLessThan", "s3:max-keys", "10", "x", False),
        ("NumericLessThan", "s3:max-keys", "10", None, False),
        ("NumericLessThanIfExists", "s3:max-keys", "10", None, True),
        ("Null", "s3:prefix", "true", None, True),
        ("Null", "s3:prefix", "true", "", False),
        ("Null", "s3:prefix", "false", "a", True),
        ("Null", "s3:prefix", False, None, False),
        ("StringEquals", "s3:ExistingObjectTag/security", "public", "public", True),
        ("StringEquals", "s3:ExistingObjectTag/security", "public", None, False),
        ("StringEquals", "s3:RequestObjectTag/a/b", "1", "1", True),
        ("StringLike", "s3:x-amz-copy-source", "b/public/*", "b/public/foo", True),
        ("StringEquals", "s3:x-amz-metadata-directive", "COPY", None, False),
        ("StringEquals", "s3:x-amz-grant-full-control", f"id={A}", f"id={A}", True),
    ],
)
def test_when_a_condition_holds(operator: str, key: str, values: Any, have: str | None, holds: bool) -> None:
    found = read({"Condition": {operator: {key: values}}})
    context = {} if have is None else {key: [have]}
    request = PolicyRequest((), "s3:GetObject", "arn:aws:s3:::b/k", context)
    assert (policy.decide(found, request) == "allow") == holds
    denial = read({}, {"Effect": "Deny", "Condition": {operator: {key: values}}})
    assert policy.decide(denial, request) == ("deny" if holds else "allow")


def test_the_case_of_a_tag_counts_but_not_that_of_its_key() -> None:
    found = read({"Condition": {"StringEquals": {"S3:existingobjecttag/Level": "1"}}})
    for name, holds in (("s3:ExistingObjectTag/Level", True), ("s3:ExistingObjectTag/level", False)):
        request = PolicyRequest((), "s3:GetObject", "arn:aws:s3:::b/k", {name: ["1"]})
        assert (policy.decide(found, request) == "allow") == holds


def test_all_conditions_must_hold() -> None:
    condition = {"StringLike": {"s3:prefix": "a*", "aws:Referer": "*"}, "Bool": {"aws:SecureTransport": "true"}}
    found = read({"Condition": condition})
    full = {PREFIX: "a", "aws__Referer": "x", TLS: "true"}
    assert policy.decide(found, asked(**full)) == "allow"
    for name in full:
        assert policy.decide(found, asked(**{**full, name: "false"})) == ("allow" if name == "aws__Referer" else None)
        assert policy.decide(found, asked(**{other: full[other] for other in full if other != name})) is None


@pytest.mark.parametrize(
    ("statements", "public"),
    [
        ([{}], True),
        ([{"Principal": {"AWS": "*"}}], True),
        ([{"Principal": {"AWS": [A, "*"]}}], True),
        ([{"Principal": {"AWS": A}}], False),
        ([{"Effect": "Deny"}], False),
        ([{"Principal": {"AWS": A}}, {}], True),
        ([{"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/32"}}}], False),
        ([{"Condition": {"IpAddress": {"aws:SourceIp": ["192.168.0.0/16", "2001:db8::/32"]}}}], False),
        ([{"Condition": {"IpAddress": {"aws:SourceIp": ["192.168.0.0/16", "0.0.0.0/0"]}}}], True),
        ([{"Condition": {"IpAddress": {"aws:SourceIp": "64.0.0.0/7"}}}], True),
        ([{"Condition": {"IpAddress": {"aws:SourceIp": "::/0"}}}], True),
        ([{"Condition": {"IpAddressIfExists": {"aws:SourceIp": "10.0.0.0/8"}}}], True),
        ([{"Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}], True),
        ([{"Condition": {"StringLike": {"aws:Referer": "http://a/*"}}}], True),
        ([{"Condition": {"StringEquals": {"s3:ExistingObjectTag/a": "1"}}}], True),
        ([{"Condition": {"Null": {"s3:prefix": "true"}, "IpAddress": {"aws:SourceIp": "192.0.2.1"}}}], False),
    ],
)
def test_what_is_public(statements: list[dict[str, Any]], public: bool) -> None:
    assert policy.is_public(read(*statements)) == public


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["AWS", "StringEquals", "s3:prefix", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON, st.sampled_from(["Version", "Id", "Statement"]) | st.sampled_from(sorted({*PLAIN, "Sid", "Condition"})))
def test_any_json_is_read_or_refused(value: Any, place: str) -> None:
    whole = place in ("Version", "Id", "Statement")
    data = text_of(PLAIN, **{place: value}) if whole else text_of({**PLAIN, place: value})
    try:
        found = policy.read_policy(data, "b")
    except MalformedPolicy:
        pass
    else:
        assert policy.decide(found, asked()) in ("allow", None)
