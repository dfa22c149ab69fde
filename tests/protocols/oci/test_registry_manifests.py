"""Manifests that cannot be kept, each refused for its own reason; and odd ones that can."""

import json
import secrets
from typing import Any

import pytest

from tests.image_sets import (
    CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    FOREIGN,
    GZIP,
    INDEX,
    MANIFEST,
    DataSet,
    Made,
    push,
    pushed_image,
)
from tests.registry import Client, People, codes, digest_of, new_people
from tests.running import RunningServer

MAX_BYTES = 4 << 20
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.fixture
def body(client: Client) -> dict[str, Any]:
    """An image manifest whose blobs the repository has."""
    made = DataSet()
    found: dict[str, Any] = json.loads(made.image([made.blob(GZIP)], tags=()).data)
    for data in made.blobs.values():
        client.push(data)
    return found


def text(body: object) -> bytes:
    return json.dumps(body).encode()


def refused(client: Client, data: bytes, code: str = "MANIFEST_INVALID", kind: str | None = MANIFEST) -> None:
    """Neither by tag nor by digest is it taken, and nothing is there then."""
    headers = {"Content-Type": kind} if kind else {}
    client.refused("PUT", "manifests/one", 400, code, data, headers)
    client.refused("PUT", f"manifests/{digest_of(data)}?tag=one", 400, code, data, headers)
    client.refused("GET", f"manifests/{digest_of(data)}", 404, "MANIFEST_UNKNOWN")
    assert client.tags() == []


# --- what it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'"x"', b"{}", b"\xff\xfe", b'{"schemaVersion":NaN}', b"\xef\xbb\xbf{}"]
)
def test_what_is_no_json_object_of_version_two_is_no_manifest(client: Client, data: bytes) -> None:
    client.push(b"{}")
    refused(client, data)


