"""skopeo of Debian: images out of layouts and archives, into them, and from one repository to another."""

import gzip
import json
import os
from pathlib import Path

import pytest

from tests.counting import Meter, metered
from tests.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    SIF_CONFIG,
    SIF_LAYER,
    Image,
    artifact,
    bytes_in_layout,
    digest_of,
    files_of,
    image,
    tags_in_layout,
    tar_of,
    two_platforms,
    write_docker_archive,
    write_layout,
)
from tests.oci_accounts import (
    Role,
    Tool,
    at,
    new_password_user,
    new_registry_account,
    new_repository,
    new_token,
    registry_of,
    skopeo_of,
)
from tests.s3_accounts import MIB, Account, blob_file, flip_a_bit
from tests.sifs import sif


@pytest.fixture
def account(registry_account: Account) -> Account:
    return registry_account


@pytest.fixture
def skopeo(account: Account) -> Tool:
    """Logged in as the project's maintainer."""
    found = skopeo_of(account)
    found.log_in()
    return found


@pytest.fixture
def http_skopeo(http_registry_account: Account) -> Tool:
    """The same over http, not logged in: for what is counted on the wire."""
    return skopeo_of(http_registry_account)


@pytest.fixture
def repository(account: Account) -> str:
    return new_repository(account)


def hex_of(data: bytes) -> str:
    """Name of a file with those bytes, in a store or a `dir:`."""
    return digest_of(data).removeprefix("sha256:")


def pushed(skopeo: Tool, repository: str, content: Image, tag: str = "1") -> str:
    """Where an image is, now that skopeo has pushed it from a layout."""
    folder = write_layout(skopeo.account.home / f"layout-{skopeo.account.name()}", {tag: content})
    skopeo("copy", "--all", f"oci:{folder}:{tag}", at(skopeo.account, repository, f":{tag}"))
    return at(skopeo.account, repository, f":{tag}")


def pulled(skopeo: Tool, source: str, *options: str) -> Path:
    """An OCI layout with what skopeo pulled."""
    folder = skopeo.account.home / skopeo.account.name("pulled")
    skopeo("copy", *options, source, f"oci:{folder}:1")
    return folder


@pytest.mark.parametrize("size", [20_000, 12 * MIB], ids=["small", "large"])
def test_a_layout_goes_in_and_comes_back_byte_for_byte(
    account: Account, skopeo: Tool, repository: str, size: int
) -> None:
    content = image("whole", size=size)
    back = pulled(skopeo, pushed(skopeo, repository, content))
    assert bytes_in_layout(back) == content.all_bytes
    assert tags_in_layout(back) == {"1": content.digest}
    by_digest = pulled(skopeo, at(account, repository, f"@{content.digest}"))
    assert bytes_in_layout(by_digest) == content.all_bytes
    registry_of(account).holds(repository, content, "1")


def test_an_image_is_kept_as_docker_has_it(account: Account, skopeo: Tool, repository: str) -> None:
    content = image("docker")
    folder = write_layout(account.home / "layout", {"1": content})
    skopeo("copy", "--format", "v2s2", f"oci:{folder}:1", at(account, repository))
    raw = skopeo.bytes_of("inspect", "--raw", at(account, repository))
    assert json.loads(raw)["mediaType"] == DOCKER_MANIFEST
    skopeo("copy", at(account, repository), f"dir:{account.home}/dir")
    came = {path.name: path.read_bytes() for path in (account.home / "dir").iterdir() if path.name != "version"}
    assert came == {
        "manifest.json": raw, **{hex_of(data): data for data in content.blobs},
    }  # fmt: skip
    assert skopeo("manifest-digest", account.home / "dir" / "manifest.json").strip() == digest_of(raw)
    shown = json.loads(skopeo("inspect", at(account, repository)))
    assert (shown["Digest"], shown["RepoTags"]) == (digest_of(raw), ["latest"])


