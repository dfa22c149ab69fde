"""What names pointed to before: versions their bucket keeps, markers that say a name was deleted, and the trash."""

from typing import Any, Final

from sqlalchemy import bindparam, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert

from entrepot.catalog import blobs
from entrepot.catalog.database import LostRace, Query, Row, Transaction, value_of
from entrepot.catalog.ids import row_id
from entrepot.catalog.parts import Part
from entrepot.catalog.schema import blob, inline_blob, object_, object_part, object_version
from entrepot.errors import Deleted
from entrepot.model import EMPTY_DIGEST, Blob, Bucket, Digest, Instant, StoredObject, VersionId

ENABLED: Final = "Enabled"
SUSPENDED: Final = "Suspended"
KIND: Final = "object"
_POINTER: Final = (
    "version", "name", "digest", "size", "etag", "content_type", "metadata", "extra", "unversioned", "created_at"
)  # fmt: skip
COLUMNS: Final = tuple(object_version.c[name] for name in _POINTER)
_V: Final = object_version.c
_OF_NAME: Final = (_V.bucket_id == bindparam("wanted_bucket"), _V.name == bindparam("wanted_name"), _V.kept == 1)
_MOVE: Final = Query(
    insert(object_version).from_select(
        ["bucket_id", *_POINTER, "kept", "marker", "removed_at"],
        select(
            object_.c.bucket_id,
            *(object_.c[name] for name in _POINTER),
            bindparam("kept", type_=_V.kept.type),
            text("0"),
            bindparam("now", type_=_V.removed_at.type),
        ).where(object_.c.bucket_id == bindparam("wanted_bucket"), object_.c.name == bindparam("wanted_name")),
    )
)
_MARK: Final = Query(insert(object_version).values({c.name: bindparam(c.name) for c in _V}))
_NEWEST: Final = Query(select(*COLUMNS, _V.marker).where(*_OF_NAME).order_by(_V.version.desc()).limit(1))
_NULL: Final = Query(select(*COLUMNS, _V.marker).where(*_OF_NAME, _V.unversioned == 1))
_NUMBERED: Final = Query(
    select(*COLUMNS, _V.marker).where(*_OF_NAME, _V.unversioned == 0, _V.version == bindparam("version"))
)
_OPEN: Final = Query(
    select(*blobs.COLUMNS)
    .select_from(
        object_version.outerjoin(blob, (blob.c.digest == _V.digest) & blobs.PRESENT).outerjoin(
            inline_blob, inline_blob.c.key == blob.c.key
        )
    )
    .where(_V.version == bindparam("version"))
)
_KEPT: Final = Query(
    select(*COLUMNS, _V.marker, *blobs.COLUMNS)
    .select_from(
        object_version.outerjoin(blob, (blob.c.digest == _V.digest) & blobs.PRESENT).outerjoin(
            inline_blob, inline_blob.c.key == blob.c.key
        )
    )
    .where(*_OF_NAME)
    .order_by(_V.version.desc())
    .limit(bindparam("limit"))
)
_THROW: Final = Query(
    update(object_version)
    .values(kept=0, removed_at=bindparam("now"))
    .where(_V.version == bindparam("wanted"), _V.kept == 1)
)
_TAKE: Final = Query(delete(object_version).where(_V.version == bindparam("version")))
_SET_EXTRA: Final = Query(update(object_version).values(extra=bindparam("to")).where(_V.version == bindparam("wanted")))
_TRASH: Final = Query(
    select(_V.version)
    .where(text("object_version.kept = 0"), _V.removed_at <= bindparam("before"))
    .order_by(_V.removed_at)
    .limit(bindparam("limit"))
)
_ADD_PART: Final = Query(insert(object_part).values({c.name: bindparam(c.name) for c in object_part.c}))
_PARTS: Final = Query(
    select(
        object_part.c.number, object_part.c.start, object_part.c.size, object_part.c.md5, object_part.c.sha256,
        object_part.c.checksum,
    )
    .where(object_part.c.version == bindparam("version"))
    .order_by(object_part.c.number)
)  # fmt: skip
_PART: Final = Query(
    select(
        object_part.c.start, object_part.c.size, object_part.c.md5, object_part.c.sha256, object_part.c.checksum,
        object_part.c.algorithm,
    ).where(object_part.c.version == bindparam("version"), object_part.c.number == bindparam("number"))
)  # fmt: skip
_PARTS_WITH: Final = Query(
    select(
        object_part.c.digest, object_part.c.start, object_part.c.size, object_part.c.md5, object_part.c.sha256,
        object_part.c.checksum, object_part.c.algorithm,
    )
    .where(object_part.c.sha256 == bindparam("sha256"))
    .distinct()
    .limit(16)
)  # fmt: skip
_DROP_PARTS: Final = Query(delete(object_part).where(object_part.c.version == bindparam("version")))


