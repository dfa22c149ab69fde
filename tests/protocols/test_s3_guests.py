"""What guests may do by a bucket's grants, an object's, and a policy; and what they and the own people may not."""

import json
from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest

from tests.asking import ask, exchange
from tests.calling import Api
from tests.protocols.s3_people import DENIED, NOBODY, People, code, new_people, tag, tags
from tests.running import RunningServer

PUBLIC = {"x-amz-acl": "public-read"}
OPEN = "public-read-write"
TAGS = b"<Tagging><TagSet><Tag><Key>secret</Key><Value>no</Value></Tag></TagSet></Tagging>"
BLOCK = b"<PublicAccessBlockConfiguration><%s>true</%s></PublicAccessBlockConfiguration>"
RETENTION = b"<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2099-01-01T00:00:00Z</RetainUntilDate></Retention>"
COMPLETE = b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part></CompleteMultipartUpload>"


@pytest.fixture(scope="module")
def people(server: RunningServer) -> People:
    return new_people(server)


# --- what is open to guests ------------------------------------------------------------------------------------------


def test_a_guest_who_may_write_by_a_grant_may_write_over(people: People) -> None:
    bucket = people.bucket(x_amz_grant_write=f'id="{people.stranger}"')
    for data in (b"1", b"2"):
        assert people.ask("stranger", "PUT", f"/{bucket}/k", data).status == 200
    assert people.form("stranger", bucket, {"key": "k"}, b"3").status == 204
    upload = people.upload("stranger", bucket, "k")
    etag = people.ask("stranger", "PUT", f"/{bucket}/k?partNumber=1&uploadId={upload}", b"4")["etag"]
    assert people.ask("stranger", "POST", f"/{bucket}/k?uploadId={upload}", COMPLETE % etag.encode()).status == 200
    people.done("PUT", f"/{bucket}?ownershipControls", ownership("BucketOwnerEnforced"))
    assert people.text(bucket, "k") == b"4"


def test_nobody_may_write_over_what_lies_in_a_bucket_open_for_writing(people: People) -> None:
    bucket = people.bucket(x_amz_acl=OPEN)
    people.done("PUT", f"/{bucket}/k", b"1")
    assert people.ask(NOBODY, "PUT", f"/{bucket}/k", b"2").status == 200
    assert people.text(bucket, "k") == b"2"
    assert people.form(NOBODY, bucket, {"key": "k"}, b"3").status == 204
    assert people.text(bucket, "k") == b"3"


def test_a_guest_whom_a_policy_lets_put_may_write_over_and_leave_it_to_the_bucket_owner(people: People) -> None:
    bucket = people.bucket()
    people.allow_stranger(bucket, "s3:PutObject")
    headers = {"x-amz-acl": "bucket-owner-full-control"}
    for data in (b"1", b"2"):
        assert people.ask("stranger", "PUT", f"/{bucket}/k", data, headers).status == 200
        assert people.text(bucket, "k") == data
    assert people.ask("stranger", "POST", f"/{bucket}/parts?uploads", headers=headers).status == 200
    assert people.form("stranger", bucket, {"key": "form", "acl": "bucket-owner-full-control"}).status == 204
    assert people.text(bucket, "form") == b"x"


@pytest.mark.parametrize("word", ["tagging", "retention", "legal-hold", "acl"])
def test_an_object_that_all_may_read_shows_strangers_nothing_else(people: People, word: str) -> None:
    bucket = people.bucket(x_amz_bucket_object_lock_enabled="true")
    people.done("PUT", f"/{bucket}/k", b"x", x_amz_tagging="secret=1", x_amz_object_lock_legal_hold="ON", **PUBLIC)
    for who in (NOBODY, "stranger"):
        assert people.ask(who, "GET", f"/{bucket}/k").body == b"x"
        assert code(people.ask(who, "GET", f"/{bucket}/k?{word}")) == DENIED
    assert people.ask("owner", "GET", f"/{bucket}/k?acl").status == 200


@pytest.mark.parametrize("who", [NOBODY, "stranger"])
def test_a_guest_who_may_write_has_no_hand_in_the_upload_of_another(people: People, who: str) -> None:
    bucket = people.bucket(x_amz_acl=OPEN)
    upload = people.upload("owner", bucket, "k")
    at = f"/{bucket}/k?uploadId={upload}"
    etag = people.done("PUT", f"{at}&partNumber=1", b"mine")["etag"]
    source = {"x-amz-copy-source": f"{bucket}/other"}
    people.done("PUT", f"/{bucket}/other", b"evil", **PUBLIC)
    assert people.ask(who, "GET", at).status in (403, 404)
    assert people.ask(who, "PUT", f"{at}&partNumber=1", b"evil").status in (403, 404)
    assert people.ask(who, "PUT", f"{at}&partNumber=1", b"", source).status in (403, 404)
    assert people.ask(who, "POST", at, COMPLETE % etag.encode()).status in (403, 404)
    assert people.ask(who, "DELETE", at).status in (403, 404)
    people.done("POST", at, COMPLETE % etag.encode())
    assert people.text(bucket, "k") == b"mine"


