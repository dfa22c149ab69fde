"""What clients of a Singularity library ask: before they pull, before they push, when they search."""

import json
from urllib.parse import quote, urlsplit

import pytest

from tests.asking import Answer
from tests.image_sets import INDEX, DataSet, Made, push, pushed_image
from tests.registry import Client, People, digest_of, new_name
from tests.running import RunningServer
from tests.views import SIF_LAYER, new_sif, publish, push_file, see, told_as_404

UNKNOWN = "0" * 64


@pytest.fixture
def content(client: Client) -> bytes:
    """Of `latest` in a public repository."""
    data = new_sif(signatures=1)
    push_file(client, data, "latest", "v1")
    publish(client)
    return data


def image(client: Client, rest: str, token: str | None = None) -> Answer:
    return see(client.server, f"/v1/images/{client.name}{rest}", token)


def test_where_a_remote_has_its_parts(server: RunningServer) -> None:
    answer = see(server, "/assets/config/config.prod.json")
    base = {"uri": server.url}
    keys = {"uri": "https://keys.openpgp.org"}
    assert answer.json == {"libraryAPI": base, "tokenAPI": base, "keystoreAPI": keys}


def test_the_version(server: RunningServer) -> None:
    found = see(server, "/version").json["data"]
    assert found.keys() == {"version", "apiVersion"}
    assert found["apiVersion"] == "2.0.0-alpha.2"
    assert found["version"]


def test_a_token_is_valid_or_404(client: Client, people: People) -> None:
    assert see(client.server, "/v1/token-status", people.tokens["stranger"]).json == {"data": {}}
    for token in (None, "nonsense", "a.b.c", (client.token or "") + "x"):
        told_as_404(see(client.server, "/v1/token-status", token))


def test_what_a_client_asks_before_it_pulls(client: Client, content: bytes) -> None:
    found = image(client, ":latest?arch=amd64").json["data"]
    assert found["hash"] == f"sha256.{digest_of(content)[7:]}"
    assert (found["size"], found["uploaded"], found["arch"]) == (len(content), True, "amd64")
    assert (found["signed"], found["encrypted"], found["tags"]) == (True, False, ["latest"])
    assert found["id"]


def test_an_image_by_tag_by_hash_and_by_nothing(client: Client, content: bytes) -> None:
    hash_ = f"sha256.{digest_of(content)[7:]}"
    for rest in ("", ":latest", ":v1", f":{hash_}"):
        answer = image(client, rest)
        assert (answer.status, answer.json["data"]["hash"]) == (200, hash_), rest
    for rest in (":none", f":sha256.{UNKNOWN}", ":sha256.12"):
        told_as_404(image(client, rest))


def test_an_image_of_more_parts_than_two(people: People) -> None:
    client = people.client(name=f"{people.project}/some/deep/{new_name()}")
    content = new_sif()
    push_file(client, content, "1.0")
    publish(client)
    assert image(client, ":1.0").json["data"]["hash"] == f"sha256.{digest_of(content)[7:]}"


def indexed(client: Client) -> dict[str, bytes]:
    """A public index of one file for each of two architectures, pushed under `latest`."""
    found = {"amd64": new_sif(), "arm64": new_sif(architecture="04")}
    made = DataSet()
    children: dict[str, Made] = {
        arch: made.image([made.blob(SIF_LAYER, data)], tags=()) for arch, data in found.items()
    }
    push(client, made)
    listed = [
        {**child.descriptor, "size": 0, "platform": {"os": "linux", "architecture": arch}}
        for arch, child in children.items()
    ]
    client.put("latest", json.dumps({"schemaVersion": 2, "manifests": listed}).encode(), INDEX)
    publish(client)
    return found


def test_of_an_index_the_image_for_the_architecture_is_meant(client: Client) -> None:
    for arch, data in indexed(client).items():
        answer = image(client, f":latest?arch={arch}").json["data"]
        assert (answer["hash"], answer["arch"]) == (f"sha256.{digest_of(data)[7:]}", arch)
        file = see(client.server, f"/v1/imagefile/{client.name}:latest?arch={arch}")
        assert file["location"].endswith(digest_of(data))
        query = f"?arch={arch}"
        seeds = see(client.server, f"/registry/{client.name}/manifests/latest{query}").json
        assert seeds["layers"][0]["digest"] == digest_of(data)


def test_of_an_index_without_the_architecture_the_registry_shows_the_first(client: Client) -> None:
    found = indexed(client)
    for query, arch in (("", "amd64"), ("?arch=ppc64le", "amd64"), ("?arch=", "amd64")):
        seeds = see(client.server, f"/registry/{client.name}/manifests/latest{query}").json
        assert seeds["layers"][0]["digest"] == digest_of(found[arch]), query


def test_the_file_is_an_absolute_url_whose_ranges_can_be_had_in_parallel(client: Client, content: bytes) -> None:
    answer = see(client.server, f"/v1/imagefile/{client.name}:latest?arch=amd64")
    assert answer.status == 303
    assert answer["location"] == f"{client.server.url}/v2/{client.name}/blobs/{digest_of(content)}"
    url = answer["location"]
    pieces = [see(client.server, url, headers={"Range": f"bytes={start}-{start + 9999}"}) for start in
              range(0, len(content), 10_000)]  # fmt: skip
    assert {piece.status for piece in pieces} == {206}
    assert b"".join(piece.body for piece in pieces) == content


