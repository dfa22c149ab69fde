"""Who may do what through S3: every kind of call × every principal with a key × every place.

The table is written from section 4 of the notes: a new kind of call fails `test_every_kind_of_call_is_asked` until
somebody says who may use it. Whoever may not learns 403 of a bucket that is there, 404 of one that is not.
"""

import base64
import hashlib
import itertools
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import S3SigV4PostAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from entrepot.protocols.base import kinds_of
from entrepot.protocols.s3 import S3, calls
from tests.asking import FORM_TYPE, Answer, DataApi, ask, form_body
from tests.calling import admin
from tests.protocols import rights
from tests.protocols.rights import ROLES, World, roles

PRINCIPALS = ("anonymous", *ROLES, "stranger", "robot", "disabled")
"""Those with a key: a token with a job, or an admin without a role, has none in this project."""
NO_UPLOAD = "0" * 32
TAGS = b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"
PARTS = b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>"
CORS = {"Origin": "http://a.example", "Access-Control-Request-Method": "GET"}
Rows = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Asked:
    """A request, but for its signature. A key of None is a bucket; `fresh`, one nobody used before."""

    method: str
    query: str = ""
    key: str | None = None
    body: Callable[[str], bytes] = lambda key: b""
    headers: Callable[[str], dict[str, str]] = lambda source: {}


def delete_document(key: str) -> bytes:
    return f"<Delete><Object><Key>{key}</Key></Object></Delete>".encode()


def copy_of(source: str) -> dict[str, str]:
    return {"x-amz-copy-source": source}


UPLOAD = f"uploadId={NO_UPLOAD}"
ASKED: dict[type[calls.Call], list[Asked]] = {
    calls.ListBuckets: [Asked("GET")],
    calls.ListObjects: [Asked("GET"), Asked("GET", "list-type=2")],
    calls.ListVersions: [Asked("GET", "versions")],
    calls.ListUploads: [Asked("GET", "uploads")],
    calls.HeadBucket: [Asked("HEAD")],
    calls.CreateBucket: [Asked("PUT")],
    calls.DeleteBucket: [Asked("DELETE")],
    calls.GetConfig: [Asked("GET", word) for word in ("acl", "policyStatus")],
    calls.PutConfig: [Asked("PUT", "tagging", body=lambda key: TAGS)],
    calls.DeleteConfig: [Asked("DELETE", word) for word in ("tagging", "policy", "cors", "lifecycle")],
    calls.DeleteObjects: [Asked("POST", "delete", body=delete_document)],
    calls.PostForm: [Asked("POST")],
    calls.Preflight: [Asked("OPTIONS", headers=lambda _: CORS), Asked("OPTIONS", key="", headers=lambda _: CORS)],
    calls.GetObject: [Asked("GET", key=""), Asked("HEAD", key="")],
    calls.GetAttributes: [Asked("GET", "attributes", "", headers=lambda _: {"x-amz-object-attributes": "ETag"})],
    calls.PutObject: [Asked("PUT", key="fresh", body=lambda key: b"x")],
    calls.CopyObject: [Asked("PUT", key="fresh", headers=copy_of)],
    calls.DeleteObject: [Asked("DELETE", key="fresh")],
    calls.GetFacts: [Asked("GET", "tagging", ""), Asked("GET", "acl", "")],
    calls.PutFacts: [Asked("PUT", "tagging", "", body=lambda key: TAGS)],
    calls.DeleteFacts: [Asked("DELETE", "tagging", "")],
    calls.CreateUpload: [Asked("POST", "uploads", "fresh")],
    calls.UploadPart: [Asked("PUT", f"partNumber=1&{UPLOAD}", "fresh", body=lambda key: b"x")],
    calls.CopyPart: [Asked("PUT", f"partNumber=1&{UPLOAD}", "fresh", headers=copy_of)],
    calls.ListParts: [Asked("GET", UPLOAD, "fresh")],
    calls.CompleteUpload: [Asked("POST", UPLOAD, "fresh", body=lambda key: PARTS)],
    calls.AbortUpload: [Asked("DELETE", UPLOAD, "fresh")],
    calls.Unimplemented: [Asked("GET", "torrent", ""), Asked("PUT", "website"), Asked("POST", key="")],
}  # fmt: skip


def everyone(status: int, **others: int) -> dict[str, int]:
    """A disabled user's signature is never right."""
    return {one: others.get(one, 403 if one == "disabled" else status) for one in PRINCIPALS}


def by_role(least: str, yes: int) -> dict[str, int]:
    found = roles(least, yes, unknown=403)
    return {one: 403 if one in ("anonymous", "disabled") else found[one] for one in PRINCIPALS}


def rows(least: str, yes: int = 200, *, public: bool = False) -> Rows:
    """In each place, from that role on; an area that is not one's own opens to robots alone, which are writers."""
    robot = yes if least in ("reader", "writer") else 403
    return {
        "private": by_role(least, yes),
        "public": everyone(yes) if public else by_role(least, yes),
        "area": everyone(403, robot=robot),
        "missing": everyone(404),
    }


