"""The catalog on SQLite: one thread writes, in groups; readers stand beside it.

The thread takes whatever waits, runs it in one transaction, commits once (WAL, FULL), and only then answers. A job that
is refused after it changed something makes the group run again, each job in a savepoint of its own.
A commit that fails with an I/O error has an unknown outcome: the process ends and recovers at its next start.
"""

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from entrepot.catalog.database import Job, LostRace, T, Transaction
from entrepot.errors import Busy, DiskFull
from entrepot.failpoints import failpoint

BATCH: Final = 256
TRIES: Final = 5
DIALECT: Final = sqlite_dialect(paramstyle="named")
_log = logging.getLogger("entrepot.catalog")

# These concern the file, not the job that met them.
_BROKEN: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOMEM}

Waiting = tuple[Job[Any], asyncio.Future[Any]]
Answer = tuple[asyncio.Future[Any], Any, BaseException | None]


def _give_up(error: Exception) -> None:
    _log.critical("the catalog could not commit; its outcome is unknown, so the server ends", exc_info=error)
    os._exit(74)


class SqliteCatalog:
    """A catalog in one file. One process at a time: the caller holds the lock of the data folder."""

    def __init__(self, path: str, *, on_lost: Callable[[Exception], None] = _give_up, readers: int = 4) -> None:
        self._path = path
        self._on_lost = on_lost
        self._jobs: queue.SimpleQueue[tuple[Job[Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="catalog-writer", daemon=True)
        self._opened: list[sqlite3.Connection] = []
        self._local = threading.local()
        self._readers = ThreadPoolExecutor(readers, "catalog-reader")
        self._connection = connect(path)
        self._writer.start()

    async def write(self, job: Job[T]) -> T:
        """As `Catalog.write`."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((job, future))
        return await future

    async def read(self, job: Job[T]) -> T:
        """As `Catalog.read`."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, job)

    async def probe(self, job: Job[T]) -> T:
        """As `Catalog.probe`: here, at once, on the event loop."""
        return self._read(job)

    async def close(self) -> None:
        """As `Catalog.close`; the log is folded into the file, so that a copy of it is whole."""
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        self._readers.shutdown()
        for reader in self._opened:
            reader.close()
        failpoint("checkpoint.starting")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def _read(self, job: Job[T]) -> T:
        transaction: Transaction | None = getattr(self._local, "transaction", None)
        if transaction is None:
            reader = sqlite3.connect(
                f"file:{quote(self._path)}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=10
            )
            reader.execute("PRAGMA wal_autocheckpoint=0")
            reader.execute("PRAGMA cache_size=-32768")
            self._opened.append(reader)
            transaction = self._local.transaction = Transaction(reader, DIALECT)
        return job(transaction)

    def _write_all(self) -> None:
        running = True
        while running:
            waiting = [self._jobs.get()]
            while len(waiting) < BATCH and not self._jobs.empty():
                waiting.append(self._jobs.get())
            running = None not in waiting
            jobs = [item for item in waiting if item is not None]
            if jobs:
                self._answer(self._write_group(jobs))

    def _write_group(self, jobs: list[Waiting]) -> list[Answer]:
        """One transaction for all of them; the answers, to be given when it is safe."""
        try:
            answers = self._run_together(jobs) or self._run_apart(jobs)
            failpoint("catalog.committing")
            self._connection.execute("COMMIT")
            failpoint("catalog.committed")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            refusal = _refusal(error)
            if refusal is None:
                self._on_lost(error)
            return [(future, None, refusal or error) for _, future in jobs]
        except OSError as error:
            self._on_lost(error)
            return [(future, None, error) for _, future in jobs]
        return answers

    def _run_together(self, jobs: list[Waiting]) -> list[Answer] | None:
        """The answers, if no job failed after it had changed something: the usual case, at two statements less each."""
        self._connection.execute("BEGIN IMMEDIATE")
        answers: list[Answer] = []
        for job, future in jobs:
            changes = self._connection.total_changes
            try:
                answers.append((future, job(Transaction(self._connection, DIALECT)), None))
            except Exception as error:
                lost = isinstance(error, sqlite3.Error | LostRace)
                if lost or self._connection.total_changes != changes:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    return None
                answers.append((future, None, error))
        return answers

    def _run_apart(self, jobs: list[Waiting]) -> list[Answer]:
        """The same jobs again, each in a savepoint, so that a refused one takes only its own changes back."""
        self._connection.execute("BEGIN IMMEDIATE")
        return [self._run_one(job, future) for job, future in jobs]

    def _run_one(self, job: Job[Any], future: asyncio.Future[Any]) -> Answer:
        transaction = Transaction(self._connection, DIALECT)
        for _ in range(TRIES):
            self._connection.execute("SAVEPOINT job")
            try:
                result = job(transaction)
            except (sqlite3.IntegrityError, LostRace):
                self._connection.execute("ROLLBACK TO job")
            except Exception as error:
                if isinstance(error, sqlite3.Error) and _primary_code(error) in _BROKEN:
                    raise
                self._connection.execute("ROLLBACK TO job")
                return future, None, error
            else:
                return future, result, None
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("RELEASE job")
        return future, None, Busy("too many changes to the same name at once")

    @staticmethod
    def _answer(answers: list[Answer]) -> None:
        def resolve() -> None:
            for future, result, error in answers:
                if future.cancelled():
                    continue
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)

        loop = answers[0][0].get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(resolve)


def _refusal(error: sqlite3.Error) -> Exception | None:
    """What failed for certain, and why; None if nobody knows what became of it."""
    code = _primary_code(error)
    if code == sqlite3.SQLITE_FULL:
        return DiskFull("the catalog's disk is full")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy("another program holds the catalog")
    return None


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def connect(path: str) -> sqlite3.Connection:
    """The writing connection: WAL, synchronous FULL, foreign keys."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10, cached_statements=512)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-65536"):
        connection.execute(f"PRAGMA {pragma}")
    return connection
