"""Signature V4: botocore signs, we verify; and every way a proof is refused."""

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entrepot.auth import sigv2, sigv4
from entrepot.auth.sigv2 import ClockSkewed, Expired, SignedRequest, WrongSignature
from entrepot.auth.sigv4 import Credential, Proof
from entrepot.errors import BadRequest, Denied, EntrepotError

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text())
NAMED: dict[str, Any] = {vector["name"]: vector for vector in VECTORS["vectors"]}
ACCESS, SECRET = VECTORS["access_key"], VECTORS["secret_key"]
BASE = "http://127.0.0.1:9000"
NOW = datetime(2026, 11, 21, 8, tzinfo=UTC).timestamp()
SCOPE = "20261121/us-east-1/s3/aws4_request"

KEYS = st.text(
    st.one_of(st.sampled_from("a/.%+ ~é&=?#;'()"), st.characters(exclude_categories=["Cs", "Cc"])),
    min_size=1,
    max_size=40,
).filter(lambda key: not key.startswith("/"))


def request_to(url: str, method: str = "GET", headers: dict[str, str] | None = None) -> SignedRequest:
    parts = urlsplit(url)
    sent = [(b"Host", parts.netloc.encode())]
    sent += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return SignedRequest(method, parts.path.encode(), parts.query.encode(), sent)


def check(request: SignedRequest, secret: str = SECRET, now: float = NOW, region: str = "us-east-1") -> Proof:
    proof = sigv4.find_proof(request)
    assert isinstance(proof, Proof)
    sigv4.verify(proof, secret, request, now, region)
    return proof


def signed(
    method: str = "GET",
    path: str = "/my-bucket/k",
    query: str = "",
    headers: dict[str, str] | None = None,
    *,
    date: str = "20261121T080000Z",
    scope: str = SCOPE,
    names: str | None = None,
) -> SignedRequest:
    """A request as a client signs it that may do everything wrong but the sum."""
    sent = {"host": "127.0.0.1:9000", "x-amz-date": date, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in sent.items()]
    listed = ";".join(sorted(sent)) if names is None else names
    credential = Credential.parse(f"{ACCESS}/{scope}")
    canonical = sigv4.canonical_request(
        method, path.encode(), query.encode(), raw, listed.split(";"), sent["x-amz-content-sha256"]
    )
    signature = sigv4.sign(SECRET, credential, sigv4.string_to_sign(date, scope, canonical))
    value = f"AWS4-HMAC-SHA256 Credential={ACCESS}/{scope}, SignedHeaders={listed}, Signature={signature}"
    return SignedRequest(method, path.encode(), query.encode(), [*raw, (b"authorization", value.encode())])


def with_header(request: SignedRequest, name: bytes, value: bytes) -> SignedRequest:
    return replace(request, headers=[*request.headers, (name, value)])


def without(request: SignedRequest, name: bytes) -> SignedRequest:
    return replace(request, headers=[header for header in request.headers if header[0] != name])


@pytest.mark.parametrize("name", [name for name in NAMED if name.startswith("sigv4 header")])
def test_headers_signed_by_botocore_are_verified(name: str) -> None:
    vector = NAMED[name]
    sent = {"X-Amz-Date": "20261121T080000Z", "Authorization": vector["authorization"], **vector["headers"]}
    if "x-amz-content-sha256" not in vector["headers"]:
        sent["x-amz-content-sha256"] = hashlib.sha256(vector["body"].encode()).hexdigest()
    request = request_to(vector["url"], vector["method"], sent)
    proof = check(request)
    assert proof.access_key == ACCESS
    with pytest.raises(WrongSignature) as refusal:
        check(request, secret="another secret")
    assert refusal.value.canonical_request.decode() == vector["canonical_request"]
    assert refusal.value.string_to_sign.decode() == vector["string_to_sign"]


@pytest.mark.parametrize("name", [name for name in NAMED if name.startswith("sigv4 query")])
def test_urls_signed_by_botocore_are_verified(name: str) -> None:
    vector = NAMED[name]
    request = request_to(vector["signed_url"], vector["method"])
    check(request)
    check(request, now=NOW + 599)
    with pytest.raises(WrongSignature) as refusal:
        check(request, secret="another secret")
    assert refusal.value.canonical_request.decode() == vector["canonical_request"]


