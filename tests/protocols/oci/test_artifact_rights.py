"""Objects as artifacts: who may pull them, what else is made of their bytes, and what they cost."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.asking import DataApi, ask
from tests.image_sets import MANIFEST
from tests.protocols.oci.stores import Store, new_store, pulled
from tests.registry import ROLES, Client, People, codes, digest_of, new_name, new_people, new_user
from tests.running import RunningServer, new_postgres, running_server
from tests.sifs import sif
from tests.views import new_sif, see

QCOW = b"QFI\xfb" + bytes(508)
TAR = b"a.txt".ljust(257, b"\0") + b"ustar\x0000" + bytes(2048)


@pytest.fixture
def store(people: People) -> Store:
    """A new bucket of the project."""
    return new_store(people)


# --- rights ----------------------------------------------------------------------------------------------------------


def test_rights_of_an_artifact_are_those_of_its_bucket(people: People) -> None:
    content = new_sif()
    for public in (False, True):
        store = new_store(people, public=public)
        client = store.put("a.sif", content)
        manifest = client.done("GET", "manifests/latest", 200).body
        for who in ("anonymous", "stranger", *ROLES):
            one = client.by(people.tokens[who])
            wanted = 200 if public or who in ROLES else 401 if who == "anonymous" else 404
            for path in (
                "manifests/latest",
                f"manifests/{digest_of(manifest)}",
                f"blobs/{digest_of(content)}",
                "tags/list",
            ):
                for method in ("GET", "HEAD"):
                    assert one.ask(method, path).status == wanted, (public, who, method, path)
            assert one.ask("GET", f"referrers/{digest_of(manifest)}").status == wanted, (public, who)


def test_who_may_only_read_an_artifact_is_denied_the_rest(people: People) -> None:
    client = new_store(people, public=True).put("a.sif", new_sif())
    for who in ("stranger", "reader"):
        one = client.by(people.tokens[who])
        one.refused("POST", "blobs/uploads/", 403, "DENIED", b"")
        assert one.ask("DELETE", "manifests/latest").status in (403, 405), who


def test_what_one_may_not_read_answers_as_what_is_not_there(people: People) -> None:
    store = new_store(people)
    content = new_sif()
    store.put("a.sif", content)
    for who in ("anonymous", "stranger"):
        for path in ("manifests/latest", f"blobs/{digest_of(content)}", "tags/list", f"referrers/{digest_of(content)}"):
            answers = [store.at(key).by(people.tokens[who]).ask("GET", path) for key in ("a.sif", "none.sif")]
            bodies = {
                answer.body.replace(key, b"") for answer, key in zip(answers, (b"a.sif", b"none.sif"), strict=True)
            }
            assert len({answer.status for answer in answers}) == 1, (who, path)
            assert len(bodies) == 1, (who, path)


@pytest.mark.parametrize("where", ["manifests/latest", "blobs/{digest}", "tags/list", "referrers/{digest}"])
def test_an_artifact_in_somebodys_area_is_its_own(server: RunningServer, where: str) -> None:
    names = [f"u{new_name()}" for _ in range(2)]
    for name in names:
        server.call("POST", "/users", {"name": name})
    tokens = [server.call("POST", "/tokens", {"user": name, "expires": "1h"})["token"] for name in names]
    content = new_sif()
    assert DataApi(server, tokens[0]).put("image.sif", content).status == 201
    path = f"prominence-data/uploads/{names[0]}/image.sif"
    own = Client(server, tokens[0], path)
    pulled(own)
    assert own.done("GET", f"blobs/{digest_of(content)}", 200).body == content
    where = where.format(digest=digest_of(content))
    assert own.ask("GET", where).status == 200
    for token, status in ((tokens[1], (403, 404)), (None, (401,))):
        there = Client(server, token, path).ask("GET", where)
        nothing = Client(server, token, path.replace("image", "none")).ask("GET", where)
        assert there.status in status, there
        assert (there.status, codes(there)) == (nothing.status, codes(nothing)), "who asks learns what is there"


def test_one_with_a_token_for_one_grant_reads_nothing_else(server: RunningServer) -> None:
    token = new_user(server)
    for name in ("prominence-data/uploads/x/y", "sha256/" + "0" * 64, "oci/a/b"):
        answer = Client(server, token, name).ask("GET", "manifests/latest")
        assert answer.status in (403, 404), answer


# --- mounting, disk, restarts ----------------------------------------------------------------------------------------


def test_a_blob_is_mounted_from_an_object(store: Store, people: People) -> None:
    content, other = new_sif(), new_sif()
    source = store.put("a.sif", content)
    foreign = new_people(store.client.server)
    hidden = new_store(foreign).put("b.sif", other)
    target = store.client.at(f"{store.project}/{new_name()}")
    mount = target.done("POST", f"blobs/uploads/?mount={digest_of(content)}&from={source.name}", 201, b"")
    assert mount["docker-content-digest"] == digest_of(content)
    assert target.done("GET", f"blobs/{digest_of(content)}", 200).body == content
    for name, digest in (
        (hidden.name, digest_of(other)), (source.name, digest_of(other)), (f"{source.name}x", digest_of(content)),
    ):  # fmt: skip
        fresh = store.client.at(f"{store.project}/{new_name()}")
        fresh.done("POST", f"blobs/uploads/?mount={digest}&from={name}", 202, b"")
        assert not fresh.has(digest)
    without = store.client.at(f"{store.project}/{new_name()}")
    without.done("POST", f"blobs/uploads/?mount={digest_of(content)}", 201, b"")
    reader = store.client.at(f"{store.project}/{new_name()}").by(people.tokens["reader"])
    reader.refused("POST", f"blobs/uploads/?mount={digest_of(content)}&from={source.name}", 403, "DENIED", b"")


def test_a_manifest_may_name_the_bytes_of_an_object_in_its_project(store: Store) -> None:
    content = new_sif()
    source = store.put("a.sif", content)
    manifest = source.done("GET", "manifests/latest", 200).body
    target = store.client.at(f"{store.project}/{new_name()}")
    config = json.loads(manifest)["config"]
    target.push(source.done("GET", f"blobs/{config['digest']}", 200).body)
    target.put("copied", manifest, MANIFEST)
    store.delete("a.sif")
    assert target.done("GET", f"blobs/{digest_of(content)}", 200).body == content


def disk(folder: Path) -> int:
    """Bytes of all blobs on it."""
    return sum(path.stat().st_size for path in (folder / "blobs").glob("*/*"))


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The environment of a server with its catalog there."""
    if request.param == "sqlite":
        yield {}
        return
    with new_postgres(request.getfixturevalue("postgres_url")) as url:
        yield {"ENTREPOT_DB": url}


