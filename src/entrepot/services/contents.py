"""What stored bytes are: as their arrival left it, else read from them now."""

import os
from dataclasses import dataclass

from entrepot.catalog import contents
from entrepot.catalog.database import Catalog
from entrepot.formats.content import Content, content_of
from entrepot.model import WHOLE, Blob
from entrepot.storage.blobs import BlobStore


@dataclass(frozen=True, slots=True)
class Contents:
    """Of all blobs of one store."""

    blobs: BlobStore
    catalog: Catalog

    async def of(self, blob: Blob) -> Content:
        """What those bytes are. Raises: NotFound if they are not there."""
        if blob.inline is not None:
            data = blob.inline
            return content_of(lambda offset, length: data[offset : offset + length], len(data))
        known = await self.catalog.probe(lambda tx: contents.find(tx, blob.digest))
        if known:
            return known
        found = await self.blobs.run(self._read, blob)
        await self.catalog.write(lambda tx: contents.learn(tx, blob.digest, found))
        return found

    def _read(self, blob: Blob) -> Content:
        opened = self.blobs.driver.open(blob.key, WHOLE)
        try:
            return content_of(lambda offset, length: os.pread(opened.descriptor, length, offset), blob.size)
        finally:
            os.close(opened.descriptor)
