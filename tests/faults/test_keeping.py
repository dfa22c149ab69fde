"""Damaged bytes: who brings them again, in whatever way, puts every name right; nobody is told that they are here."""

import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from entrepot.model import ALWAYS, Algorithm, Blob, Claims, Digest, Facts, ObjectName
from entrepot.services.uploads import Session, Wish
from tests.faults.inside import BUCKET, Inside, body_of, opened_inside

DATA = os.urandom(300_000)
SUMS = {Algorithm.SHA256: hashlib.sha256(DATA).hexdigest()}
HERE = ObjectName(BUCKET, "b")


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    async with opened_inside(tmp_path / "data") as found:
        yield found


async def again_whole(inside: Inside) -> None:
    await inside.put("b", DATA)


async def again_resumable(inside: Inside) -> None:
    session = await inside.uploads.begin(
        inside.principal, Wish(HERE, Facts(), len(DATA), Digest(SUMS[Algorithm.SHA256]))
    )
    assert isinstance(session, Session), "the server said that the bytes are here"
    await inside.uploads.write(session.id, 0, body_of(DATA), None, len(DATA))
    await inside.uploads.commit(session.id, len(DATA), None)


async def file_of(inside: Inside, tmp_path: Path) -> tuple[Blob, Path]:
    """The blob named `a`, and its file."""
    _, blob = await inside.objects.find(inside.principal, ObjectName(BUCKET, "a"))
    (found,) = (tmp_path / "data/blobs").rglob(f"*{blob.key.rpartition('.')[2]}")
    return blob, found


def flip(file: Path) -> None:
    os.chmod(file, 0o600)
    with file.open("r+b") as opened:
        opened.seek(1000)
        byte = opened.read(1)
        opened.seek(1000)
        opened.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("again", [again_whole, again_resumable])
@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda file: os.truncate(file, 5)])
async def test_a_push_of_the_same_bytes_puts_right_what_was_damaged(
    inside: Inside, tmp_path: Path, again: Callable[[Inside], Awaitable[None]], damage: Callable[[Path], None]
) -> None:
    await inside.put("a", DATA)
    _, file = await file_of(inside, tmp_path)
    time.sleep(0.01)
    damage(file)
    await again(inside)
    assert await inside.read("a") == DATA
    assert await inside.read("b") == DATA
    assert await inside.rows("SELECT state FROM blob ORDER BY state") == [("present",), ("quarantined",)]


async def test_bytes_that_only_look_changed_stay_and_count_as_read(inside: Inside, tmp_path: Path) -> None:
    await inside.put("a", DATA)
    blob, file = await file_of(inside, tmp_path)
    os.utime(file)
    await inside.put("b", DATA)
    found, _ = await file_of(inside, tmp_path)
    assert found.key == blob.key
    assert found.stamp != blob.stamp
    assert len(list((tmp_path / "data/blobs").rglob(f"{blob.digest.hex}*"))) == 1


async def test_nobody_is_told_that_bytes_are_here_which_do_not_look_as_they_did(inside: Inside, tmp_path: Path) -> None:
    await inside.put("a", DATA)
    claims = Claims(len(DATA), SUMS)
    objects = inside.objects
    assert await objects.put_known(inside.principal, HERE, claims, Facts(), ALWAYS, frozenset())
    _, file = await file_of(inside, tmp_path)
    flip(file)
    assert await objects.put_known(inside.principal, HERE, claims, Facts(), ALWAYS, frozenset()) is None
