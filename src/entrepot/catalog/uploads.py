"""Resumable uploads: a row, the pieces that were acknowledged, and the hash state at their contiguous front."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert

from entrepot.catalog import projects
from entrepot.catalog.database import Query, Row, Transaction, text_of, value_of
from entrepot.catalog.schema import piece, project, upload
from entrepot.errors import NoUpload, QuotaExceeded
from entrepot.model import Instant


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload as its row has it; `facts` is JSON the service wrote. `reserved` counts against the quota."""

    id: str
    state: str
    project_id: int
    principal_id: int
    place_id: int | None
    name: str | None
    size: int | None
    reserved: int
    facts: Mapping[str, Any]
    part_size: int | None
    front: int
    hash_state: bytes | None
    head: bytes | None
    result: int | None
    created_at: Instant
    expires_at: Instant

    @property
    def is_in_row(self) -> bool:
        """Whether all its bytes are in its row, and none in a staging area."""
        return self.front == len(self.head or b"")

    @property
    def is_stream(self) -> bool:
        """Whether its bytes come in order and become bytes of a repository, not an object."""
        return bool(self.facts.get("stream"))


@dataclass(frozen=True, slots=True)
class Piece:
    """Acknowledged bytes from `start` up to `stop`, with their sha256 in hex."""

    start: int
    stop: int
    sha256: str


MOST_OPEN: Final = 10_000
"""Resumable uploads of one project that may be open at a time."""

_OPEN_OF_PROJECT: Final = Query(
    select(upload.c.id)
    .where(
        upload.c.project_id == bindparam("project_id"), text("upload.state = 'open'"), upload.c.place_id.is_not(None)
    )
    .offset(bindparam("others"))
    .limit(1)
)
_FIND: Final = Query(select(upload).where(upload.c.id == bindparam("id")))
_LOCK: Final = Query(select(upload).where(upload.c.id == bindparam("id")).with_for_update())
_SAME: Final = Query(
    select(upload)
    .where(
        upload.c.state == "open",
        upload.c.principal_id == bindparam("principal_id"),
        upload.c.place_id == bindparam("place_id"),
        upload.c.name == bindparam("name"),
        upload.c.size == bindparam("size"),
    )
    .order_by(upload.c.created_at.desc())
)
_ADD: Final = Query(
    insert(upload).values(
        {
            c.name: bindparam(c.name)
            for c in upload.c
            if c.name not in {"part_size", "front", "hash_state", "head", "result"}
        }
    )
)
_PROGRESS: Final = Query(
    update(upload)
    .values(front=bindparam("to"), hash_state=bindparam("state_now"), expires_at=bindparam("until"))
    .where(upload.c.id == bindparam("wanted"), upload.c.state != "done")
)
_ADVANCE: Final = Query(
    update(upload)
    .values(
        front=bindparam("to"), hash_state=bindparam("state_now"), head=bindparam("few"), expires_at=bindparam("until")
    )
    .where(upload.c.id == bindparam("wanted"), upload.c.state == "open", upload.c.front == bindparam("was"))
)
_END_STREAM: Final = Query(
    update(upload)
    .values(
        state="done", name=bindparam("digest"), size=bindparam("length"), reserved=bindparam("held"),
        hash_state=None, head=None, expires_at=bindparam("until"),
    )
    .where(upload.c.id == bindparam("wanted"))
)  # fmt: skip
_ENDED: Final = Query(
    select(upload.c.id).where(
        upload.c.place_id == bindparam("place_id"), upload.c.name == bindparam("name"), upload.c.state == "done"
    )
)
_WISHED: Final = Query(
    select(upload)
    .where(
        upload.c.principal_id == bindparam("principal_id"),
        upload.c.place_id == bindparam("place_id"),
        upload.c.name == bindparam("name"),
        upload.c.state == "open",
    )
    .order_by(upload.c.front.desc())
    .limit(1)
)
_PROLONG: Final = Query(update(upload).values(expires_at=bindparam("until")).where(upload.c.id == bindparam("wanted")))
_GROW: Final = Query(
    update(upload)
    .values(reserved=upload.c.reserved + bindparam("more"))
    .where(upload.c.id == bindparam("wanted"), upload.c.state == "open")
)
_GROW_AT_LAST: Final = Query(
    update(upload)
    .values(reserved=upload.c.reserved + bindparam("more"))
    .where(upload.c.id == bindparam("wanted"), upload.c.state != "done")
)
_ADD_PIECE: Final = Query(
    insert(piece)
    .values({c.name: bindparam(c.name) for c in piece.c})
    .on_conflict_do_update(
        index_elements=["upload_id", "start"], set_={"stop": bindparam("stop"), "sha256": bindparam("sha256")}
    )
)
_OVERLAPPING: Final = Query(
    delete(piece).where(
        piece.c.upload_id == bindparam("id"), piece.c.start < bindparam("end"), piece.c.stop > bindparam("begin")
    )
)
_PIECES: Final = Query(
    select(piece.c.start, piece.c.stop, piece.c.sha256)
    .where(piece.c.upload_id == bindparam("id"))
    .order_by(piece.c.start)
)
_CLAIM: Final = Query(
    update(upload).values(state="completing").where(upload.c.id == bindparam("wanted"), upload.c.state == "open")
)
_REOPEN: Final = Query(
    update(upload).values(state="open").where(upload.c.id == bindparam("wanted"), upload.c.state == "completing")
)
_COMPLETING: Final = Query(select(upload.c.id).where(upload.c.state == "completing"))
_REOPEN_ALL: Final = Query(update(upload).values(state="open").where(upload.c.state == "completing"))
_FINISH: Final = Query(
    update(upload)
    .values(state="done", result=bindparam("version"), reserved=0, expires_at=bindparam("until"))
    .where(upload.c.id == bindparam("wanted"))
)
_DROP: Final = Query(delete(upload).where(upload.c.id == bindparam("id")))
_DROP_RETURNING: Final = Query(
    delete(upload).where(upload.c.id == bindparam("id")).returning(upload.c.project_id, upload.c.reserved)
)
_DROP_PIECES: Final = Query(delete(piece).where(piece.c.upload_id == bindparam("id")))
_RELEASE: Final = Query(
    update(project).values(reserved=project.c.reserved - bindparam("size")).where(project.c.id == bindparam("wanted"))
)
_EXPIRED: Final = Query(
    select(upload)
    .where(upload.c.expires_at <= bindparam("now"), upload.c.state != "completing")
    .limit(bindparam("limit"))
)
_OF_PLACE: Final = Query(select(upload.c.id).where(upload.c.place_id == bindparam("place_id")))
_STAGED: Final = Query(select(upload.c.id).where(upload.c.state != "done"))
_ONE_SHOT: Final = Query(select(upload.c.id).where(upload.c.state != "done", upload.c.place_id.is_(None)))


