"""The services of a store in this process, over a real folder and a real database; a clock the test turns."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from entrepot.catalog import accounts, projects
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.postgres import PostgresCatalog
from entrepot.catalog.sqlite import SqliteCatalog
from entrepot.catalog.upgrade import upgrade
from entrepot.jobs.collect import Collector
from entrepot.jobs.expire import Expiry, recover_staging
from entrepot.model import MAX_QUOTA, Body, Claims, Facts, Kind, ObjectName, Piece, Principal, Role, Span, StoredObject
from entrepot.services.identity import principal_of
from entrepot.services.objects import Objects
from entrepot.services.uploads import Uploads
from entrepot.storage.blobs import BlobStore, Limits
from entrepot.storage.local import LocalDriver

BUCKET = "bucket"
START = 1_800_000_000.0


class Clock:
    """Seconds that pass when the test says so, and a hair at each look, so that no two are equal."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> float:
        self.at += 1e-6
        return self.at


@dataclass(frozen=True)
class Inside:
    """All the parts."""

    folder: Path
    clock: Clock
    catalog: Catalog
    blobs: BlobStore
    objects: Objects
    uploads: Uploads
    collector: Collector
    expiry: Expiry
    principal: Principal

    async def put(self, key: str, data: bytes, claims: Claims | None = None) -> StoredObject:
        """The object."""
        name = ObjectName(BUCKET, key)
        return await self.objects.put(self.principal, name, body_of(data), claims or Claims(len(data)), Facts())

    async def read(self, key: str) -> bytes:
        """All its bytes, as they lie there. Raises: NotFound."""
        _, blob = await self.objects.find(self.principal, ObjectName(BUCKET, key))
        opened = await self.objects.open_blob(blob, Span())
        if isinstance(opened.delivery, bytes):
            return opened.delivery
        try:
            return os.pread(opened.delivery.descriptor, blob.size + 1, 0)
        finally:
            opened.close()

    async def delete(self, key: str) -> StoredObject | None:
        """What it was."""
        return await self.objects.delete(self.principal, ObjectName(BUCKET, key))

    async def read_row(self, sql: str) -> list[tuple[object, ...]]:
        """Rows of the catalog, past all our queries."""
        return await self.catalog.read(lambda tx: list(tx._connection.execute(sql).fetchall()))


def body_of(data: bytes, piece: int = 40_000) -> Body:
    """A body in batches."""

    async def batches() -> AsyncIterator[list[Piece]]:
        for start in range(0, len(data), piece):
            await asyncio.sleep(0)
            yield [data[start : start + piece]]

    return batches()


async def never_held() -> bool:
    """The catalog is not from the past."""
    return False


@asynccontextmanager
async def opened_inside(
    folder: Path, database: str = "", *, quota: int = MAX_QUOTA, trash_seconds: float = 0, limits: Limits | None = None
) -> AsyncIterator[Inside]:
    """The parts, recovered, as a server opens them."""
    url = database or f"sqlite:///{folder}/catalog.db"
    upgrade(url)
    catalog: Catalog = PostgresCatalog(url) if database else SqliteCatalog(f"{folder}/catalog.db")
    clock = Clock()
    blobs = BlobStore(
        LocalDriver(str(folder)), clock, limits or Limits(2000, reserve_bytes=1, reserve_share=0), threads=8
    )
    try:
        await recover_staging(catalog, blobs)

        def furnish(tx: Transaction) -> Principal:
            home = projects.find(tx, "default") or projects.add(tx, "default", quota, START)
            projects.add_bucket(tx, home, BUCKET, START)
            projects.count_reserved_anew(tx)
            account = accounts.find(tx, "ann") or accounts.add(tx, Kind.USER, "ann", START)
            accounts.set_role(tx, account.id, home.id, Role.MAINTAINER)
            return principal_of(tx, account)

        principal = await catalog.write(furnish)
        objects = Objects(blobs, catalog, clock)
        uploads = Uploads(objects, blobs, catalog, clock)
        yield Inside(
            folder, clock, catalog, blobs, objects, uploads, Collector(catalog, blobs, clock, 0, never_held),
            Expiry(catalog, uploads, clock, trash_seconds), principal,
        )  # fmt: skip
    finally:
        await catalog.close()
        blobs.close()
