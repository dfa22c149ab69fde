"""Whatever is asked, the answer is a registry's: the right code, the same headers, and never a fault of ours."""

import json
import re
import secrets
from urllib.parse import quote, urlsplit

import pytest

from tests.asking import exchange
from tests.image_sets import GZIP, MANIFEST, DataSet, push, pushed_image
from tests.registry import Client, People, codes, digest_of, new_name, new_people, new_user
from tests.running import RunningServer

DIGEST = digest_of(b"nothing here")
BAD_NAMES = (
    "Upper", "a--", "-a", "a..b", "a__-b", "a_", ".a", "a/", "/a", "a//b", "a/-b", "é", "a b", "a:b", "a+b", "x" * 256,
    "a/" * 127 + "ab", "a___b", "a\\b", "a~b",
)  # fmt: skip
GOOD_NAMES = ("a", "0", "a.b", "a_b", "a__b", "a-b", "a---b", "a/b/c", "a0/b.c_d-e", "x" * 240)


def quoted(name: str) -> str:
    """In a path, its slashes as they are."""
    return quote(name, safe="/:+~\\")


# --- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_cannot_be_one_is_told_so(server: RunningServer, name: str) -> None:
    client = Client(server, server.admin_token, quoted(name))
    client.refused("POST", "blobs/uploads/", 400, "NAME_INVALID", b"")
    client.refused("PUT", "manifests/one", 400, "NAME_INVALID", b"{}", {"Content-Type": MANIFEST})
    for path in ("tags/list", "manifests/one", f"blobs/{DIGEST}", f"referrers/{DIGEST}"):
        client.refused("GET", path, 400, "NAME_INVALID")
        client.done("HEAD", path, 400)


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_all_names_of_the_grammar_are_good(people: People, name: str) -> None:
    client = people.client().at(f"{people.project}/{name}")
    image = pushed_image(client, "one")
    assert client.done("GET", "manifests/one", 200).body == image.data
    assert "one" in client.tags()


@pytest.mark.parametrize(
    "word", ["manifests", "blobs", "tags", "uploads", "referrers", "token", "list", "v2", "images"]
)
def test_words_of_the_protocol_may_be_names(people: People, word: str) -> None:
    for name in (f"{people.project}/{word}", f"{people.project}/{word}/{word}/x"):
        client = people.client().at(name)
        image = pushed_image(client, "list")
        assert client.done("GET", "manifests/list", 200).body == image.data
        assert client.tags() == ["list"]


@pytest.mark.parametrize(
    "path",
    [
        "a/../b/tags/list", "../v2/a/tags/list", "a/%2e%2e/tags/list", "a%2Fb/tags/list", "a/tags%2Flist",
        "a/manifests/..", "a/manifests/%2E%2E", "a/manifests/x%2Fy", f"a/blobs/..%2F{DIGEST}", "a/blobs/%2e%2e",
        "a/manifests/x%00", "a%00/tags/list", "a/blobs/uploads/..", "a/blobs/uploads/%2F", "a/manifests/",
        "a/blobs/", "a/referrers/", "a/tags", "a/tags/list/", "a/nonsense", "a", "a/b/c", "manifests/one", "tags/list",
        "blobs/uploads/", "a/manifests/one/two", "_catalog/", "token/", "/", "//", "a/tags/list/x",
    ],
)  # fmt: skip
def test_a_path_that_leads_nowhere_is_not_found(server: RunningServer, path: str) -> None:
    client = Client(server, server.admin_token)
    answer = client.done("GET", f"/v2/{path}", 404)
    assert len(codes(answer)) == 1
    assert codes(answer)[0] in ("NAME_UNKNOWN", "BLOB_UPLOAD_UNKNOWN")
    client.done("HEAD", f"/v2/{path}", 404)


@pytest.mark.parametrize("path", ["a%ff/tags/list", "a/manifests/%c3%28", "%zz/tags/list", "a/manifests/%"])
def test_a_path_that_is_no_text_is_no_fault_of_ours(server: RunningServer, path: str) -> None:
    assert Client(server, server.admin_token).ask("GET", f"/v2/{path}").status in (400, 404)


@pytest.mark.parametrize("query", ["n=%ff", "n=%00", "last=%00", "last=%ff", "&".join(["a=b"] * 1001)])
def test_a_query_that_is_no_text_is_refused(client: Client, query: str) -> None:
    client.push(b"{}")
    client.refused("GET", f"tags/list?{query}", 400, "UNSUPPORTED")


ALLOWED = {
    "/v2/": {"GET", "HEAD"},
    "/v2": {"GET", "HEAD"},
    "/v2/_catalog": {"GET", "HEAD"},
    "/v2/token": {"GET", "HEAD", "POST"},
    "tags/list": {"GET", "HEAD"},
    "manifests/one": {"GET", "HEAD", "PUT", "DELETE"},
    f"blobs/{DIGEST}": {"GET", "HEAD", "DELETE"},
    "blobs/uploads": {"POST"},
    "blobs/uploads/": {"POST"},
    f"blobs/uploads/{'0' * 32}": {"GET", "HEAD", "PUT", "PATCH", "DELETE"},
    f"referrers/{DIGEST}": {"GET", "HEAD"},
}


@pytest.mark.parametrize("path", ALLOWED)
def test_another_method_is_told_which_there_are(client: Client, path: str) -> None:
    client.push(b"{}")
    for method in {"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"} - ALLOWED[path]:
        body = b"" if method in ("PUT", "POST", "PATCH") else None
        answer = client.refused(method, path, 405, "UNSUPPORTED", body)
        assert set(answer["allow"].split(", ")) == ALLOWED[path], method


