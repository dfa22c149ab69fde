"""The code of seed 2, as it was written, against a registry of ours; and what its manifest is made of."""

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image_sets import DataSet, push, pushed_image
from tests.registry import Client, People, digest_of, new_user
from tests.running import RunningServer
from tests.sifs import SQUASHFS as SQUASHFS_BYTES
from tests.views import (
    SIF_LAYER,
    SQUASHFS,
    code_of,
    manifest_of,
    new_sif,
    only_url,
    publish,
    push_file,
    put_by_s3,
    see,
    seen,
)

SEED = """
import requests

registry = "BASE/registry"
namespace = "vanessa/greeting"
tag = "latest"

manifest_url = "%s/%s/manifests/%s" %(registry, namespace, tag)
manifest = requests.get(manifest_url).json()

print(json.dumps(manifest, indent=4))

def stream_file(url, download_to):
    response = requests.get(url, stream=True)
    with open(download_to, 'wb') as filey:
        for chunk in response.iter_content(chunk_size=1024): 
            if chunk: 
                filey.write(chunk)
    return download_to
layers = manifest['layers']

for layer in layers:
    url = layer['urls'][0]
    download_to = stream_file(url, 'mycontainer.simg')    
"""  # noqa: W291
"""Its wiki page forgets `import json`, which goes in front."""


@pytest.fixture(scope="module")
def vanessa(server: RunningServer) -> Client:
    """Who maintains the seed's repository, in project `default`."""
    return Client(server, new_user(server, "default", "maintainer"), "vanessa/greeting")


def test_the_code_of_the_seed_downloads_the_image(vanessa: Client, tmp_path: Path) -> None:
    content = new_sif(payload=SQUASHFS_BYTES * 50)
    push_file(vanessa, content)
    publish(vanessa)
    code = "import json\n" + SEED.replace("BASE", vanessa.server.url)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    manifest = json.loads(done.stdout)
    assert (tmp_path / "mycontainer.simg").read_bytes() == content
    assert list(manifest) == ["schemaVersion", "mediaType", "config", "layers"]
    assert manifest["mediaType"] == "application/vnd.singularity.distribution.manifest.v2+json"


def test_the_code_of_the_seed_gets_a_bare_squashfs_too(vanessa: Client, tmp_path: Path) -> None:
    content = SQUASHFS_BYTES + hashlib.sha256(b"bare").digest()
    push_file(vanessa, content, kind="application/octet-stream", title="greeting.img")
    publish(vanessa)
    code = "import json\n" + SEED.replace("BASE", vanessa.server.url)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    assert (tmp_path / "mycontainer.simg").read_bytes() == content
    (layer,) = manifest_of(vanessa)["layers"]
    assert layer["mediaType"] == SQUASHFS
    assert layer["urls"][0].endswith(f"/{digest_of(content)[7:]}.simg")


def test_the_manifest_is_the_seed_s_with_sha256_and_bytes(client: Client) -> None:
    content, config = new_sif(), b'{"architecture":"amd64"}'
    push_file(client, content, config=config)
    publish(client)
    answer = see(client.server, f"/registry/{client.name}/manifests/latest")
    hex_ = digest_of(content)[7:]
    assert answer["content-type"] == "application/json"
    assert answer.body == json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.singularity.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.singularity.container.image.v1+json", "size": len(config),
                "digest": digest_of(config),
            },
            "layers": [
                {
                    "mediaType": SQUASHFS, "size": len(content), "digest": f"sha256:{hex_}",
                    "urls": [f"{client.server.url}/registry/files/{client.name}/{hex_}/{hex_}.sif"],
                }
            ],
        },
        separators=(",", ":"),
    ).encode()  # fmt: skip


def test_the_old_misspelt_type_is_the_seed_s_too(client: Client) -> None:
    push_file(client, new_sif(), kind="appliciation/vnd.sylabs.sif.layer.tar")
    assert [layer["mediaType"] for layer in manifest_of(client)["layers"]] == [SQUASHFS]


def test_a_layer_that_says_it_is_a_sif_and_is_none_keeps_its_type(client: Client) -> None:
    push_file(client, b"no such thing", kind=SIF_LAYER, title="a.txt")
    (layer,) = manifest_of(client)["layers"]
    assert layer["mediaType"] == SIF_LAYER
    assert layer["urls"][0].partition("?")[0].endswith(".txt")


def test_layers_of_a_container_image_keep_their_types_each_with_an_url(client: Client) -> None:
    made = pushed_image(client, "latest")
    layers = manifest_of(client)["layers"]
    stored = json.loads(made.data)["layers"]
    assert [(one["mediaType"], one["digest"], one["size"]) for one in layers] == [
        (one["mediaType"], one["digest"], one["size"]) for one in stored
    ]
    for one in layers:
        assert digest_of(see(client.server, one["urls"][0]).body) == one["digest"]


def test_a_layer_that_lies_elsewhere_is_left_out(client: Client) -> None:
    made = DataSet()
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    there = made.blob("application/x-tar")
    made.image([made.blob(foreign, push=False, urls=["https://example.org/x"]), there], tags=("latest",))
    push(client, made)
    assert [one["digest"] for one in manifest_of(client)["layers"]] == [there["digest"]]


