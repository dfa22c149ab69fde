"""What an S3 request means: by method, path, query and headers; every operation botocore knows is one or is refused."""

import re
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import botocore.session
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from entrepot.errors import BadName, EntrepotError
from entrepot.model import ObjectName, VersionId
from entrepot.protocols.base import MethodNotAllowed, kinds_of
from entrepot.protocols.s3 import S3, calls, objects, requests, responses
from entrepot.protocols.s3.calls import Call
from tests.wire import request_of

MODEL = botocore.session.get_session().get_service_model("s3")
COPY = ("x-amz-copy-source", "b/k")


def parsed(
    method: str, target: str | bytes, *headers: tuple[str, str], hosts: tuple[str, ...] = ()
) -> tuple[type[Call], str, str, dict[str, str]]:
    """Kind, bucket, key and query of the call."""
    raw = target.encode() if isinstance(target, str) else target
    path, _, query = raw.partition(b"?")
    pairs = [(name.encode(), value.encode()) for name, value in headers]
    found = requests.parse(request_of(method, path, query, pairs), hosts)
    return type(found), found.bucket, found.key, dict(found.query)


def refused(method: str, target: str | bytes) -> tuple[int, str]:
    with pytest.raises(EntrepotError) as caught:
        parsed(method, target)
    return responses.code_of(caught.value)


MEANT: dict[str, type[Call]] = {
    "GET /": calls.ListBuckets,
    "GET /?max-buckets=1&continuation-token=x": calls.ListBuckets,
    "GET /b": calls.ListObjects,
    "GET /b/": calls.ListObjects,
    "GET /b?list-type=2&prefix=a&delimiter=/": calls.ListObjects,
    "GET /b?versionId=x&partNumber=1": calls.ListObjects,
    "GET /b?versions": calls.ListVersions,
    "GET /b?versions=&prefix=a": calls.ListVersions,
    "GET /b?uploads": calls.ListUploads,
    "HEAD /b": calls.HeadBucket,
    "PUT /b": calls.CreateBucket,
    "DELETE /b/": calls.DeleteBucket,
    "POST /b": calls.PostForm,
    "POST /b?delete": calls.DeleteObjects,
    "POST /b?delete&x-id=DeleteObjects": calls.DeleteObjects,
    **{f"GET /b?{word}": calls.GetConfig for word in sorted(requests.CONFIG)},
    **{f"PUT /b?{word}": calls.PutConfig for word in sorted(requests.CONFIG - {"location", "policyStatus"})},
    **{
        f"DELETE /b?{word}": calls.DeleteConfig
        for word in ("policy", "cors", "tagging", "publicAccessBlock", "ownershipControls", "lifecycle")
    },
    "OPTIONS /": calls.Preflight,
    "OPTIONS /b": calls.Preflight,
    "OPTIONS /b/k?acl": calls.Preflight,
    "GET /b/k": calls.GetObject,
    "HEAD /b/k?partNumber=1&versionId=null": calls.GetObject,
    "GET /b/k?x-id=GetObject&response-content-type=a": calls.GetObject,
    "GET /b/k?ACL": calls.GetObject,
    "GET /b/k?attributes": calls.GetAttributes,
    "PUT /b/k": calls.PutObject,
    "PUT /b/k?x-id=PutObject": calls.PutObject,
    "DELETE /b/k?versionId=null": calls.DeleteObject,
    **{f"GET /b/k?{word}": calls.GetFacts for word in ("acl", "tagging", "retention", "legal-hold")},
    **{f"PUT /b/k?{word}&versionId=x": calls.PutFacts for word in ("acl", "tagging", "retention", "legal-hold")},
    "DELETE /b/k?tagging": calls.DeleteFacts,
    "POST /b/k?uploads": calls.CreateUpload,
    "PUT /b/k?partNumber=1&uploadId=x": calls.UploadPart,
    "PUT /b/k?uploadId=x": calls.UploadPart,
    "GET /b/k?uploadId=x&max-parts=1": calls.ListParts,
    "POST /b/k?uploadId=x": calls.CompleteUpload,
    "DELETE /b/k?uploadId=x": calls.AbortUpload,
}
NOT_DONE = [
    "POST /b/k", "POST /b/k?delete", "POST /b?uploads", "PUT /b?location", "PUT /b?policyStatus", "DELETE /b?acl",
    "DELETE /b?versioning", "DELETE /b?object-lock", "DELETE /b?uploads", "DELETE /b/k?acl", "DELETE /b/k?retention",
    "HEAD /b?acl", "HEAD /b/k?uploadId=x", "GET /b?delete", "GET /b/k?uploads", "GET /b/k?versions", "PUT /b/k?cors",
    "GET /b?acl&policy", "PUT /b/k?acl&tagging", "GET /b?versions&uploads", "PUT /b/k?uploads&uploadId=x",
    "PUT /b/k?append", "POST /b/k?select&select-type=2", "POST /b/k?restore", "GET /b/k?torrent",
    *(f"{method} /b?{word}" for method in ("GET", "PUT", "DELETE") for word in (
        "encryption", "website", "logging", "notification", "replication", "accelerate", "analytics", "inventory",
        "metrics", "intelligent-tiering", "requestPayment", "session",
    )),
]  # fmt: skip


