"""A number in the catalog and beside the blobs, raised at each start and daily.

A catalog whose number is below the file's was restored from the past: it does not know of younger blobs, so nothing is
collected until an operator says what is true.
"""

from dataclasses import dataclass
from typing import Final

from entrepot import datafolder
from entrepot.catalog import leases
from entrepot.catalog.database import Catalog
from entrepot.failpoints import failpoint

FACT: Final = "epoch"


@dataclass(slots=True)
class Epoch:
    """The two numbers of one data folder."""

    catalog: Catalog
    folder: str
    restored: bool = False
    """Whether the catalog is older than the blobs."""

    async def advance(self) -> dict[str, int]:
        """Compare; if the catalog is not older, raise both, the catalog's first."""
        on_disk = datafolder.read_epoch(self.folder)
        known = int(await self.catalog.read(lambda tx: leases.fact(tx, FACT)) or 0)
        self.restored = known < on_disk
        if not self.restored:
            await self.catalog.write(lambda tx: leases.set_fact(tx, FACT, str(known + 1)))
            failpoint("epoch.raised")
            datafolder.write_epoch(self.folder, known + 1)
        return {}
