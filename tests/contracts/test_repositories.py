"""What the catalog promises of repositories, manifests and tags, the same on SQLite and on PostgreSQL."""

import asyncio
import itertools

import pytest

from entrepot.catalog import blobs, manifests, projects, repositories, tags
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.manifests import Manifest
from entrepot.formats.image_manifest import OCI_MANIFEST
from entrepot.model import MAX_QUOTA, Algorithm, Blob, Digest, Repository, Stamp

NOW = 1_800_000_000.0
_later = itertools.count(1)
"""Ids of rows never go back within a process: a test about times has some of its own."""
NAMES = ["-", ".", "0", "B", "Z", "_", "a", "a-", "a.1", "a0", "aB", "b"]
"""In the order of their bytes, which no language's rules would give."""


def digest_of(number: int) -> Digest:
    return Digest(f"{number:064x}")


def sha512_of(number: int) -> str:
    return f"{number:0128x}"


def keep(tx: Transaction, number: int, size: int = 10) -> Blob:
    digest = digest_of(number)
    checksums = {Algorithm.SHA512: sha512_of(number)}
    found = Blob(digest, size, f"{digest.hex}.00000000", checksums, NOW, Stamp(size, 1, 2), None)
    blobs.keep(tx, found, None, NOW)
    return found


def home(tx: Transaction, path: str = "a/b") -> Repository:
    made = projects.find(tx, "p") or projects.add(tx, "p", MAX_QUOTA, NOW)
    return repositories.add(tx, made.id, path, NOW)


def push(
    tx: Transaction,
    where: Repository,
    number: int,
    *named: int,
    subject: str | None = None,
    artifact_type: str | None = None,
    now: float = NOW,
) -> Manifest:
    """A manifest that names those blobs."""
    found = keep(tx, number)
    made = manifests.add(tx, where.id, found, None, OCI_MANIFEST, artifact_type, subject, {"a": "ü"}, now)
    manifests.refer(tx, made.id, where.id, [(keep(tx, one).digest, 10) for one in named])
    return made


async def test_a_name_is_one_repository_however_many_make_it_at_once(catalog: Catalog) -> None:
    await catalog.write(lambda tx: projects.add(tx, "p", MAX_QUOTA, NOW))
    made = await asyncio.gather(*(catalog.write(home) for _ in range(8)))
    assert len({one.id for one in made}) == 1
    assert made[0] == await catalog.read(lambda tx: repositories.find(tx, "a/b"))
    assert await catalog.read(lambda tx: repositories.find(tx, "a")) is None


async def test_a_repository_is_as_its_owners_configured_it(catalog: Catalog) -> None:
    where = await catalog.write(home)
    assert (where.public, where.config) == (False, {})
    await catalog.write(lambda tx: repositories.configure(tx, where.id, {"immutable_tags": ["v*"]}, public=True))
    found = await catalog.read(lambda tx: repositories.by_id(tx, where.id))
    assert found
    assert (found.public, found.config) == (True, {"immutable_tags": ["v*"]})


async def test_repositories_with_something_in_them_come_in_order_of_their_bytes(catalog: Catalog) -> None:
    paths = ["a-b/x", "a/b", "a/b/c", "a0", "b"]

    def fill(tx: Transaction) -> None:
        for number, path in enumerate(reversed(paths)):
            push(tx, home(tx, path), number)
        home(tx, "a/empty")
        manifests.to_trash(tx, push(tx, home(tx, "a/gone"), 99).id, NOW)

    await catalog.write(fill)
    found = await catalog.read(lambda tx: [one.path for one in repositories.page(tx, "", 10)])
    assert found == paths
    assert await catalog.read(lambda tx: [one.path for one in repositories.page(tx, "a/b", 2)]) == ["a/b/c", "a0"]


@pytest.mark.parametrize(("path", "first", "below"), [("a/b", "a", True), ("a-b/x", "a", False), ("a", "a", False)])
async def test_what_lies_below_a_first_component(catalog: Catalog, path: str, first: str, below: bool) -> None:
    await catalog.write(lambda tx: home(tx, path))
    assert await catalog.read(lambda tx: repositories.is_below(tx, first)) is below


# --- tags ------------------------------------------------------------------------------------------------------------


