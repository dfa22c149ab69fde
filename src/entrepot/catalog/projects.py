"""Projects with their quota, buckets, and the areas of shared buckets."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from entrepot.catalog.database import Query, Row, Transaction, text_of, value_of
from entrepot.catalog.ids import row_id
from entrepot.catalog.schema import area, bucket, job_owner, object_, object_version, principal, project, upload
from entrepot.errors import BucketNotEmpty, Conflict, EntrepotError, NotFound, QuotaExceeded
from entrepot.model import Bucket, Instant, Project
from entrepot.principals import Area, AreaKind

REMOVED: Final = "\n"
"""No principal has this name."""
MOST_OBJECTS: Final = 10_000_000
"""Live names of one project."""

_PROJECT: Final = (project.c.id, project.c.name, project.c.quota, project.c.used, project.c.reserved, project.c.objects)
_BY_NAME: Final = Query(select(*_PROJECT).where(project.c.name == bindparam("name")))
_EITHER: Final = Query(  # `IN` would build a table of two rows first
    select(*_PROJECT).where(project.c.name == bindparam("name"))
    .union_all(select(*_PROJECT).where(project.c.name == bindparam("other")))
)  # fmt: skip
_BY_ID: Final = Query(select(*_PROJECT).where(project.c.id == bindparam("id")))
_ALL: Final = Query(select(*_PROJECT).order_by(project.c.name))
_ADD: Final = Query(
    insert(project)
    .values({name: bindparam(name) for name in ("id", "name", "quota", "created_at")})
    .on_conflict_do_nothing(index_elements=["name"])
)
_SET_QUOTA: Final = Query(update(project).values(quota=bindparam("to")).where(project.c.id == bindparam("wanted")))
_REMOVE: Final = Query(delete(project).where(project.c.id == bindparam("id")))
_OPEN_UPLOAD: Final = Query(
    select(upload.c.id).where(upload.c.project_id == bindparam("id"), upload.c.state != "done").limit(1)
)
_DROP_UPLOADS: Final = Query(delete(upload).where(upload.c.project_id == bindparam("id")))
_RESERVE: Final = Query(
    update(project)
    .values(reserved=project.c.reserved + bindparam("size"))
    .where(
        project.c.id == bindparam("wanted"),
        project.c.quota - project.c.used - project.c.reserved >= bindparam("size"),
    )
)
_SETTLE: Final = Query(
    update(project)
    .values(
        used=project.c.used + bindparam("grown"),
        reserved=project.c.reserved - bindparam("released"),
        objects=project.c.objects + bindparam("more"),
    )
    .where(
        project.c.id == bindparam("wanted"),
        project.c.quota - project.c.used - project.c.reserved + bindparam("released") >= bindparam("grown"),
        project.c.objects + bindparam("more") <= MOST_OBJECTS,
    )
)
_SHRINK: Final = Query(
    update(project)
    .values(used=project.c.used - bindparam("size"), objects=project.c.objects - bindparam("fewer"))
    .where(project.c.id == bindparam("wanted"))
)
_RESET_RESERVED: Final = Query(
    update(project).values(
        reserved=select(func.coalesce(func.sum(upload.c.reserved), 0))
        .where(upload.c.project_id == project.c.id)
        .scalar_subquery()
    )
)
_BUCKET: Final = (
    bucket.c.id, bucket.c.project_id, project.c.name, bucket.c.name, bucket.c.public, bucket.c.areas,
    bucket.c.created_at, bucket.c.versioning, bucket.c.config,
)  # fmt: skip
_FIND_BUCKET: Final = Query(
    select(*_BUCKET)
    .select_from(bucket.join(project, project.c.id == bucket.c.project_id))
    .where(project.c.name == bindparam("project"), bucket.c.name == bindparam("name"))
)
_BUCKET_BY_ID: Final = Query(
    select(*_BUCKET)
    .select_from(bucket.join(project, project.c.id == bucket.c.project_id))
    .where(bucket.c.id == bindparam("id"))
)
_BUCKETS: Final = Query(
    select(*_BUCKET)
    .select_from(bucket.join(project, project.c.id == bucket.c.project_id))
    .where(project.c.id == bindparam("project_id"))
    .order_by(bucket.c.name)
)
_ADD_BUCKET: Final = Query(
    insert(bucket)
    .values({c.name: bindparam(c.name) for c in bucket.c if c.name != "versioning"})
    .on_conflict_do_nothing(index_elements=["project_id", "name"])
)
_LOCK_BUCKET: Final = Query(select(bucket.c.id).where(bucket.c.id == bindparam("id")).with_for_update())
_SET_CONFIG: Final = Query(update(bucket).values(config=bindparam("to")).where(bucket.c.id == bindparam("wanted")))
_SET_VERSIONING: Final = Query(
    update(bucket).values(versioning=bindparam("to")).where(bucket.c.id == bindparam("wanted"))
)
_OLDEST_BUCKET: Final = Query(
    select(*_BUCKET)
    .select_from(bucket.join(project, project.c.id == bucket.c.project_id))
    .where(bucket.c.name == bindparam("name"))
    .order_by(bucket.c.id)
    .limit(1)
)
_WITH_LIFECYCLE: Final = Query(
    select(*_BUCKET)
    .select_from(bucket.join(project, project.c.id == bucket.c.project_id))
    .where(text("bucket.config LIKE '%\"lifecycle\":%'"))
)
_SET_PUBLIC: Final = Query(update(bucket).values(public=bindparam("to")).where(bucket.c.id == bindparam("wanted")))
_IN_USE: Final = Query(select(object_.c.name).where(object_.c.bucket_id == bindparam("id")).limit(1))
_KEPT: Final = Query(
    select(object_version.c.name)
    .where(object_version.c.bucket_id == bindparam("id"), object_version.c.kept == 1)
    .limit(1)
)
_IN_TRASH: Final = Query(
    select(object_version.c.version).where(object_version.c.bucket_id == bindparam("id")).limit(bindparam("limit"))
)
_REMOVE_BUCKET: Final = Query(delete(bucket).where(bucket.c.id == bindparam("id")))
_SEGMENT: Final = Query(
    select(area.c.segment).where(area.c.kind == bindparam("kind"), area.c.name == bindparam("name"))
)
_AREA: Final = Query(select(area.c.kind, area.c.name).where(area.c.segment == bindparam("segment")))
_JOB_OWNER: Final = Query(
    select(principal.c.name)
    .select_from(job_owner.outerjoin(principal, principal.c.id == job_owner.c.principal_id))
    .where(job_owner.c.job == bindparam("job"))
)
_CLAIM_JOB: Final = Query(
    insert(job_owner)
    .values(job=bindparam("job"), principal_id=bindparam("principal_id"))
    .on_conflict_do_nothing(index_elements=["job"])
)
_RETIRE_AREA: Final = Query(
    update(area).values(name=bindparam("to")).where(area.c.kind == bindparam("of"), area.c.name == bindparam("wanted"))
)
_ADD_AREA: Final = Query(insert(area).values({c.name: bindparam(c.name) for c in area.c}))


def _project_of(row: Row) -> Project:
    return Project(*row)


def _bucket_of(row: Row) -> Bucket:
    id_, project_id, project_name, name, public, areas, created_at, versioning, config = row
    return Bucket(
        id_, project_id, project_name, name, bool(public), bool(areas), created_at, versioning,
        value_of(config),
    )  # fmt: skip


def find(tx: Transaction, name: str) -> Project | None:
    """The project of that name."""
    row = tx.row(_BY_NAME, name=name)
    return _project_of(row) if row else None


def known(tx: Transaction, name: str) -> Project:
    """The project of that name. Raises: NotFound."""
    found = find(tx, name)
    if found is None:
        raise NotFound(f"no project {name}")
    return found


def either(tx: Transaction, name: str, other: str) -> Project:
    """The project of that name, or if there is none, of the other. Raises: NotFound."""
    found = {row[1]: _project_of(row) for row in tx.rows(_EITHER, name=name, other=other)}
    if not found:
        raise NotFound(f"no project {other}")
    return found.get(name) or found[other]


def buckets_with_lifecycle(tx: Transaction) -> list[Bucket]:
    """Buckets that have lifecycle rules."""
    return [found for row in tx.rows(_WITH_LIFECYCLE) if "lifecycle" in (found := _bucket_of(row)).config]


def by_id(tx: Transaction, project_id: int) -> Project | None:
    """The project with that id."""
    row = tx.row(_BY_ID, id=project_id)
    return _project_of(row) if row else None


def all_projects(tx: Transaction) -> list[Project]:
    """Every project, by name."""
    return [_project_of(row) for row in tx.rows(_ALL)]


def add(tx: Transaction, name: str, quota: int, now: Instant) -> Project:
    """A new project. Raises: Conflict."""
    if not tx.run(_ADD, id=row_id(now), name=name, quota=quota, created_at=now):
        raise Conflict(f"project {name} exists")
    return known(tx, name)


def set_quota(tx: Transaction, project_id: int, quota: int) -> None:
    """The project may hold that many bytes from now on."""
    tx.run(_SET_QUOTA, wanted=project_id, to=quota)


def remove(tx: Transaction, project_id: int) -> None:
    """Drop an empty project. Raises: Conflict if it still has buckets."""
    if tx.rows(_BUCKETS, project_id=project_id):
        raise Conflict("the project still has buckets", advice="remove them first")
    if tx.row(_OPEN_UPLOAD, id=project_id):
        raise Conflict("an upload into the project is still open", advice="finish or discard it")
    tx.run(_DROP_UPLOADS, id=project_id)
    tx.run(_REMOVE, id=project_id)


def reserve(tx: Transaction, project_id: int, size: int) -> None:
    """Keep room for `size` bytes on their way in. Raises: QuotaExceeded."""
    if size and not tx.run(_RESERVE, wanted=project_id, size=size):
        raise _over_quota(tx, project_id)


def settle(tx: Transaction, project_id: int, *, grown: int, released: int, more: int) -> None:
    """Count what a commit changed: bytes of names, their number, the reservation used up. Raises: QuotaExceeded."""
    if not tx.run(_SETTLE, wanted=project_id, grown=grown, released=released, more=more):
        raise _over_quota(tx, project_id)


def shrink(tx: Transaction, project_id: int, size: int, fewer: int = 1) -> None:
    """Names of that many bytes are gone."""
    tx.run(_SHRINK, wanted=project_id, size=size, fewer=fewer)


def _over_quota(tx: Transaction, project_id: int) -> EntrepotError:
    row = tx.row(_BY_ID, id=project_id)
    if row is None:
        return NotFound("the project is gone")
    found = _project_of(row)
    if found.objects >= MOST_OBJECTS:
        return QuotaExceeded(f"project {found.name} has {MOST_OBJECTS} objects", advice="delete some")
    return QuotaExceeded(
        f"project {found.name} is over its quota",
        why=f"{found.used} bytes used, {found.reserved} arriving, {found.quota} allowed",
        advice="delete something, or ask an owner for room",
    )


def count_reserved_anew(tx: Transaction) -> None:
    """Set each project's reservations to those of its open uploads; what a crash left behind is freed."""
    tx.run(_RESET_RESERVED)


