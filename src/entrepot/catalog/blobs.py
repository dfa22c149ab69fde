"""Which bytes are here, why they live, and when they may go.

Two steps take bytes away: mark (a free blob becomes `deleting`, and counts as absent), and after a grace remove.
Told "it is here" takes a lease; accepting a name writes its reference in the same commit.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import bindparam, delete, exists, select, text, update
from sqlalchemy.dialects.postgresql import insert

from entrepot.catalog import contents
from entrepot.catalog.database import LostRace, Query, Row, Transaction
from entrepot.catalog.schema import blob, inline_blob, lease, reference
from entrepot.formats.content import Content
from entrepot.model import Algorithm, Blob, Digest, Instant, Stamp

LAST: Final = "g"
"""Sorts after every digest."""
PRESENT: Final = text("blob.state = 'present'")
"""Written out, not bound: only then can the partial index `blob_present` answer."""
_LEAVING: Final = text("blob.state <> 'present'")
_SUMS: Final = (
    Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA512, Algorithm.CRC32, Algorithm.CRC32C, Algorithm.CRC64NVME
)  # fmt: skip
"""Each has a column of its own name."""
COLUMNS: Final = (
    blob.c.digest, blob.c.size, blob.c.key, blob.c.verified_at, blob.c.stamp, inline_blob.c.bytes,
    *(blob.c[algorithm.value] for algorithm in _SUMS),
)  # fmt: skip
_WITH_BYTES: Final = blob.outerjoin(inline_blob, inline_blob.c.key == blob.c.key)
_FIND: Final = Query(select(*COLUMNS).select_from(_WITH_BYTES).where(blob.c.digest == bindparam("digest"), PRESENT))
_HOLD: Final = Query(select(blob.c.key).where(blob.c.digest == bindparam("digest"), PRESENT).with_for_update(read=True))
_ADD: Final = Query(
    insert(blob)
    .values({c.name: bindparam(c.name) for c in blob.c if c.name != "marked_at"})
    .on_conflict_do_nothing(index_elements=["digest"], index_where=text("state = 'present'"))
)
_LEARN: Final = {
    algorithm: Query(
        update(blob)
        .values({algorithm.value: bindparam("value")})
        .where(blob.c.digest == bindparam("digest"), PRESENT, blob.c[algorithm.value].is_(None))
    )
    for algorithm in _SUMS
}
_ADD_BYTES: Final = Query(insert(inline_blob).values(key=bindparam("key"), bytes=bindparam("bytes")))
_REFER: Final = Query(insert(reference).values({c.name: bindparam(c.name) for c in reference.c}))
_LET_GO: Final = Query(
    delete(reference).where(reference.c.kind == bindparam("kind"), reference.c.owner_id == bindparam("owner_id"))
)
_LEASE: Final = Query(
    insert(lease)
    .values(digest=bindparam("digest"), holder=bindparam("holder"), until=bindparam("until"))
    .on_conflict_do_update(index_elements=["digest", "holder"], set_={"until": bindparam("until")})
)
_RENEW: Final = Query(update(lease).values(until=bindparam("until")).where(lease.c.holder == bindparam("holder")))
_END_LEASE: Final = Query(delete(lease).where(lease.c.holder == bindparam("holder")))
_LEASED: Final = Query(
    select(lease.c.until).where(lease.c.digest == bindparam("digest"), lease.c.holder == bindparam("holder"))
)
_END_ONE_LEASE: Final = Query(
    delete(lease).where(lease.c.digest == bindparam("digest"), lease.c.holder == bindparam("holder"))
)
_HOLDERS: Final = Query(
    select(lease.c.holder).where(
        lease.c.digest == bindparam("digest"),
        lease.c.holder >= bindparam("start"),
        lease.c.holder < bindparam("stop"),
        lease.c.until > bindparam("now"),
    )
)
_BY_SHA512: Final = Query(
    select(blob.c.digest).where(text("blob.sha512 IS NOT NULL"), blob.c.sha512 == bindparam("sha512")).limit(1)
)
_EDGES: Final = Query(
    select(blob.c.digest).where(blob.c.edges == bindparam("edges"), blob.c.size == bindparam("size"), PRESENT).limit(16)
)
_FREE: Final = ~exists().where(reference.c.digest == blob.c.digest) & ~exists().where(
    lease.c.digest == blob.c.digest, lease.c.until > bindparam("now")
)
_STEP: Final = Query(
    select(blob.c.digest)
    .where(PRESENT, blob.c.digest > bindparam("after"))
    .order_by(blob.c.digest)
    .offset(bindparam("step"))
    .limit(1)
)
_FREE_BETWEEN: Final = Query(
    select(blob.c.key).where(PRESENT, blob.c.digest > bindparam("after"), blob.c.digest <= bindparam("until"), _FREE)
)
_LOCK: Final = Query(
    select(blob.c.key).where(blob.c.key == bindparam("key"), PRESENT).with_for_update(skip_locked=True)
)
_MARK: Final = Query(
    update(blob)
    .values(state=text("'deleting'"), marked_at=bindparam("now"))
    .where(blob.c.key == bindparam("wanted"), PRESENT, _FREE)
)
_MARKED: Final = Query(
    select(blob.c.key, inline_blob.c.key)
    .select_from(_WITH_BYTES)
    .where(_LEAVING, text("blob.state = 'deleting'"), blob.c.marked_at <= bindparam("before"))
    .limit(bindparam("limit"))
)
_FORGET: Final = Query(delete(blob).where(blob.c.key == bindparam("key"), text("blob.state <> 'present'")))
_FORGET_BYTES: Final = Query(delete(inline_blob).where(inline_blob.c.key == bindparam("key")))
_QUARANTINE: Final = Query(
    update(blob)
    .values(state=text("'quarantined'"), marked_at=bindparam("now"))
    .where(blob.c.key == bindparam("wanted"), PRESENT)
)
_QUARANTINED: Final = Query(
    select(blob.c.key)
    .where(_LEAVING, text("blob.state = 'quarantined'"), blob.c.marked_at <= bindparam("before"))
    .limit(1000)
)
_VERIFIED: Final = Query(
    update(blob)
    .values(verified_at=bindparam("now"), stamp=bindparam("seen"))
    .where(blob.c.key == bindparam("wanted"), PRESENT)
)
_KEYS: Final = Query(select(blob.c.key).where(blob.c.key == bindparam("key")))
_OLDEST: Final = Query(
    select(*COLUMNS)
    .select_from(_WITH_BYTES)
    .where(PRESENT, blob.c.digest > bindparam("after"))
    .order_by(blob.c.digest)
    .limit(bindparam("limit"))
)
_EXPIRED_LEASES: Final = Query(delete(lease).where(lease.c.until <= bindparam("now")))


def blob_of(row: Row) -> Blob:
    """The blob a row of `COLUMNS` describes."""
    digest, size, key, verified_at, stamp, inline, *sums = row
    checksums = {algorithm: value for algorithm, value in zip(_SUMS, sums, strict=True) if value}
    return Blob(Digest(digest), size, key, checksums, verified_at, stamp_of(stamp), inline)


def stamp_of(text_: str | None) -> Stamp | None:
    """The stamp kept as `size mtime_ns inode`."""
    return Stamp(*map(int, text_.split())) if text_ else None


def stamp_text(stamp: Stamp | None) -> str | None:
    """A stamp as its column holds it."""
    return f"{stamp.size} {stamp.mtime_ns} {stamp.inode}" if stamp else None


def find(tx: Transaction, digest: Digest) -> Blob | None:
    """The present blob with that digest."""
    row = tx.row(_FIND, digest=digest.hex)
    return blob_of(row) if row else None


def keep(tx: Transaction, received: Blob, edges: str | None, now: Instant, content: Content | None = None) -> str:
    """The key under which these bytes are now kept: ours, or that of an equal blob that was here first.

    The row stays locked against the collector until this transaction ends.
    """
    digest = received.digest.hex
    added = tx.run(
        _ADD, key=received.key, digest=digest, size=received.size, state="present", created_at=now,
        verified_at=received.verified_at, stamp=stamp_text(received.stamp), edges=edges,
        **{algorithm.value: received.checksums.get(algorithm) for algorithm in _SUMS},
    )  # fmt: skip
    if added:
        if received.inline is not None:
            tx.run(_ADD_BYTES, key=received.key, bytes=received.inline)
        if content and content.media_type:
            contents.learn(tx, received.digest, content)
        return received.key
    learn(tx, received.digest, received.checksums)
    return hold(tx, received.digest)


def learn(tx: Transaction, digest: Digest, checksums: Mapping[Algorithm, str]) -> None:
    """Checksums of these bytes that are not known yet."""
    for algorithm, value in checksums.items():
        if algorithm in _LEARN:
            tx.run(_LEARN[algorithm], digest=digest.hex, value=value)


def hold(tx: Transaction, digest: Digest) -> str:
    """The key of a present blob, safe from the collector until this transaction ends.

    Raises: LostRace if it just went.
    """
    row = tx.row(_HOLD, digest=digest.hex)
    if row is None:
        raise LostRace
    key: str = row[0]
    return key


def refer(tx: Transaction, kind: str, owner_id: int, digest: Digest, place_id: int, size: int) -> None:
    """Bytes of `digest` live as long as this owner does, which is in that bucket or repository."""
    tx.run(_REFER, kind=kind, owner_id=owner_id, digest=digest.hex, place_id=place_id, size=size)


def let_go(tx: Transaction, kind: str, owner_id: int) -> None:
    """This owner needs its bytes no more."""
    tx.run(_LET_GO, kind=kind, owner_id=owner_id)


def take_lease(tx: Transaction, digest: Digest, holder: str, until: Instant) -> None:
    """Keep these bytes until then for someone who was told they are here."""
    tx.run(_LEASE, digest=digest.hex, holder=holder, until=until)


def renew_leases(tx: Transaction, holder: str, until: Instant) -> None:
    """All this holder was told is here stays until then."""
    tx.run(_RENEW, holder=holder, until=until)


def end_lease(tx: Transaction, holder: str) -> None:
    """This holder needs its bytes no more."""
    tx.run(_END_LEASE, holder=holder)


def end_one_lease(tx: Transaction, digest: Digest, holder: str) -> bool:
    """This holder does not need those bytes; whether it had a lease of them."""
    return bool(tx.run(_END_ONE_LEASE, digest=digest.hex, holder=holder))


def lease_holders(tx: Transaction, digest: Digest, kind: str, now: Instant) -> list[str]:
    """Who has a lease of those bytes now, of holders written `KIND:NAME`: their names."""
    rows = tx.rows(_HOLDERS, digest=digest.hex, start=f"{kind}:", stop=f"{kind};", now=now)
    return [holder.partition(":")[2] for (holder,) in rows]


def by_sha512(tx: Transaction, sha512: str) -> Digest | None:
    """The digest of bytes that have that sha512, if somebody once asked for it."""
    row = tx.row(_BY_SHA512, sha512=sha512)
    return Digest(row[0]) if row else None


def leased_until(tx: Transaction, digest: Digest, holder: str) -> Instant:
    """When that lease ends; 0 if there is none."""
    row = tx.row(_LEASED, digest=digest.hex, holder=holder)
    return row[0] if row else 0.0


def with_edges(tx: Transaction, edges: str, size: int) -> list[Digest]:
    """Blobs of that size whose first and last MiB hash to `edges`."""
    return [Digest(row[0]) for row in tx.rows(_EDGES, edges=edges, size=size)]


def free_keys(tx: Transaction, after_digest: str, now: Instant, step: int) -> tuple[list[str], str | None]:
    """Keys among the next `step` present blobs that nobody refers to or leases; where to go on, None at the end."""
    row = tx.row(_STEP, after=after_digest, step=step - 1)
    until = row[0] if row else None
    rows = tx.rows(_FREE_BETWEEN, after=after_digest, until=until or LAST, now=now)
    return [key for (key,) in rows], until


def mark_free(tx: Transaction, keys: Sequence[str], now: Instant) -> list[str]:
    """Those of `keys` that are still free, marked as deleting.

    Two statements for each on purpose: the second starts after the lock, so it sees what was committed meanwhile.
    """
    return [key for key in keys if tx.row(_LOCK, key=key) and tx.run(_MARK, wanted=key, now=now)]


def marked_before(tx: Transaction, before: Instant, limit: int) -> list[tuple[str, bool]]:
    """Keys marked at or before that time, and whether their bytes lie in the catalog."""
    return [(key, inline is not None) for key, inline in tx.rows(_MARKED, before=before, limit=limit)]


def forget(tx: Transaction, key: str) -> None:
    """Drop the row of a blob whose file is gone."""
    contents.forget(tx, key)
    tx.run(_FORGET, key=key)
    tx.run(_FORGET_BYTES, key=key)


def quarantine(tx: Transaction, key: str, now: Instant) -> None:
    """These bytes are wrong: absent from now on, repaired by the next push of the same digest."""
    tx.run(_QUARANTINE, wanted=key, now=now)


def quarantined_before(tx: Transaction, before: Instant) -> list[str]:
    """Keys quarantined at or before that time."""
    return [row[0] for row in tx.rows(_QUARANTINED, before=before)]


def verified(tx: Transaction, key: str, stamp: Stamp | None, now: Instant) -> None:
    """Its bytes were read whole and hashed right."""
    tx.run(_VERIFIED, wanted=key, now=now, seen=stamp_text(stamp))


def unknown_keys(tx: Transaction, keys: Sequence[str]) -> list[str]:
    """Those of `keys` that no row, of whatever state, holds."""
    return [key for key in keys if tx.row(_KEYS, key=key) is None]


def after(tx: Transaction, digest_hex: str, limit: int) -> list[Blob]:
    """Present blobs in order of digest, from the one after `digest_hex`: the scrubber's walk."""
    return [blob_of(row) for row in tx.rows(_OLDEST, after=digest_hex, limit=limit)]


def drop_expired_leases(tx: Transaction, now: Instant) -> int:
    """Leases that ended; how many."""
    return tx.run(_EXPIRED_LEASES, now=now)
