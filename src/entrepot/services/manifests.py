"""Image manifests and tags: pushed, moved, deleted, brought back. Each in one commit, with all they name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from entrepot.auth.permissions import may
from entrepot.catalog import blobs, manifests, projects, repositories, tags, uploads
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.manifests import Manifest
from entrepot.errors import (
    BadDigest,
    BadManifest,
    BadName,
    Conflict,
    Denied,
    EntrepotError,
    MissingReferences,
    NoManifest,
    NothingToReplace,
    PreconditionFailed,
    QuotaExceeded,
    WrongSize,
)
from entrepot.failpoints import failpoint
from entrepot.formats.image_manifest import Descriptor, ImageManifest
from entrepot.model import ALWAYS, Blob, Claims, Clock, Condition, Digest, NamedDigest, Repository
from entrepot.names import tag_name
from entrepot.principals import Action, Principal, Resource
from entrepot.services.keeping import Keeping
from entrepot.services.places import can_read, repositories_with
from entrepot.services.repositories import Repositories, asked_time
from entrepot.services.repository_leases import count_leased
from entrepot.services.repository_places import (
    check_pushable,
    find,
    holder_of,
    holds,
    identity_of,
    is_immutable,
    pushable,
    release,
)
from entrepot.services.room import Room
from entrepot.services.streaming import whole
from entrepot.storage.blobs import BlobStore, Received

NEARLY_FULL: Final = 0.8
FEW_LAYERS: Final = 16
SMALL_BYTES: Final = 64 << 10
MOST_COPIED: Final = 10_000
"""Manifests that come along when an index names one of another repository."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A manifest to be kept: its bytes, the type they were sent with, what they are called and tagged."""

    data: bytes
    content_type: str
    named: NamedDigest | None
    tags: Sequence[str]
    condition: Condition = ALWAYS
    """On its only tag."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a push of a manifest did. `filled`: how much of its quota the project uses, if that is a lot, of 1."""

    digest: NamedDigest
    subject: NamedDigest | None
    filled: float | None