def find_bucket(tx: Transaction, project_name: str, name: str) -> Bucket | None:
    """That bucket of that project."""
    row = tx.row(_FIND_BUCKET, project=project_name, name=name)
    return _bucket_of(row) if row else None


def bucket_by_id(tx: Transaction, bucket_id: int) -> Bucket | None:
    """The bucket with that id."""
    row = tx.row(_BUCKET_BY_ID, id=bucket_id)
    return _bucket_of(row) if row else None


def buckets(tx: Transaction, project_id: int) -> list[Bucket]:
    """All buckets of a project, by name."""
    return [_bucket_of(row) for row in tx.rows(_BUCKETS, project_id=project_id)]


def oldest_bucket(tx: Transaction, name: str) -> Bucket | None:
    """The first bucket of that name in any project."""
    row = tx.row(_OLDEST_BUCKET, name=name)
    return _bucket_of(row) if row else None


def add_bucket(
    tx: Transaction,
    found: Project,
    name: str,
    now: Instant,
    *,
    public: bool = False,
    areas: bool = False,
    config: Mapping[str, Any] | None = None,
) -> Bucket:
    """That bucket of the project, made if it is missing; one that is there stays as it is."""
    tx.run(
        _ADD_BUCKET,
        id=row_id(now),
        project_id=found.id,
        name=name,
        public=int(public),
        areas=int(areas),
        config=text_of(config or {}),
        created_at=now,
    )
    made = find_bucket(tx, found.name, name)
    assert made
    return made