def test_levels_without_end_are_refused(client: Client, body: dict[str, Any]) -> None:
    deep: Any = 1
    for _ in range(64):
        deep = [deep]
    refused(client, text({**body, "x": deep}))
    refused(client, text(body)[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_63_levels_below_the_first_are_fine(client: Client, body: dict[str, Any]) -> None:
    deep: Any = 1
    for _ in range(63):
        deep = [deep]
    client.put("one", text({**body, "x": deep}), MANIFEST)


@pytest.mark.parametrize("twice", [b',"layers":[]}', b',"mediaType":"application/x"}', b',"x":{"a":1,"a":1}}'])
def test_a_key_that_is_there_twice_is_refused(client: Client, body: dict[str, Any], twice: bytes) -> None:
    refused(client, text(body)[:-1] + twice)


@pytest.mark.parametrize("number", [10_000, 10_001])
def test_a_manifest_names_ten_thousand_things_at_most(client: Client, body: dict[str, Any], number: int) -> None:
    data = text({**body, "layers": body["layers"] * number})
    if number > 10_000:
        refused(client, data)
    else:
        client.put("one", data, MANIFEST)


def test_a_manifest_has_four_mebibytes_at_most(client: Client, body: dict[str, Any]) -> None:
    bare = len(text({**body, "x": ""}))
    data = text({**body, "x": "x" * (MAX_BYTES - bare)})
    assert len(data) == MAX_BYTES
    client.put("one", data, MANIFEST)


@pytest.mark.parametrize("reference", ["one", digest_of(b"")])
def test_a_manifest_that_says_it_is_too_large_is_refused_before_it_comes(client: Client, reference: str) -> None:
    client.push(b"{}")
    headers = {"Content-Type": MANIFEST, "Content-Length": str(MAX_BYTES + 1)}
    client.refused("PUT", f"manifests/{reference}", 413, "MANIFEST_INVALID", None, headers)
    assert client.tags() == []


def test_a_manifest_too_large_is_refused_without_its_length_too(client: Client, body: dict[str, Any]) -> None:
    pieces = iter([text(body), *[b" " * 65536] * 64])
    client.refused("PUT", "manifests/one", 413, "MANIFEST_INVALID", pieces, {"Content-Type": MANIFEST})


@pytest.mark.parametrize(
    "kind",
    [
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.oci.artifact.manifest.v1+json", "application/octet-stream", "text/plain", CONFIG,
    ],
)  # fmt: skip
def test_other_types_of_manifest_are_refused(client: Client, body: dict[str, Any], kind: str) -> None:
    bare = {key: value for key, value in body.items() if key != "mediaType"}
    refused(client, text(bare), kind=kind)
    refused(client, text({**bare, "mediaType": kind}), kind=kind)
    refused(client, text({**bare, "mediaType": kind}), kind="application/json")


def test_schema_one_is_refused(client: Client) -> None:
    client.push(b"{}")
    data = text({"schemaVersion": 1, "name": "x", "tag": "y", "fsLayers": [], "history": [], "signatures": []})
    for kind in (None, MANIFEST, "application/vnd.docker.distribution.manifest.v1+prettyjws"):
        refused(client, data, kind=kind)


@pytest.mark.parametrize(("sent", "own"), [(MANIFEST, INDEX), (INDEX, MANIFEST), (DOCKER_MANIFEST, MANIFEST)])
def test_a_type_that_is_not_the_one_in_the_body_is_refused(
    client: Client, body: dict[str, Any], sent: str, own: str
) -> None:
    refused(client, text({**body, "mediaType": own}), kind=sent)


@pytest.mark.parametrize("kind", [MANIFEST, INDEX, None])
def test_both_layers_and_manifests_are_refused(client: Client, body: dict[str, Any], kind: str | None) -> None:
    bare = {key: value for key, value in body.items() if key != "mediaType"}
    refused(client, text({**bare, "manifests": []}), kind=kind)


@pytest.mark.parametrize("sent", [None, "application/json", f"{MANIFEST}; charset=utf-8", MANIFEST, "own"])
@pytest.mark.parametrize("own", [MANIFEST, DOCKER_MANIFEST, None])
def test_the_type_is_the_one_sent_else_the_own_else_that_of_the_shape(
    client: Client, body: dict[str, Any], sent: str | None, own: str | None
) -> None:
    if own == DOCKER_MANIFEST and sent and sent.startswith(MANIFEST):
        sent = f"{DOCKER_MANIFEST}; charset=utf-8"
    sent = own if sent == "own" else sent
    data = text(
        {**{key: value for key, value in body.items() if key != "mediaType"}, **({"mediaType": own} if own else {})}
    )
    client.done("PUT", "manifests/one", 201, data, {"Content-Type": sent} if sent else {})
    answer = client.done("GET", "manifests/one", 200)
    assert answer["content-type"] == (own or MANIFEST)
    assert answer.body == data


@pytest.mark.parametrize("kind", [INDEX, DOCKER_LIST])
def test_an_index_is_known_by_its_shape(client: Client, kind: str) -> None:
    image = pushed_image(client)
    data = text({"schemaVersion": 2, "manifests": [image.descriptor]})
    client.done("PUT", "manifests/bare", 201, data)
    assert client.done("HEAD", "manifests/bare", 200)["content-type"] == INDEX
    client.put("typed", text({"schemaVersion": 2, "mediaType": kind, "manifests": [image.descriptor]}), kind)
    assert client.done("HEAD", "manifests/typed", 200)["content-type"] == kind


@pytest.mark.parametrize(
    "change",
    [
        {"config": None}, {"config": []}, {"layers": {}}, {"layers": [1]}, {"annotations": {"a": 1}}, {"mediaType": 1},
        {"artifactType": []}, {"subject": 1}, {"schemaVersion": "2"},
    ],
)  # fmt: skip
def test_members_of_another_kind_are_refused(client: Client, body: dict[str, Any], change: dict[str, Any]) -> None:
    refused(client, text({**body, **change}))


@pytest.mark.parametrize("size", [None, -1, "1", 1.0, True, 1 << 70])
def test_a_descriptor_without_a_size_is_refused(client: Client, body: dict[str, Any], size: object) -> None:
    data = text({**body, "layers": [{**body["layers"][0], "size": size}]})
    refused(client, data)


@pytest.mark.parametrize("digest", ["", "sha256:0", "md5:" + "0" * 32, "sha1:" + "0" * 40, "sha256:" + "A" * 64, None])
@pytest.mark.parametrize("where", ["config", "layers", "subject"])
def test_a_descriptor_of_no_digest_we_know_is_refused(
    client: Client, body: dict[str, Any], digest: str | None, where: str
) -> None:
    bad = {**body["layers"][0], "digest": digest}
    refused(client, text({**body, where: [bad] if where == "layers" else bad}), "DIGEST_INVALID")


@pytest.mark.parametrize("odd", ["a\0b", "\u202e", "'; --", "x" * 100_000, "\U0001f600"])
def test_odd_text_is_kept_as_it_is_or_refused(client: Client, body: dict[str, Any], odd: str) -> None:
    subject = {**body["config"], "mediaType": MANIFEST}
    data = text({**body, "artifactType": odd, "annotations": {odd: odd}, "subject": subject})
    answer = client.ask("PUT", "manifests/one", data, {"Content-Type": MANIFEST})
    assert answer.status in (201, 400)
    if answer.status == 400:
        assert codes(answer) == ["MANIFEST_INVALID"]
        assert client.tags() == []
        return
    assert client.done("GET", "manifests/one", 200).body == data
    listed = client.referrers(subject["digest"])
    assert [(one["artifactType"], one["annotations"]) for one in listed] == [(odd, {odd: odd})]


# --- what it names ---------------------------------------------------------------------------------------------------


def test_each_missing_reference_is_an_error_of_its_own(client: Client) -> None:
    client.push(b"{}")
    made = DataSet()
    image = made.image([made.blob(GZIP), made.blob(GZIP)], tags=())
    answer = client.done("PUT", "manifests/one", 400, image.data, {"Content-Type": MANIFEST})
    assert codes(answer) == ["MANIFEST_BLOB_UNKNOWN"] * 3
    assert {error["detail"]["digest"] for error in answer.json["errors"]} == made.blobs.keys()
    first = next(iter(made.blobs))
    client.push(made.blobs[first])
    answer = client.done("PUT", "manifests/one", 400, image.data, {"Content-Type": MANIFEST})
    assert {error["detail"]["digest"] for error in answer.json["errors"]} == made.blobs.keys() - {first}
    assert client.tags() == []


def test_an_index_needs_its_children_to_be_manifests_here(client: Client) -> None:
    made = DataSet()
    child = made.image(tags=())
    index = made.index([child], ())
    headers = {"Content-Type": INDEX}
    client.push(child.data)  # the same bytes as a blob are no manifest
    client.refused("PUT", "manifests/one", 400, "MANIFEST_BLOB_UNKNOWN", index.data, headers)
    push(client, made)
    client.put("one", index.data, INDEX)


def test_what_the_caller_may_read_in_the_project_need_not_be_pushed_again(client: Client) -> None:
    there, made = client.beside(), DataSet()
    made.index([made.image(tags=())])
    push(there, made)
    index = made.manifests[-1]
    client.put("one", index.data, INDEX)
    for one in made.manifests:
        assert client.done("GET", f"manifests/{one.digest}", 200).body == one.data
    for digest, data in made.blobs.items():
        assert client.done("GET", f"blobs/{digest}", 200).body == data


def test_what_is_in_another_project_must_be_pushed(client: Client, server: RunningServer) -> None:
    made = DataSet()
    image = made.image([made.blob(GZIP)], tags=())
    push(new_people(server).client(), made)
    answer = client.done("PUT", "manifests/one", 400, image.data, {"Content-Type": MANIFEST})
    assert codes(answer) == ["MANIFEST_BLOB_UNKNOWN"] * 2


@pytest.mark.parametrize(
    "layer", [{"mediaType": FOREIGN}, {"mediaType": DOCKER_FOREIGN}, {"urls": ["https://example.org/x"]}]
)
def test_what_may_lie_elsewhere_need_not_be_here(client: Client, body: dict[str, Any], layer: dict[str, Any]) -> None:
    absent = secrets.token_bytes(10)
    descriptor = {"mediaType": GZIP, "digest": digest_of(absent), "size": 10, **layer}
    client.put("one", text({**body, "layers": [*body["layers"], descriptor]}), MANIFEST)
    client.refused("GET", f"blobs/{digest_of(absent)}", 404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("where", ["config", "layers"])
@pytest.mark.parametrize("wrong", [-1, 1, "zero"])
def test_a_size_that_is_not_that_of_the_bytes_is_refused(
    client: Client, body: dict[str, Any], where: str, wrong: int | str
) -> None:
    right = body["config"] if where == "config" else body["layers"][0]
    bad = {**right, "size": 0 if wrong == "zero" else right["size"] + int(wrong)}
    refused(client, text({**body, where: [bad] if where == "layers" else bad}), "SIZE_INVALID")


@pytest.mark.parametrize("size", [0, None, "wrong"])
def test_an_index_may_not_know_the_size_of_its_children_but_not_be_wrong(
    client: Client, size: int | str | None
) -> None:
    image = pushed_image(client)
    child = {key: value for key, value in image.descriptor.items() if key != "size"}
    if size is not None:
        child["size"] = len(image.data) + 1 if size == "wrong" else size
    data = text({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]})
    if size == "wrong":
        refused(client, data, "SIZE_INVALID", INDEX)
    else:
        client.put("one", data, INDEX)


@pytest.mark.parametrize(
    ("data", "code"), [("AAAA", "MANIFEST_INVALID"), ("AA==", "SIZE_INVALID"), ("?", "MANIFEST_INVALID")]
)
def test_data_in_a_descriptor_is_what_the_digest_says(
    client: Client, body: dict[str, Any], data: str, code: str
) -> None:
    client.push(b"abc")
    layer = {"mediaType": GZIP, "digest": digest_of(b"abc"), "size": 3}
    refused(client, text({**body, "layers": [{**layer, "data": data}]}), code)
    client.put("one", text({**body, "layers": [{**layer, "data": "YWJj"}]}), MANIFEST)


def test_a_repository_is_not_made_by_what_is_refused(people: People) -> None:
    client = people.client()
    made = Made(b"{}", MANIFEST)
    client.refused("PUT", "manifests/one", 400, "MANIFEST_INVALID", made.data, {"Content-Type": MANIFEST})
    client.refused("GET", "tags/list", 404, "NAME_UNKNOWN")
