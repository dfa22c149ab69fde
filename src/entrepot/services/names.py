"""Names in buckets without their bytes: lists, versions, what is kept beside them, deletion."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from entrepot.catalog import audit, listing, objects, versions
from entrepot.catalog.database import Catalog, Transaction
from entrepot.errors import Locked, MarkerAsked, NotFound, NoVersion
from entrepot.failpoints import failpoint
from entrepot.model import ALWAYS, Bucket, Clock, Condition, ObjectName, Page, StoredObject, VersionId, VersionPage
from entrepot.names import is_key
from entrepot.principals import Action, Principal
from entrepot.services.places import VIRTUAL, allowed, asking, is_allowed
from entrepot.services.retention import is_locked
from entrepot.services.shown import Shown

BYPASS: Final = "s3:BypassGovernanceRetention"
"""Passing over a GOVERNANCE lock, which takes a right of its own."""


def id_of(stored: StoredObject) -> VersionId:
    """The id of that version."""
    return VersionId.of(stored.version, unversioned=stored.unversioned)


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was removed, and the marker that stands in its place; both None if there was nothing."""

    removed: StoredObject | None
    marker: StoredObject | None


@dataclass(frozen=True, slots=True)
class Names:
    """Names over one catalog."""

    catalog: Catalog
    now: Clock
    shown: Shown

    async def page(
        self,
        principal: Principal,
        name: ObjectName,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
        delimiter: str = "",
    ) -> Page:
        """A page of the live names of the bucket of `name`. Raises: NotFound; Denied; Unauthenticated."""

        def look_up(tx: Transaction) -> Page:
            if name.bucket in VIRTUAL:
                return self.shown.page(tx, principal, name, prefix, after, limit, delimiter) if limit else Page(())
            bucket, _ = allowed(tx, principal, Action.LIST, replace(name, key=prefix))
            if not limit:
                return Page(())
            return listing.page(tx, bucket, prefix, after, limit, delimiter, now=self.now())

        return await self.catalog.read(look_up)

    async def list_versions(
        self,
        principal: Principal,
        name: ObjectName,
        *,
        prefix: str = "",
        after: str = "",
        after_version: VersionId | None = None,
        limit: int = 1000,
        delimiter: str = "",
    ) -> VersionPage:
        """A page of all versions, newest first for each name. Raises: NotFound; Denied; Unauthenticated."""

        def look_up(tx: Transaction) -> VersionPage:
            bucket, _ = allowed(tx, principal, Action.LIST, replace(name, key=prefix))
            if not limit:
                return VersionPage(())
            number: int | None = None
            if after_version:
                marker = objects.find_any(tx, bucket, after, after_version.number)
                number = marker.version if marker else after_version.number
            return listing.version_page(tx, bucket, prefix, after, number, limit, delimiter, now=self.now())

        return await self.catalog.read(look_up)

    async def change_extra(
        self,
        principal: Principal,
        name: ObjectName,
        version: VersionId | None,
        change: Callable[[StoredObject, Bucket], Mapping[str, Any]],
    ) -> StoredObject:
        """The object, with what `change` says protocols keep of it. Raises: NotFound; Denied; what `change` raises."""

        def set_extra(tx: Transaction) -> StoredObject:
            bucket, _ = allowed(tx, principal, Action.OVERWRITE, name, version)
            objects.locked(tx, bucket, name.key)
            stored = self.version(tx, bucket, name.key, version)
            extra = change(stored, bucket)
            objects.set_extra(tx, bucket, stored, extra)
            text = f"{bucket.name}/{name.key}"
            audit.record(tx, principal, "change", self.now(), project_id=bucket.project_id, name=text)
            return replace(stored, extra=extra)

        return await self.catalog.write(set_extra)

    async def describe(
        self, principal: Principal, name: ObjectName, version: VersionId | None
    ) -> tuple[StoredObject, Bucket]:
        """The object without its bytes, and its bucket. Raises: NotFound; Denied; Unauthenticated."""

        def look_up(tx: Transaction) -> tuple[StoredObject, Bucket]:
            bucket, _ = allowed(tx, principal, Action.GET, name, version)
            return self.version(tx, bucket, name.key, version), bucket

        return await self.catalog.probe(look_up)

    def version(self, tx: Transaction, bucket: Bucket, key: str, version: VersionId | None) -> StoredObject:
        """What the name points to, or that version of it. Raises: NotFound, NoVersion, Deleted, MarkerAsked."""
        if version is None:
            found = objects.find(tx, bucket, key)
            if found is None and bucket.versioning:
                versions.check_not_deleted(tx, bucket, key)
        else:
            found = objects.find_any(tx, bucket, key, version.number)
        if found is None or objects.is_over(found, self.now()):
            raise NotFound("no such object") if version is None else NoVersion("no such version")
        if found.marker:
            raise MarkerAsked(found.version_id)
        return found

    async def delete(
        self,
        principal: Principal,
        name: ObjectName,
        version: VersionId | None = None,
        condition: Condition = ALWAYS,
        *,
        bypass: bool = False,
    ) -> Deletion:
        """The name is gone, or one version of it. `bypass` passes over a GOVERNANCE lock.

        Raises: Denied, also for a locked version; NotFound for the bucket; PreconditionFailed.
        """
        done = await self.catalog.write(lambda tx: self.remove(tx, principal, name, version, condition, bypass=bypass))
        failpoint("name.deleted")
        return done

    def remove(
        self,
        tx: Transaction,
        principal: Principal,
        name: ObjectName,
        version: VersionId | None = None,
        condition: Condition = ALWAYS,
        *,
        bypass: bool = False,
    ) -> Deletion:
        """As `delete`, within a commit."""
        word = "s3:DeleteObject" if version is None else "s3:DeleteObjectVersion"
        bucket, _ = allowed(tx, asking(principal, word), Action.DELETE, name)
        if not is_key(name.key, bucket.areas):
            return Deletion(None, None)
        now = self.now()
        marker: StoredObject | None = None
        if version is None:
            removed, marker = objects.remove(tx, bucket, name.key, now, condition)
        else:
            old = objects.find_any(tx, bucket, name.key, version.number)
            objects.check(old, condition)
            bypass = bypass and is_allowed(tx, asking(principal, BYPASS), Action.DELETE, bucket, name.key)
            if old and is_locked(old.extra.get("retention"), old.extra.get("hold"), now, bypass):
                raise Locked("the version is locked", why="it has a retention date or a legal hold")
            removed = objects.remove_version(tx, bucket, name.key, version.number, now)
        if removed or marker:
            digest = removed.digest.hex if removed and not removed.marker else None
            text = f"{bucket.name}/{name.key}"
            audit.record(tx, principal, "delete", now, project_id=bucket.project_id, name=text, digest=digest)
        return Deletion(removed, marker)
