"""What a review found at the registry's edges: width, depth, odd times, odd names, quota, what commands say."""

import json
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest

from tests.asking import Answer, ask
from tests.image_sets import ARTIFACT, CONFIG, FOREIGN, GZIP, INDEX, MANIFEST, DataSet, Made, push, pushed_image
from tests.protocols.oci.test_registry_review import FEW, MANY, MORE, answer_on, offset_of, open_wire
from tests.registry import Client, codes, digest_of, new_name, new_people, with_digest
from tests.running import RunningServer
from tests.sifs import sif

SIF = "application/vnd.sylabs.sif.layer.v1.sif"


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What happens in it takes no longer."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def get(client: Client, path: str, **headers: str) -> Answer:
    """What the caller gets at a path that is not below `/v2/`."""
    return ask(client.server.url + path, headers={"Authorization": f"Bearer {client.token}", **headers})


# --- wide and deep ---------------------------------------------------------------------------------------------------


def test_an_index_that_names_one_child_often_on_three_levels_is_looked_through_at_once(client: Client) -> None:
    made = DataSet()
    one = made.image(tags=())
    for _ in range(3):
        one = made.index([one] * 40, ())
    made.index([one] * 40, ("wide",))
    push(client, made)
    with within(3):
        assert get(client, f"/api/v1/inspect/oci/{client.name}/wide/nofile").status == 404


def test_an_index_of_many_indexes_of_the_same_children_is_looked_through_at_once(client: Client) -> None:
    made = DataSet()
    level = [made.image(tags=())]
    for _ in range(3):
        level = [made.index(level, ()) for _ in range(12)]
    made.index(level, ("wide",))
    push(client, made)
    with within(3):
        assert get(client, f"/api/v1/inspect/oci/{client.name}/wide/nofile").status == 404


def test_a_page_of_two_thousand_titled_layers_comes_at_once(client: Client) -> None:
    made = DataSet()
    layer = made.blob(GZIP)
    titles = [f"file-{number:04}" for number in range(2000)]
    layers = [{**layer, "annotations": {"org.opencontainers.image.title": title}} for title in titles]
    push(client, made)
    image = made.image(layers, tags=("many",))
    push(client, made)
    with within(3):
        answer = get(client, f"/api/v1/objects/oci?prefix={client.name}/many/&limit=20")
    folder = f"{client.name}/many"
    expected = [f"{folder}/{name}" for name in ["config.json", *titles]][:20]
    assert [one["key"] for one in answer.json["objects"]] == expected
    assert get(client, f"/api/v1/objects/oci/{folder}/manifest.json").body == image.data
    assert get(client, f"/api/v1/objects/oci/{folder}/file-1999").body == made.blobs[layer["digest"]]


def test_a_chain_of_more_than_a_thousand_indexes_is_named_elsewhere_or_refused(client: Client) -> None:
    top = pushed_image(client)
    for _ in range(1100):
        top = DataSet().index([top], ())
        client.put(top.digest, top.data, INDEX)
    outer, other = DataSet().index([top], ()), client.beside()
    answer = other.ask("PUT", "manifests/outer", outer.data, {"Content-Type": INDEX})
    assert answer.status in (201, 400), answer
    assert other.has(top.digest, "manifests") == (answer.status == 201)


def test_a_digest_that_is_missing_a_thousand_times_is_one_error(client: Client, server: RunningServer) -> None:
    data = secrets.token_bytes(100)
    others = new_people(server)
    for _ in range(60):  # each of them may be asked whether the caller reads it there
        elsewhere = others.client().push(data)
    made = DataSet()
    layer = {"mediaType": GZIP, "digest": elsewhere, "size": len(data)}
    absent = {**layer, "digest": digest_of(secrets.token_bytes(9))}
    image = DataSet().image([layer] * 1000 + [absent], made.blob(CONFIG, b"{}"), tags=())
    push(client, made)
    with within(1):
        answer = client.done("PUT", "manifests/many", 400, image.data, {"Content-Type": MANIFEST})
    assert codes(answer) == ["MANIFEST_BLOB_UNKNOWN"] * 2
    assert [one["detail"]["digest"] for one in answer.json["errors"]] == [elsewhere, absent["digest"]]


