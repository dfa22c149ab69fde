"""buildah of Debian: images made without a daemon, pushed, pulled into another store, and there run in a chroot."""

import gzip
import json
import platform
from pathlib import Path

import pytest

from tests.images import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, digest_of, image, program_that_says
from tests.oci_accounts import Tool, buildah_of, new_repository, registry_of
from tests.s3_accounts import Account

SAID = b"made from nothing\n"
runs_programs = pytest.mark.skipif(platform.machine() != "x86_64", reason="the program in the image is for x86-64")


@pytest.fixture
def account(registry_account: Account) -> Account:
    return registry_account


@pytest.fixture
def buildah(account: Account) -> Tool:
    """Logged in as the project's maintainer, with an empty store."""
    found = buildah_of(account, "store")
    found.log_in()
    return found


@pytest.fixture
def other(account: Account, buildah: Tool) -> Tool:
    """Another store of the same person."""
    return buildah_of(account, "other")


@pytest.fixture
def where(account: Account) -> str:
    """A repository as buildah names it."""
    return f"{account.address}/{new_repository(account)}"


def context(account: Account, **files: bytes) -> Path:
    """A new folder with those files."""
    folder = account.home / account.name("context")
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o755)
    return folder


def made(buildah: Tool, name: str, *options: str) -> str:
    """The id of a new image with one program in it."""
    container = buildah("from", "scratch").strip()
    program = context(buildah.account, say=program_that_says(SAID)) / "say"
    buildah("copy", "--quiet", container, program, "/bin/say")
    buildah("config", "--cmd", "/bin/say", "--label", "größe=Ω", *options, container)
    return buildah("commit", "--quiet", "--rm", container, name).strip()


def manifest_at(account: Account, where: str, tag: str) -> tuple[str, dict[str, list[dict[str, str]]]]:
    """Type and content of what a tag points to."""
    found = registry_of(account).done(200, "GET", f"/v2/{where.partition('/')[2]}/manifests/{tag}")
    return found["content-type"], json.loads(found.body)


@runs_programs
@pytest.mark.parametrize(("kind", "media_type"), [("oci", OCI_MANIFEST), ("docker", DOCKER_MANIFEST)])
def test_an_image_made_from_nothing_runs_elsewhere(
    account: Account, buildah: Tool, other: Tool, where: str, kind: str, media_type: str
) -> None:
    image_id = made(buildah, "image")
    buildah("push", "--quiet", "--format", kind, "--digestfile", "digest", "image", f"docker://{where}:1")
    shown = registry_of(account).done(200, "GET", f"/v2/{where.partition('/')[2]}/manifests/1")
    assert (shown["content-type"], digest_of(shown.body)) == (media_type, (account.home / "digest").read_text())
    pulled = other("pull", "--quiet", f"{where}:1").strip()
    assert kind == "docker" or pulled == image_id
    container = other("from", f"{where}:1").strip()
    assert other("run", container, "/bin/say") == SAID.decode()
    labels = json.loads(other("inspect", "--type", "image", f"{where}:1"))["OCIv1"]["config"]["Labels"]
    assert labels["größe"] == "Ω"


@runs_programs
def test_a_build_on_a_pushed_image_shares_its_layer(account: Account, buildah: Tool, other: Tool, where: str) -> None:
    made(buildah, "image")
    buildah("push", "--quiet", "image", f"docker://{where}:base")
    folder = context(account, added=b"added\n")
    (folder / "Containerfile").write_text(f'FROM {where}:base\nCOPY added /etc/added\nRUN ["/bin/say"]\n')
    assert SAID.decode() in other("build", "--tag", "built", folder)
    other("push", "--quiet", "built", f"docker://{where}:built")
    base, built = (manifest_at(account, where, tag)[1]["layers"] for tag in ("base", "built"))
    assert built[0] == base[0]
    assert len(built) > len(base)


@runs_programs
def test_a_build_takes_its_steps_from_a_cache_in_the_registry(
    account: Account, buildah: Tool, other: Tool, where: str
) -> None:
    folder = context(account, say=program_that_says(SAID))
    (folder / "Containerfile").write_text('FROM scratch\nCOPY say /bin/say\nRUN ["/bin/say"]\n')
    cache = f"{where}/cache"
    first = buildah("build", "--layers", "--cache-to", cache, "--cache-from", cache, "--tag", "one", folder)
    assert SAID.decode() in first
    tags = registry_of(account).done(200, "GET", f"/v2/{cache.partition('/')[2]}/tags/list").json["tags"]
    assert len(tags) == 2
    second = other("build", "--layers", "--cache-to", cache, "--cache-from", cache, "--tag", "two", folder)
    assert SAID.decode() not in second
    container = other("from", "two").strip()
    assert other("run", container, "/bin/say") == SAID.decode()


def test_a_list_of_platforms_goes_in_whole(account: Account, buildah: Tool, other: Tool, where: str) -> None:
    ids = {}
    buildah("manifest", "create", "list")
    for architecture in ("amd64", "arm64"):
        ids[architecture] = made(buildah, f"image-{architecture}", "--arch", architecture)
        buildah("manifest", "add", "list", f"containers-storage:localhost/image-{architecture}")
    buildah("manifest", "push", "--all", "--quiet", "list", f"docker://{where}:1")
    media_type, shown = manifest_at(account, where, "1")
    assert media_type == OCI_INDEX
    assert len(shown["manifests"]) == 2
    for architecture, image_id in ids.items():
        assert other("pull", "--quiet", "--arch", architecture, f"{where}:1").strip() == image_id


def test_an_image_of_others_comes_as_it_was_pushed(account: Account, buildah: Tool, where: str) -> None:
    content = image("pulled", layers=3, size=1000)
    registry_of(account).push(where.partition("/")[2], content, "1")
    for reference in (":1", f"@{content.digest}"):
        assert f"sha256:{buildah('pull', '--quiet', where + reference).strip()}" == digest_of(content.config)
    buildah("push", "--quiet", "--disable-compression", f"{where}:1", f"dir:{account.home}/pulled")
    for tar in map(gzip.decompress, content.layers):
        assert (account.home / "pulled" / digest_of(tar).removeprefix("sha256:")).read_bytes() == tar


def test_who_is_not_logged_in_is_refused(account: Account, buildah: Tool, where: str) -> None:
    made(buildah, "image")
    assert buildah("login", "--get-login", account.address).strip() == account.access
    buildah("logout", account.address)
    assert "unauthorized" in buildah.fails("push", "image", f"docker://{where}:1")
    creds = f"{account.access}:{account.secret}"
    buildah("push", "--quiet", "--creds", creds, "image", f"docker://{where}:1")
    assert "unauthorized" in buildah.fails("pull", f"{where}:1")
    buildah("pull", "--quiet", "--creds", creds, f"{where}:1")
