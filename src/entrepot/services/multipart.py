"""Uploads in numbered parts that become one object: begin, send and copy parts, list, abort."""

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from entrepot.catalog import blobs, listing, parts, uploads, versions
from entrepot.catalog.database import Catalog, Transaction
from entrepot.catalog.ids import ordered_id
from entrepot.catalog.listing import UploadPage
from entrepot.catalog.parts import REFERS, Part
from entrepot.catalog.uploads import Upload
from entrepot.errors import Conflict, NotFound
from entrepot.model import (
    Algorithm,
    Blob,
    Body,
    Claims,
    Clock,
    Digest,
    Facts,
    FileSpan,
    Instant,
    ObjectName,
    Piece,
    Span,
    StoredObject,
    VersionId,
)
from entrepot.names import MAX_AREA_KEY_BYTES, MAX_KEY_BYTES, object_key
from entrepot.principals import Action, Principal
from entrepot.services.joining import known_upload
from entrepot.services.objects import Objects
from entrepot.services.places import allowed, can_read, reading
from entrepot.services.placing import COPY_BYTES, Placing
from entrepot.services.sharing import owner_of
from entrepot.services.staging import StagingAreas
from entrepot.services.uploads import LIFE_SECONDS
from entrepot.storage.blobs import BlobStore


@dataclass(frozen=True, slots=True)
class _Known:
    """Bytes that are here: of a blob from `start` on, with their checksums."""

    blob: Blob
    start: int
    size: int
    sums: Mapping[Algorithm, str]


