"""Versions of names: what is live, what is kept, what is trash, and what all of it counts, against a model."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from entrepot.catalog import blobs, listing, objects, projects, versions
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.parts import Part
from entrepot.errors import BucketNotEmpty, Deleted, NothingToReplace, PreconditionFailed, QuotaExceeded
from entrepot.model import Bucket, Condition, Facts, StoredObject
from tests.contracts.versions import (
    ENABLED,
    NEVER,
    NOW,
    PARTS,
    REFERENCES,
    STATES,
    SUSPENDED,
    Model,
    Op,
    apply,
    check,
    count,
    counted,
    new_bucket,
    put,
)

OPS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("ab"), st.integers(0, 99)),
    st.tuples(st.just("delete"), st.sampled_from("ab"), st.just(0)),
    st.tuples(st.just("drop"), st.sampled_from("ab"), st.integers(-2, 5)),
    st.tuples(st.just("extra"), st.sampled_from("ab"), st.integers(0, 5)),
    st.tuples(st.just("state"), st.just(""), st.integers(1, 2)),
    st.tuples(st.just("purge"), st.just(""), st.integers(0, 9)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(STATES), st.lists(OPS, max_size=30))
@example(
    NEVER, [("put", "a", 1), ("state", "", 1), ("put", "a", 2), ("state", "", 2), ("delete", "a", 0), ("drop", "a", 0)]
)
@example(ENABLED, [("put", "a", 1), ("put", "a", 2), ("drop", "a", 0), ("delete", "a", 0), ("drop", "a", 0)])
@example(SUSPENDED, [("delete", "a", 0), ("delete", "a", 0), ("drop", "a", -1), ("put", "a", 3), ("drop", "a", -1)])
async def test_any_sequence_leaves_what_the_model_says(catalog: Catalog, state: str, ops: Sequence[Op]) -> None:
    def run(tx: Transaction) -> None:
        versions.purge_trash(tx, NOW * 2, 10_000)
        bucket, model, before = new_bucket(tx, state), Model(state), count(tx, REFERENCES)
        for step, op in enumerate(ops):
            bucket = apply(tx, bucket, model, op, NOW + 1 + step)
            check(tx, bucket, model, before)

    await catalog.write(run)


# --- one by one ------------------------------------------------------------------------------------------------------


async def test_kept_versions_count_against_the_quota_and_markers_do_not(catalog: Catalog) -> None:
    bucket = await catalog.write(lambda tx: new_bucket(tx, ENABLED, quota=25))
    first = await catalog.write(lambda tx: put(tx, bucket, "a", 20))
    with pytest.raises(QuotaExceeded):
        await catalog.write(lambda tx: put(tx, bucket, "a", 6))
    await catalog.write(lambda tx: objects.remove(tx, bucket, "a", NOW))
    assert await catalog.read(lambda tx: counted(tx, bucket)) == (20, 0)
    with pytest.raises(QuotaExceeded):
        await catalog.write(lambda tx: put(tx, bucket, "b", 6))
    await catalog.write(lambda tx: objects.remove_version(tx, bucket, "a", first.version, NOW))
    await catalog.write(lambda tx: put(tx, bucket, "b", 25))
    assert await catalog.read(lambda tx: counted(tx, bucket)) == (25, 1)


async def test_a_version_that_replaces_the_null_one_needs_only_the_difference(catalog: Catalog) -> None:
    bucket = await catalog.write(lambda tx: new_bucket(tx, SUSPENDED, quota=25))
    for size in (20, 25, 3):
        await catalog.write(lambda tx, n=size: put(tx, bucket, "a", n))  # type: ignore[misc]
        assert await catalog.read(lambda tx: counted(tx, bucket)) == (size, 1)


async def test_trash_is_purged_and_kept_versions_stay_with_their_bytes(catalog: Catalog) -> None:
    def fill(tx: Transaction) -> tuple[Bucket, list[StoredObject]]:
        bucket = new_bucket(tx, ENABLED)
        made = [put(tx, bucket, "a", size) for size in (1, 2, 3)]
        objects.remove(tx, bucket, "a", NOW)
        objects.remove_version(tx, bucket, "a", made[1].version, NOW + 1)
        return bucket, made

    bucket, made = await catalog.write(fill)
    assert await catalog.write(lambda tx: versions.purge_trash(tx, NOW, 10)) == 0
    assert await catalog.write(lambda tx: versions.purge_trash(tx, NOW + 1, 10)) == 1
    assert await catalog.write(lambda tx: versions.purge_trash(tx, NOW * 2, 10)) == 0
    for one, kept in zip(made, (True, False, True), strict=True):
        found = await catalog.read(lambda tx, v=one.version: versions.find_with_blob(tx, bucket, "a", v))  # type: ignore[misc]
        assert (found is not None) == kept
        assert not kept or (found and found[1] and found[1].digest == one.digest)
    free, _ = await catalog.read(lambda tx: blobs.free_keys(tx, "", NOW, 10))
    assert await catalog.write(lambda tx: blobs.mark_free(tx, free, NOW)) == [f"{made[1].digest.hex}.0"]


async def test_what_protocols_keep_of_a_version_changes_there_alone(catalog: Catalog) -> None:
    def fill(tx: Transaction) -> tuple[Bucket, list[StoredObject]]:
        bucket = new_bucket(tx, ENABLED)
        made = [put(tx, bucket, "a", size, facts=Facts(extra={"n": size})) for size in (1, 2, 3)]
        put(tx, bucket, "b", 4, facts=Facts(extra={"n": 4}))
        return bucket, made

    bucket, made = await catalog.write(fill)
    extras: list[dict[str, object]] = [{"tags": {"ä": "\u2028"}}, {"hold": True}, {}]
    for stored, extra in zip(reversed(made), reversed(extras), strict=True):
        await catalog.write(lambda tx, s=stored, e=extra: objects.set_extra(tx, bucket, s, e))  # type: ignore[misc]
    for stored, extra in zip(made, extras, strict=True):
        found = await catalog.read(lambda tx, s=stored: objects.find_any(tx, bucket, "a", s.version))  # type: ignore[misc]
        assert found == replace(stored, extra=extra)
    other = await catalog.read(lambda tx: objects.find(tx, bucket, "b"))
    assert other
    assert other.extra == {"n": 4}


async def test_parts_stay_with_their_version_until_it_is_purged(catalog: Catalog) -> None:
    sent = [Part(1, "", 0, 4, "m1", "s1", "c1", NOW), Part(2, "", 9, 6, "m2", "s2", None, NOW)]
    rows = [(1, 0, 4, "m1", "s1", "c1"), (2, 4, 6, "m2", "s2", None)]

    def fill(tx: Transaction) -> tuple[Bucket, StoredObject]:
        bucket = new_bucket(tx, ENABLED)
        made = put(tx, bucket, "a")
        for part, place in zip(reversed(sent), (4, 0), strict=True):
            versions.add_part(tx, made.version, made.digest, "CRC32", place, part)
        return bucket, made

    bucket, made = await catalog.write(fill)
    newer = await catalog.write(lambda tx: put(tx, bucket, "a", 5))
    for step in range(4):
        assert await catalog.read(lambda tx: versions.parts(tx, made.version)) == rows
        assert await catalog.read(lambda tx: versions.parts(tx, newer.version)) == []
        if step == 0:  # it is live again
            await catalog.write(lambda tx: objects.remove_version(tx, bucket, "a", newer.version, NOW))
        elif step == 1:
            await catalog.write(lambda tx: objects.remove(tx, bucket, "a", NOW))
        elif step == 2:
            await catalog.write(lambda tx: objects.remove_version(tx, bucket, "a", made.version, NOW))
    assert await catalog.write(lambda tx: versions.purge_trash(tx, NOW, 10)) == 2
    assert await catalog.read(lambda tx: count(tx, PARTS)) == 0


async def test_a_condition_looks_at_the_live_version_alone(catalog: Catalog) -> None:
    bucket = await catalog.write(lambda tx: new_bucket(tx, ENABLED))
    await catalog.write(lambda tx: put(tx, bucket, "a", 1))
    with pytest.raises(PreconditionFailed):
        await catalog.write(lambda tx: objects.remove(tx, bucket, "a", NOW, Condition(etag="etag2")))
    await catalog.write(lambda tx: objects.remove(tx, bucket, "a", NOW, Condition(etag="etag1")))
    for etag in ("etag1", "*"):
        with pytest.raises(NothingToReplace):
            await catalog.write(lambda tx, e=etag: put(tx, bucket, "a", 2, condition=Condition(etag=e)))  # type: ignore[misc]
        with pytest.raises(NothingToReplace):
            await catalog.write(lambda tx, e=etag: objects.remove(tx, bucket, "a", NOW, Condition(etag=e)))  # type: ignore[misc]
    await catalog.write(lambda tx: put(tx, bucket, "a", 2, condition=Condition(absent=True)))
    with pytest.raises(PreconditionFailed):
        await catalog.write(lambda tx: put(tx, bucket, "a", 3, condition=Condition(absent=True)))


async def test_a_deleted_name_says_so_by_its_marker(catalog: Catalog) -> None:
    bucket = await catalog.write(lambda tx: new_bucket(tx, ENABLED))
    await catalog.read(lambda tx: versions.check_not_deleted(tx, bucket, "a"))
    _, marker = await catalog.write(lambda tx: objects.remove(tx, bucket, "a", NOW))
    assert marker
    with pytest.raises(Deleted) as caught:
        await catalog.read(lambda tx: versions.check_not_deleted(tx, bucket, "a"))
    assert caught.value.version == marker.version_id == f"{marker.version:016x}"


async def test_a_name_whose_time_is_over_leaves_a_marker_where_versions_are_kept(catalog: Catalog) -> None:
    bucket = await catalog.write(lambda tx: new_bucket(tx, ENABLED))
    old = await catalog.write(lambda tx: put(tx, bucket, "a", 5, facts=Facts(expires_at=NOW + 5)))
    assert await catalog.write(lambda tx: objects.remove_expired(tx, NOW + 5, 10)) == 1
    newest = await catalog.read(lambda tx: versions.newest(tx, bucket, "a"))
    assert newest
    assert newest.marker
    assert await catalog.read(lambda tx: counted(tx, bucket)) == (5, 0)
    assert await catalog.read(lambda tx: versions.find(tx, bucket, "a", old.version))


async def test_a_bucket_with_versions_or_markers_is_not_empty_and_one_with_trash_is(catalog: Catalog) -> None:
    bucket = await catalog.write(lambda tx: new_bucket(tx, ENABLED))
    made = await catalog.write(lambda tx: put(tx, bucket, "a"))
    _, marker = await catalog.write(lambda tx: objects.remove(tx, bucket, "a", NOW))
    assert marker
    for version in (made.version, marker.version):
        with pytest.raises(BucketNotEmpty):
            await catalog.read(lambda tx: projects.trash_of(tx, bucket, 10))
        await catalog.write(lambda tx, v=version: objects.remove_version(tx, bucket, "a", v, NOW))  # type: ignore[misc]
    trash = await catalog.read(lambda tx: projects.trash_of(tx, bucket, 10))
    assert sorted(trash) == [made.version, marker.version]
    await catalog.write(lambda tx: versions.purge(tx, trash))
    await catalog.write(lambda tx: projects.remove_bucket(tx, bucket))


async def test_after_a_race_the_live_version_is_the_newest(catalog: Catalog) -> None:
    bucket = await catalog.write(lambda tx: new_bucket(tx, ENABLED))
    for round_ in range(10):
        key = f"key{round_}"
        puts = [catalog.write(lambda tx, n=size, k=key: put(tx, bucket, k, n)) for size in range(12)]  # type: ignore[misc]
        await asyncio.gather(*puts)
        page = await catalog.read(lambda tx, k=key: listing.version_page(tx, bucket, k, "", None, 99, "", now=NOW))  # type: ignore[misc]
        live = await catalog.read(lambda tx, k=key: objects.find(tx, bucket, k))  # type: ignore[misc]
        assert (len(page.items), page.items[0][0]) == (12, live)
    assert await catalog.read(lambda tx: counted(tx, bucket)) == (10 * sum(range(12)), 10)


async def test_puts_and_deletes_in_a_race_are_all_kept_and_counted(catalog: Catalog) -> None:
    bucket = await catalog.write(lambda tx: new_bucket(tx, ENABLED))
    for round_ in range(4):
        key = f"key{round_}"
        puts = (catalog.write(lambda tx, n=size, k=key: put(tx, bucket, k, n)) for size in range(8))  # type: ignore[misc]
        removals = (catalog.write(lambda tx, k=key: objects.remove(tx, bucket, k, NOW)) for _ in range(8))  # type: ignore[misc]
        await asyncio.gather(*(job for pair in zip(puts, removals, strict=True) for job in pair))
    page = await catalog.read(lambda tx: listing.version_page(tx, bucket, "", "", None, 99, "", now=NOW))
    kept = [item for item, _ in page.items if isinstance(item, StoredObject)]
    assert sum(item.marker for item in kept) == sum(not item.marker for item in kept) == 32
    latest = [item for item, is_latest in page.items if is_latest and isinstance(item, StoredObject)]
    live = [await catalog.read(lambda tx, k=f"key{n}": objects.find(tx, bucket, k)) for n in range(4)]  # type: ignore[misc]
    assert live == [None if item.marker else item for item in latest]
    assert await catalog.read(lambda tx: counted(tx, bucket)) == (4 * sum(range(8)), sum(map(bool, live)))