def test_head_is_get_without_a_body(client: Client) -> None:
    image = pushed_image(client, "one")
    blob = image.data.partition(b'"digest": "')[2].partition(b'"')[0].decode()
    for path in ("/v2/", "/v2/_catalog", "tags/list", "manifests/one", f"blobs/{blob}", f"referrers/{image.digest}"):
        got, head = client.done("GET", path, 200), client.done("HEAD", path, 200)
        for name in ("content-type", "content-length"):
            assert got[name] == head[name], path
        assert head.body == b""


def test_the_error_of_a_head_has_no_body_on_the_wire(server: RunningServer) -> None:
    host, token = urlsplit(server.url).netloc, server.admin_token
    head = f"HEAD /v2/{new_name()}/manifests/x HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
    found = exchange(server, f"{head}Connection: close\r\n\r\n".encode())
    assert found.startswith(b"HTTP/1.1 404 ")
    assert found.partition(b"\r\n\r\n")[2] == b""


def test_two_proofs_are_refused(server: RunningServer) -> None:
    host = urlsplit(server.url).netloc
    lines = f"GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    proof = f"Authorization: Bearer {server.admin_token}\r\n"
    found = exchange(server, f"{lines}{proof}{proof}\r\n".encode())
    assert found.startswith(b"HTTP/1.1 400 ")
    assert json.loads(found.partition(b"\r\n\r\n")[2])["errors"][0]["code"] == "UNSUPPORTED"


@pytest.mark.parametrize("value", [b"Basic \xff", b"Bearer \xff", b"\xff", b"Basic \xc3\xa9"])
def test_a_proof_beyond_ascii_is_a_wrong_one(server: RunningServer, value: bytes) -> None:
    host = urlsplit(server.url).netloc.encode()
    sent = b"GET /v2/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nAuthorization: %s\r\n\r\n" % (host, value)
    assert exchange(server, sent).startswith(b"HTTP/1.1 401 ")


def test_an_error_names_no_place_of_ours(client: Client, people: People) -> None:
    client.push(b"{}")
    for path in ("manifests/x", f"blobs/{DIGEST}", "blobs/uploads/x", "nonsense"):
        answer = client.done("GET", path, 404)
        assert str(people.server.data).encode() not in answer.body
        assert answer["x-content-type-options"] == "nosniff"


# --- referrers of nothing --------------------------------------------------------------------------------------------


def test_of_a_repository_or_subject_nobody_knows_there_are_no_referrers(client: Client, algorithm: str) -> None:
    digest = digest_of(secrets.token_bytes(3), algorithm)
    for at in (client, client.beside()):
        assert at.referrers(digest) == []
        assert at.referrers(digest, "?artifactType=x") == []
        client.push(b"{}")


# --- room ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(server: RunningServer) -> Client:
    """A project of 100,000 bytes."""
    project = new_name()
    server.call("POST", "/projects", {"name": project, "quota": 100_000})
    return Client(server, new_user(server, project, "maintainer"), f"{project}/r")


def test_what_is_over_the_quota_is_denied_with_numbers(small: Client) -> None:
    data = secrets.token_bytes(100_001)
    digest = digest_of(data)
    upload = small.begin()
    answers = [
        small.refused("POST", f"blobs/uploads/?digest={digest}", 403, "DENIED", data),
        small.refused("PATCH", upload, 403, "DENIED", data),
        small.refused("PUT", f"{upload}?digest={digest}", 403, "DENIED", data),
    ]
    assert not small.has(digest)
    small.done("DELETE", upload, 204)
    for answer in answers:
        assert re.search(r"\d", json.dumps(answer.json["errors"][0].get("detail"))), answer


def test_what_is_pushed_over_and_over_fills_the_quota_once(small: Client) -> None:
    data = secrets.token_bytes(40_000)
    for _ in range(3):
        small.push(data)
        small.end(small.begin(), digest_of(data), data)
    small.push(secrets.token_bytes(40_000))


def test_what_is_deleted_makes_room_at_once(small: Client) -> None:
    for _ in range(3):
        digest = small.push(secrets.token_bytes(90_000))
        small.done("DELETE", f"blobs/{digest}", 202)
    image = pushed_image(small)
    small.done("DELETE", f"manifests/{image.digest}", 202)
    small.push(secrets.token_bytes(90_000))


def test_a_cancelled_upload_makes_room_at_once(small: Client) -> None:
    for _ in range(3):
        upload = small.begin()
        small.append(upload, secrets.token_bytes(90_000), 90_000)
        small.done("DELETE", upload, 204)


def test_a_push_into_a_project_that_is_nearly_full_says_so(small: Client) -> None:
    made = DataSet()
    big = made.image([made.blob(GZIP, secrets.token_bytes(85_000))], tags=())
    for data in made.blobs.values():
        small.push(data)
    warning = small.put(big.digest, big.data, MANIFEST)["warning"]
    assert re.fullmatch(r'299 - "[^"]*8\d%[^"]*"', warning), warning
    small.done("DELETE", f"manifests/{big.digest}", 202)
    for digest in made.blobs:
        small.done("DELETE", f"blobs/{digest}", 202)
    little = DataSet()
    image = little.image([little.blob(GZIP)])
    push(small, little)
    assert "warning" not in small.put(image.digest, image.data, MANIFEST)


def test_a_quota_that_is_full_is_no_reason_not_to_delete(server: RunningServer) -> None:
    client = new_people(server).client()
    image = pushed_image(client, "one")
    project = client.name.partition("/")[0]
    server.call("PUT", f"/projects/{project}", {"name": project, "quota": 1})
    client.refused("POST", f"blobs/uploads/?digest={digest_of(b'abc')}", 403, "DENIED", b"abc")
    client.done("DELETE", f"manifests/{image.digest}", 202)