@dataclass(frozen=True, slots=True)
class Multipart:
    """Numbered parts into objects."""

    objects: Objects
    catalog: Catalog
    now: Clock
    areas: StagingAreas
    placing: Placing

    async def begin(self, principal: Principal, name: ObjectName, facts: Facts, want: Algorithm) -> str:
        """The id of a new upload. Raises: NoBucket; Denied; BadName; QuotaExceeded."""
        upload_id = ordered_id(self.now())

        def begin(tx: Transaction) -> None:
            bucket, _ = allowed(tx, principal, Action.CREATE, name)
            object_key(name.key, MAX_AREA_KEY_BYTES if bucket.areas else MAX_KEY_BYTES)
            now = self.now()
            extra = {"owner": owner_of(bucket, principal), **facts.extra}
            carried = {
                "numbered": True, "type": facts.content_type, "labels": dict(facts.metadata),
                "extra": extra, "want": want.value, "principal": principal.name,
                "project": principal.project,
            }  # fmt: skip
            uploads.begin(
                tx, upload_id, bucket.project_id, principal.id, now, now + LIFE_SECONDS, place_id=bucket.id,
                name=name.key, size=None, reserve=0, facts=carried,
            )  # fmt: skip

        await self.catalog.write(begin)
        return upload_id

    async def find(self, principal: Principal, name: ObjectName, upload_id: str) -> Upload:
        """The open upload. Raises: NoUpload; NoBucket; Denied."""
        return await self.catalog.read(lambda tx: known_upload(tx, principal, name, upload_id, "open"))

    async def known(self, principal: Principal, name: ObjectName, upload_id: str) -> Upload:
        """The upload, open or not. Raises: NoUpload; NoBucket; Denied."""
        states = ("open", "completing", "done")
        return await self.catalog.read(lambda tx: known_upload(tx, principal, name, upload_id, *states))

    async def put(
        self, principal: Principal, name: ObjectName, upload_id: str, number: int, body: Body, claims: Claims,
        want: frozenset[Algorithm],
    ) -> Part:  # fmt: skip
        """The part, safe on disk; one of the same number counts no more.

        Raises: Denied; and what `Placing.put` raises.
        """
        return await self.placing.put(await self.find(principal, name, upload_id), number, body, claims, want)

    async def put_known(
        self, principal: Principal, name: ObjectName, upload_id: str, number: int, claims: Claims,
        want: frozenset[Algorithm],
    ) -> Part | None:  # fmt: skip
        """As `put`, if the caller may already read these bytes, as a whole or as a part: the part refers to them.

        None if they must be sent. What is referred to stays as long as the upload lives.
        """
        sha256 = claims.checksums.get(Algorithm.SHA256)
        if sha256 is None or claims.size is None:
            return None
        upload = await self.find(principal, name, upload_id)
        wanted = want | _wanted_of(upload)

        def find(tx: Transaction) -> _Known | None:
            return _find_known(tx, principal, sha256, claims, wanted, self.now())

        def refer(tx: Transaction) -> tuple[Part, Part | None] | None:
            known = find(tx)
            return self._refer(tx, principal, name, upload_id, number, known) if known else None

        here = await self.catalog.read(find)
        if here is None or not await self.objects.keeping.stands(here.blob):
            return None
        done = await self.catalog.write(refer, slow=True)
        if done is None:
            return None
        await self.placing.discard(done[1])
        return done[0]

    def _refer(
        self, tx: Transaction, principal: Principal, name: ObjectName, upload_id: str, number: int, known: _Known
    ) -> tuple[Part, Part | None]:
        """The part that is these bytes from now on, and the one that was. Raises: NoUpload; Denied."""
        upload = known_upload(tx, principal, name, upload_id, "open")
        now = self.now()
        digest, sums = known.blob.digest, known.sums
        blobs.hold(tx, digest)
        blobs.take_lease(tx, digest, f"upload:{upload_id}", now + LIFE_SECONDS)
        part = Part(
            number, f"{REFERS}{digest.hex}", known.start, known.size, sums[Algorithm.MD5],
            sums[Algorithm.SHA256], sums[Algorithm(upload.facts["want"])], now,
        )  # fmt: skip
        old = parts.find(tx, upload_id, number)
        parts.add(tx, upload_id, part)
        uploads.prolong(tx, upload_id, now + LIFE_SECONDS)
        if old and not old.refers_to:
            uploads.shrink(tx, upload.project_id, upload_id, old.size)
        return part, old

    async def copy_part(
        self, principal: Principal, name: ObjectName, upload_id: str, number: int, source: ObjectName,
        version: VersionId | None, choose: Callable[[StoredObject], Span],
    ) -> tuple[StoredObject, Part]:  # fmt: skip
        """A part with bytes of another object. `choose` says which, or refuses. Raises: as `put`; NotFound.

        A part that lies in the source where it would lie here refers to it; the bytes of any other are copied.
        """
        upload = await self.find(principal, name, upload_id)
        old, blob = await self.objects.find(reading(principal, version), source, version)
        span = choose(old).within(blob.size)
        if _lies_alike(number, span, blob.size):
            sums = await self._sums(old, blob, number, span, _wanted_of(upload))
            known = _Known(blob, span.start, span.length, sums)
            part, replaced = await self.catalog.write(
                lambda tx: self._refer(tx, principal, name, upload_id, number, known)
            )
            await self.placing.discard(replaced)
            return old, part
        opened = await self.objects.keeping.open(blob, span)
        try:
            body = _body_of(opened.delivery, span, self.objects.blobs)
            return old, await self.placing.put(upload, number, body, Claims(span.length), frozenset())
        finally:
            opened.close()

    async def _sums(
        self, old: StoredObject, blob: Blob, number: int, span: Span, want: frozenset[Algorithm]
    ) -> Mapping[Algorithm, str]:
        """Checksums of that span: those that are known, or made of its bytes."""
        sums = {Algorithm.SHA256: blob.digest.hex, **blob.checksums}
        if span.length != blob.size:
            row = await self.catalog.read(lambda tx: versions.part(tx, old.version, number))
            sums = _sums_of(row) if row and row[:2] == (span.start, span.length) else {}
        return sums if want <= sums.keys() else await self.objects.blobs.checksums(blob, span, want)

    async def parts(self, principal: Principal, name: ObjectName, upload_id: str) -> tuple[Upload, list[Part]]:
        """The open upload and its parts, by number. Raises: NoUpload; NoBucket; Denied."""

        def look_up(tx: Transaction) -> tuple[Upload, list[Part]]:
            return known_upload(tx, principal, name, upload_id, "open"), parts.of(tx, upload_id)

        return await self.catalog.read(look_up)

    async def open_ones(
        self, principal: Principal, name: ObjectName, prefix: str, after: str, after_id: str, limit: int, delimiter: str
    ) -> UploadPage:
        """A page of the open uploads into the bucket of `name`; see `listing.upload_page`. Raises: NoBucket; Denied."""

        def look_up(tx: Transaction) -> UploadPage:
            bucket, _ = allowed(tx, principal, Action.LIST, replace(name, key=prefix))
            return listing.upload_page(tx, bucket, prefix, after, after_id, limit, delimiter)

        return await self.catalog.read(look_up)

    async def abort(self, principal: Principal, name: ObjectName, upload_id: str) -> None:
        """The upload and its parts are gone. Raises: NoUpload; Conflict while it is completed; Denied."""

        def check(tx: Transaction) -> None:
            if known_upload(tx, principal, name, upload_id, "open", "completing").state == "completing":
                raise Conflict("the upload is just being completed")

        await self.catalog.read(check)
        await self.areas.forget(upload_id)


