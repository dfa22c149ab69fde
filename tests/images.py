"""Images for tests, equal for equal seeds: layers, manifests, and the folders and archives clients keep them in."""

import gzip
import hashlib
import io
import json
import random
import struct
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
EMPTY: Final = "application/vnd.oci.empty.v1+json"
TITLE: Final = "org.opencontainers.image.title"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
SIF_CONFIG: Final = "application/vnd.sylabs.sif.config.v1+json"
SIF_LAYER: Final = "application/vnd.sylabs.sif.layer.v1.sif"
CREATED: Final = "2023-11-14T22:13:20Z"
_EPOCH: Final = 1_700_000_000


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest or index as its exact bytes, and all that it names: config and layers, or other manifests."""

    manifest: bytes
    media_type: str
    blobs: tuple[bytes, ...] = ()
    children: tuple["Image", ...] = ()

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return digest_of(self.manifest)

    @property
    def config(self) -> bytes:
        """Of an image."""
        return self.blobs[0]

    @property
    def layers(self) -> tuple[bytes, ...]:
        """Of an image, the lowest first."""
        return self.blobs[1:]

    @property
    def all_bytes(self) -> dict[str, bytes]:
        """By digest, all that is pushed to a registry."""
        found = {digest_of(data): data for data in (self.manifest, *self.blobs)}
        for child in self.children:
            found |= child.all_bytes
        return found

    @property
    def descriptor(self) -> dict[str, Any]:
        """What an index says of it."""
        return descriptor(self.media_type, self.manifest)


def digest_of(data: bytes) -> str:
    """sha256:…"""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def random_bytes(seed: object, size: int) -> bytes:
    """Bytes that do not compress."""
    return random.Random(str(seed)).randbytes(size)


def descriptor(media_type: str, data: bytes, **more: object) -> dict[str, Any]:
    """What names those bytes in a manifest."""
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


def compact(document: object) -> bytes:
    """JSON as it is pushed."""
    return json.dumps(document, separators=(",", ":")).encode()


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A tar with those files and the folders they are in."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        folders = {str(folder) for name in files for folder in Path(name).parents if folder.name}
        for name in sorted(folders | files.keys()):
            member = tarfile.TarInfo(name)
            member.mtime, member.mode = _EPOCH, 0o644
            if name in folders:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            else:
                member.size = len(files[name])
                archive.addfile(member, io.BytesIO(files[name]))
    return packed.getvalue()


def files_of(seed: object, size: int = 20_000) -> dict[str, bytes]:
    """Some files of a root file system, `size` bytes and a little."""
    return {
        f"etc/{seed}.conf": f"seed = {seed}\n".encode(),
        f"opt/{seed}/größe Ω": random_bytes(seed, size),
        f"opt/{seed}/empty": b"",
    }


def image(
    seed: object, *, layers: int = 2, size: int = 20_000, architecture: str = "amd64", docker: bool = False
) -> Image:
    """A container image; `size` is that of a layer, and a little more."""
    tars = [tar_of(files_of(f"{seed}-{number}", size)) for number in range(layers)]
    config = config_of([digest_of(tar) for tar in tars], architecture)
    packed = [gzip.compress(tar, 1, mtime=0) for tar in tars]
    layer_type, config_type = (DOCKER_LAYER, DOCKER_CONFIG) if docker else (f"{OCI_LAYER}+gzip", OCI_CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": descriptor(config_type, config),
        "layers": [descriptor(layer_type, layer) for layer in packed],
    }
    return Image(compact(manifest), str(manifest["mediaType"]), (config, *packed))


def config_of(diff_ids: Sequence[str], architecture: str = "amd64") -> bytes:
    """An image's configuration."""
    return compact(
        {
            "created": CREATED,
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
            "history": [{"created": CREATED, "created_by": f"layer {number}"} for number in range(len(diff_ids))],
        }
    )


