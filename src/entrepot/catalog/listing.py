"""Pages of names, by key and never by offset, in SQL that differs between the two databases.

A page has one lower and one upper bound, so it costs what it shows, not what lies before or beneath it. With a
delimiter a recursive query seeks from one entry to the next, past everything a common prefix folds.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Double, Integer, TextClause, bindparam, literal_column, select, text, union_all

from entrepot.catalog import parts, versions
from entrepot.catalog.database import Query, Transaction
from entrepot.catalog.objects import COLUMNS, LIVE, object_of
from entrepot.catalog.schema import object_, object_version
from entrepot.catalog.uploads import Upload
from entrepot.model import Bucket, CommonPrefix, Instant, Page, StoredObject, VersionPage

LAST_ID: Final = "~"
"""Sorts after every id of an upload."""
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
FIRST_BATCH: Final = 2
"""How many rows are looked at where the next may fold thousands; eight times as many each time none does."""
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


@dataclass(frozen=True, slots=True)
class UploadPage:
    """Open uploads and common prefixes, and whether there are more."""

    items: tuple[Upload | CommonPrefix, ...]
    more: bool


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
    start = max(prefix, behind(prefix, after, delimiter)) if after else prefix
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
        start = max(prefix, behind(prefix, after, delimiter) if whole else after)
        before = after_version if after_version is not None and start == after else MAX_VERSION
    last = after if before != MAX_VERSION else None
    batch = FIRST_BATCH if delimiter else limit + 1
    while start < stop and len(items) <= limit:
        rows = tx.rows(
            _VERSIONS, bucket=found.id, start=start, stop=stop, first=start, before=before, limit=batch, now=now
        )
        found_all = len(rows) < batch
        batch = min(8 * batch, limit + 1)
        for row in rows:
            item = versions.version_of(found, row)
            start, before = item.key, item.version
            cut = item.key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                fold = item.key[: cut + len(delimiter)]
                items.append((CommonPrefix(fold), False))
                start, before, batch, found_all = successor(fold), MAX_VERSION, FIRST_BATCH, False
                break
            items.append((item, item.key != last))
            last = item.key
        if found_all:
            break
    return _version_page(items, limit)


def upload_page(
    tx: Transaction, found: Bucket, prefix: str, after: str, after_id: str, limit: int, delimiter: str
) -> UploadPage:
    """Up to `limit` open uploads in numbered parts and common prefixes, by name, and of one name the oldest first.

    Those behind the upload `after_id` to the name `after`; behind all of that name if the id is empty.
    """
    items: list[Upload | CommonPrefix] = []
    start, start_id, stop = prefix, "", successor(prefix)
    if after >= prefix and after:
        folded = behind(prefix, after, delimiter) if delimiter else ""
        start, start_id = (folded, "") if folded > after + "\x01" else (after, after_id or LAST_ID)
    batch = FIRST_BATCH if delimiter else limit + 1
    while start < stop and len(items) <= limit:
        rows = parts.open_uploads(tx, found.id, start, start_id, stop, batch)
        found_all = len(rows) < batch
        batch = min(8 * batch, limit + 1)
        for row in rows:
            start, start_id = row.name or "", row.id
            if not row.facts.get("numbered"):
                continue
            cut = start.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                fold = start[: cut + len(delimiter)]
                items.append(CommonPrefix(fold))
                start, start_id, batch, found_all = successor(fold), "", FIRST_BATCH, False
                break
            items.append(row)
        if found_all:
            break
    return UploadPage(tuple(items[:limit]), more=len(items) > limit)


def _version_page(items: list[tuple[StoredObject | CommonPrefix, bool]], limit: int) -> VersionPage:
    shown = tuple(items[:limit])
    if len(items) <= limit:
        return VersionPage(shown)
    last = shown[-1][0]
    return VersionPage(shown, _marker(last), last.version_id or "null" if isinstance(last, StoredObject) else "")


def behind(prefix: str, after: str, delimiter: str) -> str:
    """Where to go on after that marker; past all that its common prefix folds."""
    at = after.find(delimiter, len(prefix)) if delimiter and after.startswith(prefix) else -1
    return successor(after[: at + len(delimiter)]) if at >= 0 else after + "\x01"


def _marker(item: StoredObject | CommonPrefix) -> str:
    return item.prefix if isinstance(item, CommonPrefix) else item.key
