"""Where a repository's name lies and whose it is; what a repository holds, and by which names bytes are known."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from entrepot.auth.permissions import authorize
from entrepot.catalog import blobs, manifests, objects, projects, repositories, uploads
from entrepot.catalog.database import Transaction
from entrepot.errors import Conflict, EntrepotError, NotFound, ReadOnly
from entrepot.model import Algorithm, Blob, Bucket, Digest, Instant, NamedDigest, ObjectName, Project, Repository
from entrepot.names import repository_path
from entrepot.principals import Action, Principal, Resource
from entrepot.services.identity import DEFAULT_PROJECT
from entrepot.services.places import DIGESTS, IMAGES, VIRTUAL, is_allowed

ABSENT: Final = Digest("0" * 64)
"""No bytes have it: what a name nobody knows is looked for as."""


def canonical(path: str) -> str:
    """The one name of a repository: project `default` is not written."""
    while path.startswith(f"{DEFAULT_PROJECT}/"):
        path = path.removeprefix(f"{DEFAULT_PROJECT}/")
    return path


def home_of(tx: Transaction, path: str) -> Project:
    """The project a name is in: that of its first component if there is one, else `default`."""
    first, slash, _ = canonical(path).partition("/")
    return projects.either(tx, first if slash else DEFAULT_PROJECT, DEFAULT_PROJECT)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a repository's name says: the project it is in, and the object it would be, whose bucket may be missing."""

    home: Project
    name: ObjectName | None
    bucket: Bucket | None

    def is_object(self, tx: Transaction) -> bool:
        """Whether it means an object, or the bytes of a digest."""
        if self.name is None or self.bucket is None:
            return self.name is not None and self.name.bucket == DIGESTS
        return objects.find(tx, self.bucket, self.name.key) is not None

    def is_open(self, tx: Transaction) -> bool:
        """Whether it means an object that everybody may read."""
        return self.bucket is not None and self.bucket.is_open and self.is_object(tx)

    def reads(self, tx: Transaction, principal: Principal) -> bool:
        """Whether it means an object which the principal may read."""
        here = self.is_object(tx)
        if not here or self.name is None or self.bucket is None:
            return here
        return is_allowed(tx, principal, Action.GET, self.bucket, self.name.key)


def meaning_of(tx: Transaction, path: str) -> Meaning:
    """What that name says. An object is in the project of its first component, if that is one; then bucket and key."""
    whole = canonical(path)
    home = home_of(tx, path)
    owner = home if path == whole else projects.known(tx, DEFAULT_PROJECT)  # `default/` was written
    bucket, slash, key = whole.removeprefix(f"{owner.name}/").partition("/")
    if not (slash and key) or bucket == IMAGES:
        return Meaning(home, None, None)
    found = None if bucket in VIRTUAL else projects.find_bucket(tx, owner.name, bucket)
    return Meaning(home, ObjectName(bucket, key, owner.name), found)


def is_object(tx: Transaction, path: str) -> bool:
    """Whether that name means an object, or the bytes of a digest."""
    return meaning_of(tx, path).is_object(tx)


def stored(tx: Transaction, path: str) -> Repository | None:
    """The repository of that name; one with nothing in it gives way to an object of its name."""
    found = repositories.find(tx, canonical(path))
    gives_way = found and not manifests.in_repository(tx, found.id) and is_object(tx, path)
    return None if gives_way else found


def find(tx: Transaction, principal: Principal, action: Action, path: str) -> Repository:
    """The repository, if the principal may do that to it.

    Raises: NotFound; Denied; Unauthenticated; ReadOnly if it is an object.
    """
    repository = stored(tx, path)
    if repository is None:
        refusal = missing(tx, principal, path)
        if meaning_of(tx, path).reads(tx, principal):
            raise ReadOnly(f"{path} is an object", why="it is changed by the ways it came in")
        raise refusal
    authorize(principal, action, Resource(repository.project_id, repository.public))
    return repository


def missing(tx: Transaction, principal: Principal, path: str) -> EntrepotError:
    """Why a name that is not there is refused: as one that the caller may not know of."""
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
    meaning = meaning_of(tx, path)
    if _is_taken(meaning, path):
        authorize(principal, Action.CREATE, Resource(meaning.home.id))
        raise Conflict(f"{path} is below a bucket of the server's own", advice="choose another name")
    found = repositories.find(tx, canonical(path))
    if found and (manifests.in_repository(tx, found.id) or not meaning.is_object(tx)):
        authorize(principal, Action.CREATE, Resource(found.project_id, found.public))
        return found
    authorize(principal, Action.CREATE, Resource(meaning.home.id, meaning.is_open(tx)))
    if meaning.is_object(tx):
        raise Conflict(f"{path} is the name of an object", why="it can be pulled, and is put by other ways")
    return meaning.home


def _is_taken(meaning: Meaning, path: str) -> bool:
    """Whether no repository can have that name: it is below a bucket nobody made, or one with areas."""
    if canonical(path).partition("/")[0] in VIRTUAL or (meaning.name and meaning.name.bucket in VIRTUAL):
        return True
    return meaning.bucket is not None and meaning.bucket.areas


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
