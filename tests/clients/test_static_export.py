"""A registry as plain files: written by `entrepot export-static`, served by others, read by clients of registries."""

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

from entrepot.cli.reports import ExportReport
from tests.conftest import needs
from tests.running import RunningServer, free_port, running_server
from tests.s3_accounts import boto3_of, new_account
from tests.shells import Shell, shell_in
from tests.sifs import sif
from tests.trees import DOCKER, IMAGE, INDEX, Image, Registry, container, index, sif_artifact, signature_of
from tests.webservers import running_apache, running_nginx

DEFINITION = "Bootstrap: docker\nFrom: alpine\n"
SIF = sif(definition=DEFINITION, labels={"org.opencontainers.image.source": "https://github.com/vsoch/images.git"})
SIF_IMAGE = sif_artifact(SIF)
APP = container("app")
ALL = index(APP, container("arm", architecture="arm64"))
SIGNATURE = signature_of(APP)
OCTETS = "application/octet-stream"


def fill(registry: Registry) -> None:
    """Two public repositories and a private one."""
    registry.push("vanessa/greeting", SIF_IMAGE, "latest", "1.0")
    registry.push("tools/app", APP, "latest", "list", "index.html", "x.php.cgi", "1.gz")
    registry.push("tools/app", ALL, "all")
    registry.push("tools/app", container("docker", media_type=DOCKER), "docker")
    registry.push("tools/app", SIGNATURE)
    registry.push("hidden/away", container("secret"), "latest")
    for name in ("vanessa/greeting", "tools/app"):
        registry.open_to_all(name)


@dataclass(frozen=True)
class Export:
    """A tree, the registry it was made from, which is gone, and what that said of its tags."""

    tree: Path
    url: str
    plans: dict[str, list[dict[str, Any]]]
    digests: dict[str, dict[str, str]]


def new_registry(server: RunningServer) -> Registry:
    return Registry(server.url, server.user("exporter", role="maintainer"))


def shell_of(server: RunningServer, folder: Path) -> Shell:
    return shell_in(folder, ENTREPOT_SERVER=server.url, ENTREPOT_TOKEN=server.user("exporter", role="maintainer"))


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """All public repositories of a server that has stopped."""
    folder = tmp_path_factory.mktemp("export")
    url = f"http://127.0.0.1:{free_port()}"
    with running_server(folder / "data") as server:
        registry = new_registry(server)
        fill(registry)
        shell = shell_of(server, folder / "shell")
        said = shell("export-static", "tree", "--base-url", url)
        assert said.split("\t")[0] == "tree"
        names = ("vanessa/greeting", "tools/app")
        plans = {name: registry.ask("GET", f"/registry/{name}/?static={url}").json()["files"] for name in names}
        digests = {name: {tag: registry.digest(name, tag) for tag in registry.tags(name)} for name in names}
    return Export(shell.folder / "tree", url, plans, digests)


