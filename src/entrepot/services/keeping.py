"""Stored bytes: opened, judged, taken out of sight if they are wrong, and put right by whoever brings them again."""

import errno
import hashlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from entrepot.catalog import audit, blobs
from entrepot.catalog.database import Catalog, Transaction
from entrepot.errors import DigestMismatch, NotFound
from entrepot.failpoints import failpoint
from entrepot.formats.image_manifest import ImageManifest, parse
from entrepot.model import WHOLE, Algorithm, Blob, Clock, FileSpan, Opened, Span, Stamp
from entrepot.principals import SYSTEM
from entrepot.storage.blobs import BlobStore, Received

PARSED_AT_ONCE: Final = 32 << 10
"""Bytes of JSON that are read on the event loop: a millisecond of it."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """The bytes of one store, and what the catalog says of them."""

    blobs: BlobStore
    catalog: Catalog
    now: Clock

    async def open(self, blob: Blob, span: Span) -> Opened:
        """The bytes of a blob whose reading was allowed. Raises: BadRange; NotFound if they are wrong or gone."""
        span = span.within(blob.size)
        try:
            if blob.inline is not None:
                delivery, must_hash = self.blobs.open(blob, span)
            else:
                delivery, must_hash = await self.blobs.run(self.blobs.open, blob, span)
        except (DigestMismatch, NotFound) as error:
            await self.quarantine(blob)
            raise NotFound("no such object", why="its stored bytes are damaged", advice="push it again") from error
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            await self.quarantine(blob)
            raise NotFound("no such object", why="its stored bytes cannot be read", advice="push it again") from error
        if not isinstance(delivery, FileSpan):
            return Opened(blob, span, delivery)
        return Opened(blob, span, delivery, self._judge(blob, delivery.stamp), must_hash)

    def _judge(self, blob: Blob, stamp: Stamp) -> Callable[[bool], Awaitable[None]]:
        async def judged(right: bool) -> None:
            if right:
                await self.catalog.write(lambda tx: blobs.verified(tx, blob.key, stamp, self.now()))
            else:
                await self.quarantine(blob)

        return judged

    async def quarantine(self, blob: Blob) -> None:
        """Take wrong bytes out of sight; the next push of the same digest repairs every name."""

        def out_of_sight(tx: Transaction) -> None:
            now = self.now()
            blobs.quarantine(tx, blob.key, now)
            audit.record(tx, SYSTEM, "quarantine", now, digest=blob.digest.hex)

        await self.catalog.write(out_of_sight)
        failpoint("scrub.quarantined")

    async def stands(self, blob: Blob) -> bool:
        """Whether its bytes look as they did when they were last read: good enough to need no sending again."""
        if blob.inline is not None:
            return True
        try:
            opened, _ = await self.blobs.run(self.blobs.open, blob, WHOLE)
        except (DigestMismatch, NotFound):
            return False
        if not isinstance(opened, FileSpan):
            return True
        os.close(opened.descriptor)
        return opened.stamp == blob.stamp

    async def read(self, blob: Blob) -> bytes:
        """All bytes of a blob that fits into memory, verified. Raises: NotFound if they are wrong or gone."""
        opened = await self.open(blob, WHOLE)
        try:
            if not isinstance(opened.delivery, FileSpan):
                assert isinstance(opened.delivery, bytes)
                return opened.delivery
            data = await self.blobs.run(os.pread, opened.delivery.descriptor, blob.size, 0)
        finally:
            opened.close()
        if hashlib.sha256(data).hexdigest() != blob.digest.hex:
            await self.quarantine(blob)
            raise NotFound("no such object", why="its stored bytes are damaged", advice="push it again")
        return data

    async def parsed(self, data: bytes, media_type: str) -> ImageManifest:
        """What those bytes are as an image manifest; a large one is read in a thread. Raises: BadManifest."""
        if len(data) <= PARSED_AT_ONCE:
            return parse(data, media_type)
        return await self.blobs.run_hash(parse, data, media_type)

    async def settle(self, received: Received, key: str) -> None:
        """Once a commit has kept them under `key`: if an equal blob was here first, ours goes, unless that is wrong."""
        while key != received.blob.key:
            here = await self.catalog.read(lambda tx: blobs.find(tx, received.blob.digest))
            if here and await self._is_right(here):
                await self.blobs.unlink_loser(received)
                return
            if here:
                await self.quarantine(here)
            key = await self.catalog.write(
                lambda tx: blobs.keep(tx, received.blob, received.edges, self.now(), received.content)
            )

    async def _is_right(self, blob: Blob) -> bool:
        """Whether the stored bytes are what they should be; read, unless they were lately and look the same."""
        try:
            opened = await self.open(blob, WHOLE)
        except NotFound:
            return False
        opened.close()
        right = not opened.must_hash or await self.blobs.check(blob)
        if opened.must_hash and right and opened.judge:
            await opened.judge(True)
        return right

    async def learned(self, blob: Blob, algorithm: Algorithm) -> Blob:
        """The same blob with that checksum, which is read from its bytes if nobody knew it. Raises: NotFound."""
        if algorithm in blob.checksums or algorithm is Algorithm.SHA256:
            return blob
        found = await self.blobs.checksums(blob, WHOLE, frozenset({algorithm}))
        sums: dict[Algorithm, str] = {algorithm: found[algorithm]}
        await self.catalog.write(lambda tx: blobs.learn(tx, blob.digest, sums))
        return replace(blob, checksums={**blob.checksums, **sums})
