"""Repositories: whose a name is, what it holds, and what it hands out. Pushing is in `sessions` and `manifests`.

A repository holds bytes that a live manifest of its names, or that somebody was told within a day or two are there.
"""

import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from entrepot.auth.permissions import authorize, may, require_known
from entrepot.catalog import audit, blobs, manifests, repositories, tags
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.manifests import Manifest, Place
from entrepot.catalog.tags import Move
from entrepot.errors import BadName, Denied, InUse, NoBlob, NoManifest, NotFound, QuotaExceeded, Unauthenticated
from entrepot.failpoints import failpoint
from entrepot.formats.image_manifest import OCI_MANIFEST
from entrepot.model import Blob, Clock, Digest, Instant, NamedDigest, Repository
from entrepot.names import tag_name
from entrepot.principals import Action, Principal, Resource
from entrepot.services.artifacts import LATEST, Artifacts
from entrepot.services.keeping import Keeping
from entrepot.services.places import can_read
from entrepot.services.repository_leases import lease
from entrepot.services.repository_places import (
    ABSENT,
    canonical,
    find,
    held_blob,
    holder_of,
    holds,
    home_of,
    identity_of,
    is_object,
    missing,
    other_name,
    pushable,
    release,
    stored,
)
from entrepot.storage.blobs import DAY

PAGE_ITEMS: Final = 1000
_AT: Final = re.compile(r"(.+)\.at-(\d{8}T\d{6}Z)\Z", re.ASCII)
_AT_FORM: Final = "%Y%m%dT%H%M%SZ"
USERS_TOLD: Final = 10
FALLBACK_DIGITS: Final = 64
"""Of a digest, in the tag under which clients list what refers to it."""


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest to be sent: its bytes, its media type, and its digest as it was asked for.

    `told`: who asks by tag is told the digest by which it was pushed, of either algorithm.
    """

    blob: Blob
    media_type: str
    digest: NamedDigest
    told: NamedDigest
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Of an object that it stands for."""


