"""Wrong proofs over the wire: what each is answered, and that an unknown key is answered as a wrong secret is."""

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from entrepot.auth import post_policy, sigv2, sigv4
from tests.asking import Answer, ask, post_form
from tests.protocols.rights import signed
from tests.running import RunningServer

BUCKET = f"proofs-{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def key(server: RunningServer) -> tuple[str, str]:
    """A maintainer's key, and a bucket with one object."""
    name = f"prover-{secrets.token_hex(4)}"
    server.user(name)
    server.call("POST", "/projects", {"name": name})
    server.call("PUT", "/roles", {"principal": name, "project": name, "role": "maintainer"})
    made = server.call("POST", "/keys", {"principal": name, "project": name})
    found = made["access"], made["secret"]
    assert signed(found, "PUT", f"{server.url}/{BUCKET}").status == 200
    assert signed(found, "PUT", f"{server.url}/{BUCKET}/k", b"abc").status == 200
    return found


def client_of(server: RunningServer, key: tuple[str, str], version: str = "s3v4", region: str = "us-east-1") -> Any:
    config = Config(signature_version=version, s3={"addressing_style": "path"})
    return boto3.client(
        "s3", endpoint_url=server.url, region_name=region, aws_access_key_id=key[0], aws_secret_access_key=key[1],
        config=config,
    )  # fmt: skip


def said(key: tuple[str, str], method: str, url: str, body: bytes, headers: dict[str, str]) -> Answer:
    """That request, signed with whatever it says of its body; botocore would always say the truth."""
    parts, date = urlsplit(url), sigv4.amz_date(time.time())
    credential = sigv4.Credential(key[0], date[:8], "us-east-1")
    sent = {"x-amz-date": date, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", **headers}
    names = ["host", *(name for name in sent if name.startswith("x-amz-"))]
    pairs = [(name.encode(), value.encode()) for name, value in [("host", parts.netloc), *sent.items()]]
    query = f"{parts.query}=".encode() if parts.query else b""
    canonical = sigv4.canonical_request(method, parts.path.encode(), query, pairs, names, sent["x-amz-content-sha256"])
    signature = sigv4.sign(key[1], credential, sigv4.string_to_sign(date, credential.scope, canonical))
    sent["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key[0]}/{credential.scope},SignedHeaders={';'.join(sorted(names))},"
        f"Signature={signature}"
    )
    return ask(url, method, body, sent)


def code(answer: Answer) -> tuple[int, str]:
    found = re.search(rb"<Error><Code>(\w+)</Code><Message>[^<]+</Message>", answer.body)
    return answer.status, found[1].decode() if found else ""


def wrong_proofs(server: RunningServer, key: tuple[str, str]) -> Iterator[Answer]:
    """A request with that key by each way to sign one."""
    yield signed(key, "GET", f"{server.url}/{BUCKET}/k")
    for version in ("s3", "s3v4"):
        client = client_of(server, key, version)
        yield ask(client.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "k"}))
        client.close()
    fields = post_policy.make_v2({}, BUCKET, "k", *key, expires_at=4e9)
    yield post_form(f"{server.url}/{BUCKET}", fields, b"abc")


def test_an_unknown_key_is_answered_as_a_wrong_secret_is(server: RunningServer, key: tuple[str, str]) -> None:
    for wrong, unknown in zip(
        wrong_proofs(server, (key[0], "wrong")), wrong_proofs(server, ("NOBODY", key[1])), strict=True
    ):
        assert code(wrong) == code(unknown) == (403, "SignatureDoesNotMatch")
        assert re.findall(rb"<(\w+)>", wrong.body) == re.findall(rb"<(\w+)>", unknown.body)
        assert b"<SignatureProvided>" in unknown.body
        assert [name for name, _ in wrong.headers] == [name for name, _ in unknown.headers]


def test_a_client_of_another_region_finds_ours(server: RunningServer, key: tuple[str, str]) -> None:
    client = client_of(server, key, region="eu-west-1")
    assert client.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"abc"
    client.head_bucket(Bucket=BUCKET)
    client.close()


