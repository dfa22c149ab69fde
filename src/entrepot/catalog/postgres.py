"""The catalog on PostgreSQL 15 or newer: READ COMMITTED, one transaction a job, lost races run again."""

import asyncio
import random
import time
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import psycopg
from psycopg import errors
from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect

from entrepot.catalog.database import Job, LostRace, T, Transaction
from entrepot.errors import Busy, DiskFull
from entrepot.failpoints import failpoint

TRIES: Final = 5
DIALECT: Final = psycopg_dialect()  # type: ignore[no-untyped-call]
_LOST_RACE: Final = (LostRace, errors.IntegrityError, errors.SerializationFailure, errors.DeadlockDetected)


class PostgresCatalog:
    """A catalog in a PostgreSQL database, `postgresql+psycopg://…`; any number of processes."""

    def __init__(self, url: str, *, connections: int = 8) -> None:
        self._engine = create_engine(url, pool_size=connections, max_overflow=0, pool_pre_ping=True)
        self._threads = ThreadPoolExecutor(connections, "catalog")

    async def write(self, job: Job[T], *, slow: bool = False) -> T:
        """As `Catalog.write`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._write, job)

    async def read(self, job: Job[T]) -> T:
        """As `Catalog.read`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, job)

    async def probe(self, job: Job[T], *, key: Hashable = None) -> T:
        """As `Catalog.probe`."""
        return await self.read(job)

    async def close(self) -> None:
        """As `Catalog.close`."""
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()

    def _write(self, job: Job[T]) -> T:
        for attempt in range(TRIES):
            try:
                return self._run(job, writing=True)
            except _LOST_RACE:
                time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 jitter, not a secret
            except errors.DiskFull as error:
                raise DiskFull("the catalog's disk is full") from error
        raise Busy("too many changes to the same name at once")

    def _run(self, job: Job[T], *, writing: bool = False) -> T:
        pooled = self._engine.raw_connection()
        try:
            connection: psycopg.Connection[Any] = pooled.driver_connection  # type: ignore[assignment]
            result = job(Transaction(connection, DIALECT))
            if writing:
                failpoint("catalog.committing")
                connection.commit()
                failpoint("catalog.committed")
            else:
                connection.rollback()
            return result
        finally:
            pooled.close()