def test_a_guest_sends_lists_and_aborts_an_upload_of_its_own(people: People) -> None:
    bucket = people.bucket(x_amz_grant_write=f'id="{people.stranger}"')
    at = f"/{bucket}/k?uploadId={people.upload('stranger', bucket, 'k')}"
    assert people.ask("stranger", "PUT", f"{at}&partNumber=1", b"x").status == 200
    assert tags("PartNumber", people.ask("stranger", "GET", at)) == ["1"]
    assert people.ask("stranger", "DELETE", at).status == 204


@pytest.mark.parametrize("word", ["tagging", "retention", "legal-hold", "acl"])
def test_a_bucket_open_for_writing_lets_nobody_change_what_is_kept_beside_bytes(people: People, word: str) -> None:
    bucket = people.bucket(x_amz_bucket_object_lock_enabled="true", x_amz_acl=OPEN)
    people.done("PUT", f"/{bucket}/k", b"x")
    body = {
        "tagging": TAGS, "legal-hold": b"<LegalHold><Status>ON</Status></LegalHold>", "acl": b"",
        "retention": RETENTION,
    }[word]  # fmt: skip
    headers = PUBLIC if word == "acl" else {}
    for who in (NOBODY, "stranger"):
        assert code(people.ask(who, "PUT", f"/{bucket}/k?{word}", body, headers)) == DENIED
    assert people.ask(NOBODY, "DELETE", f"/{bucket}/k?tagging").status == 403
    answer = people.ask("owner", "HEAD", f"/{bucket}/k")
    assert not [name for name, _ in answer.headers if "lock" in name or "tagging" in name]


# --- what makes things public ----------------------------------------------------------------------------------------


