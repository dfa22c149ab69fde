"""Upload sessions of registries: bytes that come in order, over any number of requests, and become a repository's.

open --append--> open      hashed as they come; a row says how far, before anybody is told
     --close-->  ended     their digest is the one that was promised: the repository has them
                 dropped   it is another

Who asks for the same bytes again goes on where an earlier session of theirs ended. Whoever sends to a session last has
it: an older request that is still sending is cut off.
"""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from entrepot.auth.permissions import authorize
from entrepot.catalog import accounts, blobs, manifests, projects, repositories, uploads
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.uploads import Upload
from entrepot.errors import (
    Busy,
    DigestMismatch,
    DiskFull,
    EntrepotError,
    NoUpload,
    QuotaExceeded,
    TooLarge,
    Unauthenticated,
    WrongOffset,
    WrongSize,
)
from entrepot.failpoints import failpoint
from entrepot.model import Algorithm, Body, Claims, Clock, Digest, NamedDigest, Piece, Repository
from entrepot.principals import Action, Principal, Resource
from entrepot.services.identity import principal_of
from entrepot.services.keeping import Keeping
from entrepot.services.places import can_read
from entrepot.services.rates import Turns
from entrepot.services.repositories import LEASE_SECONDS
from entrepot.services.repository_places import canonical, check_pushable, holder_of, identity_of, pushable
from entrepot.services.room import Room
from entrepot.services.staging import Area, StagingAreas
from entrepot.storage.blobs import BlobStore, Received

LIFE_SECONDS: Final = 86400.0
"""After its last byte."""
SAFE_BYTES: Final = 64 << 20
"""At least so often a running request is made safe, so that a crash costs no more."""
MAX_BYTES: Final = 1 << 43


@dataclass(frozen=True, slots=True)
class Session:
    """An open upload: its id, a UUID, and how many bytes it holds."""

    id: str
    offset: int