def test_what_is_there_is_inspected_listed_and_deleted(account: Account, skopeo: Tool, repository: str) -> None:
    contents = {tag: image(f"listed {tag}", layers=3, size=100) for tag in ("b", "a", "B", "1.0_x-y")}
    for tag, content in contents.items():
        pushed(skopeo, repository, content, tag)
    content = contents["a"]
    where = at(account, repository, ":a")
    assert skopeo.bytes_of("inspect", "--raw", where) == content.manifest
    assert skopeo.bytes_of("inspect", "--config", "--raw", where) == content.config
    shown = json.loads(skopeo("inspect", where))
    assert shown["Name"] == f"{account.address}/{repository}"
    assert (shown["Digest"], shown["Architecture"]) == (content.digest, "amd64")
    assert shown["Layers"] == [digest_of(layer) for layer in content.layers]
    assert shown["RepoTags"] == ["1.0_x-y", "B", "a", "b"]
    listed = json.loads(skopeo("list-tags", at(account, repository)))
    assert listed == {"Repository": f"{account.address}/{repository}", "Tags": ["1.0_x-y", "B", "a", "b"]}
    skopeo("delete", where)
    assert "manifest unknown" in skopeo.fails("inspect", where)
    assert json.loads(skopeo("list-tags", at(account, repository)))["Tags"] == ["1.0_x-y", "B", "b"]
    assert bytes_in_layout(pulled(skopeo, at(account, repository, ":b"))) == contents["b"].all_bytes


def test_an_index_goes_with_all_its_platforms_or_with_one(account: Account, skopeo: Tool, repository: str) -> None:
    content = two_platforms("many")
    where = pushed(skopeo, repository, content)
    assert skopeo.bytes_of("inspect", "--raw", where) == content.manifest
    assert bytes_in_layout(pulled(skopeo, where, "--all")) == content.all_bytes
    skopeo("--override-arch", "arm64", "copy", where, f"oci:{account.home}/arm:1")
    assert bytes_in_layout(account.home / "arm") == content.children[1].all_bytes
    elsewhere = new_repository(account)
    skopeo("copy", "--all", where, at(account, elsewhere, ":1"))
    registry_of(account).holds(elsewhere, content, "1")


def test_a_list_as_docker_has_it_is_copied_as_it_is(account: Account, skopeo: Tool, repository: str) -> None:
    content = two_platforms("docker list", docker=True)
    registry_of(account).push(repository, content, "1")
    elsewhere = new_repository(account)
    skopeo("copy", "--all", at(account, repository, ":1"), at(account, elsewhere, ":1"))
    raw = skopeo.bytes_of("inspect", "--raw", at(account, elsewhere, ":1"))
    assert raw == content.manifest
    assert json.loads(raw)["mediaType"] == DOCKER_LIST
    registry_of(account).holds(elsewhere, content, "1")


def test_a_repository_is_copied_to_another_with_all_its_tags(account: Account, skopeo: Tool, repository: str) -> None:
    contents = {tag: image(f"synced {tag}", size=100) for tag in ("one", "two")}
    for tag, content in contents.items():
        pushed(skopeo, repository, content, tag)
    source = f"{account.address}/{repository}"
    skopeo("sync", "--src", "docker", "--dest", "dir", source, account.home / "synced")
    for tag, content in contents.items():
        folder = account.home / "synced" / f"{repository.rpartition('/')[2]}:{tag}"
        assert (folder / "manifest.json").read_bytes() == content.manifest
    beside = f"{account.address}/{account.project}/copies"
    skopeo("sync", "--src", "docker", "--dest", "docker", source, beside)
    for tag, content in contents.items():
        registry_of(account).holds(f"{account.project}/copies/{repository.rpartition('/')[2]}", content, tag)


def test_an_archive_of_docker_goes_in_and_comes_back(account: Account, skopeo: Tool, repository: str) -> None:
    tars = [tar_of(files_of(f"archive {number}", 300_000)) for number in range(2)]
    config = write_docker_archive(account.home / "image.tar", "some/thing:1", tars)
    skopeo("copy", f"docker-archive:{account.home}/image.tar", at(account, repository))
    assert skopeo.bytes_of("inspect", "--config", "--raw", at(account, repository)) == config
    layers = json.loads(skopeo("inspect", "--raw", at(account, repository)))["layers"]
    stored = [registry_of(account).done(200, "GET", f"/v2/{repository}/blobs/{one['digest']}").body for one in layers]
    assert [gzip.decompress(layer) for layer in stored] == tars
    skopeo("copy", at(account, repository), f"docker-archive:{account.home}/back.tar:some/thing:1")
    skopeo("copy", f"docker-archive:{account.home}/back.tar", f"dir:{account.home}/back")
    shown = json.loads((account.home / "back" / "manifest.json").read_bytes())
    assert [one["digest"] for one in shown["layers"]] == [digest_of(tar) for tar in tars]


