"""A repository as plain files that any web server hands out: which there are, of what type, and what is in them."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from entrepot.catalog.manifests import Manifest
from entrepot.errors import BadName, NoManifest, NotFound
from entrepot.formats.image_manifest import OCI_INDEX, ImageManifest
from entrepot.model import NamedDigest
from entrepot.principals import Principal
from entrepot.services.repositories import Found, Repositories
from entrepot.services.views import View, Views

NEVER: Final = frozenset({"manifests", "blobs", "tags", "referrers", "index.html"})
"""Components that names in a tree cannot have: its own folders and files are called so."""
PAGE_ITEMS: Final = 1000
JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Bytes:
    """A file whose bytes are those of a digest."""

    path: str
    media_type: str
    digest: NamedDigest
    size: int


@dataclass(frozen=True, slots=True)
class Text:
    """A file that is written for the tree."""

    path: str
    media_type: str
    text: str


File = Bytes | Text


@dataclass(frozen=True, slots=True)
class Tree:
    """A repository's files. `images`: what an OCI layout lists: type, digest, size and tag."""

    files: tuple[File, ...]
    images: tuple[tuple[str, NamedDigest, int, str], ...]


@dataclass(frozen=True, slots=True)
class Pages:
    """How what people and programs read is written, for a tree at some URL."""

    manifest: Callable[[View, Sequence[str]], str]
    collection: Callable[[str, Sequence[tuple[View, Sequence[str]]]], str]
    tags: Callable[[str, Sequence[str]], str]
    referrers: Callable[[Sequence[Manifest]], str]


@dataclass(frozen=True, slots=True)
class StaticTrees:
    """Trees of all repositories."""

    repositories: Repositories
    views: Views

    async def of(self, principal: Principal, name: str, base_url: str, pages: Pages, *, linked: bool) -> Tree:
        """The files of a repository at `base_url`; `linked`: single files have a place of their own beside the blobs.

        Raises: NotFound; Denied; Unauthenticated; BadName for a name that cannot be a folder.
        """
        if NEVER & set(name.split("/")):
            raise BadName(f"{name} cannot be a tree", why=f"no part of its name is one of {', '.join(sorted(NEVER))}")
        tags = await self.repositories.all_tags(principal, name)
        found: dict[str, Found] = {}
        images: list[tuple[str, NamedDigest, int, str]] = []
        files: list[File] = []
        for tag in tags:
            try:
                tagged = await self.repositories.manifest(principal, name, tag)
            except NoManifest:  # deleted since it was listed
                continue
            files.append(_manifest(name, tag, tagged))
            images.append((tagged.media_type, tagged.digest, tagged.blob.size, tag))
            await self._collect(principal, name, tagged, found)
        files = [*self._named(name, found), *files]
        for one in [*found.values()]:
            files += await self._blobs(principal, name, one)
            shown = await self._referrers(principal, name, one.digest)
            path = f"v2/{name}/referrers/{one.digest}"
            files.append(Text(path, OCI_INDEX, pages.referrers(shown)))
        files.append(Text(f"v2/{name}/tags/list", JSON, pages.tags(name, tags)))
        files += await self._views(principal, name, tags, base_url, pages, linked=linked)
        return Tree(tuple({file.path: file for file in files}.values()), tuple(images))

    async def _collect(self, principal: Principal, name: str, one: Found, found: dict[str, Found]) -> None:
        """A manifest, what an index names, and what refers to any of them, each once."""
        waiting = [one]
        while waiting:
            await asyncio.sleep(0)  # others have their turn
            one = waiting.pop()
            if str(one.digest) in found:
                continue
            found[str(one.digest)] = one
            parsed = await self._parsed(one)
            named = [child.digest for child in parsed.children]
            named += [NamedDigest.of(other.digest) for other in await self._referrers(principal, name, one.digest)]
            for digest in named:
                with suppress(NotFound):  # of a sparse index
                    waiting.append(await self.repositories.manifest(principal, name, str(digest)))

    async def _parsed(self, one: Found) -> ImageManifest:
        data = await self.repositories.keeping.read(one.blob)
        return await self.repositories.keeping.parsed(data, one.media_type)

    async def _referrers(self, principal: Principal, name: str, digest: NamedDigest) -> list[Manifest]:
        shown: list[Manifest] = []
        while True:
            after = shown[-1].digest.hex if shown else ""
            page = await self.repositories.referrers(principal, name, digest, None, after, PAGE_ITEMS)
            shown += page
            if len(page) < PAGE_ITEMS:
                return shown

    def _named(self, name: str, found: dict[str, Found]) -> Iterator[File]:
        return (_manifest(name, digest, one) for digest, one in found.items())

    async def _blobs(self, principal: Principal, name: str, one: Found) -> list[File]:
        parsed = await self._parsed(one)
        files: list[File] = []
        for descriptor in [*([parsed.config] if parsed.config else []), *parsed.layers]:
            try:
                blob = await self.repositories.blob(principal, name, descriptor.digest)
            except NotFound:
                if not descriptor.elsewhere:
                    raise
                continue
            files.append(Bytes(f"v2/{name}/blobs/{descriptor.digest}", OCTETS, descriptor.digest, blob.size))
        return files

    async def _views(
        self, principal: Principal, name: str, tags: Sequence[str], base_url: str, pages: Pages, *, linked: bool
    ) -> list[File]:
        """What people and the clients of the seed read."""
        files: list[File] = []
        shown: list[tuple[View, Sequence[str]]] = []
        for tag in tags:
            await asyncio.sleep(0)
            try:
                view = await self.views.of(principal, name, tag)
            except NotFound:
                continue
            urls = [self._url(base_url, name, view, number, linked=linked) for number in range(len(view.files))]
            shown.append((view, urls))
            folder = f"registry/{name}/manifests/{tag}"
            files.append(Text(f"{folder}/index.html", JSON, pages.manifest(view, urls)))
            if view.content.sif and view.content.sif.definition is not None:
                files.append(Text(f"{folder}/Singularity", "text/plain", view.content.sif.definition))
            for one in view.files:
                digest = NamedDigest.of(one.blob.digest)
                path = f"registry/files/{one.path}" if linked else f"v2/{name}/blobs/{digest}"
                files.append(Bytes(path, OCTETS, digest, one.blob.size))
        files.append(Text(f"registry/{name}/tags/index.html", JSON, pages.tags(name, tags)))
        files.append(Text(f"registry/{name}/index.html", "text/html", pages.collection(name, shown)))
        return files

    def _url(self, base_url: str, name: str, view: View, number: int, *, linked: bool) -> str:
        file = view.files[number]
        return f"{base_url}/registry/files/{file.path}" if linked else f"{base_url}/v2/{name}/blobs/{file.blob.digest}"


def _manifest(name: str, reference: str, one: Found) -> File:
    return Bytes(f"v2/{name}/manifests/{reference}", one.media_type, one.digest, one.blob.size)


def as_json(tree: Tree) -> dict[str, Any]:
    """A tree as its client reads it: `{"files": [{path, type, digest, size} or {path, type, text}], "images": […]}`."""
    files: list[dict[str, Any]] = [
        {"path": one.path, "type": one.media_type, "text": one.text}
        if isinstance(one, Text)
        else {"path": one.path, "type": one.media_type, "digest": str(one.digest), "size": one.size}
        for one in tree.files
    ]
    images = [
        {"mediaType": kind, "digest": str(digest), "size": size, "tag": tag} for kind, digest, size, tag in tree.images
    ]
    return {"files": files, "images": images}