def id_in(found: Bucket, version: int, unversioned: int) -> str:
    """The id of a version in that bucket; empty if it never kept any."""
    return str(VersionId.of(version, unversioned=bool(unversioned))) if found.versioning else ""


def version_of(found: Bucket, row: Row) -> StoredObject:
    """The version a row of `COLUMNS` and its marker describe."""
    version, name, digest, size, etag, content_type, metadata, extra, unversioned, created_at, marker = row
    return StoredObject(
        version, found.project, found.name, name, Digest(digest) if digest else EMPTY_DIGEST, size, etag, content_type,
        value_of(metadata), created_at, None, value_of(extra), bool(unversioned),
        id_in(found, version, unversioned), bool(marker),
    )  # fmt: skip


def make_way(tx: Transaction, found: Bucket, key: str, old: StoredObject | None, now: Instant) -> int:
    """What the name points to goes to the history, before it points to something else; bytes that count no more.

    A bucket that keeps versions keeps it, but for the one version without a number, of which there is only one.
    """
    freed = 0
    if found.versioning == SUSPENDED:
        dropped = drop(tx, found, key, None, now)
        freed = dropped.size if dropped else 0
    if old is None:
        return freed
    kept = found.versioning == ENABLED or (found.versioning == SUSPENDED and not old.unversioned)
    tx.run(_MOVE, wanted_bucket=found.id, wanted_name=key, now=now, kept=int(kept))
    return freed if kept else freed + old.size


def to_trash(tx: Transaction, found: Bucket, key: str, now: Instant) -> None:
    """A copy of the live row, as trash."""
    tx.run(_MOVE, wanted_bucket=found.id, wanted_name=key, now=now, kept=0)


def mark_deleted(tx: Transaction, found: Bucket, key: str, now: Instant) -> StoredObject:
    """A marker as the newest version of the name."""
    version, unversioned = row_id(now), found.versioning != ENABLED
    tx.run(
        _MARK, bucket_id=found.id, name=key, version=version, digest="", size=0, etag="", content_type="",
        metadata="{}", extra="{}", unversioned=int(unversioned), created_at=now, kept=1, marker=1, removed_at=now,
    )  # fmt: skip
    return StoredObject(
        version,
        found.project,
        found.name,
        key,
        EMPTY_DIGEST,
        0,
        "",
        "",
        {},
        now,
        None,
        {},
        unversioned,
        id_in(found, version, unversioned),
        marker=True,
    )


def newest(tx: Transaction, found: Bucket, key: str) -> StoredObject | None:
    """The newest version of the name that is kept beside the live one."""
    row = tx.row(_NEWEST, wanted_bucket=found.id, wanted_name=key)
    return version_of(found, row) if row else None


def find(tx: Transaction, found: Bucket, key: str, version: int | None) -> StoredObject | None:
    """That version of the name among those kept beside the live one; None: the one without a number."""
    here = {"wanted_bucket": found.id, "wanted_name": key}
    row = tx.row(_NULL, **here) if version is None else tx.row(_NUMBERED, **here, version=version)
    return version_of(found, row) if row else None