def ask_public(people: People, who: str, bucket: str, way: str) -> int:
    """The status of making something public in one of the ways there are."""
    headers: Mapping[str, str] = PUBLIC
    if way == "grant":
        headers = {"x-amz-grant-read": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'}
    match way:
        case "copy":
            return people.ask(who, "PUT", f"/{bucket}/new", b"", {**headers, "x-amz-copy-source": f"{bucket}/k"}).status
        case "parts":
            return people.ask(who, "POST", f"/{bucket}/new?uploads", b"", headers).status
        case "form":
            return people.form(who, bucket, {"key": "new", "acl": "public-read"}).status
        case "bucket":
            return people.ask(who, "PUT", f"/new-{bucket}", b"", {"x-amz-acl": OPEN}).status
        case "acl":
            return people.ask(who, "PUT", f"/{bucket}/k?acl", b"", headers).status
        case _:
            return people.ask(who, "PUT", f"/{bucket}/new", b"x", headers).status


WAYS = ("put", "grant", "copy", "parts", "form", "bucket", "acl")


@pytest.mark.parametrize("way", WAYS)
def test_maintainers_make_things_public_and_writers_do_not(people: People, way: str) -> None:
    for who, expected in (("writer", (403,)), ("maintainer", (200, 204)), ("owner", (200, 204))):
        bucket = people.bucket()
        people.done("PUT", f"/{bucket}/k", b"x")
        assert ask_public(people, who, bucket, way) in expected
        assert people.text(bucket, "new") is None or who != "writer"
        assert people.ask("owner", "HEAD", f"/new-{bucket}").status == 404 or who != "writer"


@pytest.mark.parametrize("way", ["put", "grant", "copy", "parts", "form", "acl"])
def test_a_denial_of_grants_holds_for_a_write_that_asks_for_some(people: People, way: str) -> None:
    bucket = people.bucket()
    people.done("PUT", f"/{bucket}/k", b"x")
    people.deny(bucket, "s3:PutObjectAcl")
    assert ask_public(people, "owner", bucket, way) == 403
    assert people.text(bucket, "new") is None
    assert people.ask("owner", "PUT", f"/{bucket}/new", b"x").status == 200


@pytest.mark.parametrize("way", ["put", "copy", "parts", "form"])
def test_a_condition_on_the_acl_sees_headers_and_fields(people: People, way: str) -> None:
    bucket = people.bucket()
    people.done("PUT", f"/{bucket}/k", b"x")
    people.deny(bucket, "s3:PutObject", StringEquals={"s3:x-amz-acl": "public-read"})
    assert ask_public(people, "owner", bucket, way) == 403
    assert people.text(bucket, "new") is None
    assert people.ask("owner", "PUT", f"/{bucket}/new", b"x", {"x-amz-acl": "private"}).status == 200


def ask_tags(people: People, bucket: str, way: str) -> int:
    """The status of putting tags on something in one of the ways there are."""
    header = {"x-amz-tagging": "secret=no"}
    match way:
        case "copy":
            headers = {**header, "x-amz-copy-source": f"{bucket}/k", "x-amz-tagging-directive": "REPLACE"}
            return people.ask("owner", "PUT", f"/{bucket}/new", b"", headers).status
        case "parts":
            return people.ask("owner", "POST", f"/{bucket}/new?uploads", b"", header).status
        case "form":
            return people.form("owner", bucket, {"key": "new", "tagging": TAGS.decode()}).status
        case "tagging":
            return people.ask("owner", "PUT", f"/{bucket}/k?tagging", TAGS).status
        case _:
            return people.ask("owner", "PUT", f"/{bucket}/new", b"x", header).status


@pytest.mark.parametrize("way", ["put", "copy", "parts", "form", "tagging"])
@pytest.mark.parametrize("condition", [False, True], ids=["all", "some"])
def test_a_denial_of_tags_holds_wherever_they_stand(people: People, way: str, condition: bool) -> None:
    bucket = people.bucket()
    people.done("PUT", f"/{bucket}/k", b"x")
    word = {"StringEquals": {"s3:RequestObjectTag/secret": "no"}}
    people.deny(bucket, "s3:PutObjectTagging", **(word if condition else {}))
    assert ask_tags(people, bucket, way) == 403
    assert people.text(bucket, "new") is None
    assert people.ask("owner", "PUT", f"/{bucket}/new", b"x").status == 200


def test_a_guest_may_set_the_tags_that_a_policy_lets_it_set_and_no_others(people: People) -> None:
    bucket = people.bucket()
    people.done("PUT", f"/{bucket}/k", b"x")
    people.allow_stranger(bucket, "s3:PutObjectTagging", StringEquals={"s3:RequestObjectTag/secret": "no"})
    assert people.ask("stranger", "PUT", f"/{bucket}/k?tagging", TAGS).status == 200
    assert people.ask("stranger", "PUT", f"/{bucket}/k?tagging", TAGS.replace(b"no", b"yes")).status == 403
    assert TAGS.partition(b"<TagSet>")[2] in people.done("GET", f"/{bucket}/k?tagging").body


# --- what a policy denies holds everywhere ---------------------------------------------------------------------------


def test_what_is_denied_without_tls_no_other_way_leads_to(people: People) -> None:
    bucket = people.bucket()
    people.done("PUT", f"/{bucket}/k", b"x")
    people.deny(bucket, "s3:*", Bool={"aws:SecureTransport": "false"})
    api, name = Api(people.server, people.tokens["owner"]), f"{people.project}:{bucket}"
    for rest in ("/k", "?prefix=k", ""):
        assert api.ask("GET", f"/objects/{name}{rest}").status == 403
    assert api.ask("GET", f"/inspect/{name}/k").status == 403
    for key in ("k", "new"):
        assert api.ask("PUT", f"/objects/{name}/{key}", b"other").status == 403
        assert api.ask("POST", "/uploads", {"to": f"object:{name}/{key}", "size": 1}).status == 403
    assert api.ask("DELETE", f"/objects/{name}/k").status == 403


def test_what_is_denied_by_the_referring_page_no_other_way_leads_to(people: People) -> None:
    bucket = people.bucket()
    people.done("PUT", f"/{bucket}/k", b"x")
    people.deny(bucket, "s3:GetObject", StringLike={"aws:Referer": "http://evil.example/*"})
    at = f"/objects/{people.project}:{bucket}/k"
    assert people.api("owner", at, {"Referer": "http://evil.example/page"}).status == 403
    assert people.api("owner", at, {"Referer": "http://good.example/page"}).body == b"x"
    assert people.api("owner", at).body == b"x"


def test_a_list_that_is_denied_by_its_prefix_no_other_way_leads_to(people: People) -> None:
    bucket = people.bucket()
    people.done("PUT", f"/{bucket}/private/k", b"x")
    people.deny(bucket, "s3:ListBucket", StringLike={"s3:prefix": "private/*"})
    assert code(people.ask("owner", "GET", f"/{bucket}?prefix=private/")) == DENIED
    at = f"/objects/{people.project}:{bucket}"
    assert people.api("owner", f"{at}?prefix=private/").status == 403
    assert people.api("owner", f"{at}?prefix=other/").status == 200


def test_a_list_that_is_denied_but_for_a_prefix_no_other_way_leads_to(people: People) -> None:
    bucket = people.bucket()
    people.done("PUT", f"/{bucket}/private/k", b"x")
    people.deny(bucket, "s3:ListBucket", StringNotLike={"s3:prefix": "open/*"})
    for query in ("", "?prefix=", "?prefix=private/", "?prefix=open/"):
        expected = 200 if query == "?prefix=open/" else 403
        assert people.ask("owner", "GET", f"/{bucket}{query}").status == expected
        assert people.api("owner", f"/objects/{people.project}:{bucket}{query}").status == expected


def test_what_may_not_be_read_has_no_attributes_either(people: People) -> None:
    bucket = people.bucket()
    people.done("PUT", f"/{bucket}/k", b"x")
    people.deny(bucket, "s3:GetObject")
    headers = {"x-amz-object-attributes": "ETag"}
    assert code(people.ask("owner", "GET", f"/{bucket}/k?attributes", headers=headers)) == DENIED


def test_a_bucket_that_restricts_who_is_public_is_closed_however_it_was_opened(people: People) -> None:
    bucket = people.bucket()
    people.done("PUT", f"/{bucket}/k", b"x")
    people.server.call("PUT", f"/buckets/{people.project}:{bucket}", {"public": True}, token=people.tokens["owner"])
    assert people.ask(NOBODY, "GET", f"/{bucket}/k").body == b"x"
    people.done("PUT", f"/{bucket}?publicAccessBlock", BLOCK % (b"RestrictPublicBuckets", b"RestrictPublicBuckets"))
    for who in (NOBODY, "stranger"):
        assert code(people.ask(who, "GET", f"/{bucket}/k")) == DENIED
        assert code(people.ask(who, "GET", f"/{bucket}")) == DENIED
    assert ask(f"{people.server.url}/api/v1/objects/{people.project}:{bucket}/k").status in (401, 403, 404)
    assert people.text(bucket, "k") == b"x"


def ownership(word: str) -> bytes:
    return f"<OwnershipControls><Rule><ObjectOwnership>{word}</ObjectOwnership></Rule></OwnershipControls>".encode()


@pytest.mark.parametrize("headers", [PUBLIC, {}], ids=["canned", "document"])
def test_a_bucket_whose_owner_enforces_that_takes_no_grants(people: People, headers: Mapping[str, str]) -> None:
    bucket = people.bucket()
    people.done("PUT", f"/{bucket}/k", b"x")
    document = people.ask("owner", "GET", f"/{bucket}?acl").body if not headers else b""
    people.done("PUT", f"/{bucket}?ownershipControls", ownership("BucketOwnerEnforced"))
    for target in (f"/{bucket}?acl", f"/{bucket}/k?acl"):
        assert code(people.ask("owner", "PUT", target, document, headers)) == (400, "AccessControlListNotSupported")


# --- who may not is told before a body is sent -----------------------------------------------------------------------

REFUSED_EARLY = [
    ("PUT", "?policy"), ("PUT", "?acl"), ("PUT", "?cors"), ("PUT", "?versioning"), ("PUT", "?lifecycle"),
    ("PUT", "?tagging"), ("POST", "?delete"), ("PUT", "/k?tagging"), ("PUT", "/k?acl"), ("PUT", "/k?legal-hold"),
    ("POST", "/k?uploadId=" + "0" * 32), ("PUT", "/k"), ("PUT", "/k?partNumber=1&uploadId=" + "0" * 32),
]  # fmt: skip


@pytest.mark.parametrize(("method", "rest"), REFUSED_EARLY, ids=[f"{method} {rest}" for method, rest in REFUSED_EARLY])
def test_nobody_is_refused_before_a_body_is_read(people: People, method: str, rest: str) -> None:
    bucket = people.bucket()
    people.done("PUT", f"/{bucket}/k", b"x")
    head = (
        f"{method} /{bucket}{rest} HTTP/1.1\r\nHost: {urlsplit(people.server.url).netloc}\r\nContent-Length: 1000\r\n"
        "Expect: 100-continue\r\nx-amz-checksum-crc32: AAAAAA==\r\nConnection: close\r\n\r\n"
    )
    answer = exchange(people.server, head.encode(), timeout=3)
    assert answer.startswith(b"HTTP/1.1 403 "), answer
    assert b"<Code>AccessDenied</Code>" in answer


def test_whoever_may_is_asked_for_the_document(people: People) -> None:
    bucket = people.bucket()
    text = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*",
    }]}  # fmt: skip
    assert people.ask("maintainer", "PUT", f"/{bucket}?policy", json.dumps(text).encode()).status == 204
    assert json.loads(people.done("GET", f"/{bucket}?policy").body) == text
    assert tag("IsPublic", people.done("GET", f"/{bucket}?policyStatus")).lower() == "true"
