"""The requests of Apptainer's two registry clients, which no package index has, one by one."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from urllib.parse import urlencode

import pytest

from tests.images import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    SIF_CONFIG,
    SIF_LAYER,
    TITLE,
    compact,
    descriptor,
    digest_of,
    random_bytes,
)
from tests.oci_accounts import Registry, basic, new_repository
from tests.oci_replays import (
    OCTETS,
    challenge,
    crane_blob,
    location,
    realm_of,
    regctl_blob,
    signed_in,
    with_digest,
)
from tests.s3_accounts import MIB, Account
from tests.sifs import sif


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


# --- oras:// ---------------------------------------------------------------------------------------------------------


def apptainer_manifest(content: bytes, config: bytes = b"{}") -> bytes:
    """As `apptainer push` writes it."""
    document = {
        "schemaVersion": 2,
        "config": descriptor(SIF_CONFIG, config),
        "layers": [descriptor(SIF_LAYER, content, annotations={TITLE: "image.sif"})],
        "annotations": {"org.opencontainers.image.created": "2026-01-02T03:04:05Z"},
    }
    return compact({"schemaVersion": 2, "mediaType": OCI_MANIFEST, **document})


def test_apptainer_pushes_and_pulls_a_sif(bare: Registry, repository: str) -> None:
    registry = signed_in(bare, f"repository:{repository}:pull,push")
    content = sif(payload=bytes(MIB) + random_bytes("apptainer", 2 * MIB), labels={"a": "b"}, definition="From: x\n")
    where = f"/v2/{repository}/manifests/latest"
    assert registry.ask("HEAD", where, headers={"Accept": f"{DOCKER_MANIFEST}, {OCI_MANIFEST}, */*"}).status == 404
    both = Barrier(2)

    def upload(data: bytes) -> None:
        assert registry.ask("HEAD", f"/v2/{repository}/blobs/{digest_of(data)}").status == 404
        both.wait(10)
        begun = registry.done(202, "POST", f"/v2/{repository}/blobs/uploads/", b"")
        sent = registry.done(202, "PATCH", location(registry, begun), data, OCTETS)
        registry.done(201, "PUT", with_digest(location(registry, sent), data), b"", OCTETS)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(upload, (content, b"{}")))
    manifest = apptainer_manifest(content)
    registry.done(201, "PUT", where, manifest, {"Content-Type": OCI_MANIFEST})
    for method in ("HEAD", "GET", "GET", "GET"):
        found = registry.done(200, method, where, headers={"Accept": OCI_MANIFEST})
        assert found["docker-content-digest"] == digest_of(manifest)
        assert found.body == (manifest if method == "GET" else b"")
    (layer,) = json.loads(found.body)["layers"]
    came = registry.done(200, "GET", f"/v2/{repository}/blobs/{layer['digest']}")
    assert came.body == content
    assert came["content-length"] == str(layer["size"]) == str(len(content))


def test_apptainer_pushes_the_same_sif_twice_and_sends_it_once(bare: Registry, repository: str) -> None:
    registry = signed_in(bare, f"repository:{repository}:pull,push")
    content = sif(labels={"twice": "yes"})
    manifests = [apptainer_manifest(content)]
    manifests.append(manifests[0].replace(b"03:04:05", b"03:04:06"))
    for data in (content, b"{}"):
        crane_blob(registry, repository, data)
    for manifest in manifests:
        assert registry.ask("HEAD", f"/v2/{repository}/blobs/{digest_of(content)}").status == 200
        registry.done(201, "PUT", f"/v2/{repository}/manifests/latest", manifest, {"Content-Type": OCI_MANIFEST})
    assert registry.done(200, "GET", f"/v2/{repository}/manifests/latest").body == manifests[1]
    assert registry.done(200, "GET", f"/v2/{repository}/manifests/{digest_of(manifests[0])}").body == manifests[0]


def test_a_sif_of_the_old_misspelt_type_is_served_as_it_was_pushed(bare: Registry, repository: str) -> None:
    registry = signed_in(bare, f"repository:{repository}:pull,push")
    content = sif()
    manifest = apptainer_manifest(content).replace(SIF_LAYER.encode(), b"appliciation/vnd.sylabs.sif.layer.tar")
    for data in (content, b"{}"):
        crane_blob(registry, repository, data)
    registry.done(201, "PUT", f"/v2/{repository}/manifests/old", manifest, {"Content-Type": OCI_MANIFEST})
    assert registry.done(200, "GET", f"/v2/{repository}/manifests/old").body == manifest


# --- library:// ------------------------------------------------------------------------------------------------------


def test_the_library_client_pushes_in_chunks_with_an_index_that_knows_no_size(bare: Registry, repository: str) -> None:
    content = sif(payload=random_bytes("library", 12 * MIB), labels={"a": "b"})
    config = compact(
        {"architecture": "amd64", "os": "linux", "rootfs": digest_of(content), "signed": False, "encrypted": False}
    )
    first = bare.ask("POST", f"/v2/{repository}/blobs/uploads/", b"", {"Authorization": "none"})
    asked = challenge(first)
    query = urlencode({"service": asked["service"], "scope": asked["scope"]})
    proof = {"Authorization": basic(bare.account.access, bare.account.secret)}
    token = bare.done(200, "GET", f"{realm_of(bare, first)}?{query}", headers=proof).json["token"]
    registry = Registry(bare.account, f"Bearer {token}")
    assert regctl_blob(registry, repository, content, 5 * MIB) == "pieces"
    assert regctl_blob(registry, repository, config) == "put"
    manifest = compact(
        {"schemaVersion": 2, "config": descriptor(SIF_CONFIG, config), "layers": [descriptor(SIF_LAYER, content)]}
    )
    own = f"/v2/{repository}/manifests/{digest_of(manifest).replace(':', '.')}"
    registry.done(201, "PUT", own, manifest, {"Content-Type": OCI_MANIFEST})
    where = f"/v2/{repository}/manifests/latest"
    assert registry.done(404, "GET", where, headers={"Accept": OCI_INDEX}).json["errors"][0]["code"]
    child = {**descriptor(OCI_MANIFEST, manifest), "size": 0, "platform": {"architecture": "amd64", "os": "linux"}}
    index = compact({"schemaVersion": 2, "manifests": [child]})
    registry.done(201, "PUT", where, index, {"Content-Type": OCI_INDEX})
    found = registry.done(200, "GET", where, headers={"Accept": OCI_INDEX})
    assert (found.body, found["content-type"]) == (index, OCI_INDEX)
    chosen = registry.done(200, "GET", f"/v2/{repository}/manifests/{digest_of(manifest)}")
    assert (chosen.body, chosen["content-type"]) == (manifest, OCI_MANIFEST)
    pieces = []
    for start in range(0, len(content), 5 * MIB):
        end = min(start + 5 * MIB, len(content)) - 1
        wanted = {"Range": f"bytes={start}-{end}"}
        piece = registry.done(206, "GET", f"/v2/{repository}/blobs/{digest_of(content)}", headers=wanted)
        assert piece["content-range"] == f"bytes {start}-{end}/{len(content)}"
        pieces.append(piece.body)
    assert b"".join(pieces) == content


def test_the_library_client_without_a_token_is_asked_for_one(bare: Registry, repository: str) -> None:
    for headers in ({}, {"Authorization": "none"}, {"Authorization": "Basic Og=="}):
        asked = challenge(bare.ask("GET", f"/v2/{repository}/manifests/latest", headers=headers))
        assert asked["scope"] == f"repository:{repository}:pull"
        challenge(bare.ask("GET", "/v2/", headers=headers))
