"""Many at once on the same few bytes and names, the collector among them: whole versions, no promise broken."""

import asyncio
import hashlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from entrepot.catalog import blobs, projects
from entrepot.catalog.database import Transaction
from entrepot.errors import BodyCut, Busy, Conflict, EntrepotError, NotFound, QuotaExceeded
from entrepot.model import Algorithm, Body, Claims, Condition, Digest, Facts, ObjectName, Piece
from entrepot.services.uploads import Session, Uploads, Wish
from entrepot.storage.local import LocalStaging
from tests.faults.inside import BUCKET, Inside, body_of, opened_inside
from tests.running import new_postgres

SIZE = 9_000
"""Kept in files: the stores here keep up to 2,000 bytes in the catalog."""


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Empty for SQLite in the folder."""
    if request.param == "sqlite":
        yield ""
        return
    with new_postgres(request.getfixturevalue("postgres_url")) as url:
        yield url


@pytest.fixture
async def inside(tmp_path: Path, database: str) -> AsyncIterator[Inside]:
    async with opened_inside(tmp_path, database) as made:
        yield made


def hex_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def check_whole(inside: Inside) -> None:
    """Every row's bytes are there and right, quota and references are those of the names, nothing waits in staging."""
    for row in await inside.rows("SELECT digest FROM blob WHERE state = 'present'"):
        digest = Digest(str(row[0]))

        blob = await inside.catalog.read(partial(blobs.find, digest=digest))
        assert blob
        assert await inside.blobs.check(blob)
    assert await inside.rows("SELECT count(*) FROM blob WHERE state = 'quarantined'") == [(0,)]
    assert list(inside.blobs.driver.staged()) == []
    live = await inside.rows("SELECT count(*), CAST(coalesce(sum(size), 0) AS BIGINT) FROM object")
    assert await inside.rows("SELECT objects, used FROM project") == live
    assert await inside.rows("SELECT reserved FROM project") == [(0,)]
    assert await inside.rows("SELECT count(*) FROM upload WHERE state <> 'done'") == [(0,)]
    owners = "SELECT version FROM object UNION SELECT version FROM object_version"
    lost = await inside.rows(f"SELECT count(*) FROM reference WHERE owner_id NOT IN ({owners})")
    assert lost == [(0,)], "references without an owner keep bytes for ever"


async def collect_until(inside: Inside, done: asyncio.Event) -> Counter[str]:
    """Expiry and collector without a pause; what they counted."""
    counts: Counter[str] = Counter()
    while not done.is_set():
        counts.update(await inside.job("expire"))
        counts.update(await inside.job("collect"))
        await asyncio.sleep(0)
    return counts


async def beside_collectors(inside: Inside, work: list[Awaitable[None]]) -> Counter[str]:
    """What two collectors did while the work ran."""
    done = asyncio.Event()
    collectors = [asyncio.create_task(collect_until(inside, done)) for _ in range(2)]
    try:
        await asyncio.gather(*work)
    finally:
        done.set()
        counts = await asyncio.gather(*collectors)
    return counts[0] + counts[1]


@pytest.mark.parametrize("rounds", [25, pytest.param(400, marks=pytest.mark.slow)])
async def test_what_was_acknowledged_is_there_while_collectors_run_beside(inside: Inside, rounds: int) -> None:
    bodies = [os.urandom(SIZE) for _ in range(3)] + [os.urandom(100)]

    async def churn(number: int) -> None:
        chance, key = random.Random(number), f"own-{number}"
        for _ in range(rounds):
            data = chance.choice(bodies)
            await inside.put(key, data)
            assert await inside.read(key) == data
            if chance.random() < 0.7:
                removed = await inside.delete(key)
                assert removed
                assert removed.digest.hex == hex_of(data)
                with pytest.raises(NotFound):
                    await inside.read(key)

    counts = await beside_collectors(inside, [churn(number) for number in range(8)])
    assert counts["removed"] > rounds // 5, "the race was none"
    await check_whole(inside)