EXPECTED: dict[type[calls.Call], Rows] = {
    calls.ListBuckets: {"": by_role("reader", 200) | {"anonymous": 200}},
    calls.ListObjects: rows("reader", public=True),
    calls.ListVersions: rows("reader", public=True),
    calls.ListUploads: rows("reader", public=True),
    calls.HeadBucket: rows("reader", public=True),
    calls.CreateBucket: {
        "private": by_role("writer", 200), "public": by_role("writer", 200), "area": everyone(400),
        "missing": by_role("writer", 200),
    },
    calls.DeleteBucket: rows("maintainer", 409),
    calls.GetConfig: rows("reader"),
    calls.PutConfig: rows("maintainer", 204),
    calls.DeleteConfig: rows("maintainer", 204),
    calls.DeleteObjects: rows("maintainer", 200),
    calls.PostForm: rows("writer", 204),
    calls.Preflight: {place: dict.fromkeys(PRINCIPALS, 403) for place in ("private", "public", "area", "missing")},
    calls.GetObject: rows("reader", public=True),
    calls.GetAttributes: rows("reader", public=True),
    calls.PutObject: rows("writer"),
    calls.CopyObject: rows("writer"),
    calls.DeleteObject: rows("maintainer", 204),
    calls.GetFacts: rows("reader", public=True),
    calls.PutFacts: rows("maintainer"),
    calls.DeleteFacts: rows("maintainer", 204),
    calls.CreateUpload: rows("writer"),
    calls.UploadPart: rows("writer", 404),
    calls.CopyPart: rows("writer", 404),
    calls.ListParts: rows("writer", 404),
    calls.CompleteUpload: rows("writer", 404),
    calls.AbortUpload: rows("writer", 404),
    calls.Unimplemented: {
        place: everyone(501, anonymous=403) for place in ("private", "public", "area", "missing")
    },
}  # fmt: skip
"""Without a proof `/` is the server's index, which is for all."""


def test_every_kind_of_call_is_asked() -> None:
    assert set(EXPECTED) == set(ASKED) == set(kinds_of(S3))


