"""`shub://`: what singularity and apptainer ask before they download, and the storage path of what they get."""

import hashlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.asking import Answer
from tests.image_sets import pushed_image
from tests.registry import Client, People, digest_of, new_user
from tests.running import RunningServer, running_server
from tests.sifs import sif
from tests.views import (
    REVISION,
    SOURCE,
    new_sif,
    only_url,
    publish,
    push_file,
    put_by_s3,
    see,
    told_as_404,
)

COMMIT = hashlib.sha1(b"commit").hexdigest()


def container(client: Client, rest: str = "", token: str | None = None) -> Answer:
    """What is told of the client's repository, by default to a stranger."""
    return see(client.server, f"/api/container/{client.name}{rest}", token)


@pytest.fixture
def content(client: Client) -> bytes:
    """Of `latest` and `v1` in a public repository."""
    data = new_sif()
    push_file(client, data, "latest", "v1", annotations={REVISION: COMMIT})
    publish(client)
    return data


def test_what_is_told_of_a_container(client: Client, content: bytes) -> None:
    answer = container(client)
    hex_ = digest_of(content)[7:]
    assert answer.status == 200
    assert list(answer.json) == ["image", "name", "tag", "version", "commit"]
    assert answer.json == {
        "image": only_url(client), "name": client.name, "tag": "latest", "version": hex_, "commit": hex_,
    }  # fmt: skip
    image = see(client.server, answer.json["image"])
    assert (image.status, image.body, image["content-length"]) == (200, content, str(len(content)))


def test_a_container_by_tag(client: Client, content: bytes) -> None:
    newer = new_sif()
    push_file(client, newer, "latest")
    for rest, data, tag in (("", newer, "latest"), (":latest", newer, "latest"), (":v1", content, "v1")):
        found = container(client, rest).json
        assert (found["version"], found["tag"]) == (digest_of(data)[7:], tag)
        assert see(client.server, found["image"]).body == data


def test_two_builds_of_one_commit_are_two_keys_of_the_clients_cache(client: Client, content: bytes) -> None:
    before = container(client).json["commit"]
    push_file(client, new_sif(), "latest", annotations={REVISION: COMMIT})
    assert container(client).json["commit"] not in (before, COMMIT)
    assert content


def test_a_container_by_its_sha1(client: Client, content: bytes) -> None:
    found = container(client, f"@{hashlib.sha1(content).hexdigest()}")
    assert found.status == 200, found
    assert found.json["version"] == digest_of(content)[7:]


def test_a_container_by_the_commit_it_was_built_from(client: Client, content: bytes) -> None:
    for rest in (f"@{COMMIT}", f":v1@{COMMIT}"):
        found = container(client, rest)
        assert found.status == 200, found
        assert found.json["version"] == digest_of(content)[7:]


def test_a_container_by_its_md5_that_somebody_asked_for_once(client: Client, content: bytes) -> None:
    put_by_s3(client, "a.sif", content)
    found = container(client, f"@{hashlib.md5(content).hexdigest()}")
    assert found.status == 200, found
    assert found.json["version"] == digest_of(content)[7:]


def test_a_container_by_its_md5_that_nobody_asked_for_before(client: Client, content: bytes) -> None:
    found = container(client, f"@{hashlib.md5(content).hexdigest()}")
    assert found.status == 200, found
    assert found.json["version"] == digest_of(content)[7:]


def test_an_id_finds_a_container_that_is_not_the_latest(client: Client, content: bytes) -> None:
    push_file(client, new_sif(), "latest", annotations={REVISION: hashlib.sha1(b"next").hexdigest()})
    found = container(client, f"@{COMMIT}")
    assert found.status == 200, found
    assert found.json["version"] == digest_of(content)[7:]


@pytest.mark.parametrize(
    "rest", [":none", f"@{'0' * 32}", f"@{'0' * 40}", "@", "@xyz", f"@{COMMIT[:39]}", f":@{COMMIT}x"]
)
def test_what_is_not_there_is_404(client: Client, content: bytes, rest: str) -> None:
    told_as_404(container(client, rest))
    assert content


def test_names_are_looked_up_in_lower_case(client: Client, content: bytes) -> None:
    found = see(client.server, f"/api/container/{client.name.upper()}:v1")
    assert (found.status, found.json["name"]) == (200, client.name)
    assert see(client.server, f"/api/container/{client.name}:V1").status == 404
    assert content


