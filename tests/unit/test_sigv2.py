"""Signature V2: botocore signs, we verify; and every way a V2 URL is refused."""

import json
import re
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import botocore.session
import pytest
from botocore.config import Config
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entrepot.auth import sigv2
from entrepot.auth.sigv2 import Expired, FormProof, QueryProof, SignedRequest, WrongSignature
from entrepot.errors import BadRequest, Denied

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text())
NAMED: dict[str, Any] = {vector["name"]: vector for vector in VECTORS["vectors"]}
ACCESS, SECRET = VECTORS["access_key"], VECTORS["secret_key"]
BASE = "http://127.0.0.1:9000"
EXPIRES = 1795248600
NOW = EXPIRES - 600.0

KEYS = st.text(
    st.one_of(st.sampled_from("a/.%+ ~é&=?#;'()"), st.characters(exclude_categories=["Cs", "Cc"])),
    min_size=1,
    max_size=40,
).filter(lambda key: not key.startswith("/"))


@cache
def botocore_client() -> Any:
    session = botocore.session.get_session()
    session.set_credentials(ACCESS, SECRET)
    config = Config(signature_version="s3", s3={"addressing_style": "path"})
    return session.create_client("s3", region_name="us-east-1", endpoint_url=BASE, config=config)


def request_to(url: str, method: str = "PUT", headers: dict[str, str] | None = None) -> SignedRequest:
    parts = urlsplit(url)
    sent = [(b"host", parts.netloc.encode())]
    sent += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return SignedRequest(method, parts.path.encode(), parts.query.encode(), sent)


def check(request: SignedRequest, secret: str = SECRET, now: float = NOW, resource: bytes | None = None) -> None:
    proof = sigv2.parse_query(request.raw_query)
    assert proof is not None
    sigv2.verify(proof, secret, request, now, resource)


def our_url(method: str = "PUT", key: str = "hello.txt") -> str:
    return sigv2.signed_url(BASE, method, "my-bucket", key, ACCESS, SECRET, EXPIRES)


@pytest.mark.parametrize("name", [name for name in NAMED if name.startswith("sigv2 query") and "virtual" not in name])
def test_urls_signed_by_botocore_are_verified(name: str) -> None:
    vector = NAMED[name]
    request = request_to(vector["signed_url"], vector["method"])
    text = sigv2.string_to_sign(request.method, request.raw_path, request.raw_query, request.headers, str(EXPIRES))
    assert text.decode() == vector["string_to_sign"]
    check(request)


def test_on_a_virtual_host_the_resource_begins_with_the_bucket() -> None:
    vector = NAMED["sigv2 query, virtual host: the resource starts with the bucket"]
    request = request_to(vector["signed_url"], "GET")
    check(request, resource=b"/my-bucket/hello.txt")
    with pytest.raises(WrongSignature):
        check(request)


def test_prominence_signs_the_key_percent_encoded() -> None:
    vector = NAMED["sigv2 string, PROMINENCE"]
    assert sigv2.sign(vector["secret_key"], vector["string_to_sign"].encode()) == vector["signature"]
    url = sigv2.signed_url(
        "https://host", "PUT", "prominence-data", "uploads/bob/a b+c~é.sif", "AK", vector["secret_key"], 1795246467
    )
    assert url == (
        "https://host/prominence-data/uploads/bob/a%20b%2Bc~%C3%A9.sif"
        "?AWSAccessKeyId=AK&Signature=BecL8ezIexATHjg9nQ0JGMF5XSQ%3D&Expires=1795246467"
    )


