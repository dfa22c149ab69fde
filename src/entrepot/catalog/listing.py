"""Pages of names, by key and never by offset, in SQL that differs between the two databases.

A page has one lower and one upper bound, so it costs what it shows, not what lies before or beneath it. With a
delimiter a recursive query seeks from one entry to the next, past everything a common prefix folds.
"""

from typing import Final

from sqlalchemy import Integer, bindparam, select, text

from entrepot.catalog.database import Query, Transaction
from entrepot.catalog.objects import COLUMNS, object_of
from entrepot.catalog.schema import object_
from entrepot.model import Bucket, CommonPrefix, Page, StoredObject

END: Final = "\U0010ffff" * 321
"""Sorts after every name of up to 1,280 bytes: the upper bound of an empty prefix."""

_WITHIN: Final = (
    object_.c.bucket_id == bindparam("bucket"),
    object_.c.name >= bindparam("start"),
    object_.c.name < bindparam("stop"),
)
_PAGE: Final = Query(select(*COLUMNS).where(*_WITHIN).order_by(object_.c.name).limit(bindparam("limit")))

_FOLDED: Final = "CASE WHEN {find} > 0 THEN substr(o.name, 1, :cut - 2 + {find} + length(:d)) ELSE o.name END"
_NEXT: Final = (
    "CASE WHEN {found} > 0 THEN substr(entry.item, 1, length(entry.item) - length(:d)) || :d_next"
    " ELSE entry.name || {one} END"
)
_COLUMN_NAMES: Final = ", ".join(f"o.{column.name}" for column in COLUMNS)
_SQLITE: Final = f"""
WITH RECURSIVE entry(name, item) AS (
  SELECT * FROM (SELECT o.name, {_FOLDED} FROM object o
    WHERE o.bucket_id = :bucket AND o.name >= :start AND o.name < :stop ORDER BY o.name LIMIT 1)
  UNION ALL
  SELECT o.name, {_FOLDED} FROM entry JOIN object o ON o.bucket_id = :bucket AND o.name = (
    SELECT n.name FROM object n WHERE n.bucket_id = :bucket AND n.name < :stop AND n.name >= {_NEXT}
    ORDER BY n.name LIMIT 1))
SELECT entry.item, {{found}} > 0, {_COLUMN_NAMES} FROM (SELECT * FROM entry LIMIT :limit) AS entry
  JOIN object o ON o.bucket_id = :bucket AND o.name = entry.name ORDER BY entry.name
"""  # noqa: S608 made of constants
_POSTGRES: Final = f"""
WITH RECURSIVE entry(name, item) AS (
  (SELECT o.name, {_FOLDED} FROM object o
    WHERE o.bucket_id = :bucket AND o.name >= :start AND o.name < :stop ORDER BY o.name LIMIT 1)
  UNION ALL
  SELECT o.name, {_FOLDED} FROM entry CROSS JOIN LATERAL (
    SELECT n.name FROM object n WHERE n.bucket_id = :bucket AND n.name < :stop AND n.name >= {_NEXT}
    ORDER BY n.name LIMIT 1) o)
SELECT entry.item, {{found}} > 0, {_COLUMN_NAMES} FROM (SELECT * FROM entry LIMIT :limit) AS entry
  JOIN object o ON o.bucket_id = :bucket AND o.name = entry.name ORDER BY entry.name
"""  # noqa: S608 made of constants


_TYPED: Final = [
    bindparam(name, type_=kind)
    for kind, names in (
        (object_.c.name.type, ("d", "d_next", "start", "stop")),
        (Integer(), ("cut", "limit")),
        (object_.c.bucket_id.type, ("bucket",)),
    )
    for name in names
]
_FOLDED_PAGE: Final = Query(
    sqlite=text(
        _SQLITE.format(
            find="instr(substr(o.name, :cut), :d)", found="instr(substr(entry.name, :cut), :d)", one="char(1)"
        )
    ).bindparams(*_TYPED),
    postgresql=text(
        _POSTGRES.format(
            find="strpos(substr(o.name, :cut), :d)", found="strpos(substr(entry.name, :cut), :d)", one="chr(1)"
        )
    ).bindparams(*_TYPED),
)


def successor(prefix: str) -> str:
    """The smallest text that sorts after all that begin with `prefix`; `END` for an empty one."""
    while prefix:
        last = ord(prefix[-1]) + 1
        if last == 0xD800:
            last = 0xE000
        if last <= 0x10FFFF:
            return prefix[:-1] + chr(last)
        prefix = prefix[:-1]
    return END


def page(tx: Transaction, found: Bucket, prefix: str, after: str, limit: int, delimiter: str = "") -> Page:
    """Up to `limit` live names of `found` that begin with `prefix` and sort after `after`, in order.

    With a delimiter, names that have it after the prefix are folded to one `CommonPrefix`. A marker that is itself
    such a prefix passes over all it folds.
    """
    start = max(prefix, _after(prefix, after, delimiter)) if after else prefix
    values = {"bucket": found.id, "start": start, "stop": successor(prefix), "limit": limit + 1}
    items: list[StoredObject | CommonPrefix]
    if delimiter:
        rows = tx.rows(_FOLDED_PAGE, **values, cut=len(prefix) + 1, d=delimiter, d_next=successor(delimiter))
        items = [CommonPrefix(row[0]) if row[1] else object_of(found, row[2:]) for row in rows]
    else:
        items = [object_of(found, row) for row in tx.rows(_PAGE, **values)]
    more = len(items) > limit
    shown = tuple(items[:limit])
    return Page(shown, _marker(shown[-1]) if more and shown else None)


def _after(prefix: str, after: str, delimiter: str) -> str:
    folded = delimiter and after.startswith(prefix) and after.find(delimiter, len(prefix)) >= 0
    if folded:
        end = after.index(delimiter, len(prefix)) + len(delimiter)
        if end == len(after):
            return successor(after)
    return after + "\x01"


def _marker(item: StoredObject | CommonPrefix) -> str:
    return item.prefix if isinstance(item, CommonPrefix) else item.key
