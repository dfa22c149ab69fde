"""The job that carries out lifecycle rules: names, versions, markers and uploads go when their time is over."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from entrepot.catalog import projects
from entrepot.errors import NotFound, NoUpload
from entrepot.model import Algorithm, CommonPrefix, Facts, ObjectName
from tests.faults.inside import BUCKET, Inside, opened_inside

DAY = 86400
NAME = ObjectName(BUCKET, "")


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    async with opened_inside(tmp_path / "data") as found:
        yield found


async def govern(inside: Inside, *rules: dict[str, Any], versioning: str = "") -> None:
    """The bucket has those rules from now on."""
    full = [{"id": str(n), "enabled": True, "form": "filter", "tags": {}, **rule} for n, rule in enumerate(rules)]

    def change(tx: Any) -> None:
        bucket = projects.find_bucket(tx, "default", BUCKET)
        assert bucket
        projects.set_config(tx, bucket.id, {"lifecycle": full})
        if versioning:
            projects.set_versioning(tx, bucket.id, versioning)

    await inside.catalog.write(change)


async def age(inside: Inside, table: str, days: float) -> None:
    """All that is there was made that long ago."""
    await inside.catalog.write(
        lambda tx: tx._connection.execute(f"UPDATE {table} SET created_at = created_at - {days * DAY}")
    )


async def shown(inside: Inside) -> list[tuple[str, bool]]:
    """All versions: the key, and whether it is a marker."""
    page = await inside.objects.names.list_versions(inside.principal, NAME)
    return [(item.key, item.marker) for item, _ in page.items if not isinstance(item, CommonPrefix)]


async def test_names_go_after_their_days_and_only_those_the_rule_governs(inside: Inside) -> None:
    await govern(inside, {"prefix": "logs/", "days": 3})
    for key in ("logs/a", "logs/b", "kept"):
        await inside.put(key, b"x")
    assert (await inside.job("lifecycle"))["objects"] == 0
    await age(inside, "object", 2)
    assert (await inside.job("lifecycle"))["objects"] == 0
    await age(inside, "object", 3)
    assert (await inside.job("lifecycle"))["objects"] == 2
    assert await shown(inside) == [("kept", False)]


async def test_a_rule_that_is_off_does_nothing(inside: Inside) -> None:
    await govern(inside, {"days": 1, "enabled": False})
    await inside.put("a", b"x")
    await age(inside, "object", 9)
    assert not any((await inside.job("lifecycle")).values())


async def test_in_a_bucket_with_versions_expiry_leaves_a_marker_and_old_versions_go_by_their_own_days(
    inside: Inside,
) -> None:
    await govern(inside, {"days": 5}, {"noncurrent_days": 2, "kept_versions": 1}, versioning="Enabled")
    for data in (b"1", b"22", b"333", b"4444"):
        await inside.put("a", data)
    await age(inside, "object_version", 10)
    await age(inside, "object", 3)
    counts = await inside.job("lifecycle")
    assert (counts["objects"], counts["versions"]) == (0, 2), "the newest of the old ones is kept"
    assert await shown(inside) == [("a", False), ("a", False)]
    await age(inside, "object", 6)
    assert (await inside.job("lifecycle"))["objects"] == 1
    assert await shown(inside) == [("a", True), ("a", False), ("a", False)]
    with pytest.raises(NotFound):
        await inside.read("a")


async def test_a_marker_alone_goes_if_the_rule_says_so(inside: Inside) -> None:
    await govern(inside, {"lone_markers": True}, versioning="Enabled")
    await inside.put("a", b"x")
    await inside.delete("a")
    await inside.delete("never was")
    assert (await inside.job("lifecycle"))["versions"] == 1
    assert await shown(inside) == [("a", True), ("a", False)]


async def test_a_locked_version_stays(inside: Inside) -> None:
    await govern(inside, {"noncurrent_days": 1}, versioning="Enabled")
    await inside.put("a", b"x")
    until = time.time() + DAY
    await inside.objects.names.change_extra(
        inside.principal,
        ObjectName(BUCKET, "a"),
        None,
        lambda _, __: {"retention": {"mode": "COMPLIANCE", "until": until}},
    )
    await inside.put("a", b"y")
    await age(inside, "object", 5)
    await age(inside, "object_version", 5)
    assert (await inside.job("lifecycle"))["versions"] == 0


async def test_uploads_begun_too_long_ago_are_forgotten(inside: Inside) -> None:
    await govern(inside, {"upload_days": 2, "prefix": "a"})
    multipart = inside.server.s3.multipart.multipart
    facts = Facts(extra={"checksum": {"algorithm": "CRC32", "type": "FULL_OBJECT"}})
    names = {key: ObjectName(BUCKET, key) for key in ("a", "b")}
    ids = {key: await multipart.begin(inside.principal, name, facts, Algorithm.CRC32) for key, name in names.items()}
    assert (await inside.job("lifecycle"))["uploads"] == 0
    await age(inside, "upload", 4)
    assert (await inside.job("lifecycle"))["uploads"] == 1
    with pytest.raises(NoUpload):
        await multipart.find(inside.principal, names["a"], ids["a"])
    assert (await multipart.find(inside.principal, names["b"], ids["b"])).state == "open"


async def test_more_versions_than_a_page_are_walked_whole(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("entrepot.jobs.lifecycle.PAGE", 3)
    await govern(inside, {"noncurrent_days": 1}, versioning="Enabled")
    for key in ("a", "b", "c"):
        for number in range(4):
            await inside.put(key, b"x" * (number + 1))
    await age(inside, "object", 5)
    await age(inside, "object_version", 5)
    assert (await inside.job("lifecycle"))["versions"] == 9
    assert await shown(inside) == [("a", False), ("b", False), ("c", False)]