# --- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "created", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "0001-01-01", "never", "", "2026-13-01"]
)
def test_a_file_made_before_all_time_is_found_and_shown(client: Client, created: str) -> None:
    made = DataSet()
    data = sif(payload=b"hsqs" + secrets.token_bytes(4092))
    layer = made.blob(SIF, data, annotations={"org.opencontainers.image.title": "x.sif"})
    made.image([layer], made.blob(CONFIG, b"{}"), ("v1",), annotations={"org.opencontainers.image.created": created})
    push(client, made)
    found = get(client, f"/v1/search?value={client.name.rpartition('/')[2]}")
    assert found.status == 200, found
    assert [one["tags"] for one in found.json["data"]["image"]] == [["v1"]]
    shown = get(client, f"/v1/images/{client.name}:v1")
    assert shown.status == 200, shown
    assert re.fullmatch(r"\d{1,4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown.json["data"]["createdAt"]), shown
    assert get(client, f"/registry/{client.name}").status == 200


@pytest.mark.parametrize(
    ("second", "status"), [("99991231T235959Z", 200), ("00010101T000000Z", 404), ("19691231T235959Z", 404)]
)
def test_the_first_and_the_last_second_there_is_may_be_asked_for(client: Client, second: str, status: int) -> None:
    pushed_image(client, "v1")
    client.done("GET", f"manifests/v1.at-{second}", status)
    client.done("GET", f"manifests/v2.at-{second}", 404)
    key = f"{new_name()}.bin"
    bucket = client.server.bucket(new_name())
    admin = Client(client.server, client.server.admin_token, f"{bucket}/{key}")
    put = ask(
        f"{admin.server.url}/api/v1/objects/{admin.name}", "PUT", b"x", {"Authorization": f"Bearer {admin.token}"}
    )
    assert put.status == 201, put
    admin.done("GET", f"manifests/latest.at-{second}", status)


@pytest.mark.parametrize("tag", ["1.0.at-home", "x.at-", "x.at-2026", ".at-20261001T120000Z"[1:], "a.at-b.at-c"])
def test_a_tag_that_only_looks_like_a_time_is_a_tag(client: Client, tag: str) -> None:
    image = pushed_image(client, tag)
    assert client.done("GET", f"manifests/{tag}", 200).body == image.data
    assert client.tags() == [tag]
    client.done("DELETE", f"manifests/{tag}", 202)


# --- what commands say -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a;touch x;`id`.bin", "$(touch x)", "a' ; touch x; '", 'a"&touch x|b', "-touch x"])
def test_nothing_of_an_odd_name_is_outside_of_quotes(server: RunningServer, key: str) -> None:
    bucket, data = server.bucket(new_name()), secrets.token_bytes(100)
    client = Client(server, server.admin_token)
    path = f"{bucket}/{quote(key)}"
    put = ask(f"{server.url}/api/v1/objects/{path}", "PUT", data, {"Authorization": f"Bearer {client.token}"})
    assert put.status == 201, put
    answer = get(client, f"/registry/{path}")
    assert answer.status == 200, answer
    (shown,) = answer.json["tags"]
    assert shown["commands"]
    for line in shown["commands"]:
        bare = re.sub("'[^']*'", "", line).removesuffix(" | sha256sum -c")
        assert "touch" not in bare, line
        assert re.fullmatch(r"[A-Za-z0-9 :/._+-]*", bare), line


# --- quota -----------------------------------------------------------------------------------------------------------


def reserved(client: Client) -> int:
    """Of the quota of the repository's project."""
    projects = client.server.call("GET", "/projects")
    found: int = next(one["reserved"] for one in projects if one["name"] == client.name.partition("/")[0])
    return found


def wait_until_reserved(client: Client, expected: int) -> None:
    for _ in range(60):
        if reserved(client) == expected:
            return
        time.sleep(0.05)
    assert reserved(client) == expected


@pytest.fixture
def alone(server: RunningServer) -> Client:
    """In a project of which nothing is reserved by anybody else."""
    return new_people(server).client()


@pytest.mark.parametrize(("announced", "sent"), [(900_000, 70_000), (100, 50)])
def test_a_cut_request_reserves_what_came_and_no_more(alone: Client, announced: int, sent: int) -> None:
    upload = alone.begin()
    with open_wire(alone, upload, announced) as wire:
        wire.sendall(MORE[:sent])
        time.sleep(0.3)
    wait_until_reserved(alone, sent)
    assert offset_of(alone, upload) == sent
    alone.done("DELETE", upload, 204)
    assert reserved(alone) == 0


def test_few_bytes_of_an_upload_are_reserved_too(alone: Client) -> None:
    upload = alone.begin()
    assert reserved(alone) == 0
    alone.append(upload, FEW, 10)
    assert reserved(alone) == 10
    alone.append(upload, FEW, 20)
    assert reserved(alone) == 20
    alone.done("DELETE", upload, 204)
    assert reserved(alone) == 0


def test_many_bytes_of_a_known_length_reserve_just_that_length(alone: Client) -> None:
    upload = alone.begin()
    alone.append(upload, FEW, 10)
    alone.append(upload, MANY, 100_010)
    assert reserved(alone) == 100_010


def test_a_stream_whose_length_nobody_knew_reserves_no_more_than_it_brought(alone: Client) -> None:
    upload = alone.begin()
    alone.append(upload, iter([MORE[:100_000], MORE[100_000:]]), len(MORE))
    assert reserved(alone) == len(MORE)


def test_an_open_upload_takes_no_room_but_its_own_from_others(alone: Client) -> None:
    project = alone.name.partition("/")[0]
    alone.server.call("PUT", f"/projects/{project}", {"name": project, "quota": 67_300_000})
    alone.append(alone.begin(), MANY, len(MANY))
    alone.append(alone.begin(), MORE, len(MORE))


@pytest.mark.parametrize("announced", [900_000, 10])
def test_a_request_that_is_overtaken_reserves_nothing(alone: Client, announced: int) -> None:
    upload = alone.begin()
    with open_wire(alone, upload, announced) as older:
        older.sendall(FEW[:5])
        time.sleep(0.3)
        alone.append(upload, MORE, len(MORE))
        older.sendall(FEW[5:])
        if announced > 10:
            older.sendall(bytes(announced - 10))
        assert answer_on(older).status == 416
    wait_until_reserved(alone, offset_of(alone, upload))
    alone.done("DELETE", upload, 204)
    assert reserved(alone) == 0


def test_a_request_that_the_quota_refuses_reserves_nothing(alone: Client) -> None:
    project = alone.name.partition("/")[0]
    alone.server.call("PUT", f"/projects/{project}", {"name": project, "quota": 150_000})
    upload = alone.begin()
    alone.append(upload, FEW, 10)
    alone.refused("PATCH", upload, 403, "DENIED", MORE)
    wait_until_reserved(alone, 10)


def test_a_closing_put_that_is_cut_keeps_what_came(client: Client) -> None:
    data, upload = secrets.token_bytes(100), client.begin()
    with open_wire(client, with_digest(upload, digest_of(data)), 100, "PUT") as wire:
        wire.sendall(data[:50])
        time.sleep(0.3)
    for _ in range(60):
        if offset_of(client, upload) == 50:
            break
        time.sleep(0.05)
    assert offset_of(client, upload) == 50
    client.end(upload, digest_of(data), data[50:], Content_Range="50-99")


# --- names and digests -----------------------------------------------------------------------------------------------


def test_what_a_fallback_tag_lists_are_referrers(client: Client, algorithm: str) -> None:
    image = pushed_image(client)
    subject = digest_of(image.data, algorithm)
    made = DataSet()
    listed = made.artifact()
    hex_ = subject.partition(":")[2]
    made.index([listed], (f"{algorithm}-{hex_[:64]}",))
    push(client, made)
    assert client.referrers(subject) == [listed.as_referrer]
    assert client.referrers(subject, f"?artifactType={quote(ARTIFACT)}") == [listed.as_referrer]
    assert client.referrers(digest_of(b"other", algorithm)) == []


def test_a_foreign_layer_that_was_pushed_later_is_held_by_its_manifest(client: Client) -> None:
    made = DataSet()
    foreign = made.blob(FOREIGN, push=False, urls=["https://example.org/layer"])
    image = made.image([foreign], tags=("one",))
    push(client, made)
    assert client.push(made.left_out[foreign["digest"]]) == foreign["digest"]
    client.put("one", image.data, MANIFEST)
    client.refused("DELETE", f"blobs/{foreign['digest']}", 405, "UNSUPPORTED")
    client.done("DELETE", f"manifests/{image.digest}", 202)


def test_a_tag_moves_if_it_is_what_the_sha512_says(client: Client) -> None:
    made = DataSet("sha512")
    old = made.image(tags=("t",))
    push(client, made)
    new = DataSet()
    later = new.image(tags=())
    push(client, new)
    headers = {"Content-Type": MANIFEST}
    wrong = {**headers, "If-Match": f'"{digest_of(b"other", "sha512")}"'}
    client.refused("PUT", "manifests/t", 412, "DENIED", later.data, wrong)
    client.put("t", later.data, MANIFEST, {"If-Match": f'"{old.digest}"'})
    client.put("t", old.data, MANIFEST, {"If-Match": f'"{later.digest}"'})
    assert client.done("GET", "manifests/t", 200).body == old.data


def test_a_page_of_tags_with_huge_labels_is_small(client: Client) -> None:
    made = DataSet()
    tags = tuple(f"t{number}" for number in range(10))
    body = made.image(tags=(), annotations={"org.example.text": "x" * 3_900_000})
    push(client, made)
    client.put(f"{body.digest}?{'&'.join(f'tag={tag}' for tag in tags)}", body.data, MANIFEST)
    for accepted in ("application/json", "text/html"):
        answer = get(client, f"/registry/{client.name}", Accept=accepted)
        assert answer.status == 200
        assert len(answer.body) < 1_000_000
        assert all(tag.encode() in answer.body for tag in tags)


def test_a_page_of_tags_with_huge_titles_and_types_is_small(client: Client) -> None:
    made = DataSet()
    layer = made.blob(GZIP, annotations={"org.opencontainers.image.title": "y" * 1_300_000})
    config = made.blob(CONFIG, json.dumps({"architecture": "z" * 1_300_000}).encode())
    body: Made = made.image([layer], config, (), annotations={"org.opencontainers.image.created": "9" * 1_300_000})
    push(client, made)
    client.put(f"{body.digest}?{'&'.join(f'tag=t{number}' for number in range(10))}", body.data, MANIFEST)
    answer = get(client, f"/registry/{client.name}")
    assert answer.status == 200
    assert len(answer.body) < 1_000_000
