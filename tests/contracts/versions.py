"""What the tests of versions share: a bucket, names put into it, and a model in memory of what must come of them."""

import itertools
import time
from dataclasses import dataclass, field, replace

from sqlalchemy import func, select

from entrepot.catalog import blobs, objects, projects, versions
from entrepot.catalog.database import Query, Transaction
from entrepot.catalog.schema import object_part, object_version, reference
from entrepot.model import (
    ALWAYS,
    EMPTY_DIGEST,
    MAX_QUOTA,
    Bucket,
    Condition,
    Digest,
    Facts,
    Stamp,
    StoredObject,
    VersionId,
)
from entrepot.model import Blob as Bytes

NOW = 1_800_000_000.0
NEVER, ENABLED, SUSPENDED = "", "Enabled", "Suspended"
STATES = (NEVER, ENABLED, SUSPENDED)
_serial = itertools.count()
TRASH = Query(select(func.count()).select_from(object_version).where(object_version.c.kept == 0))
REFERENCES = Query(select(func.count()).select_from(reference))
PARTS = Query(select(func.count()).select_from(object_part))


def count(tx: Transaction, query: Query) -> int:
    row = tx.row(query)
    assert row
    number: int = row[0]
    return number


def new_bucket(tx: Transaction, state: str = NEVER, quota: int = MAX_QUOTA) -> Bucket:
    """An empty bucket of a project of its own."""
    project = projects.add(tx, f"p{time.time_ns()}-{next(_serial)}", quota, NOW)
    return in_state(tx, projects.add_bucket(tx, project, "bucket", NOW), state)


def in_state(tx: Transaction, bucket: Bucket, state: str) -> Bucket:
    projects.set_versioning(tx, bucket.id, state)
    return replace(bucket, versioning=state)


def put(
    tx: Transaction, bucket: Bucket, key: str, size: int = 10, now: float = NOW, condition: Condition = ALWAYS,
    facts: Facts | None = None,
) -> StoredObject:  # fmt: skip
    digest = Digest(f"{size:064x}")
    bytes_ = Bytes(digest, size, f"{digest.hex}.0", {}, NOW, Stamp(size, 1, 2))
    blobs.keep(tx, bytes_, None, now)
    return objects.point(tx, bucket, key, digest, size, f"etag{size}", facts or Facts(), condition, now)


def counted(tx: Transaction, bucket: Bucket) -> tuple[int, int]:
    """Bytes and live names of its project."""
    found = projects.known(tx, bucket.project)
    return found.used, found.objects


@dataclass
class Version:
    number: int
    null: bool
    marker: bool = False
    size: int = 0
    extra: dict[str, object] = field(default_factory=dict)


@dataclass
class Model:
    """What a reader of S3's documentation would keep: of each name all versions, the newest first."""

    state: str = NEVER
    names: dict[str, list[Version]] = field(default_factory=dict)
    trash: dict[int, tuple[float, Version]] = field(default_factory=dict)

    def of(self, key: str) -> list[Version]:
        return self.names.setdefault(key, [])

    def live(self, key: str) -> Version | None:
        return next((one for one in self.of(key)[:1] if not one.marker), None)

    def throw(self, key: str, version: Version | None, now: float) -> None:
        if version:
            self.of(key).remove(version)
            self.trash[version.number] = (now, version)

    def find(self, key: str, number: int | None) -> Version | None:
        return next((one for one in self.of(key) if (one.null if number is None else one.number == number)), None)

    def push(self, key: str, version: Version, now: float) -> None:
        """A new version: there is only one without a number."""
        if version.null:
            self.throw(key, self.find(key, None), now)
        self.of(key).insert(0, version)

    def page(
        self, prefix: str, after: str, after_number: int | None, delimiter: str
    ) -> list[tuple[str, int | None, bool]]:
        """All that is listed behind two markers: name or folded prefix, number, whether it is the latest."""
        found: list[tuple[str, int | None, bool]] = []
        for key in sorted(name for name, kept in self.names.items() if kept and name.startswith(prefix)):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                item = (key[: cut + len(delimiter)], None, False)
                found += [item] if item[0] > after and item not in found else []
                continue
            for version in self.of(key):
                older = key == after and after_number is not None and version.number < after_number
                if key > after or older:
                    found.append((key, version.number, version is self.of(key)[0]))
        return found


def same(found: StoredObject | None, wanted: Version | None) -> bool:
    if found is None or wanted is None:
        return found is None and wanted is None
    assert (found.unversioned, found.marker, found.extra) == (wanted.null, wanted.marker, wanted.extra)
    assert found.digest == (EMPTY_DIGEST if wanted.marker else Digest(f"{wanted.size:064x}"))
    return (found.version, found.size) == (wanted.number, wanted.size)


def check(tx: Transaction, bucket: Bucket, model: Model, before: int) -> None:
    """Everything the catalog says is what the model says; `before`: references of other buckets."""
    all_of = [one for versions_ in model.names.values() for one in versions_]
    live = [one for key in model.names if (one := model.live(key))]
    assert counted(tx, bucket) == (sum(one.size for one in all_of), len(live))
    assert count(tx, TRASH) == len(model.trash)
    with_bytes = [one for one in (*all_of, *(one for _, one in model.trash.values())) if not one.marker]
    assert count(tx, REFERENCES) - before == len(with_bytes)
    for key, kept in model.names.items():
        assert same(objects.find(tx, bucket, key), model.live(key))
        for number in {one.number for one in kept if not one.null} | {1}:
            assert same(objects.find_any(tx, bucket, key, number), model.find(key, number))
        assert same(objects.find_any(tx, bucket, key, None), model.find(key, None))
        for one in kept[1 if model.live(key) else 0 :]:
            found = versions.find_with_blob(tx, bucket, key, None if one.null else one.number)
            assert found
            assert same(found[0], one)
            assert (found[1] is None) == one.marker


Op = tuple[str, str, int]
"""What is done, to which name, with which number."""


def apply(tx: Transaction, bucket: Bucket, model: Model, op: Op, now: float) -> Bucket:
    what, key, number = op
    null = bucket.versioning != ENABLED
    kept = model.of(key) if key else []
    one = kept[number] if 0 <= number < len(kept) else None
    if what == "put":
        made = put(tx, bucket, key, number, now)
        assert made.version_id == ("" if not bucket.versioning else str(VersionId.of(made.version, unversioned=null)))
        model.push(key, Version(made.version, null, size=number), now)
    elif what == "delete":
        old, marker = objects.remove(tx, bucket, key, now)
        assert same(old, model.live(key))
        assert (marker is not None) == bool(bucket.versioning)
        if marker:
            model.push(key, Version(marker.version, null, marker=True), now)
        else:
            model.throw(key, model.live(key), now)
    elif what == "drop":
        wanted = one or model.find(key, None if number == -1 else 1)
        asked = (None if one.null else one.number) if one else (None if number == -1 else 1)
        assert same(objects.remove_version(tx, bucket, key, asked, now), wanted)
        model.throw(key, wanted, now)
    elif what == "extra" and one:
        one.extra = {"tags": {"step": now}}
        stored = objects.find_any(tx, bucket, key, None if one.null else one.number)
        assert stored
        objects.set_extra(tx, bucket, stored, one.extra)
    elif what == "state":
        bucket = in_state(tx, bucket, STATES[number])
        model.state = bucket.versioning
    elif what == "purge":
        due = [version for version, (at, _) in model.trash.items() if at <= now - number]
        assert versions.purge_trash(tx, now - number, 1000) == len(due)
        model.trash = {version: row for version, row in model.trash.items() if version not in due}
    return bucket
