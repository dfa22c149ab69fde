"""Every route of `/api/v1` once with success, in the shape it declares; every kind of refusal as a problem document."""

import json
import re
import secrets
from pathlib import Path
from typing import Any

import msgspec
import pytest

from entrepot import shapes
from entrepot.protocols.api.requests import ROUTES
from tests.asking import ask
from tests.calling import Api, admin, bucket, content_digest, decoded, problem, route_of, sha256, user
from tests.running import RunningServer, running_server


def test_every_route_succeeds_in_the_shape_it_declares(server: RunningServer) -> None:
    """One walk through the whole table: what one line makes the next uses."""
    api, called = admin(server), set()
    tag = secrets.token_hex(4)
    digest = f"sha256:{sha256(b'some bytes')}"

    def call(method: str, path: str, body: object = None, status: int = 200) -> Any:
        answer = api.ask(method, path, body)
        inside = path.removeprefix(f"{server.url}/api/v1")
        route = route_of(method, inside)
        assert answer.status == status, (method, path, answer)
        called.add((method, route.path))
        return decoded(answer, route)

    assert call("GET", "/openapi.json")["openapi"] == "3.1.0"
    assert call("GET", "/me").name == "admin"
    # accounts
    call("POST", "/users", {"name": f"u-{tag}", "password": "a long enough word"}, 201)
    assert f"u-{tag}" in {one.name for one in call("GET", "/users")}
    assert call("PUT", f"/users/u-{tag}", {"admin": True}).admin
    assert not call("POST", f"/users/u-{tag}", {"admin": False}).admin
    token = call("POST", "/login", {"user": f"u-{tag}", "password": "a long enough word"}, 201)
    assert token.user == f"u-{tag}"
    made = call("POST", "/tokens", {"user": f"u-{tag}", "groups": ["g"], "job": "j", "expires": "10m"}, 201)
    assert {token.jti, made.jti} <= {one.jti for one in call("GET", "/tokens")}
    call("DELETE", f"/tokens/{made.jti}", status=204)
    # projects
    call("POST", "/projects", {"name": f"p-{tag}", "quota": 1000}, 201)
    assert call("PUT", f"/projects/p-{tag}", {"name": f"p-{tag}", "quota": None}).quota is None
    assert call("POST", f"/projects/p-{tag}", {"name": f"p-{tag}", "quota": 5000}).quota == 5000
    assert f"p-{tag}" in {one.name for one in call("GET", "/projects")}
    call("PUT", "/roles", {"principal": f"u-{tag}", "project": f"p-{tag}", "role": "reader"})
    call("POST", "/roles", {"principal": f"u-{tag}", "project": f"p-{tag}", "role": "writer"})
    assert shapes.RoleShape(f"u-{tag}", f"p-{tag}", "writer") in call("GET", "/roles")
    robot = call("POST", "/robots", {"name": f"r-{tag}", "project": f"p-{tag}", "role": "reader"}, 201)
    assert robot.name == f"r-{tag}"
    assert {one.project for one in call("GET", "/robots") if one.name == robot.name} == {f"p-{tag}"}
    key = call("POST", "/keys", {"principal": f"u-{tag}", "project": f"p-{tag}"}, 201)
    assert key.secret
    assert {one.access: one.secret for one in call("GET", "/keys")}[key.access] is None
    # objects
    name = f"box-{tag}"
    assert not call("PUT", f"/buckets/{name}", {}, 201).public
    assert call("PUT", f"/buckets/{name}", {"public": True}, 200).public
    call("POST", f"/buckets/other-{tag}", {}, 201)
    call("POST", f"/buckets/other-{tag}", {}, 200)
    assert {name, f"other-{tag}"} <= {one.name for one in call("GET", "/buckets")}
    assert call("PUT", f"/objects/{name}/a", b"some bytes", 201).size == 10
    assert call("POST", f"/objects/{name}/b", b"some bytes", 201).sha256 == sha256(b"some bytes")
    assert call("GET", f"/objects/{name}/a") == b"some bytes"
    assert call("HEAD", f"/objects/{name}/a") == b""
    assert {one.key for one in call("GET", f"/objects/{name}").objects} == {"a", "b"}
    assert call("GET", f"/inspect/{name}/a").digest == digest
    assert call("GET", f"/blobs/{digest}") == b"some bytes"
    assert call("HEAD", f"/blobs/{digest}") == b""
    link = call("POST", "/links", {"ref": f"object:{name}/a"}, 201)
    assert (link.digest, link.size) == (digest, 10)
    assert ask(link.url).body == b"some bytes"
    # repositories: an index of nothing is the smallest image
    index, images = b'{"schemaVersion":2,"manifests":[]}', f"{server.url}/v2/images-{tag}/manifests/t"
    headers = {"Authorization": f"Bearer {api.token}", "Content-Type": "application/vnd.oci.image.index.v1+json"}
    assert ask(images, "PUT", index, headers).status == 201
    assert f"images-{tag}" in call("GET", "/repositories").repositories
    assert not call("GET", f"/repositories/images-{tag}").public
    assert call("PUT", f"/repositories/images-{tag}", {"public": True}).public
    assert call("POST", f"/repositories/images-{tag}", {"immutable_tags": ["v*"]}).immutable_tags == ["v*"]
    assert ask(images, "DELETE", None, headers).status == 202
    assert call("POST", f"/undelete/images-{tag}", {"reference": "t"}).digest == f"sha256:{sha256(index)}"
    moves = call("GET", f"/tag-moves/images-{tag}?tag=t")
    assert [one.digest is None for one in moves] == [False, True, False]
    # uploads
    upload = call("POST", "/uploads", {"to": f"{name}/c", "size": 6}, 201)
    assert call("POST", "/uploads", {"to": f"{name}/c", "size": 6}, 200) == upload
    call("PUT", f"{upload.url}/0", b"abc", 204)
    call("POST", f"{upload.url}/3", b"def", 204)
    assert [(one.start, one.stop) for one in call("GET", upload.url).have] == [(0, 3), (3, 6)]
    assert call("POST", f"{upload.url}/commit", {"size": 6}, 201).object.key == "c"
    there = call("POST", "/uploads", {"to": f"{name}/d", "sha256": digest}, 200)
    assert (there.object.size, there.sent) == (10, False)
    dropped = call("POST", "/uploads", {"to": f"{name}/e"}, 201)
    call("DELETE", dropped.url, status=204)
    # and back
    call("DELETE", f"/objects/{name}/a", status=204)
    call("DELETE", f"/buckets/other-{tag}", status=204)
    call("DELETE", f"/keys/{key.access}", status=204)
    call("DELETE", f"/robots/r-{tag}", status=204)
    call("DELETE", f"/roles/p-{tag}/u-{tag}", status=204)
    call("DELETE", f"/projects/p-{tag}", status=204)
    call("DELETE", f"/users/u-{tag}", status=204)
    assert called == {(method, route.path) for route in ROUTES for method in route.methods.split()}


