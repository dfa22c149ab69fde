"""What careless and hostile S3 clients send: nothing is lost, shown, stored in clear or stalled by it."""

import base64
import hashlib
import http.client
import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from tests.asking import Answer, answer_of, ask, connection
from tests.protocols.rights import signed
from tests.running import RunningServer

COPY = "x-amz-copy-source"


@dataclass(frozen=True)
class Home:
    """A project with one bucket, its maintainer's key, and an object in it."""

    server: RunningServer
    key: tuple[str, str]
    bucket: str
    secret: bytes

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        anonymous: bool = False,
    ) -> Answer:
        """A request; `target` begins behind the server's address."""
        return signed(None if anonymous else self.key, method, f"{self.server.url}{target}", body, headers)

    def kept(self) -> bytes:
        """The object as it is now."""
        return self.ask("GET", f"/{self.bucket}/secret").body

    def v2_url(self, operation: str, **wish: str) -> str:
        """As botocore signs it: headers become part of the query."""
        client = boto3.client(
            "s3", endpoint_url=self.server.url, region_name="us-east-1", aws_access_key_id=self.key[0],
            aws_secret_access_key=self.key[1], config=Config(signature_version="s3", s3={"addressing_style": "path"}),
        )  # fmt: skip
        url: str = client.generate_presigned_url(operation, {"Bucket": self.bucket, **wish})
        client.close()
        return url


def new_home(server: RunningServer, name: str) -> Home:
    tag = secrets.token_hex(4)
    server.user(f"{name}-{tag}")
    server.call("POST", "/projects", {"name": f"{name}-{tag}"})
    server.call("PUT", "/roles", {"principal": f"{name}-{tag}", "project": f"{name}-{tag}", "role": "maintainer"})
    key = server.call("POST", "/keys", {"principal": f"{name}-{tag}", "project": f"{name}-{tag}"})
    home = Home(server, (key["access"], key["secret"]), f"{name}-bucket-{tag}", secrets.token_bytes(20))
    assert home.ask("PUT", f"/{home.bucket}").status == 200
    assert home.ask("PUT", f"/{home.bucket}/secret", home.secret).status == 200
    return home


@pytest.fixture(scope="module")
def alice(server: RunningServer) -> Home:
    return new_home(server, "alice")


@pytest.fixture(scope="module")
def bob(server: RunningServer) -> Home:
    return new_home(server, "bob")


def code(answer: Answer) -> tuple[int, str]:
    """Status and code of a refusal."""
    found = re.search(rb"<Error><Code>(\w+)</Code><Message>[^<]+</Message>", answer.body)
    return answer.status, found[1].decode() if found else ""


# --- what is not known must not be taken for what is -----------------------------------------------------------------


@pytest.mark.parametrize(
    "word", ["annotation&annotationName=n", "metadataConfiguration", "abac", "metadataJournalTable"]
)
def test_a_sub_resource_nobody_heard_of_removes_and_replaces_nothing(alice: Home, word: str) -> None:
    for target in (f"/{alice.bucket}", f"/{alice.bucket}/secret"):
        for method in ("PUT", "POST", "DELETE", "GET"):
            assert alice.ask(method, f"{target}?{word}", b"x" if method in ("PUT", "POST") else b"").status == 501
            assert alice.kept() == alice.secret


def test_a_copy_by_a_v2_url_copies(alice: Home) -> None:
    assert alice.ask("PUT", f"/{alice.bucket}/target", b"old").status == 200
    url = alice.v2_url("copy_object", Key="target", CopySource=f"{alice.bucket}/secret")
    assert COPY in url
    assert ask(url, "PUT", b"").status == 200
    assert alice.ask("GET", f"/{alice.bucket}/target").body == alice.secret


def test_what_should_be_encrypted_is_never_kept_in_clear(alice: Home) -> None:
    url = alice.v2_url("put_object", Key="clear", ServerSideEncryption="AES256")
    assert code(ask(url, "PUT", b"secret")) == (501, "NotImplemented")
    headers = {"x-amz-server-side-encryption": "AES256"}
    assert code(alice.ask("PUT", f"/{alice.bucket}/clear", b"secret", headers)) == (501, "NotImplemented")
    assert alice.ask("GET", f"/{alice.bucket}/clear").status == 404


@pytest.mark.parametrize("target", ["//", "//bucket", "//bucket/key", "///"])
def test_a_path_without_a_bucket_is_no_fault_of_ours(alice: Home, target: str) -> None:
    for method in ("GET", "PUT", "DELETE", "POST"):
        for anonymous in (False, True):
            assert alice.ask(method, target, b"", anonymous=anonymous).status < 500


@pytest.mark.parametrize("token", ["%C3%A9", "AA==", "!!!", "Zg", "_w==", "%00"])
def test_a_token_that_is_not_ours_is_an_invalid_argument(alice: Home, token: str) -> None:
    """Not of base64, not of UTF-8, a NUL inside."""
    for target in (f"/{alice.bucket}?list-type=2&", "/?"):
        assert code(alice.ask("GET", f"{target}continuation-token={token}")) == (400, "InvalidArgument")


@pytest.mark.parametrize("key", ["a%01", "a%0Ab", "a%7F", "a%00", "..", "../x", "a/../../x"])
def test_a_key_that_is_none_is_an_invalid_argument(alice: Home, key: str) -> None:
    assert code(alice.ask("PUT", f"/{alice.bucket}/{key}", b"x")) == (400, "InvalidArgument")
    assert code(alice.ask("POST", f"/{alice.bucket}/{key}?uploads")) == (400, "InvalidArgument")