def find_with_blob(
    tx: Transaction, found: Bucket, key: str, version: int | None
) -> tuple[StoredObject, Blob | None] | None:
    """A kept version, and its bytes: None for a marker, and if they were found wrong and wait for repair."""
    stored = find(tx, found, key, version)
    if stored is None:
        return None
    row = tx.row(_OPEN, version=stored.version)
    return stored, blobs.blob_of(row) if row and row[0] else None


def kept(tx: Transaction, found: Bucket, key: str, limit: int) -> list[tuple[StoredObject, Blob | None]]:
    """The versions kept beside the live one, the newest first; a marker has no bytes, nor has what waits for repair."""
    width = len(COLUMNS) + 1
    rows = tx.rows(_KEPT, wanted_bucket=found.id, wanted_name=key, limit=limit)
    return [(version_of(found, row[:width]), blobs.blob_of(row[width:]) if row[width] else None) for row in rows]


def check_not_deleted(tx: Transaction, found: Bucket, key: str) -> None:
    """Nothing, if no marker is the newest version of a name without a live one. Raises: Deleted."""
    marker = newest(tx, found, key)
    if marker and marker.marker:
        raise Deleted(marker.version_id)


def drop(tx: Transaction, found: Bucket, key: str, version: int | None, now: Instant) -> StoredObject | None:
    """That kept version, which is trash now; None if there is none."""
    old = find(tx, found, key, version)
    return old if old and tx.run(_THROW, wanted=old.version, now=now) else None


def take_newest(tx: Transaction, found: Bucket, key: str) -> dict[str, Any] | None:
    """The newest kept version, taken out of the history to be live, as values of its columns; None for a marker."""
    row = tx.row(_NEWEST, wanted_bucket=found.id, wanted_name=key)
    if row is None or row[-1]:
        return None
    values = {"bucket_id": found.id, **dict(zip(_POINTER, row, strict=False))}
    if not tx.run(_TAKE, version=values["version"]):
        raise LostRace
    return values


def set_extra(tx: Transaction, version: int, to: str) -> None:
    """What protocols keep of that version from now on."""
    tx.run(_SET_EXTRA, wanted=version, to=to)


def purge_trash(tx: Transaction, before: Instant, limit: int) -> int:
    """Forget up to `limit` versions that went to the trash at or before that time; how many."""
    found = [row[0] for row in tx.rows(_TRASH, before=before, limit=limit)]
    purge(tx, found)
    return len(found)


def purge(tx: Transaction, found: list[int]) -> None:
    """Those versions are forgotten, and keep their bytes no more."""
    for version in found:
        blobs.let_go(tx, KIND, version)
        tx.run(_DROP_PARTS, version=version)
        tx.run(_TAKE, version=version)


def add_part(tx: Transaction, version: int, digest: Digest, algorithm: str, place: int, part: Part) -> None:
    """One part of an object that was sent in parts: of which bytes, and where in them it begins."""
    tx.run(
        _ADD_PART, version=version, number=part.number, start=place, size=part.size, md5=part.md5, sha256=part.sha256,
        checksum=part.checksum, digest=digest.hex, algorithm=algorithm,
    )  # fmt: skip


def parts_with(tx: Transaction, sha256: str) -> list[Row]:
    """Parts with that checksum: digest of the whole, and what `part` gives of each; up to 16."""
    return tx.rows(_PARTS_WITH, sha256=sha256)


def part(tx: Transaction, version: int, number: int) -> Row | None:
    """Start, size, md5, sha256, checksum and its algorithm of one part."""
    return tx.row(_PART, version=version, number=number)


def parts(tx: Transaction, version: int) -> list[Row]:
    """Number, start, size, md5, sha256, checksum of each part, in order; empty if it came whole."""
    return tx.rows(_PARTS, version=version)