def test_a_private_file_takes_the_token_to_its_place(client: Client, people: People) -> None:
    content = new_sif()
    push_file(client, content)
    for path in ("images", "imagefile"):
        where = f"/v1/{path}/{client.name}:latest"
        told_as_404(see(client.server, where))
        told_as_404(see(client.server, where, people.tokens["stranger"]))
    answer = see(client.server, f"/v1/imagefile/{client.name}:latest", people.tokens["reader"])
    assert answer.status == 303
    assert see(client.server, answer["location"]).status == 401
    assert see(client.server, answer["location"], people.tokens["reader"]).body == content


def redirect(client: Client, token: str | None, access: str = "push", name: str = "") -> Answer:
    query = f"namespace={quote(name or client.name, safe='')}&accessTypes={quote(access)}&mapped=1"
    return see(client.server, f"/v1/oci-redirect?{query}", token)


@pytest.mark.parametrize("access", ["push", "pull,push", "push,pull"])
def test_who_may_push_is_sent_to_oci_with_a_token_that_works(client: Client, people: People, access: str) -> None:
    answer = redirect(client, people.tokens["writer"], access)
    assert answer.status == 200
    assert answer.json.keys() == {"token", "url", "name"}
    assert (answer.json["url"], answer.json["name"]) == (client.server.url, client.name)
    there = Client(client.server, answer.json["token"], answer.json["name"])
    push_file(there, new_sif(), "pushed")
    assert there.tags() == ["pushed"]


def test_who_may_not_push_is_told_404_or_403(client: Client, people: People) -> None:
    pushed_image(client, "one")
    for who in ("anonymous", "stranger", "reader"):
        assert redirect(client, people.tokens[who]).status in (403, 404), who
    for access in ("pull", "", "pushy"):
        told_as_404(redirect(client, people.tokens["writer"], access))
    told_as_404(see(client.server, "/v1/oci-redirect", people.tokens["writer"]))


@pytest.mark.parametrize("name", ["UPPER/x", "a//b", "../x", "a b", "%", "a/" + "b" * 300])
def test_no_push_is_sent_to_what_is_no_name(client: Client, name: str) -> None:
    assert redirect(client, client.token, name=name).status in (400, 404)


def search(client: Client, value: str, token: str | None = None, arch: str = "") -> list[dict[str, object]]:
    answer = see(client.server, f"/v1/search?value={quote(value)}" + (f"&arch={arch}" if arch else ""), token)
    assert answer.status == 200, answer
    data = answer.json["data"]
    assert list(data) == ["entity", "collection", "container", "image"]
    assert [data["entity"], data["collection"], data["container"]] == [[], [], []]
    found: list[dict[str, object]] = data["image"]
    return found


def test_images_are_found_by_a_part_of_their_name(client: Client, content: bytes) -> None:
    part = client.name.partition("/")[2]
    for value in (part, part[2:8], client.name, part.upper()):
        (found,) = search(client, value)
        assert found["hash"] == f"sha256.{digest_of(content)[7:]}"
        assert found["tags"] == ["latest", "v1"]
    assert search(client, part, arch="arm64") == []
    assert len(search(client, part, arch="arm64,amd64")) == 1
    assert search(client, new_name()) == []


def test_a_search_of_fewer_characters_than_three_is_refused(client: Client) -> None:
    for value in ("", "a", "ab"):
        answer = see(client.server, f"/v1/search?value={value}", client.token)
        assert answer.status in (400, 404)
        assert answer.json["error"]["message"]


def test_nobody_finds_what_it_may_not_read(client: Client, people: People) -> None:
    push_file(client, new_sif())
    part = client.name.partition("/")[2]
    assert search(client, part, people.tokens["reader"])
    for who in ("anonymous", "stranger"):
        assert search(client, part, people.tokens[who]) == []


@pytest.mark.parametrize("kind", ["entities", "collections", "containers", "tags"])
def test_what_old_clients_made_before_a_push_is_refused_with_the_reason(client: Client, kind: str) -> None:
    for path in (f"/v1/{kind}", f"/v1/{kind}/", f"/v1/{kind}/{client.name}"):
        told_as_404(see(client.server, path, client.token))
        answer = see(client.server, path, client.token, method="POST", body=b"{}")
        assert answer.status == 403
        assert answer.json["error"]["code"] == 403
        assert "OCI" in answer.json["error"]["message"]
        for method in ("PUT", "DELETE", "PATCH"):
            assert see(client.server, path, client.token, method=method, body=b"").status == 405, (method, path)


def test_only_get_and_head_are_methods_of_the_others(client: Client, content: bytes) -> None:
    for path in (
        "/assets/config/config.prod.json", "/v1/token-status", f"/v1/images/{client.name}:latest",
        f"/v1/imagefile/{client.name}:latest", "/v1/oci-redirect", "/v1/search?value=abc",
    ):  # fmt: skip
        for method in ("PUT", "POST", "DELETE"):
            answer = see(client.server, path, client.token, method=method, body=b"")
            assert answer.status == 405, (method, path)
            assert answer.json["error"]["code"] == 405
    assert content


def test_an_object_is_an_image_of_the_library_and_of_shub(client: Client) -> None:
    server, content = client.server, new_sif()
    bucket = f"b{new_name()}"
    project = client.name.partition("/")[0]
    server.call("PUT", f"/buckets/{project}:{bucket}", {"public": True}, token=client.token)
    put = see(
        server, f"/api/v1/objects/{project}:{bucket}/a.sif", client.token, method="PUT", body=content
    )  # fmt: skip
    assert put.status == 201
    there = client.at(f"{project}/{bucket}/a.sif")
    assert image(there, ":latest").json["data"]["hash"] == f"sha256.{digest_of(content)[7:]}"
    file = see(server, f"/v1/imagefile/{there.name}:latest")
    assert see(server, urlsplit(file["location"]).path).body == content
    assert see(server, f"/registry/{there.name}/manifests/latest").json["layers"][0]["digest"] == digest_of(content)
