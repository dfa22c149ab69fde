"""Room for a body on its way in: a row that holds quota for one upload of one request."""

from dataclasses import dataclass
from functools import partial
from typing import Final

from entrepot.catalog import uploads
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.ids import text_id
from entrepot.errors import QuotaExceeded
from entrepot.failpoints import failpoint
from entrepot.model import Clock

STEP: Final = 64 << 20
"""How much room is kept at a time for a body of unknown length."""
ONE_REQUEST_SECONDS: Final = 7 * 86400.0


@dataclass(slots=True)
class Room:
    """The reservation of one running upload: a row that holds quota, and the id its bytes are staged under."""

    catalog: Catalog
    now: Clock
    project_id: int
    principal_id: int
    id: str = ""
    reserved: int = 0

    async def cover(self, size: int) -> str:
        """As `Reservation.cover`: the first time exactly what is known, then in steps."""
        if self.id and size <= self.reserved:
            return self.id
        if self.id:
            await self._grow(size - self.reserved)
        else:
            await self._begin(size)
        failpoint("upload.reserved")
        return self.id

    async def _begin(self, size: int) -> None:
        new_id = text_id()

        def begin(tx: Transaction) -> None:
            now = self.now()
            uploads.begin(
                tx, new_id, self.project_id, self.principal_id, now, now + ONE_REQUEST_SECONDS, size=None,
                reserve=size, facts={},
            )  # fmt: skip

        await self.catalog.write(begin)
        self.id, self.reserved = new_id, size

    async def _grow(self, need: int) -> None:
        for more in (max(STEP, need), need):  # near the quota, no more than is there to be kept
            try:
                await self.catalog.write(
                    partial(uploads.grow, project_id=self.project_id, upload_id=self.id, more=more)
                )
            except QuotaExceeded:
                if more == need:
                    raise
            else:
                self.reserved += more
                return

    async def cover_exactly(self, size: int) -> None:
        """Room for `size` bytes in all and no more, for a body of known length."""
        if size > self.reserved:
            more = size - self.reserved
            await self.catalog.write(partial(uploads.grow, project_id=self.project_id, upload_id=self.id, more=more))
            self.reserved = size

    async def keep_only(self, size: int) -> None:
        """Free what was kept beyond `size`, by whomever: no more is coming."""

        def shrink(tx: Transaction) -> None:
            found = uploads.find(tx, self.id)
            if found and found.reserved > size:
                uploads.shrink(tx, self.project_id, self.id, found.reserved - size)

        await self.catalog.write(shrink)
        self.reserved = size

    async def release(self) -> None:
        """Free what was reserved: the upload came to nothing."""
        if self.id:
            await self.catalog.write(lambda tx: uploads.drop(tx, self.id))
            failpoint("quota.released")
