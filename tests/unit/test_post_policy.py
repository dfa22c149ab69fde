"""POST forms: made as boto3 makes them, and refused for every field and condition that does not fit."""

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.auth import post_policy, sigv2
from entrepot.auth.post_policy import FormProof, Policy
from entrepot.auth.sigv2 import ClockSkewed, Expired, WrongSignature
from entrepot.errors import BadRequest, Denied

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text())
NAMED: dict[str, Any] = {vector["name"]: vector for vector in VECTORS["vectors"]}
ACCESS, SECRET = VECTORS["access_key"], VECTORS["secret_key"]
NOW = datetime(2026, 11, 21, 8, tzinfo=UTC).timestamp()
EXPIRES = NOW + 600
CHECKSUM = "x-amz-meta-prominence_sha256"
V2, V4 = NAMED["POST form, sigv2"]["fields"], NAMED["POST form, sigv4"]["fields"]


def encoded(document: object) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


def policy_of(*conditions: object, bucket: str = "b") -> str:
    return encoded({"expiration": "2026-11-21T08:10:00Z", "conditions": [{"bucket": bucket}, *conditions]})


def check(policy: str, now: float = NOW, bucket: str = "b", **fields: str) -> Policy:
    return post_policy.check(policy, [(name.replace("_", "-"), value) for name, value in fields.items()], bucket, now)


@pytest.mark.parametrize("fields", [V2, V4], ids=["v2", "v4"])
def test_forms_made_by_boto3_are_verified_and_allowed(fields: dict[str, str]) -> None:
    sent = [*fields.items(), ("file", "")]
    proof = post_policy.find_proof(sent)
    assert proof is not None
    assert proof.access_key == ACCESS
    post_policy.verify(proof, SECRET, NOW)
    assert post_policy.check(proof.policy, sent, "prominence-data", NOW) == Policy(EXPIRES)


def test_our_forms_are_those_of_boto3_field_by_field_in_order() -> None:
    metadata = {CHECKSUM: V2[CHECKSUM]}
    old = post_policy.make_v2(metadata, "prominence-data", V2["key"], ACCESS, SECRET, EXPIRES)
    assert list(old.items()) == [
        (name, V2[name]) for name in (CHECKSUM, "key", "AWSAccessKeyId", "policy", "signature")
    ]
    new = post_policy.make_v4(metadata, "prominence-data", V4["key"], ACCESS, SECRET, EXPIRES, NOW)
    order = (CHECKSUM, "key", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "policy", "x-amz-signature")
    assert list(new.items()) == [(name, V4[name]) for name in order]


@cache
def botocore_client() -> Any:
    session = botocore.session.get_session()
    session.set_credentials(ACCESS, SECRET)
    config = Config(signature_version="s3", s3={"addressing_style": "path"})
    return session.create_client("s3", region_name="us-east-1", endpoint_url="http://127.0.0.1:9000", config=config)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(lambda key: "$" not in key))
@settings(max_examples=40, deadline=None)
def test_boto3_and_we_make_the_same_form_for_any_key(key: str) -> None:
    theirs = botocore_client().generate_presigned_post("b", key, {CHECKSUM: "ab"}, [{CHECKSUM: "ab"}])["fields"]
    expiration = json.loads(base64.b64decode(theirs["policy"]))["expiration"]
    expires_at = datetime.fromisoformat(expiration).timestamp()
    assert list(post_policy.make_v2({CHECKSUM: "ab"}, "b", key, ACCESS, SECRET, expires_at).items()) == list(
        theirs.items()
    )
    post_policy.check(theirs["policy"], list(theirs.items()), "b", expires_at - 1)


@pytest.mark.parametrize("fields", [V2, V4], ids=["v2", "v4"])
def test_another_policy_or_secret_is_refused(fields: dict[str, str]) -> None:
    proof = post_policy.find_proof(list(fields.items()))
    assert proof is not None
    with pytest.raises(WrongSignature) as refusal:
        post_policy.verify(proof, "another secret", NOW)
    assert "another secret" not in str(refusal.value)
    assert proof.signature not in f"{refusal.value}{proof!r}"
    changed = post_policy.find_proof([*{**fields, "policy": fields["policy"] + "="}.items()])
    assert changed is not None
    with pytest.raises(WrongSignature):
        post_policy.verify(changed, SECRET, NOW)


