"""Names as PROMINENCE has them: a user's own, a group's, a job's output; and where each lies in the shared bucket.

Users and groups are separate name spaces: each gets a key segment of its own at its first use, once and for ever.
"""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from entrepot.auth.permissions import require_known
from entrepot.catalog import listing, projects
from entrepot.catalog.database import Catalog, Transaction
from entrepot.errors import BadName, Denied
from entrepot.formats.sif import CONFIG_TYPE
from entrepot.model import Clock, ObjectName, Page, StoredObject
from entrepot.principals import Area, AreaKind, Principal
from entrepot.services.identity import DEFAULT_PROJECT
from entrepot.services.places import AREAS_BUCKET, IMAGES, SCRATCH, UPLOADS
from entrepot.services.shown import Shown

PAGE_ITEMS: Final = 1000
_UNQUOTABLE: Final = re.compile(r"[#?\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")
_JOB: Final = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_DOTS: Final = {"", ".", ".."}


@dataclass(frozen=True, slots=True)
class Listed:
    """A stored object under the name its user knows it by."""

    name: str
    object: StoredObject


def check_name(name: str) -> None:
    """Raises: BadName for a name the client, which does not quote, could not ask for again; 1 to 1000 bytes."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise BadName("a name is UTF-8") from error
    if not 1 <= size <= 1000:
        raise BadName("a name has 1 to 1000 bytes of UTF-8")
    if _UNQUOTABLE.search(name):
        raise BadName(
            "a name holds no '#', '?', control characters or '%' with two hex digits", why="clients send it unquoted"
        )


def group_of(principal: Principal, path: str) -> str | None:
    """The caller's longest group that is a whole-segment prefix of `path`."""
    fitting = [group for group in principal.groups if path == group or path.startswith(group + "/")]
    return max(fitting, key=len, default=None)


def check_place(principal: Principal, name: str) -> None:
    """Raises: BadName for `.` or `..`; Denied for a path in no group of the caller, whether it exists or not."""
    if name.startswith(f"{IMAGES}/"):
        raise Denied("what is in repositories is pushed and deleted there")
    if "/" not in name:
        if name in _DOTS:
            raise BadName("a name is not '.' or '..'")
        return
    if _DOTS & set(name.split("/")) or group_of(principal, name.rpartition("/")[0]) is None:
        raise Denied("you may not use that folder", why="the first part of a path is the name of one of your groups")


def check_job(job: str) -> None:
    """Raises: BadName for a job that cannot be the folder of its outputs."""
    if not _JOB.match(job) or job in _DOTS:
        raise BadName(f"not the name of a job: {job!r:.99}", why="1 to 128 of letters, digits and ._-, not . or ..")


def check_output(principal: Principal, name: str) -> str:
    """The key of a job's output. Raises: Denied for a token without a job; BadName."""
    if principal.job is None:
        raise BadName("no job", why="this token was not made for a job", advice="use the token of the job")
    check_job(principal.job)
    check_name(name)
    if _DOTS & set(name.split("/")):
        raise BadName("an output's name has no empty, '.' or '..' segment")
    return f"{SCRATCH}{principal.job}/{name}"


@dataclass(frozen=True, slots=True)
class Areas:
    """Where names lie, and what lies there."""

    catalog: Catalog
    now: Clock
    shown: Shown

    async def place(self, principal: Principal, name: str) -> ObjectName:
        """Where that name of the caller's lies. Raises: Unauthenticated; BadName; Denied."""
        require_known(principal)
        check_name(name)
        check_place(principal, name)
        return ObjectName(AREAS_BUCKET, await self._key(principal, name), DEFAULT_PROJECT)

    async def output(self, principal: Principal, name: str) -> ObjectName:
        """Where an output of the caller's job lies; the job is the caller's from its first output on.

        Raises: Unauthenticated; BadName; Denied if another user's outputs lie there.
        """
        require_known(principal)
        key, job = check_output(principal, name), principal.job or ""
        owner = await self.catalog.probe(lambda tx: projects.owner_of_job(tx, job))
        if not owner:
            owner = await self.catalog.write(lambda tx: projects.claim_job(tx, job, principal.id))
        if owner != principal.name:
            raise Denied("the job of that name is another user's")
        return ObjectName(AREAS_BUCKET, key, DEFAULT_PROJECT)

    async def _key(self, principal: Principal, path: str) -> str:
        first, slash, rest = path.partition("/")
        owner = Area(AreaKind.GROUP, first) if slash else Area(AreaKind.USER, principal.name)
        segment = await self._segment(owner)
        return f"{UPLOADS}{segment}/{rest if slash else path}"

    async def _segment(self, owner: Area) -> str:
        found = await self.catalog.probe(lambda tx: projects.segment_of(tx, owner))
        if found is None:
            found = await self.catalog.write(lambda tx: projects.claim_segment(tx, owner))
        return found

    async def own(self, principal: Principal) -> AsyncIterator[Sequence[Listed]]:
        """Pages of the caller's own objects, names relative to the area. Raises: Unauthenticated, before the first."""
        require_known(principal)
        segment = await self._segment(Area(AreaKind.USER, principal.name))
        return self._with_images(principal, self._pages(f"{UPLOADS}{segment}/", "", ""))

    async def _with_images(
        self, principal: Principal, pages: AsyncIterator[Sequence[Listed]]
    ) -> AsyncIterator[Sequence[Listed]]:
        """Those pages, then the Singularity files the caller pushed to repositories."""
        async for page in pages:
            yield page
        after: tuple[int, str] | None = (0, "")
        while after is not None:
            start = after
            found, after = await self.catalog.read(
                lambda tx, start=start: self.shown.files_of(tx, principal, CONFIG_TYPE, start, PAGE_ITEMS)  # type: ignore[misc]
            )
            if found:
                yield [Listed(f"{IMAGES}/{stored.key}", stored) for stored in found]

    async def of_group(self, principal: Principal, path: str) -> AsyncIterator[Sequence[Listed]]:
        """Pages of a group's objects whose names begin with `path`; all below it, if it is the group itself.

        Raises: Unauthenticated; BadName; Denied for a path in no group of the caller.
        """
        require_known(principal)
        check_name(path)
        group = group_of(principal, path)
        if group is None or {".", ".."} & set(path.split("/")):
            raise Denied("you may not list that folder")
        first, _, rest = path.partition("/")
        segment = await self._segment(Area(AreaKind.GROUP, first))
        below = f"{rest}/" if path == group and rest else rest
        return self._pages(f"{UPLOADS}{segment}/", below, f"{first}/")

    async def _pages(self, root: str, below: str, shown: str) -> AsyncIterator[Sequence[Listed]]:
        """Pages of what lies under `root + below`, each name with `root` replaced by `shown`."""
        after: str | None = ""
        while after is not None:
            start = after

            def look_up(tx: Transaction, start: str = start) -> Page:
                bucket = projects.find_bucket(tx, DEFAULT_PROJECT, AREAS_BUCKET)
                assert bucket
                return listing.page(tx, bucket, root + below, start, PAGE_ITEMS, now=self.now())

            page = await self.catalog.read(look_up)
            yield [
                Listed(shown + item.key.removeprefix(root), item)
                for item in page.items
                if isinstance(item, StoredObject)
            ]
            after = page.next