def _find_known(
    tx: Transaction, principal: Principal, sha256: str, claims: Claims, want: frozenset[Algorithm], now: Instant
) -> _Known | None:
    """Bytes the caller may read, a whole blob or a part of an object, of which every claim is known to hold."""
    candidates: list[_Known] = []
    whole = blobs.find(tx, Digest(sha256))
    if whole:
        candidates.append(_Known(whole, 0, whole.size, {Algorithm.SHA256: sha256, **whole.checksums}))
    for hex_digest, *row in versions.parts_with(tx, sha256):
        blob = blobs.find(tx, Digest(hex_digest))
        if blob:
            candidates.append(_Known(blob, row[0], row[1], _sums_of(row)))
    for one in candidates:
        if claims.hold(one.size, one.sums, want) and can_read(tx, principal, one.blob.digest, now):
            return one
    return None


def _sums_of(row: Sequence[Any]) -> dict[Algorithm, str]:
    """What a row of an object's part says of its bytes."""
    _, _, md5, sha256, checksum, algorithm = row
    return {Algorithm.MD5: md5, Algorithm.SHA256: sha256, **({Algorithm(algorithm): checksum} if checksum else {})}


def _lies_alike(number: int, span: Span, size: int) -> bool:
    """Whether a part of that number would lie where `span` lies in its source of `size` bytes."""
    if number == 1 or not span.start:
        return number == 1 and not span.start
    length, rest = divmod(span.start, number - 1)
    return not rest and (span.length == length or (span.length < length and span.stop == size))


def _wanted_of(upload: Upload) -> frozenset[Algorithm]:
    """Checksums every part of that upload has."""
    return frozenset({Algorithm.MD5, Algorithm.SHA256, Algorithm(upload.facts["want"])})


async def _body_of(
    delivery: FileSpan | bytes | AsyncIterator[Piece], span: Span, store: BlobStore
) -> AsyncIterator[Sequence[Piece]]:
    """Stored bytes, as if somebody sent them."""
    if isinstance(delivery, bytes):
        yield [delivery]
    elif isinstance(delivery, FileSpan):
        for done in range(0, span.length, COPY_BYTES):
            length = min(COPY_BYTES, span.length - done)
            yield [await store.run(_pread, delivery.descriptor, length, span.start + done)]
    else:
        async for piece in delivery:
            yield [piece]


def _pread(descriptor: int, length: int, offset: int) -> bytes:
    piece = os.pread(descriptor, length, offset)
    if len(piece) != length:
        raise NotFound("the source's stored bytes are shorter than they were")
    return piece