@pytest.mark.parametrize("key", ["k" * 1025, "%C3%A9" * 513])
def test_a_key_that_is_too_long_has_a_code_of_its_own(alice: Home, key: str) -> None:
    for method, query in (("PUT", ""), ("POST", "?uploads")):
        assert code(alice.ask(method, f"/{alice.bucket}/{key}{query}")) == (400, "KeyTooLongError")
    assert alice.ask("PUT", f"/{alice.bucket}/{'k' * 1024}", b"x").status == 200


# --- rights ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def policy(alice: Home) -> Iterator[None]:
    yield
    assert alice.ask("DELETE", f"/{alice.bucket}?policy").status == 204


def set_policy(home: Home, effect: str, action: str) -> None:
    statement = {
        "Effect": effect, "Principal": "*", "Action": action, "Resource": f"arn:aws:s3:::{home.bucket}/*",
    }  # fmt: skip
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
    assert home.ask("PUT", f"/{home.bucket}?policy", text).status == 204


@pytest.mark.usefixtures("policy")
def test_who_may_only_put_reads_nothing_by_a_copy(alice: Home, bob: Home) -> None:
    set_policy(alice, "Allow", "s3:PutObject")
    source, mine = {COPY: f"{alice.bucket}/secret"}, f"/{bob.bucket}/stolen"
    assert code(bob.ask("GET", f"/{alice.bucket}/secret")) == (403, "AccessDenied")
    assert code(bob.ask("PUT", mine, b"", source)) == (403, "AccessDenied")
    begun = re.search(rb"<UploadId>(\w+)<", bob.ask("POST", f"{mine}?uploads").body)
    assert begun
    part = f"{mine}?partNumber=1&uploadId={begun[1].decode()}"
    assert code(bob.ask("PUT", part, b"", source)) == (403, "AccessDenied")
    assert bob.ask("GET", mine).status == 404


@pytest.mark.usefixtures("policy")
def test_what_a_policy_denies_no_other_way_leads_to(alice: Home) -> None:
    """Not a copy, not the bucket of digests: a denial wins."""
    set_policy(alice, "Deny", "s3:GetObject")
    digest = hashlib.sha256(alice.secret).hexdigest()
    assert code(alice.ask("GET", f"/{alice.bucket}/secret")) == (403, "AccessDenied")
    assert code(alice.ask("PUT", f"/{alice.bucket}/copy", b"", {COPY: f"{alice.bucket}/secret"})) == (
        403,
        "AccessDenied",
    )
    assert alice.ask("GET", f"/sha256/{digest}").status == 404
    assert alice.ask("PUT", f"/{alice.bucket}/copy", b"", {COPY: f"sha256/{digest}"}).status == 404


def begin_put(home: Home, key: str, body: bytes) -> http.client.HTTPConnection:
    """A signed PUT whose body has begun."""
    url = f"{home.server.url}/{home.bucket}/{key}"
    request = AWSRequest("PUT", url, data=body)
    S3SigV4Auth(Credentials(*home.key), "s3", "us-east-1").add_auth(request)
    wire = connection(url)
    wire.putrequest("PUT", urlsplit(url).path, skip_accept_encoding=True)
    for name, value in {**dict(request.prepare().headers), "Content-Length": str(len(body))}.items():
        wire.putheader(name, value)
    wire.endheaders(body[:-1])
    time.sleep(0.5)  # it has been looked at by then, and waits for its last byte
    return wire


def test_a_put_on_its_way_while_versions_begin_to_be_kept_loses_none(bob: Home) -> None:
    wire = begin_put(bob, "raced", b"slow")
    status = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert bob.ask("PUT", f"/{bob.bucket}?versioning", status).status == 200
    version = bob.ask("PUT", f"/{bob.bucket}/raced", b"quick")["x-amz-version-id"]
    wire.send(b"w")
    assert answer_of(wire.getresponse()).status == 200
    wire.close()
    assert bob.ask("GET", f"/{bob.bucket}/raced").body == b"slow"
    assert bob.ask("GET", f"/{bob.bucket}/raced?versionId={version}").body == b"quick"


@pytest.mark.parametrize("target", ["/a%00b", "/a%00b/k", "/%00", "/%ff%fe/k", "/a%3A%00/k"])
def test_a_page_asks_for_a_bucket_that_cannot_be(alice: Home, target: str) -> None:
    assert alice.ask("GET", target, headers={"Origin": "http://a.example"}).status in (400, 404)


# --- cost ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", [b"CreateBucketConfiguration", b"Delete"])
def test_a_document_of_a_stranger_stalls_nobody(alice: Home, root: bytes) -> None:
    body = b"<" + root + b">" + (b"x" * 33 + b"<!---->") * 100_000 + b"</" + root + b">"
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    method, target = ("POST", "/some-bucket?delete") if root == b"Delete" else ("PUT", "/some-bucket")

    def send() -> None:
        with suppress(ConnectionError):  # it is refused before its body, and the connection closed over the rest
            alice.ask(method, target, body, {"Content-MD5": md5}, anonymous=True)

    sender = threading.Thread(target=send)
    sender.start()
    longest, until = 0.0, time.monotonic() + 1.0
    while time.monotonic() < until:
        before = time.monotonic()
        assert ask(f"{alice.server.url}/livez").status == 200
        longest = max(longest, time.monotonic() - before)
    sender.join()
    assert longest < 3.0
