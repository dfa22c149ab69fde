"""What is in the node cache, and whether it may stay."""

from datetime import UTC, datetime

import click

from entrepot.cache.store import Cache, Entry
from entrepot.cache.wording import shown_digest, shown_size
from entrepot.cli.output import Row
from entrepot.cli.reports import CacheEntryReport, CacheStatsReport, EvictedReport, PathReport, VerdictReport
from entrepot.cli.session import Session, command
from entrepot.cli.wording import seconds_of, size_of
from entrepot.errors import DigestMismatch
from entrepot.model import Digest


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@command("ls", help="List the blobs here, the longest unused first.")
def ls(session: Session) -> None:
    """Digest, size, last use, state."""
    session.output.header("digest", "size", "used", "state", "pins")
    for entry in Cache.open(say=session.say).entries():
        session.output.add(_entry_row(entry))


def _entry_row(entry: Entry) -> Row:
    digest = f"sha256:{entry.digest_hex}"
    pins = [pin.uid for pin in entry.pins]
    used, state = _time(entry.used_at), entry.openness.value
    shape = CacheEntryReport(digest, entry.size, used, _time(entry.verified_at) or None, pins, state)
    pinned = f"{len(pins)} pins" if pins else ""
    cells = (shown_digest(entry.digest_hex), shown_size(entry.size), used, state, pinned)
    return Row((digest, str(entry.size), used, state, str(len(pins))), shape, cells)


@command(
    "verify",
    click.Argument(["digests"], nargs=-1, metavar="[DIGEST]..."),
    help="Hash what is here, or only these; what is wrong is removed and named, with exit code 6.",
)
def verify(session: Session, digests: tuple[str, ...]) -> None:
    """Digest, size, right or wrong."""
    rate = session.settings.text("bwlimit")
    cache = Cache.open(say=session.say)
    wrong: list[str] = []
    for verdict in cache.verify(digests or None, bytes_per_second=size_of(rate, "--bwlimit") if rate else None):
        digest, word = f"sha256:{verdict.digest_hex}", "right" if verdict.is_right else "wrong"
        shape = VerdictReport(digest, verdict.size, verdict.is_right)
        cells = (shown_digest(verdict.digest_hex), shown_size(verdict.size), word)
        session.output.add(Row((digest, str(verdict.size), word), shape, cells))
        if not verdict.is_right:
            wrong.append(digest)
            session.say(f"wrong, and removed: {digest}")
    if wrong:
        raise DigestMismatch(
            f"{len(wrong)} blobs were wrong: {', '.join(wrong)}",
            why="their files were changed or damaged; they are removed",
            advice="they are fetched again at the next `cache get`",
        )


@command(
    "prune",
    click.Option(["--max-bytes"], metavar="SIZE", help="Down to this: 50G."),
    click.Option(["--older-than"], metavar="TIME", help="All unused for so long: 30d."),
    help="Remove what was not used for longest, down to the limit of the cache or the one given. What is open, pinned "
    "or just used stays.",
)
def prune(session: Session, max_bytes: str | None, older_than: str | None) -> None:
    """What went."""
    gone = Cache.open(say=session.say).prune(
        max_bytes=size_of(max_bytes, "--max-bytes") if max_bytes else None,
        older_than_seconds=seconds_of(older_than, "--older-than") if older_than else None,
        dry_run=session.is_dry,
    )
    for one in gone:
        digest = f"sha256:{one.digest_hex}"
        cells = (shown_digest(one.digest_hex), shown_size(one.size))
        session.output.add(Row((digest, str(one.size)), EvictedReport(digest, one.size), cells))


@command(
    "pin",
    click.Argument(["digest"]),
    click.Option(["--until"], metavar="TIME", help="Only for so long: 14d."),
    click.Option(["--remove"], is_flag=True, help="No longer."),
    help="Keep the blob DIGEST, sha256:HEX, from being removed.",
)
def pin(session: Session, digest: str, until: str | None, remove: bool) -> None:
    """Digest, and until when; empty for ever."""
    cache = Cache.open(say=session.say)
    name = Digest.parse(digest)
    if remove:
        count = cache.unpin(name.hex)
        session.output.add(Row((str(name), str(count)), {"digest": str(name), "removed": count}))
        return
    made = cache.pin(name.hex, seconds_of(until, "--until") if until else None)
    end = _time(made.until) if made.until else ""
    session.output.add(Row((str(name), end), {"digest": str(name), "until": end or None}))


@command("stats", help="Print hits, misses, waits, repairs and bytes saved since the cache was made.")
def stats(session: Session) -> None:
    """One count a line."""
    found = Cache.open(say=session.say).stats()
    counts = found.counts
    report = CacheStatsReport(
        counts.hits, counts.misses, counts.waits, counts.repairs, counts.full, counts.bytes_saved,
        found.entries, found.used_bytes, found.max_bytes,
    )  # fmt: skip
    if session.settings.is_on("json"):
        session.output.add(Row((), report))
        return
    for name in report.__struct_fields__:
        session.output.add(Row((name, str(getattr(report, name))), report))


@command("dir", help="Print the folder of the cache.")
def dir_(session: Session) -> None:
    """Its path."""
    path = Cache.open(say=session.say).path
    session.output.add(Row((path,), PathReport(path)))
