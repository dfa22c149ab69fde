"""The node cache as programs use it: `Cache.open().get(...)` gives the path of complete, right bytes."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from entrepot.cache import pins
from entrepot.cache.copies import copy_blob, download_copy
from entrepot.cache.events import Counts, count_events
from entrepot.cache.fill import Filling
from entrepot.cache.hit import open_hit, read_stamp
from entrepot.cache.layout import blob_path, lock_name
from entrepot.cache.limits import Limits
from entrepot.cache.locks import take
from entrepot.cache.opened import Openness, openness
from entrepot.cache.prune import Evicted, prune_root
from entrepot.cache.root import Root, open_root
from entrepot.cache.source import Source
from entrepot.cache.survey import Held, list_blobs, survey
from entrepot.cache.verify import Verdict, verify_blobs
from entrepot.cache.wording import shown_digest
from entrepot.cache.writing import disk_errors
from entrepot.client.localfile import check_target, target_errors
from entrepot.errors import LimitReached, NotFound
from entrepot.model import Digest


@dataclass(frozen=True, slots=True)
class Entry:
    """One blob here. Times in seconds since the epoch; `verified_at` None: it will be hashed at its next use."""

    digest_hex: str
    size: int
    used_at: float
    verified_at: int | None
    pins: tuple[pins.Pin, ...]
    openness: Openness


@dataclass(frozen=True, slots=True)
class Stats:
    """What happened since the root was made, and what it holds: `used_bytes` counts reservations too."""

    counts: Counts
    entries: int
    used_bytes: int
    max_bytes: int


def print_to_stderr(line: str) -> None:
    """A line for people, beside the results on stdout."""
    print(f"entrepot: {line}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Cache:
    """One root. Safe for any number of threads and processes at once; a killed one leaves nothing wrong behind.

    Digests are taken with and without `sha256:`. `say` gets a line for people when a call waits for long.
    """

    root: Root
    say: Callable[[str], None] = print_to_stderr
    pause: Callable[[float], None] = time.sleep

    @classmethod
    def open(
        cls,
        root: str | None = None,
        *,
        mode: str | None = None,
        limits: Limits | None = None,
        say: Callable[[str], None] = print_to_stderr,
    ) -> Self:
        """The cache at `root`, made if there is none; None: what `ENTREPOT_CACHE` says, else this machine's or user's.

        `mode` (`private`, `group`) counts only when it is made. Raises: Refused, for an unsafe folder or a newer
        format; Unsupported; UsageError; Denied; LimitReached.
        """
        return cls(open_root(root, mode=mode, limits=limits), say)

    @property
    def path(self) -> str:
        """The root, absolute."""
        return self.root.path

    def get(
        self,
        digest_hex: str,
        source: Source | None,
        *,
        hold_seconds: float | None = None,
        verify_always: bool = False,
    ) -> str:
        """The path of the verified blob; `source` is asked only if it is not here, None: never.

        It stays for at least an hour after this call, `hold_seconds` longer if given. Raises: as `open_blob`.
        """
        name = Digest.parse(digest_hex).hex
        os.close(self.open_blob(name, source, verify_always=verify_always))
        if hold_seconds is not None:
            with disk_errors():
                pins.hold(self.root, name, hold_seconds)
        return blob_path(self.root.path, name)

    def open_blob(self, digest_hex: str, source: Source | None, *, verify_always: bool = False) -> int:
        """A descriptor of the verified blob, to be closed by the caller. No one can swap the file behind it.

        `verify_always` hashes it even if its stamp is good. Raises: BadName; NotFound; DigestMismatch; LimitReached,
        saying what is held by whom; Unavailable; Denied; Refused; UsageError.
        """
        name = Digest.parse(digest_hex).hex
        descriptor = None if verify_always else open_hit(self.root.path, name)
        if descriptor is not None:
            return descriptor
        return Filling(self.root, self.say, self.pause).open(name, source, rehash=verify_always)

    def copy(self, digest_hex: str, source: Source | None, target: str) -> None:
        """A verified copy named `target`, also when the cache has no room. It appears whole or not at all.

        Raises: as `open_blob`, LimitReached only for the disk of `target`; UsageError, if no file can appear there.
        """
        name = Digest.parse(digest_hex).hex
        check_target(target)
        try:
            descriptor = self.open_blob(name, source)
        except LimitReached:
            if source is None:
                raise
            with target_errors(target):
                return download_copy(source, name, target, self.pause)
        try:
            with target_errors(target):
                copy_blob(descriptor, name, target)
        finally:
            os.close(descriptor)
        return None

    def entries(self) -> tuple[Entry, ...]:
        """All blobs here, the longest unused first. Raises: Denied."""
        with disk_errors():
            return tuple(self._entry(blob) for blob in survey(self.root).blobs)

    def stats(self) -> Stats:
        """Counts, and what is used now. Raises: Denied."""
        with disk_errors():
            found = survey(self.root)
            return Stats(count_events(self.root), len(found.blobs), found.used_bytes, self.root.limits.max_bytes)

    def verify(
        self, digests: Iterable[str] | None = None, *, bytes_per_second: float | None = None
    ) -> Iterator[Verdict]:
        """A verdict for each blob, as soon as it is hashed; a wrong one is removed then. None: all.

        Raises: BadName; NotFound, before anything is hashed; Denied.
        """
        with disk_errors():
            names = list(map(self._present, digests)) if digests is not None else sorted(list_blobs(self.root))
        return self._verdicts(names, bytes_per_second)

    def prune(
        self, *, max_bytes: int | None = None, older_than_seconds: float | None = None, dry_run: bool = False
    ) -> tuple[Evicted, ...]:
        """What was evicted, or would be: see `prune_root`. Raises: Denied."""
        with disk_errors():
            return prune_root(self.root, max_bytes, older_than_seconds, dry_run=dry_run)

    def pin(self, digest_hex: str, seconds: float | None = None) -> pins.Pin:
        """This user's pin of a blob here, for so long, None for ever; it replaces theirs. Raises: BadName; NotFound."""
        with disk_errors():
            name = Digest.parse(digest_hex).hex
            with take(self.root, lock_name(name))[0]:
                return pins.set_pin(self.root, self._present(name), seconds)

    def unpin(self, digest_hex: str) -> int:
        """How many pins went: this user's, for the owner of the cache everybody's. Raises: BadName; Denied."""
        with disk_errors():
            return pins.remove_pins(self.root, Digest.parse(digest_hex).hex)

    def _verdicts(self, names: list[str], bytes_per_second: float | None) -> Iterator[Verdict]:
        with disk_errors():
            yield from verify_blobs(self.root, names, bytes_per_second)

    def _present(self, digest: str) -> str:
        name = Digest.parse(digest).hex
        if not os.path.lexists(blob_path(self.root.path, name)):
            raise NotFound(f"{shown_digest(name)} is not in the node cache", advice="entrepot cache ls")
        return name

    def _entry(self, blob: Held) -> Entry:
        stamp = read_stamp(self.root.path, blob.digest_hex)
        try:
            state = openness(blob_path(self.root.path, blob.digest_hex))
        except OSError:
            state = Openness.UNKNOWN
        return Entry(blob.digest_hex, blob.size, blob.used_at, stamp[4] if stamp else None, blob.pins, state)