def test_a_sif_goes_through(account: Account, skopeo: Tool, repository: str) -> None:
    content = artifact({"x.sif": sif(labels={"a": "b"})}, SIF_LAYER, SIF_CONFIG)
    where = pushed(skopeo, repository, content)
    skopeo("copy", where, f"dir:{account.home}/sif")
    assert (account.home / "sif" / "manifest.json").read_bytes() == content.manifest
    stored = account.home / "sif" / hex_of(content.layers[0])
    assert stored.read_bytes() == content.layers[0]


def test_a_password_a_secret_and_a_token_log_in_and_nothing_else(account: Account, repository: str) -> None:
    skopeo = skopeo_of(account)
    robot = (account.access, account.secret)
    person = new_password_user(account)
    ours = ("anything", new_token(account, person[0]))
    for number, (name, secret) in enumerate((robot, person, ours)):
        folder = write_layout(account.home / f"layout-{number}", {"1": image(f"login {number}", size=100)})
        copy = ("copy", f"oci:{folder}:1", at(account, repository, f":{number}"))
        assert "unauthorized" in skopeo.fails(*copy)
        assert "Login Succeeded!" in skopeo.log_in(name, secret)
        skopeo(*copy)
        skopeo("logout", account.address)
        skopeo("copy", "--dest-creds", f"{name}:{secret}", *copy[1:])
    for name, secret in ((robot[0], "wrong"), (person[0], robot[1]), ("nobody", "wrong")):
        words = ("login", "--username", name, "--password-stdin", account.address)
        assert "invalid username/password" in skopeo.fails(*words, stdin=secret.encode())
    assert "unauthorized" in skopeo.fails("inspect", at(account, repository, ":0"))


def test_a_bearer_token_of_the_api_is_enough(account: Account, skopeo: Tool, repository: str) -> None:
    where = pushed(skopeo, repository, image("bearer", size=100))
    skopeo("logout", account.address)
    token = new_token(account, new_password_user(account, "reader")[0])
    shown = skopeo.bytes_of("inspect", "--raw", "--registry-token", token, where)
    assert shown == image("bearer", size=100).manifest


@pytest.mark.parametrize(
    ("role", "pulls", "pushes"), [("guest", False, False), ("reader", True, False), ("writer", True, True)]
)
def test_a_lesser_role_may_do_less(
    account: Account, skopeo: Tool, repository: str, role: Role, pulls: bool, pushes: bool
) -> None:
    content, other = (image(f"{word} rights", size=100) for word in ("one", "other"))
    where = pushed(skopeo, repository, content)
    lesser = skopeo_of(new_registry_account(account.server, account.home / role, role, account.project))
    lesser.log_in()
    refused = "denied" if pulls else "name unknown"
    if pulls:
        assert bytes_in_layout(pulled(lesser, where)) == content.all_bytes
    else:
        assert refused in lesser.fails("copy", where, f"oci:{account.home}/none:1").lower()
    folder = write_layout(account.home / "other", {"1": other})
    if pushes:
        lesser("copy", f"oci:{folder}:1", at(account, repository, ":new"))
    else:
        assert refused in lesser.fails("copy", f"oci:{folder}:1", at(account, repository, ":new")).lower()
    assert refused in lesser.fails("copy", f"oci:{folder}:1", where).lower()
    assert lesser.fails("delete", where)
    assert skopeo.bytes_of("inspect", "--raw", where) == content.manifest
    skopeo("copy", f"oci:{folder}:1", where)
    assert skopeo.bytes_of("inspect", "--raw", where) == other.manifest


