"""Where a name lies and whose it is: from what a caller wrote to a bucket and the resource rights are asked on."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from entrepot.auth.permissions import authorize, may
from entrepot.catalog import blobs, listing, manifests, objects, projects, repositories
from entrepot.catalog.database import Transaction
from entrepot.errors import Denied, Hidden, NoBucket, NotFound, ReadOnly
from entrepot.model import Bucket, Digest, Instant, ObjectName, Repository, VersionId
from entrepot.principals import Action, Area, AreaKind, Kind, Principal, Resource, Role
from entrepot.services import sharing

DIGESTS: Final = "sha256"
"""A bucket nobody made: its keys are the digests the caller may read by some name."""
IMAGES: Final = "oci"
"""A bucket nobody made: it shows what repositories hold, as files."""
VIRTUAL: Final = frozenset({DIGESTS, IMAGES})
HEX: Final = re.compile(r"[0-9a-f]{64}\Z")
AREAS_BUCKET: Final = "prominence-data"
UPLOADS: Final = "uploads/"
SCRATCH: Final = "scratch/"
MOST_OUTPUTS: Final = 100
"""How many outputs with the same bytes are looked through for one of the caller's."""

_MENDING: Final = frozenset({"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"})


def find_bucket(
    tx: Transaction, principal: Principal, name: str, project: str | None = None, *, anywhere: bool = False
) -> Bucket:
    """That bucket of the given, else the caller's own project, else if `anywhere` the oldest. Raises: NoBucket."""
    found = projects.find_bucket(tx, project or principal.project, name)
    if found is None and anywhere and project is None:
        found = projects.oldest_bucket(tx, name)
    if found is None:
        raise NoBucket("no such bucket")
    return found


def resource_of(tx: Transaction, bucket: Bucket, key: str = "") -> Resource:
    """What rights are asked on for `key`, or for the whole bucket."""
    area = _area_of(tx, key) if bucket.areas else None
    return Resource(bucket.project_id, bucket.is_open, area, bucket.name, key)


def _area_of(tx: Transaction, key: str) -> Area:
    """Whose part of a bucket with areas `key` lies in; outside all of them it is nobody's.

    As the prefix of a list it must reach past the slash: `uploads/bo` begins the names of more users than one.
    """
    if key.startswith(SCRATCH):
        job, slash, _ = key.removeprefix(SCRATCH).partition("/")
        return Area(AreaKind.JOB, job, projects.owner_of_job(tx, job)) if slash else Area(AreaKind.JOB, "")
    segment, slash, rest = key.removeprefix(UPLOADS).partition("/")
    owner = projects.area_of(tx, segment) if key.startswith(UPLOADS) and slash else None
    if owner is None:
        return Area(AreaKind.JOB, "")
    if owner.kind is AreaKind.USER:
        return owner
    folders = rest.rpartition("/")[0]
    return Area(AreaKind.GROUP, f"{owner.name}/{folders}" if folders else owner.name)


def allowed(
    tx: Transaction, principal: Principal, action: Action, name: ObjectName, version: VersionId | None = None
) -> tuple[Bucket, Resource]:
    """The bucket of `name`, if the principal may do that to it.

    Raises: NotFound; Denied; Unauthenticated; ReadOnly for a bucket nobody made.
    """
    if name.bucket in VIRTUAL:
        raise ReadOnly(f"the bucket {name.bucket} only shows what is elsewhere")
    bucket = find_bucket(tx, principal, name.bucket, name.project, anywhere=name.anywhere)
    return bucket, decide(tx, principal, action, bucket, name.key, version)


def decide(
    tx: Transaction,
    principal: Principal,
    action: Action,
    bucket: Bucket,
    key: str = "",
    version: VersionId | None = None,
) -> Resource:
    """What was asked on, if the principal may do that there. Raises: Denied; Hidden; Unauthenticated."""
    resource = resource_of(tx, bucket, key)
    if bucket.config and (bucket.config.keys() & sharing.WORDS):
        said = sharing.bucket_says(tx, principal, action, bucket, key, version)
        if said is False and not _mends_policy(principal, bucket):
            raise Denied("the policy of the bucket forbids this")
        if said and not principal.grant:
            return resource
    if key and not may(principal, action, resource):
        if sharing.object_says(tx, principal, action, bucket, key, version):
            return resource
        missing = action is Action.GET and sharing.version_in(tx, bucket, key, version) is None
        if missing and is_allowed(tx, asking(principal, "s3:ListBucket"), Action.LIST, bucket, key):
            raise NotFound("no such object")
    authorize(principal, action, resource)
    return resource


def check_not_denied(
    tx: Transaction, principal: Principal, operation: str, action: Action, bucket: Bucket, key: str
) -> None:
    """Nothing, if no policy denies what a request asks for beside what it does. Raises: Denied."""
    if sharing.bucket_says(tx, asking(principal, operation), action, bucket, key, None) is False:
        raise Denied("the policy of the bucket forbids this")


