"""Numbered parts that come late, twice or from before a restart: the object is what was acknowledged, or nothing is."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from entrepot.catalog.parts import Part
from entrepot.errors import NoUpload, QuotaExceeded
from entrepot.model import ALWAYS, Algorithm, Body, Claims, Facts, ObjectName, Piece, Span
from entrepot.services import placing
from entrepot.services.joining import Joined
from entrepot.services.placing import Placing
from entrepot.storage.assembly import Assembly
from tests.faults.inside import BUCKET, Inside, body_of, opened_inside

SIZE = 300_000
NAME = ObjectName(BUCKET, "k")


def data_of(number: int) -> bytes:
    return bytes([number]) * SIZE


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    async with opened_inside(tmp_path / "data") as found:
        yield found


async def begin(inside: Inside) -> str:
    facts = Facts(extra={"checksum": {"algorithm": "CRC32", "type": "FULL_OBJECT"}})
    return await inside.server.s3.multipart.multipart.begin(inside.principal, NAME, facts, Algorithm.CRC32)


async def put(inside: Inside, upload: str, number: int, data: bytes, body: Body | None = None) -> Part:
    parts = inside.server.s3.multipart.multipart
    claims = Claims(len(data))
    return await parts.put(inside.principal, NAME, upload, number, body or body_of(data), claims, frozenset())


async def complete(inside: Inside, upload: str, *numbers: int) -> None:
    def join(known: Sequence[Part]) -> tuple[list[Part], Joined]:
        chosen = [part for part in known if part.number in numbers]
        return chosen, Joined("etag", sum(part.size for part in chosen), {}, {})

    await inside.server.s3.multipart.joining.complete(inside.principal, NAME, upload, join, ALWAYS, "etag")


async def check(inside: Inside, want: bytes) -> None:
    """The object is these bytes, and its digest is theirs."""
    _, blob = await inside.objects.find(inside.principal, NAME)
    assert blob.digest.hex == hashlib.sha256(want).hexdigest()
    assert await inside.read("k") == want


def paused(data: bytes, half: asyncio.Event, go_on: asyncio.Event) -> Body:
    """A body that waits in its middle."""

    async def batches() -> AsyncIterator[list[Piece]]:
        yield [data[:1000]]
        half.set()
        await go_on.wait()
        yield [data[1000:]]

    return batches()


async def test_a_part_still_arriving_while_the_others_are_joined_comes_too_late(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, half, go_on = await begin(inside), asyncio.Event(), asyncio.Event()
    for number in (1, 2):
        await put(inside, upload, number, data_of(number))
    late = asyncio.create_task(put(inside, upload, 3, data_of(3), paused(data_of(3), half, go_on)))
    await half.wait()
    loop, assemble = asyncio.get_running_loop(), inside.blobs.assemble

    def slowly(*args: Any) -> Any:
        loop.call_soon_threadsafe(go_on.set)
        return assemble(*args)

    monkeypatch.setattr(type(inside.blobs), "assemble", lambda _self, *args: slowly(*args))
    await complete(inside, upload, 1, 2)
    with pytest.raises(NoUpload):
        await late
    await check(inside, data_of(1) + data_of(2))


async def test_an_old_try_of_a_part_never_writes_over_the_one_that_was_acknowledged(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, half, go_on = await begin(inside), asyncio.Event(), asyncio.Event()
    await put(inside, upload, 1, data_of(1))
    late = asyncio.create_task(put(inside, upload, 2, data_of(3), paused(data_of(3), half, go_on)))
    await half.wait()
    await put(inside, upload, 2, data_of(2))
    loop, copy = asyncio.get_running_loop(), placing._copy

    def slowly(*args: Any) -> None:
        copy(*args)
        loop.call_soon_threadsafe(go_on.set)

    monkeypatch.setattr(placing, "_copy", slowly)
    await complete(inside, upload, 1, 2)
    with pytest.raises(NoUpload):
        await late
    await check(inside, data_of(1) + data_of(2))


async def test_a_part_sent_thrice_over_a_restart_is_the_last_that_was_acknowledged(tmp_path: Path) -> None:
    async with opened_inside(tmp_path / "data") as inside:
        upload = await begin(inside)
        for number, data in ((1, data_of(1)), (2, data_of(7)), (2, data_of(8))):
            await put(inside, upload, number, data)
    async with opened_inside(tmp_path / "data") as inside:
        await put(inside, upload, 2, data_of(2))
        await complete(inside, upload, 1, 2)
        await check(inside, data_of(1) + data_of(2))
        assert os.listdir(tmp_path / "data/staging") == []


async def test_a_join_that_failed_can_be_tried_again_with_other_parts(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await begin(inside)
    for number in (1, 2, 3):
        await put(inside, upload, number, data_of(number))

    def fail(*_args: Any) -> None:
        raise OSError(5, "no luck")

    with monkeypatch.context() as broken:
        broken.setattr(type(inside.blobs), "assemble", fail)
        with pytest.raises(OSError, match="no luck"):
            await complete(inside, upload, 1, 2)
    await put(inside, upload, 3, data_of(9))
    await complete(inside, upload, 1, 2, 3)
    await check(inside, data_of(1) + data_of(2) + data_of(9))


async def test_reservations_follow_what_is_kept(inside: Inside) -> None:
    upload = await begin(inside)
    for _ in range(3):
        await put(inside, upload, 1, data_of(1))
    assert await inside.rows("SELECT reserved FROM upload") == [(SIZE,)]
    await inside.server.s3.multipart.multipart.abort(inside.principal, NAME, upload)
    assert await inside.rows("SELECT sum(reserved) FROM project") == [(0,)]


async def test_parts_that_came_before_the_first_go_to_their_place_behind_it_and_nothing_is_read_at_the_end(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await begin(inside)
    short = data_of(5)[: SIZE // 3]
    for number, data in ((3, data_of(3)), (5, short), (2, data_of(2)), (1, data_of(1))):
        await put(inside, upload, number, data)
    assert await inside.rows("SELECT number, start, area = '' FROM part ORDER BY number") == [
        (1, 0, 1), (2, SIZE, 1), (3, 2 * SIZE, 1), (5, 0, 0)
    ]  # fmt: skip
    await put(inside, upload, 4, data_of(4))
    assert await inside.rows("SELECT front FROM upload") == [(4 * SIZE + len(short),)]
    assert set(inside.blobs.driver.staged()) == {upload}

    def refuse(*_: Any) -> None:
        raise AssertionError("bytes were read again")

    monkeypatch.setattr(placing, "_copy", refuse)
    monkeypatch.setattr(Assembly, "start_again", refuse)
    await complete(inside, upload, 1, 2, 3, 4, 5)
    await check(inside, b"".join(data_of(number) for number in (1, 2, 3, 4)) + short)


async def test_a_part_moved_at_the_end_leaves_the_hash_where_it_is(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await begin(inside)
    for number, data in ((1, data_of(1)), (2, data_of(2)), (3, data_of(3) + b"longer")):
        await put(inside, upload, number, data)
    monkeypatch.setattr(Assembly, "start_again", lambda *_: pytest.fail("hashed again"))
    await complete(inside, upload, 1, 2, 3)
    await check(inside, data_of(1) + data_of(2) + data_of(3) + b"longer")


async def copy(inside: Inside, upload: str, number: int, key: str, start: int, stop: int) -> Part:
    parts = inside.server.s3.multipart.multipart
    source = ObjectName(BUCKET, key)
    return (await parts.copy_part(inside.principal, NAME, upload, number, source, None, lambda _: Span(start, stop)))[1]


async def test_parts_copied_in_the_order_of_their_source_are_its_bytes_and_none_is_moved(inside: Inside) -> None:
    data = data_of(1) + data_of(2) + b"end"
    await inside.put("source", data)
    upload = await begin(inside)
    for number in (2, 3, 1):
        start = (number - 1) * SIZE
        part = await copy(inside, upload, number, "source", start, min(start + SIZE, len(data)))
        piece = data[start : start + SIZE]
        assert (part.size, part.md5, part.refers_to is not None) == (len(piece), hashlib.md5(piece).hexdigest(), True)
    assert await inside.rows("SELECT reserved FROM upload") == [(0,)]
    await complete(inside, upload, 1, 2, 3)
    await check(inside, data)
    assert await inside.rows("SELECT count(*) FROM blob") == [(1,)]


async def test_parts_copied_from_elsewhere_are_bytes_of_their_own(inside: Inside) -> None:
    data = data_of(1) + data_of(2)
    await inside.put("source", data)
    upload = await begin(inside)
    await copy(inside, upload, 1, "source", 0, SIZE)
    await put(inside, upload, 2, data_of(9))
    assert not (await copy(inside, upload, 3, "source", 100, 100 + SIZE)).refers_to
    await put(inside, upload, 1, data_of(8))
    await copy(inside, upload, 1, "source", 0, SIZE)
    await complete(inside, upload, 1, 2, 3)
    await check(inside, data_of(1) + data_of(9) + data[100 : 100 + SIZE])
    assert await inside.rows("SELECT sum(reserved) FROM project") == [(0,)]


async def test_a_join_that_is_refused_loses_no_part_not_even_one_that_was_not_named(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await begin(inside)
    for number in (1, 2, 3):
        await put(inside, upload, number, data_of(number))

    def refuse(*_: Any, **__: Any) -> None:
        raise QuotaExceeded("no room")

    with monkeypatch.context() as broken:
        broken.setattr(type(inside.objects), "point", refuse)
        for numbers in ((1, 3), (1, 2)):
            with pytest.raises(QuotaExceeded):
                await complete(inside, upload, *numbers)
    await complete(inside, upload, 1, 2, 3)
    await check(inside, data_of(1) + data_of(2) + data_of(3))
    assert set(inside.blobs.driver.staged()) == set()


async def test_a_part_of_unknown_length_reserves_what_it_has(inside: Inside) -> None:
    upload = await begin(inside)
    parts = inside.server.s3.multipart.multipart
    await parts.put(inside.principal, NAME, upload, 1, body_of(data_of(1)), Claims(), frozenset())
    assert await inside.rows("SELECT reserved FROM upload") == [(SIZE,)]


async def test_a_part_sent_again_while_the_old_one_goes_to_its_place_is_not_written_over(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, half, go_on = await begin(inside), asyncio.Event(), asyncio.Event()
    await put(inside, upload, 2, data_of(2))
    settle, read, again = Placing._settle, type(inside.catalog).read, []

    async def send_first(catalog: Any, job: Any) -> Any:
        monkeypatch.setattr(type(inside.catalog), "read", read)
        again.append(asyncio.create_task(put(inside, upload, 2, data_of(9), paused(data_of(9), half, go_on))))
        await half.wait()
        return await read(catalog, job)

    async def settling(*words: Any) -> None:
        monkeypatch.setattr(type(inside.catalog), "read", send_first)
        await settle(*words)

    monkeypatch.setattr(Placing, "_settle", settling)
    await put(inside, upload, 1, data_of(1))
    go_on.set()
    await again[0]
    await complete(inside, upload, 1, 2)
    await check(inside, data_of(1) + data_of(9))
