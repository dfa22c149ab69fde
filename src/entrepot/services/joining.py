"""Numbered parts become one object: chosen, joined with as little copying as can be, verified, named in one commit.

Parts of one size lie at their place already, and nothing is copied. Parts that refer to all of one blob in order are
that blob: nothing is read either.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from entrepot.auth.permissions import may
from entrepot.catalog import blobs, objects, parts, uploads, versions
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.parts import Part
from entrepot.catalog.uploads import Piece, Upload
from entrepot.errors import BadPart, Denied, EntrepotError, NoUpload, Unavailable
from entrepot.model import Algorithm, Blob, Claims, Clock, Condition, Digest, Facts, ObjectName, StoredObject
from entrepot.principals import Action, Principal
from entrepot.services.objects import Objects
from entrepot.services.places import allowed
from entrepot.services.placing import MAX_BYTES, Placing
from entrepot.services.staging import Area, StagingAreas
from entrepot.services.uploads import DONE_SECONDS, LIFE_SECONDS
from entrepot.storage.assembly import Assembly
from entrepot.storage.blobs import BlobStore, Received

WAIT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Joined:
    """What the parts are together: the ETag, and of the whole its checksum, in the upload's own algorithm."""

    etag: str
    size: int
    extra: dict[str, Any]
    sums: dict[Algorithm, str]


Join = Callable[[Sequence[Part]], tuple[list[Part], Joined]]
"""Chooses among the parts that are here, in order, and says what they are together; or refuses."""


def known_upload(tx: Transaction, principal: Principal, name: ObjectName, upload_id: str, *states: str) -> Upload:
    """The upload to that name, in one of those states. Raises: NoUpload; NoBucket; Denied."""
    bucket, resource = allowed(tx, principal, Action.CREATE, name)
    found = uploads.find(tx, upload_id)
    fits = found and found.facts.get("numbered") and (found.place_id, found.name) == (bucket.id, name.key)
    if found is None or not fits or found.state not in states:
        raise NoUpload("no such upload")
    if found.principal_id != principal.id and not may(principal, Action.CREATE, resource):
        raise Denied("a guest sees to its own uploads only")
    return found