def is_allowed(tx: Transaction, principal: Principal, action: Action, bucket: Bucket, key: str) -> bool:
    """Whether the principal may do that there."""
    try:
        decide(tx, principal, action, bucket, key)
    except (Denied, Hidden):
        return False
    return True


def asking(principal: Principal, operation: str) -> Principal:
    """The principal, asking for that, whatever it does beside it."""
    return replace(principal, origin=replace(principal.origin, operation=operation))


def with_words(principal: Principal, words: Mapping[str, Sequence[str]]) -> Principal:
    """The principal, with more of what a policy may ask of its request."""
    known = principal.origin.words
    return replace(principal, origin=replace(principal.origin, words=lambda: {**(known() if known else {}), **words}))


def reading(principal: Principal, version: VersionId | None = None) -> Principal:
    """The principal, asking for the bytes of a source, whatever it does with them."""
    return asking(principal, "s3:GetObject" if version is None else "s3:GetObjectVersion")


def hide_missing(tx: Transaction, principal: Principal, bucket: Bucket, key: str) -> None:
    """Nothing, if the principal may know which names there are. Raises: Hidden; Unauthenticated."""
    if not principal.grant:
        decide(tx, asking(principal, "s3:ListBucket"), Action.LIST, bucket, key)


def _mends_policy(principal: Principal, bucket: Bucket) -> bool:
    """Owners can always see and change what a policy says: no policy locks them out."""
    owner = principal.admin or principal.roles.get(bucket.project_id, 0) >= Role.OWNER
    return owner and principal.origin.operation in _MENDING


def holder_of(principal: Principal) -> str:
    """Who a lease belongs to: the principal that was told the bytes are here."""
    return f"principal:{principal.id}"


def can_read(
    tx: Transaction, principal: Principal, digest: Digest, now: Instant, project_id: int | None = None
) -> bool:
    """Whether some live name the principal may read points to those bytes. Knowing a digest opens nothing.

    With a project: some name of that project.
    """
    if _in_bucket(tx, principal, digest, now, project_id):
        return True
    homes = [project_id] if project_id is not None else list(principal.roles)
    readable = (one for one in homes if may(principal, Action.GET, Resource(one)))
    if any(manifests.is_named_in(tx, digest, one) for one in readable):
        return True
    if project_id is None and not principal.grant and manifests.is_named_in(tx, digest, None):
        return True
    return any(
        may(principal, Action.GET, Resource(one.project_id, one.public))
        for one in leased_to(tx, digest, now)
        if project_id in (None, one.project_id)
    )


def leased_to(tx: Transaction, digest: Digest, now: Instant) -> Iterator[Repository]:
    """Repositories of which somebody was told that those bytes are there."""
    for name in blobs.lease_holders(tx, digest, "repository", now):
        found = repositories.by_id(tx, int(name))
        if found:
            yield found


def repositories_with(tx: Transaction, digest: Digest, now: Instant) -> Iterator[Repository]:
    """Repositories that have those bytes: a manifest names them, or somebody was told they are there."""
    yield from leased_to(tx, digest, now)
    for repository_id in manifests.repositories_naming(tx, digest):
        found = repositories.by_id(tx, repository_id)
        if found:
            yield found


def _in_bucket(tx: Transaction, principal: Principal, digest: Digest, now: Instant, project_id: int | None) -> bool:
    for bucket_id in objects.buckets_with(tx, digest, now):
        bucket = projects.bucket_by_id(tx, bucket_id)
        if bucket is None or sharing.denies_some(bucket) or project_id not in (None, bucket.project_id):
            continue  # a name may be denied there: nothing of it is read by digest alone
        if not bucket.areas or principal.kind is not Kind.USER or (principal.admin and not principal.job):
            if may(principal, Action.GET, Resource(bucket.project_id, bucket.is_open, bucket=bucket.name)):
                return True
        elif _holds_in_area(tx, principal, bucket_id, digest, now):
            return True
    return False


def _holds_in_area(tx: Transaction, principal: Principal, bucket_id: int, digest: Digest, now: Instant) -> bool:
    for prefix in area_prefixes(tx, principal):
        if objects.names_below(tx, bucket_id, digest, prefix, listing.successor(prefix), 1, now):
            return True
    outputs = objects.names_below(tx, bucket_id, digest, SCRATCH, listing.successor(SCRATCH), MOST_OUTPUTS, now)
    jobs = {name.removeprefix(SCRATCH).partition("/")[0] for name in outputs}
    return any(projects.owner_of_job(tx, job) == principal.name for job in jobs)


def area_prefixes(tx: Transaction, principal: Principal) -> list[str]:
    """Beginnings of all keys in a bucket with areas that are the principal's own or its groups'."""
    prefixes: list[str] = []
    own = projects.segment_of(tx, Area(AreaKind.USER, principal.name))
    if own is not None:
        prefixes.append(f"{UPLOADS}{own}/")
    for group in principal.groups:
        first, _, rest = group.partition("/")
        segment = projects.segment_of(tx, Area(AreaKind.GROUP, first))
        if segment is not None:
            prefixes.append(f"{UPLOADS}{segment}/{rest}/" if rest else f"{UPLOADS}{segment}/")
    return prefixes