def test_our_urls_are_those_of_botocore() -> None:
    ours = sigv4.signed_url(BASE, "PUT", "my-bucket", "hello.txt", ACCESS, SECRET, 600, NOW)
    assert ours == NAMED["sigv4 query, PUT"]["signed_url"]


def test_our_urls_sign_the_host_as_clients_send_it() -> None:
    url = sigv4.signed_url("https://Example.org:443/", "GET", "my-bucket", "k", ACCESS, SECRET, 600, NOW)
    check(replace(request_to(url), headers=[(b"host", b"example.org")]))


@cache
def botocore_client() -> Any:
    session = botocore.session.get_session()
    session.set_credentials(ACCESS, SECRET)
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"})
    return session.create_client("s3", region_name="eu-x", endpoint_url=BASE, config=config)


@given(KEYS)
@example("a//../é +%41/..")
@settings(max_examples=60, deadline=None)
def test_botocore_and_we_sign_any_key_alike(key: str) -> None:
    theirs = botocore_client().generate_presigned_url("get_object", Params={"Bucket": "my-bucket", "Key": key})
    proof = sigv4.find_proof(request_to(theirs))
    assert isinstance(proof, Proof)
    now = datetime.strptime(proof.date, "%Y%m%dT%H%M%S%z").timestamp()
    check(request_to(theirs), now=now, region="eu-x")
    ours = sigv4.signed_url(BASE, "GET", "my-bucket", key, ACCESS, SECRET, 3600, now, "eu-x")
    assert ours.partition("?")[0] == theirs.partition("?")[0]
    assert sorted(ours.partition("?")[2].split("&")) == sorted(theirs.partition("?")[2].split("&"))


@given(
    st.dictionaries(
        st.from_regex(r"x-amz-meta-[a-z0-9-]{1,8}", fullmatch=True),
        st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    ),
    st.dictionaries(
        st.from_regex(r"[a-zA-Z0-9._-]{1,8}", fullmatch=True),
        st.from_regex(r"(%[0-9A-F]{2}|[a-z~.-]){0,9}", fullmatch=True),
    ),
)
@settings(max_examples=60, deadline=None)
def test_botocore_and_we_read_any_headers_and_query_alike(headers: dict[str, str], query: dict[str, str]) -> None:
    if any(name.lower().startswith("x-amz-") for name in query) or {"Signature", "AWSAccessKeyId"} & set(query):
        return
    url = f"{BASE}/my-bucket/a%20b?{'&'.join(f'{name}={value}' for name, value in query.items())}"
    theirs = AWSRequest("PUT", url, headers=headers, data=b"hello")
    S3SigV4Auth(Credentials(ACCESS, SECRET), "s3", "us-east-1").add_auth(theirs)
    sent = {name: str(value) for name, value in theirs.headers.items()}
    now = datetime.strptime(sent["X-Amz-Date"], "%Y%m%dT%H%M%S%z").timestamp()
    check(request_to(url, "PUT", sent), now=now)


def test_a_path_may_be_signed_as_sent_or_as_aws_encodes_it() -> None:
    check(signed(path="/my-bucket/a(b)!%2f"))
    check(replace(signed(path="/my-bucket/a%28b%29%21%C3%A9"), raw_path=b"/my-bucket/a(b)!%c3%a9"))
    with pytest.raises(WrongSignature):
        check(replace(signed(path="/my-bucket/a%2528"), raw_path=b"/my-bucket/a%28"))


def test_a_query_may_be_signed_as_sent_or_as_aws_encodes_it() -> None:
    check(replace(signed(query="acl=&prefix=a%2Fb"), raw_query=b"prefix=a/b&acl"))
    check(signed(query="prefix=a/b"))


