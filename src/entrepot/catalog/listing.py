"""Pages of names, by key and never by offset, in SQL that differs between the two databases.

A page has one lower and one upper bound, so it costs what it shows, not what lies before or beneath it. With a
delimiter a recursive query seeks from one entry to the next, past everything a common prefix folds.
"""

from typing import Final

from sqlalchemy import Double, Integer, TextClause, bindparam, literal_column, select, text, union_all

from entrepot.catalog import versions
from entrepot.catalog.database import Query, Transaction
from entrepot.catalog.objects import COLUMNS, LIVE, object_of
from entrepot.catalog.schema import object_, object_version
from entrepot.model import Bucket, CommonPrefix, Instant, Page, StoredObject, VersionPage

END: Final = "\U0010ffff" * 321
"""Sorts after every name of up to 1,280 bytes: the upper bound of an empty prefix."""

_WITHIN: Final = (
    object_.c.bucket_id == bindparam("bucket"),
    object_.c.name >= bindparam("start"),
    object_.c.name < bindparam("stop"),
    LIVE,
)
_PAGE: Final = Query(select(*COLUMNS).where(*_WITHIN).order_by(object_.c.name).limit(bindparam("limit")))

MAX_VERSION: Final = 2**63 - 1
_O, _V = object_.c, object_version.c
_LIVE_VERSIONS: Final = (
    select(*(_O[column.name] for column in versions.COLUMNS), literal_column("0").label("marker"))
    .where(*_WITHIN, (_O.name > bindparam("first")) | (_O.version < bindparam("before")))
    .order_by(_O.name)
    .limit(bindparam("limit"))
    .subquery()
)
_OLD_VERSIONS: Final = (
    select(*versions.COLUMNS, _V.marker)
    .where(
        _V.bucket_id == bindparam("bucket"),
        _V.name >= bindparam("start"),
        _V.name < bindparam("stop"),
        _V.kept == 1,
        (_V.name > bindparam("first")) | (_V.version < bindparam("before")),
    )
    .order_by(_V.name, _V.version.desc())
    .limit(bindparam("limit"))
    .subquery()
)
_VERSIONS: Final = Query(
    union_all(select(_LIVE_VERSIONS), select(_OLD_VERSIONS))
    .order_by(text("name"), text("version DESC"))
    .limit(bindparam("limit"))
)

_TYPED: Final = [
    bindparam(name, type_=kind)
    for kind, names in (
        (object_.c.name.type, ("d", "d_next", "start", "stop")),
        (Integer(), ("cut", "limit")),
        (Double(), ("now",)),
        (object_.c.bucket_id.type, ("bucket",)),
    )
    for name in names
]
# Each step seeks the next name: past all that the one before stands for, if the delimiter folds it.
_FOLDED: Final = """
WITH RECURSIVE entry(name) AS (
  SELECT (SELECT o.name FROM object o
    WHERE o.bucket_id = :bucket AND o.name >= :start AND o.name < :stop AND {live} ORDER BY o.name LIMIT 1)
  UNION ALL
  SELECT (SELECT o.name FROM object o
    WHERE o.bucket_id = :bucket AND o.name < :stop AND o.name >= CASE WHEN {found} > 0
      THEN substr(entry.name, 1, :cut - 2 + {found}) || :d_next ELSE entry.name || {one} END
      AND {live} ORDER BY o.name LIMIT 1)
  FROM entry WHERE entry.name IS NOT NULL {limit_inside})
SELECT CASE WHEN entry.found > 0 THEN substr(entry.name, 1, :cut - 2 + entry.found + length(:d)) END, {columns}
FROM (SELECT name, {found} AS found FROM entry WHERE name IS NOT NULL LIMIT :limit) AS entry
  LEFT JOIN object o ON o.bucket_id = :bucket AND o.name = CASE WHEN entry.found = 0 THEN entry.name END
"""