def signed(
    world: World, one: str, method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> Answer:
    """That request by that principal."""
    return rights.signed(world.keys.get(one), method, url, body, headers)


def form(world: World, one: str, bucket: str, key: str) -> Answer:
    """A form with a policy for that key, signed; bare for anonymous."""
    url, fields = f"{world.server.url}/{bucket}", {"key": key}
    if one in world.keys:
        request = AWSRequest("POST", url)
        until = (datetime.now(UTC) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
        request.context["s3-presign-post-fields"] = fields
        request.context["s3-presign-post-policy"] = {
            "expiration": until,
            "conditions": [{"bucket": bucket}, {"key": key}],
        }
        S3SigV4PostAuth(Credentials(*world.keys[one]), "s3", "us-east-1").add_auth(request)
    return ask(url, "POST", form_body(fields, b"x"), FORM_TYPE)


def asked(world: World, one: str, wish: Asked, place: str) -> int:
    """The status; of a document about one key, the one that key has in it."""
    bucket, _, known = world.names.get(place, "").partition("/")
    fresh = f"{known}-{secrets.token_hex(4)}"
    if wish == Asked("PUT") and place == "missing":
        bucket = f"new-{secrets.token_hex(4)}"
    if wish == Asked("POST"):
        return form(world, one, bucket, fresh).status
    key = "" if wish.key is None else f"/{fresh if wish.key == 'fresh' else known}"
    body = wish.body(fresh)
    headers = wish.headers(f"{bucket}/{known}")
    if wish.query == "delete":
        headers = {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    url = f"{world.server.url}/{bucket}{key}" + (f"?{wish.query}" if wish.query else "")
    answer = signed(world, one, wish.method, url, body, headers)
    if answer.status >= 400 and wish.method != "HEAD":
        assert re.search(rb"<Error><Code>\w+</Code><Message>[^<]+</Message>", answer.body), answer
    if wish.query == "delete" and answer.status == 200:
        return 403 if b"<Code>AccessDenied</Code>" in answer.body else 200 if b"<Deleted>" in answer.body else 500
    if answer.status == 404 and wish.query.endswith(UPLOAD) and place != "missing":
        assert b"<Code>NoSuchUpload</Code>" in answer.body
    return answer.status


CELLS = [(kind, place) for kind, places in EXPECTED.items() for place in places]


@pytest.mark.parametrize(("kind", "place"), CELLS, ids=[f"{kind.__name__} {place}" for kind, place in CELLS])
def test_each_principal_gets_what_its_role_gives_and_no_more(world: World, kind: type[calls.Call], place: str) -> None:
    for wish in ASKED[kind]:
        got = {one: asked(world, one, wish, place) for one in PRINCIPALS}
        assert got == EXPECTED[kind][place], wish


def test_a_name_is_overwritten_by_maintainers_alone(world: World) -> None:
    bucket, _, key = world.names["private"].partition("/")
    url = f"{world.server.url}/{bucket}/{key}"
    for headers in ({}, copy_of(world.names["public"])):
        got = {one: signed(world, one, "PUT", url, b"" if headers else b"x", headers).status for one in PRINCIPALS}
        assert got == by_role("maintainer", 200)
    assert {one: form(world, one, bucket, key).status for one in PRINCIPALS} == by_role("maintainer", 204)
    admin(world.server).put(world.names["private"], world.bytes["private"])


def test_a_name_is_overwritten_by_parts_by_maintainers_alone(world: World) -> None:
    """Who may create may begin an upload to any name, and learns at its end."""
    url = f"{world.server.url}/{world.names['private']}"
    for one in ("writer", "robot", "maintainer"):
        begun = re.search(rb"<UploadId>(\w+)<", signed(world, one, "POST", f"{url}?uploads").body)
        assert begun
        upload = f"uploadId={begun[1].decode()}"
        etag = signed(world, one, "PUT", f"{url}?partNumber=1&{upload}", b"x")["etag"]
        parts = PARTS.replace(b"<ETag>x<", f"<ETag>{etag}<".encode())
        assert signed(world, one, "POST", f"{url}?{upload}", parts).status == (200 if one == "maintainer" else 403)
    admin(world.server).put(world.names["private"], world.bytes["private"])


def test_a_missing_key_is_only_told_to_who_may_list(world: World) -> None:
    for place, expected in (
        ("private", by_role("reader", 404)), ("public", everyone(404)), ("area", everyone(403, robot=404)),
    ):  # fmt: skip
        for method in ("GET", "HEAD"):
            url = f"{world.server.url}/{world.names[place]}-{secrets.token_hex(4)}"
            assert {one: signed(world, one, method, url).status for one in PRINCIPALS} == expected


def test_a_copy_takes_the_right_to_read_its_source(world: World) -> None:
    """Of an object and of a part alike; the source answers as a GET of it would."""
    for query, least in (("", 200), (f"?partNumber=1&{UPLOAD}", 404)):
        for source, robot in (("private", least), ("area", least)):
            got = {}
            for one in ("writer", "robot"):
                url = f"{world.server.url}/{world.buckets['public']}/copy-{secrets.token_hex(4)}{query}"
                got[one] = signed(world, one, "PUT", url, b"", copy_of(world.names[source])).status
            assert got["robot"] == robot
            assert got["writer"] == (least if source == "private" or query else 403)


def test_the_bucket_of_digests_shows_what_one_may_read_by_some_name_and_nothing_else(world: World) -> None:
    """All else is nonsense, which nobody may tell from bytes that are there."""
    url = f"{world.server.url}/sha256"
    bytes_ = {place: secrets.token_bytes(16) for place in ("private", "public", "area")}
    for place in ("private", "public"):
        admin(world.server).put(f"{world.buckets[place]}/digest", bytes_[place])
    assert (
        DataApi(world.server, world.server.tokens[f"somebody-{world.tag}"]).put("digest", bytes_["area"]).status == 201
    )
    may_read = {"private": by_role("reader", 200), "public": everyone(200), "area": everyone(403, robot=200)}
    for place, one in itertools.product(bytes_, PRINCIPALS):
        there, none = hashlib.sha256(bytes_[place]).hexdigest(), secrets.token_hex(32)
        answer, nonsense = (signed(world, one, "GET", f"{url}/{hex_}") for hex_ in (there, none))
        assert nonsense.status == (403 if one in ("anonymous", "disabled") else 404)
        listed = signed(world, one, "GET", f"{url}?prefix={there}")
        assert listed.status == (403 if one in ("anonymous", "disabled") else 200)
        if may_read[place][one] == 200:
            assert answer.body == bytes_[place], (place, one)
        else:
            assert without_ids(answer, there) == without_ids(nonsense, none), (place, one)
        if listed.status == 200:
            assert (f"<Key>{there}</Key>".encode() in listed.body) == (may_read[place][one] == 200)


def without_ids(answer: Answer, *names: str) -> tuple[int, list[str], str]:
    text = answer.body.decode()
    for name in (*names, answer["x-amz-request-id"]):
        text = text.replace(name, "NAME")
    texts = re.sub("<(StringToSign|CanonicalRequest|Signature)[^<]*<", "<", text)
    return answer.status, [name for name, _ in answer.headers], texts


def test_nobody_writes_to_the_bucket_of_digests(world: World) -> None:
    url = f"{world.server.url}/sha256/{hashlib.sha256(b'x').hexdigest()}"
    for one in ("maintainer", "owner", "robot"):
        for method in ("PUT", "DELETE"):
            assert signed(world, one, method, url, b"x" if method == "PUT" else b"", {}).status == 405
