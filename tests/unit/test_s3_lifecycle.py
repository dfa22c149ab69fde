"""Lifecycle: documents by botocore's model, every refusal, and the moment each thing expires."""

import json
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from entrepot.protocols.s3 import lifecycle
from entrepot.protocols.s3.errors import S3Error
from entrepot.services import lifecycle as rules_of
from entrepot.services.lifecycle import Rule

MODEL = botocore.session.get_session().get_service_model("s3")
DAY = 86_400


def sent(*rules: dict[str, Any]) -> bytes:
    """The body botocore sends."""
    params = {"Bucket": "b", "LifecycleConfiguration": {"Rules": list(rules)}}
    operation = MODEL.operation_model("PutBucketLifecycleConfiguration")
    serializer = create_serializer("rest-xml", include_validation=False)
    body: bytes = serializer.serialize_to_request(params, operation)["body"]
    return body


def shown(body: bytes) -> Any:
    """What botocore makes of an answer."""
    shape = MODEL.operation_model("GetBucketLifecycleConfiguration").output_shape
    return create_parser("rest-xml").parse({"status_code": 200, "headers": {}, "body": body}, shape)["Rules"]


def at(text: str) -> float:
    return datetime.fromisoformat(f"{text}+00:00").timestamp()


def one(**more: Any) -> Rule:
    """A rule that was read."""
    full = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, **more}
    return lifecycle.read_lifecycle(sent({name: value for name, value in full.items() if value is not None}))[0]


TAG, OTHER = {"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}
DAYS: dict[str, Any] = {"Expiration": {"Days": 31}}


@pytest.mark.parametrize(
    "rule",
    [
        {"Prefix": "test1/", **DAYS},
        {"Prefix": "", "Status": "Disabled", **DAYS},
        {"Filter": {}, **DAYS},
        {"Filter": {"Prefix": ""}, **DAYS},
        {"Filter": {"Prefix": "a&b/"}, **DAYS},
        {"Filter": {"Tag": TAG}, **DAYS},
        {"Filter": {"ObjectSizeGreaterThan": 0}, **DAYS},
        {"Filter": {"ObjectSizeLessThan": 2**40}, **DAYS},
        {"Filter": {"And": {"Prefix": "p", "Tags": [TAG]}}, **DAYS},
        {"Filter": {"And": {"Tags": [TAG, OTHER]}}, **DAYS},
        {
            "Filter": {
                "And": {"Prefix": "", "Tags": [OTHER], "ObjectSizeGreaterThan": 1, "ObjectSizeLessThan": 3},
            },
            **DAYS,
        },
        {"Prefix": "", "Expiration": {"Date": datetime(2022, 10, 12, tzinfo=UTC)}},
        {"Prefix": "", "Expiration": {"ExpiredObjectDeleteMarker": True}},
        {"Prefix": "", "Expiration": {"ExpiredObjectDeleteMarker": False}},
        {"Prefix": "", "NoncurrentVersionExpiration": {"NoncurrentDays": 2}},
        {"Filter": {}, "NoncurrentVersionExpiration": {"NoncurrentDays": 2, "NewerNoncurrentVersions": 100}},
        {"Prefix": "x", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}},
        {
            "Filter": {"Prefix": "x"},
            "Expiration": {"Days": 2**31 - 1},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        },
    ],
)
def test_a_rule_goes_round_by_botocore_and_json(rule: dict[str, Any]) -> None:
    theirs = {"ID": "the <rule>", "Status": "Enabled", **rule}
    found = json.loads(json.dumps(lifecycle.read_lifecycle(sent(theirs))))
    assert shown(lifecycle.write_lifecycle(found)) == [theirs]


