"""Repositories as people see them who want one file: the file of a tag, where it came from, what its header says.

Everything here is a view of manifests and bytes; nothing is stored.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from entrepot.errors import BadName, NoBlob, NoManifest, NotFound
from entrepot.formats import sniff
from entrepot.formats.content import Content
from entrepot.formats.image_manifest import CREATED, MAX_BYTES, REVISION, SOURCE, TITLE, Descriptor, ImageManifest
from entrepot.model import Algorithm, Blob, Digest, NamedDigest, utc_text
from entrepot.names import repository_path
from entrepot.principals import Principal
from entrepot.services.contents import Contents
from entrepot.services.repositories import Found, Repositories

DEFAULT_TEMPLATE: Final = "{name}/{hash}"
FIELDS: Final = frozenset({"host", "user", "repo", "commit", "hash", "name", "tag"})
SQUASHFS: Final = "application/vnd.singularity.image.squashfs"
MOST_NESTED: Final = 8
CONTAINERS: Final = frozenset(
    {"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}
)
_SEGMENT: Final = re.compile(r"[^A-Za-z0-9._-]")
_EXTENSION: Final = re.compile(r"\.([A-Za-z0-9]{1,10})\Z")


@dataclass(frozen=True, slots=True)
class File:
    """A layer: its bytes, its type in the seed's words, its title if it has one, and where a file tree has it."""

    blob: Blob
    media_type: str
    title: str
    path: str


@dataclass(frozen=True, slots=True)
class View:
    """What a tag or digest stands for. `content` is what the header of its only file says."""

    name: str
    reference: str
    digest: NamedDigest
    media_type: str
    config: Descriptor
    files: tuple[File, ...]
    content: Content
    architecture: str
    created: str
    labels: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.blob.size for file in self.files)

    @property
    def registry_name(self) -> str:
        """What `/v2/` calls it: an object whose name cannot be a repository's goes by its digest."""
        try:
            return repository_path(self.name)
        except BadName:
            return f"sha256/{self.files[0].blob.digest.hex}" if self.files else ""

    @property
    def is_singularity(self) -> bool:
        """Whether it is one file that Singularity or Apptainer runs."""
        return self.is_sif or self.content.media_type == sniff.SQUASHFS

    @property
    def is_container(self) -> bool:
        """Whether it is an image of layers, for docker and its kind."""
        return self.config.media_type in CONTAINERS

    @property
    def is_sif(self) -> bool:
        """Whether it is one Singularity file."""
        return self.content.sif is not None


