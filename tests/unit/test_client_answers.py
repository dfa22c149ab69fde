"""What an answer that is no success means."""

import msgspec
import pytest

from entrepot.client.answers import CODES, STATUSES, decoded, refusal
from entrepot.client.flow import Reply
from entrepot.errors import (
    BadRange,
    Busy,
    DigestMismatch,
    DiskFull,
    EntrepotError,
    NotFound,
    PreconditionFailed,
    Refused,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UsageError,
)
from entrepot.shapes import Me, Problem

JSON = {"content-type": "application/problem+json"}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "usage", UsageError),
        (400, "refused", Refused),
        (401, "denied", Unauthenticated),
        (404, "not-found", NotFound),
        (412, "conflict", PreconditionFailed),
        (413, "limit", TooLarge),
        (416, "usage", BadRange),
        (422, "checksum", DigestMismatch),
        (503, "temporary", Busy),
        (507, "limit", DiskFull),
        (500, "failed", EntrepotError),
    ],
)
def test_code_and_status_say_which_error_it_is(status: int, code: str, kind: type[EntrepotError]) -> None:
    body = msgspec.json.encode(Problem(code, "what", status, why="why", advice="try"))
    error = refusal(status, JSON, body, "h")
    assert type(error) is kind
    assert (error.what, error.why, error.advice) == ("what", "why", "try")


def test_a_body_that_is_not_json_is_never_parsed() -> None:
    headers = {"content-type": "text/html", "server": "nginx"}
    error = refusal(413, headers, b"<html>secret</html>", "h")
    assert isinstance(error, TooLarge)
    assert error.what == "413 came from nginx, not entrepot"
    assert "client_max_body_size" in error.advice
    assert "secret" not in str(error)


def test_json_that_is_cut_off_is_not_believed() -> None:
    assert isinstance(refusal(404, JSON, b'{"code":', "h"), NotFound)


def test_the_pause_a_server_asks_for_has_a_limit() -> None:
    error = refusal(429, {**JSON, "retry-after": "86400"}, b"", "h")
    assert isinstance(error, Busy)
    assert error.retry_after_seconds == 30


@pytest.mark.parametrize("status", [502, 504])
def test_what_a_proxy_cannot_reach_may_work_later(status: int) -> None:
    assert isinstance(refusal(status, {"content-type": "text/html"}, b"", "h"), Unavailable)


def test_a_redirect_of_anything_but_reading_is_told() -> None:
    assert isinstance(refusal(301, {}, b"", "h"), Refused)


def test_an_answer_of_another_server_is_refused() -> None:
    with pytest.raises(Refused, match="not of an entrepot server"):
        decoded(Reply(200, {}, bytearray(b"<html>")), Me)


def test_every_status_leads_into_the_tree_of_its_code() -> None:
    for status, kind in STATUSES.items():
        assert any(issubclass(kind, general) for general in CODES.values()), status


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "UNAUTHORIZED", Unauthenticated),
        (404, "MANIFEST_UNKNOWN", NotFound),
        (400, "MANIFEST_INVALID", UsageError),
        (400, "DIGEST_INVALID", DigestMismatch),
        (416, "BLOB_UPLOAD_INVALID", BadRange),
        (429, "TOOMANYREQUESTS", Busy),
        (507, "DENIED", DiskFull),
    ],
)
def test_a_registry_has_its_own_words(status: int, code: str, kind: type[EntrepotError]) -> None:
    body = msgspec.json.encode({"errors": [{"code": code, "message": "what it says", "detail": {}}]})
    error = refusal(status, {"content-type": "application/json"}, body, "h")
    assert (type(error), error.what) == (kind, "what it says")
    assert type(refusal(status, {"content-type": "application/json"}, b"", "h")) in (kind, UsageError)
