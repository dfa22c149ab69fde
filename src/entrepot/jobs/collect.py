"""Garbage: free blobs are marked, and after a grace removed; beside any number of uploads, with no read-only window.

A blob is free if nothing refers to it and no lease holds it. Marked it counts as absent: its digest pushed again gets
a new key, which a late removal cannot hit.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

from entrepot.catalog import blobs, leases
from entrepot.catalog.database import Catalog
from entrepot.failpoints import failpoint
from entrepot.model import Clock
from entrepot.storage.blobs import BlobStore

BATCH: Final = 200
WALK: Final = 20_000
REMOVALS: Final = 1000
LOOK: Final = 500
QUARANTINE_SECONDS: Final = 7 * 86400.0
DARK_SECONDS: Final = 48 * 3600.0


@dataclass(frozen=True, slots=True)
class Collector:
    """`held`: says whether collecting is stopped, as after a catalog was restored from the past."""

    catalog: Catalog
    blobs: BlobStore
    now: Clock
    grace_seconds: float
    held: Callable[[], Awaitable[bool]]

    async def collect(self) -> dict[str, int]:
        """One round: marked, removed."""
        if await self.held():
            return {"marked": 0, "removed": 0}
        marked = await self._mark()
        before = self.now() - self.grace_seconds
        removable = await self.catalog.read(lambda tx: blobs.marked_before(tx, before, REMOVALS))
        for key, in_catalog in removable:
            await self._remove(key, in_catalog=in_catalog)
        damaged = await self.catalog.read(lambda tx: blobs.quarantined_before(tx, self.now() - QUARANTINE_SECONDS))
        for key in damaged:
            await self._remove(key, in_catalog=False)
        return {"marked": marked, "removed": len(removable) + len(damaged)}

    async def _mark(self) -> int:
        """Walk all present blobs beside the writers, and mark in small commits what is free; how many."""
        marked = 0
        after: str | None = ""
        while after is not None:
            now = self.now()
            walk = partial(blobs.free_keys, after_digest=after, now=now, step=WALK)
            keys, after = await self.catalog.read(walk)
            for first in range(0, len(keys), BATCH):
                mark = partial(blobs.mark_free, keys=keys[first : first + BATCH], now=now)
                marked += len(await self.catalog.write(mark, slow=True))
        failpoint("gc.marked")
        return marked

    async def _remove(self, key: str, *, in_catalog: bool) -> None:
        failpoint("gc.unlinking")
        if not in_catalog:
            await self.blobs.run(self.blobs.driver.delete, key)
        failpoint("gc.unlinked")
        await self.catalog.write(lambda tx: blobs.forget(tx, key))
        failpoint("gc.forgotten")

    async def sweep_dark(self) -> dict[str, int]:
        """Remove files without a row that were already without one 48 h ago: seen, removed."""
        counts = {"dark": 0, "removed": 0}
        if await self.held():
            return counts
        await self.catalog.write(leases.unsee_known, slow=True)
        files = self.blobs.driver.keys()
        while keys := await self.blobs.run(lambda: list(islice(files, LOOK))):
            for key in await self.catalog.read(partial(blobs.unknown_keys, keys=keys)):
                counts["dark"] += 1
                counts["removed"] += await self._sweep(key)
        return counts

    async def _sweep(self, key: str) -> bool:
        """Whether that file, which has no row, went."""
        since = await self.catalog.write(partial(leases.see_dark, key=key, now=self.now()))
        if self.now() - since < DARK_SECONDS:
            return False
        failpoint("sweep.unlinking")
        await self.blobs.run(self.blobs.driver.delete, key)
        await self.catalog.write(partial(leases.unsee_dark, key=key))
        return True
