"""What a review found in the registry's core: bytes that come in turns, what comes back, whose names are whose."""

import http.client
import json
import secrets
import socket
import time
from urllib.parse import urlsplit

import pytest

from tests.asking import Answer, answer_of, ask, someone
from tests.image_sets import DataSet, push, pushed_image
from tests.registry import Client, People, codes, digest_of, new_name, new_user
from tests.running import RunningServer

FEW = secrets.token_bytes(10)
MANY = secrets.token_bytes(100_000)
MORE = secrets.token_bytes(200_000)


def open_wire(client: Client, target: str, length: int, method: str = "PATCH") -> socket.socket:
    """A connection on which the head of an upload's request of that length went out."""
    parts = urlsplit(client.server.url)
    wire = socket.create_connection((str(parts.hostname), parts.port or 80), 10)
    head = f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {client.token}\r\n"
    wire.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
    return wire


def answer_on(wire: socket.socket) -> Answer:
    response = http.client.HTTPResponse(wire)
    response.begin()
    return answer_of(response)


def offset_of(client: Client, upload: str) -> int:
    return int(client.done("GET", upload, 204)["upload-offset"])


def read(client: Client, data: bytes) -> None:
    """The repository has just these bytes."""
    assert client.done("GET", f"blobs/{digest_of(data)}", 200).body == data


# --- few bytes, then many --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranged", [True, False])
@pytest.mark.parametrize("looking", [True, False])
def test_an_upload_that_begins_small_grows_large(client: Client, ranged: bool, looking: bool) -> None:
    upload = client.begin()
    client.append(upload, FEW, 10, "0-9" if ranged else None)
    if looking:
        assert offset_of(client, upload) == 10
    client.append(upload, MANY, 100_010, "10-100009" if ranged else None)
    if looking:
        assert offset_of(client, upload) == 100_010
    client.end(upload, digest_of(FEW + MANY))
    read(client, FEW + MANY)


@pytest.mark.parametrize("ranged", [True, False])
def test_many_bytes_may_come_behind_few_with_the_closing_put(client: Client, ranged: bool) -> None:
    upload = client.begin()
    client.append(upload, FEW, 10)
    headers = {"Content_Range": "10-100009"} if ranged else {}
    client.end(upload, digest_of(FEW + MANY), MANY, **headers)
    read(client, FEW + MANY)


def test_an_upload_grows_step_by_step_across_what_a_row_holds(client: Client) -> None:
    upload, sent = client.begin(), b""
    for size in (1, 65_534, 1, 1, 10, 70_000, 5):
        piece = secrets.token_bytes(size)
        client.append(upload, piece, len(sent) + size, f"{len(sent)}-{len(sent) + size - 1}")
        sent += piece
        assert offset_of(client, upload) == len(sent)
    client.end(upload, digest_of(sent))
    read(client, sent)


def test_many_bytes_that_the_quota_refuses_leave_the_few_as_they_are(server: RunningServer) -> None:
    project = new_name()
    server.call("POST", "/projects", {"name": project, "quota": 150_000})
    client = Client(server, new_user(server, project, "maintainer"), f"{project}/r")
    upload = client.begin()
    client.append(upload, FEW, 10)
    for _ in range(2):
        client.refused("PATCH", upload, 403, "DENIED", MORE)
        assert offset_of(client, upload) == 10
    client.append(upload, MANY, 100_010, "10-100009")
    client.end(upload, digest_of(FEW + MANY))
    read(client, FEW + MANY)


# --- who sends last --------------------------------------------------------------------------------------------------


def test_few_bytes_are_cut_by_many_that_began_later_and_ended_first(client: Client) -> None:
    upload = client.begin()
    with open_wire(client, upload, 10) as older:
        older.sendall(FEW[:5])
        time.sleep(0.3)
        client.append(upload, MORE, len(MORE))
        older.sendall(FEW[5:])
        answer = answer_on(older)
    assert (answer.status, codes(answer)) == (416, ["BLOB_UPLOAD_INVALID"])
    assert answer["upload-offset"] == str(len(MORE))
    assert offset_of(client, upload) == len(MORE)
    client.end(upload, digest_of(MORE))
    read(client, MORE)


def test_few_bytes_are_cut_by_many_that_began_later_and_go_on(client: Client) -> None:
    upload = client.begin()
    with open_wire(client, upload, 10) as older:
        older.sendall(FEW[:5])
        time.sleep(0.3)
        with open_wire(client, upload, len(MORE)) as newer:
            newer.sendall(MORE[:100_000])
            time.sleep(0.3)
            older.sendall(FEW[5:])
            answer = answer_on(older)
            assert (answer.status, codes(answer)) == (416, ["BLOB_UPLOAD_INVALID"])
            newer.sendall(MORE[100_000:])
            assert (done := answer_on(newer)).status == 202, done
            assert done["upload-offset"] == str(len(MORE))
    client.end(upload, digest_of(MORE))
    read(client, MORE)


