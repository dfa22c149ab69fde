"""Who did what: append-only rows, written in the commit of the change they tell of."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from entrepot.catalog.database import Query, Transaction
from entrepot.catalog.ids import first_id, row_id
from entrepot.catalog.schema import audit
from entrepot.model import Instant
from entrepot.principals import Principal


@dataclass(frozen=True, slots=True)
class Entry:
    """One row."""

    at: Instant
    principal: str
    address: str
    action: str
    project_id: int | None
    name: str | None
    digest: str | None
    protocol: str
    request_id: str
    outcome: str


_ADD: Final = Query(insert(audit).values({c.name: bindparam(c.name) for c in audit.c}))
_SINCE: Final = Query(
    select(*(c for c in audit.c if c.name != "id"))
    .where(audit.c.id >= bindparam("since"))
    .order_by(audit.c.id)
    .limit(bindparam("limit"))
)
_PRUNE: Final = Query(delete(audit).where(audit.c.id < bindparam("before")))


def record(
    tx: Transaction,
    principal: Principal,
    action: str,
    now: Instant,
    *,
    project_id: int | None = None,
    name: str | None = None,
    digest: str | None = None,
    outcome: str = "done",
) -> None:
    """Append one row."""
    tx.run(
        _ADD, id=row_id(now), at=now, principal=principal.name, address=principal.origin.address, action=action,
        project_id=project_id, name=name, digest=digest, protocol=principal.origin.protocol,
        request_id=principal.origin.request_id, outcome=outcome,
    )  # fmt: skip


def since(tx: Transaction, at: Instant, limit: int = 1000) -> list[Entry]:
    """Rows from that moment on, oldest first."""
    return [Entry(*row) for row in tx.rows(_SINCE, since=first_id(at), limit=limit)]


def prune(tx: Transaction, before: Instant) -> int:
    """Drop rows older than that; how many."""
    return tx.run(_PRUNE, before=first_id(before))