async def test_tags_come_in_order_of_their_bytes_from_any_text_on(catalog: Catalog) -> None:
    def fill(tx: Transaction) -> int:
        where = home(tx)
        push(tx, where, 1)
        for name in reversed(NAMES):
            tags.point(tx, where.id, name, digest_of(1), "someone", NOW)
        return where.id

    where = await catalog.write(fill)
    assert await catalog.read(lambda tx: tags.page(tx, where, "", 100)) == NAMES
    for last in ("", "A", "a", "a/", "~"):
        expected = [name for name in NAMES if name > last][:3]
        assert await catalog.read(lambda tx, last=last: tags.page(tx, where, last, 3)) == expected  # type: ignore[misc]


async def test_a_tag_is_read_as_it_was_at_the_end_of_any_second(catalog: Catalog) -> None:
    moves: list[tuple[float, int | None]] = [(10.0, 1), (10.9, 2), (11.0, 3), (20.5, None), (30.0, 1)]
    begun = NOW + 1000 * next(_later)

    def move(tx: Transaction) -> int:
        where = home(tx)
        for number in (1, 2, 3):
            push(tx, where, number)
        for at, moved in moves:
            if moved is None:
                assert tags.remove(tx, where.id, "t", "someone", begun + at)
            else:
                tags.point(tx, where.id, "t", digest_of(moved), "someone", begun + at)
        return where.id

    where = await catalog.write(move)
    expected = {9: None, 10: 2, 11: 3, 19: 3, 20: None, 29: None, 30: 1, 99: 1}
    for second, number in expected.items():
        found = await catalog.read(lambda tx, at=int(begun) + second: tags.at(tx, where, "t", at))  # type: ignore[misc]
        assert found == (digest_of(number) if number else None), second
    history = await catalog.read(lambda tx: tags.history(tx, where, "t", 10))
    assert [one.digest for one in history] == [digest_of(n) if n else None for _, n in reversed(moves)]
    assert history[0].principal == "someone"


async def test_a_tag_that_is_not_there_is_not_removed(catalog: Catalog) -> None:
    where = await catalog.write(home)
    assert not await catalog.write(lambda tx: tags.remove(tx, where.id, "t", "someone", NOW))
    assert await catalog.read(lambda tx: tags.history(tx, where.id, "t", 10)) == []


# --- manifests -------------------------------------------------------------------------------------------------------


async def test_one_statement_opens_a_manifest_by_digest_or_by_tag(catalog: Catalog) -> None:
    def fill(tx: Transaction) -> Repository:
        where = home(tx)
        push(tx, where, 1)
        tags.point(tx, where.id, "t", digest_of(1), "someone", NOW)
        return where

    where = await catalog.write(fill)
    by_digest = await catalog.read(lambda tx: manifests.open_digest(tx, "a/b", digest_of(1)))
    by_tag = await catalog.read(lambda tx: manifests.open_tag(tx, "a/b", "t"))
    assert by_digest == by_tag
    assert by_digest
    assert by_digest.blob
    assert (by_digest.repository_id, by_digest.media_type, by_digest.blob.digest) == (
        where.id, OCI_MANIFEST, digest_of(1),
    )  # fmt: skip
    for place in (
        await catalog.read(lambda tx: manifests.open_digest(tx, "a/b", digest_of(2))),
        await catalog.read(lambda tx: manifests.open_tag(tx, "a/b", "T")),
    ):
        assert place
        assert (place.repository_id, place.media_type, place.blob) == (where.id, None, None)
    assert await catalog.read(lambda tx: manifests.open_tag(tx, "a", "t")) is None


async def test_a_manifest_in_the_trash_names_nothing_and_holds_everything(catalog: Catalog) -> None:
    def fill(tx: Transaction) -> Manifest:
        return push(tx, home(tx), 1, 2, 3)

    made = await catalog.write(fill)
    where = made.repository_id
    assert await catalog.read(lambda tx: manifests.named_by(tx, where, digest_of(2), 9)) == [digest_of(1)]
    await catalog.write(lambda tx: manifests.to_trash(tx, made.id, NOW))
    assert await catalog.read(lambda tx: manifests.find(tx, where, digest_of(1))) is None
    assert not await catalog.read(lambda tx: manifests.is_named(tx, where, digest_of(2)))
    assert (await catalog.read(lambda tx: blobs.free_keys(tx, "", NOW + 9e9, 10)))[0] == []
    await catalog.write(lambda tx: manifests.restore(tx, made.id))
    assert await catalog.read(lambda tx: manifests.find(tx, where, digest_of(1))) == made
    assert await catalog.read(lambda tx: manifests.is_named(tx, where, digest_of(2)))


