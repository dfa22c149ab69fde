"""Image manifests and what they name, as rows: the collector and every question about use read these, never JSON.

A live manifest holds its own bytes and all it names by references of kind `manifest`; a deleted one, until its time in
the trash is over, by references of kind `trash`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, delete, exists, func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import insert

from entrepot.catalog import blobs
from entrepot.catalog.database import Query, Row, Transaction, text_of, value_of
from entrepot.catalog.ids import row_id
from entrepot.catalog.image_schema import manifest, repository, tag
from entrepot.catalog.schema import blob, inline_blob, reference
from entrepot.model import Blob, Digest, Instant

KIND: Final = "manifest"
TRASH: Final = "trash"
LIVE: Final = text("manifest.removed_at IS NULL")
"""Written out, not bound: only then can the partial indexes answer."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image manifest as its row has it. `alias`: the sha512 it was last pushed by.

    `subject`: as the manifest names it.
    """

    id: int
    repository_id: int
    digest: Digest
    alias: str | None
    size: int
    media_type: str
    artifact_type: str | None
    subject: str | None
    annotations: Mapping[str, str]
    created_at: Instant


@dataclass(frozen=True, slots=True)
class Place:
    """What rights are asked on, and the bytes of a manifest if it is there and whole."""

    repository_id: int
    project_id: int
    public: bool
    media_type: str | None
    alias: str | None
    blob: Blob | None


_COLUMNS: Final = tuple(column for column in manifest.c if column.name != "removed_at")
_ANY: Final = Query(select(*_COLUMNS).where(manifest.c.repository_id == bindparam("repository_id"), LIVE).limit(1))
_EVER: Final = Query(
    select(manifest.c.id)
    .where(manifest.c.repository_id == bindparam("repository_id"), text("manifest.removed_at IS NOT NULL"))
    .union_all(select(manifest.c.id).where(manifest.c.repository_id == bindparam("repository_id"), LIVE))
    .limit(1)
)
_FIND: Final = Query(
    select(*_COLUMNS).where(
        manifest.c.repository_id == bindparam("repository_id"), manifest.c.digest == bindparam("digest"), LIVE
    )
)


def _opening(*found: ColumnElement[bool]) -> Query:
    """A repository by its path; of it a manifest, with its bytes."""
    tables = repository
    if len(found) > 1:
        tables = tables.outerjoin(tag, (tag.c.repository_id == repository.c.id) & found[1])  # type: ignore[assignment]
    return Query(
        select(
            repository.c.id,
            repository.c.project_id,
            repository.c.public,
            manifest.c.media_type,
            manifest.c.alias,
            *blobs.COLUMNS,
        )
        .select_from(
            tables.outerjoin(manifest, (manifest.c.repository_id == repository.c.id) & found[0] & LIVE)
            .outerjoin(blob, (blob.c.digest == manifest.c.digest) & blobs.PRESENT)
            .outerjoin(inline_blob, inline_blob.c.key == blob.c.key)
        )
        .where(repository.c.path == bindparam("path"))
    )


_OPEN: Final = _opening(manifest.c.digest == bindparam("digest"))
_OPEN_TAG: Final = _opening(manifest.c.digest == tag.c.digest, tag.c.name == bindparam("name"))
_ADD: Final = Query(insert(manifest).values({c.name: bindparam(c.name) for c in _COLUMNS}))
_RENAME: Final = Query(update(manifest).values(alias=bindparam("to")).where(manifest.c.id == bindparam("wanted")))
_REFER: Final = Query(
    insert(reference)
    .values({c.name: bindparam(c.name) for c in reference.c})
    .on_conflict_do_nothing(index_elements=["kind", "owner_id", "digest"])
)
_MINE: Final = (reference.c.kind == bindparam("kind"), reference.c.owner_id == bindparam("owner_id"))
_other = reference.alias("other")
_ALONE: Final = Query(
    select(func.coalesce(func.sum(reference.c.size), 0)).where(
        *_MINE,
        ~exists(
            select(literal_column("1"))  # not `*`: only what an index covers is looked up there
            .select_from(_other)
            .where(
                _other.c.digest == reference.c.digest,
                _other.c.kind == text("'manifest'"),
                _other.c.place_id == reference.c.place_id,
                _other.c.owner_id != reference.c.owner_id,
            )
            .correlate(reference)
        ),
    )
)
_SET_REMOVED: Final = Query(
    update(manifest).values(removed_at=bindparam("to")).where(manifest.c.id == bindparam("wanted"))
)
_SET_KIND: Final = Query(
    update(reference)
    .values(kind=bindparam("to"))
    .where(reference.c.kind == bindparam("of"), reference.c.owner_id == bindparam("wanted"))
)
_IN_TRASH: Final = Query(
    select(manifest.c.id)
    .where(text("manifest.removed_at IS NOT NULL"), manifest.c.removed_at <= bindparam("before"))
    .order_by(manifest.c.removed_at)
    .limit(bindparam("limit"))
)
_REMOVED: Final = Query(
    select(*_COLUMNS)
    .where(
        manifest.c.repository_id == bindparam("repository_id"),
        manifest.c.digest == bindparam("digest"),
        text("manifest.removed_at IS NOT NULL"),
    )
    .order_by(manifest.c.removed_at.desc())
    .limit(1)
)
_FORGET: Final = Query(delete(manifest).where(manifest.c.id == bindparam("id")))
_REFERRERS: Final = Query(
    select(*_COLUMNS)
    .where(
        manifest.c.repository_id == bindparam("repository_id"),
        text("manifest.removed_at IS NULL AND manifest.subject IS NOT NULL"),
        manifest.c.subject == bindparam("subject"),
        manifest.c.digest > bindparam("after"),
        (manifest.c.artifact_type == bindparam("artifact_type")) | (bindparam("any_type") == 1),
    )
    .order_by(manifest.c.digest)
    .limit(bindparam("limit"))
)
_NAMED_BY: Final = Query(
    select(manifest.c.digest)
    .select_from(reference.join(manifest, manifest.c.id == reference.c.owner_id))
    .where(
        reference.c.digest == bindparam("digest"), reference.c.kind == text("'manifest'"),
        reference.c.place_id == bindparam("place_id"),
    )
    .limit(bindparam("limit"))
)  # fmt: skip
_IS_NAMED: Final = Query(
    select(literal_column("1"))  # no column that the index does not cover
    .select_from(reference)
    .where(
        reference.c.digest == bindparam("digest"), reference.c.kind == text("'manifest'"),
        reference.c.place_id == bindparam("place_id"),
    )
    .limit(1)
)  # fmt: skip
_COPY: Final = Query(
    insert(manifest).from_select(
        [column.name for column in _COLUMNS],
        select(
            bindparam("new_id", type_=manifest.c.id.type),
            bindparam("new_place", type_=manifest.c.repository_id.type),
            *(column for column in _COLUMNS if column.name not in {"id", "repository_id", "created_at"}),
            bindparam("now", type_=manifest.c.created_at.type),
        ).where(manifest.c.id == bindparam("of")),
    )
)
_COPY_REFERENCES: Final = Query(
    insert(reference).from_select(
        [column.name for column in reference.c],
        select(
            reference.c.kind,
            bindparam("new_id", type_=reference.c.owner_id.type),
            reference.c.digest,
            bindparam("new_place", type_=reference.c.place_id.type),
            reference.c.size,
        ).where(reference.c.kind == text("'manifest'"), reference.c.owner_id == bindparam("of")),
    )
)
_MANIFESTS_NAMED: Final = Query(
    select(reference.c.digest)
    .select_from(
        reference.join(
            manifest,
            (manifest.c.digest == reference.c.digest) & (manifest.c.repository_id == bindparam("repository_id")) & LIVE,
        )
    )
    .where(*_MINE, reference.c.digest != bindparam("own"))
)
_SIZES_NAMED: Final = Query(select(reference.c.digest, reference.c.size).where(*_MINE))
_NAMED: Final[Select[Any]] = (
    select(literal_column("1"))
    .select_from(reference.join(repository, repository.c.id == reference.c.place_id))
    .where(reference.c.digest == bindparam("digest"), reference.c.kind == text("'manifest'"))
    .limit(1)
)
_NAMED_IN: Final = Query(_NAMED.where(repository.c.project_id == bindparam("project_id")))
_NAMED_PUBLICLY: Final = Query(_NAMED.where(repository.c.public == 1))
_PLACE_WITH: Final = Query(
    select(reference.c.place_id)
    .where(
        reference.c.digest == bindparam("digest"), reference.c.kind == text("'manifest'"),
        reference.c.place_id > bindparam("after"),
    )
    .order_by(reference.c.place_id)
    .limit(1)
)  # fmt: skip


def manifest_of(row: Row) -> Manifest:
    """The manifest a row describes."""
    id_, repository_id, digest, alias, size, media_type, artifact_type, subject, annotations, created_at = row
    return Manifest(
        id_, repository_id, Digest(digest), alias, size, media_type, artifact_type, subject, value_of(annotations),
        created_at,
    )  # fmt: skip


def find(tx: Transaction, repository_id: int, digest: Digest) -> Manifest | None:
    """That live manifest of the repository."""
    row = tx.row(_FIND, repository_id=repository_id, digest=digest.hex)
    return manifest_of(row) if row else None


def find_removed(tx: Transaction, repository_id: int, digest: Digest) -> Manifest | None:
    """That manifest of the repository's trash."""
    row = tx.row(_REMOVED, repository_id=repository_id, digest=digest.hex)
    return manifest_of(row) if row else None


