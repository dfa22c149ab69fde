"""The catalog on SQLite: writes in groups, one after the other; readers stand beside them.

A group is whatever waits: one transaction, one commit (WAL, FULL), and only then the answers. Jobs run on the event
loop, for the few statements of one cost less than handing the interpreter to another thread and back at each of them;
the commit, which waits for the disk, and groups with a job of many rows run in a thread. A job that is refused after it
changed something makes the group run again, each job in a savepoint of its own.
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
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from entrepot.catalog.database import Job, LostRace, T, Transaction
from entrepot.errors import Busy, DiskFull
from entrepot.failpoints import failpoint

BATCH: Final = 64
"""Jobs in a group: what the event loop runs without a pause."""
TRIES: Final = 5
DIALECT: Final = sqlite_dialect(paramstyle="named")
_log = logging.getLogger("entrepot.catalog")

# These concern the file, not the job that met them.
_BROKEN: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOMEM}

PATIENCE_SECONDS: Final = 10.0
"""How long another program may hold the catalog."""

Waiting = tuple[Job[Any], asyncio.Future[Any], bool]
"""A job, who waits for it, and whether it changes many rows."""
Answer = tuple[asyncio.Future[Any], Any, BaseException | None]


def _give_up(error: Exception) -> None:
    _log.critical("the catalog could not commit; its outcome is unknown, so the server ends", exc_info=error)
    os._exit(74)


class Group(NamedTuple):
    """Jobs of one transaction, and their answers, if they have run."""

    loop: asyncio.AbstractEventLoop
    jobs: list[Waiting]
    answers: list[Answer] | None


class SqliteCatalog:
    """A catalog in one file. One process at a time: the caller holds the lock of the data folder."""

    def __init__(
        self, path: str, *, on_lost: Callable[[Exception], None] = _give_up, readers: int = 4,
        patience: float = PATIENCE_SECONDS,
    ) -> None:  # fmt: skip
        self._path = path
        self._on_lost = on_lost
        self._patience = patience
        self._waiting: list[Waiting] = []
        self._is_writing = False
        self._groups: queue.SimpleQueue[Group | None] = queue.SimpleQueue()
        self._committer = threading.Thread(target=self._commit_all, name="catalog-writer", daemon=True)
        self._opened: list[sqlite3.Connection] = []
        self._local = threading.local()
        self._readers = ThreadPoolExecutor(readers, "catalog-reader")
        self._connection = connect(path)
        self._connection.execute("PRAGMA busy_timeout=0")  # nothing is waited for on the event loop
        self._committer.start()

    async def write(self, job: Job[T], *, many: bool = False) -> T:
        """As `Catalog.write`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((job, future, many))
        if not self._is_writing:
            self._is_writing = True
            loop.call_soon(self._begin, loop)  # what else comes in this turn of the loop joins the group
        return await future

    async def read(self, job: Job[T]) -> T:
        """As `Catalog.read`."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, job)

    async def probe(self, job: Job[T]) -> T:
        """As `Catalog.probe`: here, at once, on the event loop."""
        return self._read(job)

    async def close(self) -> None:
        """As `Catalog.close`; the log is folded into the file, so that a copy of it is whole."""
        await self.write(lambda _: None)
        self._groups.put(None)
        await asyncio.to_thread(self._committer.join)
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

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the event loop: the next group. What cannot run here at once, the thread runs."""
        jobs, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        if not jobs:
            self._is_writing = False
            return
        is_here = not any(many for _, _, many in jobs) and self._is_free()
        self._groups.put(Group(loop, jobs, self._run(jobs) if is_here else None))

    def _is_free(self) -> bool:
        """Whether a transaction has begun; else another program holds the catalog."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True

    def _commit_all(self) -> None:
        """The thread: commit each group, then answer, and let the event loop begin the next."""
        while group := self._groups.get():
            answers = self._commit(
                group.jobs, self._run_patiently(group.jobs) if group.answers is None else group.answers
            )
            try:
                group.loop.call_soon_threadsafe(self._end, group.loop, answers)
            except RuntimeError:  # the loop is closed, and with it whoever waited
                self._is_writing = False

    def _end(self, loop: asyncio.AbstractEventLoop, answers: list[Answer]) -> None:
        for future, result, error in answers:
            if future.cancelled():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        self._begin(loop)

    def _run_patiently(self, jobs: list[Waiting]) -> list[Answer]:
        """As `_run`, in the thread, where another program is waited for."""
        try:
            self._connection.execute(f"PRAGMA busy_timeout={int(self._patience * 1000)}")
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            return self._taken_back(jobs, error)
        finally:
            self._connection.execute("PRAGMA busy_timeout=0")
        return self._run(jobs)

    def _run(self, jobs: list[Waiting]) -> list[Answer]:
        """All of them in the transaction that has begun; the answers, to be given when it is safe."""
        try:
            return self._run_together(jobs) or self._run_apart(jobs)
        except sqlite3.Error as error:
            return self._taken_back(jobs, error)

    def _commit(self, jobs: list[Waiting], answers: list[Answer]) -> list[Answer]:
        if not self._connection.in_transaction:
            return answers  # it was taken back
        try:
            failpoint("catalog.committing")
            self._connection.execute("COMMIT")
            failpoint("catalog.committed")
        except sqlite3.Error as error:
            return self._taken_back(jobs, error)
        except OSError as error:
            self._on_lost(error)
            return [(future, None, error) for _, future, _ in jobs]
        return answers

    def _taken_back(self, jobs: list[Waiting], error: sqlite3.Error) -> list[Answer]:
        """Nothing of the group happened, if that is known."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        refusal = _refusal(error)
        if refusal is None:
            self._on_lost(error)
        return [(future, None, refusal or error) for _, future, _ in jobs]

    def _run_together(self, jobs: list[Waiting]) -> list[Answer] | None:
        """The answers, if no job failed after it had changed something: the usual case, at two statements less each."""
        answers: list[Answer] = []
        for job, future, _ in jobs:
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
        return [self._run_one(job, future) for job, future, _ in jobs]

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
