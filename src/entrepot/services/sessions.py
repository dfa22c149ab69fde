"""Upload sessions of registries: bytes that come in order, over any number of requests, and become a repository's.

open --append--> open      hashed as they come; a row says how far, before anybody is told
     --close-->  ended     their digest is the one that was promised: the repository has them
                 dropped   it is another

Who asks for the same bytes again goes on where an earlier session of theirs ended. How bytes become safe is in
`streaming`; here is what uploads are, and whose.
"""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from entrepot.auth.permissions import authorize
from entrepot.catalog import accounts, blobs, manifests, projects, repositories, uploads
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.uploads import Upload
from entrepot.errors import (
    BodyCut,
    Busy,
    DigestMismatch,
    DiskFull,
    EntrepotError,
    NoUpload,
    QuotaExceeded,
    Unauthenticated,
    WrongOffset,
)
from entrepot.failpoints import failpoint
from entrepot.model import Algorithm, Body, Claims, Clock, NamedDigest, Piece, Repository
from entrepot.principals import Action, Principal, Resource
from entrepot.services.identity import principal_of
from entrepot.services.keeping import Keeping
from entrepot.services.places import can_read
from entrepot.services.rates import Turns
from entrepot.services.repository_leases import LEASE_SECONDS, lease
from entrepot.services.repository_places import ABSENT, canonical, check_pushable, holder_of, identity_of, pushable
from entrepot.services.room import Room
from entrepot.services.streaming import LIFE_SECONDS, Incoming, Streams, whole
from entrepot.storage.blobs import BlobStore, Received

