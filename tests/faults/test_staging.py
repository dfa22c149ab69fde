"""Resumable uploads inside: parts that overlap, rows that cannot be written, areas closed, lost or another's."""

import asyncio
import hashlib
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from entrepot.catalog import uploads as rows
from entrepot.catalog.database import Job, T
from entrepot.catalog.sqlite import SqliteCatalog
from entrepot.errors import Busy, Conflict, DiskFull, NotFound, PreconditionFailed, QuotaExceeded, UsageError
from entrepot.model import Body, Claims, Condition, Digest, Facts, ObjectName, Piece, Span
from entrepot.services import staging
from entrepot.services.uploads import Session, Wish
from tests.faults.inside import BUCKET, Inside, body_of, opened_inside

SIZE = 90_000


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    async with opened_inside(tmp_path / "data") as found:
        yield found


async def begin(inside: Inside, key: str = "a", size: int | None = SIZE, **more: Any) -> str:
    found = await inside.uploads.begin(inside.principal, Wish(ObjectName(BUCKET, key), Facts(), size, **more))
    assert isinstance(found, Session)
    return found.id


async def send(inside: Inside, upload: str, offset: int, data: bytes) -> rows.Piece:
    return await inside.uploads.write(upload, offset, body_of(data), None, len(data))


async def commit(inside: Inside, upload: str, data: bytes) -> Session:
    return await inside.uploads.commit(upload, len(data), Digest(hashlib.sha256(data).hexdigest()))