def in_repository(tx: Transaction, repository_id: int) -> bool:
    """Whether it has any that is live."""
    return tx.row(_ANY, repository_id=repository_id) is not None


def ever_in(tx: Transaction, repository_id: int) -> bool:
    """Whether it has any, or one in its trash."""
    return tx.row(_EVER, repository_id=repository_id) is not None


def open_digest(tx: Transaction, path: str, digest: Digest) -> Place | None:
    """The repository of that path, and of it that manifest; None if there is no repository. One statement."""
    return _place_of(tx.row(_OPEN, path=path, digest=digest.hex))


def open_tag(tx: Transaction, path: str, name: str) -> Place | None:
    """As `open_digest`, by tag."""
    return _place_of(tx.row(_OPEN_TAG, path=path, name=name))


def _place_of(row: Row | None) -> Place | None:
    if row is None:
        return None
    return Place(row[0], row[1], bool(row[2]), row[3], row[4], blobs.blob_of(row[5:]) if row[5] else None)


def add(
    tx: Transaction,
    repository_id: int,
    found: Blob,
    alias: str | None,
    media_type: str,
    artifact_type: str | None,
    subject: str | None,
    annotations: Mapping[str, str],
    now: Instant,
) -> Manifest:
    """A new manifest, which must not be there, with the reference that holds its own bytes."""
    id_ = row_id(now)
    values: dict[str, Any] = {
        "id": id_, "repository_id": repository_id, "digest": found.digest.hex, "alias": alias, "size": found.size,
        "media_type": media_type, "artifact_type": artifact_type, "subject": subject,
        "annotations": text_of(annotations), "created_at": now,
    }  # fmt: skip
    tx.run(_ADD, **values)
    refer(tx, id_, repository_id, [(found.digest, found.size)])
    return Manifest(
        id_, repository_id, found.digest, alias, found.size, media_type, artifact_type, subject, annotations, now
    )


