"""What registry clients may do that are not logged in, where a repository is public: pull it, and nothing else."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest

from tests.images import (
    SIF_CONFIG,
    SIF_LAYER,
    artifact,
    bytes_in_layout,
    digest_of,
    image,
    two_platforms,
    write_layout,
)
from tests.oci_accounts import (
    Registry,
    at,
    buildah_of,
    make_public,
    new_repository,
    podman_of,
    registry_of,
    saved_layers,
    skopeo_of,
)
from tests.oci_replays import challenge, pull
from tests.s3_accounts import Account, client_program
from tests.sifs import sif

CONTENT = two_platforms("public")
ORAS_PULL = """
import sys, oras.client
host, cafile, target = sys.argv[1:]
client = oras.client.OrasClient(hostname=host, insecure=not cafile, tls_verify=cafile or True)
client.pull(target=target, outdir="pulled")
print(*client.get_tags(target))
"""


@pytest.fixture
def account(registry_account: Account) -> Account:
    return registry_account


@pytest.fixture
def hidden(account: Account) -> str:
    """A repository with an index `many` and an image `one`, for its project only."""
    name = new_repository(account, "hidden")
    registry_of(account).push(name, CONTENT, "many")
    registry_of(account).push(name, CONTENT.children[0], "one")
    return name


@pytest.fixture
def public(account: Account) -> str:
    """The same for all the world."""
    name = new_repository(account, "public")
    registry_of(account).push(name, CONTENT, "many")
    registry_of(account).push(name, CONTENT.children[0], "one")
    make_public(account, name)
    return name


@pytest.fixture
def runs() -> Iterator[Path]:
    """A short path, for podman."""
    with TemporaryDirectory(prefix="podman-", dir="/tmp") as folder:
        yield Path(folder)


def test_skopeo_pulls_lists_and_looks_without_a_login(account: Account, public: str, hidden: str) -> None:
    skopeo = skopeo_of(account)
    skopeo("copy", "--all", at(account, public, ":many"), f"oci:{account.home}/pulled:1")
    assert bytes_in_layout(account.home / "pulled") == CONTENT.all_bytes
    assert skopeo.bytes_of("inspect", "--raw", at(account, public, ":one")) == CONTENT.children[0].manifest
    assert json.loads(skopeo("list-tags", at(account, public)))["Tags"] == ["many", "one"]
    assert "unauthorized" in skopeo.fails("inspect", at(account, hidden, ":one"))
    assert "unauthorized" in skopeo.fails("inspect", at(account, f"{account.project}/never", ":one"))


def test_skopeo_may_not_push_or_delete_without_a_login(account: Account, public: str) -> None:
    skopeo = skopeo_of(account)
    folder = write_layout(account.home / "layout", {"1": image("intruder", size=100)})
    for tag in ("new", "one"):
        assert "unauthorized" in skopeo.fails("copy", f"oci:{folder}:1", at(account, public, f":{tag}"))
    assert skopeo.fails("delete", at(account, public, ":one"))
    registry = registry_of(account)
    registry.holds(public, CONTENT.children[0], "one")
    assert registry.done(200, "GET", f"/v2/{public}/tags/list").json["tags"] == ["many", "one"]


def test_podman_pulls_without_a_login(account: Account, runs: Path, public: str, hidden: str) -> None:
    podman = podman_of(account, runs, "store")
    for reference in (":one", f"@{CONTENT.children[0].digest}"):
        image_id = podman("pull", "--quiet", f"{account.address}/{public}{reference}").strip()
        assert f"sha256:{image_id}" == digest_of(CONTENT.children[0].config)
    assert saved_layers(podman, image_id) == [gzip.decompress(layer) for layer in CONTENT.children[0].layers]
    assert "unauthorized" in podman.fails("pull", "--quiet", f"{account.address}/{hidden}:one")
    podman("tag", image_id, f"{account.address}/{public}:new")
    assert "unauthorized" in podman.fails("push", "--quiet", f"{account.address}/{public}:new")


def test_buildah_builds_on_it_without_a_login(account: Account, public: str) -> None:
    buildah = buildah_of(account, "store")
    container = buildah("from", f"{account.address}/{public}:one").strip()
    shown = json.loads(buildah("inspect", container))
    assert shown["FromImageDigest"] == CONTENT.children[0].digest


def test_oras_py_pulls_without_a_login(account: Account) -> None:
    name = new_repository(account, "public")
    content = artifact({"x.sif": sif()}, SIF_LAYER, SIF_CONFIG)
    registry_of(account).push(name, content, "latest")
    make_public(account, name)
    words = (account.address, account.server.cafile or "", f"{account.address}/{name}:latest")
    assert account(client_program("python"), "-c", ORAS_PULL, *words).split()[-1] == "latest"
    assert (account.home / "pulled" / "x.sif").read_bytes() == sif()


def test_a_token_for_nobody_pulls_what_is_public_and_no_more(account: Account, public: str, hidden: str) -> None:
    bare = Registry(account, None)
    challenge(bare.ask("GET", "/v2/"))
    query = urlencode({"service": "entrepot", "scope": f"repository:{public}:pull"})
    found = bare.done(200, "GET", f"/v2/token?{query}").json
    for proof in (f"Bearer {found['token']}", "none", "Basic Og==", None):
        nobody = Registry(account, proof)
        pull(nobody, public, CONTENT.children[0], "one")
        nobody.holds(public, CONTENT, "many")
        layer = digest_of(CONTENT.children[0].layers[0])
        assert nobody.done(206, "GET", f"/v2/{public}/blobs/{layer}", headers={"Range": "bytes=0-9"}).body
        challenge(nobody.ask("GET", f"/v2/{hidden}/blobs/{layer}"))
        challenge(nobody.ask("GET", f"/v2/{hidden}/tags/list"))
        challenge(nobody.ask("POST", f"/v2/{public}/blobs/uploads/", b""))
        challenge(nobody.ask("POST", f"/v2/{public}/blobs/uploads/?mount={layer}&from={hidden}", b""))
        challenge(nobody.ask("DELETE", f"/v2/{public}/blobs/{layer}"))
        challenge(nobody.ask("DELETE", f"/v2/{public}/manifests/one"))
        target = f"/v2/{public}/manifests/two"
        challenge(nobody.ask("PUT", target, CONTENT.manifest, {"Content-Type": CONTENT.media_type}))
        assert nobody.done(200, "GET", f"/v2/{public}/referrers/{CONTENT.digest}").status == 200
    assert registry_of(account).done(200, "GET", f"/v2/{public}/tags/list").json["tags"] == ["many", "one"]


def test_a_stranger_may_not_open_it_and_its_maintainer_may_close_it(account: Account, hidden: str, public: str) -> None:
    with pytest.raises(HTTPError) as refused:
        account.server.call("PUT", f"/repositories/{hidden}", {"public": True}, token=account.server.user("stranger"))
    assert refused.value.code in {403, 404}
    refused.value.close()
    make_public(account, public, public=False)
    challenge(Registry(account, None).ask("GET", f"/v2/{public}/manifests/one"))