@pytest.fixture(scope="module", params=["nginx", "apache"])
def served(request: pytest.FixtureRequest, export: Export, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the tree behind a real web server. It is the one that was told to `--base-url`."""
    run = {"nginx": running_nginx, "apache": running_apache}[request.param]
    with run(export.tree, tmp_path_factory.mktemp("web") / "state", export.url) as url:
        yield url


def skopeo(*words: str | Path, folder: Path) -> str:
    """What skopeo prints; it must succeed."""
    program = needs("skopeo", "skopeo")
    environ = {**os.environ, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    done = subprocess.run([program, *words], capture_output=True, text=True, env=environ, timeout=60, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def test_the_tree_has_no_more_than_public_repositories(export: Export) -> None:
    assert not (export.tree / "v2/hidden").exists()
    assert sorted(path.name for path in export.tree.iterdir()) == [
        "_headers", "blobs", "index.json", "nginx.conf", "oci-layout", "registry", "v2",
    ]  # fmt: skip
    assert sorted(path.name for path in (export.tree / "v2").iterdir()) == [
        ".htaccess", "index.html", "tools", "vanessa",
    ]  # fmt: skip
    assert (export.tree / "v2/index.html").read_text() == "{}"
    assert "vanessa/greeting" in (export.tree / "registry/index.html").read_text()


def test_every_byte_is_kept_once_under_all_its_names(export: Export) -> None:
    tree = export.tree
    blob = tree / "blobs/sha256" / hashlib.sha256(SIF).hexdigest()
    (file,) = (tree / "registry/files").rglob(f"{blob.name}.sif")
    assert file.samefile(blob)
    assert (tree / f"v2/vanessa/greeting/blobs/sha256:{blob.name}").samefile(blob)
    manifest = tree / "blobs/sha256" / SIF_IMAGE.digest.removeprefix("sha256:")
    assert (tree / "v2/vanessa/greeting/manifests/latest").samefile(manifest)
    assert manifest.read_bytes() == SIF_IMAGE.data
    for path in (tree / "blobs/sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_every_file_has_its_type(export: Export, served: str) -> None:
    general = [
        {"path": "v2/index.html", "type": "application/json"},
        {"path": "registry/index.html", "type": "text/html"},
    ]
    with requests.Session() as session:
        for file in [*general, *(file for plan in export.plans.values() for file in plan)]:
            paths = [file["path"]]
            if paths[0].endswith("/index.html") and "/v2/tools/app/manifests/" not in f"/{paths[0]}":
                paths += [paths[0].removesuffix("index.html"), paths[0].removesuffix("/index.html")]
            for path in paths:
                answer = session.get(f"{served}/{path}", timeout=10)
                assert answer.status_code == 200, path
                assert answer.headers["Content-Type"].partition(";")[0] == file["type"], path
                assert "Content-Encoding" not in answer.headers
                if "digest" in file:
                    assert f"sha256:{hashlib.sha256(answer.content).hexdigest()}" == file["digest"], path
                elif "text" in file:
                    assert answer.text == file["text"]


def test_rules_are_not_shown(export: Export, served: str) -> None:
    assert requests.get(f"{served}/v2/.htaccess", timeout=10).status_code in (403, 404)


def test_skopeo_finds_the_digests_of_the_live_registry(export: Export, served: str, tmp_path: Path) -> None:
    host = served.partition("://")[2]
    for name, tags in export.digests.items():
        for tag, digest in tags.items():
            raw = skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{host}/{name}:{tag}", folder=tmp_path)
            assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == digest
        listed = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{host}/{name}", folder=tmp_path))
        assert sorted(listed["Tags"]) == sorted(tags)


@pytest.mark.parametrize(
    ("ref", "image"), [("tools/app:latest", APP), ("tools/app:all", ALL), ("vanessa/greeting:1.0", SIF_IMAGE)]
)
def test_skopeo_pulls_it(served: str, tmp_path: Path, ref: str, image: Image) -> None:
    host = served.partition("://")[2]
    words = ("copy", "--src-tls-verify=false", "--all", f"docker://{host}/{ref}", f"dir:{tmp_path}/copy")
    skopeo(*words, folder=tmp_path)
    assert (tmp_path / "copy/manifest.json").read_bytes() == image.data
    for blob in image.blobs:
        assert (tmp_path / "copy" / hashlib.sha256(blob).hexdigest()).read_bytes() == blob


def test_the_code_of_the_seed_downloads_from_it(served: str, tmp_path: Path) -> None:
    registry = f"{served}/registry"
    namespace = "vanessa/greeting"
    tag = "latest"

    def stream_file(url: str, download_to: Path) -> Path:
        response = requests.get(url, stream=True)
        with open(download_to, "wb") as filey:
            for chunk in response.iter_content(chunk_size=1024):
                if chunk:
                    filey.write(chunk)
        return download_to

    manifest_url = "%s/%s/manifests/%s" % (registry, namespace, tag)  # noqa: UP031  # as it was written
    manifest = requests.get(manifest_url).json()
    for layer in manifest["layers"]:
        url = layer["urls"][0]
        download_to = stream_file(url, tmp_path / "mycontainer.simg")
    assert download_to.read_bytes() == SIF
    assert manifest["layers"][0]["digest"] == f"sha256:{hashlib.sha256(SIF).hexdigest()}"
    assert requests.get(f"{manifest_url}/Singularity").text == DEFINITION
    assert requests.get(f"{registry}/{namespace}/tags").json()["tags"] == ["1.0", "latest"]


def test_an_address_with_a_path_leads_to_the_same_tree(server: RunningServer, tmp_path: Path) -> None:
    registry, name = new_registry(server), "below/a-path"
    registry.push(name, SIF_IMAGE, "latest")
    port = free_port()
    shell = shell_of(server, tmp_path)
    shell("export-static", "tree", name, "--base-url", f"http://127.0.0.1:{port}/storage/")
    with running_nginx(shell.folder / "tree", tmp_path / "web", f"http://127.0.0.1:{port}") as url:
        manifest = requests.get(f"{url}/storage/registry/{name}/manifests/latest").json()
        assert manifest["layers"][0]["urls"][0].startswith(f"{url}/storage/registry/files/")
        assert requests.get(manifest["layers"][0]["urls"][0]).content == SIF
        assert requests.head(f"{url}/v2/{name}/manifests/latest").headers["Content-Type"] == IMAGE
        assert requests.get(f"{url}/nginx.conf").status_code == 404


def test_skopeo_reads_the_same_tree_as_an_oci_layout(export: Export, tmp_path: Path) -> None:
    raw = skopeo("inspect", "--raw", f"oci:{export.tree}:vanessa/greeting:latest", folder=tmp_path)
    assert raw.encode() == SIF_IMAGE.data


@dataclass(frozen=True)
class Exporting:
    """A repository of its own on the shared server, and a tree of it."""

    shell: Shell
    registry: Registry
    name: str
    words: tuple[str, ...]

    def __call__(self, *words: str) -> ExportReport:
        return msgspec.json.decode(self.shell(*self.words, *words, "--json"), type=ExportReport)

    @property
    def tree(self) -> Path:
        return self.shell.folder / "tree"

    def times(self) -> dict[str, int]:
        """When each file was written."""
        files = (path for path in self.tree.rglob("*") if path.is_file())
        return {str(path.relative_to(self.tree)): path.stat().st_mtime_ns for path in files}


@pytest.fixture
def exporting(server: RunningServer, tmp_path: Path, request: pytest.FixtureRequest) -> Exporting:
    name = f"again/r{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    words = ("export-static", "tree", name, "--base-url", "http://127.0.0.1:1")
    return Exporting(shell_of(server, tmp_path), new_registry(server), name, words)


def test_a_second_run_writes_nothing(exporting: Exporting) -> None:
    exporting.registry.push(exporting.name, SIF_IMAGE, "latest", "1.0")
    exporting.registry.push(exporting.name, ALL, "all")
    first = exporting()
    before = exporting.times()
    assert (first.written, first.files) == (len(before), len(before))
    second = exporting("--delete")
    assert (second.written, second.removed, second.received, second.files) == (0, 0, 0, first.files)
    assert exporting.times() == before


def test_a_moved_tag_changes_only_what_speaks_of_it(exporting: Exporting) -> None:
    name = exporting.name
    exporting.registry.push(name, container("one"), "latest")
    exporting.registry.push(name, SIF_IMAGE, "sif")
    exporting()
    before = exporting.times()
    moved = container("two")
    exporting.registry.push(name, moved, "latest")
    assert exporting("--delete").removed > 0
    after = exporting.times()
    assert (exporting.tree / f"v2/{name}/manifests/latest").read_bytes() == moved.data
    changed = {path for path in before.keys() & after.keys() if before[path] != after[path]}
    assert changed == {
        f"v2/{name}/manifests/latest", f"v2/{name}/manifests/.htaccess", f"registry/{name}/index.html",
        f"registry/{name}/manifests/latest/index.html", "index.json", "nginx.conf", "_headers",
    }  # fmt: skip


def test_what_is_gone_stays_until_it_is_to_be_deleted(exporting: Exporting) -> None:
    name, image = exporting.name, container("gone")
    exporting.registry.push(name, image, "gone")
    exporting.registry.push(name, APP, "latest")
    exporting()
    stranger = exporting.tree / "notes.txt"
    stranger.write_text("mine")
    exporting.registry.ask("DELETE", f"/v2/{name}/manifests/{image.digest}", status=202)
    assert exporting().removed == 0
    assert (exporting.tree / f"v2/{name}/manifests/gone").exists()
    assert json.loads((exporting.tree / f"v2/{name}/tags/list").read_text())["tags"] == ["latest"]
    assert exporting("--delete").removed > 0
    left = exporting.times()
    assert not any("gone" in path or image.digest.removeprefix("sha256:") in path for path in left)
    assert not (exporting.tree / f"registry/{name}/manifests/gone").exists()
    assert stranger.read_text() == "mine"


def test_an_export_that_was_stopped_leaves_no_half_file_and_continues(exporting: Exporting) -> None:
    layer = os.urandom(24 * 2**20)
    image = container("big", more=layer)
    exporting.registry.push(exporting.name, image, "latest")
    process = exporting.shell.begin(*exporting.words, "--bwlimit", "8M", "-j", "1")
    part = exporting.tree / "blobs/sha256" / f"{hashlib.sha256(layer).hexdigest()}.part"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (part.exists() and part.stat().st_size >= 16 * 2**20):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert not (exporting.tree / "v2").exists()
    for path in (exporting.tree / "blobs/sha256").iterdir():
        assert path == part or hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    exporting()
    assert not part.exists()
    assert (exporting.tree / f"v2/{exporting.name}/manifests/latest").read_bytes() == image.data


def test_two_exports_do_not_write_one_tree(exporting: Exporting) -> None:
    exporting.registry.push(exporting.name, container("big", more=os.urandom(8 * 2**20)), "latest")
    process = exporting.shell.begin(*exporting.words, "--bwlimit", "4M")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not exporting.tree.exists():
        time.sleep(0.02)
    time.sleep(0.2)
    assert "another export" in exporting.shell.fails(5, *exporting.words)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_digests_of_sha512_have_their_place(exporting: Exporting) -> None:
    name, data = exporting.name, b"by its longer name"
    digest = f"sha512:{hashlib.sha512(data).hexdigest()}"
    exporting.registry.ask("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", data=data, status=201)
    manifest = {
        "schemaVersion": 2, "mediaType": IMAGE, "artifactType": "text/plain",
        "config": {"mediaType": "text/plain", "digest": digest, "size": len(data)}, "layers": [],
    }  # fmt: skip
    exporting.registry.push(name, Image(json.dumps(manifest).encode(), IMAGE), "latest")
    exporting()
    assert (exporting.tree / "blobs/sha512" / hashlib.sha512(data).hexdigest()).read_bytes() == data
    assert (exporting.tree / f"v2/{name}/blobs/{digest}").read_bytes() == data


def test_bad_calls_are_one_clear_error(exporting: Exporting) -> None:
    shell, base = exporting.shell, ("--base-url", "http://127.0.0.1:1")
    exporting.registry.push(exporting.name, APP, "latest")
    assert "all tags" in shell.fails(2, "export-static", "tree", f"{exporting.name}:latest", *base)
    assert "--base-url" in shell.fails(2, "export-static", "tree", exporting.name)
    assert "not an address" in shell.fails(2, "export-static", "tree", exporting.name, "--base-url", "ftp://x")
    assert "error[not-found]" in shell.fails(3, "export-static", "tree", "no/such", *base)
    assert "$" in shell.fails(2, "export-static", "a$b", exporting.name, *base)
    shell.file("file", b"")
    assert "error[usage]" in shell.fails(2, "export-static", "file", exporting.name, *base)
    assert "not a bucket" in shell.fails(2, "export-static", "s3://", exporting.name, *base)
    assert shell("export-static", "dry", exporting.name, *base, "-n") == ""
    assert not (shell.folder / "dry").exists()


def test_a_bucket_has_the_same_with_types_and_keys_without_folders(
    server: RunningServer, exporting: Exporting, tmp_path: Path
) -> None:
    account = new_account(server, tmp_path)
    bucket = account.name()
    name = exporting.name
    exporting.registry.push(name, SIF_IMAGE, "latest")
    exporting.registry.push(name, ALL, "all")
    with _client(account) as s3:
        s3.create_bucket(Bucket=bucket)
        shell = Shell(exporting.shell.folder, {**exporting.shell.environ, **_aws(account)})
        words = ("export-static", f"s3://{bucket}/mirror", name, "--base-url", "https://mirror.example", "--json")
        first = msgspec.json.decode(shell(*words), type=ExportReport)
        keys = _keys(s3, bucket)
        assert first.written == first.files == len(keys)
        digest = hashlib.sha256(SIF).hexdigest()
        wanted = {
            "mirror/v2/": "application/json", f"mirror/registry/{name}/tags": "application/json",
            f"mirror/registry/{name}/tags/": "application/json", f"mirror/v2/{name}/manifests/all": INDEX,
            f"mirror/registry/{name}/manifests/latest": "application/json", f"mirror/v2/{name}/manifests/latest": IMAGE,
            f"mirror/v2/{name}/blobs/sha256:{digest}": OCTETS, f"mirror/registry/{name}/index.html": "text/html",
        }  # fmt: skip
        for key, kind in wanted.items():
            assert s3.head_object(Bucket=bucket, Key=key)["ContentType"] == kind, key
        assert not any("/registry/files/" in key or key.endswith("nginx.conf") for key in keys)
        said = json.loads(s3.get_object(Bucket=bucket, Key=f"mirror/registry/{name}/manifests/latest")["Body"].read())
        assert said["layers"][0]["urls"] == [f"https://mirror.example/v2/{name}/blobs/sha256:{digest}"]
        assert s3.get_object(Bucket=bucket, Key=f"mirror/v2/{name}/blobs/sha256:{digest}")["Body"].read() == SIF
        # the store is its own mirror here: our objects taught it an md5, which its manifests now tell
        assert msgspec.json.decode(shell(*words), type=ExportReport).received == 0
        again = msgspec.json.decode(shell(*words), type=ExportReport)
        assert (again.written, again.received) == (0, 0)
        exporting.registry.ask("DELETE", f"/v2/{name}/manifests/all", status=202)
        s3.put_object(Bucket=bucket, Key="mirror/notes", Body=b"mine")
        gone = msgspec.json.decode(shell(*words, "--delete"), type=ExportReport)
        assert gone.removed > 0
        left = _keys(s3, bucket)
        assert f"mirror/v2/{name}/manifests/all" not in left
        assert "mirror/notes" in left
        assert "error[not-found]" in shell.fails(3, "export-static", f"s3://{bucket}-no", *words[2:-1])


@contextmanager
def _client(account: Any) -> Iterator[Any]:
    s3 = boto3_of(account)
    try:
        yield s3
    finally:
        s3.close()


def _aws(account: Any) -> dict[str, str]:
    return {key: value for key, value in account.aws_environ.items() if key.startswith("AWS_")}


def _keys(s3: Any, bucket: str) -> set[str]:
    return {
        one["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket) for one in page["Contents"]
    }
