"""Resumable uploads: begin, send parts at any offset, see what is held, commit. A restart loses nothing acknowledged.

open --part--> open        every part: written, hashed, synced, then its row; only then acknowledged
open --commit--> completing --same--> done        the same commit again gets the same answer
                            --other--> dropped    another sha256 than was promised
                            --short--> open       send what is missing
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from entrepot.catalog import accounts, blobs, objects, projects, uploads
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.ids import text_id
from entrepot.catalog.uploads import Piece, Upload
from entrepot.errors import (
    BadRange,
    Busy,
    Conflict,
    DigestMismatch,
    DiskFull,
    EntrepotError,
    NotFound,
    QuotaExceeded,
    Unauthenticated,
)
from entrepot.failpoints import failpoint
from entrepot.model import Algorithm, Body, Bucket, Claims, Clock, Condition, Digest, Facts, ObjectName, StoredObject
from entrepot.model import Piece as Bytes
from entrepot.names import MAX_AREA_KEY_BYTES, MAX_KEY_BYTES, object_key
from entrepot.principals import Action, Principal
from entrepot.services.identity import principal_of
from entrepot.services.objects import Objects, check_labels
from entrepot.services.places import allowed, can_read, decide, is_allowed
from entrepot.services.staging import FINISHED, Area, Arrival, StagingAreas
from entrepot.storage.assembly import Assembly
from entrepot.storage.blobs import BlobStore, Received

PART_BYTES: Final = 16 << 20
MAX_BYTES: Final = 1 << 43
LIFE_SECONDS: Final = 7 * 86400.0
DONE_SECONDS: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be uploaded: the name, what it will carry, and what the client knows of the bytes."""

    name: ObjectName
    facts: Facts
    size: int | None = None
    sha256: Digest | None = None
    edges: str | None = None
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """An open or finished upload as its client sees it."""

    id: str
    state: str
    have: tuple[Piece, ...] = ()
    maybe: bool = False
    object: StoredObject | None = None
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Uploads:
    """Resumable uploads into objects."""

    objects: Objects
    blobs: BlobStore
    catalog: Catalog
    now: Clock
    areas: StagingAreas

    async def begin(self, principal: Principal, wish: Wish) -> Session | StoredObject:
        """An upload to send parts to; or the object itself if the principal may already read these bytes.

        Asked again for the same name, size and edges, the upload that is open. Raises: Denied; NotFound for the bucket;
        PreconditionFailed; QuotaExceeded; DiskFull; BadRange for a size over 8 TiB.
        """
        if wish.size is not None and not 0 <= wish.size <= MAX_BYTES:
            raise BadRange("an upload has at most 8 TiB")
        digest = wish.sha256
        here = await self.catalog.read(lambda tx: blobs.find(tx, digest)) if digest else None
        if here and await self.objects.keeping.stands(here):
            linked = await self.catalog.write(lambda tx: self._link(tx, principal, wish), slow=True)
            if linked:
                return linked
        found, maybe = await self.catalog.read(lambda tx: self._look_around(tx, principal, wish))
        if found:
            pieces = await self.catalog.read(lambda tx: uploads.pieces(tx, found.id))
            return Session(found.id, "open", tuple(pieces), resumed=True)
        self.blobs.check_room(wish.size or 0)
        upload_id = text_id()
        await self.catalog.write(lambda tx: self._insert(tx, principal, wish, upload_id))
        failpoint("upload.reserved")
        return Session(upload_id, "open", maybe=maybe)

    def _link(self, tx: Transaction, principal: Principal, wish: Wish) -> StoredObject | None:
        """The name pointed to bytes that are here, without one of them being sent."""
        bucket, condition = self._may_begin(tx, principal, wish)
        assert wish.sha256
        blob = blobs.find(tx, wish.sha256)
        if (
            blob is None
            or (wish.size is not None and wish.size != blob.size)
            or not can_read(tx, principal, blob.digest, self.now())
        ):
            return None
        blobs.hold(tx, blob.digest)
        return self.objects.point(tx, principal, bucket, wish.name.key, blob, wish.facts, condition)

    def _may_begin(self, tx: Transaction, principal: Principal, wish: Wish) -> tuple[Bucket, Condition]:
        check_labels(wish.facts.metadata)
        bucket, _ = allowed(tx, principal, Action.CREATE, wish.name)
        object_key(wish.name.key, MAX_AREA_KEY_BYTES if bucket.areas else MAX_KEY_BYTES)
        overwrite = is_allowed(tx, principal, Action.OVERWRITE, bucket, wish.name.key)
        return bucket, Condition(wish.absent, None, overwrite)

    def _look_around(self, tx: Transaction, principal: Principal, wish: Wish) -> tuple[Upload | None, bool]:
        """The upload that is already open for this wish, and whether bytes with these edges might be here."""
        bucket, _ = self._may_begin(tx, principal, wish)
        if wish.size is None:
            return None, False
        for found in uploads.open_ones(tx, principal.id, bucket.id, wish.name.key, wish.size):
            if _is_for(found, principal, wish):
                return found, False
        if wish.edges is None or wish.sha256 is not None:
            return None, False
        digests = blobs.with_edges(tx, wish.edges, wish.size)
        return None, any(can_read(tx, principal, digest, self.now()) for digest in digests)

    def _insert(self, tx: Transaction, principal: Principal, wish: Wish, upload_id: str) -> None:
        bucket, _ = self._may_begin(tx, principal, wish)
        now = self.now()
        uploads.begin(
            tx, upload_id, bucket.project_id, principal.id, now, now + LIFE_SECONDS, place_id=bucket.id,
            name=wish.name.key, size=wish.size, reserve=wish.size or 0,
            facts=_facts_of(principal, wish),
        )  # fmt: skip

    async def write(self, upload_id: str, offset: int, body: Body, sha256: str | None, size: int | None) -> Piece:
        """The piece this upload holds once `body` has landed at `offset` and is safe on disk.

        A part may come twice and in any order; one sent again replaces what it touches. `size` is what was announced.
        Raises: NotFound; Conflict while it is completed; BadRange outside the announced size; DigestMismatch; BodyCut;
        QuotaExceeded; DiskFull. What was acknowledged elsewhere stays; what a part touches counts no more, even if it
        is refused.
        """
        upload = await self.catalog.read(lambda tx: self._writable(tx, upload_id))
        limit = MAX_BYTES if upload.size is None else upload.size
        if offset + (size or 0) > limit:
            raise BadRange(f"the upload has {limit} bytes")
        async with self.areas.of(upload_id) as area:
            part = Arrival(offset, offset)
            area.arriving.append(part)
            try:
                async with self.blobs.uploading:
                    piece = await self._receive(area, part, upload, body, limit)
                if sha256 is not None and piece.sha256 != sha256:
                    raise DigestMismatch(
                        f"the sha256 of the part is {piece.sha256}, you gave {sha256}", advice="send it again"
                    )
                if piece.stop > piece.start:
                    await self._acknowledge(area, part, upload, piece)
            finally:
                area.arriving.remove(part)
        return piece

    async def _receive(self, area: Area, part: Arrival, upload: Upload, body: Body, limit: int) -> Piece:
        """The bytes of `body`, written where `part` begins, and hashed."""
        running = hashlib.sha256()
        async for pieces in body:
            stop = part.stop + sum(map(len, pieces))
            if stop > limit:
                raise BadRange(f"the upload has {limit} bytes")
            if upload.size is None:
                await self._cover(upload, stop)
            self.blobs.check_room(0)
            async with self.areas.turn(upload.id, area):
                area.spoil(part, part.stop, stop)
                await self._make_way(area, upload, part.stop, stop)
                await self.blobs.run_hash(_write, area.assembly, running, part.stop, pieces)
                part.stop = stop
        return Piece(part.start, part.stop, running.hexdigest())

    async def _make_way(self, area: Area, upload: Upload, start: int, stop: int) -> None:
        """Pieces about to be written over count no more, in the catalog first."""
        if not area.assembly.touches(start, stop):
            return

        def drop(tx: Transaction) -> list[Piece]:
            uploads.drop_pieces(tx, upload.id, start, stop)
            uploads.progress(tx, upload.id, 0, None, self.now() + LIFE_SECONDS)
            return uploads.pieces(tx, upload.id)

        area.stale = True
        left = await self.catalog.write(drop, slow=True)
        area.assembly.start_again((piece.start, piece.stop) for piece in left)
        area.stale = False

    async def _cover(self, upload: Upload, size: int) -> None:
        """Reserve room, in whole parts, for an upload whose length nobody announced."""

        def grow(tx: Transaction) -> None:
            held = uploads.known(tx, upload.id).reserved
            if size > held:
                uploads.grow(tx, upload.project_id, upload.id, -(-(size - held) // PART_BYTES) * PART_BYTES)

        if size > (await self.catalog.read(lambda tx: uploads.known(tx, upload.id))).reserved:
            await self.catalog.write(grow)

    async def _acknowledge(self, area: Area, part: Arrival, upload: Upload, piece: Piece) -> None:
        try:
            await self.blobs.run(area.assembly.staging.sync)
        except (OSError, EntrepotError):
            area.check()
            await self.areas.forget(upload.id)
            raise
        async with self.areas.turn(upload.id, area):
            if part.spoiled:
                raise Conflict("another part wrote over these bytes meanwhile", advice="send this one again")
            area.stale = True
            front, state = await self.blobs.run_hash(area.assembly.land, piece.start, piece.stop)

            def remember(tx: Transaction) -> None:
                uploads.known(tx, upload.id)
                uploads.add_piece(tx, upload.id, piece)
                uploads.progress(tx, upload.id, front, state, self.now() + LIFE_SECONDS)

            await self.catalog.write(remember)
            area.stale = False
        failpoint("upload.progressed")

    async def state(self, upload_id: str) -> Session:
        """What the upload holds, or what it became. Raises: NotFound."""
        return await self.catalog.read(lambda tx: self._session(tx, _resumable(tx, upload_id)))

    def _session(self, tx: Transaction, upload: Upload) -> Session:
        if upload.state != "done":
            return Session(upload.id, upload.state, tuple(uploads.pieces(tx, upload.id)))
        bucket = projects.bucket_by_id(tx, upload.place_id or 0)
        stored = objects.find_version(tx, bucket, upload.name or "", upload.result or 0) if bucket else None
        return Session(upload.id, "done", object=stored)

    async def discard(self, upload_id: str) -> None:
        """Forget the upload and its bytes. Raises: NotFound; Conflict while it is being completed."""
        await self.catalog.read(lambda tx: _resumable(tx, upload_id))
        await self.areas.forget(upload_id)

    async def commit(self, upload_id: str, size: int, sha256: Digest | None) -> Session:
        """The finished upload; `completing` if another call is just at it.

        Raises: NotFound; BadRange if bytes are missing; DigestMismatch, and then all of it is gone; PreconditionFailed.
        """
        upload = await self.catalog.read(lambda tx: _resumable(tx, upload_id))
        if upload.state != "open" or not await self.catalog.write(lambda tx: uploads.claim(tx, upload_id)):
            return _same(await self.state(upload_id), size, sha256)
        try:
            async with self.areas.of(upload_id, completing=True) as area:
                return await self._complete(area, upload, size, sha256)
        except DigestMismatch:
            await self.areas.forget(upload_id, completing=True)
            raise
        except Exception:  # opens what is still there: bytes that were lost took their row with them
            await self.catalog.write(lambda tx: uploads.reopen(tx, upload_id))
            raise

    async def _complete(self, area: Area, upload: Upload, size: int, sha256: Digest | None) -> Session:
        promised = {digest for digest in (sha256.hex if sha256 else None, upload.facts["sha256"]) if digest}
        await self.catalog.read(lambda tx: self._still_may(tx, upload))
        async with self.areas.turn(upload.id, area):
            while await self.blobs.run_hash(area.assembly.follow):
                pass
            digest = area.assembly.finish(size)
            if promised - {digest}:
                raise DigestMismatch(f"the sha256 of the bytes is {digest}, you gave {(promised - {digest}).pop()}")
            area.closed = True  # and stays in sight until its row is done, so that no late part opens the file again
            try:
                claims = Claims(size, {Algorithm.SHA256: digest})
                received = await self.blobs.run(self.blobs.assemble, area.assembly, size, claims)
            except BaseException as error:
                if isinstance(error, Exception):  # a failed sync is final; else the next process finds the bytes
                    await self.catalog.write(lambda tx: uploads.drop(tx, upload.id), slow=True)
                self.areas.let_go(upload.id)
                raise

        def bind(tx: Transaction) -> tuple[StoredObject, str]:
            principal, bucket, condition = self._still_may(tx, upload)
            key = blobs.keep(tx, received.blob, received.edges, self.now(), received.content)
            facts = Facts(upload.facts["type"], upload.facts["labels"], upload.facts["expires_at"])
            held = uploads.known(tx, upload.id).reserved
            stored = self.objects.point(tx, principal, bucket, upload.name or "", received.blob, facts, condition, held)
            uploads.finish(tx, upload.id, stored.version, self.now() + DONE_SECONDS)
            return stored, key

        try:
            stored, key = await self.catalog.write(bind, slow=True)
        except EntrepotError as error:
            await self._unbound(upload.id, received, error)
            raise
        finally:
            self.areas.let_go(upload.id)
        await self.objects.keeping.settle(received, key)
        return Session(upload.id, "done", object=stored)

    async def _unbound(self, upload_id: str, received: Received, error: EntrepotError) -> None:
        """The bytes got no name: what may work later finds them in staging again, what never will is gone."""
        if isinstance(error, Busy | DiskFull | QuotaExceeded):
            await self.blobs.run(self.blobs.driver.restage, received.blob.key, upload_id)
        else:
            await self.blobs.unlink_loser(received)
            await self.catalog.write(lambda tx: uploads.drop(tx, upload_id))

    def _writable(self, tx: Transaction, upload_id: str) -> Upload:
        """An open upload whose owner may still create that name."""
        upload = _resumable(tx, upload_id)
        if upload.state != "open":
            raise Conflict(FINISHED)
        self._still_may(tx, upload)
        return upload

    def _still_may(self, tx: Transaction, upload: Upload) -> tuple[Principal, Bucket, Condition]:
        """The owner with the rights it has now. Raises: Unauthenticated; Denied; NotFound."""
        account = accounts.find(tx, upload.facts["principal"])
        bucket = projects.bucket_by_id(tx, upload.place_id or 0)
        if account is None or account.disabled or account.id != upload.principal_id:
            raise Unauthenticated("whoever began this upload may no longer continue it")
        if bucket is None:
            raise NotFound("the bucket is gone")
        principal = principal_of(account, tuple(upload.facts["groups"]), upload.facts["job"])
        decide(tx, principal, Action.CREATE, bucket, upload.name or "")
        overwrite = is_allowed(tx, principal, Action.OVERWRITE, bucket, upload.name or "")
        return principal, bucket, Condition(upload.facts["absent"], None, overwrite)


def _facts_of(principal: Principal, wish: Wish) -> dict[str, Any]:
    """What the row remembers of a wish, and of whoever has it."""
    return {
        "type": wish.facts.content_type,
        "labels": dict(wish.facts.metadata),
        "expires_at": wish.facts.expires_at,
        "absent": wish.absent,
        "edges": wish.edges,
        "sha256": wish.sha256.hex if wish.sha256 else None,
        "principal": principal.name,
        "groups": list(principal.groups),
        "job": principal.job,
    }


def _is_for(found: Upload, principal: Principal, wish: Wish) -> bool:
    """Whether that upload is this very wish again; an expiry counts from the first time it was asked."""
    known, asked = dict(found.facts), _facts_of(principal, wish)
    same_end = (known.pop("expires_at") is None) == (asked.pop("expires_at") is None)
    return same_end and known == asked


def _same(found: Session, size: int, sha256: Digest | None) -> Session:
    """The answer a commit got, for the same commit again. Raises: Conflict for a commit of other bytes."""
    if found.object and (found.object.size != size or (sha256 and found.object.digest != sha256)):
        raise Conflict(f"the upload was finished with {found.object.size} bytes, sha256 {found.object.digest.hex}")
    return found


def _resumable(tx: Transaction, upload_id: str) -> Upload:
    found = uploads.known(tx, upload_id)
    if found.place_id is None or found.facts.get("numbered") or found.is_stream:
        raise NotFound("no such upload")
    return found


def _write(assembly: Assembly, running: "hashlib._Hash", offset: int, pieces: Sequence[Bytes]) -> int:
    for piece in pieces:
        running.update(piece)
    return assembly.write(offset, pieces)