def test_a_private_container_is_404_to_strangers_and_told_with_a_url_to_others(client: Client, people: People) -> None:
    content = new_sif()
    push_file(client, content)
    told_as_404(container(client))
    told_as_404(container(client, token=people.tokens["stranger"]))
    told_as_404(see(client.server, f"/api/container/{client.name}", "nonsense"))
    found = container(client, token=people.tokens["reader"]).json
    assert urlsplit(found["image"]).query
    assert see(client.server, found["image"]).body == content


def test_a_container_image_is_no_container_of_shub(client: Client) -> None:
    pushed_image(client, "latest")
    publish(client)
    answer = container(client)
    assert answer.status in (200, 404)


def test_paths_that_are_no_containers(server: RunningServer) -> None:
    for path in ("", "a", "a/b/c", "/b", "a/", "a//b", "a/..", "a/b%2Fc", "a/%00"):
        answer = see(server, f"/api/container/{path}")
        assert answer.status == 404, (path, answer)
        assert answer.json.keys() == {"error"}, path


def test_only_get_and_head_are_methods_here(client: Client, content: bytes) -> None:
    for method in ("PUT", "POST", "DELETE"):
        answer = see(client.server, f"/api/container/{client.name}", client.token, method=method, body=b"")
        assert answer.status == 405
        assert answer.json["error"]["code"] == 405
        assert sorted(answer["allow"].split(", ")) == ["GET", "HEAD"]
    headed = see(client.server, f"/api/container/{client.name}", method="HEAD")
    assert (headed.status, headed.body) == (200, b"")
    assert content


# --- where the file lies ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_commit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Of a server that keeps to the seed's standard."""
    environ = {"ENTREPOT_REGISTRY_PATH_TEMPLATE": "{host}/{user}/{repo}/{commit}/{hash}"}
    with running_server(tmp_path_factory.mktemp("by-commit") / "data", environ=environ) as server:
        yield Client(server, new_user(server, "default", "maintainer"), "vanessa/greeting")


LABELS = {
    SOURCE: "https://github.com/vsoch/singularity-images.git",
    REVISION: "130504089d5b2b44e2788992d0de75b625da6796",
}
SEEDS = "github.com/vsoch/singularity-images/130504089d5b2b44e2788992d0de75b625da6796"


@pytest.mark.parametrize("where", ["manifest", "sif", "both"])
def test_the_seeds_storage_path_comes_of_the_labels(by_commit: Client, where: str) -> None:
    wrong = {SOURCE: "https://wrong.example/a/b", REVISION: "0"}
    content = new_sif(labels={} if where == "manifest" else LABELS if where == "sif" else wrong)
    push_file(by_commit, content, annotations={} if where == "sif" else LABELS)
    hex_ = digest_of(content)[7:]
    url = only_url(by_commit)
    assert urlsplit(url).path == f"/registry/files/{SEEDS}/{hex_}/{hex_}.sif"
    assert see(by_commit.server, url).body == content


def test_the_storage_path_comes_of_an_objects_metadata(by_commit: Client) -> None:
    content, server = new_sif(), by_commit.server
    server.bucket("images")
    headers = {f"x-amz-meta-{name}": value for name, value in LABELS.items()}
    key = server.call("POST", "/keys", {}, token=by_commit.token)
    from tests.protocols.rights import signed

    put = signed((key["access"], key["secret"]), "PUT", f"{server.url}/images/a.sif", content, headers)
    assert put.status == 200, put
    hex_ = digest_of(content)[7:]
    assert urlsplit(only_url(by_commit.at("images/a.sif"))).path == f"/registry/files/{SEEDS}/{hex_}/{hex_}.sif"


def test_without_labels_the_storage_path_is_the_plain_one(by_commit: Client) -> None:
    content = sif(payload=hashlib.sha256(b"plain").digest() * 4)
    push_file(by_commit, content, annotations={SOURCE: LABELS[SOURCE]})
    hex_ = digest_of(content)[7:]
    assert urlsplit(only_url(by_commit)).path == f"/registry/files/vanessa/greeting/{hex_}/{hex_}.sif"
