"""What the catalog promises, the same on SQLite and on PostgreSQL."""

import asyncio
import time
from collections.abc import Callable, Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from entrepot.catalog import accounts, blobs, leases, listing, objects, projects, uploads, versions
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.image_schema import metadata
from entrepot.catalog.uploads import Piece
from entrepot.errors import Conflict, Denied, NotFound, PreconditionFailed, QuotaExceeded
from entrepot.model import (
    ALWAYS,
    MAX_QUOTA,
    Algorithm,
    Blob,
    Bucket,
    CommonPrefix,
    Condition,
    Digest,
    Facts,
    Stamp,
    StoredObject,
)
from entrepot.principals import Area, AreaKind, Kind, Role

NOW = 1_800_000_000.0


def digest_of(number: int) -> Digest:
    return Digest(f"{number:064x}")


def blob_of(number: int, size: int = 10, generation: int = 0, inline: bytes | None = None) -> Blob:
    digest = digest_of(number)
    return Blob(
        digest, size, f"{digest.hex}.{generation:08x}", {Algorithm.MD5: "0" * 32}, NOW, Stamp(size, 1, 2), inline
    )


def home(tx: Transaction, quota: int = MAX_QUOTA) -> Bucket:
    made = projects.find(tx, "p") or projects.add(tx, "p", quota, NOW)
    return projects.add_bucket(tx, made, "bucket", NOW)


def put(
    tx: Transaction,
    key: str,
    number: int = 1,
    size: int = 10,
    condition: Condition = ALWAYS,
    facts: Facts | None = None,
    now: float = NOW,
) -> StoredObject:
    bucket = home(tx)
    blobs.keep(tx, blob_of(number, size), None, now)
    return objects.point(tx, bucket, key, digest_of(number), size, "etag", facts or Facts(), condition, now)


async def mark_free(catalog: Catalog, now: float) -> list[str]:
    """One round of the collector's first step."""
    free, _ = await catalog.read(lambda tx: blobs.free_keys(tx, "", now, 10))
    return await catalog.write(lambda tx: blobs.mark_free(tx, free, now))


def keys(items: Iterable[StoredObject | CommonPrefix]) -> list[str]:
    return [item.prefix + "*" if isinstance(item, CommonPrefix) else item.key for item in items]


