"""Numbered parts of open uploads: those that were acknowledged, wherever their bytes lie."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from entrepot.catalog.database import Query, Row, Transaction
from entrepot.catalog.schema import part, upload
from entrepot.catalog.uploads import Upload, upload_of
from entrepot.model import Digest, Instant

REFERS: Final = "="
"""Begins the `area` of a part whose bytes are those of a blob; the digest follows."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a part from `start` on in `area`, the upload's own if that is empty; checksums in hex."""

    number: int
    area: str
    start: int
    size: int
    md5: str
    sha256: str
    checksum: str | None
    created_at: Instant

    @property
    def refers_to(self) -> Digest | None:
        """The blob whose bytes these are."""
        return Digest(self.area.removeprefix(REFERS)) if self.area.startswith(REFERS) else None

    @property
    def is_apart(self) -> bool:
        """Whether it has an area to itself."""
        return bool(self.area) and not self.area.startswith(REFERS)


_ADD: Final = Query(
    insert(part)
    .values({c.name: bindparam(c.name) for c in part.c})
    .on_conflict_do_update(
        index_elements=["upload_id", "number"],
        set_={c.name: bindparam(c.name) for c in part.c if c.name not in {"upload_id", "number"}},
    )
)
_OF: Final = Query(
    select(*(c for c in part.c if c.name != "upload_id"))
    .where(part.c.upload_id == bindparam("upload_id"))
    .order_by(part.c.number)
)
_FIND: Final = Query(
    select(*(c for c in part.c if c.name != "upload_id")).where(
        part.c.upload_id == bindparam("upload_id"), part.c.number == bindparam("number")
    )
)
_DROP: Final = Query(delete(part).where(part.c.upload_id == bindparam("upload_id")))
_DROP_ONE: Final = Query(
    delete(part).where(part.c.upload_id == bindparam("upload_id"), part.c.number == bindparam("number"))
)
_AREAS: Final = Query(
    select(part.c.upload_id, part.c.number, part.c.area).where(
        part.c.area != "", func.substr(part.c.area, 1, 1) != REFERS
    )
)
_SET_SIZE: Final = Query(
    update(upload)
    .values(part_size=bindparam("size"))
    .where(upload.c.id == bindparam("wanted"), upload.c.part_size.is_(None))
)
_OPEN: Final = Query(
    select(upload)
    .where(
        upload.c.place_id == bindparam("bucket"),
        upload.c.state == "open",
        tuple_(upload.c.name, upload.c.id) > tuple_(bindparam("after"), bindparam("after_id")),
        upload.c.name < bindparam("stop"),
    )
    .order_by(upload.c.name, upload.c.id)
    .limit(bindparam("limit"))
)


def add(tx: Transaction, upload_id: str, added: Part) -> None:
    """A part that is safe on disk; one of the same number is replaced."""
    tx.run(
        _ADD, upload_id=upload_id, number=added.number, area=added.area, start=added.start, size=added.size,
        md5=added.md5, sha256=added.sha256, checksum=added.checksum, created_at=added.created_at,
    )  # fmt: skip


def of(tx: Transaction, upload_id: str) -> list[Part]:
    """The parts of an upload, by number."""
    return [_part_of(row) for row in tx.rows(_OF, upload_id=upload_id)]


def find(tx: Transaction, upload_id: str, number: int) -> Part | None:
    """The part of that number."""
    row = tx.row(_FIND, upload_id=upload_id, number=number)
    return _part_of(row) if row else None


def _part_of(row: Row) -> Part:
    return Part(*row)


def drop(tx: Transaction, upload_id: str) -> None:
    """The upload needs them no more."""
    tx.run(_DROP, upload_id=upload_id)


def drop_one(tx: Transaction, upload_id: str, number: int) -> None:
    """Its bytes were lost."""
    tx.run(_DROP_ONE, upload_id=upload_id, number=number)


def areas(tx: Transaction) -> dict[str, tuple[str, int]]:
    """Areas that parts have to themselves, and whose they are: upload and number."""
    return {area: (upload_id, number) for upload_id, number, area in tx.rows(_AREAS)}


def set_size(tx: Transaction, upload_id: str, size: int) -> None:
    """How long the parts are that lie at their place; the first to say it counts."""
    tx.run(_SET_SIZE, wanted=upload_id, size=size)


def open_uploads(tx: Transaction, bucket_id: int, after: str, after_id: str, stop: str, limit: int) -> list[Upload]:
    """Up to `limit` open uploads to names of that bucket behind (`after`, `after_id`) and before `stop`, in order."""
    rows = tx.rows(_OPEN, bucket=bucket_id, after=after, after_id=after_id, stop=stop, limit=limit)
    return [upload_of(row) for row in rows]
