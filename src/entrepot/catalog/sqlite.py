"""The catalog on SQLite: writes in groups, one after the other; readers stand beside them.

A group is whatever waits: one transaction, one commit (WAL, FULL), and only then the answers. Jobs run on the event
loop, for the few statements of one cost less than handing the interpreter to another thread and back at each of them,
and for 5 ms at most; the commit, which waits for the disk, and groups that begin with a slow job run in a thread. A job
that is refused after it changed something makes the group run again, each job in a savepoint of its own.
A commit that fails with an I/O error has an unknown outcome: the process ends and recovers at its next start.
"""

import asyncio
import logging
import os
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from entrepot.catalog.database import Job, LostRace, T, Transaction
from entrepot.errors import Busy, DiskFull
from entrepot.failpoints import failpoint

BATCH: Final = 256
TURN_SECONDS: Final = 0.005
"""How long jobs run on the event loop before others have their turn."""
TRIES: Final = 5
MOST_KNOWN: Final = 1000
"""Answers to probes that are kept; each of up to 16 KiB, if it holds an inline blob."""
PATIENCE_SECONDS: Final = 10.0
"""How long another program may hold the catalog."""
DIALECT: Final = sqlite_dialect(paramstyle="named")
_log = logging.getLogger("entrepot.catalog")

# These concern the file, not the job that met them.
_BROKEN: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOMEM}

Answer = tuple[asyncio.Future[Any], Any, BaseException | None]


class Waiting(NamedTuple):
    """A job, who waits for it, and whether it may take milliseconds."""

    job: Job[Any]
    future: asyncio.Future[Any]
    slow: bool


@dataclass(slots=True)
class Group:
    """Jobs of one transaction, which is open from the first of them until its commit."""

    jobs: list[Waiting]
    answers: list[Answer] = field(default_factory=list)
    is_open: bool = False


def _give_up(error: Exception) -> None:
    _log.critical("the catalog could not commit; its outcome is unknown, so the server ends", exc_info=error)
    os._exit(74)