def set_public(tx: Transaction, bucket_id: int, public: bool) -> None:
    """Whether anyone may read the bucket."""
    tx.run(_SET_PUBLIC, wanted=bucket_id, to=int(public))


def lock_bucket(tx: Transaction, bucket_id: int) -> None:
    """Nobody else changes the bucket until this transaction ends."""
    tx.row(_LOCK_BUCKET, id=bucket_id)


def set_config(tx: Transaction, bucket_id: int, config: Mapping[str, Any]) -> None:
    """What protocols keep of the bucket from now on."""
    tx.run(_SET_CONFIG, wanted=bucket_id, to=text_of(config))


def set_versioning(tx: Transaction, bucket_id: int, state: str) -> None:
    """Whether the bucket keeps versions from now on."""
    tx.run(_SET_VERSIONING, wanted=bucket_id, to=state)


def trash_of(tx: Transaction, found: Bucket, limit: int) -> list[int]:
    """Up to `limit` versions in the trash of a bucket that holds nothing else. Raises: BucketNotEmpty."""
    if tx.row(_IN_USE, id=found.id) or tx.row(_KEPT, id=found.id):
        raise BucketNotEmpty(f"bucket {found.name} is not empty", advice="delete its objects, and versions, first")
    return [row[0] for row in tx.rows(_IN_TRASH, id=found.id, limit=limit)]