@pytest.mark.parametrize("size", [10, 200_000])
def test_an_upload_that_is_cancelled_is_unknown_to_who_still_sends(client: Client, size: int) -> None:
    upload, data = client.begin(), MORE[:size]
    with open_wire(client, upload, size) as wire:
        wire.sendall(data[: size // 2])
        time.sleep(0.3)
        client.done("DELETE", upload, 204)
        wire.sendall(data[size // 2 :])
        answer = answer_on(wire)
    assert (answer.status, codes(answer)) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    client.refused("GET", upload, 404, "BLOB_UPLOAD_UNKNOWN")


# --- what comes back -------------------------------------------------------------------------------------------------


def test_a_tag_of_an_index_comes_back_with_all_that_it_names(client: Client) -> None:
    made = DataSet()
    children = [made.image(tags=()), made.image(tags=())]
    inner = made.index(children, ())
    outer = made.index([inner, made.image(tags=())], ("index",))
    push(client, made)
    for one in reversed(made.manifests):
        client.done("DELETE", f"manifests/{one.digest}", 202)
    for one in made.manifests:
        client.done("GET", f"manifests/{one.digest}", 404)
    client.server.call("POST", f"/undelete/{client.name}", {"reference": "index"}, token=client.token)
    assert client.done("GET", "manifests/index", 200).body == outer.data
    for one in made.manifests:
        assert client.done("GET", f"manifests/{one.digest}", 200).body == one.data
    for digest, data in made.blobs.items():
        assert client.done("GET", f"blobs/{digest}", 200).body == data


# --- deep indexes ----------------------------------------------------------------------------------------------------


def test_what_a_deep_index_of_another_repository_names_comes_along(client: Client) -> None:
    made = DataSet()
    top = made.image(tags=())
    for _ in range(100):
        top = made.index([top], ())
    push(client, made)
    other = client.beside()
    outer = DataSet().index([top], ())
    other.put("outer", outer.data, outer.media_type)
    for one in made.manifests:
        assert other.has(one.digest, "manifests")


# --- whose names are whose -------------------------------------------------------------------------------------------


@pytest.fixture
def private(server: RunningServer) -> str:
    """What a registry would call an object in the area of a user."""
    name = new_name()
    file = f"{new_name()}.bin"
    assert someone(server, name=name).put(file, b"private").status == 201
    found = server.call("GET", f"/objects/prominence-data?prefix=uploads/{name}/")["objects"]
    keys = [one["key"] for one in found]
    assert keys == [f"uploads/{name}/{file}"], found
    return f"prominence-data/{keys[0]}"


@pytest.mark.parametrize("who", ["stranger", "anonymous", "writer of default"])
def test_a_private_object_is_answered_as_one_that_is_missing(
    server: RunningServer, people: People, private: str, who: str
) -> None:
    token = new_user(server, "default", "writer") if who == "writer of default" else people.tokens[who]
    there = Client(server, token, private)
    missing = there.at(private.replace(".bin", "x.bin"))
    blob = digest_of(b"private")
    paths = ("manifests/latest", f"manifests/{blob}", f"blobs/{blob}", "tags/list", f"referrers/{blob}")
    calls = [("DELETE", "manifests/latest"), ("DELETE", f"manifests/{blob}"), ("DELETE", f"blobs/{blob}")]
    calls += [(method, path) for path in paths for method in ("GET", "HEAD")]
    calls += [("POST", "blobs/uploads/"), ("PUT", "manifests/latest")]
    for method, path in calls:
        body = b"" if method in ("POST", "PUT") else None
        answers = [one.ask(method, path, body) for one in (there, missing)]
        assert answers[0].status == answers[1].status, (method, path, answers)
        assert answers[0].status >= 400 or path.startswith("referrers/"), (method, path, answers)
        if answers[0].status >= 400 and answers[0].body:
            assert codes(answers[0]) == codes(answers[1]), (method, path, answers)
    shown = []
    for one in (there, missing):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = ask(f"{server.url}/api/v1/repositories/{one.name}", headers=headers)
        shown.append((answer.status, json.loads(answer.body)["code"]))
    assert shown[0] == shown[1]
    assert shown[0][0] >= 400


def test_nobody_pushes_below_a_bucket_of_the_servers_own(server: RunningServer, private: str) -> None:
    client = Client(server, new_user(server, "default", "writer"))
    image = pushed_image(client.at(new_name()), "one")
    taken = digest_of(b"private").partition(":")[2]
    names = [private, f"{private}x", "prominence-data/a", "oci/a", "oci/a/one/b", "sha256/a", f"sha256/{taken}"]
    for name in [*names, *(f"default/{name}" for name in names)]:
        at = client.at(name)
        at.refused("POST", "blobs/uploads/", 409, "DENIED", b"")
        at.refused("POST", f"blobs/uploads/?digest={digest_of(FEW)}", 409, "DENIED", FEW)
        at.refused("POST", f"blobs/uploads/?mount={image.digest}", 409, "DENIED", b"")
        at.refused("PUT", "manifests/one", 409, "DENIED", image.data, {"Content-Type": image.media_type})


def test_the_bucket_of_images_is_no_repository(server: RunningServer) -> None:
    client = Client(server, new_user(server, "default", "writer"), new_name())
    image = pushed_image(client, "one")
    for name in (f"oci/{client.name}/one/manifest.json", f"oci/{client.name}", f"oci/{client.name}/one", "oci/a"):
        for path in ("manifests/latest", "manifests/one", f"manifests/{image.digest}", "tags/list"):
            client.at(name).done("GET", path, 404)
        client.at(name).done("GET", f"blobs/{image.digest}", 404)