@dataclass(frozen=True, slots=True)
class Repositories:
    """Repositories of all projects."""

    catalog: Catalog
    keeping: Keeping
    artifacts: Artifacts
    now: Clock

    async def manifest(self, principal: Principal, path: str, reference: str) -> Found:
        """The manifest a tag or digest names; `TAG.at-20261001T120000Z` is what the tag was at that second.

        Raises: NotFound for the repository; NoManifest; Denied; Unauthenticated; BadName.
        """
        if ":" in reference:
            named = NamedDigest.parse(reference)
            place = await self.catalog.probe(lambda tx: _by_digest(tx, path, named), key=("manifest", path, named))
        else:
            named, name, second = None, *asked_time(tag_name(reference))
            place = await self.catalog.probe(
                lambda tx: _by_tag(tx, path, name, second), key=("tag", path, name, second)
            )
        if place is None:
            return await self._of_object(principal, path, reference)
        authorize(principal, Action.GET, Resource(place.project_id, place.public))
        if place.media_type is None or place.blob is None:
            if await self.catalog.probe(lambda tx: stored(tx, path)) is None:
                return await self._of_object(principal, path, reference)
            raise NoManifest(f"{path} has no manifest {reference}")
        digest = named or NamedDigest.of(place.blob.digest)
        told = NamedDigest.parse(place.alias) if place.alias and not named else digest
        return Found(place.blob, place.media_type, digest, told)

    async def _of_object(self, principal: Principal, path: str, reference: str) -> Found:
        """The manifest that stands for an object of that name."""
        named = NamedDigest.parse(reference) if ":" in reference else None
        name, second = (LATEST, None) if named else asked_time(reference)
        async with self._or_missing(principal, path):
            if name != LATEST:
                await self.artifacts.find(principal, path)
                raise NoManifest(f"{path} has no tag {name}", why="it is an object, whose only tag is latest")
            artifact = await self.artifacts.with_manifest(principal, path, named, second)
        blob, stored = artifact.manifest, artifact.object
        digest = named or NamedDigest.of(blob.digest)
        return Found(blob, OCI_MANIFEST, digest, digest, stored.metadata)

    @asynccontextmanager
    async def _or_missing(self, principal: Principal, path: str) -> AsyncIterator[None]:
        """A name that is no object's either is refused as one that the caller may not know of."""
        try:
            yield
        except (NoManifest, NoBlob, Unauthenticated):
            raise
        except (NotFound, Denied):
            raise await self.catalog.probe(lambda tx: missing(tx, principal, path)) from None

    async def blob(self, principal: Principal, path: str, named: NamedDigest, *, telling: bool = False) -> Blob:
        """Those bytes, if that repository has them; `telling` that they are there keeps them for a day at least.

        Raises: NotFound for the repository; NoBlob; Denied; Unauthenticated.
        """

        def look_up(tx: Transaction) -> tuple[Repository, Blob, Instant | None] | None:
            repository = stored(tx, path)
            if repository is None:
                if not is_object(tx, path):
                    raise missing(tx, principal, path)
                return None
            authorize(principal, Action.GET, Resource(repository.project_id, repository.public))
            found = held_blob(tx, repository, named, self.now())
            if found is None:
                raise NoBlob(f"{path} has no blob {named}")
            pushes = telling and may(principal, Action.CREATE, Resource(repository.project_id))
            return repository, found, blobs.leased_until(tx, found.digest, holder_of(repository)) if pushes else None

        looked = await self.catalog.probe(look_up)
        if looked is None:
            async with self._or_missing(principal, path):
                return await self.artifacts.blob(principal, path, named)
        repository, found, until = looked
        if until is not None and until < self.now() + DAY:
            with suppress(QuotaExceeded):  # then it is there, and nobody promises for how long
                await self.catalog.write(lambda tx: self._prolong(tx, principal, repository, found))
            failpoint("lease.taken")
        return found

    def _prolong(self, tx: Transaction, principal: Principal, repository: Repository, found: Blob) -> None:
        """A lease of bytes that are still there; of others nobody was told in time."""
        if held_blob(tx, repository, NamedDigest.of(found.digest), self.now()):
            lease(tx, principal, repository, found, self.now())

    async def blobs(
        self, principal: Principal, path: str, wanted: Collection[NamedDigest]
    ) -> Mapping[NamedDigest, Blob]:
        """Those of the bytes that the repository has, in one look. Raises: NotFound for the repository; Denied."""

        def look_up(tx: Transaction) -> dict[NamedDigest, Blob] | None:
            repository = stored(tx, path)
            if repository is None:
                return None
            authorize(principal, Action.GET, Resource(repository.project_id, repository.public))
            found = ((one, held_blob(tx, repository, one, self.now())) for one in set(wanted))
            return {one: blob for one, blob in found if blob}

        held = await self.catalog.read(look_up)
        if held is None:
            return {one: await self.blob(principal, path, one) for one in wanted}
        return held

    async def naming(self, principal: Principal, path: str, digest: Digest) -> NamedDigest:
        """A manifest that names those bytes. Raises: NotFound for the repository; NoManifest; Denied."""

        def look_up(tx: Transaction) -> list[Digest] | None:
            repository = stored(tx, path)
            if repository is None:
                return None
            authorize(principal, Action.GET, Resource(repository.project_id, repository.public))
            return [one for one in manifests.named_by(tx, repository.id, digest, USERS_TOLD) if one != digest]

        found = await self.catalog.read(look_up)
        if found is None:
            async with self._or_missing(principal, path):
                artifact = await self.artifacts.find(principal, path)
            found = [artifact.manifest.digest] if artifact.blob.digest == digest else []
        if not found:
            raise NoManifest(f"{path} has no image of {digest}")
        return NamedDigest.of(found[0])

    async def mount(self, principal: Principal, path: str, named: NamedDigest, source: str | None) -> bool:
        """Whether the repository now has those bytes, without one of them being sent.

        From `source` if the principal may read them there, None: from wherever it may. Raises: as a push.
        """

        def mount(tx: Transaction) -> bool:
            repository = pushable(tx, principal, path, self.now())
            digest = identity_of(tx, named)
            blob = blobs.find(tx, digest) if digest else None
            if digest is None or blob is None:
                return False
            if not self._reads(tx, principal, digest, source):
                return False
            lease(tx, principal, repository, blob, self.now())
            return True

        mounted = await self.catalog.write(mount, slow=True)
        if mounted:
            failpoint("lease.taken")
        return mounted

    def _reads(self, tx: Transaction, principal: Principal, digest: Digest, source: str | None) -> bool:
        """Whether the principal may read those bytes there, or anywhere."""
        if source is None:
            return can_read(tx, principal, digest, self.now())
        found = repositories.find(tx, canonical(source))
        if found is None:
            return self.artifacts.is_readable(tx, principal, source, digest)
        readable = may(principal, Action.GET, Resource(found.project_id, found.public))
        return readable and holds(tx, found, digest, self.now())

    async def remove_blob(self, principal: Principal, path: str, named: NamedDigest) -> None:
        """The repository does not have those bytes any more. Raises: InUse while a live manifest names them; NoBlob."""

        def remove(tx: Transaction) -> None:
            repository = find(tx, principal, Action.DELETE, path)
            repositories.lock(tx, repository.id)
            digest = identity_of(tx, named)
            users = manifests.named_by(tx, repository.id, digest, USERS_TOLD) if digest else []
            if users:
                raise InUse(f"manifests of {path} name {named}", [str(user) for user in users])
            if digest is None or not blobs.end_one_lease(tx, digest, holder_of(repository)):
                raise NoBlob(f"{path} has no blob {named}")
            release(tx, repository, digest)
            self.audit(tx, principal, "delete blob", repository, digest=digest)

        await self.catalog.write(remove)

    async def tags(self, principal: Principal, path: str, after: str, limit: int) -> tuple[Sequence[str], bool]:
        """A page of tags in ASCII order, and whether there are more. Raises: NotFound; Denied; Unauthenticated."""

        def look_up(tx: Transaction) -> list[str] | None:
            repository = stored(tx, path)
            if repository is None:
                return None
            authorize(principal, Action.LIST, Resource(repository.project_id, repository.public))
            return tags.page(tx, repository.id, after, limit + 1) if limit else []

        found = await self.catalog.read(look_up)
        if found is None:
            async with self._or_missing(principal, path):
                await self.artifacts.find(principal, path)
            found = [LATEST] if limit and after < LATEST else []
        return found[:limit], len(found) > limit

    async def all_tags(self, principal: Principal, path: str) -> list[str]:
        """Every tag in ASCII order. Raises: as `tags`."""
        found: list[str] = []
        more = True
        while more:
            page, more = await self.tags(principal, path, found[-1] if found else "", PAGE_ITEMS)
            found += page
        return found

    async def history(self, principal: Principal, path: str, name: str, limit: int = PAGE_ITEMS) -> list[Move]:
        """The last moves of a tag, the newest first. Raises: NotFound; Denied; Unauthenticated."""

        def look_up(tx: Transaction) -> list[Move]:
            return tags.history(tx, find(tx, principal, Action.LIST, path).id, name, limit)

        return await self.catalog.read(look_up)

    async def referrers(
        self, principal: Principal, path: str, subject: NamedDigest, artifact_type: str | None, after: str, limit: int
    ) -> list[Manifest]:
        """Manifests of the repository that refer to `subject`, in order of digest; none if nothing is there.

        Raises: Unauthenticated; Hidden, Denied where it may not be read.
        """

        def look_up(tx: Transaction) -> list[Manifest]:
            repository = stored(tx, path)
            if repository is None:
                if not self.artifacts.is_readable(tx, principal, path):
                    authorize(principal, Action.GET, Resource(home_of(tx, path).id))
                return []
            authorize(principal, Action.GET, Resource(repository.project_id, repository.public))
            names = {str(name) for name in (subject, other_name(tx, subject)) if name}
            found = manifests.referrers(tx, repository.id, names, artifact_type, after, limit)
            tagged = [
                one for one in _of_fallback_tag(tx, repository, subject)
                if one.digest.hex > after and artifact_type in (None, one.artifact_type)
            ]  # fmt: skip
            merged = {one.digest: one for one in [*tagged, *found]}
            return sorted(merged.values(), key=lambda one: one.digest.hex)[:limit]

        return await self.catalog.read(look_up)

    async def page(self, principal: Principal, after: str, limit: int) -> tuple[Sequence[str], bool]:
        """A page of the names the principal may read, and whether there are more."""

        def look_up(tx: Transaction) -> list[str]:
            found: list[str] = []
            last, step = after, limit + 1
            while len(found) <= limit and (batch := repositories.page(tx, last, step)):
                found += [
                    one.path for one in batch if may(principal, Action.LIST, Resource(one.project_id, one.public))
                ]
                last, step = batch[-1].path, PAGE_ITEMS
            return found

        found = await self.catalog.read(look_up) if limit else []
        return found[:limit], len(found) > limit

    async def look(self, principal: Principal, path: str) -> Repository:
        """The repository. Raises: NotFound; Denied; Unauthenticated."""
        return await self.catalog.probe(lambda tx: find(tx, principal, Action.GET, path))

    async def configure(
        self, principal: Principal, path: str, *, public: bool | None, config: dict[str, Any]
    ) -> Repository:
        """The repository with other settings; what is None, or not in `config`, stays. Raises: NotFound; Denied."""
        require_known(principal)

        def change(tx: Transaction) -> Repository:
            old = find(tx, principal, Action.OVERWRITE, path)
            repositories.lock(tx, old.id)
            old = repositories.by_id(tx, old.id) or old
            new = replace(
                old, public=old.public if public is None else public, config={**old.config, **config}
            )  # fmt: skip
            repositories.configure(tx, old.id, new.config, public=new.public)
            self.audit(tx, principal, "configure repository", old)
            return new

        return await self.catalog.write(change)

    def audit(
        self, tx: Transaction, principal: Principal, action: str, repository: Repository, *, tag: str = "",
        digest: Digest | None = None,
    ) -> None:  # fmt: skip
        """What somebody did to a repository."""
        name = f"{repository.path}:{tag}" if tag else repository.path
        audit.record(
            tx, principal, action, self.now(), project_id=repository.project_id, name=name,
            digest=digest.hex if digest else None,
        )  # fmt: skip