def test_a_v4_form_is_for_this_region_and_for_seven_days() -> None:
    form = post_policy.make_v4({}, "b", "k", ACCESS, SECRET, EXPIRES, NOW, "eu-x")
    proof = post_policy.find_proof(list(form.items()))
    assert isinstance(proof, FormProof)
    post_policy.verify(proof, SECRET, NOW + 604_799, "eu-x")
    with pytest.raises(BadRequest):
        post_policy.verify(proof, SECRET, NOW, "eu-y")
    with pytest.raises(Expired):
        post_policy.verify(proof, SECRET, NOW + 604_800, "eu-x")
    with pytest.raises(ClockSkewed):
        post_policy.verify(proof, SECRET, NOW - 901, "eu-x")


@pytest.mark.parametrize(
    "fields",
    [
        [
            *V2.items(),
            ("x-amz-signature", "0"),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-credential", "a/b/c/d/e"),
        ],
        [*V2.items(), ("Policy", V2["policy"])],
        [*V2.items(), ("SIGNATURE", "x")],
        [*V4.items(), ("X-Amz-Credential", "a/b/c/d/e")],
        [("key", "k"), ("policy", V2["policy"])],
        [("key", "k"), ("signature", "x"), ("AWSAccessKeyId", "a")],
        [("policy", "x"), ("x-amz-signature", "x"), ("x-amz-algorithm", "AWS4-HMAC-SHA256"), ("x-amz-credential", "a")],
        [("policy", "x"), ("x-amz-signature", "x"), ("x-amz-algorithm", "AWS4-HMAC-MD5")],
    ],
)
def test_two_proofs_a_control_field_twice_or_half_a_proof_are_bad_requests(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(BadRequest):
        post_policy.find_proof(fields)


def test_a_form_without_policy_and_signature_has_no_proof() -> None:
    assert post_policy.find_proof([("key", "k"), ("acl", "private")]) is None


def test_a_form_ends_with_its_policy() -> None:
    policy = policy_of({"key": "k"})
    check(policy, EXPIRES - 1, key="k")
    with pytest.raises(Expired):
        check(policy, EXPIRES, key="k")


@pytest.mark.parametrize("name", ["acl", "Content-Type", "x-amz-meta-a", "success_action_status", "tagging"])
def test_a_field_without_a_condition_is_denied(name: str) -> None:
    with pytest.raises(Denied, match="no condition"):
        post_policy.check(policy_of({"key": "k"}), [("key", "k"), (name, "v")], "b", NOW)


@pytest.mark.parametrize(
    "name", ["file", "policy", "signature", "x-amz-signature", "AWSAccessKeyId", "x-ignore-me", "X-Ignore-"]
)
def test_some_fields_need_no_condition(name: str) -> None:
    assert post_policy.check(policy_of({"key": "k"}), [("key", "k"), (name, "v")], "b", NOW) == Policy(EXPIRES)


@pytest.mark.parametrize("condition", [{"acl": "private"}, ["eq", "$acl", ""], ["starts-with", "$acl", ""]])
def test_a_condition_without_a_field_is_denied(condition: object) -> None:
    with pytest.raises(Denied, match="acl"):
        check(policy_of({"key": "k"}, condition), key="k")


@pytest.mark.parametrize("key", ["K", "k2", "", "ak"])
def test_an_altered_field_is_denied(key: str) -> None:
    with pytest.raises(Denied):
        check(policy_of({"key": "k"}), key=key)
    with pytest.raises(Denied):
        check(policy_of(["eq", "$key", "k"]), key=key)


def test_starts_with_wants_the_beginning_and_an_empty_one_takes_all() -> None:
    check(policy_of(["starts-with", "$key", "user/"]), key="user/a")
    check(policy_of(["starts-with", "$key", ""]), key="anything")
    for key in ("users/a", "a/user/", "User/a"):
        with pytest.raises(Denied):
            check(policy_of(["starts-with", "$key", "user/"]), key=key)


def test_each_of_several_content_types_must_begin_alike() -> None:
    policy = policy_of(["starts-with", "$Content-Type", "image/"])
    check(policy, Content_Type="image/png, image/jpeg")
    with pytest.raises(Denied):
        check(policy, Content_Type="image/png,text/html")


def test_names_and_operators_may_have_any_case() -> None:
    policy = encoded(
        {
            "expiration": "2026-11-21T08:10:00.000Z",
            "conditions": [{"bUcKeT": "b"}, ["StArTs-WiTh", "$KeY", "f"], {"AcL": "p"}],
        }
    )
    check(policy, kEy="foo", aCl="p")


def test_the_policy_names_the_bucket_of_the_path() -> None:
    check(policy_of({"key": "k"}, bucket="c"), bucket="c", key="k")
    with pytest.raises(Denied, match="bucket"):
        check(policy_of({"key": "k"}, bucket="c"), key="k")
    with pytest.raises(Denied, match="bucket"):
        check(encoded({"expiration": "2026-11-21T08:10:00Z", "conditions": [{"key": "k"}]}), key="k")
    with pytest.raises(Denied, match="bucket"):
        check(policy_of({"key": "k"}, bucket="c"), key="k", bucket_="c")


def test_a_bucket_field_cannot_stand_in_for_the_path() -> None:
    policy = policy_of({"key": "k"}, bucket="c")
    with pytest.raises(Denied, match="another bucket"):
        post_policy.check(policy, [("key", "k"), ("bucket", "c")], "b", NOW)


def test_length_ranges_are_handed_on_the_narrowest_counts() -> None:
    assert check(policy_of(["content-length-range", 2, 5])) == Policy(EXPIRES, 2, 5)
    both = policy_of(["content-length-range", 0, 5], ["Content-Length-Range", 3, 9])
    assert check(both) == Policy(EXPIRES, 3, 5)


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"a": "1", "b": "2"},
        {"acl": 1},
        {"acl": None},
        [],
        ["eq", "$acl"],
        ["eq", "acl", "x"],
        ["eq", "$", "x"],
        ["eq", "$acl", 5],
        ["ends-with", "$acl", "x"],
        ["content-length-range", -1, 5],
        ["content-length-range", 5, 1],
        ["content-length-range", "0", "5"],
        ["content-length-range", True, 5],
        ["content-length-range", 0, 1.5],
        ["content-length-range", 0],
        "eq",
        None,
    ],
    ids=repr,
)
def test_a_malformed_condition_is_a_bad_request(condition: object) -> None:
    with pytest.raises(BadRequest):
        check(policy_of(condition), acl="x")


