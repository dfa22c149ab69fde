"""Tags: where each points now, and every move it ever made."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, delete, literal_column, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert

from entrepot.catalog.database import Query, Transaction
from entrepot.catalog.ids import first_id, row_id
from entrepot.catalog.image_schema import manifest, repository, tag, tag_move
from entrepot.model import Digest, Instant


@dataclass(frozen=True, slots=True)
class Move:
    """What a tag pointed to from `at` on; None: it was deleted."""

    name: str
    digest: Digest | None
    principal: str
    at: Instant


_HERE: Final = (tag.c.repository_id == bindparam("repository_id"), tag.c.name == bindparam("name"))
_MOVED: Final = (tag_move.c.repository_id == bindparam("repository_id"), tag_move.c.name == bindparam("name"))
_FIND: Final = Query(select(tag.c.digest).where(*_HERE))
_POINT: Final = Query(
    insert(tag)
    .values({c.name: bindparam(c.name) for c in tag.c})
    .on_conflict_do_update(
        index_elements=["repository_id", "name"],
        set_={"digest": bindparam("digest"), "principal": bindparam("principal")},
    )
)
_REMOVE: Final = Query(delete(tag).where(*_HERE))
_MOVE: Final = Query(insert(tag_move).values({c.name: bindparam(c.name) for c in tag_move.c}))
_PAGE: Final = Query(
    select(tag.c.name)
    .where(tag.c.repository_id == bindparam("repository_id"), tag.c.name > bindparam("after"))
    .order_by(tag.c.name)
    .limit(bindparam("limit"))
)
FOLDER: Final = tag.c.name + literal_column("'/'")
_FROM_FOLDER: Final = Query(
    select(tag.c.name)
    .where(tag.c.repository_id == bindparam("repository_id"), bindparam("start") <= FOLDER)
    .order_by(FOLDER)
    .limit(bindparam("limit"))
)
_PUSHED_BY: Final = Query(
    select(tag.c.repository_id, repository.c.path, tag.c.name)
    .select_from(
        tag.join(repository, repository.c.id == tag.c.repository_id).join(
            manifest,
            (manifest.c.repository_id == tag.c.repository_id)
            & (manifest.c.digest == tag.c.digest)
            & text("manifest.removed_at IS NULL"),
        )
    )
    .where(
        tag.c.principal == bindparam("principal"),
        manifest.c.artifact_type == bindparam("artifact_type"),
        tuple_(tag.c.repository_id, tag.c.name) > tuple_(bindparam("repository_id"), bindparam("after")),
    )
    .order_by(tag.c.repository_id, tag.c.name)
    .limit(bindparam("limit"))
)
_WITH: Final = Query(
    select(tag.c.name).where(
        tag.c.repository_id == bindparam("repository_id"), tag.c.digest == bindparam("digest")
    )
)  # fmt: skip
_AT: Final = Query(
    select(tag_move.c.digest)
    .where(*_MOVED, tag_move.c.version < bindparam("before"))
    .order_by(tag_move.c.version.desc())
    .limit(1)
)
_HISTORY: Final = Query(
    select(tag_move.c.name, tag_move.c.digest, tag_move.c.principal, tag_move.c.created_at)
    .where(*_MOVED)
    .order_by(tag_move.c.version.desc())
    .limit(bindparam("limit"))
)


def find(tx: Transaction, repository_id: int, name: str) -> Digest | None:
    """What the tag points to."""
    row = tx.row(_FIND, repository_id=repository_id, name=name)
    return Digest(row[0]) if row else None


def point(tx: Transaction, repository_id: int, name: str, digest: Digest, principal: str, now: Instant) -> None:
    """The tag points there from now on."""
    tx.run(_POINT, repository_id=repository_id, name=name, digest=digest.hex, principal=principal)
    _moved(tx, repository_id, name, digest.hex, principal, now)


def remove(tx: Transaction, repository_id: int, name: str, principal: str, now: Instant) -> bool:
    """The tag is gone; whether it was there."""
    if not tx.run(_REMOVE, repository_id=repository_id, name=name):
        return False
    _moved(tx, repository_id, name, "", principal, now)
    return True


def _moved(tx: Transaction, repository_id: int, name: str, digest: str, principal: str, now: Instant) -> None:
    tx.run(
        _MOVE, repository_id=repository_id, name=name, version=row_id(now), digest=digest, principal=principal,
        created_at=now,
    )  # fmt: skip


def page(tx: Transaction, repository_id: int, after: str, limit: int) -> list[str]:
    """Tags in order, from the one after `after`."""
    return [row[0] for row in tx.rows(_PAGE, repository_id=repository_id, after=after, limit=limit)]


def from_folder(tx: Transaction, repository_id: int, start: str, limit: int) -> list[str]:
    """Tags by their names with a slash behind, from `start` on."""
    return [row[0] for row in tx.rows(_FROM_FOLDER, repository_id=repository_id, start=start, limit=limit)]


def pushed_by(
    tx: Transaction, principal: str, artifact_type: str, after: tuple[int, str], limit: int
) -> list[tuple[int, str, str]]:
    """Tags that principal moved last, to manifests of that type: repository, its path, the tag; after that one."""
    rows = tx.rows(
        _PUSHED_BY, principal=principal, artifact_type=artifact_type, repository_id=after[0], after=after[1],
        limit=limit,
    )  # fmt: skip
    return [(row[0], row[1], row[2]) for row in rows]


def pointing_to(tx: Transaction, repository_id: int, digest: Digest) -> list[str]:
    """All tags that point there."""
    return [row[0] for row in tx.rows(_WITH, repository_id=repository_id, digest=digest.hex)]


def at(tx: Transaction, repository_id: int, name: str, second: int) -> Digest | None:
    """What the tag pointed to at the end of that second since the epoch."""
    row = tx.row(_AT, repository_id=repository_id, name=name, before=first_id(second + 1))
    return Digest(row[0]) if row and row[0] else None


def history(tx: Transaction, repository_id: int, name: str, limit: int) -> list[Move]:
    """The last moves of a tag, the newest first."""
    return [
        Move(moved, Digest(digest) if digest else None, principal, made)
        for moved, digest, principal, made in tx.rows(_HISTORY, repository_id=repository_id, name=name, limit=limit)
    ]
