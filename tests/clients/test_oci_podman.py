"""podman of Debian, as root with a store of its own: images and lists of them, pushed and pulled, none of them run."""

import gzip
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    digest_of,
    files_of,
    image,
    tar_of,
    two_platforms,
)
from tests.oci_accounts import (
    Tool,
    new_password_user,
    new_repository,
    new_token,
    podman_of,
    registry_of,
    saved_layers,
)
from tests.s3_accounts import MIB, Account


@pytest.fixture
def account(registry_account: Account) -> Account:
    return registry_account


@pytest.fixture
def runs() -> Iterator[Path]:
    """Where podman keeps what runs: a path of 50 characters at most."""
    with TemporaryDirectory(prefix="podman-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def podman(account: Account, runs: Path) -> Tool:
    """Logged in as the project's maintainer, with an empty store."""
    found = podman_of(account, runs, "store")
    found.log_in()
    return found


@pytest.fixture
def other(account: Account, runs: Path, podman: Tool) -> Tool:
    """Another store of the same person."""
    return podman_of(account, runs, "other")


@pytest.fixture
def where(account: Account) -> str:
    """A repository as podman names it."""
    return f"{account.address}/{new_repository(account)}"


def imported(podman: Tool, seed: str, name: str, size: int = 20_000, *options: str) -> bytes:
    """The tar that is the only layer of a new image."""
    tar = tar_of(files_of(seed, size))
    path = podman.account.home / f"{podman.account.name(seed)}.tar"
    path.write_bytes(tar)
    podman("import", "--quiet", "--change", "LABEL of=" + seed, *options, path, name)
    return tar


def one(podman: Tool, name: str) -> dict[str, object]:
    """What podman knows of an image."""
    found: list[dict[str, object]] = json.loads(podman("image", "inspect", name))
    return found[0]


@pytest.mark.parametrize(
    ("options", "media_type"),
    [
        ((), OCI_MANIFEST), (("--format", "docker"), DOCKER_MANIFEST),
        (("--format", "oci", "--compression-format", "zstd"), OCI_MANIFEST),
    ],
    ids=["as it is", "docker", "zstd"],
)  # fmt: skip
def test_an_image_goes_in_and_comes_to_another_store(
    account: Account, podman: Tool, other: Tool, where: str, options: tuple[str, ...], media_type: str
) -> None:
    tar = imported(podman, "whole", f"{where}:1", 6 * MIB)
    podman("push", "--quiet", "--digestfile", "digest", *options, f"{where}:1")
    digest = (account.home / "digest").read_text()
    repository = where.partition("/")[2]
    shown = registry_of(account).done(200, "GET", f"/v2/{repository}/manifests/1")
    assert (shown["docker-content-digest"], shown["content-type"]) == (digest, media_type)
    (layer,) = json.loads(shown.body)["layers"]
    stored = registry_of(account).done(200, "GET", f"/v2/{repository}/blobs/{layer['digest']}").body
    if not layer["mediaType"].endswith("zstd"):
        assert gzip.decompress(stored) == tar
    assert ("--compression-format" in options) == layer["mediaType"].endswith("zstd")
    image_id = other("pull", "--quiet", f"{where}:1").strip()
    assert image_id == one(podman, f"{where}:1")["Id"]
    assert saved_layers(other, f"{where}:1") == [tar]
    assert one(other, image_id)["RepoDigests"] == [f"{where}@{digest}"]
    assert one(other, image_id)["Labels"] == {"of": "whole"}


def test_an_image_is_pulled_by_its_digest(account: Account, podman: Tool, where: str) -> None:
    first, second = image("first", size=1000), image("second", size=1000)
    for content in (first, second):
        registry_of(account).push(where.partition("/")[2], content, "moving")
    image_id = podman("pull", "--quiet", f"{where}@{first.digest}").strip()
    assert f"sha256:{image_id}" == digest_of(first.config)
    assert saved_layers(podman, image_id) == [gzip.decompress(layer) for layer in first.layers]
    moved = podman("pull", "--quiet", f"{where}:moving").strip()
    assert f"sha256:{moved}" == digest_of(second.config)
    podman("rmi", "--all", "--force")
    assert podman("pull", "--quiet", f"{where}@{first.digest}").strip() == image_id
    assert "manifest unknown" in podman.fails("pull", f"{where}@{digest_of(b'never')}")


@pytest.mark.parametrize(("kind", "media_type"), [("oci", OCI_INDEX), ("v2s2", DOCKER_LIST)])
def test_a_list_of_platforms_goes_in_whole(
    account: Account, podman: Tool, other: Tool, where: str, kind: str, media_type: str
) -> None:
    tars = {}
    podman("manifest", "create", "list")
    for architecture in ("amd64", "arm64"):
        tars[architecture] = imported(podman, architecture, f"image-{architecture}", 1000, "--arch", architecture)
        podman("manifest", "add", "list", f"containers-storage:localhost/image-{architecture}")
    podman("manifest", "push", "--all", "--format", kind, "list", f"docker://{where}:1")
    shown = registry_of(account).done(200, "GET", f"/v2/{where.partition('/')[2]}/manifests/1")
    assert shown["content-type"] == media_type
    listed = json.loads(shown.body)["manifests"]
    assert [child["platform"]["architecture"] for child in listed] == ["amd64", "arm64"]
    for architecture, tar in tars.items():
        other("pull", "--quiet", "--arch", architecture, f"{where}:1")
        assert one(other, f"{where}:1")["Architecture"] == architecture
        assert saved_layers(other, f"{where}:1") == [tar]
    inspected = json.loads(podman("manifest", "inspect", f"{where}:1"))
    assert [child["digest"] for child in inspected["manifests"]] == [child["digest"] for child in listed]


def test_a_list_that_is_there_gets_another_platform(account: Account, podman: Tool, where: str) -> None:
    content = two_platforms("there")
    repository = where.partition("/")[2]
    registry_of(account).push(repository, content, "1")
    podman("manifest", "create", "--all", "list", f"docker://{where}:1")
    imported(podman, "riscv64", "image-riscv64", 1000, "--arch", "riscv64")
    podman("manifest", "add", "list", "containers-storage:localhost/image-riscv64")
    podman("manifest", "push", "--all", "--format", "oci", "list", f"docker://{where}:2")
    shown = registry_of(account).done(200, "GET", f"/v2/{repository}/manifests/2")
    listed = json.loads(shown.body)["manifests"]
    assert [child["digest"] for child in listed[:2]] == [child.digest for child in content.children]
    assert [child["platform"]["architecture"] for child in listed] == ["amd64", "arm64", "riscv64"]
    for child in content.children:
        registry_of(account).holds(repository, child)


def test_who_logs_in_may_push_until_the_log_out(account: Account, podman: Tool, where: str) -> None:
    imported(podman, "login", f"{where}:1", 100)
    podman("push", "--quiet", f"{where}:1")
    assert podman("login", "--get-login", account.address).strip() == account.access
    podman("logout", account.address)
    assert "unauthorized" in podman.fails("push", "--quiet", f"{where}:1")
    assert "unauthorized" in podman.fails("pull", "--quiet", f"{where}:1")
    person = new_password_user(account, "reader")
    for name, secret in (person, ("anything", new_token(account, person[0]))):
        assert "Login Succeeded!" in podman.log_in(name, secret)
        podman("pull", "--quiet", f"{where}:1")
        podman("tag", f"{where}:1", f"{where}:new")
        assert "denied" in podman.fails("push", "--quiet", f"{where}:new").lower()
    words = ("login", "--username", person[0], "--password-stdin", account.address)
    assert "invalid username/password" in podman.fails(*words, stdin=b"wrong")


def test_what_is_there_is_found(account: Account, podman: Tool, where: str) -> None:
    repository = where.partition("/")[2]
    content = image("found", size=100)
    for tag in ("b", "a", "1.0"):
        registry_of(account).push(repository, content, tag)
    _, *listed = podman("search", "--list-tags", where).splitlines()
    assert [line.split() for line in listed] == [[where, tag] for tag in ("1.0", "a", "b")]
    assert podman("search", "--format", "{{.Name}}", where).split() == [where]


def test_an_image_is_built_on_one_from_the_registry(account: Account, podman: Tool, other: Tool, where: str) -> None:
    base = image("base", layers=1, size=1000)
    registry_of(account).push(where.partition("/")[2], base, "base")
    folder = Path(account.home / "context")
    folder.mkdir()
    (folder / "added").write_bytes(b"added\n")
    (folder / "Containerfile").write_text(f"FROM {where}:base\nCOPY added /etc/added\nLABEL built=yes\n")
    podman("build", "--quiet", "--isolation", "chroot", "--tag", f"{where}:built", folder)
    podman("push", "--quiet", f"{where}:built")
    other("pull", "--quiet", f"{where}:built")
    first, *_, last = saved_layers(other, f"{where}:built")
    assert first == gzip.decompress(base.layers[0])
    (account.home / "last").write_bytes(last)
    with tarfile.open(account.home / "last") as archive:
        added = archive.extractfile("etc/added")
        assert added
        assert added.read() == b"added\n"
