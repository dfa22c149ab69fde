"""Objects as repositories: `<bucket>/<key>` has a tag `latest`, and a manifest that equal objects share byte for byte.

Nothing of it is stored. Source: specs of the registry of images, section 2.9.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from entrepot.catalog import versions
from entrepot.catalog.database import Catalog, Transaction
from entrepot.errors import Denied, NoBlob, NoManifest, NotFound
from entrepot.formats import sniff
from entrepot.formats.content import Content
from entrepot.formats.image_manifest import CREATED, EMPTY_TYPE, OCI_MANIFEST, TITLE
from entrepot.formats.sif import CONFIG_TYPE, config_of
from entrepot.model import Algorithm, Blob, Clock, Digest, NamedDigest, StoredObject, utc_text
from entrepot.principals import Action, Principal
from entrepot.services.contents import Contents
from entrepot.services.objects import Objects
from entrepot.services.places import VIRTUAL, allowed
from entrepot.services.repository_places import meaning_of

LATEST: Final = "latest"
OCTETS: Final = "application/octet-stream"
MOST_VERSIONS: Final = 100
"""How many earlier versions of an object are looked through for one that was asked for by digest."""
_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*\Z")


@dataclass(frozen=True, slots=True)
class Artifact:
    """A version of an object, its bytes, and the manifest and config that stand for it."""

    object: StoredObject
    blob: Blob
    content: Content
    manifest: Blob
    config: Blob


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Artifacts over all objects."""

    objects: Objects
    contents: Contents
    catalog: Catalog
    now: Clock

    async def find(self, principal: Principal, path: str, second: int | None = None) -> Artifact:
        """What the object is now, or was at the end of that second since the epoch, if its bucket keeps versions.

        Raises: NotFound; Denied; Unauthenticated.
        """
        return await self._made(*await self.catalog.read(lambda tx: self._look_up(tx, principal, path, second)))

    def _look_up(
        self, tx: Transaction, principal: Principal, path: str, second: int | None = None
    ) -> tuple[StoredObject, Blob]:
        name = meaning_of(tx, path).name
        if name is None:
            raise NotFound(f"no repository {path}")
        if second is None or name.bucket in VIRTUAL:
            return self.objects.look_up(tx, principal, name)
        allowed(tx, principal, Action.GET, name)
        try:
            found = self.objects.look_up(tx, principal, name)
            if found[0].created_at < second + 1:
                return found
        except NotFound:  # it was deleted since, perhaps
            pass
        past = next((one for one in self._versions(tx, path) if one[0].created_at < second + 1), None)
        if past is None or past[1] is None:
            raise NoManifest(f"{path} was not there then")
        return past[0], past[1]

    def _versions(self, tx: Transaction, path: str) -> list[tuple[StoredObject, Blob | None]]:
        """Earlier versions that the bucket keeps, the newest first; the reading of the name was allowed."""
        found = meaning_of(tx, path)
        if found.name is None or found.bucket is None:
            return []
        return versions.kept(tx, found.bucket, found.name.key, MOST_VERSIONS)

    async def with_manifest(
        self, principal: Principal, path: str, named: NamedDigest | None, second: int | None
    ) -> Artifact:
        """The object, or the version of it that has that manifest. Raises: as `find`; NoManifest."""
        artifact = await self.find(principal, path, second)
        if named is None or _is_called(artifact.manifest, named):
            return artifact
        for stored, blob in await self.catalog.read(lambda tx: self._versions(tx, path)):
            if blob is None:
                continue
            past = await self._made(stored, blob)
            if _is_called(past.manifest, named):
                return past
        raise NoManifest(f"{path} has no manifest {named}")

    async def blob(self, principal: Principal, path: str, named: NamedDigest) -> Blob:
        """The bytes of the object or one of its versions, or a config. Raises: as `find`; NoBlob."""
        artifact = await self.find(principal, path)
        for one in (artifact.blob, artifact.config, artifact.manifest):
            if _is_called(one, named):
                return one
        for stored, blob in await self.catalog.read(lambda tx: self._versions(tx, path)):
            if blob is None:
                continue
            if _is_called(blob, named):
                return blob
            past = await self._made(stored, blob)
            if _is_called(past.config, named):
                return past.config
        raise NoBlob(f"{path} has no blob {named}")

    def is_readable(self, tx: Transaction, principal: Principal, path: str, digest: Digest | None = None) -> bool:
        """Whether that name means an object the principal may read, and if a digest is given, that has those bytes."""
        try:
            _, blob = self._look_up(tx, principal, path)
        except (NotFound, Denied):
            return False
        return digest in (None, blob.digest)

    async def _made(self, stored: StoredObject, blob: Blob) -> Artifact:
        content = await self.contents.of(blob)
        is_sif = content.sif is not None
        config = _in_memory(config_of(blob.digest.hex, content.sif) if content.sif else b"{}", self.now())
        kind = content.media_type if content.media_type not in (None, sniff.SQUASHFS) else _type_of(stored)
        assert kind
        layer = {
            "mediaType": kind, **_named(blob),
            "annotations": {TITLE: stored.key.rpartition("/")[2]},
        }  # fmt: skip
        body: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
        if not is_sif:
            body["artifactType"] = kind
        body["config"] = {"mediaType": CONFIG_TYPE if is_sif else EMPTY_TYPE, **_named(config)}
        body["layers"] = [layer]
        body["annotations"] = {CREATED: utc_text(stored.created_at)}
        manifest = _in_memory(json.dumps(body, separators=(",", ":")).encode(), self.now())
        return Artifact(stored, blob, content, manifest, config)


def _type_of(stored: StoredObject) -> str:
    """The object's own type, if it is one."""
    found = stored.content_type.partition(";")[0].strip().lower()
    return found if _TYPE.match(found) else OCTETS


def _named(blob: Blob) -> dict[str, Any]:
    return {"digest": str(blob.digest), "size": blob.size}


def _in_memory(data: bytes, now: float) -> Blob:
    return Blob(Digest(hashlib.sha256(data).hexdigest()), len(data), "", {}, now, inline=data)


def _is_called(blob: Blob, named: NamedDigest) -> bool:
    if named.algorithm is Algorithm.SHA256:
        return blob.digest.hex == named.hex
    if blob.inline is not None:
        return hashlib.sha512(blob.inline).hexdigest() == named.hex
    return blob.checksums.get(Algorithm.SHA512) == named.hex