@pytest.mark.parametrize(("line", "kind"), MEANT.items(), ids=str)
def test_each_request_line_means_one_call(line: str, kind: type[Call]) -> None:
    method, _, target = line.partition(" ")
    assert parsed(method, target)[0] is kind


def test_every_kind_of_call_is_meant_by_some_line() -> None:
    assert {*MEANT.values(), calls.CopyObject, calls.CopyPart, calls.Unimplemented} == set(kinds_of(S3))


@pytest.mark.parametrize("line", NOT_DONE)
def test_what_is_not_done_is_never_taken_for_something_else(line: str) -> None:
    method, _, target = line.partition(" ")
    assert parsed(method, target)[0] is calls.Unimplemented


SAME = {
    "AbortMultipartUpload": "AbortUpload", "CompleteMultipartUpload": "CompleteUpload", "HeadObject": "GetObject",
    "CreateMultipartUpload": "CreateUpload", "GetObjectAttributes": "GetAttributes", "ListObjectsV2": "ListObjects",
    "ListMultipartUploads": "ListUploads", "ListObjectVersions": "ListVersions", "UploadPartCopy": "CopyPart",
    "ListDirectoryBuckets": "ListBuckets",
}  # fmt: skip
"""What we call otherwise."""
KEPT_ASIDE = {
    calls.GetConfig, calls.PutConfig, calls.DeleteConfig, calls.GetFacts, calls.PutFacts, calls.DeleteFacts,
}  # fmt: skip
ASIDE = re.compile(
    "(Get|Put|Delete)(Bucket|Object|)(Acl|Cors|LegalHold|Lifecycle(Configuration)?|Location|LockConfiguration|"
    "OwnershipControls|Policy(Status)?|PublicAccessBlock|Retention|Tagging|Versioning)"
)


@pytest.mark.parametrize("name", [name for name in MODEL.operation_names if name != "WriteGetObjectResponse"])
def test_every_operation_botocore_knows_is_itself_or_not_implemented(name: str) -> None:
    """So that no sub-resource is passed over: `DELETE /b/k?annotation` deletes no object."""
    operation: Any = MODEL.operation_model(name)
    target = operation.http["requestUri"].replace("{Bucket}", "b").replace("{Key+}", "k")
    members = operation.input_shape.members if operation.input_shape else {}
    for member in operation.input_shape.required_members if operation.input_shape else ():
        if members[member].serialization.get("location") == "querystring":
            target += f"{'&' if '?' in target else '?'}{members[member].serialization['name']}=1"
    found = parsed(operation.http["method"], target, *([COPY] if "CopySource" in members else []))[0]
    if found in KEPT_ASIDE:
        assert ASIDE.fullmatch(name)
    elif found is not calls.Unimplemented:
        assert found.__name__ == SAME.get(name, name)


@pytest.mark.parametrize("method", ["PATCH", "TRACE", "CONNECT", "get", "PROPFIND", ""])
def test_other_methods_are_not_allowed(method: str) -> None:
    for target in ("/", "/b", "/b/k"):
        with pytest.raises(MethodNotAllowed) as caught:
            parsed(method, target)
        assert caught.value.allow == "DELETE, GET, HEAD, OPTIONS, POST, PUT"


def test_without_a_bucket_every_method_is_about_all_of_them() -> None:
    """Its proof is judged before the method."""
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        assert parsed(method, "/?acl")[0] is calls.ListBuckets