def test_a_partial_and_an_unmodified_answer_are_of_the_table_too(server: RunningServer) -> None:
    api, name = admin(server), bucket(server)
    api.put(f"{name}/a", b"0123456789")
    assert api.done("GET", f"/objects/{name}/a", None, 206, {"Range": "bytes=2-4"}) == b"234"
    assert api.done("GET", f"/objects/{name}/a", None, 304, {"If-None-Match": "*"}) is None


def test_every_kind_of_refusal_has_its_status_and_code(server: RunningServer) -> None:
    api, name = admin(server), bucket(server)
    api.put(f"{name}/a", b"0123456789")
    digest, at = content_digest(b"something else"), f"/objects/{name}/a"
    tag = secrets.token_hex(4)
    api.done("POST", "/projects", {"name": f"small-{tag}", "quota": 5}, 201)
    api.done("PUT", "/roles", {"principal": "admin", "project": f"small-{tag}", "role": "owner"})
    api.done("PUT", f"/buckets/small-{tag}:box", {}, 201)
    seen = {
        (found.status, found.code)
        for found in (
            api.refused("PUT", "/buckets/A", {}),
            api.refused("GET", at, None, {"Range": "bytes=10-"}),
            api.refused("GET", f"/objects/{name}/none"),
            Api(server).refused("GET", at),
            Api(server, "no.valid.token").refused("GET", at),
            user(server, "reader")[1].refused("DELETE", at),
            api.refused("PUT", f"/objects/{name}/b", b"bytes", {"Content-Digest": digest}),
            api.refused("POST", "/projects", {"name": "default"}),
            api.refused("PUT", at, b"x", {"If-None-Match": "*"}),
            api.refused("PUT", f"/objects/small-{tag}:box/a", b"123456"),
            api.refused("POST", "/users", b"", {"Content-Length": str((4 << 20) + 1)}),
            api.refused("DELETE", "/me"),
            api.refused("POST", "/uploads", b"{}", {"Content-Type": "text/plain"}),
        )
    }
    assert seen == {
        (400, "usage"), (416, "usage"), (404, "not-found"), (401, "denied"), (403, "denied"), (422, "checksum"),
        (409, "conflict"), (412, "conflict"), (413, "limit"), (405, "refused"), (415, "usage"),
    }  # fmt: skip
    api.done("DELETE", f"/buckets/small-{tag}:box", None, 204)
    api.done("DELETE", f"/projects/small-{tag}", None, 204)