FEW_BYTES: Final = 64 << 10
"""As long as an upload has no more, they are in its row: one commit makes them safe, and no file is made for them."""


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
    streams: Streams
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
            blob = blobs.find(tx, digest) if digest else None
            if blob and can_read(tx, principal, blob.digest, self.now(), repository.project_id):
                lease(tx, principal, repository, blob, self.now())
                return True
            return uploads.open_stream(tx, principal.id, repository.id, named.hex) or False

        found = await self.catalog.write(look_up, slow=True)
        if found is True:
            failpoint("lease.taken")
            return None
        if isinstance(found, Upload):
            with suppress(NoUpload):
                return await self.state(principal, path, found.id)
        return await self.begin(principal, path, sha512=named.algorithm is Algorithm.SHA512, name=named.hex)

    async def put(self, principal: Principal, path: str, named: NamedDigest, body: Body, size: int | None) -> None:
        """Bytes in one request. Raises: as `append` and `close`; nothing is kept then."""
        repository = await self._repository(principal, path)
        room = Room(self.catalog, self.now, repository.project_id, principal.id)
        claims = Claims(size, {named.algorithm: named.hex})
        try:
            received = await self.blobs.receive(body, claims, frozenset(), room)
        except BaseException:
            await room.release()
            raise
        await self._keep(principal, repository, received, room)

    async def _repository(self, principal: Principal, path: str) -> Repository:
        """The repository, made if it is missing."""
        found = await self.catalog.probe(lambda tx: check_pushable(tx, principal, path))
        if isinstance(found, Repository):
            return found
        return await self.catalog.write(lambda tx: pushable(tx, principal, path, self.now()))

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
        upload, _, _ = await self.catalog.probe(lambda tx: self._open(tx, caller, path, upload_id))
        return _session(upload.id, upload.front if self._is_in_row(upload) else await self.streams.state(upload))

    async def cancel(self, caller: Principal, path: str, upload_id: str) -> None:
        """Forget an upload and its bytes. Raises: NoUpload; Conflict while it is being closed."""
        upload, _, _ = await self.catalog.probe(lambda tx: self._open(tx, caller, path, upload_id))
        await self.streams.areas.forget(upload.id)

    def _is_in_row(self, upload: Upload) -> bool:
        return upload.is_in_row and not self.streams.areas.is_open(upload.id)

    async def append(self, caller: Principal, path: str, upload_id: str, incoming: Incoming) -> Session:
        """The upload with more bytes behind those it holds, safe on disk; what comes of a body that is cut is kept.

        Raises: NoUpload; Denied; WrongOffset, also for who is overtaken by a later request; WrongSize; BodyCut;
        QuotaExceeded; DiskFull; TooLarge.
        """
        incoming.check_announced()
        upload, _, _ = await self.catalog.probe(lambda tx: self._open(tx, caller, path, upload_id))
        few: list[Piece] = []
        if self._is_in_row(upload):
            _check_start(upload, incoming)
            if await self._read(upload, incoming, few):
                incoming.check(upload.front, sum(map(len, few)), ended=True)
                return _session(upload.id, await self._keep_few(upload, few))
        return _session(upload.id, await self.streams.append(upload, incoming, few))

    async def _read(self, upload: Upload, incoming: Incoming, few: list[Piece]) -> bool:
        """As `_read_few`, up to what a row holds; what comes of a body that is cut is kept."""
        try:
            return await _read_few(incoming, few, FEW_BYTES - upload.front)
        except BodyCut:
            await self._keep_few(upload, few)
            raise

    async def _keep_few(self, upload: Upload, pieces: Sequence[Piece]) -> int:
        """How many bytes the upload holds with these, in its row: so few need no file yet."""
        head, until = b"".join([upload.head or b"", *pieces]), self.now() + LIFE_SECONDS
        self.blobs.check_room(len(head))

        def advance(tx: Transaction) -> bool:
            if len(head) > upload.reserved:
                uploads.grow(tx, upload.project_id, upload.id, len(head) - upload.reserved)
            return uploads.advance(tx, upload.id, upload.front, len(head), until, head=head)

        if self.streams.areas.is_open(upload.id):  # a later request is sending more
            raise WrongOffset(await self.streams.state(upload))
        if not await self.catalog.write(advance):
            found = await self.catalog.read(lambda tx: uploads.known(tx, upload.id))
            raise WrongOffset(found.front)
        failpoint("upload.progressed")
        return len(head)

    async def close(self, caller: Principal, path: str, upload_id: str, named: NamedDigest, incoming: Incoming) -> None:
        """The repository has these bytes, those of `incoming` last; asked again, the same.

        Raises: as `append`; DigestMismatch, and then nothing is left of it.
        """
        incoming.check_announced()
        few: list[Piece] = []
        upload, repository, principal = await self.catalog.probe(
            lambda tx: self._open(tx, caller, path, upload_id, ended=named)
        )
        if upload.state == "done":
            return
        if upload.state == "open" and self._is_in_row(upload):
            _check_start(upload, incoming)
            if await self._read(upload, incoming, few):
                incoming.check(upload.front, sum(map(len, few)), ended=True)
                await self._close_row(upload, repository, principal, named, few)
                return
        if upload.state == "open" and (incoming.size != 0 or few or incoming.start is not None):
            await self.streams.append(upload, incoming, few)
        async with self._closing.of(upload.id):
            upload, repository, principal = await self.catalog.probe(
                lambda tx: self._open(tx, caller, path, upload_id, ended=named)
            )
            if upload.state == "done":
                return
            if not await self.catalog.write(lambda tx: uploads.claim(tx, upload.id)):
                raise Busy("the upload is just being closed")
            await self._complete(replace(upload, state="completing"), repository, principal, named)

    async def _close_row(
        self, upload: Upload, repository: Repository, principal: Principal, named: NamedDigest, few: Sequence[Piece]
    ) -> None:
        """The upload's few bytes, which are in its row, become the repository's in one commit."""
        data = b"".join([upload.head or b"", *few])
        claims = Claims(len(data), {named.algorithm: named.hex})
        try:
            received = await self.blobs.receive(whole(data), claims, frozenset(), _Aside(upload.id))
        except DigestMismatch:
            await self.streams.areas.forget(upload.id)
            raise
        await self._name(upload, repository, principal, received)

    async def _complete(self, upload: Upload, repository: Repository, principal: Principal, named: NamedDigest) -> None:
        try:
            received = await self.streams.finish(upload, named)
        except DigestMismatch:
            await self.streams.areas.forget(upload.id, completing=True)
            raise
        except Exception:
            await self.catalog.write(lambda tx: uploads.reopen(tx, upload.id))
            raise
        await self._name(upload, repository, principal, received)

    async def _name(self, upload: Upload, repository: Repository, principal: Principal, received: Received) -> None:
        """The repository has the bytes of the upload, which is over."""

        def hold(tx: Transaction) -> str | None:
            check_pushable(tx, principal, repository.path)
            fresh = uploads.locked(tx, upload.id)
            if fresh.state == "done" and fresh.name == received.blob.digest.hex:
                return None  # another closed it with the same bytes
            if fresh.state != upload.state or (upload.is_in_row and fresh.front != upload.front):
                raise WrongOffset(fresh.front)
            return self._hold(tx, repository, fresh, received)

        try:
            key = await self.catalog.write(hold)
        except EntrepotError as error:
            await self._unheld(upload.id, received, error, in_row=upload.is_in_row)
            raise
        if key is None:
            await self.blobs.unlink_loser(received)
        else:
            await self.keeping.settle(received, key)

    async def _unheld(self, upload_id: str, received: Received, error: EntrepotError, *, in_row: bool) -> None:
        """The bytes are no repository's: what may work later finds them again, what never will is gone."""
        later = isinstance(error, Busy | DiskFull | QuotaExceeded | WrongOffset)
        if in_row or not later:
            await self.blobs.unlink_loser(received)
        else:
            await self.blobs.run(self.blobs.driver.restage, received.blob.key, upload_id)
        if not later:
            await self.catalog.write(lambda tx: uploads.drop(tx, upload_id))
        elif not in_row:
            await self.catalog.write(lambda tx: uploads.reopen(tx, upload_id))

    def _hold(self, tx: Transaction, repository: Repository, upload: Upload, received: Received) -> str:
        """Within a commit: the repository has the bytes for two days, or as long as a manifest of its names them."""
        blob, until = received.blob, self.now() + LEASE_SECONDS
        key = blobs.keep(tx, blob, received.edges, self.now(), received.content)
        blobs.take_lease(tx, blob.digest, holder_of(repository), until)
        uploads.drop_ended(tx, repository.id, blob.digest.hex)  # the same bytes count once
        counted = manifests.is_named(tx, repository.id, blob.digest)
        held = 0 if counted else blob.size
        if held > upload.reserved:
            uploads.grow_at_last(tx, upload.project_id, upload.id, held - upload.reserved)
            upload = uploads.known(tx, upload.id)
        uploads.end_stream(tx, upload, blob.digest.hex, blob.size, held, until)
        return key

    def _open(
        self, tx: Transaction, caller: Principal, path: str, upload_id: str, *, ended: NamedDigest | None = None
    ) -> tuple[Upload, Repository, Principal]:
        """An upload, where it goes, and who sends: its address is the right to it, for nobody else who is known.

        `ended`: one that ended with those bytes, or is just being closed, is found too.

        Raises: NoUpload; Unauthenticated; Denied.
        """
        upload = uploads.find(tx, upload_id)
        repository = repositories.by_id(tx, upload.place_id or 0) if upload and upload.is_stream else None
        if upload is None or repository is None or repository.path != canonical(path):
            raise NoUpload("no such upload", why="it was closed, cancelled, or expired", advice="begin a new one")
        done = ended and (identity_of(tx, ended) or ABSENT).hex == upload.name
        if upload.state != "open" and not (ended and (done or upload.state == "completing")):
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


@dataclass(frozen=True, slots=True)
class _Aside:
    """Where the bytes of a row become a file: beside the upload's own area. Their place in the quota is asked later."""

    upload_id: str

    async def cover(self, size: int) -> str:
        """As `Reservation.cover`."""
        return f"{self.upload_id}.{uuid.uuid4().hex}"


def _check_start(upload: Upload, incoming: Incoming) -> None:
    if incoming.start not in (None, upload.front):
        raise WrongOffset(upload.front)


async def _read_few(incoming: Incoming, few: list[Piece], most: int) -> bool:
    """Whether a body is no longer than that; then all of it is in `few`, else what was read of it."""
    if incoming.size is not None and incoming.size > most:
        return False
    total = 0
    async for pieces in incoming.body:
        few += [bytes(piece) for piece in pieces]
        total += sum(map(len, pieces))
        if total > most:
            return False
    return True