async def test_the_trash_is_emptied_in_its_time(catalog: Catalog) -> None:
    def fill(tx: Transaction) -> int:
        where = home(tx)
        for number, at in ((1, NOW), (2, NOW + 10)):
            manifests.to_trash(tx, push(tx, where, number, 3).id, at)
        return where.id

    where = await catalog.write(fill)
    assert await catalog.write(lambda tx: manifests.purge_trash(tx, NOW + 5, 10)) == 1
    assert await catalog.read(lambda tx: manifests.find_removed(tx, where, digest_of(1))) is None
    assert await catalog.read(lambda tx: manifests.find_removed(tx, where, digest_of(2)))
    free, _ = await catalog.read(lambda tx: blobs.free_keys(tx, "", NOW + 9e9, 10))
    assert [key.partition(".")[0] for key in free] == [digest_of(1).hex]


async def test_a_manifest_pushed_deleted_and_pushed_again_is_there_once(catalog: Catalog) -> None:
    def again(tx: Transaction) -> int:
        where = home(tx)
        for _ in range(3):
            manifests.to_trash(tx, push(tx, where, 1, 2).id, NOW)
        push(tx, where, 1, 2)
        return where.id

    where = await catalog.write(again)
    assert await catalog.read(lambda tx: manifests.find(tx, where, digest_of(1)))
    assert await catalog.read(lambda tx: manifests.named_by(tx, where, digest_of(2), 9)) == [digest_of(1)]
    assert await catalog.write(lambda tx: manifests.purge_trash(tx, NOW, 10)) == 3
    assert await catalog.read(lambda tx: manifests.find(tx, where, digest_of(1)))


async def test_bytes_of_two_manifests_are_those_of_neither_alone(catalog: Catalog) -> None:
    def fill(tx: Transaction) -> tuple[int, int]:
        where = home(tx)
        return push(tx, where, 1, 3, 4).id, push(tx, where, 2, 4, 5, 6).id

    first, second = await catalog.write(fill)
    assert await catalog.read(lambda tx: manifests.bytes_alone(tx, first)) == 20
    assert await catalog.read(lambda tx: manifests.bytes_alone(tx, second)) == 30
    await catalog.write(lambda tx: manifests.to_trash(tx, first, NOW))
    assert await catalog.read(lambda tx: manifests.bytes_alone(tx, second)) == 40


async def test_referrers_come_by_either_digest_of_their_subject_in_order_and_by_type(catalog: Catalog) -> None:
    by_256, by_512 = f"sha256:{digest_of(9).hex}", f"sha512:{sha512_of(9)}"

    def fill(tx: Transaction) -> int:
        where = home(tx)
        push(tx, where, 4, subject=by_256, artifact_type="x/a")
        push(tx, where, 2, subject=by_512, artifact_type="x/b")
        push(tx, where, 3, subject=by_256)
        push(tx, where, 5)
        push(tx, home(tx, "other"), 6, subject=by_256)
        manifests.to_trash(tx, push(tx, where, 7, subject=by_256).id, NOW)
        return where.id

    where = await catalog.write(fill)

    async def ask(kind: str | None = None, after: str = "", limit: int = 10) -> list[int]:
        found = await catalog.read(lambda tx: manifests.referrers(tx, where, [by_256, by_512], kind, after, limit))
        return [int(one.digest.hex, 16) for one in found]

    assert await ask() == [2, 3, 4]
    assert await ask("x/a") == [4]
    assert await ask("x/none") == []
    assert await ask(after=digest_of(2).hex, limit=1) == [3]


async def test_a_copy_names_what_the_first_does_in_another_repository(catalog: Catalog) -> None:
    def fill(tx: Transaction) -> tuple[Manifest, int]:
        made, other = push(tx, home(tx), 1, 2, artifact_type="x/a"), home(tx, "other")
        manifests.copy(tx, made.id, other.id, NOW + 5)
        return made, other.id

    made, other = await catalog.write(fill)
    copied = await catalog.read(lambda tx: manifests.find(tx, other, digest_of(1)))
    assert copied
    assert (copied.artifact_type, copied.annotations, copied.created_at) == ("x/a", {"a": "ü"}, NOW + 5)
    found = await catalog.read(lambda tx: list(manifests.repositories_naming(tx, digest_of(2))))
    assert found == sorted([made.repository_id, other])
    await catalog.write(lambda tx: manifests.to_trash(tx, made.id, NOW))
    assert await catalog.read(lambda tx: list(manifests.repositories_naming(tx, digest_of(2)))) == [other]
