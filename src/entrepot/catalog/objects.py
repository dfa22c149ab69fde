"""Live names in buckets: what each points to now. What it pointed to before is in `versions`."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Double, bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from entrepot.catalog import blobs, projects, versions
from entrepot.catalog.database import LostRace, Query, Row, Transaction, text_of, value_of
from entrepot.catalog.ids import row_id
from entrepot.catalog.schema import blob, bucket, inline_blob, object_, project
from entrepot.errors import Denied, NothingToReplace, PreconditionFailed
from entrepot.model import ALWAYS, EMPTY_DIGEST, Blob, Bucket, Condition, Digest, Facts, Instant, StoredObject

COLUMNS: Final = (
    object_.c.version, object_.c.name, object_.c.digest, object_.c.size, object_.c.etag, object_.c.content_type,
    object_.c.metadata, object_.c.extra, object_.c.unversioned, object_.c.created_at, object_.c.expires_at,
)  # fmt: skip
LIVE: Final = object_.c.expires_at.is_(None) | (object_.c.expires_at > bindparam("now", type_=Double()))
"""Names that are over stay in their table until a job comes by; nobody sees them."""
_HERE: Final = (object_.c.bucket_id == bindparam("wanted_bucket"), object_.c.name == bindparam("wanted_name"))
_FIND: Final = Query(select(*COLUMNS).where(*_HERE))
_LOCK: Final = Query(select(*COLUMNS).where(*_HERE).with_for_update())
_OPEN: Final = Query(
    select(*COLUMNS, *blobs.COLUMNS)
    .select_from(
        object_.outerjoin(blob, (blob.c.digest == object_.c.digest) & blobs.PRESENT).outerjoin(
            inline_blob, inline_blob.c.key == blob.c.key
        )
    )
    .where(*_HERE)
)
_VALUES: Final[dict[str, ColumnElement[Any]]] = {c.name: bindparam(c.name) for c in object_.c}
_CREATE: Final = Query(insert(object_).values(_VALUES).on_conflict_do_nothing(index_elements=["bucket_id", "name"]))
_POINT: Final = Query(
    insert(object_)
    .values(_VALUES)
    .on_conflict_do_update(
        index_elements=["bucket_id", "name"],
        set_={name: value for name, value in _VALUES.items() if name not in {"bucket_id", "name"}},
    )
)
_TURN: Final = Query(
    sqlite=text("SELECT :place"),
    postgresql=text("SELECT pg_advisory_xact_lock(hashtextextended(:place, 0))"),
)
_REMOVE: Final = Query(delete(object_).where(*_HERE))
_SET_EXTRA: Final = Query(
    update(object_).values(extra=bindparam("to")).where(*_HERE, object_.c.version == bindparam("wanted"))
)
_EXPIRED: Final = Query(
    select(object_.c.bucket_id, object_.c.name)
    .where(object_.c.expires_at <= bindparam("now"))
    .order_by(object_.c.expires_at)
    .limit(bindparam("limit"))
)
_BUCKET_WITH: Final = Query(
    select(object_.c.bucket_id)
    .where(object_.c.digest == bindparam("digest"), object_.c.bucket_id > bindparam("after"), LIVE)
    .order_by(object_.c.bucket_id)
    .limit(1)
)
_BELOW: Final = Query(
    select(object_.c.name)
    .where(
        object_.c.digest == bindparam("digest"),
        object_.c.bucket_id == bindparam("bucket"),
        object_.c.name >= bindparam("start"),
        object_.c.name < bindparam("stop"),
        LIVE,
    )
    .limit(bindparam("limit"))
)
_DIGESTS: Final = Query(
    select(object_.c.digest, func.max(object_.c.size))
    .select_from(
        object_.join(bucket, bucket.c.id == object_.c.bucket_id).join(project, project.c.id == bucket.c.project_id)
    )
    .where(
        project.c.name == bindparam("project"),
        object_.c.digest >= bindparam("start"),
        object_.c.digest > bindparam("after"),
        object_.c.digest < bindparam("stop"),
        LIVE,
    )
    .group_by(object_.c.digest)
    .order_by(object_.c.digest)
    .limit(bindparam("limit"))
)
_BY_VERSION: Final = Query(select(*COLUMNS).where(*_HERE, object_.c.version == bindparam("version")))


def object_of(found: Bucket, row: Row) -> StoredObject:
    """The object a row of `COLUMNS` describes."""
    version, name, digest, size, etag, content_type, metadata, extra, unversioned, created_at, expires_at = row
    return StoredObject(
        version, found.project, found.name, name, Digest(digest) if digest else EMPTY_DIGEST, size, etag, content_type,
        value_of(metadata), created_at, expires_at,
        value_of(extra), bool(unversioned), versions.id_in(found, version, unversioned),
    )  # fmt: skip


def is_over(found: StoredObject, now: Instant) -> bool:
    """Whether its time has come: it is gone, though its row is still there."""
    return found.expires_at is not None and found.expires_at <= now


def find(tx: Transaction, found: Bucket, key: str) -> StoredObject | None:
    """What that name points to now."""
    row = tx.row(_FIND, wanted_bucket=found.id, wanted_name=key)
    return object_of(found, row) if row else None


def find_with_blob(tx: Transaction, found: Bucket, key: str) -> tuple[StoredObject, Blob | None] | None:
    """What that name points to, and its bytes: None if they were found wrong and wait for repair."""
    row = tx.row(_OPEN, wanted_bucket=found.id, wanted_name=key)
    if row is None:
        return None
    width = len(COLUMNS)
    return object_of(found, row[:width]), blobs.blob_of(row[width:]) if row[width] else None


def point(
    tx: Transaction,
    found: Bucket,
    key: str,
    digest: Digest,
    size: int,
    etag: str,
    facts: Facts,
    condition: Condition,
    now: Instant,
    *,
    released: int = 0,
) -> StoredObject:
    """The name, now pointing to those bytes, which must be held; what it pointed to before goes to the history.

    `released` is the reservation this uses up. Raises: PreconditionFailed; Denied; QuotaExceeded.
    """
    _take_turn(tx, found, key)
    version, unversioned = row_id(now), found.versioning != versions.ENABLED
    values = {
        "bucket_id": found.id, "name": key, "version": version, "digest": digest.hex, "size": size, "etag": etag,
        "content_type": facts.content_type, "metadata": text_of(facts.metadata), "extra": text_of(facts.extra),
        "unversioned": int(unversioned), "created_at": now, "expires_at": facts.expires_at,
    }  # fmt: skip
    old: StoredObject | None = None
    if condition.etag is not None or not tx.run(_CREATE, **values):
        old = locked(tx, found, key)
        check(old if old and not is_over(old, now) else None, condition)
        if old is None:
            raise LostRace  # it was there, and went before we could lock it
    freed = versions.make_way(tx, found, key, old, now) if old or found.versioning else 0
    if old:
        tx.run(_POINT, **values)
    blobs.refer(tx, versions.KIND, version, digest, found.id, size)
    projects.settle(tx, found.project_id, grown=size - freed, released=released, more=0 if old else 1)
    return StoredObject(
        version, found.project, found.name, key, digest, size, etag, facts.content_type, facts.metadata, now,
        facts.expires_at, facts.extra, unversioned, versions.id_in(found, version, unversioned),
    )  # fmt: skip


def _take_turn(tx: Transaction, found: Bucket, key: str) -> None:
    """Of a name whose versions are kept one change at a time: there may be no row to lock."""
    if found.versioning:
        tx.row(_TURN, place=f"{found.id} {key}")


def locked(tx: Transaction, found: Bucket, key: str) -> StoredObject | None:
    """What that name points to, which nobody else changes until this transaction ends."""
    row = tx.row(_LOCK, wanted_bucket=found.id, wanted_name=key)
    return object_of(found, row) if row else None


def check(old: StoredObject | None, condition: Condition) -> None:
    """Nothing, if the name may move. Raises: PreconditionFailed, or NothingToReplace of its kinds; Denied."""
    if old is None:
        if condition.etag is not None:
            raise NothingToReplace("there is no such object to replace")
        return
    if condition.absent or old.etag == condition.other_than:
        raise PreconditionFailed("the object exists", why="the request asked for a new one, or for another to replace")
    if condition.etag is not None and condition.etag not in (old.etag, "*"):
        raise PreconditionFailed("the object was changed meanwhile")
    if not condition.overwrite:
        raise Denied(
            "the object exists, and you may not overwrite it", why="overwriting takes the role of a maintainer"
        )


def remove(
    tx: Transaction, found: Bucket, key: str, now: Instant, condition: Condition = ALWAYS
) -> tuple[StoredObject | None, StoredObject | None]:
    """What the name pointed to, and the marker left in its place if its bucket keeps versions.

    Without versions the bytes are in the trash now. Raises: PreconditionFailed.
    """
    _take_turn(tx, found, key)
    old = locked(tx, found, key)
    if condition is not ALWAYS:
        check(old, condition)
    if old is None and not found.versioning:
        return None, None
    freed = versions.make_way(tx, found, key, old, now)
    if old:
        tx.run(_REMOVE, wanted_bucket=found.id, wanted_name=key)
    marker = versions.mark_deleted(tx, found, key, now) if found.versioning else None
    projects.shrink(tx, found.project_id, freed, fewer=1 if old else 0)
    return old, marker


def restore(tx: Transaction, found: Bucket, key: str) -> None:
    """The live name is gone: the newest version that is kept takes its place, unless that is a marker."""
    values = versions.take_newest(tx, found, key)
    if values:
        if not tx.run(_CREATE, **values, expires_at=None):
            raise LostRace  # somebody put the name meanwhile
        projects.shrink(tx, found.project_id, 0, fewer=-1)


def remove_version(tx: Transaction, found: Bucket, key: str, version: int | None, now: Instant) -> StoredObject | None:
    """That version of the name, `None` the one without a number, which is in the trash now; None if there is none."""
    _take_turn(tx, found, key)
    live = locked(tx, found, key)
    if live and (live.version == version or (version is None and live.unversioned)):
        versions.to_trash(tx, found, key, now)
        tx.run(_REMOVE, wanted_bucket=found.id, wanted_name=key)
        projects.shrink(tx, found.project_id, live.size)
        restore(tx, found, key)
        return live
    old = versions.drop(tx, found, key, version, now)
    if old:
        projects.shrink(tx, found.project_id, old.size, fewer=0)
        if live is None:
            restore(tx, found, key)
    return old


def find_any(tx: Transaction, found: Bucket, key: str, version: int | None) -> StoredObject | None:
    """That version of the name, live or kept; None as `version`: the one without a number."""
    live = find(tx, found, key)
    if live and (live.version == version or (version is None and live.unversioned)):
        return live
    return versions.find(tx, found, key, version)


def set_extra(tx: Transaction, found: Bucket, stored: StoredObject, extra: Mapping[str, Any]) -> None:
    """What protocols keep of that version from now on."""
    to = text_of(extra)
    here = {"wanted_bucket": found.id, "wanted_name": stored.key, "wanted": stored.version, "to": to}
    if not tx.run(_SET_EXTRA, **here):
        versions.set_extra(tx, stored.version, to)


def remove_expired(tx: Transaction, now: Instant, limit: int) -> int:
    """Remove up to `limit` names whose time is over; how many. Each is looked at again once it is locked."""
    removed = 0
    for bucket_id, key in tx.rows(_EXPIRED, now=now, limit=limit):
        bucket = projects.bucket_by_id(tx, bucket_id)
        assert bucket
        old = locked(tx, bucket, key)
        if old and is_over(old, now):
            remove(tx, bucket, key, now)
            removed += 1
    return removed


def buckets_with(tx: Transaction, digest: Digest, now: Instant) -> list[int]:
    """Ids of the buckets in which a live name points to those bytes; one probe for each."""
    found: list[int] = []
    while row := tx.row(_BUCKET_WITH, digest=digest.hex, after=found[-1] if found else -1, now=now):
        found.append(row[0])
    return found


def digests_of(
    tx: Transaction, project_name: str, prefix: str, after: str, limit: int, now: Instant
) -> list[tuple[Digest, int]]:
    """Up to `limit` digests of live names of that project, in order, with the size of their bytes."""
    rows = tx.rows(_DIGESTS, project=project_name, start=prefix, after=after, stop=prefix + "g", now=now, limit=limit)
    return [(Digest(digest), size) for digest, size in rows]


def names_below(
    tx: Transaction, bucket_id: int, digest: Digest, start: str, stop: str, limit: int, now: Instant
) -> list[str]:
    """Up to `limit` live names of that bucket, from `start` up to `stop`, that point to those bytes."""
    rows = tx.rows(_BELOW, bucket=bucket_id, digest=digest.hex, start=start, stop=stop, limit=limit, now=now)
    return [row[0] for row in rows]


def find_version(tx: Transaction, found: Bucket, key: str, version: int) -> StoredObject | None:
    """The object, if the name still points to that version."""
    row = tx.row(_BY_VERSION, wanted_bucket=found.id, wanted_name=key, version=version)
    return object_of(found, row) if row else None
