"""Object lock: documents by botocore's model, and that nothing firm is ever made weaker."""

import json
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import botocore.session
import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from entrepot.protocols.s3 import lock
from entrepot.protocols.s3.errors import S3Error
from entrepot.services import retention as rules
from entrepot.services.retention import LockConfiguration, Retention

MODEL = botocore.session.get_session().get_service_model("s3")
MOMENT = datetime(2026, 11, 21, 8, tzinfo=UTC)
NOW = MOMENT.timestamp()
DAY = 86_400


def sent(operation: str, **params: Any) -> bytes:
    """The body botocore sends."""
    model = MODEL.operation_model(operation)
    body: bytes = create_serializer("rest-xml", include_validation=False).serialize_to_request(
        {"Bucket": "b", **params}, model
    )["body"]
    return body


def shown(operation: str, body: bytes, member: str) -> Any:
    """What botocore makes of an answer."""
    shape = MODEL.operation_model(operation).output_shape
    return create_parser("rest-xml").parse({"status_code": 200, "headers": {}, "body": body}, shape)[member]


def retention(mode: str, days: float) -> Retention:
    return {"mode": mode, "until": NOW + days * DAY}


@pytest.mark.parametrize(
    ("rule", "config"),
    [
        (None, {}),
        ({"Mode": "GOVERNANCE", "Days": 1}, {"mode": "GOVERNANCE", "days": 1}),
        ({"Mode": "COMPLIANCE", "Years": 100}, {"mode": "COMPLIANCE", "years": 100}),
    ],
)
def test_a_configuration_goes_round_by_botocore_and_json(rule: Any, config: LockConfiguration) -> None:
    theirs = {"ObjectLockEnabled": "Enabled", **({"Rule": {"DefaultRetention": rule}} if rule else {})}
    body = sent("PutObjectLockConfiguration", ObjectLockConfiguration=theirs)
    found = json.loads(json.dumps(lock.read_lock_configuration(body)))
    assert found == config
    written = lock.write_lock_configuration(found)
    assert shown("GetObjectLockConfiguration", written, "ObjectLockConfiguration") == theirs


@pytest.mark.parametrize(
    ("enabled", "default", "code"),
    [
        ("Disabled", {"Mode": "GOVERNANCE", "Years": 1}, "MalformedXML"),
        ("enabled", {"Mode": "GOVERNANCE", "Years": 1}, "MalformedXML"),
        ("Enabled", {"Mode": "abc", "Years": 1}, "MalformedXML"),
        ("Enabled", {"Mode": "governance", "Years": 1}, "MalformedXML"),
        ("Enabled", {"Mode": "GOVERNANCE", "Days": 1, "Years": 1}, "MalformedXML"),
        ("Enabled", {"Mode": "GOVERNANCE"}, "MalformedXML"),
        ("Enabled", {"Days": 1}, "MalformedXML"),
        ("Enabled", {"Mode": "GOVERNANCE", "Days": 0}, "InvalidRetentionPeriod"),
        ("Enabled", {"Mode": "GOVERNANCE", "Years": -1}, "InvalidRetentionPeriod"),
        ("Enabled", {"Mode": "GOVERNANCE", "Days": 36_501}, "InvalidRetentionPeriod"),
        ("Enabled", {"Mode": "GOVERNANCE", "Years": 101}, "InvalidRetentionPeriod"),
    ],
)
def test_a_configuration_is_refused(enabled: str, default: dict[str, Any], code: str) -> None:
    config = {"ObjectLockEnabled": enabled, "Rule": {"DefaultRetention": default}}
    with pytest.raises(S3Error) as refused:
        lock.read_lock_configuration(sent("PutObjectLockConfiguration", ObjectLockConfiguration=config))
    assert (refused.value.s3_code, refused.value.status) == (code, 400)


@pytest.mark.parametrize("inside", ["", "<Rule/>", "<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule/>"])
def test_half_a_configuration_is_malformed(inside: str) -> None:
    with pytest.raises(S3Error) as refused:
        lock.read_lock_configuration(f"<ObjectLockConfiguration>{inside}</ObjectLockConfiguration>".encode())
    assert refused.value.s3_code == "MalformedXML"


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
@pytest.mark.parametrize(
    "until", [datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, 2, 3, 4, 567_000, tzinfo=UTC)]
)
def test_a_retention_goes_round_by_botocore_and_json(mode: str, until: datetime) -> None:
    theirs = {"Mode": mode, "RetainUntilDate": until}
    found = lock.read_retention(sent("PutObjectRetention", Key="k", Retention=theirs), NOW)
    assert found == {"mode": mode, "until": until.timestamp()}
    written = lock.write_retention(json.loads(json.dumps(found)))
    assert shown("GetObjectRetention", written, "Retention") == theirs