def test_each_malformed_proof_has_its_code(server: RunningServer, key: tuple[str, str]) -> None:
    url = f"{server.url}/{BUCKET}/k"
    client = client_of(server, key)
    good = client.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "k"})
    client.close()
    assert ask(good).status == 200
    for old, new in (("us-east-1", "eu-west-1"), ("Expires=3600", "Expires=x"), ("X-Amz-Credential", "X-Amz-Other")):
        assert code(ask(good.replace(old, new))) == (400, "AuthorizationQueryParametersError")
    assert code(ask(f"{good}&X-Amz-Date=1")) == (400, "AuthorizationQueryParametersError")
    assert code(ask(good.replace("Expires=3600", "Expires=0"))) == (403, "AccessDenied")
    assert code(ask(good, headers={"x-amz-meta-a": "1"})) == (403, "AccessDenied")
    assert code(ask(f"{good}&AWSAccessKeyId=a&Signature=b&Expires=4000000000")) == (400, "InvalidArgument")
    scope = "/20200101/us-east-1/s3/aws4_request,SignedHeaders=host;x-amz-date,Signature=x"
    for text, expected in (
        ("AWS a:b", (400, "InvalidRequest")),
        ("AWS4-HMAC-SHA256 x", (400, "AuthorizationHeaderMalformed")),
        ("AWS4-HMAC-SHA256 Credential=a,SignedHeaders=host,Signature=x", (400, "AuthorizationHeaderMalformed")),
        (f"AWS4-HMAC-SHA256 Credential=a{scope}", (403, "RequestTimeTooSkewed")),
    ):
        headers = {"Authorization": text, "x-amz-date": "20200101T000000Z"}
        assert code(ask(url, headers=headers)) == expected


def test_a_method_there_is_not_is_judged_after_the_proof(server: RunningServer, key: tuple[str, str]) -> None:
    assert signed(key, "HEAD", f"{server.url}/").status == 405
    assert signed((key[0], "wrong"), "HEAD", f"{server.url}/").status == 403


def test_a_document_is_the_one_that_was_signed(server: RunningServer, key: tuple[str, str]) -> None:
    """Its sha256 is in the signature: another body would be the word of somebody else."""
    document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    claimed = {"x-amz-content-sha256": hashlib.sha256(b"another").hexdigest()}
    tags = b"<Tagging><TagSet/></Tagging>"
    for target, body in (
        (f"{BUCKET}?versioning", document),
        (f"{BUCKET}?tagging", tags),
        (f"{BUCKET}/k?tagging", tags),
    ):
        answer = said(key, "PUT", f"{server.url}/{target}", body, claimed)
        assert code(answer) == (400, "XAmzContentSHA256Mismatch")
        assert hashlib.sha256(body).hexdigest().encode() in answer.body
    assert b"Enabled" not in signed(key, "GET", f"{server.url}/{BUCKET}?versioning").body
    wrong_md5 = {"Content-MD5": base64.b64encode(bytes(16)).decode()}
    assert code(signed(key, "PUT", f"{server.url}/{BUCKET}?tagging", tags, wrong_md5)) == (400, "BadDigest")


def test_content_encoding_is_kept_unless_the_body_was_packed(server: RunningServer, key: tuple[str, str]) -> None:
    url, packed = f"{server.url}/{BUCKET}/encoded", b"3\r\nabc\r\n0\r\n\r\n"
    trailing = {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length": "3"}
    for headers, body, kept in (
        (trailing | {"Content-Encoding": "gzip, aws-chunked"}, packed, "gzip"),
        (trailing | {"Content-Encoding": "aws-chunked"}, packed, ""),
        ({"Content-Encoding": "aws-chunked"}, b"abc", "aws-chunked"),
    ):
        assert said(key, "PUT", url, body, headers).status == 200
        answer = signed(key, "GET", url)
        assert (answer.body, dict(answer.headers).get("content-encoding", "")) == (b"abc", kept)


def test_a_form_that_cannot_be_read_says_why(server: RunningServer, key: tuple[str, str]) -> None:
    url = f"{server.url}/{BUCKET}"
    policy = base64.b64encode(json.dumps({"expiration": "2036-01-01T00:00:00Z"}).encode()).decode()
    signature = sigv2.sign(key[1], policy.encode())
    fields = {"key": "k", "AWSAccessKeyId": key[0], "policy": policy, "signature": signature}
    assert code(post_form(url, fields, b"abc")) == (400, "InvalidPolicyDocument")
    assert code(post_form(url, {"key": "k", "policy": policy}, b"abc")) == (400, "InvalidArgument")


def test_a_copy_says_what_is_wrong_with_its_source(server: RunningServer, key: tuple[str, str]) -> None:
    client = client_of(server, key)
    with pytest.raises(ClientError) as caught:
        client.copy_object(Bucket=BUCKET, Key="new", CopySource={"Bucket": BUCKET, "Key": "not-there"})
    assert caught.value.response["Error"].items() >= {"Code": "NoSuchKey", "Key": "not-there"}.items()
    with pytest.raises(ClientError) as caught:
        client.copy_object(Bucket=BUCKET, Key="new", CopySource={"Bucket": BUCKET, "Key": "k"}, CopySourceIfMatch="x")
    assert caught.value.response["Error"]["Condition"] == "x-amz-copy-source-If-Match"
    client.close()
