"""Names for container images and artifacts; what is in them is in `manifests` and `tags`."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import bindparam, delete, exists, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import insert

from entrepot.catalog import blobs, manifests, uploads
from entrepot.catalog.database import Query, Row, Transaction, text_of, value_of
from entrepot.catalog.ids import row_id
from entrepot.catalog.image_schema import manifest, repository, tag, tag_move
from entrepot.catalog.manifests import LIVE
from entrepot.catalog.schema import reference
from entrepot.errors import Conflict
from entrepot.model import Instant, Repository

COLUMNS: Final = (
    repository.c.id, repository.c.project_id, repository.c.path, repository.c.public, repository.c.created_at,
    repository.c.config,
)  # fmt: skip
_FIND: Final = Query(select(*COLUMNS).where(repository.c.path == bindparam("path")))
_BY_ID: Final = Query(select(*COLUMNS).where(repository.c.id == bindparam("id")))
_LOCK: Final = Query(select(repository.c.id).where(repository.c.id == bindparam("id")).with_for_update())
_ADD: Final = Query(
    insert(repository)
    .values({c.name: bindparam(c.name) for c in repository.c if c.name not in {"public", "config"}})
    .on_conflict_do_nothing(index_elements=["path"])
)
_CONFIGURE: Final = Query(
    update(repository)
    .values(public=bindparam("open"), config=bindparam("to"))
    .where(repository.c.id == bindparam("wanted"))
)
_PAGE: Final = Query(
    select(*COLUMNS)
    .where(
        repository.c.path > bindparam("after"),
        exists().where(manifest.c.repository_id == repository.c.id, LIVE).correlate(repository),
    )
    .order_by(repository.c.path)
    .limit(bindparam("limit"))
)
MOST_BELOW: Final = 1000
FOLDER: Final = repository.c.path + literal_column("'/'")
"""As keys begin: another order than that of names, as `a-b/` comes before `a/`."""
_FROM_FOLDER: Final = Query(
    select(*COLUMNS).where(bindparam("start") <= FOLDER, bindparam("stop") > FOLDER).order_by(FOLDER)
    .limit(bindparam("limit"))
)  # fmt: skip
_BELOW: Final = Query(
    select(repository.c.id)
    .where(repository.c.path >= bindparam("start"), repository.c.path < bindparam("stop"))
    .limit(bindparam("most"))
)
_OF_PROJECT: Final = Query(select(repository.c.id).where(repository.c.project_id == bindparam("project_id")))
_TRASH: Final = Query(
    delete(reference).where(reference.c.place_id == bindparam("id"), reference.c.kind == text("'trash'"))
)
_EMPTY: Final = (
    Query(delete(manifest).where(manifest.c.repository_id == bindparam("id"), text("manifest.removed_at IS NOT NULL"))),
    *(Query(delete(table).where(table.c.repository_id == bindparam("id"))) for table in (tag, tag_move)),
)
_REMOVE: Final = Query(delete(repository).where(repository.c.id == bindparam("id")))


def repository_of(row: Row) -> Repository:
    """The repository a row of `COLUMNS` describes."""
    id_, project_id, path, public, created_at, config = row
    return Repository(id_, project_id, path, bool(public), created_at, value_of(config))


def find(tx: Transaction, path: str) -> Repository | None:
    """The repository of that whole name."""
    row = tx.row(_FIND, path=path)
    return repository_of(row) if row else None


def by_id(tx: Transaction, repository_id: int) -> Repository | None:
    """The repository with that id."""
    row = tx.row(_BY_ID, id=repository_id)
    return repository_of(row) if row else None


def lock(tx: Transaction, repository_id: int) -> None:
    """Nobody else changes what the repository holds until this transaction ends."""
    tx.row(_LOCK, id=repository_id)


def add(tx: Transaction, project_id: int, path: str, now: Instant) -> Repository:
    """That repository, made if it is missing."""
    tx.run(_ADD, id=row_id(now), project_id=project_id, path=path, created_at=now)
    made = find(tx, path)
    assert made
    return made


def configure(tx: Transaction, repository_id: int, config: Mapping[str, Any], *, public: bool) -> None:
    """What its owners decided, from now on."""
    tx.run(_CONFIGURE, wanted=repository_id, open=int(public), to=text_of(config))


def page(tx: Transaction, after: str, limit: int) -> list[Repository]:
    """Repositories with something in them, by name, from the one after `after`."""
    return [repository_of(row) for row in tx.rows(_PAGE, after=after, limit=limit)]


def from_folder(tx: Transaction, start: str, stop: str, limit: int) -> list[Repository]:
    """Repositories by their names with a slash behind, from `start` on and before `stop`."""
    return [repository_of(row) for row in tx.rows(_FROM_FOLDER, start=start, stop=stop, limit=limit)]


def is_below(tx: Transaction, first: str) -> bool:
    """Whether some name has that first component, and another."""
    return tx.row(_BELOW, start=f"{first}/", stop=f"{first}0", most=1) is not None


def remove_empty(tx: Transaction, project_id: int) -> None:
    """Drop the repositories of a project, with their trash. Raises: Conflict if something is in one."""
    for (id_,) in tx.rows(_OF_PROJECT, project_id=project_id):
        if manifests.in_repository(tx, id_):
            raise Conflict("the project still has images", advice="delete their manifests first")
        _remove(tx, id_)


def remove_empty_below(tx: Transaction, first: str) -> None:
    """Drop the repositories whose names have that first component, in which nothing ever was, nor is on its way."""
    for (id_,) in tx.rows(_BELOW, start=f"{first}/", stop=f"{first}0", most=MOST_BELOW):
        if not manifests.ever_in(tx, id_) and not uploads.of_place(tx, id_):
            _remove(tx, id_)


def _remove(tx: Transaction, id_: int) -> None:
    tx.run(_TRASH, id=id_)
    for query in _EMPTY:
        tx.run(query, id=id_)
    blobs.end_lease(tx, f"repository:{id_}")
    tx.run(_REMOVE, id=id_)