@pytest.mark.parametrize("path", ["/my-bucket//k", "/my-bucket/./k", "/my-bucket/x/../k"])
def test_no_path_is_folded(path: str) -> None:
    check(signed(path=path))
    with pytest.raises(WrongSignature):
        check(replace(signed(path=path), raw_path=b"/my-bucket/k"))


def test_plus_is_plus_and_not_a_space() -> None:
    with pytest.raises(WrongSignature):
        check(replace(signed(query="prefix=a%20b"), raw_query=b"prefix=a+b"))


@pytest.mark.parametrize(
    "other",
    [
        replace(signed(), method="PUT"),
        replace(signed(), raw_path=b"/my-bucket/other"),
        replace(signed(), raw_query=b"acl"),
        replace(signed(query="partNumber=1"), raw_query=b"partNumber=2"),
    ],
    ids=["method", "path", "added query", "changed query"],
)
def test_a_request_other_than_the_signed_one_is_refused(other: SignedRequest) -> None:
    check(signed())
    with pytest.raises(WrongSignature):
        check(other)


def test_a_changed_signed_header_is_refused() -> None:
    request = signed(headers={"x-amz-copy-source": "/b/mine"})
    check(request)
    changed = with_header(without(request, b"x-amz-copy-source"), b"x-amz-copy-source", b"/b/other")
    with pytest.raises(WrongSignature):
        check(changed)


@pytest.mark.parametrize("name", [b"x-amz-copy-source", b"X-Amz-Meta-A", b"x-amz-acl"])
def test_an_unsigned_amz_header_is_refused(name: bytes) -> None:
    with pytest.raises(Denied, match="not signed"):
        check(with_header(signed(), name, b"v"))
    with pytest.raises(Denied, match="not signed"):
        check(with_header(request_to(NAMED["sigv4 query, PUT"]["signed_url"], "PUT"), name, b"v"))


def test_an_unsigned_host_is_refused() -> None:
    with pytest.raises(Denied, match="host"):
        check(signed(names="x-amz-content-sha256;x-amz-date"))


def test_other_unsigned_headers_do_not_matter() -> None:
    check(with_header(signed(), b"x-amzn-trace-id", b"Root=1"))
    url = NAMED["sigv4 query, PUT"]["signed_url"]
    check(request_to(url, "PUT", {"Authorization": "Bearer x", "X-Auth-Token": "x", "Content-Type": "a/b"}))


def test_twin_headers_are_joined_in_their_order() -> None:
    request = with_header(signed(headers={"x-amz-meta-a": "1,2"}), b"x-amz-meta-a", b" 2 ")
    first = replace(request, headers=[(n, b"1" if v == b"1,2" else v) for n, v in request.headers])
    check(first)


