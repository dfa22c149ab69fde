"""What ends by itself: objects, uploads, tokens, leases, old audit rows, and the trash when its time is over."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from entrepot.catalog import accounts, audit, blobs, leases, manifests, objects, parts, uploads, versions
from entrepot.catalog.database import Catalog, Transaction
from entrepot.errors import Conflict, NotFound
from entrepot.failpoints import failpoint
from entrepot.model import Clock
from entrepot.services.staging import StagingAreas
from entrepot.storage.blobs import BlobStore, generation_of

BATCH: Final = 500
AUDIT_SECONDS: Final = 400 * 86400.0


@dataclass(frozen=True, slots=True)
class Expiry:
    """`trash_seconds`: how long a removed or replaced object can be brought back; not at all while the disk is full."""

    catalog: Catalog
    areas: StagingAreas
    now: Clock
    trash_seconds: float
    is_full: Callable[[], bool]

    async def expire(self) -> dict[str, int]:
        """One round, in small commits; counts by kind."""
        counts = {"objects": 0, "trash": 0}
        while done := await self.catalog.write(lambda tx: objects.remove_expired(tx, self.now(), BATCH), slow=True):
            counts["objects"] += done
        before = self.now() - (0 if self.is_full() else self.trash_seconds)
        while done := await self.catalog.write(lambda tx: versions.purge_trash(tx, before, BATCH), slow=True):
            counts["trash"] += done
        while done := await self.catalog.write(lambda tx: manifests.purge_trash(tx, before, BATCH), slow=True):
            counts["trash"] += done
        counts["rows"] = await self.catalog.write(self._drop_rows, slow=True)
        counts["uploads"] = await self._drop_uploads()
        return counts

    def _drop_rows(self, tx: Transaction) -> int:
        now = self.now()
        return (
            accounts.drop_expired_tokens(tx, now)
            + blobs.drop_expired_leases(tx, now)
            + audit.prune(tx, now - AUDIT_SECONDS)
        )

    async def _drop_uploads(self) -> int:
        expired = await self.catalog.read(lambda tx: uploads.expired(tx, self.now(), BATCH))
        for upload in expired:
            failpoint("sweep.unlinking")
            with suppress(NotFound, Conflict):
                await self.areas.forget(upload.id)
        return len(expired)


async def sweep_staging(catalog: Catalog, blobs_: BlobStore) -> dict[str, int]:
    """Remove staging areas whose upload is no more: a row is written before its first area, and looked for after it."""
    there = await blobs_.run(lambda: set(blobs_.driver.staged()))
    known = await catalog.read(uploads.staged)
    orphans = [area for area in there if area.partition(".")[0] not in known]
    for area in orphans:
        failpoint("sweep.unlinking")
        await blobs_.run(blobs_.driver.discard, area)
    return {"removed": len(orphans)}


async def recover_staging(catalog: Catalog, blobs_: BlobStore) -> int:
    """At the start of the only process: what a crash left in staging and is not resumable goes; how many areas.

    Uploads of one request end with their connection, so none of theirs can be continued; nor can those whose
    acknowledged bytes are gone. One that was just being completed is open again. Jobs a dead process had claimed are
    free.
    """

    def drop_one_shots(tx: Transaction) -> set[str]:
        leases.free_jobs(tx)
        completing.update(uploads.completing(tx))
        for upload_id in uploads.one_shot(tx):
            uploads.drop(tx, upload_id)
        uploads.reopen_all(tx)
        return uploads.staged(tx) | parts.areas(tx).keys()

    def drop_lost(tx: Transaction) -> None:
        of_parts = parts.areas(tx)
        for area in known - there:
            if area in of_parts:
                parts.drop_one(tx, *of_parts[area])
            elif uploads.pieces(tx, area) or not uploads.known(tx, area).is_in_row:
                uploads.drop(tx, area)

    completing: set[str] = set()
    known = await catalog.write(drop_one_shots, slow=True)
    there = await blobs_.run(lambda: set(blobs_.driver.staged()))
    if completing - there:
        there |= await _restage(catalog, blobs_, completing - there)
    if known - there:
        await catalog.write(drop_lost, slow=True)
    for upload_id in there - known:
        failpoint("sweep.unlinking")
        await blobs_.run(blobs_.driver.discard, upload_id)
    return len(there - known)


async def _restage(catalog: Catalog, blobs_: BlobStore, lost: set[str]) -> set[str]:
    """Of these uploads those whose bytes had become a blob that nothing names: they are staging areas again."""
    by_generation = {generation_of(upload_id): upload_id for upload_id in lost}
    keys = [key for key in await blobs_.run(lambda: list(blobs_.driver.keys())) if key[-8:] in by_generation]
    found: set[str] = set()
    for key in await catalog.read(lambda tx: blobs.unknown_keys(tx, keys)):
        upload_id = by_generation[key[-8:]]
        await blobs_.run(blobs_.driver.restage, key, upload_id)
        found.add(upload_id)
    return found
