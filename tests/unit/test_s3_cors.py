"""CORS: documents by botocore's model, and which pages are let in, as ceph/s3-tests and AWS's rules have it."""

import json
from typing import Any

import botocore.session
import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from entrepot.protocols.s3 import cors
from entrepot.protocols.s3.cors import VARY, CorsRule
from entrepot.protocols.s3.errors import S3Error

MODEL = botocore.session.get_session().get_service_model("s3")


def sent(rules: list[dict[str, Any]]) -> bytes:
    """The body botocore sends."""
    params = {"Bucket": "b", "CORSConfiguration": {"CORSRules": rules}}
    operation = MODEL.operation_model("PutBucketCors")
    body: bytes = create_serializer("rest-xml", include_validation=False).serialize_to_request(params, operation)[
        "body"
    ]
    return body


def shown(body: bytes) -> Any:
    """What botocore makes of an answer."""
    shape = MODEL.operation_model("GetBucketCors").output_shape
    return create_parser("rest-xml").parse({"status_code": 200, "headers": {}, "body": body}, shape)["CORSRules"]


def rule(*origins: str, methods: tuple[str, ...] = ("GET",), **more: Any) -> CorsRule:
    made: CorsRule = {"origins": list(origins), "methods": list(methods), "headers": [], "expose": []}
    return {**made, **more}  # type: ignore[typeddict-item]


FULL = {
    "ID": "one & only",
    "AllowedOrigins": ["https://*.example.org", "*"],
    "AllowedMethods": ["GET", "PUT"],
    "AllowedHeaders": ["x-amz-*", "*"],
    "ExposeHeaders": ["ETag", "x-amz-version-id"],
    "MaxAgeSeconds": 0,
}


