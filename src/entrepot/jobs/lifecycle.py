"""Lifecycle rules of buckets, carried out: names, versions, delete markers and uploads whose time is over."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from entrepot.catalog import listing, objects, parts, projects
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.uploads import Upload
from entrepot.errors import EntrepotError
from entrepot.failpoints import failpoint
from entrepot.model import Bucket, Clock, CommonPrefix, StoredObject
from entrepot.services import lifecycle
from entrepot.services.lifecycle import Rule
from entrepot.services.names import id_of
from entrepot.services.retention import is_locked
from entrepot.services.staging import StagingAreas

PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class _Due:
    """A live name to be removed, or one of its versions."""

    stored: StoredObject
    whole: bool


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The rules of all buckets."""

    catalog: Catalog
    areas: StagingAreas
    now: Clock

    async def carry_out(self) -> dict[str, int]:
        """One round: objects, versions and uploads that went."""
        counts = {"objects": 0, "versions": 0, "uploads": 0}
        for bucket in await self.catalog.read(projects.buckets_with_lifecycle):
            rules: Sequence[Rule] = [rule for rule in bucket.config["lifecycle"] if rule["enabled"]]
            if rules:
                await self._bucket(bucket, rules, counts)
                counts["uploads"] += await self._uploads(bucket, rules)
        return counts

    async def _bucket(self, bucket: Bucket, rules: Sequence[Rule], counts: dict[str, int]) -> None:
        """All versions of a bucket, a page at a time."""
        after, number = "", None
        walk = _Walk(rules)
        while True:
            key, version = after, number
            page = await self.catalog.read(
                lambda tx: listing.version_page(tx, bucket, "", key, version, PAGE, "", now=0.0)  # noqa: B023
            )
            shown = [item for item, _ in page.items if not isinstance(item, CommonPrefix)]
            due = walk.due(shown, self.now(), last=page.next is None)
            if due:
                failpoint("lifecycle.removing")
                await self.catalog.write(lambda tx: self._remove(tx, bucket, due, counts), slow=True)  # noqa: B023
            if page.next is None:
                return
            after, number = shown[-1].key, shown[-1].version

    def _remove(self, tx: Transaction, bucket: Bucket, due: Sequence[_Due], counts: dict[str, int]) -> None:
        now = self.now()
        for one in due:
            live = objects.find(tx, bucket, one.stored.key)
            if one.whole:
                if live and live.version == one.stored.version:
                    objects.remove(tx, bucket, live.key, now)
                    counts["objects"] += 1
                continue
            number = id_of(one.stored).number
            there = objects.find_any(tx, bucket, one.stored.key, number)
            if there is None or there.version != one.stored.version:
                continue  # "null" is another by now
            if not is_locked(there.extra.get("retention"), there.extra.get("hold"), now, bypass_governance=False):
                removed = objects.remove_version(tx, bucket, one.stored.key, number, now)
                counts["versions"] += removed is not None

    async def _uploads(self, bucket: Bucket, rules: Sequence[Rule]) -> int:
        """Uploads that were begun too long ago are forgotten; how many."""
        count, after = 0, ("", "")
        while found := await self.catalog.read(partial(_open_uploads, bucket, after)):
            for upload in found:
                ends = [
                    lifecycle.upload_expires_at(rule, upload.created_at)
                    for rule in rules
                    if lifecycle.applies(rule, upload.name or "", {}, 0)
                ]
                if any(end is not None and end <= self.now() for end in ends):
                    with suppress(EntrepotError):
                        await self.areas.forget(upload.id)
                        count += 1
            after = found[-1].name or "", found[-1].id
        return count


def _open_uploads(bucket: Bucket, after: tuple[str, str], tx: Transaction) -> list[Upload]:
    return parts.open_uploads(tx, bucket.id, *after, listing.END, PAGE)


class _Walk:
    """Goes through versions in order of name, newest first, over the borders of pages."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._key = ""
        self._newer = -1
        """Noncurrent versions of this name that are newer; -1 before its newest."""
        self._replaced_at = 0.0
        self._marker: StoredObject | None = None
        """The newest of the name, if it is a marker and nothing was seen under it."""

    def due(self, page: Sequence[StoredObject], now: float, *, last: bool) -> list[_Due]:
        """What of this page has to go; a marker alone is known once the next name begins."""
        found: list[_Due] = []
        for stored in page:
            if stored.key != self._key:
                found += self._lone_marker(now)
                self._key, self._newer, self._marker = stored.key, -1, stored if stored.marker else None
                if not stored.marker and self._ends(stored, now):
                    found.append(_Due(stored, whole=True))
            else:
                self._marker = None
                if self._noncurrent_ends(stored, now):
                    found.append(_Due(stored, whole=False))
            self._newer += 1
            self._replaced_at = stored.created_at
        return found + (self._lone_marker(now) if last else [])

    def _ends(self, stored: StoredObject, now: float) -> bool:
        ends = (
            lifecycle.expires_at(rule, stored.created_at)
            for rule in self._rules
            if lifecycle.applies(rule, stored.key, stored.extra.get("tags", {}), stored.size)
        )
        return any(end is not None and end <= now for end in ends)

    def _noncurrent_ends(self, stored: StoredObject, now: float) -> bool:
        ends = (
            lifecycle.noncurrent_expires_at(rule, self._replaced_at, self._newer)
            for rule in self._rules
            if lifecycle.applies(rule, stored.key, stored.extra.get("tags", {}), stored.size)
        )
        return any(end is not None and end <= now for end in ends)

    def _lone_marker(self, now: float) -> list[_Due]:
        marker, self._marker = self._marker, None
        if marker is None:
            return []
        ends = (
            lifecycle.marker_expires_at(rule, marker.created_at)
            for rule in self._rules
            if lifecycle.applies(rule, marker.key, {}, 0)
        )
        return [_Due(marker, whole=False)] if any(end is not None and end <= now for end in ends) else []