async def test_who_was_told_the_bytes_are_here_can_name_them_while_collectors_run(inside: Inside) -> None:
    bodies = [os.urandom(SIZE) for _ in range(3)]
    digests = [Digest(hex_of(data)) for data in bodies]
    told = Counter[str]()

    async def churn(number: int) -> None:
        chance = random.Random(number)
        for _ in range(25):
            await inside.put(f"own-{number}", chance.choice(bodies))
            await asyncio.sleep(0)
            await inside.delete(f"own-{number}")

    async def ask(number: int) -> None:
        chance, key = random.Random(100 + number), f"told-{number}"
        for turn in range(25):
            digest = chance.choice(digests)
            holder, until = f"short:{number}:{turn}", time.time() + 0.2

            def tell(tx: Transaction, digest: Digest = digest, holder: str = holder, until: float = until) -> bool:
                if blobs.find(tx, digest) is None:
                    return False
                blobs.hold(tx, digest)
                blobs.take_lease(tx, digest, holder, until)
                return True

            if not await inside.catalog.write(tell):
                told["absent"] += 1
                continue
            told["here"] += 1
            await asyncio.sleep(0.001)  # another commit or two of the others
            wish = Wish(ObjectName(BUCKET, key), Facts(), SIZE, digest)
            begun = await inside.uploads.begin(inside.principal, wish)
            if not isinstance(begun, Session):
                assert begun.digest == digest
                assert await inside.read(key) == bodies[digests.index(digest)]
                await inside.delete(key)
            else:  # nobody we may read it by has it now: the lease is not ours
                await inside.uploads.discard(begun.id)
            here = await inside.catalog.read(partial(blobs.find, digest=digest))
            if time.time() < until:
                assert here, "told present, then gone"
                told["kept"] += 1

    await beside_collectors(inside, [*(churn(number) for number in range(4)), *(ask(number) for number in range(4))])
    assert told["kept"] > 10
    await check_whole(inside)


async def test_readers_of_one_name_see_only_whole_versions(inside: Inside) -> None:
    seen = Counter[str]()
    versions = {hex_of(data): data for data in (os.urandom(SIZE + number) for number in range(40))}
    await inside.put("one", next(iter(versions.values())))
    writing = True

    async def write(mine: list[bytes]) -> None:
        for data in mine:
            await inside.put("one", data)

    async def read() -> None:
        while writing:
            data = await inside.read("one")
            assert hex_of(data) in versions
            seen[hex_of(data)] += 1

    everything = list(versions.values())
    readers = [asyncio.create_task(read()) for _ in range(8)]
    await asyncio.gather(*(write(everything[number::8]) for number in range(8)))
    writing = False
    await asyncio.gather(*readers)
    assert len(seen) > 1
    assert await inside.rows("SELECT count(*) FROM object_version") == [(len(versions),)]
    await check_whole(inside)


async def test_the_first_versions_of_a_name_put_at_once_are_counted_once(inside: Inside) -> None:
    for turn in range(5):
        await asyncio.gather(*(inside.put(f"new-{turn}", os.urandom(SIZE + number)) for number in range(8)))
    assert await inside.rows("SELECT count(*) FROM object_version") == [(35,)]
    await check_whole(inside)


async def test_names_put_and_deleted_by_many_at_once_are_counted_right(inside: Inside) -> None:
    ends = Counter[str]()

    async def churn(number: int) -> None:
        chance = random.Random(number)
        for _ in range(20):
            try:
                if chance.random() < 0.5:
                    await inside.put("shared", os.urandom(100))
                else:
                    await inside.delete("shared")
                ends["done"] += 1
            except Busy:
                ends["busy"] += 1

    await asyncio.gather(*(churn(number) for number in range(8)))
    assert ends["done"] > ends["busy"]
    await check_whole(inside)


async def test_of_many_that_want_a_new_name_only_one_gets_it(inside: Inside) -> None:
    for turn in range(5):
        puts = [
            inside.objects.put(
                inside.principal, ObjectName(BUCKET, f"only-{turn}"), body_of(os.urandom(SIZE)), Claims(SIZE), Facts(),
                Condition(absent=True),
            )
            for _ in range(8)
        ]  # fmt: skip
        ends = await asyncio.gather(*puts, return_exceptions=True)
        assert sum(not isinstance(end, BaseException) for end in ends) == 1
        assert all(isinstance(end, Conflict) for end in ends if isinstance(end, BaseException))
    await check_whole(inside)


async def test_the_same_bytes_from_32_at_once_are_kept_once_whoever_gives_up(inside: Inside) -> None:
    data = os.urandom(200_000)

    async def cut() -> AsyncIterator[list[Piece]]:
        yield [data[:100_000]]
        await asyncio.sleep(0.01)
        raise BodyCut("gone")

    async def put(number: int) -> None:
        body: Body = cut() if number == 7 else body_of(data)
        claims = Claims(len(data), {Algorithm.SHA256: hex_of(data)})
        await inside.objects.put(inside.principal, ObjectName(BUCKET, f"same-{number}"), body, claims, Facts())

    ends = await asyncio.gather(*(put(number) for number in range(32)), return_exceptions=True)
    assert [number for number, end in enumerate(ends) if end] == [7]
    assert isinstance(ends[7], BodyCut)
    assert len(list(inside.blobs.driver.keys())) == 1
    for number in set(range(32)) - {7}:
        assert await inside.read(f"same-{number}") == data
    await check_whole(inside)