@pytest.mark.parametrize("seconds", [-901, 901])
def test_a_header_signature_fifteen_minutes_off_is_refused(seconds: int) -> None:
    check(signed(), now=NOW + seconds // 901 * 899)
    with pytest.raises(ClockSkewed):
        check(signed(), now=NOW + seconds)


@pytest.mark.parametrize(
    "scope",
    [
        "20261120/us-east-1/s3/aws4_request",
        "20261121/eu-west-9/s3/aws4_request",
        "20261121/us-east-1/iam/aws4_request",
        "20261121/us-east-1/s3/aws5_request",
    ],
)
def test_another_day_region_or_service_is_a_bad_request(scope: str) -> None:
    with pytest.raises(BadRequest):
        check(signed(scope=scope))


def test_our_region_and_us_east_1_are_both_taken() -> None:
    check(signed(scope="20261121/eu-west-9/s3/aws4_request"), region="eu-west-9")
    check(signed(), region="eu-west-9")


@pytest.mark.parametrize("seconds", [0, -1, 604_801])
def test_a_url_for_no_time_or_over_seven_days_is_denied(seconds: int) -> None:
    url = sigv4.signed_url(BASE, "GET", "my-bucket", "k", ACCESS, SECRET, seconds, NOW)
    with pytest.raises(Denied, match="X-Amz-Expires"):
        check(request_to(url))


def test_a_url_lasts_seven_days_at_most_and_ends_at_its_time() -> None:
    url = sigv4.signed_url(BASE, "GET", "my-bucket", "k", ACCESS, SECRET, 604_800, NOW)
    check(request_to(url), now=NOW + 604_799)
    with pytest.raises(Expired):
        check(request_to(url), now=NOW + 604_800)
    with pytest.raises(ClockSkewed):
        check(request_to(url), now=NOW - 901)


@pytest.mark.parametrize("date", ["", "20261121", "20261321T080000Z", "2026-11-21T08:00:00Z"])
def test_a_date_that_cannot_be_read_is_refused(date: str) -> None:
    with pytest.raises(EntrepotError):
        check(signed(date=date))


def test_the_date_header_stands_in_for_x_amz_date() -> None:
    request = signed(headers={"date": "Sat, 21 Nov 2026 08:00:00 GMT"}, names="date;host;x-amz-content-sha256")
    check(without(request, b"x-amz-date"))
    with pytest.raises(ClockSkewed):
        check(without(request, b"x-amz-date"), now=NOW + 1000)


def test_a_header_and_a_query_signature_together_are_a_bad_request() -> None:
    query = urlsplit(NAMED["sigv4 query, PUT"]["signed_url"]).query
    old = urlsplit(sigv2.signed_url(BASE, "GET", "b", "k", ACCESS, SECRET, NOW + 60)).query
    for request in (signed(query=query), signed(query=old), request_to(f"{BASE}/b/k?{query}&{old}")):
        with pytest.raises(BadRequest, match="twice"):
            sigv4.find_proof(request)


@pytest.mark.parametrize("value", [b"Bearer x", b"AWS4-HMAC-SHA256 x"])
def test_two_authorization_headers_are_a_bad_request(value: bytes) -> None:
    with pytest.raises(BadRequest):
        sigv4.find_proof(with_header(signed(), b"Authorization", value))


@pytest.mark.parametrize("added", ["X-Amz-Expires=9", "x-amz-signature=0", "X-Amz-%53ignature=0", "X-Amz-Date=1"])
def test_a_query_parameter_twice_is_a_bad_request(added: str) -> None:
    with pytest.raises(BadRequest, match="twice"):
        check(request_to(f"{NAMED['sigv4 query, PUT']['signed_url']}&{added}", "PUT"))


@pytest.mark.parametrize(
    "value",
    [
        "AWS AKID:signature",
        "AWS4-ECDSA-P256-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=x",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, Credential=a/b/c/d/e, SignedHeaders=host, Signature=x",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d, SignedHeaders=host, Signature=x",
        "AWS4-HMAC-SHA256 Credential=é/b/c/d/e, SignedHeaders=host, Signature=x",
    ],
)
def test_a_malformed_header_is_a_bad_request_not_anonymous(value: str) -> None:
    with pytest.raises(BadRequest):
        sigv4.find_proof(SignedRequest("GET", b"/", b"", [(b"host", b"h"), (b"authorization", value.encode())]))


@pytest.mark.parametrize("name", ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"])
def test_a_url_without_one_of_its_parameters_is_a_bad_request(name: str) -> None:
    url = NAMED["sigv4 query, PUT"]["signed_url"]
    query = "&".join(pair for pair in urlsplit(url).query.split("&") if not pair.startswith(f"X-Amz-{name}="))
    with pytest.raises(BadRequest):
        sigv4.parse_query(query.encode())


@pytest.mark.parametrize(("old", "new"), [("AWS4-HMAC-SHA256", "AWS4-HMAC-MD5"), ("Expires=600", "Expires=ten")])
def test_another_algorithm_or_an_expiry_in_words_is_a_bad_request(old: str, new: str) -> None:
    with pytest.raises(BadRequest):
        check(request_to(NAMED["sigv4 query, PUT"]["signed_url"].replace(old, new), "PUT"))


def test_query_parameters_may_have_any_case() -> None:
    date, credential = "20261121T080000Z", Credential(ACCESS, "20261121", "us-east-1")
    query = (
        f"x-amz-algorithm=AWS4-HMAC-SHA256&x-amz-credential={ACCESS}%2F{SCOPE.replace('/', '%2F')}"
        f"&x-amz-date={date}&x-amz-expires=600&x-amz-signedheaders=host"
    )
    canonical = sigv4.canonical_request("GET", b"/b/k", query.encode(), [(b"host", b"h")], ["host"], "UNSIGNED-PAYLOAD")
    signature = sigv4.sign(SECRET, credential, sigv4.string_to_sign(date, SCOPE, canonical))
    check(SignedRequest("GET", b"/b/k", f"{query}&x-amz-signature={signature}".encode(), [(b"host", b"h")]))


def test_a_header_signed_request_says_what_its_body_is() -> None:
    assert sigv4.payload_word(check(signed()), signed()) == "UNSIGNED-PAYLOAD"
    with pytest.raises(BadRequest):
        check(without(signed(), b"x-amz-content-sha256"))
    url = request_to(NAMED["sigv4 query, PUT"]["signed_url"], "PUT")
    assert sigv4.payload_word(check(url), url) == "UNSIGNED-PAYLOAD"


def test_a_request_without_an_aws_proof_has_none() -> None:
    request = request_to(
        f"{BASE}/b/k?list-type=2&x-id=GetObject&X-Amz-Meta-A=1", headers={"Authorization": "Basic eA=="}
    )
    assert sigv4.find_proof(request) is None


def test_no_message_and_no_repr_shows_secret_or_signature() -> None:
    request = signed()
    proof = sigv4.find_proof(request)
    assert isinstance(proof, Proof)
    with pytest.raises(WrongSignature) as refusal:
        sigv4.verify(proof, "another secret", request, NOW)
    for text in (str(refusal.value), repr(refusal.value), repr(proof)):
        assert "another secret" not in text
        assert proof.signature not in text


def test_a_signature_that_is_not_ascii_is_refused_not_a_fault() -> None:
    proof = sigv4.find_proof(signed())
    assert isinstance(proof, Proof)
    with pytest.raises(WrongSignature):
        sigv4.verify(replace(proof, signature="é"), SECRET, signed(), NOW)


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=80))
def test_any_request_is_a_proof_a_refusal_or_nothing(path: bytes, query: bytes, value: bytes) -> None:
    request = SignedRequest(
        "GET", path, b"X-Amz-Algorithm=" + query, [(b"authorization", b"AWS4-HMAC-SHA256 " + value)]
    )
    with suppress(EntrepotError):
        sigv4.find_proof(request)
    with suppress(EntrepotError):
        sigv4.verify(
            Proof(Credential(ACCESS, "20261121", "us-east-1"), "20261121T080000Z", ("host",), "x"), "s", request, NOW
        )


