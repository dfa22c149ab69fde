"""umoci of Debian: an image made from nothing, carried by skopeo through the registry, unpacked without being root."""

import json
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.images import bytes_in_layout, digest_of, files_of, tree_of
from tests.oci_accounts import Tool, at, new_repository, new_tool, registry_of, skopeo_of
from tests.s3_accounts import Account


@pytest.fixture
def account(registry_account: Account) -> Account:
    return registry_account


@pytest.fixture
def skopeo(account: Account) -> Tool:
    found = skopeo_of(account)
    found.log_in()
    return found


@pytest.fixture
def umoci(account: Account) -> Tool:
    return new_tool(account, needs("umoci", "umoci"))


@pytest.fixture
def repository(account: Account) -> str:
    return new_repository(account)


def tree(folder: Path, seed: str) -> Path:
    """A folder with files in it."""
    for name, data in files_of(seed).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def made(account: Account, umoci: Tool, name: str = "made") -> Path:
    """A layout with an image of two layers, tagged `1`."""
    layout = account.home / name
    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:1")
    for number in range(2):
        umoci("insert", "--rootless", "--image", f"{layout}:1", tree(account.home / f"tree-{number}", f"{number}"), "/")
    umoci(
        "config", "--image", f"{layout}:1", "--config.cmd", "/bin/true", "--config.label", "größe=Ω", "--author", "me"
    )
    umoci("gc", "--layout", layout)
    return layout


def unpacked(account: Account, umoci: Tool, layout: Path) -> dict[str, bytes | None]:
    """The tree of the image tagged `1`."""
    bundle = account.home / account.name("bundle")
    umoci("unpack", "--rootless", "--image", f"{layout}:1", bundle)
    return tree_of(bundle / "rootfs")


def test_an_image_made_from_nothing_is_the_same_tree_elsewhere(
    account: Account, skopeo: Tool, umoci: Tool, repository: str
) -> None:
    layout = made(account, umoci)
    skopeo("copy", f"oci:{layout}:1", at(account, repository, ":1"))
    skopeo("copy", at(account, repository, ":1"), f"oci:{account.home}/pulled:1")
    assert bytes_in_layout(account.home / "pulled") == bytes_in_layout(layout)
    assert umoci("ls", "--layout", account.home / "pulled") == "1\n"
    came = unpacked(account, umoci, account.home / "pulled")
    assert came == unpacked(account, umoci, layout)
    files = {name: data for number in range(2) for name, data in files_of(f"{number}").items()}
    assert {name: data for name, data in came.items() if data is not None} == files
    shown = json.loads(umoci("stat", "--json", "--image", f"{account.home}/pulled:1"))
    assert [bool(one["layer"]) for one in shown["history"]] == [True, True, False]


def test_an_image_changed_after_a_pull_shares_its_layers(
    account: Account, skopeo: Tool, umoci: Tool, repository: str
) -> None:
    skopeo("copy", f"oci:{made(account, umoci)}:1", at(account, repository, ":1"))
    pulled = account.home / "pulled"
    skopeo("copy", at(account, repository, ":1"), f"oci:{pulled}:1")
    umoci("unpack", "--rootless", "--image", f"{pulled}:1", account.home / "bundle")
    (account.home / "bundle" / "rootfs" / "etc" / "0.conf").unlink()
    (account.home / "bundle" / "rootfs" / "etc" / "new").write_bytes(b"new\n")
    umoci("repack", "--image", f"{pulled}:2", account.home / "bundle")
    skopeo("copy", f"oci:{pulled}:2", at(account, repository, ":2"))
    one, two = (json.loads(skopeo("inspect", "--raw", at(account, repository, f":{tag}"))) for tag in (1, 2))
    assert two["layers"][:2] == one["layers"]
    assert len(two["layers"]) == 3
    skopeo("copy", at(account, repository, ":2"), f"oci:{account.home}/again:1")
    files = {name: data for name, data in unpacked(account, umoci, account.home / "again").items() if data is not None}
    expected = {name: data for number in range(2) for name, data in files_of(f"{number}").items()}
    expected["etc/new"] = b"new\n"
    del expected["etc/0.conf"]
    assert files == expected


def test_an_image_without_layers_goes_through(account: Account, skopeo: Tool, umoci: Tool, repository: str) -> None:
    layout = account.home / "empty"
    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:1")
    skopeo("copy", f"oci:{layout}:1", at(account, repository, ":1"))
    found = registry_of(account).done(200, "GET", f"/v2/{repository}/manifests/1")
    assert json.loads(found.body)["layers"] in (None, [])
    assert digest_of(found.body) in bytes_in_layout(layout)
    skopeo("copy", at(account, repository, ":1"), f"oci:{account.home}/pulled:1")
    assert unpacked(account, umoci, account.home / "pulled") == {}