@dataclass(frozen=True, slots=True)
class Sessions:
    """Uploads into repositories."""

    keeping: Keeping
    blobs: BlobStore
    catalog: Catalog
    now: Clock
    areas: StagingAreas
    _closing: Turns = field(default_factory=Turns)

    async def check_may_push(self, principal: Principal, path: str) -> None:
        """Nothing, if the principal may push there; before a body is read. Raises: Denied; NotFound; BadName."""
        await self.catalog.probe(lambda tx: check_pushable(tx, principal, path))

    async def begin(self, principal: Principal, path: str, *, sha512: bool = False, name: str = "") -> Session:
        """A new upload; `name` is the sha256 it is of, if that is known. Raises: Denied; NotFound; QuotaExceeded."""
        self.blobs.check_room(0)
        upload_id = uuid.uuid4().hex

        def insert(tx: Transaction) -> None:
            repository = pushable(tx, principal, path, self.now())
            now = self.now()
            uploads.begin(
                tx, upload_id, repository.project_id, principal.id, now, now + LIFE_SECONDS, place_id=repository.id,
                name=name, size=None, reserve=0, facts=_facts_of(principal, sha512=sha512),
            )  # fmt: skip

        await self.catalog.write(insert)
        failpoint("upload.reserved")
        return _session(upload_id, 0)

    async def resume(self, principal: Principal, path: str, named: NamedDigest) -> Session | None:
        """The caller's upload of these bytes that is open there, or a new one; None if they need no sending.

        Raises: as `begin`.
        """

        def look_up(tx: Transaction) -> Upload | bool:
            repository = pushable(tx, principal, path, self.now())
            digest = identity_of(tx, named)
            if digest and blobs.find(tx, digest) and can_read(tx, principal, digest, self.now(), repository.project_id):
                blobs.hold(tx, digest)
                blobs.take_lease(tx, digest, holder_of(repository), self.now() + LEASE_SECONDS)
                return True
            return uploads.open_stream(tx, principal.id, repository.id, named.hex) or False

        found = await self.catalog.write(look_up)
        if found is True:
            failpoint("lease.taken")
            return None
        if isinstance(found, Upload):
            with suppress(NoUpload):
                return await self.state(principal, path, found.id)
        return await self.begin(principal, path, sha512=named.algorithm is Algorithm.SHA512, name=named.hex)

    async def put(self, principal: Principal, path: str, named: NamedDigest, body: Body, size: int | None) -> None:
        """Bytes in one request. Raises: as `append` and `close`; nothing is kept then."""
        repository = await self.catalog.write(lambda tx: pushable(tx, principal, path, self.now()))
        room = Room(self.catalog, self.now, repository.project_id, principal.id)
        claims = Claims(size, {named.algorithm: named.hex})
        try:
            received = await self.blobs.receive(body, claims, frozenset(), room)
        except BaseException:
            await room.release()
            raise
        await self._keep(principal, repository, received, room)

    async def _keep(self, principal: Principal, repository: Repository, received: Received, room: Room) -> None:
        def keep(tx: Transaction) -> str:
            check_pushable(tx, principal, repository.path)
            now = self.now()
            if room.id:
                uploads.close(tx, room.id)
                projects.settle(tx, repository.project_id, grown=0, released=room.reserved, more=0)
            ended = uuid.uuid4().hex
            uploads.begin(
                tx, ended, repository.project_id, principal.id, now, now + LEASE_SECONDS, place_id=repository.id,
                name="", size=None, reserve=0, facts=_facts_of(principal),
            )  # fmt: skip
            return self._hold(tx, repository, uploads.known(tx, ended), received)

        try:
            key = await self.catalog.write(keep)
        except EntrepotError:
            await self.blobs.unlink_loser(received)
            await room.release()
            raise
        await self.keeping.settle(received, key)

    async def state(self, caller: Principal, path: str, upload_id: str) -> Session:
        """How far an upload is; all of that is safe. Raises: NoUpload; Denied; Unauthenticated."""
        upload, _, _ = await self.catalog.read(lambda tx: self._open(tx, caller, path, upload_id))
        async with self.areas.of(upload.id) as area, self.areas.turn(upload.id, area):
            return _session(upload.id, await self._make_safe(upload.id, area))

    async def cancel(self, caller: Principal, path: str, upload_id: str) -> None:
        """Forget an upload and its bytes. Raises: NoUpload; Conflict while it is being closed."""
        upload, _, _ = await self.catalog.read(lambda tx: self._open(tx, caller, path, upload_id))
        await self.areas.forget(upload.id)

    async def append(
        self,
        caller: Principal,
        path: str,
        upload_id: str,
        body: Body,
        *,
        start: int | None = None,
        size: int | None = None,
        wanted: int | None = None,
    ) -> Session:
        """The upload with the bytes of `body` behind those it holds, safe on disk.

        `start` is where the client believes that is, `size` what it announced, `wanted` how much it said it sends. What
        comes of a body that is cut is kept. Raises: NoUpload; Denied; WrongOffset, also for who is overtaken by a later
        request; WrongSize; BodyCut; QuotaExceeded; DiskFull; TooLarge.
        """
        upload, _, _ = await self.catalog.read(lambda tx: self._open(tx, caller, path, upload_id))
        async with self.areas.of(upload.id) as area:
            async with self.areas.turn(upload.id, area):
                area.epoch += 1
                epoch, offset = area.epoch, area.assembly.front
                if start is not None and start != offset:
                    raise WrongOffset(await self._make_safe(upload.id, area))
            if wanted is not None and size is not None and wanted != size:
                raise WrongSize(f"the body has {size} bytes, Content-Range says {wanted}")
            async with self.blobs.uploading:
                await self._receive(area, epoch, upload, body, size, wanted)
            async with self.areas.turn(upload.id, area):
                return _session(upload.id, await self._make_safe(upload.id, area))

    async def _receive(
        self, area: Area, epoch: int, upload: Upload, body: Body, size: int | None, wanted: int | None
    ) -> None:
        room = Room(self.catalog, self.now, upload.project_id, upload.principal_id, upload.id, upload.reserved)
        begun = safe = area.assembly.front
        if size:
            await room.cover(begun + size)
            self.blobs.check_room(size)
        try:
            async for pieces in body:
                length = sum(map(len, pieces))
                if area.assembly.front + length > MAX_BYTES:
                    raise TooLarge("a blob has at most 8 TiB")
                if wanted is not None and area.assembly.front + length > begun + wanted:
                    raise WrongSize(f"the body is longer than the {wanted} bytes of Content-Range")
                await room.cover(area.assembly.front + length)
                self.blobs.check_room(0)
                async with self.areas.turn(upload.id, area):
                    self._check_mine(area, epoch)
                    front = await self.blobs.run_hash(_append, area, pieces)
                    if front - safe >= SAFE_BYTES:
                        safe = await self._make_safe(upload.id, area)
        except BaseException:
            if not area.closed and area.epoch == epoch:
                async with area.turn:
                    await self._make_safe(upload.id, area)
            raise
        if wanted is not None and area.assembly.front != begun + wanted:
            raise WrongSize(f"the body is shorter than the {wanted} bytes of Content-Range")

    def _check_mine(self, area: Area, epoch: int) -> None:
        if area.epoch != epoch:
            raise WrongOffset(area.assembly.front)

    async def _make_safe(self, upload_id: str, area: Area) -> int:
        """How many bytes the upload holds, now that they are on disk and its row says so."""
        front = area.assembly.front
        if front == area.safe:
            return front
        try:
            await self.blobs.run(area.assembly.staging.sync)
        except OSError:  # final: what was written may be gone, whatever a second sync says
            area.closed = True
            self.areas.let_go(upload_id)
            await self.catalog.write(lambda tx: uploads.drop(tx, upload_id))
            await self.blobs.run(area.assembly.staging.discard)
            raise
        failpoint("upload.synced")
        was, state = area.safe, area.assembly.state()
        until = self.now() + LIFE_SECONDS
        if not await self.catalog.write(lambda tx: uploads.advance(tx, upload_id, was, front, state, until)):
            area.closed = True
            self.areas.let_go(upload_id)
            raise NoUpload("no such upload", why="it was closed, cancelled or taken over meanwhile")
        area.safe = front
        failpoint("upload.progressed")
        return front

    async def close(
        self,
        caller: Principal,
        path: str,
        upload_id: str,
        named: NamedDigest,
        body: Body | None,
        *,
        start: int | None = None,
        size: int | None = None,
        wanted: int | None = None,
    ) -> None:
        """The repository has these bytes, those of `body` last; asked again, the same.

        Raises: as `append`; DigestMismatch, and then nothing is left of it.
        """
        if body is not None or start is not None:
            await self.append(caller, path, upload_id, body or _nothing(), start=start, size=size, wanted=wanted)
        async with self._closing.of(upload_id):
            upload, repository, principal = await self.catalog.read(
                lambda tx: self._open(tx, caller, path, upload_id, ended=named)
            )
            if upload.state == "done":
                return
            if not await self.catalog.write(lambda tx: uploads.claim(tx, upload.id)):
                raise Busy("the upload is just being closed")
            await self._complete(upload, repository, principal, named)

    async def _complete(self, upload: Upload, repository: Repository, principal: Principal, named: NamedDigest) -> None:
        try:
            async with self.areas.of(upload.id, completing=True) as area, self.areas.turn(upload.id, area):
                received = await self._finish(upload, area, named)
        except DigestMismatch:
            await self.areas.forget(upload.id, completing=True)
            raise
        except BaseException:
            await self.catalog.write(lambda tx: uploads.reopen(tx, upload.id))
            raise

        def hold(tx: Transaction) -> str:
            check_pushable(tx, principal, repository.path)
            return self._hold(tx, repository, uploads.known(tx, upload.id), received)

        try:
            key = await self.catalog.write(hold)
        except EntrepotError as error:
            await self._unheld(upload.id, received, error)
            raise
        await self.keeping.settle(received, key)

    async def _finish(self, upload: Upload, area: Area, named: NamedDigest) -> Received:
        """The bytes of the upload, if they are those that were named, kept under a key. No area is left then."""
        size = area.assembly.front
        sums = {Algorithm.SHA256: await self.blobs.run_hash(area.assembly.finish, size)}
        if named.algorithm is Algorithm.SHA512:
            sums[named.algorithm] = await self._sha512(area, size)
        if sums[named.algorithm] != named.hex:
            raise DigestMismatch(
                f"the {named.algorithm.value} of the bytes is {sums[named.algorithm]}, you gave {named.hex}",
                algorithm=named.algorithm.value, found=sums[named.algorithm], claimed=named.hex,
            )  # fmt: skip
        area.closed = True
        try:
            claims = Claims(size, {Algorithm.SHA256: sums[Algorithm.SHA256]})
            return await self.blobs.run(self.blobs.assemble, area.assembly, size, claims, sums)
        except BaseException:  # a failed sync is final
            await self.catalog.write(lambda tx: uploads.drop(tx, upload.id))
            raise
        finally:
            self.areas.let_go(upload.id)

    async def _sha512(self, area: Area, size: int) -> str:
        if area.sha512:
            return area.sha512.hexdigest()
        return await self.blobs.checksum_staged(area.assembly.staging, size, Algorithm.SHA512)

    def _hold(self, tx: Transaction, repository: Repository, upload: Upload, received: Received) -> str:
        """Within a commit: the repository has the bytes for two days, or as long as a manifest of its names them."""
        blob, until = received.blob, self.now() + LEASE_SECONDS
        key = blobs.keep(tx, blob, received.edges, self.now(), received.content)
        blobs.take_lease(tx, blob.digest, holder_of(repository), until)
        counted = manifests.is_named(tx, repository.id, blob.digest)
        held = 0 if counted else blob.size
        if held > upload.reserved:
            uploads.grow(tx, upload.project_id, upload.id, held - upload.reserved)
            upload = uploads.known(tx, upload.id)
        uploads.end_stream(tx, upload, blob.digest.hex, blob.size, held, until)
        return key

    async def _unheld(self, upload_id: str, received: Received, error: EntrepotError) -> None:
        """The bytes are no repository's: what may work later finds them in staging again, what never will is gone."""
        if isinstance(error, Busy | DiskFull | QuotaExceeded):
            await self.blobs.run(self.blobs.driver.restage, received.blob.key, upload_id)
            await self.catalog.write(lambda tx: uploads.reopen(tx, upload_id))
        else:
            await self.blobs.unlink_loser(received)
            await self.catalog.write(lambda tx: uploads.drop(tx, upload_id))

    def _open(
        self, tx: Transaction, caller: Principal, path: str, upload_id: str, *, ended: NamedDigest | None = None
    ) -> tuple[Upload, Repository, Principal]:
        """An upload, where it goes, and who sends: its address is the right to it, for nobody else who is known.

        `ended`: one that ended with those bytes is found too. Raises: NoUpload; Unauthenticated; Denied.
        """
        upload = uploads.find(tx, upload_id)
        repository = repositories.by_id(tx, upload.place_id or 0) if upload and upload.is_stream else None
        if upload is None or repository is None or repository.path != canonical(path):
            raise NoUpload("no such upload", why="it was closed, cancelled, or expired", advice="begin a new one")
        done = ended and (identity_of(tx, ended) or Digest("0" * 64)).hex == upload.name
        if upload.state != "open" and not (upload.state == "done" and done):
            raise NoUpload("no such upload", why="it was closed")
        if caller.id and caller.id != upload.principal_id:
            raise NoUpload("no such upload")
        principal = caller if caller.id else _principal_of(tx, upload)
        authorize(principal, Action.CREATE, Resource(repository.project_id, repository.public))
        return upload, repository, principal


def _principal_of(tx: Transaction, upload: Upload) -> Principal:
    """Whoever began it, with the rights it has now. Raises: Unauthenticated."""
    account = accounts.find(tx, upload.facts["principal"])
    if account is None or account.disabled or account.id != upload.principal_id:
        raise Unauthenticated("whoever began this upload may no longer continue it")
    return principal_of(account, tuple(upload.facts["groups"]), upload.facts["job"])


def _facts_of(principal: Principal, *, sha512: bool = False) -> dict[str, Any]:
    return {
        "stream": True, "sha512": sha512, "principal": principal.name, "groups": list(principal.groups),
        "job": principal.job,
    }  # fmt: skip


def _session(upload_id: str, offset: int) -> Session:
    return Session(str(uuid.UUID(upload_id)), offset)


def _append(area: Area, pieces: Sequence[Piece]) -> int:
    front = area.assembly.append(pieces)
    if area.sha512:
        for piece in pieces:
            area.sha512.update(piece)
    return front


async def _nothing() -> Any:
    return
    yield