def test_a_manifest_is_the_same_after_every_restart_and_costs_no_disk(tmp_path: Path, where: dict[str, str]) -> None:
    data = tmp_path / "data"
    contents = {"a.sif": sif(payload=bytes(1 << 20)), "b.qcow2": QCOW * 1000, "c.txt": b"text", "d.tar": TAR}
    with running_server(data, environ=where) as server:
        store = new_store(new_people(server))
        first = {key: store.put(key, content).done("GET", "manifests/latest", 200).body
                 for key, content in contents.items()}  # fmt: skip
        admin, token, used = server.admin_token, store.client.token, disk(data)
    for _ in range(2):
        with running_server(data, environ=where) as server:
            client = Client(server, token)
            for key, content in contents.items():
                there = client.at(f"{store.project}/{store.bucket}/{key}")
                assert there.done("GET", "manifests/latest", 200).body == first[key]
                pulled(there)
                assert there.done("GET", f"blobs/{digest_of(content)}", 200).body == content
                answer = ask(f"{server.url}/registry/{there.name}/manifests/latest", headers={
                    "Authorization": f"Bearer {token}"})  # fmt: skip
                assert answer.json["layers"][0]["digest"] == digest_of(content)
            assert disk(data) == used
            server.admin_token = admin


def test_a_pull_by_every_way_costs_no_disk(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_server(data) as server:
        store = new_store(new_people(server), public=True)
        content = sif(payload=bytes(2 << 20), labels={"x": "y"})
        client = store.put("some/a.sif", content)
        before = disk(data)
        pulled(client)
        shown = see(server, f"/registry/{client.name}/manifests/latest").json
        assert see(server, shown["layers"][0]["urls"][0]).body == content
        moved = see(server, f"/v1/imagefile/{client.name}:latest")
        assert see(server, moved["location"]).body == content
        target = client.at(f"{store.project}/target")
        manifest = client.done("GET", "manifests/latest", 200).body
        target.done("POST", f"blobs/uploads/?mount={digest_of(content)}&from={client.name}", 201, b"")
        target.push(client.done("GET", f"blobs/{json.loads(manifest)['config']['digest']}", 200).body)
        target.put("copied", manifest, MANIFEST)
        pulled(target, "copied")
        assert disk(data) - before < 4096