def test_rules_keep_their_order_and_get_ids() -> None:
    body = sent(*({"Status": "Enabled", "Prefix": "same", **DAYS} for _ in range(1000)))
    rules = lifecycle.read_lifecycle(body)
    assert len({rule["id"] for rule in rules}) == 1000
    assert all(1 <= len(rule["id"]) <= lifecycle.MAX_ID for rule in rules)
    assert lifecycle.read_lifecycle(body) == rules
    assert lifecycle.read_lifecycle(lifecycle.write_lifecycle(rules)) == rules


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Status": "enabled"}, "MalformedXML"),
        ({"Status": "invalid"}, "MalformedXML"),
        ({"Status": None}, "MalformedXML"),
        ({"ID": "a" * 256}, "InvalidArgument"),
        ({"Prefix": None}, "MalformedXML"),
        ({"Filter": {}}, "MalformedXML"),
        ({"Prefix": None, "Filter": {"Prefix": "p", "Tag": TAG}}, "MalformedXML"),
        ({"Prefix": None, "Filter": {"Tag": TAG, "And": {"Tags": [OTHER]}}}, "MalformedXML"),
        ({"Prefix": None, "Filter": {"And": {}}}, "MalformedXML"),
        ({"Prefix": None, "Filter": {"And": {"Tags": [TAG, TAG]}}}, "InvalidRequest"),
        ({"Prefix": None, "Filter": {"Tag": {"Key": "k" * 129, "Value": ""}}}, "InvalidTag"),
        ({"Prefix": None, "Filter": {"Tag": {"Key": "k", "Value": "v" * 257}}}, "InvalidTag"),
        ({"Prefix": None, "Filter": {"ObjectSizeGreaterThan": -1}}, "InvalidArgument"),
        ({"Prefix": None, "Filter": {"ObjectSizeLessThan": 0}}, "InvalidArgument"),
        (
            {"Prefix": None, "Filter": {"And": {"ObjectSizeGreaterThan": 5, "ObjectSizeLessThan": 5}}},
            "InvalidRequest",
        ),
        ({"Expiration": None}, "InvalidRequest"),
        ({"Expiration": {}}, "MalformedXML"),
        ({"Expiration": {"Days": 0}}, "InvalidArgument"),
        ({"Expiration": {"Days": -1}}, "InvalidArgument"),
        ({"Expiration": {"Days": 2**31}}, "InvalidArgument"),
        ({"Expiration": {"Days": 1, "ExpiredObjectDeleteMarker": False}}, "MalformedXML"),
        ({"Expiration": {"Days": 1, "Date": datetime(2022, 1, 1, tzinfo=UTC)}}, "MalformedXML"),
        ({"Expiration": {"Date": "20200101"}}, "InvalidArgument"),  # botocore sends it as seconds: 1970-08-22T19:08:21Z
        ({"Expiration": {"Date": datetime(2022, 1, 1, 0, 0, 1, tzinfo=UTC)}}, "InvalidArgument"),
        (
            {"Prefix": None, "Filter": {"Tag": TAG}, "Expiration": {"ExpiredObjectDeleteMarker": True}},
            "InvalidRequest",
        ),
        ({"NoncurrentVersionExpiration": {}}, "MalformedXML"),
        ({"NoncurrentVersionExpiration": {"NoncurrentDays": 0}}, "InvalidArgument"),
        ({"NoncurrentVersionExpiration": {"NoncurrentDays": 1, "NewerNoncurrentVersions": 0}}, "InvalidArgument"),
        ({"NoncurrentVersionExpiration": {"NoncurrentDays": 1, "NewerNoncurrentVersions": 101}}, "InvalidArgument"),
        ({"AbortIncompleteMultipartUpload": {}}, "MalformedXML"),
        ({"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 0}}, "InvalidArgument"),
        (
            {
                "Prefix": None,
                "Filter": {"Tag": TAG},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
            },
            "InvalidRequest",
        ),
        (
            {
                "Prefix": None,
                "Filter": {"ObjectSizeLessThan": 9},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
            },
            "InvalidRequest",
        ),
        ({"Transitions": [{"Days": 30, "StorageClass": "GLACIER"}]}, "NotImplemented"),
        ({"NoncurrentVersionTransitions": [{"NoncurrentDays": 30, "StorageClass": "GLACIER"}]}, "NotImplemented"),
    ],
)
def test_a_rule_is_refused(change: dict[str, Any], code: str) -> None:
    full = {"ID": "r", "Status": "Enabled", "Prefix": "p", **DAYS, **change}
    with pytest.raises(S3Error) as refused:
        lifecycle.read_lifecycle(sent({name: value for name, value in full.items() if value is not None}))
    assert refused.value.s3_code == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (sent(), "MalformedXML"),
        (sent(*({"Status": "Enabled", "Prefix": "", **DAYS} for _ in range(1001))), "MalformedXML"),
        (sent(*({"ID": "r", "Status": "Enabled", "Prefix": p, **DAYS} for p in "ab")), "InvalidArgument"),
        (sent({"Status": "Enabled", "Prefix": "", **DAYS}).replace(b"31", b"3.1"), "MalformedXML"),
        (
            sent({"Status": "Enabled", "Prefix": "", **DAYS}).replace(b"<Days>31</Days>", b"<Date>now</Date>"),
            "MalformedXML",
        ),
        (sent({"Status": "Enabled", "Prefix": "", **DAYS}).replace(b"Days>", b"Weeks>"), "MalformedXML"),
        (b"<LifecycleConfiguration><CORSRule/></LifecycleConfiguration>", "MalformedXML"),
    ],
    ids=["none", "too many", "same id", "fraction", "no date", "weeks", "other"],
)
def test_a_document_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(S3Error) as refused:
        lifecycle.read_lifecycle(body)
    assert refused.value.s3_code == code