def test_the_bucket_of_digests_is_only_read() -> None:
    assert parsed("GET", "/sha256")[0] is calls.ListObjects
    assert parsed("HEAD", f"/sha256/{'0' * 64}")[0] is calls.GetObject
    for line in ("PUT /sha256", "DELETE /sha256/x", "PUT /sha256/x", "POST /sha256/x?uploads", "POST /sha256?delete"):
        method, _, target = line.partition(" ")
        with pytest.raises(MethodNotAllowed) as caught:
            parsed(method, target)
        assert caught.value.allow == "GET, HEAD"


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "bucket", "key"),
    [
        ("/b", "b", ""),
        ("/b/", "b", ""),
        ("/b/k", "b", "k"),
        ("/b/k/", "b", "k/"),
        ("/b//k", "b", "/k"),
        ("/b///", "b", "//"),
        ("/b/a//c", "b", "a//c"),
        ("/b/a+b", "b", "a+b"),
        ("/b/a%2Bb%20c", "b", "a+b c"),
        ("/b/a%2Fb", "b", "a/b"),
        ("/b/%2F", "b", "/"),
        ("/b/%2541", "b", "%41"),
        ("/b/%2500", "b", "%00"),
        ("/b/%C3%A9%F0%9F%98%80", "b", "é😀"),
        ("/b/é", "b", "é"),
        ("/b/%", "b", "%"),
        ("/b/%zz", "b", "%zz"),
        ("/b/./../c", "b", "./../c"),
        ("/b/a%3Fb%23c", "b", "a?b#c"),
        ("/b/a;c=d", "b", "a;c=d"),
        ("/project%3Ab/k", "project:b", "k"),
        ("/project:b/k", "project:b", "k"),
        ("/B%41/k", "BA", "k"),
    ],
)
def test_a_path_is_a_bucket_and_a_key_decoded_once(path: str, bucket: str, key: str) -> None:
    assert parsed("GET", path)[1:3] == (bucket, key)


@pytest.mark.parametrize("path", [b"/b/%ff", b"/b/\xff", b"/%ff/k", b"/b/%C3", b"/b/a%00", b"/b%00/k", b"/b/%ED%A0%80"])
def test_a_name_that_is_not_utf8_or_holds_a_nul_is_none(path: bytes) -> None:
    for method in ("GET", "PUT", "DELETE"):
        with pytest.raises(BadName):
            parsed(method, path)
        assert refused(method, path) == (400, "InvalidArgument")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
@example("a//b/ +%2F?#&=.../")
def test_any_key_comes_out_as_it_was_quoted(key: str) -> None:
    assert parsed("GET", f"/b/{quote(key)}")[1:3] == ("b", key)
    assert parsed("GET", f"/b/{quote(key, safe='')}")[1:3] == ("b", key)
    assert parsed("PUT", f"/{quote(key)}", ("host", "b.s3.example"), hosts=("s3.example",))[1:3] == ("b", key)


@given(st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "x"]), st.binary(max_size=40))
def test_any_request_line_is_a_call_or_a_refusal(method: str, rest: bytes) -> None:
    for target in (b"/" + rest, b"/b/" + rest, b"/b?" + rest, b"/b/k?" + rest):
        with suppress(EntrepotError):
            kind, bucket, key, query = parsed(method, target)
            assert kind in kinds_of(S3)
            assert "\0" not in "".join((*query, *query.values()))
            (bucket + key).encode()


HOSTS = ("s3.example.org", "localhost", "[::1]", "127.0.0.1")


@pytest.mark.parametrize(
    ("host", "target", "bucket", "key"),
    [
        ("b.s3.example.org", "/", "b", ""),
        ("b.s3.example.org", "/k", "b", "k"),
        ("b.s3.example.org", "/b/k/", "b", "b/k/"),
        ("b.s3.example.org", "//k", "b", "/k"),
        ("b.s3.example.org:9000", "/k", "b", "k"),
        ("B.S3.Example.ORG:443", "/k", "b", "k"),
        ("my.dotted.s3.example.org", "/k", "my.dotted", "k"),
        ("bucket.localhost:9000", "/k", "bucket", "k"),
        ("s3.example.org", "/b/k", "b", "k"),
        ("s3.example.org:9000", "/b/k", "b", "k"),
        (".s3.example.org", "/b/k", "b", "k"),
        ("bs3.example.org", "/b/k", "b", "k"),
        ("b.s3.example.org.evil.net", "/b/k", "b", "k"),
        ("b.example.org", "/b/k", "b", "k"),
        ("[::1]:9000", "/b/k", "b", "k"),
        ("", "/b/k", "b", "k"),
    ],
)
def test_a_bucket_may_stand_in_front_of_a_host_we_know(host: str, target: str, bucket: str, key: str) -> None:
    assert parsed("GET", target, ("host", host), hosts=HOSTS)[1:3] == (bucket, key)
    if host.startswith("b.s3.example.org") and key == "":
        assert parsed("GET", target, ("host", host), hosts=HOSTS)[0] is calls.ListObjects
        assert parsed("PUT", target, ("host", host), hosts=HOSTS)[0] is calls.CreateBucket
    request = request_of("GET", target.encode(), b"", [(b"host", host.encode())])
    assert requests.resource(request, HOSTS).decode().rstrip("/") == f"/{bucket}/{key}".rstrip("/")


def test_without_known_hosts_a_host_says_nothing() -> None:
    assert parsed("GET", "/b/k", ("host", "x.s3.example.org"))[1:3] == ("b", "k")


# --- query and headers -----------------------------------------------------------------------------------------------


