"""Buckets nobody made: `sha256`, whose keys are digests, and `oci`, which shows what is in repositories as files.

Both are read-only. Keys of `oci` are `<repository>/<tag>/<file>`; of an index there is a folder for each image.
"""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from entrepot.auth.permissions import may, require_known
from entrepot.catalog import blobs, listing, manifests, objects, projects, repositories, tags
from entrepot.catalog.database import Transaction
from entrepot.catalog.manifests import Manifest
from entrepot.errors import BadManifest, BadName, NotFound
from entrepot.formats.image_manifest import TITLE, Descriptor, ImageManifest, parse
from entrepot.model import (
    WHOLE,
    Algorithm,
    Blob,
    Clock,
    CommonPrefix,
    Digest,
    FileSpan,
    NamedDigest,
    ObjectName,
    Page,
    Repository,
    StoredObject,
)
from entrepot.principals import Action, Principal, Resource
from entrepot.services.places import DIGESTS, HEX, IMAGES, can_read
from entrepot.services.repository_places import ABSENT, identity_of
from entrepot.storage.blobs import BlobStore

MANIFEST: Final = "manifest.json"
CONFIG: Final = "config.json"
MOST_NESTED: Final = 4
SEEN_AT_ONCE: Final = 64
MOST_FILES: Final = 20_000
"""Of one tag; what an index names beyond that is not shown."""
MAX_TITLE_BYTES: Final = 255