def remove_bucket(tx: Transaction, found: Bucket) -> None:
    """Drop a bucket that has nothing in it, nor in the trash."""
    tx.run(_REMOVE_BUCKET, id=found.id)


def segment_of(tx: Transaction, owner: Area) -> str | None:
    """The key segment of a user's or group's area, if it was ever used."""
    row = tx.row(_SEGMENT, kind=owner.kind.value, name=owner.name)
    return row[0] if row else None


def claim_segment(tx: Transaction, owner: Area) -> str:
    """The key segment of an area, given once and for ever: its own name, or with `.user` or `.group` behind it."""
    found = segment_of(tx, owner)
    if found is not None:
        return found
    fit = 0 < len(owner.name.encode()) <= 128 and "/" not in owner.name and owner.name not in {".", ".."}
    if not fit or any(ord(letter) < 32 or ord(letter) == 127 for letter in owner.name):
        wanted = f"u-{hashlib.sha256(owner.name.encode()).hexdigest()[:16]}"
    else:
        wanted = owner.name
    while area_of(tx, wanted) is not None:
        wanted = f"{wanted}.{owner.kind.value}"
    tx.run(_ADD_AREA, kind=owner.kind.value, name=owner.name, segment=wanted)
    return wanted


def area_of(tx: Transaction, segment: str) -> Area | None:
    """Whose key segment that is."""
    row = tx.row(_AREA, segment=segment)
    return Area(AreaKind(row[0]), row[1]) if row else None


def owner_of_job(tx: Transaction, job: str) -> str:
    """Name of the principal a job's outputs belong to; empty if there are none yet, `REMOVED` if that user is gone."""
    row = tx.row(_JOB_OWNER, job=job)
    return (row[0] or REMOVED) if row else ""


def claim_job(tx: Transaction, job: str, principal_id: int) -> str:
    """Name of the owner of that job's outputs: this principal, if nobody wrote there before."""
    tx.run(_CLAIM_JOB, job=job, principal_id=principal_id)
    return owner_of_job(tx, job)


def retire_area(tx: Transaction, owner: Area, account_id: int) -> None:
    """The user is gone: another of that name gets an area of its own."""
    tx.run(_RETIRE_AREA, of=owner.kind.value, wanted=owner.name, to=f"{owner.name} (removed {account_id})")