def index(images: Mapping[str, Image], *, docker: bool = False, **more: object) -> Image:
    """An index of images by their architecture."""
    media_type = DOCKER_LIST if docker else OCI_INDEX
    children = [
        {**one.descriptor, "platform": {"architecture": architecture, "os": "linux"}}
        for architecture, one in images.items()
    ]
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": children, **more}
    return Image(compact(document), media_type, children=tuple(images.values()))


def two_platforms(seed: object, *, docker: bool = False) -> Image:
    """An index for amd64 and arm64, that share a layer with nobody."""
    names = ("amd64", "arm64")
    return index(
        {name: image(f"{seed}-{name}", layers=1, architecture=name, docker=docker) for name in names}, docker=docker
    )


def artifact(files: Mapping[str, bytes], media_type: str, config_type: str = EMPTY, config: bytes = b"{}") -> Image:
    """Files by their titles, with a configuration that says nothing."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        **({"artifactType": media_type} if config_type == EMPTY else {}),
        "config": descriptor(config_type, config),
        "layers": [descriptor(media_type, data, annotations={TITLE: name}) for name, data in files.items()],
    }
    return Image(compact(document), OCI_MANIFEST, (config, *files.values()))


def write_layout(folder: Path, images: Mapping[str, Image]) -> Path:
    """An OCI layout with those images by their tags. Source: OCI image-spec, image-layout.md."""
    (folder / "blobs" / "sha256").mkdir(parents=True)
    (folder / "oci-layout").write_bytes(compact({"imageLayoutVersion": "1.0.0"}))
    for digest, data in (pair for one in images.values() for pair in one.all_bytes.items()):
        (folder / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(data)
    named = [
        {**one.descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}} for tag, one in images.items()
    ]
    (folder / "index.json").write_bytes(compact({"schemaVersion": 2, "manifests": named}))
    return folder


def bytes_in_layout(folder: Path) -> dict[str, bytes]:
    """By digest, all that an OCI layout holds, each as it should be."""
    found = {f"sha256:{path.name}": path.read_bytes() for path in (folder / "blobs" / "sha256").iterdir()}
    assert all(digest_of(data) == digest for digest, data in found.items())
    return found


def tags_in_layout(folder: Path) -> dict[str, str]:
    """Digests by their tags."""
    listed = json.loads((folder / "index.json").read_bytes())["manifests"]
    return {one.get("annotations", {}).get("org.opencontainers.image.ref.name", ""): one["digest"] for one in listed}


def write_docker_archive(path: Path, tag: str, layers: Iterable[bytes]) -> bytes:
    """What `docker save` makes of tars; the configuration in it."""
    tars = list(layers)
    config = config_of([digest_of(tar) for tar in tars])
    names = [f"{digest_of(tar).removeprefix('sha256:')}/layer.tar" for tar in tars]
    config_name = f"{digest_of(config).removeprefix('sha256:')}.json"
    listed = compact([{"Config": config_name, "RepoTags": [tag], "Layers": names}])
    content = {config_name: config, "manifest.json": listed, **dict(zip(names, tars, strict=True))}
    path.write_bytes(tar_of(content))
    return config


def program_that_says(text: bytes) -> bytes:
    """An ELF file for Linux on x86-64 that needs no other file: it writes `text` to stdout and ends with 0."""
    base, head = 0x400000, 64 + 56
    write, end = bytes.fromhex("b801000000bf01000000"), bytes.fromhex("0f05b83c00000031ff0f05")
    length = len(write) + 15 + len(end)
    arguments = struct.pack("<2sQcI", b"\x48\xbe", base + head + length, b"\xba", len(text))
    program = write + arguments + end + text
    size = head + len(program)
    kind = (2, 62, 1, base + head, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    header = struct.pack("<4s12sHHIQQQIHHHHHH", b"\x7fELF", b"\2\1\1", *kind)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + program


def tree_of(folder: Path) -> dict[str, bytes | None]:
    """All files and folders under one, by their paths."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