def as_object(digest: Digest, size: int, md5: str | None) -> StoredObject:
    """Bytes as an object of the bucket of digests; as old as all time."""
    return StoredObject(0, "", DIGESTS, digest.hex, digest, size, md5 or digest.hex, "binary/octet-stream", {}, 0.0)


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the bucket `oci`, by what its manifest says."""

    key: str
    descriptor: Descriptor | None
    """None: it is the manifest."""
    manifest: Manifest
    is_layer: bool = False


Seen = dict[tuple[int, str], list[_File]]
"""The files of tags that a page has come to."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Both buckets."""

    blobs: BlobStore
    now: Clock

    def look_up(self, tx: Transaction, principal: Principal, name: ObjectName) -> tuple[StoredObject, Blob]:
        """The object and its bytes. Blocks, where it has to read a manifest. Raises: NotFound; Unauthenticated."""
        if name.bucket == DIGESTS:
            return self._by_digest(tx, principal, name.key)
        for repository, rest in self._repositories_over(tx, name.key):
            allowed = Resource(repository.project_id, repository.public, bucket=IMAGES, key=name.key)
            if not may(principal, Action.GET, allowed):
                continue
            tag = rest.partition("/")[0]
            for file in self._files(tx, repository, tag):
                if file.key == name.key:
                    blob = blobs.find(tx, self._digest(tx, file))
                    if blob:
                        return self._object(tx, repository, file, blob.size, blob), blob
        require_known(principal)
        raise NotFound("no such object")

    def page(
        self, tx: Transaction, principal: Principal, name: ObjectName, prefix: str, after: str, limit: int,
        delimiter: str,
    ) -> Page:  # fmt: skip
        """A page of keys the principal may read, in order. Raises: Unauthenticated."""
        if name.bucket == DIGESTS:
            return self._digests(tx, principal, prefix, after, limit)
        items: list[StoredObject | CommonPrefix] = []
        seen: Seen = {}
        start = max(prefix, listing.behind(prefix, after, delimiter)) if after else prefix
        last = ""
        while (found := self._first(tx, principal, prefix, start, seen)) is not None:
            if len(items) == limit:
                return Page(tuple(items), last)
            repository, file = found
            cut = file.key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                last = file.key[: cut + len(delimiter)]
                items.append(CommonPrefix(last))
                start = listing.successor(last)
            else:
                last = file.key
                items.append(self._object(tx, repository, file, self._size(file), None))
                start = last + "\x01"
        return Page(tuple(items))

    def files_of(
        self, tx: Transaction, principal: Principal, artifact_type: str, after: tuple[int, str], limit: int
    ) -> tuple[list[StoredObject], tuple[int, str] | None]:
        """The only layer of each image of that type the caller tagged and may read; where to go on."""
        found: list[StoredObject] = []
        pushed = tags.pushed_by(tx, principal.name, artifact_type, after, limit)
        for repository_id, _, tag in pushed:
            repository = repositories.by_id(tx, repository_id)
            if repository is None or not self._may_list(principal, repository):
                continue
            files = [file for file in self._files(tx, repository, tag) if file.is_layer]
            if len(files) == 1:
                found.append(self._object(tx, repository, files[0], self._size(files[0]), None))
        return found, pushed[-1][::2] if len(pushed) == limit else None

    def _by_digest(self, tx: Transaction, principal: Principal, key: str) -> tuple[StoredObject, Blob]:
        blob = blobs.find(tx, Digest(key)) if HEX.match(key) else None
        if blob is None or not can_read(tx, principal, blob.digest, self.now()):
            require_known(principal)
            raise NotFound("no such object")
        return as_object(blob.digest, blob.size, blob.checksums.get(Algorithm.MD5)), blob

    def _digests(self, tx: Transaction, principal: Principal, prefix: str, after: str, limit: int) -> Page:
        """Digests of names of the caller's project that it may read."""
        require_known(principal)
        found = objects.digests_of(tx, principal.project, prefix, after, limit + 1, self.now())
        mine = [one for one in found[:limit] if can_read(tx, principal, one[0], self.now())]
        items = tuple(as_object(digest, size, None) for digest, size in mine)
        return Page(items, found[limit - 1][0].hex if len(found) > limit else None)

    def _repositories_over(self, tx: Transaction, key: str) -> Iterator[tuple[Repository, str]]:
        """Repositories a key may be in, and what of the key is behind their names."""
        cut = key.find("/")
        while cut > 0:
            found = repositories.find(tx, key[:cut])
            if found:
                yield found, key[cut + 1 :]
            cut = key.find("/", cut + 1)

    def _first(
        self, tx: Transaction, principal: Principal, prefix: str, start: str, seen: Seen
    ) -> tuple[Repository, _File] | None:
        """The first file from `start` on that begins with `prefix` and that the principal may read."""
        stop = listing.successor(prefix) if prefix else listing.END
        best: tuple[Repository, _File] | None = None
        for repository, rest in self._repositories_over(tx, start):
            if self._may_list(principal, repository):
                best = _lesser(best, self._first_in(tx, repository, rest, stop, seen))
        after = start
        while best is None or after < best[1].key:
            batch = repositories.from_folder(tx, after, min(stop, best[1].key if best else stop), SEEN_AT_ONCE)
            for repository in batch:
                if self._may_list(principal, repository):
                    best = _lesser(best, self._first_in(tx, repository, "", stop, seen))
                    break
            if not batch:
                break
            after = f"{repository.path}/\x01"
        return best

    def _may_list(self, principal: Principal, repository: Repository) -> bool:
        return may(principal, Action.LIST, Resource(repository.project_id, repository.public))

    def _first_in(
        self, tx: Transaction, repository: Repository, rest: str, stop: str, seen: Seen
    ) -> tuple[Repository, _File] | None:
        """The first file of a repository whose key behind its name is `rest` or later, and before `stop` as a whole."""
        own, start = rest.partition("/")[0], f"{repository.path}/{rest}"
        named = [own] if "/" in rest and tags.find(tx, repository.id, own) else []
        after = rest
        while True:
            for tag in named:
                files = seen.get((repository.id, tag))
                if files is None:
                    files = seen[repository.id, tag] = self._files(tx, repository, tag)
                at = bisect_left(files, start, key=lambda one: one.key)
                if at < len(files):
                    file = files[at]
                    return (repository, file) if file.key < stop else None
            named = tags.from_folder(tx, repository.id, after, 1)
            if not named:
                return None
            after = f"{named[0]}/\x01"

    def _files(self, tx: Transaction, repository: Repository, tag: str) -> list[_File]:
        """The files of a tag, in order of key."""
        digest = tags.find(tx, repository.id, tag)
        found = manifests.find(tx, repository.id, digest) if digest else None
        if found is None:
            return []
        shown = islice(self._of_manifest(tx, found, f"{repository.path}/{tag}/", 0), MOST_FILES)
        return sorted(shown, key=lambda one: one.key)

    def _of_manifest(self, tx: Transaction, found: Manifest, folder: str, depth: int) -> Iterator[_File]:
        yield _File(folder + MANIFEST, None, found)
        parsed = self._parsed(tx, found)
        if parsed is None:
            return
        if parsed.config:
            yield _File(folder + CONFIG, parsed.config, found)
        for name, layer in zip(_names(parsed), parsed.layers, strict=True):
            yield _File(folder + name, layer, found, is_layer=True)
        if depth == MOST_NESTED:
            return
        known: set[NamedDigest] = set()
        for name, child in _folders(parsed):
            if child.digest in known:
                continue
            known.add(child.digest)
            digest = identity_of(tx, child.digest)
            inner = manifests.find(tx, found.repository_id, digest) if digest else None
            if inner:
                yield from self._of_manifest(tx, inner, f"{folder}{name}/", depth + 1)

    def _parsed(self, tx: Transaction, found: Manifest) -> ImageManifest | None:
        blob = blobs.find(tx, found.digest)
        try:
            return parse(self._read(blob), found.media_type) if blob else None
        except (BadManifest, BadName, NotFound, OSError):
            return None

    def _read(self, blob: Blob) -> bytes:
        """The bytes of a manifest; blocks."""
        opened, _ = self.blobs.open(blob, WHOLE)
        if not isinstance(opened, FileSpan):
            return opened
        try:
            return os.pread(opened.descriptor, blob.size, 0)
        finally:
            os.close(opened.descriptor)

    def _digest(self, tx: Transaction, file: _File) -> Digest:
        if file.descriptor is None:
            return file.manifest.digest
        return identity_of(tx, file.descriptor.digest) or ABSENT

    def _size(self, file: _File) -> int:
        return file.manifest.size if file.descriptor is None else file.descriptor.size

    def _object(
        self, tx: Transaction, repository: Repository, file: _File, size: int, blob: Blob | None
    ) -> StoredObject:
        digest = blob.digest if blob else self._digest(tx, file)
        kind = file.manifest.media_type if file.descriptor is None else file.descriptor.media_type
        md5 = blob.checksums.get(Algorithm.MD5) if blob else None
        home = projects.by_id(tx, repository.project_id)
        return StoredObject(
            file.manifest.id, home.name if home else "", IMAGES, file.key, digest, size, md5 or digest.hex,
            kind or "application/octet-stream", {}, file.manifest.created_at,
        )  # fmt: skip


