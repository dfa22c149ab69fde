"""Numbered parts that come late, twice or from before a restart: the object is what was acknowledged, or nothing is."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from entrepot.catalog.parts import Part
from entrepot.model import ALWAYS, Algorithm, Body, Claims, Facts, ObjectName, Piece
from entrepot.services import joining
from entrepot.services.joining import Joined, NoUpload
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
    loop, copy = asyncio.get_running_loop(), joining._copy

    def slowly(*args: Any) -> None:
        copy(*args)
        loop.call_soon_threadsafe(go_on.set)

    monkeypatch.setattr(joining, "_copy", slowly)
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