def _folded_page(found: str, one: str, limit_inside: str) -> TextClause:
    columns = ", ".join(f"o.{column.name}" for column in COLUMNS)
    sql = _FOLDED.format(
        live="(o.expires_at IS NULL OR o.expires_at > :now)",
        found=found,
        one=one,
        limit_inside=limit_inside,
        columns=columns,
    )
    return text(sql).bindparams(*_TYPED)


_FOLDED_PAGE: Final = Query(
    sqlite=_folded_page("instr(substr(entry.name, :cut), :d)", "char(1)", "LIMIT :limit"),
    postgresql=_folded_page("strpos(substr(entry.name, :cut), :d)", "chr(1)", ""),
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


def page(
    tx: Transaction, found: Bucket, prefix: str, after: str, limit: int, delimiter: str = "", *, now: Instant
) -> Page:
    """Up to `limit` live names of `found` that begin with `prefix` and sort after `after`, in order.

    With a delimiter, names that have it after the prefix are folded to one `CommonPrefix`. A marker that is itself
    such a prefix passes over all it folds.
    """
    start = max(prefix, _after(prefix, after, delimiter)) if after else prefix
    values = {"bucket": found.id, "start": start, "stop": successor(prefix), "limit": limit + 1, "now": now}
    items: list[StoredObject | CommonPrefix]
    if delimiter:
        rows = tx.rows(_FOLDED_PAGE, **values, cut=len(prefix) + 1, d=delimiter, d_next=successor(delimiter))
        items = [CommonPrefix(row[0]) if row[0] is not None else object_of(found, row[1:]) for row in rows]
        items.sort(key=_marker)  # they come in order, which SQL does not promise
    else:
        items = [object_of(found, row) for row in tx.rows(_PAGE, **values)]
    more = len(items) > limit
    shown = tuple(items[:limit])
    return Page(shown, _marker(shown[-1]) if more and shown else None)


def version_page(
    tx: Transaction,
    found: Bucket,
    prefix: str,
    after: str,
    after_version: int | None,
    limit: int,
    delimiter: str,
    *,
    now: Instant,
) -> VersionPage:
    """Up to `limit` versions and common prefixes; of the name `after` those older than `after_version`, or none."""
    items: list[tuple[StoredObject | CommonPrefix, bool]] = []
    start, stop, before = prefix, successor(prefix), MAX_VERSION
    if after:
        folded = delimiter and after.startswith(prefix) and after.find(delimiter, len(prefix)) >= 0
        whole = after_version is None or folded
        start = max(prefix, _after(prefix, after, delimiter) if whole else after)
        before = after_version if after_version is not None and start == after else MAX_VERSION
    last = after if before != MAX_VERSION else None
    values = {"bucket": found.id, "stop": stop, "limit": limit + 1, "now": now}
    while start < stop and len(items) <= limit:
        rows = tx.rows(_VERSIONS, **values, start=start, first=start, before=before)
        start = stop if len(rows) <= limit else ""
        for row in rows:
            item = versions.version_of(found, row)
            cut = item.key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                fold = CommonPrefix(item.key[: cut + len(delimiter)])
                items.append((fold, False))
                start = successor(fold.prefix)
                break
            items.append((item, item.key != last))
            last = item.key
            if not start and row is rows[-1]:
                return _version_page(items, limit)
        before = MAX_VERSION
    return _version_page(items, limit)


def _version_page(items: list[tuple[StoredObject | CommonPrefix, bool]], limit: int) -> VersionPage:
    shown = tuple(items[:limit])
    if len(items) <= limit:
        return VersionPage(shown)
    last = shown[-1][0]
    return VersionPage(shown, _marker(last), last.version_id or "null" if isinstance(last, StoredObject) else "")


def _after(prefix: str, after: str, delimiter: str) -> str:
    """Where to go on after that marker; past all that its common prefix folds."""
    at = after.find(delimiter, len(prefix)) if delimiter and after.startswith(prefix) else -1
    return successor(after[: at + len(delimiter)]) if at >= 0 else after + "\x01"


def _marker(item: StoredObject | CommonPrefix) -> str:
    return item.prefix if isinstance(item, CommonPrefix) else item.key
