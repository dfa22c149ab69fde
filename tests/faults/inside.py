"""A server's parts in this process, wired as it wires them, without its socket; its jobs run when the test says so."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrepot.catalog.database import Catalog
from entrepot.lifetime import first_admin, opened
from entrepot.model import Body, Claims, Facts, FileSpan, ObjectName, Piece, Span, StoredObject
from entrepot.principals import Principal
from entrepot.server import Server
from entrepot.services.objects import Objects
from entrepot.services.uploads import Uploads
from entrepot.settings import Settings
from entrepot.storage.blobs import BlobStore

BUCKET = "bucket"
INLINE_BYTES = 2000
"""More than that lies in a file."""


@dataclass(frozen=True)
class Inside:
    """The parts, and an admin to use them."""

    server: Server
    principal: Principal

    @property
    def catalog(self) -> Catalog:
        return self.server.catalog

    @property
    def blobs(self) -> BlobStore:
        return self.server.blobs

    @property
    def objects(self) -> Objects:
        return self.server.api.objects

    @property
    def uploads(self) -> Uploads:
        return self.server.api.uploads

    async def job(self, name: str) -> dict[str, int]:
        """One round of that job, now; its counts."""
        (work,) = (job.work for job in self.server.runner.jobs if job.name == name)
        return await work()

    async def put(self, key: str, data: bytes) -> StoredObject:
        """The object."""
        name = ObjectName(BUCKET, key)
        stored, _ = await self.objects.put(self.principal, name, body_of(data), Claims(len(data)), Facts())
        return stored

    async def read(self, key: str) -> bytes:
        """All its bytes, as they lie there. Raises: NotFound."""
        _, blob = await self.objects.find(self.principal, ObjectName(BUCKET, key))
        found = await self.objects.keeping.open(blob, Span())
        if isinstance(found.delivery, bytes):
            return found.delivery
        assert isinstance(found.delivery, FileSpan)
        try:
            return os.pread(found.delivery.descriptor, blob.size + 1, 0)
        finally:
            found.close()

    async def delete(self, key: str) -> StoredObject | None:
        """What it was."""
        return (await self.objects.names.delete(self.principal, ObjectName(BUCKET, key))).removed

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the catalog, past all our queries."""
        return await self.catalog.read(lambda tx: list(tx._connection.execute(sql).fetchall()))


def body_of(data: bytes, piece: int = 40_000) -> Body:
    """A body in batches."""

    async def batches() -> AsyncIterator[list[Piece]]:
        for start in range(0, len(data), piece):
            await asyncio.sleep(0)
            yield [data[start : start + piece]]

    return batches()


async def no_provider(url: str, token: str | None) -> dict[str, Any]:
    """Nobody else is asked."""
    raise AssertionError(url)


@asynccontextmanager
async def opened_inside(folder: Path, database: str = "", **more: Any) -> AsyncIterator[Inside]:
    """The parts over that folder, recovered; garbage and trash have no grace."""
    folder.mkdir(exist_ok=True)
    settings = Settings(
        data=str(folder), db=database, inline_bytes=INLINE_BYTES, reserve_bytes=1, trash_days=0, remove_grace_seconds=0,
        **more,
    )  # fmt: skip
    async with opened(settings, bytes(32), no_provider) as server:
        token = folder / "token"
        if not token.exists():
            minted = await first_admin(server)
            assert minted
            token.write_text(minted.text)
        principal = await server.identity.of_token(token.read_text())
        await server.api.projects.put_bucket(principal, BUCKET, None, public=None)
        yield Inside(server, principal)
