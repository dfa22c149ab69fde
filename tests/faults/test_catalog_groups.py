"""How the catalog on SQLite writes: groups of jobs, quick ones on the event loop, each group all or nothing."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from entrepot.catalog.database import Query, Transaction
from entrepot.catalog.sqlite import BATCH, SqliteCatalog, connect
from entrepot.errors import Conflict

ADD = Query(text("INSERT INTO line (job, here) VALUES (:job, :here)"))
ALL = Query(text("SELECT job, here FROM line ORDER BY place"))
JOBS = 3 * BATCH + 1


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A database with one table."""
    made = connect(str(tmp_path / "catalog.db"))
    made.execute("CREATE TABLE line (place INTEGER PRIMARY KEY, job TEXT, here INTEGER)")
    made.close()
    return str(tmp_path / "catalog.db")


@pytest.fixture
def lost() -> list[Exception]:
    """Why the process would have ended."""
    return []


@pytest.fixture
async def catalog(path: str, lost: list[Exception]) -> AsyncIterator[SqliteCatalog]:
    made = SqliteCatalog(path, on_lost=lost.append, patience=5)
    yield made
    await made.close()


def adding(job: object, *, refused: bool = False, seconds: float = 0) -> Callable[[Transaction], object]:
    """A job that adds a row, which says whether it ran on the event loop."""

    def add(tx: Transaction) -> object:
        tx.run(ADD, job=str(job), here=int(threading.current_thread() is threading.main_thread()))
        time.sleep(seconds)
        if refused:
            raise Conflict("refused late")
        return job

    return add


async def jobs_of(catalog: SqliteCatalog) -> list[str]:
    return [job for job, _ in await catalog.read(lambda tx: tx.rows(ALL))]


async def longest_pause(seconds: float) -> float:
    """For how long nobody else had a turn."""
    longest, stop = 0.0, time.perf_counter() + seconds
    while (now := time.perf_counter()) < stop:
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - now)
    return longest


async def test_more_jobs_than_a_group_has_are_all_done_in_order(catalog: SqliteCatalog) -> None:
    done = await asyncio.gather(*(catalog.write(adding(job), slow=job % 7 == 3) for job in range(JOBS)))
    assert done == list(range(JOBS))
    assert await jobs_of(catalog) == [str(job) for job in range(JOBS)]


async def test_quick_jobs_run_on_the_event_loop_and_slow_ones_beside_it(catalog: SqliteCatalog) -> None:
    await catalog.write(adding("quick"))
    await catalog.write(adding("slow"), slow=True)
    assert await catalog.read(lambda tx: tx.rows(ALL)) == [("quick", 1), ("slow", 0)]


async def test_many_quick_jobs_leave_others_their_turn(catalog: SqliteCatalog) -> None:
    writing = [asyncio.create_task(catalog.write(adding(job, seconds=0.01))) for job in range(100)]
    assert await longest_pause(1.5) < 0.4  # together they take a second
    await asyncio.gather(*writing)
    assert len(await jobs_of(catalog)) == 100


async def test_a_job_refused_late_takes_only_its_own_changes_back(
    catalog: SqliteCatalog, lost: list[Exception]
) -> None:
    for slow in (False, True):
        done = await asyncio.gather(
            *(catalog.write(adding(job, refused=job % 3 == 1), slow=slow) for job in range(30)), return_exceptions=True
        )
        assert [isinstance(one, Conflict) for one in done] == [job % 3 == 1 for job in range(30)]
    assert await jobs_of(catalog) == [str(job) for _ in range(2) for job in range(30) if job % 3 != 1]
    assert lost == []


async def test_what_is_handed_in_before_the_end_is_done_and_later_is_refused(path: str) -> None:
    catalog = SqliteCatalog(path)
    writing = [asyncio.create_task(catalog.write(adding(job))) for job in range(JOBS)]
    await asyncio.sleep(0)
    await catalog.close()
    assert await asyncio.gather(*writing) == list(range(JOBS))
    with pytest.raises(RuntimeError, match="closed"):
        await catalog.write(adding("late"))
    await catalog.close()
    assert Path(f"{path}-wal").stat().st_size == 0 if Path(f"{path}-wal").exists() else True


