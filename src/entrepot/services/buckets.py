"""Buckets as S3 clients see them: one name space for all, versions, and what protocols keep of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from entrepot.auth.grants import canonical_id, reaches
from entrepot.auth.permissions import authorize, require_known
from entrepot.catalog import audit, projects
from entrepot.catalog.database import Catalog, Transaction
from entrepot.errors import Denied, NotFound
from entrepot.model import Bucket, Clock, ObjectName, VersionId
from entrepot.principals import Action, Principal, Resource
from entrepot.services import sharing
from entrepot.services.identity import DEFAULT_PROJECT
from entrepot.services.places import allowed, asking, check_not_denied, decide, find_bucket


class TakenElsewhere(Exception):
    """Another project has a bucket of that name."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Buckets of all projects."""

    catalog: Catalog
    now: Clock

    async def mine(self, principal: Principal) -> list[Bucket]:
        """The buckets of the caller's own project, by name. Raises: Unauthenticated; NotFound."""
        require_known(principal)

        def look_up(tx: Transaction) -> list[Bucket]:
            home = projects.known(tx, principal.project)
            authorize(principal, Action.LIST, Resource(home.id))
            return projects.buckets(tx, home.id)

        return await self.catalog.read(look_up)

    async def find(
        self, principal: Principal, name: ObjectName, action: Action, version: VersionId | None = None
    ) -> Bucket:
        """The bucket of `name`, if that may be done to it, or to the key in it. Raises: NoBucket; Denied."""
        return await self.catalog.probe(lambda tx: allowed(tx, principal, action, name, version)[0])

    async def may(self, principal: Principal, name: ObjectName, action: Action) -> bool:
        """Whether the principal may do that there."""
        try:
            await self.find(principal, name, action)
        except (Denied, NotFound):
            return False
        return True

    async def check_may_be_allowed(
        self, principal: Principal, name: ObjectName, action: Action, version: VersionId | None = None
    ) -> None:
        """Nothing, if a role, policy or grant may let the principal do that, to that key or if it is empty to some.

        It costs little and is asked before a body is read. Raises: NoBucket; Denied.
        """

        def look_up(tx: Transaction) -> None:
            bucket = find_bucket(tx, principal, name.bucket, name.project, anywhere=name.anywhere)
            if not sharing.WORDS & bucket.config.keys():
                decide(tx, principal, action, bucket, name.key, version)

        await self.catalog.probe(look_up)

    async def find_for_write(
        self, principal: Principal, name: ObjectName, beside: Sequence[str], above: Sequence[str]
    ) -> Bucket:
        """The bucket of `name`, if the principal may create that key there, and what the write does beside it.

        `beside` are operations that a policy may deny to who may create it, `above` those that take a right of their
        own. Raises: NoBucket; Denied.
        """

        def look_up(tx: Transaction) -> Bucket:
            bucket, _ = allowed(tx, principal, Action.CREATE, name)
            for operation in beside:
                check_not_denied(tx, principal, operation, Action.CREATE, bucket, name.key)
            for operation in above:
                decide(tx, asking(principal, operation), Action.OVERWRITE, bucket, name.key)
            return bucket

        return await self.catalog.probe(look_up)

    async def check_may_publish(self, principal: Principal, name: ObjectName) -> None:
        """Nothing, if the principal may open to others what it writes there. Raises: NoBucket; Denied."""

        def look_up(tx: Transaction) -> None:
            bucket = find_bucket(tx, principal, name.bucket, name.project, anywhere=name.anywhere)
            if not sharing.writes_by_grant(tx, principal, bucket):
                decide(tx, asking(principal, "s3:PutObjectAcl"), Action.OVERWRITE, bucket, name.key)

        await self.catalog.probe(look_up)

    async def public(self, name: ObjectName) -> Bucket | None:
        """That bucket as a stranger finds it, whatever it may do there."""

        def look_up(tx: Transaction) -> Bucket | None:
            found = projects.find_bucket(tx, name.project or DEFAULT_PROJECT, name.bucket)
            return found or (projects.oldest_bucket(tx, name.bucket) if name.anywhere else None)

        return await self.catalog.probe(look_up)

    async def create(
        self, principal: Principal, name: str, config: Mapping[str, Any], versioning: str = ""
    ) -> tuple[Bucket, bool]:
        """That bucket of the caller's project, made if it is missing; whether it was.

        Raises: TakenElsewhere; Unauthenticated; Denied; NotFound.
        """
        require_known(principal)

        def create(tx: Transaction) -> tuple[Bucket, bool]:
            home = projects.known(tx, principal.project)
            opens = reaches(config.get("acl", ()), home.name)
            authorize(principal, Action.OVERWRITE if opens else Action.CREATE, Resource(home.id))
            found = projects.find_bucket(tx, home.name, name)
            if found:
                return found, False
            if projects.oldest_bucket(tx, name):
                raise TakenElsewhere
            made = projects.add_bucket(tx, home, name, self.now(), config=config)
            if versioning:
                projects.set_versioning(tx, made.id, versioning)
            audit.record(tx, principal, "put bucket", self.now(), project_id=home.id, name=name)
            return replace(made, versioning=versioning), True

        return await self.catalog.write(create)

    async def configure(
        self,
        principal: Principal,
        name: ObjectName,
        change: Callable[[Bucket], Mapping[str, Any]],
        *,
        versioning: str | None = None,
    ) -> Bucket:
        """The bucket with another configuration: `change` says which, or refuses. Raises: NoBucket; Denied."""

        def configure(tx: Transaction) -> Bucket:
            found, _ = allowed(tx, principal, Action.OVERWRITE, name)
            projects.lock_bucket(tx, found.id)
            found = projects.bucket_by_id(tx, found.id) or found
            config = change(found)
            projects.set_config(tx, found.id, config)
            if versioning is not None:
                projects.set_versioning(tx, found.id, versioning)
            audit.record(tx, principal, "configure bucket", self.now(), project_id=found.project_id, name=found.name)
            return replace(found, config=config)

        return await self.catalog.write(configure)

    async def canonical_ids(self) -> Mapping[str, str]:
        """Those of all projects, with their names."""
        found = await self.catalog.read(projects.all_projects)
        return {canonical_id(project.name): project.name for project in found}
