"""Images across an air gap: `entrepot bundle` from one server, `entrepot load` into another."""

import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from entrepot.cli.reports import BundleReport, LoadReport
from tests.conftest import needs
from tests.running import RunningServer, running_server
from tests.shells import Shell, shell_in
from tests.sifs import sif
from tests.trees import Image, Registry, container, index, sif_artifact, signature_of

SIF_IMAGE = sif_artifact(sif())
APP = container("app")
ALL = index(APP, container("arm", architecture="arm64"))
SIGNATURE = signature_of(APP)


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The server behind the gap."""
    with running_server(tmp_path_factory.mktemp("far") / "data") as running:
        yield running


@pytest.fixture
def here(server: RunningServer) -> Registry:
    registry = Registry(server.url, server.user("carrier", role="maintainer"))
    registry.push("carry/app", APP, "latest")
    registry.push("carry/app", ALL, "all")
    registry.push("carry/app", SIGNATURE)
    registry.push("carry/greeting", SIF_IMAGE, "1.0")
    return registry


@pytest.fixture
def there(far: RunningServer) -> Registry:
    return Registry(far.url, far.user("carrier", role="maintainer"))


@pytest.fixture
def shell(here: Registry, tmp_path: Path) -> Shell:
    return shell_in(tmp_path / "here", ENTREPOT_SERVER=here.url, ENTREPOT_TOKEN=here.token)


@pytest.fixture
def far_shell(there: Registry, tmp_path: Path) -> Shell:
    return shell_in(tmp_path / "there", ENTREPOT_SERVER=there.url, ENTREPOT_TOKEN=there.token)


def loaded(shell: Shell, *words: str | Path) -> list[LoadReport]:
    lines = shell("load", *map(str, words), "--json").splitlines()
    return [msgspec.json.decode(line, type=LoadReport) for line in lines]


def digests_in(path: Path) -> set[str]:
    """What a bundle has, each verified."""
    found = set()
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            if member.name.startswith("blobs/"):
                file = tar.extractfile(member)
                assert file
                hex_ = hashlib.new(member.name.split("/")[1], file.read()).hexdigest()
                assert member.name.endswith(f"/{hex_}")
                found.add(f"{member.name.split('/')[1]}:{hex_}")
    return found


def test_images_arrive_as_they_left_and_a_second_load_sends_nothing(
    shell: Shell, far_shell: Shell, here: Registry, there: Registry
) -> None:
    assert shell("bundle", "all.tar", "carry/app:all", "carry/greeting:1.0") == "all.tar\n"
    tar = shell.folder / "all.tar"
    assert not (shell.folder / "all.tar.part").exists()
    first = loaded(far_shell, tar)
    assert [(one.ref, one.digest) for one in first] == [
        ("carry/app:all", ALL.digest), ("carry/greeting:1.0", SIF_IMAGE.digest),
    ]  # fmt: skip
    assert all(one.sent > 0 for one in first)
    for name, tag in (("carry/app", "all"), ("carry/greeting", "1.0")):
        assert there.digest(name, tag) == here.digest(name, tag)
    for child in ALL.children:
        assert there.ask("GET", f"/v2/carry/app/manifests/{child.digest}").content == child.data
        for blob in child.blobs:
            digest = hashlib.sha256(blob).hexdigest()
            assert there.ask("GET", f"/v2/carry/app/blobs/sha256:{digest}").content == blob
    referrers = there.ask("GET", f"/v2/carry/app/referrers/{APP.digest}").json()["manifests"]
    assert [one["digest"] for one in referrers] == [SIGNATURE.digest]
    second = loaded(far_shell, tar)
    assert [one.sent for one in second] == [0, 0]
    assert [one.saved for one in second] == [one.sent + one.saved for one in first]


def test_the_same_images_are_the_same_bytes_in_any_order(shell: Shell) -> None:
    shell("bundle", "a.tar", "carry/app:all", "carry/greeting:1.0")
    report = msgspec.json.decode(
        shell("bundle", "b.tar", "carry/greeting:1.0", "carry/app:all", "--json"), type=BundleReport
    )
    content = (shell.folder / "a.tar").read_bytes()
    assert content == (shell.folder / "b.tar").read_bytes()
    assert (report.digest, report.size) == (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))
    assert report.images == ["carry/app:all", "carry/greeting:1.0"]
    with tarfile.open(shell.folder / "a.tar") as tar:
        members = tar.getmembers()
    assert [one.name for one in members] == sorted(one.name for one in members)
    assert {(one.mtime, one.uid, one.gid, one.uname, one.gname) for one in members} == {(0, 0, 0, "", "")}


def test_a_bundle_has_children_and_what_refers_to_them(shell: Shell) -> None:
    shell("bundle", "all.tar", "carry/app:all")
    assert {ALL.digest, *(child.digest for child in ALL.children), SIGNATURE.digest} <= digests_in(
        shell.folder / "all.tar"
    )


@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
def test_skopeo_reads_it(shell: Shell, tmp_path: Path, transport: str) -> None:
    skopeo = needs("skopeo", "skopeo")
    shell("bundle", "all.tar", "carry/app", "carry/greeting:1.0")
    place = shell.folder / "all.tar"
    if transport == "oci":
        subprocess.run([needs("tar", "tar"), "-xf", place, "--one-top-level=layout"], cwd=shell.folder, check=True)
        place = shell.folder / "layout"
    words = [skopeo, "copy", f"{transport}:{place}:carry/app:latest", f"dir:{tmp_path}/copy"]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)}, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy/manifest.json").read_bytes() == APP.data


def test_a_layout_of_skopeo_is_loaded_below_a_name(far_shell: Shell, shell: Shell, there: Registry) -> None:
    skopeo = needs("skopeo", "skopeo")
    shell("bundle", "all.tar", "carry/app")
    subprocess.run(
        [skopeo, "copy", f"oci-archive:{shell.folder}/all.tar:carry/app:latest", "oci-archive:theirs.tar:v7"],
        cwd=shell.folder, check=True, capture_output=True, env={**os.environ, "HOME": str(shell.folder)},
    )  # fmt: skip
    theirs = shell.folder / "theirs.tar"
    assert "--to" in far_shell.fails(2, "load", str(theirs))
    (one,) = loaded(far_shell, theirs, "--to", "from/skopeo")
    assert one.ref == "from/skopeo:v7"
    assert there.digest("from/skopeo", "v7") == one.digest


def test_names_can_be_put_below_another(shell: Shell, far_shell: Shell, there: Registry) -> None:
    shell("bundle", "one.tar", "carry/greeting:1.0")
    (one,) = loaded(far_shell, shell.folder / "one.tar", "--to", "mirror")
    assert one.ref == "mirror/carry/greeting:1.0"
    assert there.digest("mirror/carry/greeting", "1.0") == SIF_IMAGE.digest
    (again,) = loaded(far_shell, shell.folder / "one.tar", "--to", "mirror2")
    assert again.sent == len(SIF_IMAGE.data), "the server takes blobs from where it has them"


def test_a_bundle_that_was_stopped_continues(shell: Shell, here: Registry) -> None:
    image = container("big", more=os.urandom(24 * 2**20))
    here.push("carry/big", image, "latest")
    process = shell.begin("bundle", "big.tar", "carry/big", "carry/greeting:1.0", "--bwlimit", "10M", "-j", "1")
    part = shell.folder / "big.tar.part"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (part.exists() and part.stat().st_size >= 16 * 2**20):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert not (shell.folder / "big.tar").exists()
    with part.open("r+b") as file:
        file.write(b"spoiled")
    shell("bundle", "big.tar", "carry/big", "carry/greeting:1.0")
    assert image.digest in digests_in(shell.folder / "big.tar")
    (shell.folder / "big.tar").rename(part)
    whole = msgspec.json.decode(
        shell("bundle", "big.tar", "carry/big", "carry/greeting:1.0", "--json"), type=BundleReport
    )
    assert whole.received <= 1024, "all but its end was there"


def test_a_load_that_was_stopped_continues(shell: Shell, far_shell: Shell, here: Registry, there: Registry) -> None:
    image = container("huge", more=os.urandom(48 * 2**20))
    here.push("carry/huge", image, "latest")
    shell("bundle", "huge.tar", "carry/huge")
    tar = str(shell.folder / "huge.tar")
    process = far_shell.begin("load", tar, "--bwlimit", "16M", "-j", "1", "-v")
    assert process.stderr
    for line in process.stderr:
        if line.startswith(b"PATCH part of ") and b": 202" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    there.ask("GET", "/v2/carry/huge/manifests/latest", status=404)
    (one,) = loaded(far_shell, tar)
    assert 0 < one.sent <= 33 * 2**20
    assert there.digest("carry/huge", "latest") == image.digest


def tar_of(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def layout_of(image: Image, name: str = "carry/bad:latest", *, blobs: tuple[bytes, ...] = ()) -> dict[str, bytes]:
    """A layout of one image, as files."""
    listed = {**image.descriptor, "annotations": {"org.opencontainers.image.ref.name": name}}
    found = {f"blobs/sha256/{hashlib.sha256(data).hexdigest()}": data for data in (image.data, *(blobs or image.blobs))}
    head = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    return {**head, "index.json": json.dumps({"schemaVersion": 2, "manifests": [listed]}).encode(), **found}


def test_what_is_damaged_is_not_sent(far_shell: Shell, there: Registry, tmp_path: Path) -> None:
    files = layout_of(container("bad"))
    layer = next(name for name, data in files.items() if len(data) > 9000)
    spoiled = tar_of(tmp_path / "spoiled.tar", {**files, layer: files[layer].replace(b"bad", b"BAD")})
    assert "error[checksum]" in far_shell.fails(6, "load", str(spoiled))
    there.ask("GET", "/v2/carry/bad/manifests/latest", status=404)
    cut = tmp_path / "cut.tar"
    cut.write_bytes(spoiled.read_bytes()[:-12000])
    assert "error[checksum]" in far_shell.fails(6, "load", str(cut))


def test_what_is_no_bundle_is_refused(far_shell: Shell, tmp_path: Path) -> None:
    files = layout_of(container("bad"))
    image = tar_of(tmp_path / "evil.tar", layout_of(container("bad"), name="../evil:x"))
    assert "not a repository" in far_shell.fails(2, "load", str(image))
    lacking = {name: data for name, data in files.items() if len(data) <= 9000}
    assert "lacks sha256:" in far_shell.fails(10, "load", str(tar_of(tmp_path / "lacking.tar", lacking)))
    nothing = {**files, "index.json": b'{"schemaVersion":2,"manifests":[]}'}
    assert "has a name" in far_shell.fails(10, "load", str(tar_of(tmp_path / "nothing.tar", nothing)))
    for index_json in (b"[]", b"{", b'{"manifests":[{"digest":"sha256:../x"}]}'):
        broken = tar_of(tmp_path / "broken.tar", {**files, "index.json": index_json})
        assert far_shell.run("load", str(broken)).returncode in (2, 10)
    (tmp_path / "text").write_bytes(b"hello" * 1000)
    assert "no bundle" in far_shell.fails(10, "load", str(tmp_path / "text"))
    assert "no bundle" in far_shell.fails(10, "load", str(tar_of(tmp_path / "empty.tar", {"a": b"b"})))
    assert "error[not-found]" in far_shell.fails(3, "load", str(tmp_path / "missing"))


def test_bad_calls_leave_nothing(shell: Shell) -> None:
    assert "error[not-found]" in shell.fails(3, "bundle", "x.tar", "carry/app:none")
    assert "not an image" in shell.fails(2, "bundle", "x.tar", "carry/app:bad tag")
    assert "not a repository" in shell.fails(2, "bundle", "x.tar", "Carry/App")
    assert "error[denied]" in shell.fails(4, "bundle", "x.tar", "carry/app", ENTREPOT_TOKEN="a.b.c")
    assert "error[usage]" in shell.fails(2, "bundle", "none/x.tar", "carry/app:all")
    assert shell("bundle", "x.tar", "carry/app", "-n") == ""
    assert list(shell.folder.iterdir()) == []


def test_a_dry_load_asks_nobody(shell: Shell, far_shell: Shell) -> None:
    shell("bundle", "one.tar", "carry/app")
    done = far_shell.run("load", str(shell.folder / "one.tar"), "-n", ENTREPOT_SERVER="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"would load carry/app:latest" in done.stderr


def test_an_object_leaves_as_an_artifact(
    shell: Shell, far_shell: Shell, server: RunningServer, there: Registry
) -> None:
    server.bucket("carried")
    digest = shell.file("app.sif", sif(definition="From: an object"))
    shell("push", "app.sif", "object:carried/app")
    shell("bundle", "object.tar", "carried/app")
    loaded(far_shell, shell.folder / "object.tar")
    assert there.ask("GET", f"/v2/carried/app/blobs/{digest}").content == (shell.folder / "app.sif").read_bytes()


def test_a_stranger_is_told_to_log_in(shell: Shell, far_shell: Shell) -> None:
    shell("bundle", "one.tar", "carry/app")
    said = far_shell.fails(4, "load", str(shell.folder / "one.tar"), ENTREPOT_TOKEN="")
    assert "entrepot login" in said
    assert "not entrepot" not in said
