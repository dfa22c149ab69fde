"""Which process runs which job, and small facts about the whole store."""

from typing import Final

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from entrepot.catalog.database import Query, Transaction
from entrepot.catalog.schema import blob, dark_file, job, setting
from entrepot.model import Instant

_KNOW: Final = Query(
    insert(job)
    .values(name=bindparam("name"), until=bindparam("until"), next_at=bindparam("next_at"))
    .on_conflict_do_nothing(index_elements=["name"])
)
_CLAIM: Final = Query(
    update(job)
    .values(owner=bindparam("me"), until=bindparam("ends"))
    .where(job.c.name == bindparam("wanted"), job.c.next_at <= bindparam("now"), job.c.until <= bindparam("now"))
)
_FINISH: Final = Query(
    update(job)
    .values(owner=None, until=0.0, next_at=bindparam("again"))
    .where(job.c.name == bindparam("wanted"), job.c.owner == bindparam("me"))
)
_FREE: Final = Query(update(job).values(owner=None, until=0.0))
_SET: Final = Query(
    insert(setting)
    .values(key=bindparam("key"), value=bindparam("value"))
    .on_conflict_do_update(index_elements=["key"], set_={"value": bindparam("value")})
)
_GET: Final = Query(select(setting.c.value).where(setting.c.key == bindparam("key")))
_SEE: Final = Query(
    insert(dark_file)
    .values(key=bindparam("key"), seen_at=bindparam("seen_at"))
    .on_conflict_do_nothing(index_elements=["key"])
)
_SEEN: Final = Query(select(dark_file.c.seen_at).where(dark_file.c.key == bindparam("key")))
_UNSEE: Final = Query(delete(dark_file).where(dark_file.c.key == bindparam("key")))
_UNSEE_KNOWN: Final = Query(delete(dark_file).where(dark_file.c.key.in_(select(blob.c.key))))


def claim_job(tx: Transaction, name: str, me: str, now: Instant, until: Instant) -> bool:
    """Whether the job is due and now ours, until then at most."""
    tx.run(_KNOW, name=name, until=0.0, next_at=now)
    return bool(tx.run(_CLAIM, wanted=name, me=me, now=now, ends=until))


def finish_job(tx: Transaction, name: str, me: str, again: Instant) -> None:
    """Done; due again at that time."""
    tx.run(_FINISH, wanted=name, me=me, again=again)


def free_jobs(tx: Transaction) -> None:
    """Whoever held a job is gone."""
    tx.run(_FREE)


def fact(tx: Transaction, key: str) -> str | None:
    """A fact about the whole store."""
    row = tx.row(_GET, key=key)
    return row[0] if row else None


def set_fact(tx: Transaction, key: str, value: str) -> None:
    """Remember a fact about the whole store."""
    tx.run(_SET, key=key, value=value)


def see_dark(tx: Transaction, key: str, now: Instant) -> Instant:
    """When a file without a row was first seen."""
    tx.run(_SEE, key=key, seen_at=now)
    row = tx.row(_SEEN, key=key)
    assert row
    seen: float = row[0]
    return seen


def unsee_dark(tx: Transaction, key: str) -> None:
    """It is gone."""
    tx.run(_UNSEE, key=key)


def unsee_known(tx: Transaction) -> None:
    """Files that have a row by now are not dark."""
    tx.run(_UNSEE_KNOWN)
