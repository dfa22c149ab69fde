"""Locked versions and who may take them away; versions that are deleted one by one, many at once, and by condition."""

import base64
import hashlib
from collections.abc import Mapping
from xml.sax.saxutils import escape

import pytest

from tests.asking import Answer
from tests.protocols.s3_people import BYPASS, DENIED, NOBODY, VERSIONS, People, at, code, new_people, tags
from tests.running import RunningServer

UNTIL = "2099-01-01T00:00:00Z"
GOVERNED = {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": UNTIL}
HELD = {"x-amz-object-lock-legal-hold": "ON"}
LOCK = b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"
PROTECTED = b"<Message>Access Denied because object protected by object lock.</Message>"
RIGHT = "s3:BypassGovernanceRetention"


@pytest.fixture(scope="module")
def people(server: RunningServer) -> People:
    return new_people(server)


@pytest.fixture
def bucket(people: People) -> str:
    """A bucket with object lock."""
    return people.bucket(x_amz_bucket_object_lock_enabled="true")


def delete_many(
    people: People, who: str, bucket: str, *objects: Mapping[str, str], headers: Mapping[str, str] | None = None
) -> Answer:
    """DeleteObjects of these."""
    items = ("".join(f"<{name}>{escape(text)}</{name}>" for name, text in one.items()) for one in objects)
    body = f"<Delete>{''.join(f'<Object>{item}</Object>' for item in items)}</Delete>".encode()
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    return people.ask(who, "POST", f"/{bucket}?delete", body, {"Content-MD5": md5, **(headers or {})})


def retention(until: str = UNTIL, mode: str = "GOVERNANCE") -> bytes:
    return f"<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>".encode()


def kept(people: People, bucket: str, key: str, version: str) -> bool:
    return people.ask("owner", "GET", f"/{bucket}/{key}?versionId={version}").status == 200


# --- who may pass over a lock ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["maintainer", "owner"])
def test_maintainers_pass_over_a_governance_lock_if_they_say_so(people: People, bucket: str, who: str) -> None:
    first, second = (people.version(bucket, "k", b"x", **GOVERNED) for _ in range(2))
    answer = people.ask(who, "DELETE", f"/{bucket}/k?versionId={first}")
    assert code(answer) == DENIED
    assert PROTECTED in answer.body
    assert people.ask(who, "DELETE", f"/{bucket}/k?versionId={first}", headers=BYPASS).status == 204
    refused = delete_many(people, who, bucket, {"Key": "k", "VersionId": second})
    assert (tags("Code", refused), kept(people, bucket, "k", second)) == (["AccessDenied"], True)
    assert PROTECTED in refused.body
    done = delete_many(people, who, bucket, {"Key": "k", "VersionId": second}, headers=BYPASS)
    assert (tags("VersionId", done), tags("Code", done)) == ([second], [])


def test_a_bucket_open_for_writing_lets_nobody_pass_over_a_lock(people: People) -> None:
    bucket = people.bucket(x_amz_bucket_object_lock_enabled="true", x_amz_acl="public-read-write")
    version = people.version(bucket, "k", b"x", **GOVERNED)
    for who in (NOBODY, "stranger", "writer"):
        assert people.ask(who, "DELETE", f"/{bucket}/k?versionId={version}", headers=BYPASS).status == 403
        answer = delete_many(people, who, bucket, {"Key": "k", "VersionId": version}, headers=BYPASS)
        assert answer.status == 403 or tags("Code", answer) == ["AccessDenied"]
        assert people.ask(who, "PUT", f"/{bucket}/k?retention", b"<Retention/>", BYPASS).status == 403
    assert kept(people, bucket, "k", version)


def test_a_guest_passes_over_a_lock_if_the_policy_lets_it_do_that_too(people: People, bucket: str) -> None:
    version = people.version(bucket, "k", b"x", **GOVERNED)
    where = f"/{bucket}/k?versionId={version}"
    people.allow_stranger(bucket, "s3:DeleteObjectVersion")
    assert code(people.ask("stranger", "DELETE", where, headers=BYPASS)) == DENIED
    assert kept(people, bucket, "k", version)
    people.allow_stranger(bucket, "s3:DeleteObjectVersion", RIGHT)
    assert code(people.ask("stranger", "DELETE", where)) == DENIED
    assert people.ask("stranger", "DELETE", where, headers=BYPASS).status == 204


@pytest.mark.parametrize("way", ["version", "many", "shorter", "none"])
def test_a_denial_of_passing_over_locks_holds_for_the_owner(people: People, bucket: str, way: str) -> None:
    version = people.version(bucket, "k", b"x", **GOVERNED)
    people.deny(bucket, RIGHT)
    where, whole = f"/{bucket}/k?retention", f"/{bucket}/k?versionId={version}"
    match way:
        case "version":
            assert code(people.ask("owner", "DELETE", whole, headers=BYPASS)) == DENIED
        case "many":
            answer = delete_many(people, "owner", bucket, {"Key": "k", "VersionId": version}, headers=BYPASS)
            assert tags("Code", answer) == ["AccessDenied"]
        case "shorter":
            assert code(people.ask("owner", "PUT", where, retention("2098-01-01T00:00:00Z"), BYPASS)) == DENIED
        case _:
            assert code(people.ask("owner", "PUT", where, b"<Retention/>", BYPASS)) == DENIED
    assert kept(people, bucket, "k", version)
    assert b"2099-01-01T00:00:00" in people.done("GET", where).body


def test_a_shorter_retention_takes_the_right_to_pass_over_it(people: People, bucket: str) -> None:
    people.version(bucket, "k", b"x", **GOVERNED)
    where, shorter = f"/{bucket}/k?retention", retention("2098-01-01T00:00:00Z")
    people.allow_stranger(bucket, "s3:PutObjectRetention")
    assert code(people.ask("stranger", "PUT", where, shorter, BYPASS)) == DENIED
    people.allow_stranger(bucket, "s3:PutObjectRetention", RIGHT)
    assert code(people.ask("stranger", "PUT", where, shorter)) == DENIED
    assert people.ask("stranger", "PUT", where, shorter, BYPASS).status == 200


def test_nothing_passes_over_a_legal_hold(people: People, bucket: str) -> None:
    version = people.version(bucket, "k", b"x", **HELD)
    answer = people.ask("owner", "DELETE", f"/{bucket}/k?versionId={version}", headers=BYPASS)
    assert code(answer) == DENIED
    assert PROTECTED in answer.body


# --- who may lock ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [GOVERNED, HELD], ids=["retention", "hold"])
@pytest.mark.parametrize("way", ["put", "copy", "parts"])
def test_maintainers_lock_what_they_write_and_writers_do_not(
    people: People, bucket: str, headers: Mapping[str, str], way: str
) -> None:
    people.done("PUT", f"/{bucket}/source", b"x")
    source = {"x-amz-copy-source": f"{bucket}/source"} if way == "copy" else {}
    for who, status in (("writer", 403), ("maintainer", 200), ("owner", 200)):
        method, query = ("POST", "?uploads") if way == "parts" else ("PUT", "")
        answer = people.ask(who, method, f"/{bucket}/{who}{query}", b"", {**source, **headers})
        assert answer.status == status, (who, answer)
    assert people.text(bucket, "writer") is None


@pytest.mark.parametrize(
    ("action", "headers"), [("s3:PutObjectRetention", GOVERNED), ("s3:PutObjectLegalHold", HELD)], ids=["ret", "hold"]
)
def test_a_denial_of_locks_holds_for_a_write_that_asks_for_one(
    people: People, bucket: str, action: str, headers: Mapping[str, str]
) -> None:
    people.deny(bucket, action)
    assert code(people.ask("owner", "PUT", f"/{bucket}/k", b"x", headers)) == DENIED
    assert people.ask("owner", "PUT", f"/{bucket}/k", b"x").status == 200


def test_locks_begin_where_versions_are_kept(people: People) -> None:
    bucket = people.bucket()
    assert code(people.ask("owner", "PUT", f"/{bucket}?object-lock", LOCK)) == (409, "InvalidBucketState")
    people.done("PUT", f"/{bucket}?versioning", VERSIONS.replace(b"Enabled", b"Suspended"))
    assert code(people.ask("owner", "PUT", f"/{bucket}?object-lock", LOCK)) == (409, "InvalidBucketState")
    people.done("PUT", f"/{bucket}?versioning", VERSIONS)
    people.done("PUT", f"/{bucket}?object-lock", LOCK)
    version = people.version(bucket, "k", b"x", **HELD)
    assert code(people.ask("owner", "DELETE", f"/{bucket}/k?versionId={version}")) == DENIED
    suspended = people.ask("owner", "PUT", f"/{bucket}?versioning", VERSIONS.replace(b"Enabled", b"Suspended"))
    assert code(suspended) == (409, "InvalidBucketState")


# --- versions that are deleted ---------------------------------------------------------------------------------------


def test_a_denial_of_deleting_versions_holds_for_many_at_once(people: People) -> None:
    bucket = people.versioned()
    version = people.version(bucket, "k")
    people.deny(bucket, "s3:DeleteObjectVersion")
    assert code(people.ask("owner", "DELETE", f"/{bucket}/k?versionId={version}")) == DENIED
    answer = delete_many(people, "owner", bucket, {"Key": "k", "VersionId": version}, {"Key": "k"})
    assert (tags("Code", answer), tags("DeleteMarker", answer)) == (["AccessDenied"], ["true"])
    assert kept(people, bucket, "k", version)


def test_a_denial_of_deleting_says_nothing_of_versions(people: People) -> None:
    bucket = people.versioned()
    version = people.version(bucket, "k")
    people.deny(bucket, "s3:DeleteObject")
    answer = delete_many(people, "owner", bucket, {"Key": "k"}, {"Key": "k", "VersionId": version})
    assert (tags("Code", answer), tags("VersionId", answer)) == (["AccessDenied"], [version])


def test_a_guest_may_delete_names_and_not_versions_where_it_may_write(people: People) -> None:
    bucket = people.versioned(x_amz_acl="public-read-write")
    version = people.version(bucket, "k")
    assert people.ask(NOBODY, "DELETE", f"/{bucket}/k?versionId={version}").status == 403
    answer = delete_many(people, NOBODY, bucket, {"Key": "k", "VersionId": version})
    assert tags("Code", answer) == ["AccessDenied"]
    assert kept(people, bucket, "k", version)


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_a_version_with_another_etag_is_kept(people: People, many: bool) -> None:
    bucket = people.versioned()
    first, second = people.version(bucket, "k", b"1"), people.version(bucket, "k", b"2")
    etags = {version: hashlib.md5(data).hexdigest() for version, data in ((first, b"1"), (second, b"2"))}
    for version, other in ((first, etags[second]), (second, etags[first]), (first, "nonsense")):
        if many:
            answer = delete_many(people, "owner", bucket, {"Key": "k", "VersionId": version, "ETag": other})
            assert tags("Code", answer) == ["PreconditionFailed"]
        else:
            answer = people.ask("owner", "DELETE", f"/{bucket}/k?versionId={version}", headers={"If-Match": other})
            assert code(answer) == (412, "PreconditionFailed")
        assert kept(people, bucket, "k", version)
    for version, etag in etags.items():
        if many:
            answer = delete_many(people, "owner", bucket, {"Key": "k", "VersionId": version, "ETag": etag})
            assert tags("VersionId", answer) == [version]
        else:
            where, headers = f"/{bucket}/k?versionId={version}", {"If-Match": f'"{etag}"'}
            assert people.ask("owner", "DELETE", where, headers=headers).status == 204
        assert not kept(people, bucket, "k", version)


@pytest.mark.parametrize("versioned", [False, True], ids=["plain", "versioned"])
def test_a_name_that_should_be_absent_is_not_deleted(people: People, versioned: bool) -> None:
    bucket = people.versioned() if versioned else people.bucket()
    people.done("PUT", f"/{bucket}/k", b"x")
    answer = people.ask("owner", "DELETE", f"/{bucket}/k", headers={"If-None-Match": "*"})
    assert code(answer) == (412, "PreconditionFailed")
    assert people.text(bucket, "k") == b"x"


IMPOSSIBLE = ["", "x" * 1025, "é" * 600, "r4nd0m" * 2000, "a\nb", "a\x7fb"]


@pytest.mark.parametrize("key", IMPOSSIBLE, ids=lambda key: repr(key[:9]))
def test_an_impossible_name_gets_no_marker(people: People, key: str) -> None:
    bucket = people.versioned()
    answer = delete_many(people, "owner", bucket, {"Key": key}, {"Key": "possible"})
    assert answer.status in (200, 400), answer
    if key and len(key) < 3000:
        assert people.ask("owner", "DELETE", at(bucket, key)).status in (204, 400)
    markers = people.done("GET", f"/{bucket}?versions")
    assert set(tags("Key", markers)) <= {"possible"}


@pytest.mark.parametrize("key", IMPOSSIBLE[1:3] + IMPOSSIBLE[4:], ids=lambda key: repr(key[:9]))
def test_an_impossible_name_is_nothing_that_can_be_read(people: People, key: str) -> None:
    bucket = people.versioned()
    for method, query in (("GET", ""), ("HEAD", ""), ("GET", "tagging"), ("GET", "versionId=" + "0" * 16)):
        assert people.ask("owner", method, at(bucket, key, query)).status in (400, 404)


# --- documents -------------------------------------------------------------------------------------------------------


DOCUMENTS = "cors lifecycle tagging policy versioning object-lock publicAccessBlock ownershipControls".split()


@pytest.mark.parametrize("word", DOCUMENTS)
def test_a_document_that_is_empty_is_missing(people: People, word: str) -> None:
    bucket = people.versioned()
    assert code(people.ask("owner", "PUT", f"/{bucket}?{word}")) == (400, "MissingRequestBodyError")