def rename(tx: Transaction, manifest_id: int, alias: str | None) -> None:
    """It was pushed again, by another digest of the same bytes."""
    tx.run(_RENAME, wanted=manifest_id, to=alias)


def refer(tx: Transaction, manifest_id: int, repository_id: int, named: Sequence[tuple[Digest, int]]) -> None:
    """The manifest names those bytes, each of that size, which must be held."""
    for digest, size in named:
        tx.run(_REFER, kind=KIND, owner_id=manifest_id, digest=digest.hex, place_id=repository_id, size=size)


def copy(tx: Transaction, manifest_id: int, repository_id: int, now: Instant) -> None:
    """A live manifest with all it names, in another repository too, where it must not be."""
    id_ = row_id(now)
    tx.run(_COPY, of=manifest_id, new_id=id_, new_place=repository_id, now=now)
    tx.run(_COPY_REFERENCES, of=manifest_id, new_id=id_, new_place=repository_id)


def manifests_named(tx: Transaction, found: Manifest) -> list[Digest]:
    """What a live manifest names that is a live manifest of the same repository."""
    rows = tx.rows(
        _MANIFESTS_NAMED, kind=KIND, owner_id=found.id, repository_id=found.repository_id, own=found.digest.hex
    )
    return [Digest(row[0]) for row in rows]