def test_an_empty_retention_is_none() -> None:
    assert lock.read_retention(sent("PutObjectRetention", Key="k", Retention={}), NOW) is None


@given(st.integers(1, 10**9), st.integers(0, 999_999))
def test_a_retention_that_was_shown_can_be_sent_back(seconds: int, microseconds: int) -> None:
    until = (MOMENT + timedelta(seconds=seconds, microseconds=microseconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    first, _ = lock.header_lock("COMPLIANCE", until, None, NOW)
    assert first is not None
    again = lock.read_retention(lock.write_retention(first), NOW)
    assert again == first
    assert rules.may_change(first, again, NOW, bypass_governance=False)
    default = rules.default_retention({"mode": "COMPLIANCE", "days": 1}, NOW + microseconds / 1e6)
    assert default is not None
    assert lock.read_retention(lock.write_retention(default), NOW) == default


@pytest.mark.parametrize(
    ("mode", "date", "code"),
    [
        ("governance", "2030-01-01T00:00:00Z", "MalformedXML"),
        ("GOVERNANCE", "2030-01-01", "MalformedXML"),
        ("GOVERNANCE", "2030-01-01T00:00:00", "MalformedXML"),
        ("GOVERNANCE", "2030-13-01T00:00:00Z", "MalformedXML"),
        ("GOVERNANCE", "9999-12-31T23:59:59.9999Z", "MalformedXML"),
        ("GOVERNANCE", "soon", "MalformedXML"),
        ("GOVERNANCE", "2026-11-21T08:00:00Z", "InvalidArgument"),
        ("COMPLIANCE", "1999-01-01T00:00:00Z", "InvalidArgument"),
    ],
)
def test_a_retention_is_refused(mode: str, date: str, code: str) -> None:
    body = f"<Retention><Mode>{mode}</Mode><RetainUntilDate>{date}</RetainUntilDate></Retention>"
    with pytest.raises(S3Error) as refused:
        lock.read_retention(body.encode(), NOW)
    assert refused.value.s3_code == code


@pytest.mark.parametrize(
    "inside", ["<Mode>GOVERNANCE</Mode>", "<RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate>"]
)
def test_half_a_retention_is_malformed(inside: str) -> None:
    with pytest.raises(S3Error) as refused:
        lock.read_retention(f"<Retention>{inside}</Retention>".encode(), NOW)
    assert refused.value.s3_code == "MalformedXML"


@pytest.mark.parametrize("status", ["ON", "OFF"])
def test_a_legal_hold_goes_round_by_botocore(status: str) -> None:
    hold = lock.read_legal_hold(sent("PutObjectLegalHold", Key="k", LegalHold={"Status": status}))
    assert hold == (status == "ON")
    assert shown("GetObjectLegalHold", lock.write_legal_hold(hold), "LegalHold") == {"Status": status}


@pytest.mark.parametrize("inside", ["", "<Status>on</Status>", "<Status>abc</Status>", "<Status/>"])
def test_a_legal_hold_is_refused(inside: str) -> None:
    with pytest.raises(S3Error) as refused:
        lock.read_legal_hold(f"<LegalHold>{inside}</LegalHold>".encode())
    assert refused.value.s3_code == "MalformedXML"


LATER = "2026-11-22T08:00:00Z"


@pytest.mark.parametrize(
    ("mode", "until", "hold", "found"),
    [
        (None, None, None, (None, None)),
        (None, None, "ON", (None, True)),
        (None, None, "OFF", (None, False)),
        ("COMPLIANCE", LATER, None, (retention("COMPLIANCE", 1), None)),
        ("GOVERNANCE", LATER, "ON", (retention("GOVERNANCE", 1), True)),
    ],
)
def test_headers_are_read(mode: str | None, until: str | None, hold: str | None, found: Any) -> None:
    assert lock.header_lock(mode, until, hold, NOW) == found


@pytest.mark.parametrize(
    ("mode", "until", "hold", "message"),
    [
        ("GOVERNANCE", None, None, "must both be supplied"),
        (None, LATER, None, "must both be supplied"),
        ("governance", LATER, None, "Unknown wormMode"),
        ("GOVERNANCE", "tomorrow", None, "ISO 8601"),
        ("GOVERNANCE", "2026-11-21T07:59:59Z", None, "in the future"),
        (None, None, "on", "Legal Hold must be"),
    ],
)
def test_headers_are_refused(mode: str | None, until: str | None, hold: str | None, message: str) -> None:
    with pytest.raises(S3Error, match=message) as refused:
        lock.header_lock(mode, until, hold, NOW)
    assert refused.value.s3_code == "InvalidArgument"


def test_answers_show_the_lock() -> None:
    assert lock.lock_headers(None, None) == []
    assert lock.lock_headers(retention("GOVERNANCE", 1), hold=False) == [
        (b"x-amz-object-lock-mode", b"GOVERNANCE"),
        (b"x-amz-object-lock-retain-until-date", b"2026-11-22T08:00:00.000Z"),
        (b"x-amz-object-lock-legal-hold", b"OFF"),
    ]


@pytest.mark.parametrize(
    ("config", "made", "until"),
    [
        ({"mode": "GOVERNANCE", "days": 3}, "2026-11-21T08:00:00", "2026-11-24T08:00:00"),
        ({"mode": "COMPLIANCE", "years": 2}, "2026-11-21T08:00:00", "2028-11-21T08:00:00"),
        ({"mode": "COMPLIANCE", "years": 1}, "2028-02-29T08:00:00", "2029-03-01T08:00:00"),
        ({"mode": "COMPLIANCE", "years": 4}, "2028-02-29T08:00:00", "2032-02-29T08:00:00"),
        ({}, "2026-11-21T08:00:00", None),
    ],
)
def test_a_bucket_gives_its_default(config: LockConfiguration, made: str, until: str | None) -> None:
    found = rules.default_retention(config, datetime.fromisoformat(f"{made}+00:00").timestamp())
    expected = until and {"mode": config["mode"], "until": datetime.fromisoformat(f"{until}+00:00").timestamp()}
    assert found == expected


@pytest.mark.parametrize(
    ("kept", "hold", "bypass", "locked"),
    [
        (None, None, False, False),
        (None, False, False, False),
        (None, True, True, True),
        (retention("GOVERNANCE", 1), None, False, True),
        (retention("GOVERNANCE", 1), None, True, False),
        (retention("GOVERNANCE", 1), True, True, True),
        (retention("COMPLIANCE", 1), None, True, True),
        (retention("COMPLIANCE", 0), None, False, False),
        (retention("GOVERNANCE", -1), False, False, False),
    ],
)
def test_what_is_locked(kept: Retention | None, hold: bool | None, bypass: bool, locked: bool) -> None:
    assert rules.is_locked(kept, hold, NOW, bypass) == locked


@pytest.mark.parametrize(
    ("old", "new", "without_bypass", "with_bypass"),
    [
        (None, retention("COMPLIANCE", 1), True, True),
        (None, None, True, True),
        (retention("COMPLIANCE", -1), None, True, True),
        (retention("GOVERNANCE", 2), retention("GOVERNANCE", 3), True, True),
        (retention("GOVERNANCE", 2), retention("GOVERNANCE", 2), True, True),
        (retention("GOVERNANCE", 2), retention("GOVERNANCE", 1), False, True),
        (retention("GOVERNANCE", 2), retention("COMPLIANCE", 2), False, True),
        (retention("GOVERNANCE", 2), None, False, True),
        (retention("COMPLIANCE", 2), retention("COMPLIANCE", 3), True, True),
        (retention("COMPLIANCE", 2), retention("COMPLIANCE", 1), False, False),
        (retention("COMPLIANCE", 2), retention("GOVERNANCE", 3), False, False),
        (retention("COMPLIANCE", 2), None, False, False),
    ],
)
def test_what_may_change(old: Retention | None, new: Retention | None, without_bypass: bool, with_bypass: bool) -> None:
    assert rules.may_change(old, new, NOW, bypass_governance=False) == without_bypass
    assert rules.may_change(old, new, NOW, bypass_governance=True) == with_bypass


def test_no_way_leads_out_of_compliance() -> None:
    firm = retention("COMPLIANCE", 2)
    for mode, days, bypass in product(lock.MODES, [-1, 0, 1, 1.999, 2, 3], [False, True]):
        new = retention(mode, days)
        if rules.may_change(firm, new, NOW, bypass):
            assert new["mode"] == "COMPLIANCE"
            assert new["until"] >= firm["until"]