@given(KEYS)
@example("a//../é +%41/..")
@example("..")
@settings(max_examples=60, deadline=None)
def test_botocore_and_we_sign_any_key_alike(key: str) -> None:
    theirs = botocore_client().generate_presigned_url("put_object", Params={"Bucket": "my-bucket", "Key": key})
    expires = int(re.findall(r"Expires=(\d+)\Z", theirs)[0])
    assert sigv2.signed_url(BASE, "PUT", "my-bucket", key, ACCESS, SECRET, expires) == theirs
    check(request_to(theirs), now=expires - 1)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9-]{1,8}", fullmatch=True), st.from_regex(r"[!-~]([ -~]*[!-~])?", fullmatch=True)
    )
)
@settings(max_examples=40, deadline=None)
def test_metadata_botocore_moved_into_the_query_counts_as_headers(metadata: dict[str, str]) -> None:
    parameters = {"Bucket": "my-bucket", "Key": "k", "Metadata": metadata, "ContentType": "text/plain"}
    check(request_to(botocore_client().generate_presigned_url("put_object", Params=parameters)))


@pytest.mark.parametrize(
    ("operation", "parameters", "method"),
    [
        ("upload_part", {"UploadId": "u+/=", "PartNumber": 7}, "PUT"),
        ("get_object", {"VersionId": "null", "ResponseContentType": 'text/html; x="é"'}, "GET"),
        ("get_object_acl", {}, "GET"),
        ("create_multipart_upload", {}, "POST"),
        ("get_object_tagging", {}, "GET"),
    ],
)
def test_sub_resources_are_signed_with_their_decoded_value(operation: str, parameters: Any, method: str) -> None:
    url = botocore_client().generate_presigned_url(operation, Params={"Bucket": "my-bucket", "Key": "k", **parameters})
    check(request_to(url, method))


def test_a_url_is_good_for_one_method_and_one_path() -> None:
    check(request_to(our_url()))
    for other in (request_to(our_url(), "GET"), request_to(our_url().replace("hello", "other"))):
        with pytest.raises(WrongSignature):
            check(other)


def test_another_secret_is_refused_and_no_message_shows_either() -> None:
    with pytest.raises(WrongSignature) as refusal:
        check(request_to(our_url()), secret="another secret")
    signature = re.findall("Signature=([^&]+)", our_url())[0]
    for secret in (SECRET, "another secret", signature, unquote(signature)):
        assert secret not in str(refusal.value)
    assert unquote(signature) not in repr(sigv2.parse_query(request_to(our_url()).raw_query))


def test_a_url_ends_at_its_time_and_may_last_longer_than_seven_days() -> None:
    check(request_to(our_url()), now=EXPIRES - 0.5)
    check(request_to(our_url()), now=EXPIRES - 10 * 86400)
    with pytest.raises(Expired):
        check(request_to(our_url()), now=EXPIRES)


def test_a_later_expiry_is_not_what_was_signed() -> None:
    with pytest.raises(WrongSignature):
        check(request_to(our_url().replace(f"Expires={EXPIRES}", f"Expires={EXPIRES + 1}")))


@pytest.mark.parametrize(
    "headers",
    [{"x-amz-acl": "public-read"}, {"X-Amz-Copy-Source": "/b/k"}, {"Content-Type": "a/b"}, {"Content-MD5": "x"}],
)
def test_a_header_that_counts_and_was_not_signed_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(WrongSignature):
        check(request_to(our_url(), headers=headers))


def test_other_headers_beside_a_signed_url_do_not_matter() -> None:
    check(
        request_to(our_url(), headers={"Authorization": "Bearer x", "X-Auth-Token": "x", "x-ms-blob-type": "BlockBlob"})
    )


def test_a_signed_header_may_come_in_query_and_header_if_it_is_the_same() -> None:
    url = next(vector for name, vector in NAMED.items() if name.startswith("sigv2 query, PUT: botocore moves"))
    check(request_to(url["signed_url"], headers={"Content-Type": "text/plain"}))
    with pytest.raises(WrongSignature):
        check(request_to(url["signed_url"], headers={"Content-Type": "text/html"}))