def paused(data: bytes, half_sent: asyncio.Event, go_on: asyncio.Event) -> Body:
    """A body that waits in its middle."""

    async def batches() -> AsyncIterator[list[Piece]]:
        yield [data[: len(data) // 2]]
        half_sent.set()
        await go_on.wait()
        yield [data[len(data) // 2 :]]

    return batches()


async def test_a_part_another_wrote_over_on_its_way_is_not_acknowledged(inside: Inside) -> None:
    upload = await begin(inside)
    old, new = os.urandom(SIZE), os.urandom(SIZE)
    half, go_on = asyncio.Event(), asyncio.Event()
    slow = asyncio.create_task(inside.uploads.write(upload, 0, paused(old, half, go_on), None, SIZE))
    await half.wait()
    await send(inside, upload, 0, new[:1000])
    go_on.set()
    with pytest.raises(Conflict):
        await slow
    assert [(one.start, one.stop) for one in (await inside.uploads.state(upload)).have] == [(0, 1000)]
    await send(inside, upload, 1000, new[1000:])
    assert (await commit(inside, upload, new)).object
    assert await inside.read("a") == new


async def test_parts_beside_each_other_do_not_spoil_each_other(inside: Inside) -> None:
    upload = await begin(inside)
    data = os.urandom(SIZE)
    half, go_on = asyncio.Event(), asyncio.Event()
    slow = asyncio.create_task(inside.uploads.write(upload, 0, paused(data[:40_000], half, go_on), None, 40_000))
    await half.wait()
    await send(inside, upload, 40_000, data[40_000:])
    go_on.set()
    await slow
    assert (await commit(inside, upload, data)).object


class Refusing(SqliteCatalog):
    """The next writes after `allowed` more are refused as a real one may be."""

    allowed = -1
    error: Exception = Busy("too many changes")

    async def write(self, job: Job[T], *, slow: bool = False) -> T:
        if self.allowed == 0:
            self.allowed = -1
            raise self.error
        self.allowed -= self.allowed > 0
        return await super().write(job, slow=slow)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("entrepot.lifetime.SqliteCatalog", Refusing)


def refuse(inside: Inside, after: int, error: Exception | None = None) -> None:
    assert isinstance(inside.catalog, Refusing)
    inside.catalog.allowed = after
    inside.catalog.error = error or Busy("too many changes")


@pytest.mark.usefixtures("refusing")
async def test_a_part_whose_row_was_refused_counts_only_when_it_is_sent_again(inside: Inside) -> None:
    upload = await begin(inside)
    data = os.urandom(SIZE)
    await send(inside, upload, 0, b"x" * 1000)
    refuse(inside, 0)
    with pytest.raises(Busy):
        await send(inside, upload, 1000, b"y" * 1000)
    with pytest.raises(Exception, match="holds 1000 bytes"):
        await commit(inside, upload, b"x" * 1000 + b"y" * 1000)
    await send(inside, upload, 0, data)
    assert (await commit(inside, upload, data)).object
    assert await inside.read("a") == data


@pytest.mark.usefixtures("refusing")
@pytest.mark.parametrize("error", [Busy("busy"), DiskFull("full"), QuotaExceeded("over")])
async def test_a_commit_refused_for_now_keeps_all_that_was_sent(
    inside: Inside, tmp_path: Path, error: Exception
) -> None:
    upload = await begin(inside)
    data = os.urandom(SIZE)
    await send(inside, upload, 0, data)
    refuse(inside, 1, error)  # the claim passes
    with pytest.raises(type(error)):
        await commit(inside, upload, data)
    found = await inside.uploads.state(upload)
    assert (found.state, [(one.start, one.stop) for one in found.have]) == ("open", [(0, SIZE)])
    assert (await commit(inside, upload, data)).object
    assert await inside.read("a") == data
    assert os.listdir(tmp_path / "data/staging") == []
    assert len(list((tmp_path / "data/blobs").glob("*/*"))) == 1


async def test_a_commit_refused_for_good_leaves_nothing(inside: Inside, tmp_path: Path) -> None:
    upload = await begin(inside, absent=True)
    data = os.urandom(SIZE)
    await send(inside, upload, 0, data)
    await inside.put("a", b"first")
    with pytest.raises(PreconditionFailed):
        await commit(inside, upload, data)
    with pytest.raises(NotFound):
        await inside.uploads.state(upload)
    assert os.listdir(tmp_path / "data/staging") == []
    assert list((tmp_path / "data/blobs").glob("*/*")) == []


async def test_a_commit_again_with_other_bytes_is_refused(inside: Inside) -> None:
    upload = await begin(inside)
    data = os.urandom(SIZE)
    await send(inside, upload, 0, data)
    first = await commit(inside, upload, data)
    assert await commit(inside, upload, data) == first
    with pytest.raises(Conflict):
        await commit(inside, upload, data[:-1])
    with pytest.raises(Conflict):
        await commit(inside, upload, bytes(SIZE))


def open_areas(data: Path) -> int:
    """Descriptors of this process that are staging areas there."""
    links = (os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd"))
    return sum(link.startswith(f"{data}/staging/") for link in links)


async def test_an_upload_costs_a_descriptor_only_while_it_is_used(
    inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "MOST_OPEN", 3)
    ids = [await begin(inside, f"many-{number}") for number in range(20)]
    assert os.listdir(tmp_path / "data/staging") == []
    data = [os.urandom(SIZE) for _ in ids]
    for half in (slice(0, SIZE // 2), slice(SIZE // 2, SIZE)):
        for upload, body in zip(ids, data, strict=True):
            await send(inside, upload, half.start, body[half])
        assert open_areas(tmp_path / "data") <= 3
    for upload, body in zip(ids, data, strict=True):
        assert (await commit(inside, upload, body)).object
    assert open_areas(tmp_path / "data") == 0


async def test_a_project_has_so_many_open_uploads_and_no_more(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_OPEN", 3)
    ids = [await begin(inside, f"many-{number}") for number in range(3)]
    with pytest.raises(QuotaExceeded):
        await begin(inside, "one more")
    await inside.put("at once", os.urandom(SIZE))
    await inside.uploads.discard(ids[0])
    await begin(inside, "one more")


async def test_an_upload_without_a_part_survives_a_restart_and_one_that_lost_them_does_not(tmp_path: Path) -> None:
    data = os.urandom(SIZE)
    async with opened_inside(tmp_path / "data") as inside:
        empty, lost = await begin(inside, "empty"), await begin(inside, "lost")
        await send(inside, lost, 0, data)
    (tmp_path / "data/staging" / lost).unlink()
    async with opened_inside(tmp_path / "data") as inside:
        await send(inside, empty, 0, data)
        assert (await commit(inside, empty, data)).object
        with pytest.raises(NotFound):
            await inside.uploads.state(lost)


async def test_bytes_hashed_before_a_restart_are_verified_when_they_are_first_read(tmp_path: Path) -> None:
    data = os.urandom(SIZE)
    async with opened_inside(tmp_path / "data") as inside:
        upload = await begin(inside)
        await send(inside, upload, 0, data[:50_000])
    async with opened_inside(tmp_path / "data") as inside:
        await send(inside, upload, 50_000, data[50_000:])
        await commit(inside, upload, data)
        _, blob = await inside.objects.find(inside.principal, ObjectName(BUCKET, "a"))
        opened = await inside.objects.keeping.open(blob, Span())
        opened.close()
        assert opened.must_hash
        await inside.put("b", data[1:])
        _, blob = await inside.objects.find(inside.principal, ObjectName(BUCKET, "b"))
        opened = await inside.objects.keeping.open(blob, Span())
        opened.close()
        assert not opened.must_hash


async def test_areas_of_uploads_that_are_no_more_are_swept_and_no_others(inside: Inside, tmp_path: Path) -> None:
    upload = await begin(inside)
    await send(inside, upload, 0, b"x" * 1000)
    staging = tmp_path / "data/staging"
    for stray in ("a" * 32, f"{'b' * 32}.1.c", f"{'d' * 32}.whole"):
        (staging / stray).write_bytes(b"stray")
    (staging / f"{upload}.2.e").write_bytes(b"of an upload that is open")
    assert await inside.job("sweep staging") == {"removed": 3}
    assert sorted(os.listdir(staging)) == sorted([upload, f"{upload}.2.e"])


async def test_another_stores_folder_is_refused(tmp_path: Path) -> None:
    data = os.urandom(SIZE)
    for name in ("one", "other"):
        async with opened_inside(tmp_path / name) as inside:
            await inside.put("a", data)
    for file in (tmp_path / "other").glob("catalog.db*"):
        shutil.copy(file, tmp_path / "one" / file.name)
    with pytest.raises(UsageError, match="another data folder"):
        async with opened_inside(tmp_path / "one"):
            pass
    shutil.rmtree(tmp_path / "other/blobs")
    with pytest.raises(UsageError, match="another data folder"):
        async with opened_inside(tmp_path / "other"):
            pass


async def test_another_program_that_holds_the_catalog_is_waited_for_and_then_told(tmp_path: Path) -> None:
    ended: list[Exception] = []
    path = str(tmp_path / "catalog.db")
    catalog = SqliteCatalog(path, on_lost=ended.append, patience=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy):
        await catalog.write(lambda tx: None)
    other.execute("COMMIT")
    other.close()
    assert await catalog.write(lambda tx: 1) == 1
    await catalog.close()
    assert ended == []


async def test_an_expired_name_is_gone_before_any_job_comes_by(inside: Inside) -> None:
    name, data = ObjectName(BUCKET, "over"), os.urandom(SIZE)
    digest = Digest(hashlib.sha256(data).hexdigest())
    await inside.objects.put(inside.principal, name, body_of(data), Claims(SIZE), Facts(expires_at=1.0))
    assert (await inside.objects.names.page(inside.principal, ObjectName(BUCKET, ""))).items == ()
    assert (await inside.objects.names.page(inside.principal, ObjectName(BUCKET, ""), delimiter="/")).items == ()
    with pytest.raises(NotFound):
        await inside.objects.find_digest(inside.principal, digest)
    with pytest.raises(NotFound):
        await inside.server.api.links.get(inside.principal, name, "http://host")
    await inside.objects.put(
        inside.principal, name, body_of(data), Claims(SIZE), Facts(), Condition(absent=True, overwrite=False)
    )
    assert await inside.read("over") == data


async def test_an_upload_whose_bytes_were_a_blob_without_a_name_when_the_process_died_is_open_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, numbered = os.urandom(SIZE), "SELECT state FROM upload WHERE id = "
    async with opened_inside(tmp_path / "data") as inside:
        upload = await begin(inside)
        await send(inside, upload, 0, data)

        async def dies(*_: Any) -> None:
            raise SystemExit

        write = type(inside.catalog).write
        assemble = type(inside.blobs).assemble

        def assembled(store: Any, *words: Any) -> Any:
            done = assemble(store, *words)
            monkeypatch.setattr(type(inside.catalog), "write", dies)
            return done

        monkeypatch.setattr(type(inside.blobs), "assemble", assembled)
        with pytest.raises(SystemExit):
            await commit(inside, upload, data)
        monkeypatch.undo()
        assert type(inside.catalog).write is write
        assert await inside.rows(f"{numbered}'{upload}'") == [("completing",)]
        assert os.listdir(tmp_path / "data/staging") == []
    async with opened_inside(tmp_path / "data") as inside:
        assert (await commit(inside, upload, data)).object
        assert await inside.read("a") == data