@dataclass(frozen=True, slots=True)
class Manifests:
    """Manifests and tags of all repositories."""

    repositories: Repositories
    keeping: Keeping
    blobs: BlobStore
    catalog: Catalog
    now: Clock

    async def put(self, principal: Principal, path: str, wish: Wish) -> Kept:
        """The manifest is in the repository, and its tags point to it; or nothing is.

        Raises: BadManifest; WrongSize; MissingReferences; DigestMismatch; BadName; Denied; NotFound; Conflict for an
        immutable tag; PreconditionFailed; QuotaExceeded; DiskFull.
        """
        for name in wish.tags:
            if asked_time(tag_name(name))[1] is not None:
                raise BadName(f"{name} names the past", why="what ends in .at- and a time is read, not pushed")
        parsed = await self.keeping.parsed(wish.data, wish.content_type)
        found = await self.catalog.probe(lambda tx: check_pushable(tx, principal, path))
        project_id = found.project_id if isinstance(found, Repository) else found.id
        room = Room(self.catalog, self.now, project_id, principal.id)
        claims = Claims(len(wish.data), {wish.named.algorithm: wish.named.hex} if wish.named else {})
        try:
            received = await self.blobs.receive(whole(wish.data), claims, frozenset(), room)
        except BaseException:
            await room.release()
            raise
        return await self._bind(principal, path, wish, parsed, received, room)

    async def _bind(
        self, principal: Principal, path: str, wish: Wish, parsed: ImageManifest, received: Received, room: Room
    ) -> Kept:
        blob = received.blob

        def bind(tx: Transaction) -> tuple[str, float | None]:
            repository = pushable(tx, principal, path, self.now())
            repositories.lock(tx, repository.id)
            references = self._references(tx, principal, repository, parsed)
            key = blobs.keep(tx, blob, None, self.now())
            self._add(tx, repository, blob, parsed, wish.named, references, room)
            for name in wish.tags:
                self._point(tx, principal, repository, name, blob.digest, wish.condition)
            self.repositories.audit(
                tx, principal, "push", repository, tag=",".join(wish.tags)[:1000], digest=blob.digest
            )
            return key, _filled(tx, repository.project_id)

        slow = parsed.is_index or len(parsed.layers) > FEW_LAYERS or len(wish.data) > SMALL_BYTES
        try:
            key, filled = await self.catalog.write(bind, slow=slow)
        except EntrepotError:
            await self.blobs.unlink_loser(received)
            await room.release()
            raise
        await self.keeping.settle(received, key)
        subject = parsed.subject.digest if parsed.subject else None
        return Kept(wish.named or NamedDigest.of(blob.digest), subject, filled)

    def _references(
        self, tx: Transaction, principal: Principal, repository: Repository, parsed: ImageManifest
    ) -> list[tuple[Digest, int]]:
        """What the manifest names and is here, held until the commit. Raises: MissingReferences; WrongSize."""
        named = [*([parsed.config] if parsed.config else []), *parsed.layers, *parsed.children]
        sparse = parsed.is_index and bool(repository.config.get("sparse_index"))
        found: dict[Digest, int] = {}
        missing: list[str] = []
        looked: dict[NamedDigest, Blob | None] = {}
        for one in named:
            if one.digest not in looked:
                looked[one.digest] = self._find(tx, principal, repository, one, child=parsed.is_index)
            blob = looked[one.digest]
            if blob is None:
                if not one.elsewhere and not sparse:
                    missing.append(str(one.digest))
                continue
            if one.size != blob.size and not (parsed.is_index and one.size == 0):
                raise WrongSize(f"{one.digest} has {blob.size} bytes, the manifest says {one.size}")
            found[blob.digest] = blob.size
        if missing:
            raise MissingReferences(list(dict.fromkeys(missing)))
        for digest in sorted(found):
            blobs.hold(tx, digest)
        return list(found.items())

    def _find(
        self, tx: Transaction, principal: Principal, repository: Repository, one: Descriptor, *, child: bool
    ) -> Blob | None:
        """What a descriptor names, if the repository has it, or may: the principal reads it in the same project."""
        digest = identity_of(tx, one.digest)
        blob = blobs.find(tx, digest) if digest else None
        if blob is None:
            return None
        if child:
            return blob if self._adopt(tx, principal, repository, blob.digest) else None
        if holds(tx, repository, blob.digest, self.now()):
            return blob
        return blob if can_read(tx, principal, blob.digest, self.now(), repository.project_id) else None

    def _adopt(self, tx: Transaction, principal: Principal, repository: Repository, digest: Digest) -> bool:
        """Whether that is a manifest here, or now is, since the principal reads it in the same project."""
        if manifests.find(tx, repository.id, digest):
            return True
        for one in repositories_with(tx, digest, self.now()):
            if one.project_id != repository.project_id or not may(
                principal, Action.GET, Resource(one.project_id, one.public)
            ):
                continue
            there = manifests.find(tx, one.id, digest)
            if there:
                self._copy(tx, there, repository)
                return True
        return False

    def _copy(self, tx: Transaction, there: Manifest, repository: Repository) -> None:
        """A manifest of another repository, with all manifests it names, in this one too. Raises: BadManifest."""
        waiting, count = [there], 0
        while waiting:
            one = waiting.pop()
            if manifests.find(tx, repository.id, one.digest):
                continue
            count += 1
            if count > MOST_COPIED:
                raise BadManifest(f"an index that is here by reference names {MOST_COPIED} manifests at most")
            manifests.copy(tx, one.id, repository.id, self.now())
            copied = manifests.find(tx, repository.id, one.digest)
            assert copied
            for digest, _ in manifests.sizes_named(tx, copied.id):
                release(tx, repository, digest)
            grown = manifests.bytes_alone(tx, copied.id)
            projects.settle(tx, repository.project_id, grown=grown, released=0, more=1)
            named = [manifests.find(tx, one.repository_id, child) for child in manifests.manifests_named(tx, one)]
            waiting += [child for child in named if child]

    def _add(
        self,
        tx: Transaction,
        repository: Repository,
        blob: Blob,
        parsed: ImageManifest,
        named: NamedDigest | None,
        references: list[tuple[Digest, int]],
        room: Room,
    ) -> None:
        """The manifest's rows, unless they are there."""
        if room.id:
            uploads.close(tx, room.id)
        alias = str(named) if named and named.hex != blob.digest.hex else None
        old = manifests.find(tx, repository.id, blob.digest)
        if old:  # what it names may have come since
            if named and alias != old.alias:
                manifests.rename(tx, old.id, alias)
            before = manifests.bytes_alone(tx, old.id)
            manifests.refer(tx, old.id, repository.id, references)
            grown = manifests.bytes_alone(tx, old.id) - before
            projects.settle(tx, repository.project_id, grown=grown, released=room.reserved, more=0)
            return
        subject = str(parsed.subject.digest) if parsed.subject else None
        made = manifests.add(
            tx, repository.id, blob, alias, parsed.media_type, parsed.shown_type, subject, parsed.annotations,
            self.now(),
        )  # fmt: skip
        manifests.refer(tx, made.id, repository.id, references)
        for digest, _ in references:
            release(tx, repository, digest)
        grown = manifests.bytes_alone(tx, made.id)
        projects.settle(tx, repository.project_id, grown=grown, released=room.reserved, more=1)

    def _point(
        self,
        tx: Transaction,
        principal: Principal,
        repository: Repository,
        name: str,
        digest: Digest,
        condition: Condition = ALWAYS,
    ) -> None:
        """The tag points there, if it may. Raises: PreconditionFailed; Denied; Conflict."""
        old = tags.find(tx, repository.id, name)
        _check(tx, old, condition)
        if old == digest:
            return
        if old and is_immutable(repository, name):
            raise Conflict(f"the tag {name} never moves", why="its repository says so")
        if old and not may(principal, Action.OVERWRITE, Resource(repository.project_id)):
            raise Denied(f"the tag {name} exists, and you may not move it", why="that takes the role of a maintainer")
        tags.point(tx, repository.id, name, digest, principal.name, self.now())

    async def remove(self, principal: Principal, path: str, reference: str) -> None:
        """A tag is gone; or by digest a manifest, with all its tags. It can be brought back for a while.

        Raises: NoManifest; NotFound; Denied; Conflict for an immutable tag.
        """
        named = NamedDigest.parse(reference) if ":" in reference else None
        name = "" if named else tag_name(reference)

        def remove(tx: Transaction) -> None:
            repository = find(tx, principal, Action.DELETE, path)
            repositories.lock(tx, repository.id)
            if named is None:
                self._remove_tag(tx, principal, repository, name)
            else:
                self._remove_manifest(tx, principal, repository, named)

        await self.catalog.write(remove, slow=True)
        failpoint("name.deleted")

    def _remove_tag(self, tx: Transaction, principal: Principal, repository: Repository, name: str) -> None:
        digest = tags.find(tx, repository.id, name)
        if digest is None:
            raise NoManifest(f"{repository.path} has no tag {name}")
        if is_immutable(repository, name):
            raise Conflict(f"the tag {name} never moves", why="its repository says so")
        tags.remove(tx, repository.id, name, principal.name, self.now())
        self.repositories.audit(tx, principal, "delete tag", repository, tag=name, digest=digest)

    def _remove_manifest(
        self, tx: Transaction, principal: Principal, repository: Repository, named: NamedDigest
    ) -> None:
        asked = identity_of(tx, named)
        found = manifests.find(tx, repository.id, asked) if asked else None
        if found is None:
            raise NoManifest(f"{repository.path} has no manifest {named}")
        for name in tags.pointing_to(tx, repository.id, found.digest):
            self._remove_tag(tx, principal, repository, name)
        freed, now = manifests.bytes_alone(tx, found.id), self.now()
        named_by_it = manifests.sizes_named(tx, found.id)
        manifests.to_trash(tx, found.id, now)
        projects.shrink(tx, repository.project_id, freed)
        for digest, size in named_by_it:
            self._count_what_stays(tx, principal, repository, digest, size)
        self.repositories.audit(tx, principal, "delete manifest", repository, digest=found.digest)

    def _count_what_stays(
        self, tx: Transaction, principal: Principal, repository: Repository, digest: Digest, size: int
    ) -> None:
        """What no manifest names any more but somebody was told is there, stays and counts; without room it goes."""
        holder, now = holder_of(repository), self.now()
        if blobs.leased_until(tx, digest, holder) <= now or manifests.is_named(tx, repository.id, digest):
            return
        try:
            count_leased(tx, principal, repository, digest, size, now)
        except QuotaExceeded:
            blobs.end_one_lease(tx, digest, holder)

    async def bring_back(self, principal: Principal, path: str, reference: str) -> NamedDigest:
        """A deleted tag points again to what it did last, or by digest a deleted manifest is live; which one.

        Raises: NoManifest if it was never there or its time in the trash is over; NotFound; Denied; Conflict for a tag
        that is there; QuotaExceeded.
        """
        named = NamedDigest.parse(reference) if ":" in reference else None
        name = "" if named else tag_name(reference)

        def bring_back(tx: Transaction) -> NamedDigest:
            repository = find(tx, principal, Action.OVERWRITE, path)
            repositories.lock(tx, repository.id)
            if named is None and tags.find(tx, repository.id, name):
                raise Conflict(f"the tag {name} is there", advice="delete it first, or push it")
            digest = identity_of(tx, named) if named else _last(tx, repository, name)
            if digest is None or not self._restore(tx, repository, digest):
                raise NoManifest(f"nothing to bring back as {reference}", why="it never was, or its time is over")
            if named is None:
                tags.point(tx, repository.id, name, digest, principal.name, self.now())
            self.repositories.audit(tx, principal, "undelete", repository, tag=name, digest=digest)
            return NamedDigest.of(digest)

        return await self.catalog.write(bring_back, slow=True)

    def _restore(self, tx: Transaction, repository: Repository, digest: Digest) -> bool:
        """Whether that manifest is live, perhaps again; with it, what it names and was deleted too."""
        waiting = [digest]
        while waiting:
            one = waiting.pop()
            removed = None if manifests.find(tx, repository.id, one) else manifests.find_removed(tx, repository.id, one)
            if removed is None:
                continue
            manifests.restore(tx, removed.id)
            grown = manifests.bytes_alone(tx, removed.id)
            projects.settle(tx, repository.project_id, grown=grown, released=0, more=1)
            for named, _ in manifests.sizes_named(tx, removed.id):
                release(tx, repository, named)
                waiting.append(named)
        return manifests.find(tx, repository.id, digest) is not None


def _check(tx: Transaction, old: Digest | None, condition: Condition) -> None:
    """Raises: PreconditionFailed if a condition on a tag does not hold."""
    if old is None:
        if condition.etag is not None:
            raise NothingToReplace("there is no such tag to move")
    elif condition.absent:
        raise PreconditionFailed("the tag exists", why="the request asked for a new one")
    elif condition.etag not in (None, "*") and not _is_called(tx, old, condition.etag or ""):
        raise PreconditionFailed("the tag was moved meanwhile")


def _is_called(tx: Transaction, digest: Digest, text: str) -> bool:
    try:
        return identity_of(tx, NamedDigest.parse(text)) == digest
    except BadDigest:
        return False


def _last(tx: Transaction, repository: Repository, name: str) -> Digest | None:
    """What a tag pointed to before it was deleted."""
    return next((move.digest for move in tags.history(tx, repository.id, name, 2) if move.digest), None)


def _filled(tx: Transaction, project_id: int) -> float | None:
    found = projects.by_id(tx, project_id)
    share = found.used / found.quota if found and found.quota else 1.0
    return share if share >= NEARLY_FULL else None
