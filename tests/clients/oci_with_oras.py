"""What users do with oras-py: `oci_with_oras.py HOST:PORT NAME SECRET CAFILE REPOSITORY`, in the clients' environment.

CAFILE is empty for http. It runs in a folder with `x.sif` in it and an OCI layout `layout` with the tags `one` and
`many`. Prints the name of each function that held.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oras.client  # type: ignore[import-not-found]
import oras.layout  # type: ignore[import-not-found]
import oras.oci  # type: ignore[import-not-found]

MIB = 2**20
TITLE = "org.opencontainers.image.title"
SIF_LAYER = "application/vnd.sylabs.sif.layer.v1.sif"
SIF_CONFIG = "application/vnd.sylabs.sif.config.v1+json"


def written(name: str, size: int) -> bytes:
    """A new file of random bytes here, below a folder or not."""
    data = os.urandom(size)
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data


def sha256(data: bytes) -> str:
    """As a digest."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def came(client: Any, target: str, folder: str) -> dict[str, bytes]:
    """What a pull brings into a new folder, by its path."""
    found = client.pull(target=target, outdir=folder)
    return {str(Path(path).relative_to(Path(folder).absolute())): Path(path).read_bytes() for path in found}


def artifacts(client: Any, where: str) -> None:
    """Files go in by their titles and come back; a second push is the same manifest."""
    files = {"plain.txt": 10, "größe Ω.bin": 3 * MIB, "empty": 0}
    sent = {name: written(name, size) for name, size in files.items()}
    wish = {"target": f"{where}:files", "files": list(sent), "manifest_annotations": {"größe": "Ω"}}
    pushed = client.push(**wish)
    assert pushed.status_code == 201
    assert came(client, f"{where}:files", "pulled") == sent
    manifest = client.get_manifest(f"{where}:files")
    assert manifest["annotations"] == {"größe": "Ω"}
    assert [layer["annotations"][TITLE] for layer in manifest["layers"]] == list(sent)
    assert [layer["digest"] for layer in manifest["layers"]] == [sha256(data) for data in sent.values()]
    again = client.push(**wish)
    assert again.headers["Docker-Content-Digest"] == pushed.headers["Docker-Content-Digest"]
    by_digest = f"{where}@{pushed.headers['Docker-Content-Digest']}"
    assert came(client, by_digest, "pulled-by-digest") == sent
    assert client.get_blob(where, sha256(sent["plain.txt"])).content == sent["plain.txt"]
    assert client.get_blob(where, sha256(b"never")).status_code == 404


def folders(client: Any, where: str) -> None:
    """A folder goes in as one layer and comes back as a folder."""
    sent = {name: written(f"tree/{name}", size) for name, size in (("a", 1), ("deep/b", 70_000), ("deep/c", 0))}
    client.push(target=f"{where}:folder", files=["tree"])
    client.pull(target=f"{where}:folder", outdir="pulled-folder")
    got = {name: Path("pulled-folder", "tree", name).read_bytes() for name in sent}
    assert got == sent


def chunks(client: Any, where: str) -> None:
    """A file goes in by PATCHes of 5 MiB, the last of them shorter, or just full."""
    for size in (12 * MIB + 1, 10 * MIB, 1):
        sent = written("chunked", size)
        client.push(target=f"{where}:chunked", files=["chunked"], do_chunked=True, chunk_size=5 * MIB)
        assert came(client, f"{where}:chunked", f"pulled-{size}") == {"chunked": sent}


def sif(client: Any, where: str) -> None:
    """A SIF as Apptainer pushes it."""
    Path("sif-config").write_text("{}")
    pushed = client.push(
        target=f"{where}:sif", files=[f"x.sif:{SIF_LAYER}"], manifest_config=f"sif-config:{SIF_CONFIG}"
    )
    assert pushed.status_code == 201
    manifest = client.get_manifest(f"{where}:sif")
    assert manifest["config"] == {"mediaType": SIF_CONFIG, "size": 2, "digest": sha256(b"{}")}
    (layer,) = manifest["layers"]
    assert (layer["mediaType"], layer["annotations"]) == (SIF_LAYER, {TITLE: "x.sif"})
    assert came(client, f"{where}:sif", "pulled-sif") == {"x.sif": Path("x.sif").read_bytes()}


def subjects(client: Any, where: str) -> None:
    """An artifact that refers to another is listed as its referrer."""
    written("base", 10)
    base = client.push(target=f"{where}:base", files=["base"])
    written("signature", 20)
    subject = oras.oci.Subject(
        "application/vnd.oci.image.manifest.v1+json", base.headers["Docker-Content-Digest"], len(base.request.body)
    )
    pushed = client.push(target=f"{where}:signature", files=["signature"], subject=subject)
    assert pushed.headers["OCI-Subject"] == subject.digest
    path = client.get_container(where).api_prefix
    answer = client.do_request(f"{client.prefix}://{client.hostname}/v2/{path}/referrers/{subject.digest}")
    assert [one["digest"] for one in answer.json()["manifests"]] == [pushed.headers["Docker-Content-Digest"]]


def layouts(client: Any, where: str) -> None:
    """An image and an index go in from an OCI layout and come back as the same bytes."""
    index = {one["annotations"]["org.opencontainers.image.ref.name"]: one for one in json_of("layout/index.json")}
    for tag in ("one", "many"):
        oras.layout.NewLayout("layout").push_to_registry(client, f"{where}:{tag}", tag=tag)
        back = oras.layout.Layout(f"back-{tag}", validate=False)
        back.pull_from_registry(client, f"{where}:{tag}", tag=tag)
        assert [one["digest"] for one in json_of(f"back-{tag}/index.json")] == [index[tag]["digest"]]
        for path in Path(f"back-{tag}/blobs/sha256").iterdir():
            assert path.read_bytes() == Path("layout/blobs/sha256", path.name).read_bytes()


def json_of(path: str) -> list[dict[str, Any]]:
    """What an index lists."""
    found: list[dict[str, Any]] = json.loads(Path(path).read_bytes())["manifests"]
    return found


def tags(client: Any, where: str) -> None:
    """In order, in pages too; one that is deleted takes its manifest along."""
    written("tagged", 5)
    for name in ("b", "a", "B", "1.0_x-y"):
        Path("tagged").write_bytes(name.encode())
        client.push(target=f"{where}/tags:{name}", files=["tagged"])
    assert client.get_tags(f"{where}/tags") == ["1.0_x-y", "B", "a", "b"]
    assert client.get_tags(f"{where}/tags", N=3) == ["1.0_x-y", "B", "a"]
    assert client.delete_tags(f"{where}/tags", ["a", "never"]) == ["a"]
    assert client.get_tags(f"{where}/tags") == ["1.0_x-y", "B", "b"]
    assert came(client, f"{where}/tags:b", "pulled-tag") == {"tagged": b"b"}


STEPS: tuple[Callable[[Any, str], None], ...] = (artifacts, folders, chunks, sif, subjects, layouts, tags)


def main(host: str, name: str, secret: str, cafile: str, repository: str) -> None:
    """All of them, each in a repository of its own."""
    client = oras.client.OrasClient(hostname=host, insecure=not cafile, tls_verify=cafile or True)
    client.login(name, secret, hostname=host, config_path=str(Path("docker.json").absolute()))
    for step in STEPS:
        step(client, f"{host}/{repository}/{step.__name__}")
        print(step.__name__, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