def _of_fallback_tag(tx: Transaction, repository: Repository, subject: NamedDigest) -> list[Manifest]:
    """What clients listed under a tag called as the subject, while registries had no referrers.

    Source: distribution-spec 1.1, "Referrers Tag Schema".
    """
    digest = tags.find(tx, repository.id, f"{subject.algorithm.value}-{subject.hex[:FALLBACK_DIGITS]}")
    index = manifests.find(tx, repository.id, digest) if digest else None
    named = manifests.manifests_named(tx, index) if index else []
    return [found for one in named if (found := manifests.find(tx, repository.id, one))]


def descriptor_of(found: Manifest) -> dict[str, Any]:
    """A manifest as the list of what refers to another has it. Source: image-spec descriptor.md."""
    shown: dict[str, Any] = {
        "mediaType": found.media_type, "digest": found.alias or str(found.digest), "size": found.size,
    }  # fmt: skip
    if found.annotations:
        shown["annotations"] = dict(found.annotations)
    if found.artifact_type:
        shown["artifactType"] = found.artifact_type
    return shown


def asked_time(reference: str) -> tuple[str, int | None]:
    """A tag, and the second since the epoch it is asked for; None is now. Raises: BadName for what is no time."""
    found = _AT.match(reference)
    if not found:
        return reference, None
    try:
        at = datetime.strptime(found[2], _AT_FORM).replace(tzinfo=UTC)
    except ValueError as error:
        raise BadName(f"not a time: {found[2]}", advice="write TAG.at-20261001T120000Z") from error
    return found[1], int(at.timestamp())


def _by_digest(tx: Transaction, path: str, named: NamedDigest) -> Place | None:
    digest = identity_of(tx, named)
    return manifests.open_digest(tx, canonical(path), digest or ABSENT)


def _by_tag(tx: Transaction, path: str, name: str, second: int | None) -> Place | None:
    if second is None:
        return manifests.open_tag(tx, canonical(path), name)
    repository = stored(tx, path)
    digest = tags.at(tx, repository.id, name, second) if repository else None
    return manifests.open_digest(tx, canonical(path), digest or ABSENT)
