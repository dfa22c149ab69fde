"""Refusals as S3 clients read them: each code has its status, AWS's words, and the elements that belong to them."""

import ast
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import entrepot.protocols.s3
from entrepot.auth.post_policy import BadPolicy
from entrepot.auth.sigv2 import (
    BadForm,
    BadHeader,
    BadProof,
    BadQuery,
    ClockSkewed,
    Expired,
    SignedTwice,
    WrongSignature,
)
from entrepot.errors import (
    BodyCut,
    BucketNotEmpty,
    Denied,
    EntrepotError,
    MarkerAsked,
    NameTooLong,
    NoBucket,
    NotFound,
    NoVersion,
    PreconditionFailed,
)
from entrepot.protocols.base import MethodNotAllowed
from entrepot.protocols.s3 import buckets, errors, responses
from entrepot.protocols.s3.errors import S3Error
from tests.wire import request_of

SOURCES = sorted(Path(entrepot.protocols.s3.__file__).parent.glob("*.py"))


def codes_raised() -> Iterator[str]:
    """Every code that is written beside `S3Error(`."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="S3Error"), args=[ast.Constant(value=str() as code), *_]):
                    yield code
                case _:
                    pass
    yield from (code for code, _ in buckets._UNSET.values())


def test_every_code_has_a_status() -> None:
    found = set(codes_raised())
    assert len(found) > 30
    for code in found:
        assert 400 <= S3Error(code, "x").status <= 501


def told(
    error: EntrepotError, line: str = "GET /b/k", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> tuple[int, dict[str, str], dict[bytes, bytes]]:
    """Status, elements by name and headers of a refusal."""
    method, _, target = line.partition(" ")
    path, _, query = target.encode().partition(b"?")
    answer = responses.refused(error, request_of(method, path, query, headers))
    assert isinstance(answer.body, bytes)
    root = ElementTree.fromstring(answer.body)
    assert root.tag == "Error"
    names = [child.tag for child in root]
    assert names[:2] == ["Code", "Message"]
    assert names[-2:] == ["Resource", "RequestId"]
    assert len(set(names)) == len(names)
    assert root.findtext("Message")
    return answer.status, {child.tag: child.text or "" for child in root}, dict(answer.headers)


@pytest.mark.parametrize(
    ("error", "line", "status", "elements"),
    [
        (NotFound(), "GET /b/a%20b", 404, {"Code": "NoSuchKey", "Key": "a b"}),
        (NoVersion(), "GET /b/k?versionId=x", 404, {"Code": "NoSuchVersion", "Key": "k", "VersionId": "x"}),
        (NoBucket(), "PUT /b/k", 404, {"Code": "NoSuchBucket", "BucketName": "b"}),
        (BucketNotEmpty(), "DELETE /b", 409, {"Code": "BucketNotEmpty", "BucketName": "b"}),
        (S3Error("NoSuchTagSet", "x"), "GET /b?tagging", 404, {"Code": "NoSuchTagSet", "BucketName": "b"}),
        (MarkerAsked("v"), "PUT /b/k?tagging", 405, {
            "Code": "MethodNotAllowed", "Method": "PUT", "ResourceType": "DeleteMarker",
        }),
        (MethodNotAllowed("GET"), "HEAD /", 405, {"Method": "HEAD", "ResourceType": "SERVICE"}),
        (NameTooLong("x", 2000, 1024), "PUT /b/k", 400, {
            "Code": "KeyTooLongError", "Size": "2000", "MaxSizeAllowed": "1024",
        }),
        (errors.invalid_argument("x", "partNumber", "<0>"), "GET /b/k", 400, {
            "Code": "InvalidArgument", "ArgumentName": "partNumber", "ArgumentValue": "<0>",
        }),
        (errors.another_length(4, 32), "PUT /b/k", 400, {
            "Code": "IncompleteBody", "NumberBytesExpected": "32", "NumberBytesProvided": "4",
        }),
        (errors.cut_short(), "PUT /b/k", 400, {"Message": "The request body terminated unexpectedly"}),
        (BodyCut("x"), "PUT /b/k", 400, {"Code": "IncompleteBody"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, EntrepotError) else None,
)  # fmt: skip
def test_an_error_names_what_it_is_about(
    error: EntrepotError, line: str, status: int, elements: dict[str, str]
) -> None:
    found = told(error, line)
    assert found[0] == status
    assert found[1].items() >= elements.items()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BadHeader("x"), 400, "AuthorizationHeaderMalformed"),
        (BadQuery("x"), 400, "AuthorizationQueryParametersError"),
        (BadForm("x"), 400, "InvalidArgument"),
        (BadPolicy("x"), 400, "InvalidPolicyDocument"),
        (SignedTwice("x"), 400, "InvalidArgument"),
        (ClockSkewed("x"), 403, "RequestTimeTooSkewed"),
        (Expired("x"), 403, "AccessDenied"),
        (BadProof("x"), 403, "AccessDenied"),
        (WrongSignature(), 403, "SignatureDoesNotMatch"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, EntrepotError) else None,
)
def test_each_wrong_proof_has_a_code(error: EntrepotError, status: int, code: str) -> None:
    found = told(error)
    assert (found[0], found[1]["Code"]) == (status, code)


def test_what_is_wrong_with_a_proof_is_said_and_what_is_stored_is_not() -> None:
    assert told(Expired("its time is over", advice="ask again"))[1]["Message"] == "its time is over; ask again"
    assert told(Denied("it is the object of somebody else"))[1]["Message"] == "Access Denied"


def test_a_wrong_region_is_told_the_right_one_where_clients_look_for_it() -> None:
    for kind in (BadHeader, BadQuery):
        _, elements, headers = told(kind("x", region="us-east-1"))
        assert (elements["Region"], headers[b"x-amz-bucket-region"]) == ("us-east-1", b"us-east-1")
    assert "Region" not in told(BadHeader("x"))[1]


def test_a_wrong_signature_shows_what_was_signed_and_a_bit_of_the_signature() -> None:
    elements = told(WrongSignature(b"text", "KEY", "0123456789abcdef", b"a\n\xff"))[1]
    assert elements.items() >= {
        "AWSAccessKeyId": "KEY", "SignatureProvided": "01234567", "StringToSign": "text",
        "StringToSignBytes": "74 65 78 74", "CanonicalRequest": "a\n\ufffd", "CanonicalRequestBytes": "61 0a ff",
    }.items()  # fmt: skip


@pytest.mark.parametrize(
    ("method", "names", "condition"),
    [
        ("PUT", ["if-none-match"], "If-None-Match"),
        ("PUT", ["if-match"], "If-Match"),
        ("GET", ["if-match", "if-unmodified-since"], "If-Match"),
        ("HEAD", ["if-none-match", "if-unmodified-since"], "If-Unmodified-Since"),
    ],
)
def test_the_condition_that_does_not_hold_is_named(method: str, names: list[str], condition: str) -> None:
    headers = tuple((name.encode(), b"x") for name in names)
    status, elements, _ = told(PreconditionFailed(), f"{method} /b/k", headers)
    assert (status, elements["Code"], elements["Condition"]) == (412, "PreconditionFailed", condition)