def upload_of(row: Row) -> Upload:
    """The upload a row describes."""
    values = list(row)
    values[8] = value_of(values[8])
    return Upload(*values)


def find(tx: Transaction, upload_id: str) -> Upload | None:
    """That upload, whatever its state."""
    row = tx.row(_FIND, id=upload_id)
    return upload_of(row) if row else None


def locked(tx: Transaction, upload_id: str) -> Upload:
    """That upload, which nobody else changes until this transaction ends. Raises: NoUpload."""
    row = tx.row(_LOCK, id=upload_id)
    if row is None:
        raise NoUpload("no such upload")
    return upload_of(row)


def known(tx: Transaction, upload_id: str) -> Upload:
    """That upload. Raises: NoUpload."""
    found = find(tx, upload_id)
    if found is None:
        raise NoUpload("no such upload", why="it was finished long ago, discarded or expired", advice="begin a new one")
    return found


def open_ones(tx: Transaction, principal_id: int, place_id: int, name: str, size: int) -> list[Upload]:
    """Open uploads of that principal to that name, of that size; the newest first."""
    rows = tx.rows(_SAME, principal_id=principal_id, place_id=place_id, name=name, size=size)
    return [upload_of(row) for row in rows]


def begin(
    tx: Transaction,
    upload_id: str,
    project_id: int,
    principal_id: int,
    now: Instant,
    until: Instant,
    *,
    place_id: int | None = None,
    name: str | None = None,
    size: int | None,
    reserve: int,
    facts: Mapping[str, Any],
) -> None:
    """A new row, and room for `reserve` bytes. Raises: QuotaExceeded, also for too many that are open."""
    if place_id is not None and tx.row(_OPEN_OF_PROJECT, project_id=project_id, others=MOST_OPEN - 1):
        raise QuotaExceeded(
            f"the project has {MOST_OPEN} open uploads", advice="finish or discard some; they expire after seven days"
        )
    projects.reserve(tx, project_id, reserve)
    tx.run(
        _ADD, id=upload_id, state="open", project_id=project_id, principal_id=principal_id, place_id=place_id,
        name=name, size=size, reserved=reserve, facts=text_of(facts), created_at=now, expires_at=until,
    )  # fmt: skip


def grow(tx: Transaction, project_id: int, upload_id: str, more: int) -> None:
    """Reserve `more` bytes for an open upload whose length nobody knew. Raises: NoUpload; QuotaExceeded."""
    if not tx.run(_GROW, wanted=upload_id, more=more):
        raise NoUpload("no such upload")
    projects.reserve(tx, project_id, more)


def grow_at_last(tx: Transaction, project_id: int, upload_id: str, more: int) -> None:
    """As `grow`, also for one that is just being closed."""
    if not tx.run(_GROW_AT_LAST, wanted=upload_id, more=more):
        raise NoUpload("no such upload")
    projects.reserve(tx, project_id, more)


def shrink(tx: Transaction, project_id: int, upload_id: str, less: int) -> None:
    """Free `less` bytes of what an open upload reserved; of one that is not open they were settled."""
    if less and tx.run(_GROW, wanted=upload_id, more=-less):
        tx.run(_RELEASE, wanted=project_id, size=less)


def prolong(tx: Transaction, upload_id: str, until: Instant) -> None:
    """Somebody goes on with it."""
    tx.run(_PROLONG, wanted=upload_id, until=until)