def test_a_full_disk_is_507_and_a_fault_of_ours_500_with_nothing_but_a_request_id(tmp_path: Path) -> None:
    environ = {"ENTREPOT_FAILPOINT": "upload.staged:errno=EIO", "ENTREPOT_RESERVE_BYTES": str(64 << 20)}
    with running_server(tmp_path / "data", environ=environ) as own:
        api = admin(own)
        api.done("PUT", "/buckets/box", {}, 201)
        upload = api.begin("box/a", size=1 << 20)
        found = problem(api.part(upload, 0, b"part", 500))
        assert (found.status, found.code, found.why) == (500, "failed", "")
        assert found.message == f"something went wrong here; request {found.request_id}"
        api.part(upload, 0, b"part")
        api.done("DELETE", upload.url, None, 204)
        assert api.done("GET", "/projects")[0].reserved == 0
    with running_server(tmp_path / "data", environ={"ENTREPOT_RESERVE_BYTES": str(1 << 60)}) as full:
        api = Api(full, own.admin_token)
        found = api.refused("PUT", "/objects/box/a", bytes(100_000))
        assert (found.status, found.code) == (507, "limit")
        assert api.refused("POST", "/uploads", {"to": "box/a", "size": 1 << 20}).status == 507
        assert api.done("GET", "/objects/box").objects == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b'"text"', b"{", b'{"user": "a", "user": "b", "password": "c"}', b'{"user": "a"}',
        b'{"user": 1, "password": "b"}', b'{"user": "a", "password": "b", "seconds": NaN}',
        b'{"user": "a", "password": "b", "seconds": 1e400}', b'{"user": "\xff", "password": "b"}',
        b'{"user": "\\ud800", "password": "b"}', b'{"user": "a", "password": "\\udfff"}',
        b'{"user": "a", "password": "b", "more": ' + b"[" * 70 + b"]" * 70 + b"}",
        '{"user": "a", "password": "b"}'.encode("utf-16"), b"\xef\xbb\xbf{}",
    ],
    ids=range(15),
)  # fmt: skip
def test_a_body_that_is_no_clean_json_is_refused(server: RunningServer, body: bytes) -> None:
    found = problem(Api(server).ask("POST", "/login", body, {"Content-Type": "application/json"}))
    assert (found.status, found.code) == (400, "usage")


@pytest.mark.parametrize("path", ["/nothing", "/", "/uploads/a/b/c", "/me/", "/objects", "/objects/b/", "//me"])
def test_a_path_that_means_nothing_is_a_problem_document(server: RunningServer, path: str) -> None:
    found = admin(server).refused("GET", path)
    assert (found.status, found.code) == (404, "not-found")


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
def test_another_method_names_those_the_path_has(server: RunningServer, path: str) -> None:
    there = re.sub(r"{.*?}", "1", path)
    answer = admin(server).ask("PATCH", f"/{there}")
    assert (answer.status, problem(answer).code) == (405, "refused")
    methods = {method for route in ROUTES if route.path == path for method in route.methods.split()}
    assert methods <= set(answer["allow"].split(", "))


@pytest.mark.parametrize("query", ["limit=x", "limit=-1", "limit=1&limit=2", "limit=9999999999999999999", "prefix=%FF"])
def test_a_query_that_cannot_be_read_is_refused(server: RunningServer, query: str) -> None:
    assert admin(server).refused("GET", f"/objects/{bucket(server)}?{query}").status == 400


def test_two_authorization_headers_are_refused(server: RunningServer) -> None:
    pair = ("Authorization", f"Bearer {server.admin_token}")
    answer = ask(f"{server.url}/api/v1/me", headers=[pair, pair])
    assert problem(answer).status == 400


@pytest.mark.parametrize("value", ["Bearer", "Bearer a b", "a.b.c", "Bearer a.b.c"])
def test_a_proof_that_cannot_be_read_is_401_even_where_anonymous_may(server: RunningServer, value: str) -> None:
    name = bucket(server, public=True)
    admin(server).put(f"{name}/a", b"open")
    answer = ask(f"{server.url}/api/v1/objects/{name}/a", headers={"Authorization": value})
    assert problem(answer).status == 401
    assert answer["www-authenticate"] == "Bearer"


def test_the_openapi_document_describes_every_route(server: RunningServer) -> None:
    document = json.loads(Api(server).ask("GET", "/openapi.json").body)
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert described == {
        (method, "/api/v1/" + route.path.replace("*}", "}")) for route in ROUTES for method in route.methods.split()
    }
    names = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(names) == len(set(names))


def test_a_problem_carries_what_the_command_line_prints(server: RunningServer) -> None:
    answer = Api(server).ask("GET", "/me")
    members = msgspec.json.decode(answer.body, type=dict[str, Any])
    assert members["type"] == "error"
    assert {"code", "message", "why", "try", "status", "request_id"} <= set(members)
