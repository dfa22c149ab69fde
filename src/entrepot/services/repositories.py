"""Repositories: whose a name is, what it holds, and what it hands out. Pushing is in `sessions` and `manifests`.

A repository holds bytes that a live manifest of its names, or that somebody was told within a day or two are there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from entrepot.auth.permissions import authorize, may, require_known
from entrepot.catalog import audit, blobs, manifests, projects, repositories, tags, uploads
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.manifests import Manifest, Place
from entrepot.catalog.tags import Move
from entrepot.errors import BadName, EntrepotError, InUse, NoBlob, NoManifest, NotFound
from entrepot.failpoints import failpoint
from entrepot.model import Algorithm, Blob, Clock, Digest, Instant, NamedDigest, Project, Repository
from entrepot.names import repository_path, tag_name
from entrepot.principals import Action, Principal, Resource
from entrepot.services.identity import DEFAULT_PROJECT
from entrepot.services.keeping import Keeping
from entrepot.services.places import repositories_with
from entrepot.storage.blobs import DAY

LEASE_SECONDS: Final = 2 * DAY
PAGE_ITEMS: Final = 1000
_AT: Final = ".at-"
_AT_FORM: Final = "%Y%m%dT%H%M%SZ"
USERS_TOLD: Final = 10


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest to be sent: its bytes, its media type, and its digest as it was asked for."""

    blob: Blob
    media_type: str
    digest: NamedDigest


@dataclass(frozen=True, slots=True)
class Repositories:
    """Repositories of all projects."""

    catalog: Catalog
    keeping: Keeping
    now: Clock

    async def manifest(self, principal: Principal, path: str, reference: str) -> Found:
        """The manifest a tag or digest names; `TAG.at-20261001T120000Z` is what the tag was at that second.

        Raises: NotFound for the repository; NoManifest; Denied; Unauthenticated; BadName.
        """
        if ":" in reference:
            named = NamedDigest.parse(reference)
            place = await self.catalog.probe(lambda tx: _by_digest(tx, path, named))
        else:
            named, name, second = None, *asked_time(tag_name(reference))
            place = await self.catalog.probe(lambda tx: _by_tag(tx, path, name, second))
        if place is None:
            raise await self.missing(principal, path)
        authorize(principal, Action.GET, Resource(place.project_id, place.public))
        if place.media_type is None or place.blob is None:
            raise NoManifest(f"{path} has no manifest {reference}")
        return Found(place.blob, place.media_type, named or NamedDigest.of(place.blob.digest))

    async def missing(self, principal: Principal, path: str) -> EntrepotError:
        """Why a name that is not there is refused: as one that the caller may not know of."""
        return await self.catalog.probe(lambda tx: _missing(tx, principal, path))

    async def blob(self, principal: Principal, path: str, named: NamedDigest, *, telling: bool = False) -> Blob:
        """Those bytes, if that repository has them; `telling` that they are there keeps them for a day at least.

        Raises: NotFound for the repository; NoBlob; Denied; Unauthenticated.
        """

        def look_up(tx: Transaction) -> tuple[Repository, Blob, Instant | None]:
            repository = find(tx, principal, Action.GET, path)
            found = held_blob(tx, repository, named, self.now())
            if found is None:
                raise NoBlob(f"{path} has no blob {named}")
            pushes = telling and may(principal, Action.CREATE, Resource(repository.project_id))
            return repository, found, blobs.leased_until(tx, found.digest, holder_of(repository)) if pushes else None

        repository, found, until = await self.catalog.probe(look_up)
        if until is not None and until < self.now() + DAY:
            await self.catalog.write(lambda tx: self.lease(tx, repository, found.digest))
            failpoint("lease.taken")
        return found

    def lease(self, tx: Transaction, repository: Repository, digest: Digest) -> None:
        """Somebody is told the repository has those bytes: they stay there for a day at least."""
        blobs.hold(tx, digest)
        blobs.take_lease(tx, digest, holder_of(repository), self.now() + LEASE_SECONDS)

    async def mount(self, principal: Principal, path: str, named: NamedDigest, source: str | None) -> bool:
        """Whether the repository now has those bytes, without one of them being sent.

        From `source` if the principal may read them there, None: from wherever it may. Raises: as a push.
        """

        def mount(tx: Transaction) -> bool:
            repository = pushable(tx, principal, path, self.now())
            digest = identity_of(tx, named)
            if digest is None or blobs.find(tx, digest) is None:
                return False
            held = repositories_with(tx, digest, self.now())
            if source is not None:
                held = [one for one in held if one.path == canonical(source)]
            if not any(may(principal, Action.GET, Resource(one.project_id, one.public)) for one in held):
                return False
            self.lease(tx, repository, digest)
            return True

        mounted = await self.catalog.write(mount)
        if mounted:
            failpoint("lease.taken")
        return mounted

    async def remove_blob(self, principal: Principal, path: str, named: NamedDigest) -> None:
        """The repository does not have those bytes any more. Raises: InUse while a live manifest names them; NoBlob."""

        def remove(tx: Transaction) -> None:
            repository = find(tx, principal, Action.DELETE, path)
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

        def look_up(tx: Transaction) -> list[str]:
            repository = find(tx, principal, Action.LIST, path)
            return tags.page(tx, repository.id, after, limit + 1) if limit else []

        found = await self.catalog.read(look_up)
        return found[:limit], len(found) > limit

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
            repository = repositories.find(tx, canonical(path))
            project_id = repository.project_id if repository else home_of(tx, path).id
            authorize(principal, Action.GET, Resource(project_id, repository.public if repository else False))
            if repository is None:
                return []
            alias = other_name(tx, subject) or subject
            return manifests.referrers(tx, repository.id, str(subject), str(alias), artifact_type, after, limit)

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