@dataclass(frozen=True, slots=True)
class Views:
    """Views of all repositories. `template` says where a file tree has each file."""

    repositories: Repositories
    contents: Contents
    template: str = DEFAULT_TEMPLATE

    async def of(self, principal: Principal, name: str, reference: str, arch: str = "amd64") -> View:
        """What it stands for; of an index the child for that architecture, else the first.

        Raises: NotFound; NoManifest; Denied; Unauthenticated; BadName.
        """
        found, parsed = await self._manifest(principal, name, reference, arch)
        layers = await self._layers(principal, name, parsed)
        content = await self.contents.of(layers[0][1]) if len(layers) == 1 else Content(None)
        config = await self._config(principal, name, parsed)
        labels = {**found.metadata, **(content.sif.labels if content.sif else {}), **parsed.annotations}
        tag = "" if ":" in reference else reference
        files = tuple(self._file(name, tag, layer, blob, content, labels) for layer, blob in layers)
        assert parsed.config
        architecture = content.sif.architecture if content.sif else _clipped(config.get("architecture"))
        made = content.sif.created_at if content.sif else 0
        created = _clipped(parsed.annotations.get(CREATED) or config.get("created")) or (utc_text(made) if made else "")
        return View(
            name, reference, found.digest, found.media_type, parsed.config, files, content, architecture, created,
            labels,
        )  # fmt: skip

    async def sum_of(self, view: View, algorithm: Algorithm) -> str:
        """That checksum of its only file; read from the bytes the first time somebody asks. Raises: NotFound."""
        blob = await self.repositories.keeping.learned(view.files[0].blob, algorithm)
        return blob.checksums[algorithm]

    async def with_file(self, principal: Principal, name: str, digest: Digest) -> View:
        """What has that layer. Raises: as `of`."""
        reference = await self.repositories.naming(principal, name, digest)
        return await self.of(principal, name, str(reference))

    async def _manifest(
        self, principal: Principal, name: str, reference: str, arch: str
    ) -> tuple[Found, ImageManifest]:
        for _ in range(MOST_NESTED):
            found = await self.repositories.manifest(principal, name, reference)
            data = await self.repositories.keeping.read(found.blob)
            parsed = await self.repositories.keeping.parsed(data, found.media_type)
            if not parsed.is_index:
                return found, parsed
            if not parsed.children:
                break
            fitting = (one for one in parsed.children if (one.platform or {}).get("architecture") == arch)
            reference = str(next(fitting, parsed.children[0]).digest)
        raise NoManifest(f"{name} has no image under {reference}", why="its index names none")

    async def _layers(self, principal: Principal, name: str, parsed: ImageManifest) -> list[tuple[Descriptor, Blob]]:
        """The layers with their bytes, but for those that lie elsewhere."""
        held = await self.repositories.blobs(principal, name, [layer.digest for layer in parsed.layers])
        for layer in parsed.layers:
            if layer.digest not in held and not layer.elsewhere:
                raise NoBlob(f"{name} has no blob {layer.digest}")
        return [(layer, held[layer.digest]) for layer in parsed.layers if layer.digest in held]

    async def _config(self, principal: Principal, name: str, parsed: ImageManifest) -> Mapping[str, Any]:
        """The config, if it is a JSON object; it says nothing that is believed."""
        assert parsed.config
        try:
            blob = await self.repositories.blob(principal, name, parsed.config.digest)
            if blob.size > MAX_BYTES:
                return {}
            found = json.loads(await self.repositories.keeping.read(blob))
        except (NotFound, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _file(
        self, name: str, tag: str, layer: Descriptor, blob: Blob, content: Content, labels: Mapping[str, str]
    ) -> File:
        title = layer.annotations.get(TITLE, "")
        extension = _EXTENSION.search(title)
        kind, ending = layer.media_type, f".{extension[1]}" if extension else ""
        if content.sif:
            kind, ending = SQUASHFS, ".sif"
        elif content.media_type == sniff.SQUASHFS:
            kind, ending = SQUASHFS, ".simg"
        folder = storage_folder(self.template, {"name": name, "tag": tag, "hash": blob.digest.hex, **_source(labels)})
        return File(blob, kind, title, f"{folder}/{blob.digest.hex}{ending}")


def _clipped(text: object, most: int = 64) -> str:
    """What somebody wrote where a word or a time belongs."""
    return text[:most] if isinstance(text, str) else ""


def storage_folder(template: str, fields: Mapping[str, str]) -> str:
    """The folder a file of those fields has; by the default template if one of its fields is missing."""
    safe = {key: _safe(key, value) for key, value in fields.items()}
    wanted = [field for field in FIELDS if "{" + field + "}" in template]
    if not all(safe.get(field) for field in wanted):
        template = DEFAULT_TEMPLATE
    return template.format_map(safe)


def _safe(field: str, value: str) -> str:
    """The value with `_` for all that is not plain; empty if nothing is left that names a folder."""
    parts = [_SEGMENT.sub("_", part) for part in (value.split("/") if field == "name" else [value])]
    return "" if any(part in ("", ".", "..") for part in parts) else "/".join(parts)


def _source(labels: Mapping[str, str]) -> dict[str, str]:
    """Host, user, repository and commit of the source an image was built from."""
    try:
        parts = urlsplit(labels.get(SOURCE, ""))
        host = parts.hostname or ""
    except ValueError:
        return {}
    folders = parts.path.strip("/").removesuffix(".git").split("/")
    if len(folders) < 2:
        return {"host": host, "commit": labels.get(REVISION, "")}
    return {"host": host, "user": folders[0], "repo": folders[1], "commit": labels.get(REVISION, "")}