def _lesser(
    best: tuple[Repository, _File] | None, other: tuple[Repository, _File] | None
) -> tuple[Repository, _File] | None:
    if best is None or other is None:
        return best or other
    return min(best, other, key=lambda one: one[1].key)


def _names(parsed: ImageManifest) -> list[str]:
    """What the layers are called: the last part of their titles, if that is safe and unique, else by number."""
    titles = [layer.annotations.get(TITLE, "").rpartition("/")[2] for layer in parsed.layers]
    taken = {MANIFEST, CONFIG, *(name for name, _ in _folders(parsed))}
    often, names = Counter(titles), []
    for number, title in enumerate(titles, 1):
        fit = _is_safe(title) and often[title] == 1 and title not in taken
        names.append(title if fit else f"layer-{number}")
    return names


def _is_safe(title: str) -> bool:
    fits = 0 < len(title.encode()) <= MAX_TITLE_BYTES and title.isprintable()
    return fits and title not in (".", "..") and not title.startswith("layer-")


def _folders(parsed: ImageManifest) -> list[tuple[str, Descriptor]]:
    """What the images of an index are called: their platform if that is unique, else the beginning of their digest."""
    names = [_platform(child.platform or {}) for child in parsed.children]
    often = Counter(names)
    return [
        (name if name and often[name] == 1 else child.digest.hex[:12], child)
        for name, child in zip(names, parsed.children, strict=True)
    ]


def _platform(platform: Mapping[str, Any]) -> str:
    parts = [platform.get(word) for word in ("os", "architecture", "variant")]
    words = [part for part in parts if isinstance(part, str) and part]
    plain = all(word.replace("_", "").replace(".", "").isalnum() and word.isascii() for word in words)
    return "-".join(words) if plain and len(words) > 1 else ""
