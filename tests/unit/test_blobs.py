"""Receive, verify, keep, open: what the blob store does over a driver."""

import hashlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from entrepot.errors import BadRequest, BodyCut, DigestMismatch, DiskFull, QuotaExceeded
from entrepot.model import Algorithm, Blob, Body, Claims, FileSpan, Span, Stamp
from entrepot.storage.blobs import BlobStore, Limits, edges_of
from entrepot.storage.driver import Room
from entrepot.storage.hashing import checksums_of
from entrepot.storage.memory import MemoryDriver

NONE: frozenset[Algorithm] = frozenset()


class Reserved:
    """Room as a service keeps it, with a limit."""

    def __init__(self, limit: int = 1 << 40) -> None:
        self.limit = limit
        self.asked: list[int] = []

    async def cover(self, size: int) -> str:
        self.asked.append(size)
        if size > self.limit:
            raise QuotaExceeded("full")
        return "upload"


async def body(*batches: Sequence[bytes]) -> AsyncIterator[Sequence[bytes]]:
    for batch in batches:
        yield batch


async def cut_body(*batches: Sequence[bytes]) -> AsyncIterator[Sequence[bytes]]:
    for batch in batches:
        yield batch
    raise BodyCut("gone")


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver()


@pytest.fixture
def store(driver: MemoryDriver, clock: Clock) -> Iterator[BlobStore]:
    made = BlobStore(driver, clock, Limits(inline_bytes=10, reserve_bytes=0, reserve_share=0, verify_reads_seconds=100))
    yield made
    made.close()


async def keep(store: BlobStore, data: bytes, claims: Claims | None = None) -> Blob:
    return (await store.receive(body([data]), claims or Claims(), NONE, Reserved())).blob


async def test_a_small_body_needs_no_file(store: BlobStore, driver: MemoryDriver) -> None:
    room = Reserved()
    received = await store.receive(body([b"12345"], [b"67890"]), Claims(10), NONE, room)
    assert received.blob.inline == b"1234567890"
    assert received.blob.digest.hex == hashlib.sha256(b"1234567890").hexdigest()
    assert (list(driver.keys()), room.asked) == ([], [])


async def test_a_body_of_unknown_length_becomes_a_file_once_it_is_too_long(
    store: BlobStore, driver: MemoryDriver
) -> None:
    room = Reserved()
    received = await store.receive(body([b"12345"], [b"678901"], [b"x" * 50]), Claims(), NONE, room)
    assert received.blob.inline is None
    assert list(driver.keys()) == [received.blob.key]
    assert room.asked == [11, 61]  # before each batch is written


async def test_an_empty_body_is_the_blob_of_the_empty_string(store: BlobStore) -> None:
    blob = (await store.receive(body(), Claims(), NONE, Reserved())).blob
    assert (blob.size, blob.digest.hex) == (0, hashlib.sha256(b"").hexdigest())


@pytest.mark.parametrize("size", [5, 5000])
@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_a_wrong_claim_keeps_nothing(
    store: BlobStore, driver: MemoryDriver, size: int, algorithm: Algorithm
) -> None:
    claims = Claims(size, {algorithm: "0" * algorithm.hex_length})
    with pytest.raises(DigestMismatch):
        await store.receive(body([b"x" * size]), claims, NONE, Reserved())
    assert (list(driver.keys()), list(driver.staged())) == ([], [])


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_a_right_claim_is_kept_with_the_blob(store: BlobStore, algorithm: Algorithm) -> None:
    claimed = checksums_of(b"x" * 5000, [algorithm])[algorithm]
    blob = await keep(store, b"x" * 5000, Claims(None, {algorithm: claimed}))
    assert blob.checksums[algorithm] == claimed


async def test_what_is_asked_for_is_computed_in_the_same_pass(store: BlobStore) -> None:
    received = await store.receive(body([b"x" * 5000]), Claims(), frozenset({Algorithm.MD5}), Reserved())
    assert received.blob.checksums[Algorithm.MD5] == hashlib.md5(b"x" * 5000).hexdigest()


@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        (body([b"x" * 99]), BodyCut),
        (body([b"x" * 101]), BadRequest),
        (cut_body([b"x" * 60]), BodyCut),
    ],
)
async def test_a_body_of_another_length_keeps_nothing(
    store: BlobStore, driver: MemoryDriver, sent: Body, refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        await store.receive(sent, Claims(100), NONE, Reserved())
    assert (list(driver.keys()), list(driver.staged())) == ([], [])


async def test_no_room_in_the_quota_stops_a_body_in_the_middle(store: BlobStore, driver: MemoryDriver) -> None:
    with pytest.raises(QuotaExceeded):
        await store.receive(body([b"x" * 60], [b"x" * 60]), Claims(), NONE, Reserved(limit=100))
    assert list(driver.staged()) == []


async def test_the_reserve_of_the_disk_is_never_eaten(driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "room", lambda: Room(1500, 100_000))
    store = BlobStore(driver, lambda: 0.0, Limits(inline_bytes=10, reserve_bytes=1000, reserve_share=0.0))
    assert (await keep(store, b"x" * 500, Claims(500))).size == 500
    with pytest.raises(DiskFull):
        await keep(store, b"x" * 501, Claims(501))
    store.close()


async def test_a_range_of_a_file_is_opened(store: BlobStore) -> None:
    blob = await keep(store, bytes(range(256)))
    opened, must_hash = store.open(blob, Span(10, 20))
    assert isinstance(opened, FileSpan)
    assert os.pread(opened.descriptor, opened.span.length, opened.span.start) == bytes(range(10, 20))
    os.close(opened.descriptor)
    assert not must_hash


async def test_a_whole_read_is_hashed_when_the_last_check_is_old_or_the_file_changed(
    store: BlobStore, clock: Clock
) -> None:
    blob = await keep(store, b"x" * 100)
    changed = Blob(blob.digest, blob.size, blob.key, {}, blob.verified_at, Stamp(100, 1, 1))
    for candidate, later, span, expected in (
        (blob, 0, Span(), False),
        (blob, 99, Span(), False),
        (blob, 100, Span(), True),
        (blob, 100, Span(0, 50), False),
        (changed, 0, Span(), True),
    ):
        clock.at = blob.verified_at + later
        opened, must_hash = store.open(candidate, span)
        assert isinstance(opened, FileSpan)
        os.close(opened.descriptor)
        assert must_hash is expected


async def test_a_file_of_another_length_is_not_opened(store: BlobStore) -> None:
    blob = await keep(store, b"x" * 100)
    with pytest.raises(DigestMismatch):
        store.open(Blob(blob.digest, 99, blob.key, {}, 0.0), Span())


async def test_inline_bytes_are_checked_at_each_read(store: BlobStore) -> None:
    blob = await keep(store, b"small")
    assert store.open(blob, Span(1, 3)) == (b"ma", False)
    with pytest.raises(DigestMismatch):
        store.open(Blob(blob.digest, 5, blob.key, {}, 0.0, inline=b"smelt"), Span())


async def test_equal_bytes_get_keys_of_their_own(store: BlobStore) -> None:
    assert (await keep(store, b"x" * 100)).key != (await keep(store, b"x" * 100)).key


def test_edges_are_the_first_and_the_last_mebibyte() -> None:
    data = os.urandom(3 << 20)
    expected = hashlib.sha256(data[: 1 << 20] + data[-(1 << 20) :]).hexdigest()
    assert edges_of(lambda offset, length: data[offset : offset + length], len(data)) == expected