def canonical(path: str) -> str:
    """The one name of a repository: project `default` is not written."""
    while path.startswith(f"{DEFAULT_PROJECT}/"):
        path = path.removeprefix(f"{DEFAULT_PROJECT}/")
    return path


def home_of(tx: Transaction, path: str) -> Project:
    """The project a name is in: that of its first component if there is one, else `default`."""
    first, slash, _ = canonical(path).partition("/")
    return (projects.find(tx, first) if slash else None) or projects.known(tx, DEFAULT_PROJECT)


def find(tx: Transaction, principal: Principal, action: Action, path: str) -> Repository:
    """The repository, if the principal may do that to it. Raises: NotFound; Denied; Unauthenticated."""
    repository = repositories.find(tx, canonical(path))
    if repository is None:
        raise _missing(tx, principal, path)
    authorize(principal, action, Resource(repository.project_id, repository.public))
    return repository


def _missing(tx: Transaction, principal: Principal, path: str) -> EntrepotError:
    """The refusal of a name that is not there."""
    try:
        authorize(principal, Action.GET, Resource(home_of(tx, path).id))
    except EntrepotError as error:
        return error
    return NotFound(f"no repository {path}")


def check_pushable(tx: Transaction, principal: Principal, path: str) -> Repository | Project:
    """The repository, or the project in which there is none of that name, if the principal may push to it.

    Raises: Denied; Hidden; Unauthenticated; BadName.
    """
    repository_path(path)
    found = repositories.find(tx, canonical(path))
    if found:
        authorize(principal, Action.CREATE, Resource(found.project_id, found.public))
        return found
    home = home_of(tx, path)
    authorize(principal, Action.CREATE, Resource(home.id))
    return home


def pushable(tx: Transaction, principal: Principal, path: str, now: Instant) -> Repository:
    """The repository, made if it is missing, if the principal may push to it. Raises: as `check_pushable`."""
    found = check_pushable(tx, principal, path)
    return found if isinstance(found, Repository) else repositories.add(tx, found.id, canonical(path), now)


def holder_of(repository: Repository) -> str:
    """Whose leases keep what was pushed and no manifest names yet."""
    return f"repository:{repository.id}"


def identity_of(tx: Transaction, named: NamedDigest) -> Digest | None:
    """The identity of bytes named by either algorithm; None if nobody knows them by that sha512."""
    return Digest(named.hex) if named.algorithm is Algorithm.SHA256 else blobs.by_sha512(tx, named.hex)


def other_name(tx: Transaction, named: NamedDigest) -> NamedDigest | None:
    """The same bytes by the other algorithm, if it is known."""
    digest = identity_of(tx, named)
    if digest is None or named.algorithm is Algorithm.SHA512:
        return NamedDigest.of(digest) if digest else None
    found = blobs.find(tx, digest)
    sha512 = found.checksums.get(Algorithm.SHA512) if found else None
    return NamedDigest(Algorithm.SHA512, sha512) if sha512 else None


def holds(tx: Transaction, repository: Repository, digest: Digest, now: Instant) -> bool:
    """Whether the repository has those bytes, if they are anywhere."""
    return manifests.is_named(tx, repository.id, digest) or (
        blobs.leased_until(tx, digest, holder_of(repository)) > now
    )


def held_blob(tx: Transaction, repository: Repository, named: NamedDigest, now: Instant) -> Blob | None:
    """Those bytes, if they are here and the repository has them."""
    digest = identity_of(tx, named)
    if digest is None or not holds(tx, repository, digest, now):
        return None
    return blobs.find(tx, digest)


def release(tx: Transaction, repository: Repository, digest: Digest) -> None:
    """What uploads of those bytes still reserve of the quota is free."""
    uploads.drop_ended(tx, repository.id, digest.hex)


def is_immutable(repository: Repository, name: str) -> bool:
    """Whether its owners said that this tag never moves."""
    return any(fnmatchcase(name, pattern) for pattern in repository.config.get("immutable_tags", ()))


def asked_time(reference: str) -> tuple[str, int | None]:
    """A tag, and the second since the epoch it is asked for; None is now. Raises: BadName for what is no time."""
    name, mark, text = reference.rpartition(_AT)
    if not mark or not name:
        return reference, None
    try:
        at = datetime.strptime(text, _AT_FORM).replace(tzinfo=UTC)
    except ValueError as error:
        raise BadName(f"not a time: {text}", advice="write TAG.at-20261001T120000Z") from error
    return name, int(at.timestamp())


def _by_digest(tx: Transaction, path: str, named: NamedDigest) -> Place | None:
    digest = identity_of(tx, named)
    return manifests.open_digest(tx, canonical(path), digest or Digest("0" * 64))


def _by_tag(tx: Transaction, path: str, name: str, second: int | None) -> Place | None:
    if second is None:
        return manifests.open_tag(tx, canonical(path), name)
    repository = repositories.find(tx, canonical(path))
    digest = tags.at(tx, repository.id, name, second) if repository else None
    return manifests.open_digest(tx, canonical(path), digest or Digest("0" * 64))