def test_a_layer_that_is_damaged_on_the_disk_is_not_taken(account: Account, skopeo: Tool, repository: str) -> None:
    content = image("damaged", size=2 * MIB)
    where = pushed(skopeo, repository, content)
    flip_a_bit(blob_file(account.server, hex_of(content.layers[1])), MIB)
    assert "Digest did not match" in skopeo.fails("copy", where, f"oci:{account.home}/broken:1")
    assert not (account.home / "broken" / "index.json").exists()


def test_a_push_repairs_what_was_found_to_be_damaged(account: Account, skopeo: Tool, repository: str) -> None:
    content = image("repaired", size=2 * MIB)
    where = pushed(skopeo, repository, content)
    damaged = blob_file(account.server, hex_of(content.layers[1]))
    flip_a_bit(damaged, MIB)
    os.utime(damaged)
    skopeo.fails("copy", where, f"oci:{account.home}/broken:1")
    assert not (account.home / "broken" / "index.json").exists()
    pushed(skopeo, repository, content)
    assert bytes_in_layout(pulled(skopeo, where)) == content.all_bytes


def test_a_push_that_names_what_is_missing_says_so(account: Account, skopeo: Tool, repository: str) -> None:
    whole = two_platforms("sparse")
    folder = write_layout(account.home / "layout", {"1": whole})
    said = skopeo.fails("copy", "--multi-arch", "index-only", f"oci:{folder}:1", at(account, repository, ":1"))
    assert "manifest blob unknown" in said
    assert all(child.digest in said for child in whole.children)


def _copy_through(skopeo: Tool, meter: Meter, source: str, target: str, *options: str) -> list[tuple[str, int]]:
    """The requests of a copy to a repository behind a meter, or between two there."""
    meter.reset()
    where = f"docker://{meter.url.removeprefix('http://')}/"
    creds = f"{skopeo.account.access}:{skopeo.account.secret}"
    trust = ["--dest-tls-verify=false", "--dest-creds", creds]
    if not source.startswith(("oci:", "docker-archive:")):
        source = where + source
        trust += ["--src-tls-verify=false", "--src-creds", creds]
    skopeo("copy", *trust, *options, source, where + target)
    return meter.requests


def test_a_layer_that_another_repository_has_is_mounted_not_sent(
    http_skopeo: Tool, http_registry_account: Account
) -> None:
    content = image("mounted", size=MIB)
    folder = write_layout(http_registry_account.home / "layout", {"1": content})
    first, second = (new_repository(http_registry_account) for _ in range(2))
    with metered(http_registry_account.server.url) as meter:
        sent = _copy_through(http_skopeo, meter, f"oci:{folder}:1", first)
        assert sum(size for method, size in sent if method == "PATCH") == sum(map(len, content.blobs))
        sent = _copy_through(http_skopeo, meter, first, second)
        assert [size for method, size in sent if method == "PATCH"] == [len(content.config)]
        assert len([method for method, _ in sent if method == "POST"]) == 3
        sent = _copy_through(http_skopeo, meter, first, second)
        assert not [method for method, _ in sent if method in {"PATCH", "POST"}]
    registry_of(http_registry_account).holds(second, content, "latest")


def test_digests_made_before_the_push_spare_what_is_there(http_skopeo: Tool, http_registry_account: Account) -> None:
    home = http_registry_account.home
    config = write_docker_archive(home / "image.tar", "some/thing:1", [tar_of(files_of("precomputed", MIB))])
    target = new_repository(http_registry_account)
    with metered(http_registry_account.server.url) as meter:
        source, option = f"docker-archive:{home}/image.tar", "--dest-precompute-digests"
        sent = _copy_through(http_skopeo, meter, source, target, option)
        assert sum(size for method, size in sent if method == "PATCH") > MIB
        (home / ".local" / "share" / "containers" / "cache" / "blob-info-cache-v1.boltdb").unlink()
        sent = _copy_through(http_skopeo, meter, source, target, option)
        assert not [method for method, _ in sent if method in {"PATCH", "POST"}]
    assert registry_of(http_registry_account).done(
        200, "GET", f"/v2/{target}/blobs/{digest_of(config)}"
    ).body == config  # fmt: skip