def progress(tx: Transaction, upload_id: str, front: int, hash_state: bytes | None, until: Instant) -> None:
    """How far the contiguous front is, and the hash state there."""
    tx.run(_PROGRESS, wanted=upload_id, to=front, state_now=hash_state, until=until)


def advance(
    tx: Transaction,
    upload_id: str,
    was: int,
    front: int,
    until: Instant,
    *,
    hash_state: bytes | None = None,
    head: bytes | None = None,
) -> bool:
    """As `progress`, if it still was where this caller believes; False if somebody else went on with it.

    `head`: all bytes up to `front`, if they are in no staging area.
    """
    done = tx.run(_ADVANCE, wanted=upload_id, was=was, to=front, state_now=hash_state, few=head, until=until)
    return bool(done)


def end_stream(tx: Transaction, ended: Upload, name: str, size: int, held: int, until: Instant) -> None:
    """Its bytes are in a repository: `held` of what it reserved counts until then, or until a manifest names them."""
    tx.run(_END_STREAM, wanted=ended.id, digest=name, length=size, held=held, until=until)
    if ended.reserved != held:
        tx.run(_RELEASE, wanted=ended.project_id, size=ended.reserved - held)


def drop_ended(tx: Transaction, place_id: int, name: str) -> None:
    """What ended uploads of those bytes still reserve is free: a manifest counts them now, or they were deleted."""
    for (upload_id,) in tx.rows(_ENDED, place_id=place_id, name=name):
        drop(tx, upload_id)


def prolong_ended(tx: Transaction, place_id: int, name: str, until: Instant) -> bool:
    """Whether an ended upload of those bytes holds their place in the quota, which it does until then now."""
    row = tx.row(_ENDED, place_id=place_id, name=name)
    return row is not None and bool(tx.run(_PROLONG, wanted=row[0], until=until))


def open_stream(tx: Transaction, principal_id: int, place_id: int, name: str) -> Upload | None:
    """That principal's open upload of those bytes there, the one that has most of them."""
    row = tx.row(_WISHED, principal_id=principal_id, place_id=place_id, name=name)
    return upload_of(row) if row else None


def add_piece(tx: Transaction, upload_id: str, added: Piece) -> None:
    """A piece that is safe on disk; one sent again at the same place replaces it."""
    tx.run(_ADD_PIECE, upload_id=upload_id, start=added.start, stop=added.stop, sha256=added.sha256)


def drop_pieces(tx: Transaction, upload_id: str, start: int, stop: int) -> int:
    """Pieces that touch those bytes count no more, as they are about to change; how many."""
    return tx.run(_OVERLAPPING, id=upload_id, begin=start, end=stop)


def pieces(tx: Transaction, upload_id: str) -> list[Piece]:
    """Acknowledged pieces in order of place."""
    return [Piece(*row) for row in tx.rows(_PIECES, id=upload_id)]


def claim(tx: Transaction, upload_id: str) -> bool:
    """Begin to complete it; False if somebody else already does, or did."""
    return bool(tx.run(_CLAIM, wanted=upload_id))


def reopen(tx: Transaction, upload_id: str) -> None:
    """Completing failed in a way that sending more can mend."""
    tx.run(_REOPEN, wanted=upload_id)


def completing(tx: Transaction) -> list[str]:
    """Uploads that were claimed to be completed."""
    return [row[0] for row in tx.rows(_COMPLETING)]


def reopen_all(tx: Transaction) -> None:
    """Completions a crash broke off can begin again."""
    tx.run(_REOPEN_ALL)


def finish(tx: Transaction, upload_id: str, version: int, until: Instant) -> None:
    """It became that object; the row stays until then, so that asking again gets the same answer."""
    tx.run(_FINISH, wanted=upload_id, version=version, until=until)
    tx.run(_DROP_PIECES, id=upload_id)


def close(tx: Transaction, upload_id: str) -> None:
    """The one request it was for has named its bytes; what it reserved was settled with them."""
    tx.run(_DROP, id=upload_id)


def drop(tx: Transaction, upload_id: str) -> bool:
    """Forget it and free what it reserved; False if there is none, or another call just did."""
    tx.run(_DROP_PIECES, id=upload_id)
    row = tx.row(_DROP_RETURNING, id=upload_id)
    if row and row[1]:
        tx.run(_RELEASE, wanted=row[0], size=row[1])
    return row is not None


def expired(tx: Transaction, now: Instant, limit: int) -> list[Upload]:
    """Uploads whose time is over."""
    return [upload_of(row) for row in tx.rows(_EXPIRED, now=now, limit=limit)]


def of_place(tx: Transaction, place_id: int) -> list[str]:
    """Uploads into that bucket or repository, whatever their state."""
    return [row[0] for row in tx.rows(_OF_PLACE, place_id=place_id)]


def staged(tx: Transaction) -> set[str]:
    """Ids of uploads that may have a staging area."""
    return {row[0] for row in tx.rows(_STAGED)}


def one_shot(tx: Transaction) -> list[str]:
    """Uploads of a single request: nothing can continue them once their process is gone."""
    return [row[0] for row in tx.rows(_ONE_SHOT)]