def sizes_named(tx: Transaction, manifest_id: int) -> list[tuple[Digest, int]]:
    """What a live manifest names, and itself, each with its size."""
    return [(Digest(digest), size) for digest, size in tx.rows(_SIZES_NAMED, kind=KIND, owner_id=manifest_id)]


def is_named_in(tx: Transaction, digest: Digest, project_id: int | None) -> bool:
    """Whether a live manifest of some repository of that project names those bytes; None: of a public one."""
    if project_id is None:
        return tx.row(_NAMED_PUBLICLY, digest=digest.hex) is not None
    return tx.row(_NAMED_IN, digest=digest.hex, project_id=project_id) is not None


def bytes_alone(tx: Transaction, manifest_id: int) -> int:
    """Bytes the repository has for this live manifest only."""
    row = tx.row(_ALONE, kind=KIND, owner_id=manifest_id)
    return int(row[0]) if row else 0


def to_trash(tx: Transaction, manifest_id: int, now: Instant) -> None:
    """It is deleted, and can be brought back for a while."""
    tx.run(_SET_REMOVED, wanted=manifest_id, to=now)
    tx.run(_SET_KIND, wanted=manifest_id, of=KIND, to=TRASH)


def restore(tx: Transaction, manifest_id: int) -> None:
    """It is live again."""
    tx.run(_SET_REMOVED, wanted=manifest_id, to=None)
    tx.run(_SET_KIND, wanted=manifest_id, of=TRASH, to=KIND)


def purge_trash(tx: Transaction, before: Instant, limit: int) -> int:
    """Forget up to `limit` manifests that were deleted at or before that time; how many."""
    found = [row[0] for row in tx.rows(_IN_TRASH, before=before, limit=limit)]
    for id_ in found:
        blobs.let_go(tx, TRASH, id_)
        tx.run(_FORGET, id=id_)
    return len(found)


def referrers(
    tx: Transaction,
    repository_id: int,
    subjects: Iterable[str],
    artifact_type: str | None,
    after: str,
    limit: int,
) -> list[Manifest]:
    """Manifests that refer to one manifest, by any of its digests, in order of their own."""
    found: list[Manifest] = []
    for subject in subjects:
        rows = tx.rows(
            _REFERRERS, repository_id=repository_id, subject=subject, artifact_type=artifact_type or "",
            any_type=int(artifact_type is None), after=after, limit=limit,
        )  # fmt: skip
        found += map(manifest_of, rows)
    return sorted(found, key=lambda one: one.digest.hex)[:limit]


def named_by(tx: Transaction, repository_id: int, digest: Digest, limit: int) -> list[Digest]:
    """Up to `limit` live manifests of the repository that name those bytes, or are them."""
    return [Digest(row[0]) for row in tx.rows(_NAMED_BY, digest=digest.hex, place_id=repository_id, limit=limit)]


def is_named(tx: Transaction, repository_id: int, digest: Digest) -> bool:
    """Whether a live manifest of the repository names those bytes, or is them."""
    return tx.row(_IS_NAMED, digest=digest.hex, place_id=repository_id) is not None


def repositories_naming(tx: Transaction, digest: Digest) -> Iterator[int]:
    """Ids of repositories in which a live manifest names those bytes; one probe for each."""
    last = -1
    while row := tx.row(_PLACE_WITH, digest=digest.hex, after=last):
        last = row[0]
        yield last