@pytest.mark.parametrize(
    ("scope", "key", "tags", "size", "governed"),
    [
        ({"Filter": {}}, "k", {}, 0, True),
        ({"Filter": None, "Prefix": "p/"}, "p/k", {}, 0, True),
        ({"Filter": None, "Prefix": "p/"}, "k", {}, 0, False),
        ({"Filter": {"Tag": TAG}}, "k", {"a": "1", "z": ""}, 0, True),
        ({"Filter": {"Tag": TAG}}, "k", {"a": "2"}, 0, False),
        ({"Filter": {"Tag": OTHER}}, "k", {}, 0, False),
        ({"Filter": {"ObjectSizeGreaterThan": 10}}, "k", {}, 10, False),
        ({"Filter": {"ObjectSizeGreaterThan": 10}}, "k", {}, 11, True),
        ({"Filter": {"ObjectSizeGreaterThan": 0}}, "k", {}, 0, False),
        ({"Filter": {"ObjectSizeLessThan": 10}}, "k", {}, 10, False),
        ({"Filter": {"ObjectSizeLessThan": 10}}, "k", {}, 9, True),
        ({"Filter": {"And": {"Prefix": "p", "Tags": [TAG, OTHER]}}}, "pk", {"a": "1", "b": ""}, 1, True),
        ({"Filter": {"And": {"Prefix": "p", "Tags": [TAG, OTHER]}}}, "pk", {"a": "1"}, 1, False),
        ({"Filter": {"And": {"Prefix": "p", "Tags": [TAG, OTHER]}}}, "k", {"a": "1", "b": ""}, 1, False),
        ({"Filter": {}, "Status": "Disabled"}, "k", {}, 0, False),
    ],
)
def test_what_a_rule_governs(scope: dict[str, Any], key: str, tags: dict[str, str], size: int, governed: bool) -> None:
    assert rules_of.applies(one(**scope, **DAYS), key, tags, size) == governed


@pytest.mark.parametrize(
    ("days", "made", "expires"),
    [
        (3, "2014-01-15T10:30:00", "2014-01-19"),  # AWS's example
        (1, "2026-11-21T00:00:00", "2026-11-22"),
        (1, "2026-11-21T00:00:00.001", "2026-11-23"),
        (1, "2026-11-21T23:59:59.999", "2026-11-23"),
        (2**31 - 1, "2026-11-21T08:00:00", "9999-12-31"),
    ],
)
def test_days_are_rounded_up_to_midnight(days: int, made: str, expires: str) -> None:
    expiration = one(Expiration={"Days": days})
    assert rules_of.expires_at(expiration, at(made)) == at(expires)
    assert rules_of.marker_expires_at(expiration, at(made)) == at(expires)
    assert rules_of.noncurrent_expires_at(expiration, at(made), 0) is None
    assert rules_of.upload_expires_at(expiration, at(made)) is None
    noncurrent = one(NoncurrentVersionExpiration={"NoncurrentDays": days})
    assert rules_of.noncurrent_expires_at(noncurrent, at(made), 0) == at(expires)
    assert rules_of.expires_at(noncurrent, at(made)) is None
    upload = one(AbortIncompleteMultipartUpload={"DaysAfterInitiation": days})
    assert rules_of.upload_expires_at(upload, at(made)) == at(expires)
    assert rules_of.expires_at(upload, at(made)) is None


@given(st.integers(1, 10_000), st.floats(0, 4e9))
def test_nothing_expires_before_its_days_are_over(days: int, made: float) -> None:
    expires = rules_of.expires_at(one(Expiration={"Days": days}), made)
    assert expires is not None
    assert expires % DAY == 0
    assert made + days * DAY - 1e-3 <= expires <= made + (days + 1) * DAY


def test_a_date_holds_for_all() -> None:
    rule = one(Expiration={"Date": datetime(2026, 12, 24, tzinfo=UTC)})
    for made in ("2020-01-01", "2030-01-01"):
        assert rules_of.expires_at(rule, at(made)) == at("2026-12-24")


def test_newer_versions_are_kept() -> None:
    rule = one(NoncurrentVersionExpiration={"NoncurrentDays": 1, "NewerNoncurrentVersions": 2})
    found = [rules_of.noncurrent_expires_at(rule, at("2026-11-21"), newer) for newer in range(4)]
    assert found == [None, None, at("2026-11-22"), at("2026-11-22")]


@pytest.mark.parametrize(("word", "expires"), [(True, "2026-11-21T08:00:00"), (False, None)])
def test_lone_delete_markers_go_at_once_if_told_so(word: bool, expires: str | None) -> None:
    rule = one(Expiration={"ExpiredObjectDeleteMarker": word})
    assert rules_of.marker_expires_at(rule, at("2026-11-21T08:00:00")) == (expires and at(expires))
    assert rules_of.expires_at(rule, at("2026-11-21T08:00:00")) is None