async def test_a_quota_raced_by_32_is_never_passed_and_all_of_it_can_be_used(inside: Inside) -> None:
    def set_quota(tx: Transaction) -> None:
        projects.set_quota(tx, projects.known(tx, "default").id, 10 * SIZE)

    await inside.catalog.write(set_quota)
    puts = [inside.put(f"greedy-{number}", os.urandom(SIZE)) for number in range(32)]
    ends = await asyncio.gather(*puts, return_exceptions=True)
    refused = [end for end in ends if isinstance(end, BaseException)]
    assert all(isinstance(end, QuotaExceeded) for end in refused)
    assert 1 <= 32 - len(refused) <= 10
    for number in range(11 - (32 - len(refused))):
        with suppress(QuotaExceeded):
            await inside.put(f"late-{number}", os.urandom(SIZE))
    assert await inside.rows("SELECT used FROM project") == [(10 * SIZE,)]
    with pytest.raises(QuotaExceeded):
        await inside.put("one-more", b"x")
    await check_whole(inside)


async def open_upload(inside: Inside, key: str, size: int) -> str:
    begun = await inside.uploads.begin(inside.principal, Wish(ObjectName(BUCKET, key), Facts(), size))
    assert isinstance(begun, Session)
    return begun.id


async def test_a_commit_sent_twice_at_once_ends_in_one_object(inside: Inside) -> None:
    data = os.urandom(SIZE)
    for turn in range(20):
        upload = await open_upload(inside, f"twice-{turn}", SIZE)
        await inside.uploads.write(upload, 0, body_of(data), None, SIZE)
        ends = await asyncio.gather(*(inside.uploads.commit(upload, SIZE, None) for _ in range(2)))
        assert any(end.object for end in ends)
        assert await inside.read(f"twice-{turn}") == data
    assert await inside.rows("SELECT count(*) FROM object_version") == [(0,)]
    assert list(inside.blobs.driver.staged()) == []


async def test_an_upload_that_is_aborted_while_it_is_committed_is_refused_or_stored(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, look = os.urandom(SIZE), Uploads._still_may
    upload = await open_upload(inside, "aborted", SIZE)
    await inside.uploads.write(upload, 0, body_of(data), None, SIZE)
    looking, go_on = threading.Event(), threading.Event()

    def slow_look(self: Uploads, *args: Any) -> Any:
        looking.set()
        go_on.wait(10)
        return look(self, *args)

    monkeypatch.setattr(Uploads, "_still_may", slow_look)
    committing = asyncio.create_task(inside.uploads.commit(upload, SIZE, None))
    assert await asyncio.to_thread(looking.wait, 10)
    with suppress(EntrepotError):
        await inside.uploads.discard(upload)
    go_on.set()
    try:
        stored = (await committing).object
    except EntrepotError:
        stored = None
    if stored:
        assert await inside.read("aborted") == data
    assert list(inside.blobs.driver.staged()) == []
    await check_whole(inside)


@pytest.mark.parametrize("rounds", [40, pytest.param(1000, marks=pytest.mark.slow)])
async def test_two_writers_of_one_upload_never_leave_bytes_under_a_digest_that_is_not_theirs(
    inside: Inside, rounds: int
) -> None:
    size = 120_000
    for turn in range(rounds):
        upload = await open_upload(inside, f"both-{turn}", size)
        bodies = [bytes([number]) * size for number in (1, 2)]

        async def send(data: bytes, upload: str = upload) -> None:
            with suppress(EntrepotError):
                await inside.uploads.write(upload, 0, body_of(data, 20_000), None, size)
                await inside.uploads.commit(upload, size, Digest(hex_of(data)))

        await asyncio.gather(*(send(data) for data in bodies))
        with suppress(NotFound):
            stored, blob = await inside.objects.find(inside.principal, ObjectName(BUCKET, f"both-{turn}"))
            assert await inside.blobs.check(blob), "the bytes are not those of their digest"
            assert stored.digest == blob.digest
        with suppress(NotFound):
            await inside.uploads.discard(upload)


async def test_a_writer_that_is_late_cannot_change_what_was_hashed(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second writer looks before the first has landed, and writes after it was hashed."""
    size = 50_000
    upload = await open_upload(inside, "late", size)
    right, wrong = b"r" * size, b"w" * (size // 2)
    writing, write = threading.Event(), LocalStaging.write

    def slow_write(self: LocalStaging, offset: int, pieces: Sequence[Piece]) -> int:
        if pieces[0] == wrong:
            writing.set()
            time.sleep(0.2)
        return write(self, offset, pieces)

    async def late() -> AsyncIterator[list[Piece]]:
        yield [wrong]
        raise BodyCut("gone")

    monkeypatch.setattr(LocalStaging, "write", slow_write)
    second = asyncio.create_task(inside.uploads.write(upload, 0, late(), None, size))
    assert await asyncio.to_thread(writing.wait, 10)
    with suppress(EntrepotError):
        await inside.uploads.write(upload, 0, body_of(right), None, size)
    with pytest.raises(BodyCut):
        await second
    try:
        await inside.uploads.commit(upload, size, Digest(hex_of(right)))
    except EntrepotError:
        return
    _, blob = await inside.objects.find(inside.principal, ObjectName(BUCKET, "late"))
    assert await inside.blobs.check(blob), "the bytes are not those of their digest"
