"""Whether a catalog and a folder of blobs belong together: a mark both carry, and a number both count up.

Another mark, or none, is another store's folder: the server does not start, or it would take all its blobs for lost.
The number is raised at each start and daily.

A catalog whose number is below the file's was restored from the past: it does not know of younger blobs, so nothing is
collected until an operator says what is true.
"""

import secrets
from dataclasses import dataclass
from typing import Final

from entrepot import datafolder
from entrepot.catalog import leases
from entrepot.catalog.database import Catalog
from entrepot.errors import UsageError
from entrepot.failpoints import failpoint

FACT: Final = "epoch"
STORE: Final = "store"


@dataclass(slots=True)
class Epoch:
    """The two numbers of one data folder."""

    catalog: Catalog
    folder: str
    restored: bool = False
    """Whether the catalog is older than the blobs."""

    async def recognise(self) -> None:
        """Mark a new store. Raises: UsageError if these bytes are not those the catalog knows."""
        here = datafolder.read_mark(self.folder)
        known = await self.catalog.read(lambda tx: leases.fact(tx, STORE))
        if known is not None and known != here:
            raise UsageError(
                "the catalog belongs to the bytes of another data folder",
                why=f"{self.folder}/blobs/STORE does not say {known}",
                advice="give the right --data and --db; if these are the bytes after all, write that text there",
            )
        if known is None:
            mark = here or secrets.token_hex(16)
            datafolder.write_mark(self.folder, mark)
            await self.catalog.write(lambda tx: leases.set_fact(tx, STORE, mark))

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