@dataclass(frozen=True, slots=True)
class Joining:
    """Completes uploads."""

    objects: Objects
    blobs: BlobStore
    catalog: Catalog
    now: Clock
    areas: StagingAreas
    placing: Placing

    async def complete(
        self, principal: Principal, name: ObjectName, upload_id: str, join: Join, condition: Condition, etag: str
    ) -> tuple[StoredObject, Blob]:
        """The object the parts became. `etag` is the one they give: the same list again gets the same answer.

        Raises: NoUpload; BadPart and what `join` raises; PreconditionFailed; Denied; QuotaExceeded; Unavailable.
        """
        waited = 0.0
        while True:
            upload = await self.catalog.read(
                lambda tx: known_upload(tx, principal, name, upload_id, "open", "completing", "done")
            )
            if upload.state == "done":
                return await self._done(principal, name, upload, etag)
            if upload.state == "open" and await self.catalog.write(lambda tx: uploads.claim(tx, upload_id)):
                break
            if waited > WAIT_SECONDS:
                raise Unavailable("the upload is just being completed")
            await asyncio.sleep(0.05)
            waited += 0.05
        try:
            return await self._complete(principal, name, upload, join, condition)
        except BaseException:
            await self.catalog.write(lambda tx: uploads.reopen(tx, upload_id))
            raise

    async def _done(
        self, principal: Principal, name: ObjectName, upload: Upload, etag: str
    ) -> tuple[StoredObject, Blob]:
        def look_up(tx: Transaction) -> tuple[StoredObject, Blob] | None:
            bucket, _ = allowed(tx, principal, Action.CREATE, name)
            found = objects.find_with_blob(tx, bucket, name.key)
            if found is None or found[1] is None or found[0].version != upload.result or found[0].etag != etag:
                return None
            return found[0], found[1]

        found = await self.catalog.read(look_up)
        if found is None:
            raise NoUpload("no such upload")
        return found

    async def _complete(
        self, principal: Principal, name: ObjectName, upload: Upload, join: Join, condition: Condition
    ) -> tuple[StoredObject, Blob]:
        known = await self.catalog.read(lambda tx: parts.of(tx, upload.id))
        chosen, joined = join(known)
        await self.catalog.read(lambda tx: self.objects.may_put(tx, principal, name, condition))
        in_place, whole = _lies_right(known, chosen), _is_one_blob(chosen)
        here = await self.catalog.read(lambda tx: blobs.find(tx, whole)) if whole else None
        is_here = here is not None and here.size == joined.size
        received = Received(here) if here and is_here else await self._received(upload, chosen, joined, in_place)
        blob = replace(received.blob, checksums={**received.blob.checksums, **joined.sums})

        def bind(tx: Transaction) -> tuple[StoredObject, str]:
            bucket, checked = self.objects.may_put(tx, principal, name, condition)
            key = blobs.keep(tx, blob, received.edges, self.now(), received.content)
            facts = Facts(upload.facts["type"], upload.facts["labels"], None, {**_carried(upload), **joined.extra})
            held = uploads.known(tx, upload.id).reserved
            stored = self.objects.point(tx, principal, bucket, name.key, blob, facts, checked, held, etag=joined.etag)
            for part, start in _layout(chosen):
                versions.add_part(tx, stored.version, blob.digest, upload.facts["want"], start, part)
            parts.drop(tx, upload.id)
            blobs.end_lease(tx, f"upload:{upload.id}")
            uploads.finish(tx, upload.id, stored.version, self.now() + DONE_SECONDS)
            return stored, key

        try:
            stored, key = await self.catalog.write(bind, slow=True)
        except EntrepotError:
            if not is_here:
                await self._take_back(upload, received, in_place)
            raise
        finally:
            self.areas.let_go(upload.id)
        if not is_here:
            await self.objects.keeping.settle(received, key)
        await self.blobs.run(self.blobs.driver.discard, upload.id)
        for part in known:
            await self.placing.discard(part)
        return stored, blob

    async def _received(self, upload: Upload, chosen: list[Part], joined: Joined, in_place: bool) -> Received:
        """The parts as one blob of our own."""
        async with self.areas.of(upload.id, completing=True) as area, self.areas.turn(upload.id, area):
            await area.close()  # and stays in sight until its row is done, so that no late part opens the file again
            try:
                return await self._assemble(area, upload, chosen, joined, in_place)
            except BaseException:
                self.areas.let_go(upload.id)
                raise
            finally:
                area.assembly.staging.close()

    async def _assemble(
        self, area: Area, upload: Upload, chosen: list[Part], joined: Joined, in_place: bool
    ) -> Received:
        """All chosen parts one behind the other, verified and kept."""
        assembly, moved = area.assembly, _layout(chosen)
        sources = {digest: await self._blob(digest) for digest in {part.refers_to for part in chosen} if digest}
        if in_place:
            await self._keep_only(area, upload, chosen)
            moved = [(part, start) for part, start in moved if part.area]
        else:
            assembly = Assembly(await self.blobs.run(self.blobs.driver.stage, f"{upload.id}.whole", joined.size))
        try:
            for part, start in moved:
                source = sources[part.refers_to] if part.refers_to else None
                await self.placing.move(area, part, source, assembly.staging, start)
                await self.blobs.run_hash(assembly.land, start, start + part.size)
            while await self.blobs.run_hash(assembly.follow):
                pass
            claims = Claims(joined.size, {Algorithm.SHA256: assembly.finish(joined.size)})
            received = await self.blobs.run(self.blobs.assemble, assembly, joined.size, claims)
        except BaseException:
            if assembly is not area.assembly:
                await self.blobs.run(assembly.staging.discard)
            raise
        return received

    async def _keep_only(self, area: Area, upload: Upload, chosen: Sequence[Part]) -> None:
        """Of the upload's own area only these parts count from now on; what others replaced may be written over."""
        ranges = {(part.start, part.start + part.size) for part in chosen if not part.area and part.size}
        if area.assembly.holds_only(ranges):
            return

        def keep(tx: Transaction) -> list[Piece]:
            kept = [piece for piece in uploads.pieces(tx, upload.id) if (piece.start, piece.stop) in ranges]
            uploads.drop_pieces(tx, upload.id, 0, MAX_BYTES)
            for piece in kept:
                uploads.add_piece(tx, upload.id, piece)
            uploads.progress(tx, upload.id, 0, None, self.now() + LIFE_SECONDS)
            return kept

        left = await self.catalog.write(keep, slow=True)
        area.assembly.start_again((piece.start, piece.stop) for piece in left)

    async def _blob(self, digest: Digest) -> Blob:
        """The blob a part refers to; a lease keeps it. Raises: BadPart if its bytes were found wrong."""
        found = await self.catalog.read(lambda tx: blobs.find(tx, digest))
        if found is None:
            raise BadPart("the bytes a part refers to are damaged; send it again")
        return found

    async def _take_back(self, upload: Upload, received: Received, in_place: bool) -> None:
        """The whole got no name: its parts are there again."""
        if in_place:
            await self.blobs.run(self.blobs.driver.restage, received.blob.key, upload.id)
        else:
            await self.blobs.unlink_loser(received)


def _is_one_blob(chosen: Sequence[Part]) -> Digest | None:
    """The blob that the parts refer to, one behind the other from its beginning; None if they do not."""
    digest = chosen[0].refers_to
    return digest if all(part.refers_to == digest and part.start == start for part, start in _layout(chosen)) else None


def _lies_right(known: Sequence[Part], chosen: Sequence[Part]) -> bool:
    """Whether the upload's own area can become the whole: its parts are at their places, and all of them chosen."""
    own = {part.number for part in known if not part.area}
    placed = {part.number for part, start in _layout(chosen) if not part.area and part.start == start}
    return own == placed


def _layout(chosen: Sequence[Part]) -> list[tuple[Part, int]]:
    """Each part with where it begins in the whole."""
    found, start = [], 0
    for part in chosen:
        found.append((part, start))
        start += part.size
    return found


def _carried(upload: Upload) -> dict[str, Any]:
    """What the object gets of what its upload was begun with."""
    return {name: value for name, value in upload.facts["extra"].items() if name != "asked"}