async def test_a_cancelled_caller_spoils_nothing(catalog: SqliteCatalog) -> None:
    writing = [asyncio.create_task(catalog.write(adding(job))) for job in range(9)]
    await asyncio.sleep(0)
    writing[4].cancel()
    done = await asyncio.gather(*writing, return_exceptions=True)
    assert [job for job in done if isinstance(job, int)] == [0, 1, 2, 3, 5, 6, 7, 8]
    assert await catalog.write(adding("next")) == "next"


async def test_another_program_is_waited_for_beside_the_event_loop(catalog: SqliteCatalog, path: str) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(catalog.write(adding("patient")))
    assert await longest_pause(0.6) < 0.3
    assert not writing.done()
    other.execute("COMMIT")
    assert await writing == "patient"
    other.close()


async def test_short_writes_of_another_program_refuse_nobody(catalog: SqliteCatalog, path: str) -> None:
    stop = threading.Event()

    def interfere() -> None:
        other = sqlite3.connect(path, isolation_level=None, timeout=10)
        while not stop.is_set():
            other.execute("BEGIN IMMEDIATE")
            other.execute("COMMIT")
        other.close()

    thread = threading.Thread(target=interfere)
    thread.start()
    try:
        for _ in range(100):
            done = await asyncio.gather(
                catalog.write(adding("kept")), catalog.write(adding("no", refused=True)), return_exceptions=True
            )
            assert done[0] == "kept"
            assert isinstance(done[1], Conflict)
    finally:
        stop.set()
        thread.join()


async def test_a_transaction_that_sqlite_gave_up_is_told_to_nobody_as_done(
    catalog: SqliteCatalog, lost: list[Exception]
) -> None:
    """As at SQLITE_NOMEM, which ends the transaction under the job, and is no `sqlite3.Error`."""

    def hungry(tx: Transaction) -> None:
        tx._connection.execute("ROLLBACK")
        raise MemoryError

    done = await asyncio.gather(*(catalog.write(job) for job in (adding(1), hungry, adding(3))), return_exceptions=True)
    kept = await jobs_of(catalog)
    assert lost
    assert [one for one in done[:2] if not isinstance(one, Exception)] == []
    assert ("3" in kept) == (done[2] == 3)
    assert "1" not in kept


async def test_a_file_that_is_no_database_any_more_ends_the_process(path: str, lost: list[Exception]) -> None:
    catalog = SqliteCatalog(path, on_lost=lost.append)
    await catalog.write(adding("before"))
    catalog._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("INSERT INTO line (job) VALUES ('so that the first page is read again')")
    other.close()
    with Path(path).open("r+b") as file:
        file.write(b"X" * 100)
    for _ in range(2):
        with pytest.raises(sqlite3.DatabaseError):
            await asyncio.wait_for(catalog.write(adding("after")), 5)
    assert len(lost) == 2
    with suppress(sqlite3.DatabaseError):
        await asyncio.wait_for(catalog.close(), 5)


async def test_what_a_key_gave_serves_until_the_next_write(catalog: SqliteCatalog) -> None:
    ran = []

    def count(tx: Transaction) -> int:
        ran.append(1)
        return len(tx.rows(ALL))

    assert [await catalog.probe(count, key="rows") for _ in range(3)] == [0, 0, 0]
    assert len(ran) == 1
    for written in range(1, 4):
        await catalog.write(adding(written), slow=written == 2)
        assert [await catalog.probe(count, key="rows") for _ in range(2)] == [written, written]
    assert len(ran) == 4
    assert await catalog.probe(count) == 3
    assert len(ran) == 5


async def test_a_probe_that_is_refused_is_asked_again(catalog: SqliteCatalog) -> None:
    def refuse(_: Transaction) -> None:
        raise Conflict("not yet")

    with pytest.raises(Conflict):
        await catalog.probe(refuse, key="one")
    assert await catalog.probe(lambda _: 1, key="one") == 1
