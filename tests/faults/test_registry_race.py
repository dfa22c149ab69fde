"""Many in the same repositories at once, the collector among them; tags against a model; the quota when all is gone."""

import asyncio
import calendar
import itertools
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from entrepot.errors import (
    Busy,
    Conflict,
    EntrepotError,
    InUse,
    MissingReferences,
    NoBlob,
    NoManifest,
    NotFound,
    QuotaExceeded,
)
from entrepot.model import Blob, FileSpan, NamedDigest, Piece, Span
from entrepot.services.manifests import Manifests, Wish
from entrepot.services.repositories import Found
from entrepot.services.streaming import Incoming
from tests.faults.inside import Inside, body_of, opened_inside
from tests.faults.pushes import MANIFEST, digest_of, image_of
from tests.faults.test_race import beside_collectors
from tests.running import new_postgres

LATER = calendar.timegm((2027, 6, 1, 0, 0, 0))
_times = itertools.count(1)
"""Ids of rows never go back within a process: each test of times has some of its own, behind all others."""
SIZES = (9_000, 20_000, 100, 80_000)
"""In files, in a row while they come, in the catalog, and over several requests."""


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Empty; for SQLite in the folder."""
    if request.param == "sqlite":
        yield ""
        return
    with new_postgres(request.getfixturevalue("postgres_url")) as url:
        yield url


@pytest.fixture
async def inside(tmp_path: Path, database: str) -> AsyncIterator[Inside]:
    async with opened_inside(tmp_path, database) as made:
        yield made


def named(data: bytes) -> NamedDigest:
    return NamedDigest.parse(digest_of(data))


async def read(inside: Inside, blob: Blob) -> bytes:
    """All its bytes."""
    if blob.inline is not None:
        return blob.inline
    found = await inside.objects.keeping.open(blob, Span())
    assert isinstance(found.delivery, FileSpan)
    try:
        return os.pread(found.delivery.descriptor, blob.size + 1, 0)
    finally:
        found.close()


async def push_blob(inside: Inside, path: str, data: bytes, how: int) -> None:
    """In one request, in a session, in a session of two requests."""
    sessions, who = inside.server.oci.sessions, inside.principal
    if how == 0:
        await sessions.put(who, path, named(data), body_of(data), len(data))
        return
    begun = await sessions.begin(who, path)
    half = len(data) // 2 if how == 2 else 0
    if half:
        await sessions.append(who, path, begun.id.replace("-", ""), Incoming(body_of(data[:half]), 0, half))
    rest = data[half:]
    last = Incoming(body_of(rest), None, len(rest))
    await sessions.close(who, path, begun.id.replace("-", ""), named(data), last)


async def push_image(inside: Inside, path: str, tag: str, *blobs: bytes) -> bytes:
    """The manifest of those blobs, which the repository has."""
    data = image_of(*blobs)
    await inside.server.oci.manifests.put(inside.principal, path, Wish(data, MANIFEST, None, [tag]))
    return data


async def check_pulled(inside: Inside, path: str, reference: str, blobs: Sequence[bytes]) -> None:
    """The image is there, with every byte of it."""
    repositories, who = inside.server.oci.repositories, inside.principal
    found: Found = await repositories.manifest(who, path, reference)
    assert await read(inside, found.blob) == image_of(*blobs)
    for data in blobs:
        assert await read(inside, await repositories.blob(who, path, named(data))) == data


@pytest.mark.parametrize("rounds", [8, pytest.param(300, marks=pytest.mark.slow)])
async def test_no_manifest_that_was_acknowledged_misses_a_blob_while_collectors_run(  # noqa: C901
    inside: Inside, rounds: int
) -> None:
    bodies = [os.urandom(size) for size in SIZES]
    counts = Counter[str]()
    repositories, manifests, who = inside.server.oci.repositories, inside.server.oci.manifests, inside.principal

    async def have(path: str, data: bytes, chance: random.Random) -> None:
        """The bytes come into the repository in one of many ways."""
        way = chance.randrange(5)
        if way == 0:
            try:
                await repositories.blob(who, path, named(data), telling=True)
                counts["told"] += 1
                return
            except NotFound:
                pass
        elif way == 1:
            source = None if chance.random() < 0.5 else f"r{chance.randrange(4)}/own"
            if await repositories.mount(who, path, named(data), source):
                counts["mounted"] += 1
                return
        elif way == 2:
            begun = await inside.server.oci.sessions.resume(who, path, named(data))
            if begun is None:
                counts["resumed"] += 1
                return
            await inside.server.oci.sessions.cancel(who, path, begun.id.replace("-", ""))
        await push_blob(inside, path, data, chance.randrange(3))
        counts["pushed"] += 1

    async def client(number: int) -> None:
        chance, path = random.Random(number), f"r{number}/own"
        live: dict[str, list[bytes]] = {}
        for turn in range(rounds):
            blobs = chance.sample(bodies, 3)
            for data in blobs:
                await have(path, data, chance)
            await asyncio.sleep(chance.random() * 0.01)
            tag = f"t{turn % 3}"
            manifest = await push_image(inside, path, tag, *blobs)
            live[tag] = blobs
            await check_pulled(inside, path, tag, blobs)
            for one, expected in live.items():
                await check_pulled(inside, path, one, expected)
            act = chance.random()
            if act < 0.3:
                await manifests.remove(who, path, tag)
                del live[tag]
                await check_pulled(inside, path, digest_of(manifest), blobs)
            elif act < 0.7:
                await manifests.remove(who, path, digest_of(manifest))
                live = {one: kept for one, kept in live.items() if image_of(*kept) != manifest}
                with pytest.raises(NoManifest):
                    await repositories.manifest(who, path, tag)
            elif act < 0.9:
                doomed = chance.choice(bodies)
                with suppress(InUse, NoBlob):
                    await repositories.remove_blob(who, path, named(doomed))
                    assert not any(doomed in kept for kept in live.values()), "a blob in use was deleted"
                    counts["unlinked"] += 1

    found = await beside_collectors(inside, [client(number) for number in range(4)])
    assert min(counts[kind] for kind in ("told", "mounted", "resumed", "pushed")) > 3, counts
    assert found["removed"] > rounds // 10, "nothing was collected beside them"
    await check_counts(inside)
    await empty(inside, [f"r{number}/own" for number in range(4)], bodies)


async def check_counts(inside: Inside) -> None:
    """What is used is what live manifests name, each blob once in a repository, and themselves."""
    used = (
        "SELECT CAST(coalesce(sum(size), 0) AS BIGINT) FROM (SELECT DISTINCT repository_id, digest, size FROM ("
        "SELECT m.repository_id, m.digest, m.size FROM manifest m WHERE m.removed_at IS NULL) x) y"
    )
    assert await inside.rows("SELECT count(*) FROM project WHERE used < 0 OR reserved < 0") == [(0,)]
    ((own,),) = await inside.rows(used)
    ((total,),) = await inside.rows("SELECT used FROM project WHERE name = 'default'")
    assert total >= own
    ((reserved,),) = await inside.rows("SELECT reserved FROM project WHERE name = 'default'")
    ((held,),) = await inside.rows("SELECT CAST(coalesce(sum(reserved), 0) AS BIGINT) FROM upload")
    assert reserved == held


async def empty(inside: Inside, paths: Sequence[str], bodies: Sequence[bytes]) -> None:
    """Everything is deleted and collected: nothing is used, reserved or kept."""
    repositories, manifests, who = inside.server.oci.repositories, inside.server.oci.manifests, inside.principal
    rows = await inside.rows(
        "SELECT r.path, m.digest FROM manifest m JOIN repository r ON r.id = m.repository_id WHERE m.removed_at IS NULL"
    )
    for path, hex_ in rows:
        await manifests.remove(who, path, f"sha256:{hex_}")
    for path in paths:
        for data in bodies:
            with suppress(NoBlob, NotFound):
                await repositories.remove_blob(who, path, named(data))
    assert await inside.rows("SELECT used, reserved FROM project") == [(0, 0)]
    for _ in range(4):
        await asyncio.sleep(0.02)
        await inside.job("expire")
        await inside.job("collect")
    assert await inside.rows("SELECT count(*) FROM manifest") == [(0,)]
    assert await inside.rows("SELECT used, reserved, objects FROM project") == [(0, 0, 0)]
    assert await inside.rows("SELECT count(*) FROM upload WHERE state <> 'done'") == [(0,)]
    assert await inside.rows("SELECT count(*) FROM reference") == [(0,)]
    assert list(inside.blobs.driver.staged()) == []


async def test_the_quota_is_used_once_by_each_blob_and_given_back_whole(inside: Inside) -> None:
    bodies = [os.urandom(size) for size in SIZES]

    async def used() -> tuple[int, int]:
        ((found, reserved),) = await inside.rows("SELECT used, reserved FROM project")
        return int(found), int(reserved)

    for how in range(3):
        for data in bodies:
            await push_blob(inside, "q/one", data, how)
        loose = sum(map(len, bodies))
        assert await used() == (0, loose), how
    manifest = await push_image(inside, "q/one", "t", *bodies)
    assert await used() == (loose + len(manifest), 0)
    await push_image(inside, "q/one", "u", *bodies)
    for data in bodies:
        await push_blob(inside, "q/one", data, 0)
    assert await used() == (loose + len(manifest), 0), "bytes that are named count once"
    second = await push_image(inside, "q/one", "v", *bodies[:2])
    assert await used() == (loose + len(manifest) + len(second), 0)
    await inside.server.oci.manifests.remove(inside.principal, "q/one", digest_of(manifest))
    assert await used() == (sum(map(len, bodies[:2])) + len(second), 0)
    await inside.server.oci.manifests.bring_back(inside.principal, "q/one", digest_of(manifest))
    assert await used() == (loose + len(manifest) + len(second), 0)
    for data in bodies:
        assert await inside.server.oci.repositories.mount(inside.principal, "q/two", named(data), "q/one")
    await push_image(inside, "q/two", "t", *bodies)
    assert (await used())[1] == 0
    await empty(inside, ["q/one", "q/two"], bodies)


async def test_sessions_that_are_cancelled_fail_or_end_wrong_give_their_room_back(inside: Inside) -> None:
    sessions, who = inside.server.oci.sessions, inside.principal

    async def cut() -> AsyncIterator[list[Piece]]:
        yield [os.urandom(80_000)]
        raise QuotaExceeded("as if")

    for size in (100, 20_000, 200_000):
        data = os.urandom(size)
        begun = (await sessions.begin(who, "c/x")).id.replace("-", "")
        await sessions.append(who, "c/x", begun, Incoming(body_of(data), 0, size))
        await sessions.cancel(who, "c/x", begun)
        begun = (await sessions.begin(who, "c/x")).id.replace("-", "")
        with pytest.raises(EntrepotError):
            await sessions.close(who, "c/x", begun, named(b"other"), Incoming(body_of(data), 0, size))
        with pytest.raises(EntrepotError):
            await sessions.put(who, "c/x", named(b"other"), body_of(data), size)
        begun = (await sessions.begin(who, "c/x")).id.replace("-", "")
        with suppress(EntrepotError):
            await sessions.append(who, "c/x", begun, Incoming(cut(), 0, None))
        await sessions.cancel(who, "c/x", begun)
        assert await inside.rows("SELECT used, reserved FROM project") == [(0, 0)], size
    await empty(inside, ["c/x"], [])


async def test_one_session_closed_by_many_at_once_is_one_blob(inside: Inside) -> None:
    sessions, who = inside.server.oci.sessions, inside.principal
    for size in SIZES:
        for turn in range(5):
            data = os.urandom(size)
            begun = (await sessions.begin(who, "m/x")).id.replace("-", "")
            await sessions.append(who, "m/x", begun, Incoming(body_of(data), 0, size))
            closes = [sessions.close(who, "m/x", begun, named(data), Incoming(body_of(b""), None, 0)) for _ in range(4)]
            ends = await asyncio.gather(*closes, return_exceptions=True)
            assert any(end is None for end in ends), ends
            assert all(end is None or isinstance(end, Busy | Conflict) for end in ends), (turn, ends)
            blob = await inside.server.oci.repositories.blob(who, "m/x", named(data))
            assert await read(inside, blob) == data
            await inside.server.oci.repositories.remove_blob(who, "m/x", named(data))
    await empty(inside, ["m/x"], [])


# --- tags against a model --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
async def test_tags_and_pulls_by_date_are_those_of_a_model(inside: Inside, seed: int) -> None:  # noqa: C901
    chance, path, who = random.Random(seed), f"tags/of-{seed}", inside.principal
    now = [float(LATER + next(_times) * 10_000)]
    begun = int(now[0])
    manifests = inside.server.oci.manifests
    clocked: Manifests = replace(
        manifests, now=lambda: now[0], repositories=replace(manifests.repositories, now=lambda: now[0])
    )  # fmt: skip
    bodies = [os.urandom(50 + number) for number in range(4)]
    for data in bodies:
        await push_blob(inside, path, data, 0)
    await push_image(inside, path, "keep", *bodies)
    images = [image_of(data) for data in bodies]
    live: dict[str, bytes] = {}
    here: set[bytes] = set()
    moves: dict[str, list[tuple[float, bytes | None]]] = {}

    def move(tag: str, data: bytes | None) -> None:
        moves.setdefault(tag, []).append((now[0], data))
        if data is None:
            del live[tag]
        else:
            live[tag] = data

    for _ in range(80):
        now[0] += chance.choice((0.0, 0.125, 0.5, 1.0, 3.75))
        act, tag, data = chance.randrange(10), chance.choice("abc"), chance.choice(images)
        if act < 6:
            await clocked.put(who, path, Wish(data, MANIFEST, None, [tag]))
            here.add(data)
            if live.get(tag) != data:
                move(tag, data)
        elif act < 8 and tag in live:
            await clocked.remove(who, path, tag)
            move(tag, None)
        elif act == 8 and data in here:
            await clocked.remove(who, path, digest_of(data))
            here.discard(data)
            for one in [name for name, pointed in live.items() if pointed == data]:
                move(one, None)
        elif act == 9 and tag not in live and moves.get(tag):
            last = next(pointed for _, pointed in reversed(moves[tag]) if pointed is not None)
            await clocked.bring_back(who, path, tag)
            here.add(last)
            move(tag, last)
        assert (await clocked.repositories.tags(who, path, "", 100))[0] == sorted([*live, "keep"])
        for name, pointed in live.items():
            found = await clocked.repositories.manifest(who, path, name)
            assert await read(inside, found.blob) == pointed
    for tag, history in moves.items():
        told = [one.digest for one in await clocked.repositories.history(who, path, tag)]
        expected = [named(data).hex if data else None for _, data in reversed(history)]
        assert [one.hex if one else None for one in told] == expected
        for second in range(begun - 2, int(now[0]) + 2):
            was = next((data for at, data in reversed(history) if at < second + 1), None)
            text = datetime.fromtimestamp(second, UTC).strftime("%Y%m%dT%H%M%SZ")
            try:
                found = await clocked.repositories.manifest(who, path, f"{tag}.at-{text}")
            except NoManifest:
                assert was is None or was not in here, (tag, second)
            else:
                assert await read(inside, found.blob) == was, (tag, second)


async def test_of_many_that_move_a_tag_the_last_one_wins_and_all_are_told(inside: Inside) -> None:
    images = []
    for _ in range(8):
        data = os.urandom(50)
        await push_blob(inside, "move/x", data, 0)
        images.append(data)
    for _ in range(3):
        ends = await asyncio.gather(
            *(push_image(inside, "move/x", "t", data) for data in images), return_exceptions=True
        )  # fmt: skip
        assert not [end for end in ends if isinstance(end, BaseException)], ends
        history = await inside.server.oci.repositories.history(inside.principal, "move/x", "t")
        found = await inside.server.oci.repositories.manifest(inside.principal, "move/x", "t")
        assert history[0].digest == found.blob.digest
        assert all(one.digest != other.digest for one, other in itertools.pairwise(history))
    with pytest.raises(MissingReferences):
        await push_image(inside, "move/x", "t", b"nobody has it")
