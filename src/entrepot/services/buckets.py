"""Buckets as S3 clients see them: one name space for all, versions, and what protocols keep of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from entrepot.auth.grants import canonical_id
from entrepot.auth.permissions import authorize, require_known
from entrepot.catalog import audit, projects
from entrepot.catalog.database import Catalog, Transaction
from entrepot.model import Bucket, Clock
from entrepot.principals import Action, Principal, Resource
from entrepot.services.places import decide, find_bucket


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

    async def find(self, principal: Principal, name: str, action: Action, key: str = "") -> Bucket:
        """That bucket, of the caller's project or the oldest, if that may be done to it, or to a key in it.

        Raises: NoBucket; Denied.
        """

        def look_up(tx: Transaction) -> Bucket:
            found = find_bucket(tx, principal, name, anywhere=True)
            decide(tx, principal, action, found, key)
            return found

        return await self.catalog.probe(look_up)

    async def public(self, name: str) -> Bucket | None:
        """That bucket as a stranger finds it, whatever it may do there."""

        def look_up(tx: Transaction) -> Bucket | None:
            return projects.find_bucket(tx, "default", name) or projects.oldest_bucket(tx, name)

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
            authorize(principal, Action.CREATE, Resource(home.id))
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
        name: str,
        change: Callable[[Bucket], Mapping[str, Any]],
        *,
        versioning: str | None = None,
    ) -> Bucket:
        """The bucket with another configuration: `change` says which, or refuses. Raises: NoBucket; Denied."""

        def configure(tx: Transaction) -> Bucket:
            found = find_bucket(tx, principal, name, anywhere=True)
            decide(tx, principal, Action.OVERWRITE, found)
            projects.lock_bucket(tx, found.id)
            found = projects.bucket_by_id(tx, found.id) or found
            config = change(found)
            projects.set_config(tx, found.id, config)
            if versioning is not None:
                projects.set_versioning(tx, found.id, versioning)
            audit.record(tx, principal, "configure bucket", self.now(), project_id=found.project_id, name=name)
            return replace(found, config=config)

        return await self.catalog.write(configure)

    async def canonical_ids(self) -> Mapping[str, str]:
        """Those of all projects, with their names."""
        found = await self.catalog.read(projects.all_projects)
        return {canonical_id(project.name): project.name for project in found}