@pytest.mark.parametrize(
    "document",
    [
        {"conditions": []},
        {"expiration": "2026-11-21T08:10:00Z"},
        {"Expiration": "2026-11-21T08:10:00Z", "conditions": []},
        {"expiration": "2026-11-21T08:10:00Z", "CONDITIONS": []},
        {"expiration": "2026-11-21T08:10:00Z", "conditions": [], "more": 1},
        {"expiration": "2026-11-21T08:10:00Z", "conditions": {}},
        {"expiration": "2026-11-21 08:10:00", "conditions": []},
        {"expiration": "2026-11-21T08:10:00+00:00", "conditions": []},
        {"expiration": "2026-13-21T08:10:00Z", "conditions": []},
        {"expiration": 1795248600, "conditions": []},
        [],
        "text",
    ],
    ids=repr,
)
def test_a_malformed_document_is_a_bad_request(document: object) -> None:
    with pytest.raises(BadRequest):
        check(encoded(document))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not base64!",
        base64.b64encode(b"\xff{}").decode(),
        base64.b64encode(b"{").decode(),
        base64.b64encode(
            b'{"expiration":"2026-11-21T08:10:00Z","conditions":[],"conditions":[{"bucket":"b"}]}'
        ).decode(),
        base64.b64encode(
            b'{"expiration":"2026-11-21T08:10:00Z","conditions":[["content-length-range",0,NaN]]}'
        ).decode(),
        base64.b64encode(
            b'{"expiration":"2026-11-21T08:10:00Z","conditions":' + b"[" * 5000 + b"]" * 5000 + b"}"
        ).decode(),
        "é",
    ],
)
def test_what_is_no_strict_json_in_base64_is_a_bad_request(text: str) -> None:
    with pytest.raises(BadRequest):
        check(text)


def test_a_policy_has_twenty_kibibytes_at_most() -> None:
    check(policy_of({"x-ignore-a": "v" * 20_000}), x_ignore_a="v" * 20_000)
    with pytest.raises(BadRequest, match="20480"):
        check(policy_of({"x-ignore-a": "v" * 20_480}), x_ignore_a="v" * 20_480)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
)
def test_any_conditions_are_a_policy_or_a_refusal(conditions: object) -> None:
    with suppress(BadRequest, Denied):
        policy = check(encoded({"expiration": "2026-11-21T08:10:00Z", "conditions": conditions}), key="k")
        assert isinstance(policy, Policy)


def test_a_v2_form_is_verified_by_v2_alone() -> None:
    form = post_policy.make_v2({}, "b", "k", ACCESS, SECRET, EXPIRES)
    proof = post_policy.find_proof(list(form.items()))
    assert isinstance(proof, sigv2.FormProof)
    post_policy.verify(proof, SECRET, NOW)