def test_a_manifest_is_had_by_digest_as_by_tag(client: Client) -> None:
    made = push_file(client, new_sif(), "a", "b")
    publish(client)
    by_tag = seen(client, "manifests/a").body
    assert by_tag == seen(client, "manifests/b").body == seen(client, f"manifests/{made.digest}").body
    encoded = made.digest.replace(":", "%3A")
    assert seen(client, f"manifests/{encoded}").body == by_tag


@pytest.mark.parametrize("path", ["", "tags", "manifests/latest", "manifests/latest/Singularity"])
def test_a_slash_at_the_end_changes_nothing(client: Client, path: str) -> None:
    push_file(client, new_sif(definition="From: x\n"))
    publish(client)
    where = f"/registry/{client.name}/{path}".rstrip("/")
    assert seen(client, where).body == seen(client, f"{where}/").body


@pytest.mark.parametrize("path", ["", "tags", "manifests/latest", "manifests/latest/Singularity"])
def test_head_is_get_without_a_body(client: Client, path: str) -> None:
    push_file(client, new_sif(definition="From: x\n"))
    publish(client)
    got, headed = (seen(client, path, method=method) for method in ("GET", "HEAD"))
    assert headed.body == b""
    assert got["content-length"] == headed["content-length"] == str(len(got.body))
    assert got["content-type"] == headed["content-type"]


def test_tags_come_all_and_in_ascii_order(client: Client) -> None:
    tags = [f"t{number:04}" for number in range(120)] + ["Z", "_", "a", "a-b", "a.b"]
    made = DataSet()
    found = made.image(tags=())
    push(client, made)
    for start in range(0, len(tags), 50):
        query = "&".join(f"tag={tag}" for tag in tags[start : start + 50])
        client.put(f"{found.digest}?{query}", found.data, found.media_type)
    answer = seen(client, "tags")
    assert answer.body == json.dumps({"name": client.name, "tags": sorted(tags)}, separators=(",", ":")).encode()


def test_the_md5_is_told_once_it_is_known(client: Client) -> None:
    content = new_sif()
    push_file(client, content)
    (layer,) = manifest_of(client)["layers"]
    assert "annotations" not in layer
    put_by_s3(client, "a.sif", content)
    (layer,) = manifest_of(client)["layers"]
    assert list(layer) == ["mediaType", "size", "digest", "urls", "annotations"]
    assert layer["annotations"] == {"md5": hashlib.md5(content).hexdigest()}


def test_a_name_that_is_not_there_is_404_and_a_stranger_is_asked_who_it_is(client: Client, people: People) -> None:
    push_file(client, new_sif())
    assert code_of(seen(client, "manifests/none", 404)) == "MANIFEST_UNKNOWN"
    assert code_of(seen(client, f"manifests/sha256:{'0' * 64}", 404)) == "MANIFEST_UNKNOWN"
    assert code_of(seen(client.beside(), "manifests/latest", 404)) == "NAME_UNKNOWN"
    assert code_of(seen(client, "manifests/sha256:12", 400)) == "DIGEST_INVALID"
    for one in (client, client.beside()):
        for path in ("", "tags", "manifests/latest", "manifests/latest/Singularity"):
            asked = seen(one.by(None), path, 401)
            assert code_of(asked) == "UNAUTHORIZED"
            assert "www-authenticate" in asked
            assert code_of(seen(one.by(people.tokens["stranger"]), path, 404)) == "NAME_UNKNOWN"
        seen(one, "manifests/latest", 200 if one == client else 404)


def test_basic_is_as_good_as_a_token(client: Client, people: People) -> None:
    push_file(client, new_sif())
    robot = client.server.call(
        "POST", "/robots", {"name": f"robot-{client.name[-8:]}", "project": people.project, "role": "reader"}
    )
    pair = base64.b64encode(f"{robot['name']}:{robot['secret']}".encode()).decode()
    seen(client.by(None), "manifests/latest", headers={"Authorization": f"Basic {pair}"})
    wrong = base64.b64encode(f"{robot['name']}:wrong".encode()).decode()
    seen(client.by(None), "manifests/latest", 401, headers={"Authorization": f"Basic {wrong}"})
    publish(client)
    seen(client.by(None), "manifests/latest", 401, headers={"Authorization": f"Basic {wrong}"})


def test_only_get_and_head_are_methods_here(client: Client) -> None:
    push_file(client, new_sif())
    for path in ("", "tags", "manifests/latest", "manifests/latest/Singularity", "/registry/", only_url(client)):
        for method in ("PUT", "POST", "DELETE", "PATCH"):
            url = path if path.startswith(("/", "http")) else f"/registry/{client.name}/{path}"
            answer = see(client.server, url, client.token, method=method, body=b"")
            assert answer.status == 405, (method, url, answer)
            assert code_of(answer) == "UNSUPPORTED"
            assert sorted(answer["allow"].split(", ")) == ["GET", "HEAD"]