class SqliteCatalog:
    """A catalog in one file. One process at a time, whose caller holds the lock of the data folder; one event loop."""

    def __init__(
        self, path: str, *, on_lost: Callable[[Exception], None] = _give_up, readers: int = 4,
        patience: float = PATIENCE_SECONDS,
    ) -> None:  # fmt: skip
        self._path = path
        self._on_lost = on_lost
        self._patience = patience
        self._waiting: deque[Waiting] = deque()
        self._is_writing = self._is_closed = False
        self._known: dict[Hashable, Any] = {}
        self._idle: asyncio.Future[None] | None = None
        self._groups: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, Group] | None] = queue.SimpleQueue()
        self._committer = threading.Thread(target=self._commit_all, name="catalog-writer", daemon=True)
        self._opened: list[sqlite3.Connection] = []
        self._local = threading.local()
        self._readers = ThreadPoolExecutor(readers, "catalog-reader")
        self._connection = connect(path)
        self._wait_for_others(0)
        self._committer.start()

    async def write(self, job: Job[T], *, slow: bool = False) -> T:
        """As `Catalog.write`."""
        if self._is_closed:
            raise RuntimeError("the catalog is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append(Waiting(job, future, slow))
        if not self._is_writing:
            self._is_writing = True
            loop.call_soon(self._begin, loop)  # what else comes in this turn of the loop joins the group
        return await future

    async def read(self, job: Job[T]) -> T:
        """As `Catalog.read`."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, job)

    async def probe(self, job: Job[T], *, key: Hashable = None) -> T:
        """As `Catalog.probe`: here, at once, on the event loop; or what the same key gave since the last write."""
        if key is None:
            return self._read(job)
        if key not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[key] = self._read(job)
        found: T = self._known[key]
        return found

    async def close(self) -> None:
        """As `Catalog.close`; the log is folded into the file, so that a copy of it is whole."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._is_writing:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        self._groups.put(None)
        await asyncio.to_thread(self._committer.join)
        self._readers.shutdown()
        for reader in self._opened:
            reader.close()
        failpoint("checkpoint.starting")
        self._wait_for_others(self._patience)
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def _wait_for_others(self, seconds: float) -> None:
        """From now on so long, if another program holds the catalog: on the event loop, not at all."""
        self._connection.execute(f"PRAGMA busy_timeout={int(seconds * 1000)}")

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
        """On the event loop: the next group. Its jobs run here, if they are quick; the thread does the rest."""
        if not self._waiting:
            self._is_writing = False
            if self._idle is not None and not self._idle.done():
                self._idle.set_result(None)
            return
        group = Group([])
        if not self._next_is_quick() or not self._open(group):
            group.jobs += [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        else:
            stop = time.perf_counter() + TURN_SECONDS
            while self._next_is_quick() and len(group.jobs) < BATCH:
                group.jobs.append(self._waiting.popleft())
                if not self._run(group, len(group.answers)) or time.perf_counter() > stop:
                    break
        self._groups.put((loop, group))

    def _next_is_quick(self) -> bool:
        return bool(self._waiting) and not self._waiting[0].slow

    def _end(self, loop: asyncio.AbstractEventLoop, answers: list[Answer]) -> None:
        """On the event loop: answer, and begin the next group. Nobody was told of what is written before this."""
        self._known.clear()
        try:
            for future, result, error in answers:
                if future.cancelled():
                    continue
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)
        finally:
            self._begin(loop)

    def _commit_all(self) -> None:
        """The thread."""
        while found := self._groups.get():
            loop, group = found
            if not group.answers:
                self._run_patiently(group)
            self._commit(group)
            try:
                loop.call_soon_threadsafe(self._end, loop, group.answers)
            except RuntimeError:  # the loop is closed, and with it whoever waited
                self._is_writing = False

    def _open(self, group: Group) -> bool:
        """Whether its transaction has begun."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("SAVEPOINT jobs")
        except sqlite3.Error:
            self._roll_back()
            return False
        group.is_open = True
        return True

    def _run_patiently(self, group: Group) -> None:
        """In the thread: all its jobs, however long they take and others hold the catalog."""
        try:
            self._wait_for_others(self._patience)
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("SAVEPOINT jobs")
            self._wait_for_others(0)
        except sqlite3.Error as error:
            self._take_back(group, error)
            return
        group.is_open = True
        self._run(group, 0)

    def _run(self, group: Group, first: int) -> bool:
        """Run the jobs from that one on: all together, or if one spoils that, each by itself, and then False."""
        try:
            if self._run_together(group, first):
                return True
            group.answers[:] = [self._run_one(one.job, one.future) for one in group.jobs]
        except Exception as error:
            self._take_back(group, error)
        return False

    def _commit(self, group: Group) -> None:
        if not group.is_open:
            return
        try:
            failpoint("catalog.committing")
            self._connection.execute("COMMIT")
            failpoint("catalog.committed")
        except (sqlite3.Error, OSError) as error:
            self._take_back(group, error)

    def _take_back(self, group: Group, error: Exception) -> None:
        """Nothing of the group happened; unless nobody knows, and then the process ends."""
        self._roll_back()
        group.is_open = False
        refusal = _refusal(error)
        if refusal is None:
            self._on_lost(error)
        group.answers[:] = [(one.future, None, refusal or error) for one in group.jobs]

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            self._wait_for_others(0)
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _run_together(self, group: Group, first: int) -> bool:
        """Whether all ran and none failed after it had changed something: the usual case, at two statements less each.

        If not, nothing has happened and the transaction is open.
        """
        for job, future, _ in group.jobs[first:]:
            changes = self._connection.total_changes
            try:
                group.answers.append((future, job(Transaction(self._connection, DIALECT)), None))
            except Exception as error:
                lost = isinstance(error, sqlite3.Error | LostRace) or not self._connection.in_transaction
                if lost or self._connection.total_changes != changes:
                    again = "ROLLBACK TO jobs" if self._connection.in_transaction else "BEGIN IMMEDIATE"
                    self._connection.execute(again)
                    return False
                group.answers.append((future, None, error))
        return True

    def _run_one(self, job: Job[Any], future: asyncio.Future[Any]) -> Answer:
        """A job in a savepoint, so that if it is refused it takes only its own changes back."""
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


def _refusal(error: Exception) -> Exception | None:
    """What failed for certain, and why; None if nobody knows what became of it."""
    code = _primary_code(error)
    if code == sqlite3.SQLITE_FULL:
        return DiskFull("the catalog's disk is full")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy("another program holds the catalog")
    return None


def _primary_code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def connect(path: str) -> sqlite3.Connection:
    """The writing connection: WAL, synchronous FULL, foreign keys."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10, cached_statements=512)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-65536"):
        connection.execute(f"PRAGMA {pragma}")
    return connection