def test_a_query_value_added_to_a_signed_header_is_refused() -> None:
    headers = {"x-amz-acl": "private"}
    request = request_to(f"{BASE}/my-bucket/k", headers=headers)
    text = sigv2.string_to_sign("PUT", request.raw_path, b"", request.headers, str(EXPIRES))
    url = f"{BASE}/my-bucket/k?AWSAccessKeyId=a&Signature={quote(sigv2.sign(SECRET, text), safe='')}&Expires={EXPIRES}"
    check(request_to(url, headers=headers))
    with pytest.raises(WrongSignature):
        check(request_to(f"{url}&x-amz-acl=public-read", headers=headers))


@pytest.mark.parametrize(
    "added", ["acl", "%61cl", "uploadId=x", "partNumber=1", "response-content-type=text/html", "policy"]
)
def test_a_sub_resource_added_later_is_refused_however_it_is_spelled(added: str) -> None:
    with pytest.raises(WrongSignature):
        check(request_to(f"{our_url()}&{added}"))


@pytest.mark.parametrize("added", ["retention", "legal-hold", "attributes", "ownershipControls", "%72etention"])
def test_an_operation_v2_leaves_unsigned_cannot_be_added(added: str) -> None:
    with pytest.raises(Denied):
        check(request_to(f"{our_url()}&{added}"))


@pytest.mark.parametrize(
    "added",
    ["Signature=x", "AWSAccessKeyId=x", "Expires=1", "acl&acl", "x-amz-meta-a=1&X-Amz-Meta-A=2", "Sign%61ture=x"],
)
def test_a_signed_parameter_sent_twice_is_a_bad_request(added: str) -> None:
    with pytest.raises(BadRequest):
        check(request_to(f"{our_url()}&{added}"))


@pytest.mark.parametrize("added", ["content-type=a%0Ab", "x-amz-meta-a=%0D%0Ax", "x-amz-a:b=c", "x-amz-a%0Ab=c"])
def test_a_header_in_the_query_cannot_fake_another_line(added: str) -> None:
    with pytest.raises(BadRequest):
        check(request_to(f"{our_url()}&{added}"))


@pytest.mark.parametrize(
    "query",
    [
        "Signature=x",
        "AWSAccessKeyId=a&Signature=x",
        "AWSAccessKeyId=a&Signature=x&Expires=soon",
        "AWSAccessKeyId=a&Signature&Expires=1",
    ],
)
def test_an_incomplete_proof_is_denied_not_anonymous(query: str) -> None:
    with pytest.raises(Denied):
        sigv2.parse_query(query.encode())


def test_a_query_without_a_proof_has_none() -> None:
    assert sigv2.parse_query(b"list-type=2&prefix=a&Expires=5") is None
    assert sigv2.parse_form({"key": "k"}) is None


@given(st.binary(max_size=200))
def test_any_query_is_a_proof_a_refusal_or_nothing(raw_query: bytes) -> None:
    with suppress(BadRequest, Denied):
        assert isinstance(sigv2.parse_query(raw_query), QueryProof | None)


def test_a_form_signs_its_policy_as_sent() -> None:
    fields = {name.lower(): value for name, value in NAMED["POST form, sigv2"]["fields"].items()}
    proof = sigv2.parse_form(fields)
    assert isinstance(proof, FormProof)
    sigv2.verify_form(proof, SECRET)
    with pytest.raises(WrongSignature):
        sigv2.verify_form(proof, "another secret")
    with pytest.raises(WrongSignature):
        sigv2.verify_form(replace(proof, policy=proof.policy + "="), SECRET)
    with pytest.raises(BadRequest):
        sigv2.parse_form({"awsaccesskeyid": "a", "signature": "x"})


def test_a_form_field_twice_in_any_case_is_a_bad_request() -> None:
    with pytest.raises(BadRequest):
        sigv2.form_table([("policy", "a"), ("Policy", "b")])


def test_a_form_of_many_or_long_fields_is_a_bad_request() -> None:
    sigv2.form_table([(f"f{number}", "v") for number in range(100)])
    with pytest.raises(BadRequest):
        sigv2.form_table([(f"f{number}", "v") for number in range(101)])
    with pytest.raises(BadRequest):
        sigv2.form_table([("f", "v" * 65536)])
