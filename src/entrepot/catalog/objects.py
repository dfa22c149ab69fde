"""Names in buckets: what each points to now, and what it pointed to before."""

import json
from typing import Any, Final

from sqlalchemy import ColumnElement, Double, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from entrepot.catalog import blobs, projects
from entrepot.catalog.database import LostRace, Query, Row, Transaction
from entrepot.catalog.ids import row_id
from entrepot.catalog.schema import blob, bucket, inline_blob, object_, object_version
from entrepot.errors import Denied, PreconditionFailed
from entrepot.model import (
    Blob,
    Bucket,
    Condition,
    Digest,
    Facts,
    Instant,
    StoredObject,
)

KIND: Final = "object"
COLUMNS: Final = (
    object_.c.version, object_.c.name, object_.c.digest, object_.c.size, object_.c.etag, object_.c.content_type,
    object_.c.metadata, object_.c.created_at, object_.c.expires_at,
)  # fmt: skip
_BLOB_COLUMNS: Final = (
    blob.c.digest, blob.c.size, blob.c.key, blob.c.md5, blob.c.sha1, blob.c.sha512, blob.c.verified_at, blob.c.stamp,
    inline_blob.c.bytes,
)  # fmt: skip
LIVE: Final = object_.c.expires_at.is_(None) | (object_.c.expires_at > bindparam("now", type_=Double()))
"""Names that are over stay in their table until a job comes by; nobody sees them."""
_HERE: Final = (object_.c.bucket_id == bindparam("wanted_bucket"), object_.c.name == bindparam("wanted_name"))
_FIND: Final = Query(select(*COLUMNS).where(*_HERE))
_LOCK: Final = Query(select(*COLUMNS).where(*_HERE).with_for_update())
_OPEN: Final = Query(
    select(*COLUMNS, *_BLOB_COLUMNS)
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
_MOVED: Final = ("bucket_id", "name", "version", "digest", "size", "etag", "content_type", "metadata", "created_at")
_KEEP_OLD: Final = Query(
    insert(object_version).from_select(
        [*_MOVED, "removed_at"],
        select(*(object_.c[name] for name in _MOVED), bindparam("now", type_=object_version.c.removed_at.type)).where(
            *_HERE
        ),
    )
)
_REMOVE: Final = Query(delete(object_).where(*_HERE))
_EXPIRED: Final = Query(
    select(object_.c.bucket_id, object_.c.name)
    .where(object_.c.expires_at <= bindparam("now"))
    .order_by(object_.c.expires_at)
    .limit(bindparam("limit"))
)
_TRASH: Final = Query(
    select(object_version.c.version)
    .where(object_version.c.removed_at <= bindparam("before"))
    .order_by(object_version.c.removed_at)
    .limit(bindparam("limit"))
)
_PURGE: Final = Query(delete(object_version).where(object_version.c.version == bindparam("version")))
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
_BY_VERSION: Final = Query(select(*COLUMNS).where(*_HERE, object_.c.version == bindparam("version")))
_HOME: Final = Query(select(bucket.c.project_id).where(bucket.c.id == bindparam("id")))


def object_of(found: Bucket, row: Row) -> StoredObject:
    """The object a row of `COLUMNS` describes."""
    version, name, digest, size, etag, content_type, metadata, created_at, expires_at = row
    labels = json.loads(metadata) if metadata != "{}" else {}
    return StoredObject(
        version,
        found.project,
        found.name,
        name,
        Digest(digest),
        size,
        etag,
        content_type,
        labels,
        created_at,
        expires_at,
    )


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
    version = row_id(now)
    metadata = json.dumps(dict(facts.metadata), separators=(",", ":"), ensure_ascii=False) if facts.metadata else "{}"
    values = {
        "bucket_id": found.id, "name": key, "version": version, "digest": digest.hex, "size": size, "etag": etag,
        "content_type": facts.content_type, "metadata": metadata, "created_at": now, "expires_at": facts.expires_at,
    }  # fmt: skip
    old: StoredObject | None = None
    if condition.etag is not None or not tx.run(_CREATE, **values):
        old = _make_way(tx, found, key, condition, now)
        if old is None:
            raise LostRace  # it was there, and went before we could lock it
        tx.run(_POINT, **values)
    blobs.refer(tx, KIND, version, digest, found.project_id)
    grown = size - (old.size if old else 0)
    projects.settle(tx, found.project_id, grown=grown, released=released, more=0 if old else 1)
    return StoredObject(
        version, found.project, found.name, key, digest, size, etag, facts.content_type, facts.metadata, now,
        facts.expires_at,
    )  # fmt: skip


def _make_way(tx: Transaction, found: Bucket, key: str, condition: Condition, now: Instant) -> StoredObject | None:
    """What the name points to now, once it may be replaced and is kept in the history."""
    row = tx.row(_LOCK, wanted_bucket=found.id, wanted_name=key)
    old = object_of(found, row) if row else None
    _check(old if old and not is_over(old, now) else None, condition)
    if old:
        tx.run(_KEEP_OLD, wanted_bucket=found.id, wanted_name=key, now=now)
    return old


def _check(old: StoredObject | None, condition: Condition) -> None:
    if old is None:
        if condition.etag is not None:
            raise PreconditionFailed("there is no such object to replace")
        return
    if condition.absent:
        raise PreconditionFailed("the object exists", why="the request asked for a new one only")
    if condition.etag is not None and condition.etag != old.etag:
        raise PreconditionFailed("the object was changed meanwhile")
    if not condition.overwrite:
        raise Denied(
            "the object exists, and you may not overwrite it", why="overwriting takes the role of a maintainer"
        )


def remove(tx: Transaction, found: Bucket, key: str, now: Instant) -> StoredObject | None:
    """What the name pointed to; the name is gone, its bytes are in the trash. None if there was nothing."""
    row = tx.row(_LOCK, wanted_bucket=found.id, wanted_name=key)
    if row is None:
        return None
    old = object_of(found, row)
    tx.run(_KEEP_OLD, wanted_bucket=found.id, wanted_name=key, now=now)
    tx.run(_REMOVE, wanted_bucket=found.id, wanted_name=key)
    projects.shrink(tx, found.project_id, old.size)
    return old


def remove_expired(tx: Transaction, now: Instant, limit: int) -> int:
    """Move up to `limit` names whose time is over to the trash; how many. Each is looked at again once it is locked."""
    removed = 0
    for bucket_id, key in tx.rows(_EXPIRED, now=now, limit=limit):
        home = tx.row(_HOME, id=bucket_id)
        assert home
        bucket = Bucket(bucket_id, home[0], "", "", public=False, areas=False, created_at=0)
        row = tx.row(_LOCK, wanted_bucket=bucket_id, wanted_name=key)
        if row and row[-1] is not None and row[-1] <= now:
            remove(tx, bucket, key, now)
            removed += 1
    return removed


def purge_trash(tx: Transaction, before: Instant, limit: int) -> int:
    """Forget up to `limit` old pointers that were removed at or before that time; how many."""
    versions = tx.rows(_TRASH, before=before, limit=limit)
    for (version,) in versions:
        blobs.let_go(tx, KIND, version)
        tx.run(_PURGE, version=version)
    return len(versions)


def buckets_with(tx: Transaction, digest: Digest, now: Instant) -> list[int]:
    """Ids of the buckets in which a live name points to those bytes; one probe for each."""
    found: list[int] = []
    while row := tx.row(_BUCKET_WITH, digest=digest.hex, after=found[-1] if found else -1, now=now):
        found.append(row[0])
    return found


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