@pytest.mark.parametrize(
    "rules",
    [
        [FULL],
        [{"AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["*.get", "*.put"]}],
        [{"AllowedMethods": ["GET"], "AllowedOrigins": ["a"], "MaxAgeSeconds": -100}],
        [{"AllowedMethods": ["GET"], "AllowedOrigins": [f"https://{i}"]} for i in range(100)],
    ],
    ids=["full", "plain", "negative", "hundred"],
)
def test_rules_go_round_by_botocore_and_json(rules: list[dict[str, Any]]) -> None:
    found = json.loads(json.dumps(cors.read_cors(sent(rules))))
    assert shown(cors.write_cors(found)) == rules


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"AllowedOrigins": []}, "MalformedXML", None),
        ({"AllowedOrigins": [""]}, "MalformedXML", None),
        ({"AllowedMethods": []}, "MalformedXML", None),
        (
            {"AllowedMethods": ["GET", "PATCH"]},
            "InvalidRequest",
            "Found unsupported HTTP method in CORS config. Unsupported method is PATCH",
        ),
        ({"AllowedMethods": ["get"]}, "InvalidRequest", None),
        ({"AllowedMethods": [""]}, "InvalidRequest", None),
        (
            {"AllowedOrigins": ["https://*:70/*"]},
            "InvalidRequest",
            'AllowedOrigin "https://*:70/*" can not have more than one wildcard.',
        ),
        ({"AllowedHeaders": ["a*b*"]}, "InvalidRequest", None),
        ({"AllowedHeaders": ["a b"]}, "InvalidRequest", 'AllowedHeader "a b" contains invalid character.'),
        ({"ExposeHeaders": ["a\r\nb"]}, "InvalidRequest", None),
        ({"ExposeHeaders": ["x-*"]}, "InvalidRequest", None),
        ({"ID": "i" * 256}, "InvalidRequest", None),
    ],
)
def test_a_rule_is_refused(change: dict[str, Any], code: str, message: str | None) -> None:
    with pytest.raises(S3Error) as refused:
        cors.read_cors(sent([{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"], **change}]))
    assert refused.value.s3_code == code
    assert message in (None, str(refused.value))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (sent([]), "MalformedXML"),
        (sent([{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}] * 101), "InvalidRequest"),
        (b"<CORSConfiguration><Rule/></CORSConfiguration>", "MalformedXML"),
        (
            sent([{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"], "MaxAgeSeconds": 1}]).replace(b">1<", b">x<"),
            "MalformedXML",
        ),
    ],
    ids=["none", "too many", "other", "no number"],
)
def test_a_document_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(S3Error) as refused:
        cors.read_cors(body)
    assert refused.value.s3_code == code


S3_TESTS = [rule("*suffix"), rule("start*end"), rule("prefix*"), rule("*.put", methods=("PUT",))]


@pytest.mark.parametrize(
    ("origin", "method", "allowed"),
    [
        ("foo.suffix", "GET", True),
        ("foo.bar", "GET", False),
        ("foo.suffix.get", "GET", False),
        ("startend", "GET", True),
        ("start1end", "GET", True),
        ("star", "GET", False),
        ("0start12end", "GET", False),
        ("prefix", "GET", True),
        ("prefix.suffix", "GET", True),
        ("bla.prefix", "GET", False),
        ("foo.put", "GET", False),
        ("foo.put", "PUT", True),
        ("foo.suffix", "PUT", False),
        ("foo.suffix", "DELETE", False),
        ("", "GET", False),
        ("ä.suffix", "GET", False),
    ],
)
def test_origins_are_let_in_as_s3_tests_have_it(origin: str, method: str, allowed: bool) -> None:
    headers = [
        (b"access-control-allow-origin", origin.encode()),
        (b"access-control-allow-methods", method.encode()),
        (b"access-control-allow-credentials", b"true"),
        VARY,
    ]
    assert cors.preflight(S3_TESTS, origin, method, []) == (headers if allowed else None)
    assert cors.simple(S3_TESTS, origin, method) == (headers if allowed else [VARY])


def test_overlapping_ends_do_not_fit() -> None:
    assert cors.preflight([rule("aba*aba")], "aba", "GET", []) is None
    assert cors.preflight([rule("aba*aba")], "abaaba", "GET", []) is not None


def test_a_bucket_without_rules_says_nothing_of_cors() -> None:
    assert cors.simple([], "https://a", "GET") == []
    assert cors.preflight([], "https://a", "GET", []) is None


@pytest.mark.parametrize(
    ("patterns", "asked", "allowed"),
    [
        ([], [], True),
        ([], ["x-amz-meta-header2"], False),
        (["X-Amz-Date"], ["x-amz-DATE"], True),
        (["X-Amz-*"], ["x-amz-date", "X-Amz-Meta-A"], True),
        (["X-Amz-*"], ["x-amz-date", "content-type"], False),
        (["X-Amz-*"], ["x-amz"], False),
        (["x-amz-*", "content-type"], ["x-amz-date", "content-type"], True),
        (["*"], ["anything"], True),
        (["*"], ["any\r\nthing"], False),
    ],
)
def test_every_header_asked_for_must_be_allowed(patterns: list[str], asked: list[str], allowed: bool) -> None:
    assert (cors.preflight([rule("*", headers=patterns)], "https://a", "GET", asked) is not None) == allowed


def test_a_full_rule_answers_a_preflight_with_all_it_has() -> None:
    full = cors.read_cors(sent([{**FULL, "AllowedOrigins": ["https://*.example.org"], "MaxAgeSeconds": 300}]))
    assert cors.preflight(full, "https://a.example.org", "PUT", ["X-Amz-Date", "Content-Type"]) == [
        (b"access-control-allow-origin", b"https://a.example.org"),
        (b"access-control-allow-methods", b"PUT"),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"ETag, x-amz-version-id"),
        VARY,
        (b"access-control-allow-headers", b"x-amz-date, content-type"),
        (b"access-control-max-age", b"300"),
    ]


def test_a_rule_for_anyone_gives_no_credentials() -> None:
    headers = [(b"access-control-allow-origin", b"*"), (b"access-control-allow-methods", b"GET"), VARY]
    assert cors.simple([rule("*")], "https://a", "GET") == headers


def test_the_first_rule_that_fits_decides() -> None:
    rules = [rule("https://a", headers=["x-one"]), rule("*", headers=["x-two"])]
    named, anyone = (cors.preflight(rules, "https://a", "GET", [name]) for name in ("x-one", "x-two"))
    assert named is not None
    assert anyone is not None
    assert (named[0][1], anyone[0][1]) == (b"https://a", b"*")


@pytest.mark.parametrize(
    ("text", "names"), [("", []), ("a", ["a"]), ("A, b ,c", ["A", "b", "c"]), (",a,", ["a"]), ("x-*", ["x-*"])]
)
def test_header_names_are_a_list(text: str, names: list[str]) -> None:
    assert cors.header_names(text) == names


@pytest.mark.parametrize("text", ["a b", "a,b:c", "(a)", "a/b", "tab\tchar", "ä", 'x"q"'])
def test_what_is_no_header_name_is_a_bad_request(text: str) -> None:
    with pytest.raises(S3Error) as refused:
        cors.header_names(text)
    assert (refused.value.s3_code, refused.value.status) == ("BadRequest", 400)