@pytest.mark.parametrize("name", ["signed chunks", "signed chunks and trailer"])
def test_the_published_chunk_signatures_are_ours(name: str) -> None:
    vector = NAMED[name]
    date, credential = "20130524T000000Z", Credential("AKIAIOSFODNN7EXAMPLE", "20130524", "us-east-1")
    headers = [(key.encode(), value.encode()) for key, value in vector["headers"].items()]
    canonical = sigv4.canonical_request(
        "PUT",
        b"/examplebucket/chunkObject.txt",
        b"",
        headers,
        list(vector["headers"]),
        vector["headers"]["x-amz-content-sha256"],
    )
    assert canonical.decode() == vector["canonical_request"]
    secret = vector["secret_key"]
    previous = sigv4.sign(secret, credential, sigv4.string_to_sign(date, credential.scope, canonical))
    assert previous == vector["seed_signature"]
    for size, expected in zip((65536, 1024, 0), vector["chunk_signatures"], strict=True):
        chunk = hashlib.sha256(b"a" * size).hexdigest()
        previous = sigv4.sign(secret, credential, sigv4.chunk_string_to_sign(date, credential.scope, previous, chunk))
        assert previous == expected
    if "trailer" in vector:
        trailer = hashlib.sha256(vector["trailer"].encode()).hexdigest()
        text = sigv4.trailer_string_to_sign(date, credential.scope, previous, trailer)
        assert sigv4.sign(secret, credential, text) == vector["trailer_signature"]
