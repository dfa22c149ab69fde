"""The requests of crane and regctl, which no package index has, one by one."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlencode, urlsplit

import pytest

from tests.asking import answer_of, connection
from tests.images import (
    EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    Image,
    compact,
    descriptor,
    digest_of,
    image,
    random_bytes,
    two_platforms,
)
from tests.oci_accounts import Registry, basic, new_registry_account, new_repository
from tests.oci_replays import (
    OCTETS,
    challenge,
    crane_blob,
    location,
    pull,
    regctl_blob,
    signed_in,
    with_digest,
)
from tests.s3_accounts import MIB, Account


@pytest.fixture
def account(registry_account: Account) -> Account:
    return registry_account


@pytest.fixture
def bare(account: Account) -> Registry:
    """Requests without any proof."""
    return Registry(account, None)


@pytest.fixture
def repository(account: Account) -> str:
    return new_repository(account)


# --- crane, and all on go-containerregistry --------------------------------------------------------------------------


def crane_push(registry: Registry, repository: str, content: Image, tag: str) -> None:
    """HEAD of the tag, then layers four at a time, config, manifest."""
    target = f"/v2/{repository}/manifests/{tag}"
    head = registry.ask("HEAD", target, headers={"Accept": f"{content.media_type},*/*"})
    assert head.status in {200, 404}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda data: crane_blob(registry, repository, data), content.layers))
    crane_blob(registry, repository, content.config)
    registry.done(201, "PUT", target, content.manifest, {"Content-Type": content.media_type})


def test_crane_pushes_to_an_empty_registry_and_pulls(bare: Registry, repository: str) -> None:
    registry = signed_in(bare, f"repository:{repository}:push,pull")
    content = image("crane", layers=4)
    crane_push(registry, repository, content, "latest")
    pull(registry, repository, content, "latest")
    crane_push(registry, repository, content, "latest")
    listed = registry.done(200, "GET", f"/v2/{repository}/tags/list?n=1000").json
    assert listed == {"name": repository, "tags": ["latest"]}
    assert repository in registry.done(200, "GET", "/v2/_catalog?n=1000").json["repositories"]


def test_crane_copies_by_mounts_between_repositories(bare: Registry, repository: str) -> None:
    content, target = image("crane copies"), new_repository(bare.account)
    registry = signed_in(bare, f"repository:{target}:push,pull", f"repository:{repository}:pull")
    crane_push(registry, repository, content, "1")
    registry.done(200, "GET", f"/v2/{repository}/manifests/1", headers={"Accept": f"{OCI_INDEX},{OCI_MANIFEST}"})
    assert [crane_blob(registry, target, data, repository) for data in content.blobs] == [True] * 3
    where = f"/v2/{target}/manifests/1"
    registry.done(201, "PUT", where, content.manifest, {"Content-Type": content.media_type})
    pull(registry, target, content, "1")


def test_crane_is_told_no_bytes_by_a_repository_it_may_not_read(bare: Registry) -> None:
    account = bare.account
    other = new_registry_account(account.server, account.home / "other")
    content, theirs, ours = image("crane foreign"), new_repository(other), new_repository(account)
    Registry(other, basic(other.access, other.secret)).push(theirs, content, "1")
    registry = signed_in(bare, f"repository:{ours}:push,pull", f"repository:{theirs}:pull")
    assert [crane_blob(registry, ours, data, theirs) for data in content.blobs] == [False] * 3
    assert registry.ask("HEAD", f"/v2/{theirs}/manifests/1").status == 404
    where = f"/v2/{ours}/manifests/1"
    registry.done(201, "PUT", where, content.manifest, {"Content-Type": content.media_type})
    pull(registry, ours, content, "1")


def test_crane_tags_and_deletes(bare: Registry, repository: str) -> None:
    registry = signed_in(bare, f"repository:{repository}:push,pull")
    content = image("crane tags")
    crane_push(registry, repository, content, "1")
    got = registry.done(200, "GET", f"/v2/{repository}/manifests/1")
    registry.done(201, "PUT", f"/v2/{repository}/manifests/2", got.body, {"Content-Type": got["content-type"]})
    registry.done(202, "DELETE", f"/v2/{repository}/manifests/1")
    assert registry.done(200, "GET", f"/v2/{repository}/tags/list").json["tags"] == ["2"]
    registry.done(202, "DELETE", f"/v2/{repository}/manifests/{content.digest}")
    for reference in ("2", content.digest):
        gone = registry.done(404, "GET", f"/v2/{repository}/manifests/{reference}")
        assert gone.json["errors"][0]["code"] == "MANIFEST_UNKNOWN"


def test_crane_pushes_an_index_children_first(bare: Registry, repository: str) -> None:
    registry = signed_in(bare, f"repository:{repository}:push,pull")
    content = two_platforms("crane index")
    for child in content.children:
        crane_push(registry, repository, child, child.digest)
    target = f"/v2/{repository}/manifests/many"
    registry.done(201, "PUT", target, content.manifest, {"Content-Type": OCI_INDEX})
    registry.holds(repository, content, "many")


def test_the_token_service_is_where_and_what_go_containerregistry_accepts(bare: Registry, repository: str) -> None:
    for ping in ("/v2/", "/v2"):
        answer = bare.ask("GET", ping)
        assert answer["docker-distribution-api-version"] == "registry/2.0"
        assert challenge(answer) == {"realm": f"{bare.account.server.url}/v2/token", "service": "entrepot"}
    pulled = challenge(bare.ask("GET", f"/v2/{repository}/manifests/1"))
    assert pulled["scope"] == f"repository:{repository}:pull"
    written = challenge(bare.ask("POST", f"/v2/{repository}/blobs/uploads/", b""))
    assert set(written["scope"].partition(f"repository:{repository}:")[2].split(",")) == {"pull", "push"}
    deleted = challenge(bare.ask("DELETE", f"/v2/{repository}/manifests/1"))
    assert "delete" in deleted["scope"]
    registry = signed_in(bare, f"repository:{repository}:pull", f"repository:{repository}:push,pull")
    assert registry.done(200, "GET", "/v2/").json == {}
    wrong = {"Authorization": basic(bare.account.access, "wrong")}
    assert bare.ask("GET", "/v2/token?service=entrepot", headers=wrong).status == 401
    nobody = bare.done(200, "GET", f"/v2/token?service=entrepot&scope=repository:{repository}:pull").json["token"]
    challenge(Registry(bare.account, f"Bearer {nobody}").ask("GET", f"/v2/{repository}/manifests/1"))
    challenge(Registry(bare.account, "Bearer no.such.token").ask("GET", "/v2/"))


def test_the_realm_follows_the_host_that_was_asked_for(bare: Registry) -> None:
    port = urlsplit(bare.account.server.url).port
    with closing(connection(bare.account.server.url, bare.account.server.cafile)) as wire:
        wire.request("GET", "/v2/", headers={"Host": f"registry.example:{port}"})
        answer = answer_of(wire.getresponse())
    scheme = "https" if bare.account.secure else "http"
    assert challenge(answer)["realm"] == f"{scheme}://registry.example:{port}/v2/token"


# --- regctl ----------------------------------------------------------------------------------------------------------


def test_regctl_copies_an_image_whole_or_in_pieces(bare: Registry, repository: str) -> None:
    registry = signed_in(bare, f"repository:{repository}:pull,push")
    content = image("regctl", size=3 * MIB)
    assert [regctl_blob(registry, repository, data, MIB) for data in content.layers] == ["pieces"] * 2
    assert regctl_blob(registry, repository, content.config) == "put"
    registry.done(201, "PUT", f"/v2/{repository}/manifests/1", content.manifest, {"Content-Type": OCI_MANIFEST})
    pull(registry, repository, content, "1")
    elsewhere = new_repository(bare.account)
    assert [regctl_blob(registry, elsewhere, data) for data in content.blobs] == ["mount"] * 3
    registry.done(201, "PUT", f"/v2/{elsewhere}/manifests/1", content.manifest, {"Content-Type": OCI_MANIFEST})
    pull(registry, elsewhere, content, "1")


def test_regctl_asks_how_far_it_came_and_goes_on_from_there(bare: Registry, repository: str) -> None:
    registry = signed_in(bare, f"repository:{repository}:pull,push")
    data = random_bytes("regctl resumes", 100_000)
    begun = registry.done(202, "POST", f"/v2/{repository}/blobs/uploads/", b"")
    target = location(registry, begun)
    registry.done(202, "PATCH", target, data[:40_000], {**OCTETS, "Content-Range": "0-39999"})
    again = registry.ask("PATCH", target, data[:40_000], {**OCTETS, "Content-Range": "0-39999"})
    assert (again.status, again["range"]) == (416, "0-39999")
    state = registry.done(204, "GET", target)
    assert state["range"] == "0-39999"
    target = location(registry, state)
    last = {**OCTETS, "Content-Range": "40000-99999"}
    registry.done(202, "PATCH", target, data[40_000:], last)
    registry.done(201, "PUT", with_digest(target, data), b"")
    assert registry.done(200, "GET", f"/v2/{repository}/blobs/{digest_of(data)}").body == data


def test_regctl_deletes_one_tag_and_keeps_the_other(bare: Registry, repository: str) -> None:
    registry = signed_in(bare, f"repository:{repository}:pull,push,delete")
    content = image("regctl tags", size=100)
    for tag in ("1", "2"):
        registry.push(repository, content, tag)
    registry.done(202, "DELETE", f"/v2/{repository}/manifests/1")
    registry.done(404, "HEAD", f"/v2/{repository}/manifests/1")
    pull(registry, repository, content, "2")
    pull(registry, repository, content, content.digest)


def test_regctl_attaches_an_artifact_and_lists_it(bare: Registry, repository: str) -> None:
    registry = signed_in(bare, f"repository:{repository}:pull,push")
    content = image("regctl subject", size=100)
    registry.push(repository, content, "1")
    regctl_blob(registry, repository, b"{}")
    regctl_blob(registry, repository, b"signed")
    document = {
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/example",
        "config": descriptor(EMPTY, b"{}"), "layers": [descriptor("application/example", b"signed")],
        "subject": content.descriptor, "annotations": {"a": "b"},
    }  # fmt: skip
    data = compact(document)
    where = f"/v2/{repository}/manifests/{digest_of(data)}"
    assert registry.done(201, "PUT", where, data, {"Content-Type": OCI_MANIFEST})["oci-subject"] == content.digest
    target = f"/v2/{repository}/referrers/{content.digest}"
    found = registry.done(200, "GET", target)
    listed = json.loads(found.body)
    assert (found["content-type"], listed["mediaType"]) == (OCI_INDEX, OCI_INDEX)
    entry = descriptor(OCI_MANIFEST, data, artifactType="application/example", annotations={"a": "b"})
    assert listed["manifests"] == [entry]
    other = registry.done(200, "GET", f"{target}?{urlencode({'artifactType': 'application/other'})}")
    assert (json.loads(other.body)["manifests"], other["oci-filters-applied"]) == ([], "artifactType")