def test_the_query_is_decoded_once_and_of_twins_the_first_counts() -> None:
    query = parsed("GET", "/b?prefix=a%2Bb%2541&prefix=c&delimiter=%C3%A9&marker=a=b&max-keys&&=x")[3]
    assert query == {"prefix": "a+b%41", "delimiter": "é", "marker": "a=b", "max-keys": "", "": "x"}
    assert parsed("GET", "/b?%61cl")[0] is calls.GetConfig


@pytest.mark.parametrize(
    "query", [b"prefix=%ff", b"%ff=1", b"prefix=%00", b"a%00=1", b"prefix=\xff", b"prefix=%ED%A0%80"]
)
def test_a_query_that_is_not_utf8_or_holds_a_nul_is_refused(query: bytes) -> None:
    for path in (b"/", b"/b", b"/b/k"):
        assert refused("GET", path + b"?" + query) == (400, "InvalidArgument")


def test_a_copy_source_makes_a_copy_of_a_put() -> None:
    assert parsed("PUT", "/b/k", COPY)[0] is calls.CopyObject
    assert parsed("PUT", "/b/k?partNumber=1&uploadId=x", COPY)[0] is calls.CopyPart
    for line in ("GET /b/k", "DELETE /b/k", "POST /b/k?uploads", "PUT /b", "PUT /b/k?acl", "POST /b/k?uploadId=x"):
        method, _, target = line.partition(" ")
        assert parsed(method, target, COPY)[0] is parsed(method, target)[0]


def test_a_copy_source_in_the_query_acts_as_the_header() -> None:
    """Signers of URLs move it there; a PUT of nothing over the target would be the worst answer."""
    for name in ("x-amz-copy-source", "X-Amz-Copy-Source"):
        assert parsed("PUT", f"/b/k?{name}=b%2Fk")[0] is calls.CopyObject
        assert parsed("PUT", f"/b/k?{name}=b%2Fk&partNumber=1&uploadId=x")[0] is calls.CopyPart


ASKING = [
    ("x-amz-server-side-encryption", "AES256"), ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
    ("x-amz-server-side-encryption-aws-kms-key-id", "x"), ("x-amz-website-redirect-location", "/"),
    ("x-amz-mfa", "1 2"), ("x-amz-write-offset-bytes", "3"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), ASKING, ids=[name for name, _ in ASKING])
def test_a_header_that_asks_for_what_is_not_done_makes_it_another_call(name: str, value: str) -> None:
    for line in ("PUT /b/k", "POST /b/k?uploads", "PUT /b/k?partNumber=1&uploadId=x"):
        method, _, target = line.partition(" ")
        assert parsed(method, target, (name, value))[0] is calls.Unimplemented


@pytest.mark.parametrize(("name", "value"), ASKING, ids=[name for name, _ in ASKING])
def test_and_so_it_does_in_the_query(name: str, value: str) -> None:
    for key in (name, name.title()):
        assert parsed("PUT", f"/b/k?{key}={quote(value)}")[0] is calls.Unimplemented


def test_a_storage_class_is_no_such_wish() -> None:
    assert parsed("PUT", "/b/k", ("x-amz-storage-class", "GLACIER"))[0] is calls.PutObject


@pytest.mark.parametrize(
    ("text", "source", "version"),
    [
        ("b/k", ObjectName("b", "k", anywhere=True), None),
        ("/b/k", ObjectName("b", "k", anywhere=True), None),
        ("b//k/", ObjectName("b", "/k/", anywhere=True), None),
        ("b%2Fa%2Fk", ObjectName("b", "a/k", anywhere=True), None),
        ("b/a+b%20%2B%2541", ObjectName("b", "a+b +%41", anywhere=True), None),
        ("b/%C3%A9", ObjectName("b", "é", anywhere=True), None),
        ("b/é".encode().decode("latin-1"), ObjectName("b", "é", anywhere=True), None),
        ("b/k?versionId=null", ObjectName("b", "k", anywhere=True), VersionId(None)),
        ("b/k?versionId=000000000000000a", ObjectName("b", "k", anywhere=True), VersionId(10)),
        ("b/k%3FversionId=null", ObjectName("b", "k?versionId=null", anywhere=True), None),
        ("project%3Ab/k", ObjectName("b", "k", "project"), None),
    ],
)
def test_a_copy_source_is_decoded_once(text: str, source: ObjectName, version: VersionId | None) -> None:
    assert objects.copy_source({"x-amz-copy-source": text}) == (source, version)


@pytest.mark.parametrize(
    "text",
    ["", "/", "b", "b/", "/b", "/b/", "//k", "b/%ff", "%ff/k", "b/k%00", "b/k?versionId=x", "b/k?versionId=%6eull"],
)
def test_a_malformed_copy_source_is_an_invalid_argument(text: str) -> None:
    with pytest.raises(EntrepotError) as caught:
        objects.copy_source({"x-amz-copy-source": text})
    assert responses.code_of(caught.value) == (400, "InvalidArgument")
