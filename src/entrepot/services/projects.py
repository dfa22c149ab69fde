"""Projects with their quota, and buckets."""

from dataclasses import dataclass
from typing import Final

from entrepot.auth.permissions import UNKNOWN, authorize, require_admin, require_known
from entrepot.catalog import accounts, audit, blobs, parts, projects, repositories, uploads, versions
from entrepot.catalog.database import Catalog, Transaction
from entrepot.errors import BadName, Conflict, Denied, NotFound
from entrepot.model import MAX_QUOTA, Bucket, Clock, Project
from entrepot.names import bucket_name, project_name
from entrepot.principals import Action, Kind, Principal, Resource
from entrepot.services.places import check_not_denied, find_bucket

BATCH: Final = 500
RESERVED: Final = frozenset(
    """
    data prominence upload config checksum archive registry image identity info auth api ui version assets livez readyz
    metrics sha256 oci prominence-data
    """.split()
)
"""Bucket names that are paths of other protocols, or made by the server itself."""


@dataclass(frozen=True, slots=True)
class Projects:
    """What projects there are, and their buckets."""

    catalog: Catalog
    now: Clock

    async def all(self, principal: Principal) -> list[Project]:
        """Every project, by name. Raises: Denied."""
        require_admin(principal)
        return await self.catalog.read(projects.all_projects)

    async def mine(self, principal: Principal) -> list[Project]:
        """The projects the caller has a role in. Raises: Unauthenticated."""
        require_known(principal)
        found = await self.catalog.read(projects.all_projects)
        return [project for project in found if project.id in principal.roles]

    async def add(self, principal: Principal, name: str, quota: int | None) -> Project:
        """A new project; a quota of None is none. Raises: Denied; BadName; Conflict."""
        require_admin(principal)
        project_name(name)
        bytes_ = _quota(quota)

        def add(tx: Transaction) -> Project:
            repositories.remove_empty_below(tx, name)
            if repositories.is_below(tx, name):
                raise Conflict(f"repositories of project default begin with {name}/", why="they would not be found")
            made = projects.add(tx, name, bytes_, self.now())
            audit.record(tx, principal, "add project", self.now(), project_id=made.id, name=name)
            return made

        return await self.catalog.write(add, slow=True)

    async def set_quota(self, principal: Principal, name: str, quota: int | None) -> Project:
        """The project with another quota. Raises: Denied; NotFound; BadName."""
        require_admin(principal)
        bytes_ = _quota(quota)

        def change(tx: Transaction) -> Project:
            found = projects.known(tx, name)
            projects.set_quota(tx, found.id, bytes_)
            audit.record(tx, principal, "set quota", self.now(), project_id=found.id, name=f"{name} {bytes_}")
            return projects.known(tx, name)

        return await self.catalog.write(change)

    async def remove(self, principal: Principal, name: str) -> None:
        """The project is gone. Raises: Denied; NotFound; Conflict if it still has buckets, images or robots."""
        require_admin(principal)

        def remove(tx: Transaction) -> None:
            found = projects.known(tx, name)
            if any(robot.project == name for robot in accounts.all_of(tx, Kind.ROBOT)):
                raise Conflict("the project still has robots", advice="remove them first")
            repositories.remove_empty(tx, found.id)
            projects.remove(tx, found.id)
            audit.record(tx, principal, "remove project", self.now(), name=name)

        await self.catalog.write(remove, slow=True)

    async def buckets(self, principal: Principal, project: str | None) -> list[Bucket]:
        """The buckets of a project the caller may read. Raises: Unauthenticated; NotFound."""
        require_known(principal)

        def look_up(tx: Transaction) -> list[Bucket]:
            found = projects.find(tx, project or principal.project)
            if found is None:
                raise NotFound(UNKNOWN)
            authorize(principal, Action.LIST, Resource(found.id))
            return projects.buckets(tx, found.id)

        return await self.catalog.read(look_up)

    async def put_bucket(
        self, principal: Principal, name: str, project: str | None, *, public: bool | None
    ) -> tuple[Bucket, bool]:
        """That bucket, made if it is missing; whether it was. `public` None leaves that as it is.

        Raises: Unauthenticated; NotFound; Denied; BadName.
        """
        require_known(principal)
        if name in RESERVED:
            raise BadName(f"the bucket name {name} is taken by a path of the server")
        bucket_name(name)

        def put(tx: Transaction) -> tuple[Bucket, bool]:
            home = projects.find(tx, project or principal.project)
            if home is None:
                raise NotFound(UNKNOWN)
            before = projects.find_bucket(tx, home.name, name)
            authorize(principal, Action.CREATE if before is None else Action.OVERWRITE, Resource(home.id))
            if before:
                check_not_denied(tx, principal, "s3:PutBucketAcl", Action.OVERWRITE, before, "")
            made = projects.add_bucket(tx, home, name, self.now())
            if public is not None and public != made.public:
                authorize(principal, Action.OVERWRITE, Resource(home.id))
                if public and made.config.get("publicAccessBlock", {}).get("BlockPublicAcls"):
                    raise Denied("the bucket blocks public access", advice="change its PublicAccessBlock first")
                projects.set_public(tx, made.id, public)
            audit.record(tx, principal, "put bucket", self.now(), project_id=home.id, name=name)
            return projects.bucket_by_id(tx, made.id) or made, before is None

        return await self.catalog.write(put)

    async def remove_bucket(self, principal: Principal, name: str, project: str | None) -> None:
        """The bucket is gone, what lay in its trash, and uploads into it. Raises: NotFound; Denied; BucketNotEmpty."""

        def remove(tx: Transaction) -> bool:
            """Whether it went; else a part of its trash did."""
            found = find_bucket(tx, principal, name, project)
            authorize(principal, Action.DELETE, Resource(found.project_id, bucket=name))
            check_not_denied(tx, principal, "s3:DeleteBucket", Action.DELETE, found, "")
            if found.areas:
                raise Conflict("the areas of users and groups lie in this bucket")
            trash = projects.trash_of(tx, found, BATCH)
            versions.purge(tx, trash)
            if trash:
                return False
            for upload_id in uploads.of_place(tx, found.id):  # their bytes are swept, as nobody's are
                parts.drop(tx, upload_id)
                blobs.end_lease(tx, f"upload:{upload_id}")
                uploads.drop(tx, upload_id)
            projects.remove_bucket(tx, found)
            audit.record(tx, principal, "remove bucket", self.now(), project_id=found.project_id, name=name)
            return True

        while not await self.catalog.write(remove, slow=True):
            pass


def _quota(quota: int | None) -> int:
    if quota is not None and not 0 <= quota <= MAX_QUOTA:
        raise BadName("a quota is a number of bytes")
    return MAX_QUOTA if quota is None else quota