@pytest.mark.filterwarnings("ignore:.*expression-based index")
def test_the_migrations_make_exactly_the_schema(database: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = create_engine(database)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert [d for d in differences if "alembic_version" not in str(d)] == []


async def test_what_was_written_is_read_at_once(catalog: Catalog) -> None:
    await catalog.write(lambda tx: projects.add(tx, "p", 5, NOW))
    for look in (catalog.read, catalog.probe):
        found = await look(lambda tx: projects.find(tx, "p"))
        assert found
        assert (found.name, found.quota, found.used) == ("p", 5, 0)


async def test_a_refused_job_leaves_nothing_and_spoils_no_other(catalog: Catalog) -> None:
    def refused(tx: Transaction) -> None:
        projects.add(tx, "half", 5, NOW)
        raise Denied("no")

    def add(number: int) -> Callable[[Transaction], object]:
        return lambda tx: projects.add(tx, f"p{number}", 5, NOW)

    jobs = [catalog.write(job) for job in (refused, *map(add, range(20)))]
    answers = await asyncio.gather(*jobs, return_exceptions=True)
    assert isinstance(answers[0], Denied)
    names = [found.name for found in await catalog.read(projects.all_projects)]
    assert len(names) == 20
    assert "half" not in names


async def test_one_of_two_projects_of_a_name_is_refused(catalog: Catalog) -> None:
    answers = await asyncio.gather(
        *(catalog.write(lambda tx: projects.add(tx, "p", 5, NOW)) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(answer, Conflict) for answer in answers) == 7


async def test_a_name_points_to_the_last_bytes_and_keeps_its_history(catalog: Catalog) -> None:
    await catalog.write(lambda tx: put(tx, "a", 1))
    await catalog.write(lambda tx: put(tx, "a", 2, size=30, now=NOW + 1))
    found = await catalog.read(lambda tx: objects.find(tx, home_of(tx), "a"))
    assert found
    assert (found.digest, found.size) == (digest_of(2), 30)
    project = await catalog.read(lambda tx: projects.known(tx, "p"))
    assert project.used == 30
    assert await mark_free(catalog, NOW) == []  # the first is in the trash, not free


async def test_trash_is_purged_and_then_its_bytes_are_free(catalog: Catalog) -> None:
    await catalog.write(lambda tx: put(tx, "a", 1))
    await catalog.write(lambda tx: objects.remove(tx, home(tx), "a", NOW + 5))
    assert await catalog.write(lambda tx: versions.purge_trash(tx, NOW, 10)) == 0
    assert await catalog.write(lambda tx: versions.purge_trash(tx, NOW + 5, 10)) == 1
    assert await mark_free(catalog, NOW) == [blob_of(1).key]


@pytest.mark.parametrize(
    ("condition", "refusal"),
    [
        (Condition(absent=True), PreconditionFailed),
        (Condition(etag="other"), PreconditionFailed),
        (Condition(overwrite=False), Denied),
        (Condition(etag="etag"), None),
    ],
)
async def test_a_condition_is_judged_inside_the_commit(
    catalog: Catalog, condition: Condition, refusal: type[Exception] | None
) -> None:
    await catalog.write(lambda tx: put(tx, "a", 1))
    if refusal:
        with pytest.raises(refusal):
            await catalog.write(lambda tx: put(tx, "a", 2, condition=condition))
    else:
        await catalog.write(lambda tx: put(tx, "a", 2, condition=condition))
    found = await catalog.read(lambda tx: objects.find(tx, home_of(tx), "a"))
    assert found
    assert found.digest == digest_of(1 if refusal else 2)


async def test_if_match_on_a_missing_name_is_refused(catalog: Catalog) -> None:
    with pytest.raises(PreconditionFailed):
        await catalog.write(lambda tx: put(tx, "a", condition=Condition(etag="etag")))


async def test_a_quota_holds_when_many_reserve_at_once(catalog: Catalog) -> None:
    project = await catalog.write(lambda tx: projects.add(tx, "small", 100, NOW))
    answers = await asyncio.gather(
        *(catalog.write(lambda tx: projects.reserve(tx, project.id, 30)) for _ in range(16)), return_exceptions=True
    )
    assert sum(answer is None for answer in answers) == 3
    assert all(isinstance(answer, QuotaExceeded) for answer in answers if answer is not None)
    assert (await catalog.read(lambda tx: projects.known(tx, "small"))).reserved == 90


async def test_a_commit_over_the_quota_names_nothing(catalog: Catalog) -> None:
    await catalog.write(lambda tx: home(tx, quota=25))
    await catalog.write(lambda tx: put(tx, "a", 1, size=20))
    with pytest.raises(QuotaExceeded):
        await catalog.write(lambda tx: put(tx, "b", 2, size=20))
    assert await catalog.read(lambda tx: objects.find(tx, home_of(tx), "b")) is None
    await catalog.write(lambda tx: put(tx, "a", 3, size=25))  # replacing counts the difference


async def test_equal_bytes_are_kept_once_under_the_first_key(catalog: Catalog) -> None:
    first = await catalog.write(lambda tx: blobs.keep(tx, blob_of(1, generation=1), None, NOW))
    second = await catalog.write(lambda tx: blobs.keep(tx, blob_of(1, generation=2), None, NOW))
    assert first == second == blob_of(1, generation=1).key


async def test_inline_bytes_come_with_their_blob(catalog: Catalog) -> None:
    await catalog.write(lambda tx: blobs.keep(tx, blob_of(1, 4, inline=b"data"), None, NOW))
    found = await catalog.probe(lambda tx: blobs.find(tx, digest_of(1)))
    assert found
    assert found.inline == b"data"


async def test_a_marked_blob_counts_as_absent_and_its_digest_can_come_again(catalog: Catalog) -> None:
    await catalog.write(lambda tx: blobs.keep(tx, blob_of(1, generation=1), None, NOW))
    assert await mark_free(catalog, NOW) == [blob_of(1, generation=1).key]
    assert await catalog.read(lambda tx: blobs.find(tx, digest_of(1))) is None
    again = await catalog.write(lambda tx: blobs.keep(tx, blob_of(1, generation=2), None, NOW))
    assert again == blob_of(1, generation=2).key
    assert await catalog.read(lambda tx: blobs.marked_before(tx, NOW, 10)) == [(blob_of(1, generation=1).key, False)]
    await catalog.write(lambda tx: blobs.forget(tx, blob_of(1, generation=1).key))
    assert await catalog.read(lambda tx: blobs.find(tx, digest_of(1))) is not None


async def test_a_blob_that_was_free_and_is_named_before_the_mark_stays(catalog: Catalog) -> None:
    await catalog.write(lambda tx: blobs.keep(tx, blob_of(1), None, NOW))
    free, _ = await catalog.read(lambda tx: blobs.free_keys(tx, "", NOW, 10))
    await catalog.write(lambda tx: put(tx, "a", 1))
    assert free == [blob_of(1).key]
    assert await catalog.write(lambda tx: blobs.mark_free(tx, free, NOW)) == []


async def test_the_walk_for_free_blobs_goes_on_where_it_stopped(catalog: Catalog) -> None:
    for number in range(5):
        await catalog.write(lambda tx, n=number: blobs.keep(tx, blob_of(n), None, NOW))  # type: ignore[misc]
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        start = after
        some, after = await catalog.read(lambda tx, s=start: blobs.free_keys(tx, s, NOW, 2))  # type: ignore[misc]
        found += some
    assert found == [blob_of(number).key for number in range(5)]


async def test_a_lease_keeps_bytes_until_it_ends(catalog: Catalog) -> None:
    await catalog.write(lambda tx: blobs.keep(tx, blob_of(1), None, NOW))
    await catalog.write(lambda tx: blobs.take_lease(tx, digest_of(1), "p", NOW + 10))
    await catalog.write(lambda tx: blobs.take_lease(tx, digest_of(1), "p", NOW + 20))
    assert await mark_free(catalog, NOW + 15) == []
    assert await mark_free(catalog, NOW + 20) == [blob_of(1).key]


async def test_a_quarantined_blob_is_absent_and_a_push_brings_it_back(catalog: Catalog) -> None:
    await catalog.write(lambda tx: put(tx, "a", 1))
    await catalog.write(lambda tx: blobs.quarantine(tx, blob_of(1).key, NOW))
    found = await catalog.read(lambda tx: objects.find_with_blob(tx, home_of(tx), "a"))
    assert found
    assert found[1] is None
    await catalog.write(lambda tx: blobs.keep(tx, blob_of(1, generation=9), None, NOW))
    found = await catalog.read(lambda tx: objects.find_with_blob(tx, home_of(tx), "a"))
    assert found
    assert found[1]
    assert found[1].key == blob_of(1, generation=9).key


async def test_who_holds_a_digest_is_found_by_bucket_and_by_prefix(catalog: Catalog) -> None:
    await catalog.write(lambda tx: put(tx, "uploads/bob/x", 1))
    bucket = await catalog.read(home_of)
    assert await catalog.read(lambda tx: objects.buckets_with(tx, digest_of(1), NOW)) == [bucket.id]
    stop = listing.successor("uploads/bob/")
    held = await catalog.read(lambda tx: objects.names_below(tx, bucket.id, digest_of(1), "uploads/bob/", stop, 9, NOW))
    assert held == ["uploads/bob/x"]
    other = await catalog.read(
        lambda tx: objects.names_below(tx, bucket.id, digest_of(1), "uploads/bo/", "uploads/bo0", 9, NOW)
    )
    assert not other


def home_of(tx: Transaction) -> Bucket:
    found = projects.find_bucket(tx, "p", "bucket")
    assert found
    return found


async def test_expired_names_go_to_the_trash(catalog: Catalog) -> None:
    await catalog.write(lambda tx: put(tx, "old", 1, facts=Facts(expires_at=NOW + 5)))
    await catalog.write(lambda tx: put(tx, "kept", 2))
    assert await catalog.write(lambda tx: objects.remove_expired(tx, NOW + 4, 10)) == 0
    assert await catalog.write(lambda tx: objects.remove_expired(tx, NOW + 5, 10)) == 1
    page = await catalog.read(lambda tx: listing.page(tx, home_of(tx), "", "", 10, now=NOW))
    assert keys(page.items) == ["kept"]


async def test_metadata_and_type_come_back_as_they_went_in(catalog: Catalog) -> None:
    facts = Facts("text/plain; charset=ü", {"a-b_c": "ä\u2028\n", "": ""}, NOW + 9)
    await catalog.write(lambda tx: put(tx, "a", 1, facts=facts))
    found = await catalog.read(lambda tx: objects.find(tx, home_of(tx), "a"))
    assert found
    assert (found.content_type, found.metadata, found.expires_at) == (facts.content_type, facts.metadata, NOW + 9)


async def test_users_and_groups_of_one_name_get_segments_of_their_own(catalog: Catalog) -> None:
    user, group = Area(AreaKind.USER, "bob"), Area(AreaKind.GROUP, "bob")
    first = await catalog.write(lambda tx: projects.claim_segment(tx, group))
    second = await catalog.write(lambda tx: projects.claim_segment(tx, user))
    assert (first, second) == ("bob", "bob.user")
    assert await catalog.write(lambda tx: projects.claim_segment(tx, user)) == "bob.user"
    assert await catalog.read(lambda tx: projects.area_of(tx, "bob.user")) == user


@pytest.mark.parametrize("name", ["a/b", "..", "x" * 129, "bad\x07", ""])
async def test_a_name_unfit_for_a_segment_gets_another(catalog: Catalog, name: str) -> None:
    segment = await catalog.write(lambda tx: projects.claim_segment(tx, Area(AreaKind.USER, name)))
    assert segment.startswith("u-")
    assert len(segment) == 18


async def test_roles_tokens_and_keys_go_with_their_principal(catalog: Catalog) -> None:
    def make(tx: Transaction) -> int:
        project = projects.add(tx, "p", 5, NOW)
        bob = accounts.add(tx, Kind.USER, "bob", NOW, secret_hash="h")
        accounts.set_role(tx, bob.id, project.id, Role.READER)
        accounts.set_role(tx, bob.id, project.id, Role.OWNER)
        accounts.add_token(tx, "jti", bob.id, NOW, NOW + 9)
        accounts.add_key(tx, "key", bob.id, project.id, NOW, hidden=False)
        assert accounts.known(tx, "bob").roles == {project.id: Role.OWNER}
        return bob.id

    await catalog.write(make)
    found = await catalog.read(lambda tx: accounts.of_token(tx, "jti"))
    assert found
    assert (found[0].name, found[1]) == ("bob", NOW)
    await catalog.write(lambda tx: accounts.revoke(tx, "jti"))
    assert await catalog.read(lambda tx: accounts.of_token(tx, "jti")) is None
    await catalog.write(lambda tx: accounts.remove(tx, accounts.known(tx, "bob")))
    assert await catalog.read(lambda tx: accounts.tokens(tx, NOW)) == []
    assert await catalog.read(lambda tx: accounts.find_key(tx, "key")) is None
    with pytest.raises(NotFound):
        await catalog.read(lambda tx: accounts.known(tx, "bob"))


async def test_an_upload_is_completed_by_one_caller_only(catalog: Catalog) -> None:
    project = await catalog.write(lambda tx: projects.add(tx, "p", 100, NOW))
    await catalog.write(
        lambda tx: uploads.begin(tx, "u", project.id, 1, NOW, NOW + 9, size=50, reserve=50, facts={"a": [1]})
    )
    claims = await asyncio.gather(*(catalog.write(lambda tx: uploads.claim(tx, "u")) for _ in range(8)))
    assert sum(claims) == 1


async def test_dropping_an_upload_frees_what_it_reserved(catalog: Catalog) -> None:
    project = await catalog.write(lambda tx: projects.add(tx, "p", 100, NOW))
    await catalog.write(lambda tx: uploads.begin(tx, "u", project.id, 1, NOW, NOW + 9, size=50, reserve=50, facts={}))
    await catalog.write(lambda tx: uploads.add_piece(tx, "u", Piece(0, 10, "s")))
    with pytest.raises(QuotaExceeded):
        await catalog.write(lambda tx: uploads.grow(tx, project.id, "u", 60))
    assert await catalog.write(lambda tx: uploads.drop(tx, "u"))
    assert (await catalog.read(lambda tx: projects.known(tx, "p"))).reserved == 0
    assert await catalog.read(lambda tx: uploads.pieces(tx, "u")) == []


async def test_pieces_replace_each_other_and_drop_what_they_touch(catalog: Catalog) -> None:
    project = await catalog.write(lambda tx: projects.add(tx, "p", 100, NOW))
    await catalog.write(lambda tx: uploads.begin(tx, "u", project.id, 1, NOW, NOW + 9, size=50, reserve=0, facts={}))
    for piece in (Piece(10, 20, "b"), Piece(0, 10, "a"), Piece(10, 20, "c")):
        await catalog.write(lambda tx, piece=piece: uploads.add_piece(tx, "u", piece))  # type: ignore[misc]
    assert [piece.sha256 for piece in await catalog.read(lambda tx: uploads.pieces(tx, "u"))] == ["a", "c"]
    assert await catalog.write(lambda tx: uploads.drop_pieces(tx, "u", 19, 40)) == 1
    assert [piece.sha256 for piece in await catalog.read(lambda tx: uploads.pieces(tx, "u"))] == ["a"]


async def test_one_of_many_gets_a_due_job_and_nobody_before_it_is_due_again(catalog: Catalog) -> None:
    claims = await asyncio.gather(
        *(
            catalog.write(lambda tx, n=n: leases.claim_job(tx, "gc", f"me{n}", NOW, NOW + 60))  # type: ignore[misc]
            for n in range(8)
        )
    )
    assert sum(claims) == 1
    winner = f"me{claims.index(True)}"
    await catalog.write(lambda tx: leases.finish_job(tx, "gc", winner, NOW + 100))
    assert not await catalog.write(lambda tx: leases.claim_job(tx, "gc", "x", NOW + 99, NOW + 160))
    assert await catalog.write(lambda tx: leases.claim_job(tx, "gc", "x", NOW + 100, NOW + 160))


async def test_a_dead_owners_job_is_claimed_when_its_lease_ends(catalog: Catalog) -> None:
    assert await catalog.write(lambda tx: leases.claim_job(tx, "gc", "dead", NOW, NOW + 60))
    assert not await catalog.write(lambda tx: leases.claim_job(tx, "gc", "next", NOW + 59, NOW + 120))
    assert await catalog.write(lambda tx: leases.claim_job(tx, "gc", "next", NOW + 60, NOW + 120))


# --- lists --------------------------------------------------------------------------------------------------------

ALPHABET = "ab/\x01\u00e9\ud7ff\ue000\U0001f600\U0010ffff-"
NAMES = st.text(ALPHABET, min_size=1, max_size=6)


def model_page(names: list[str], prefix: str, after: str, limit: int, delimiter: str) -> list[str]:
    """A page as a reader of the documentation would make it, in memory."""
    items: list[str] = []
    for name in sorted(names):
        if not name.startswith(prefix):
            continue
        cut = name.find(delimiter, len(prefix)) if delimiter else -1
        item = name[: cut + len(delimiter)] + "*" if cut >= 0 else name
        bare = item.removesuffix("*")
        if after and (bare <= after if cut >= 0 else name <= after):
            continue
        if item not in items:
            items.append(item)
    return items[:limit]


@given(
    names=st.lists(NAMES.filter(lambda name: "\x01" not in name), unique=True, max_size=25),
    prefix=st.text("ab/-", max_size=2),
    delimiter=st.sampled_from(["", "/", "b", "//", "\u00e9"]),
    limit=st.integers(1, 6),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_walking_page_by_page_shows_every_name_once_in_order(
    catalog: Catalog, names: list[str], prefix: str, delimiter: str, limit: int
) -> None:
    def fill(tx: Transaction) -> Bucket:
        project = projects.find(tx, "p") or projects.add(tx, "p", MAX_QUOTA, NOW)
        bucket = projects.add_bucket(tx, project, f"b{time.time_ns()}", NOW)
        blobs.keep(tx, blob_of(1), None, NOW)
        for name in names:
            objects.point(tx, bucket, name, digest_of(1), 1, "e", Facts(), ALWAYS, NOW)
        return bucket

    bucket = await catalog.write(fill)
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        marker = after
        page = await catalog.read(lambda tx, m=marker: listing.page(tx, bucket, prefix, m, limit, delimiter, now=NOW))  # type: ignore[misc]
        assert keys(page.items) == model_page(names, prefix, marker, limit, delimiter)
        found += keys(page.items)
        after = page.next
    assert found == model_page(names, prefix, "", 10_000, delimiter)


def test_the_successor_sorts_after_all_that_begin_with_a_prefix() -> None:
    for prefix in ("a", "a\ud7ff", "\U0010ffff", "a\U0010ffff", "z\ue000"):
        assert listing.successor(prefix) > prefix + "\U0010ffff" * 3 or listing.successor(prefix) == listing.END
    assert listing.successor("a\ud7ff") == "a\ue000"
    assert listing.successor("") == listing.END
