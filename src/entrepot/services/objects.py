"""Named bytes in buckets: put, open, look up, list, delete. Knows neither HTTP nor SQL."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from entrepot.auth.permissions import may, require_known
from entrepot.catalog import audit, blobs, objects, uploads, versions
from entrepot.catalog.database import Catalog, Transaction
from entrepot.errors import (
    BadName,
    EntrepotError,
    MarkerAsked,
    NotFound,
    NoVersion,
    TooLarge,
)
from entrepot.failpoints import failpoint
from entrepot.model import (
    ALWAYS,
    Algorithm,
    Blob,
    Body,
    Bucket,
    Claims,
    Clock,
    Condition,
    Digest,
    Facts,
    ObjectName,
    StoredObject,
    VersionId,
)
from entrepot.names import MAX_AREA_KEY_BYTES, MAX_KEY_BYTES, object_key
from entrepot.principals import Action, Principal
from entrepot.services.keeping import Keeping
from entrepot.services.names import Names, id_of
from entrepot.services.places import (
    IMAGES,
    VIRTUAL,
    allowed,
    asking,
    can_read,
    check_not_denied,
    hide_missing,
    holder_of,
    is_allowed,
    reading,
)
from entrepot.services.retention import default_retention
from entrepot.services.room import Room
from entrepot.services.sharing import owner_of
from entrepot.storage.blobs import DAY, BlobStore, Received

MAX_LABELS_BYTES: Final = 2048
OWN_LABEL: Final = "prominence_sha256"
"""What the server itself says of an object; no client's word."""
_LABEL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}\Z")


def check_labels(labels: Mapping[str, str]) -> None:
    """Raises: BadName for a label that could not be a header; TooLarge for over 2 KiB of them."""
    for name, value in labels.items():
        if not _LABEL.match(name) or name.lower() == OWN_LABEL or not (value.isprintable() or not value):
            raise BadName("a label cannot be kept", why="names are header names, values hold no control characters")
    if sum(len(name) + len(value.encode()) for name, value in labels.items()) > MAX_LABELS_BYTES:
        raise TooLarge("the labels are too large", why=f"at most {MAX_LABELS_BYTES} bytes are kept")


@dataclass(frozen=True, slots=True)
class PartOfObject:
    """A part of an object: where it begins, its length, and its checksums in hex."""

    number: int
    start: int
    size: int
    md5: str
    sha256: str
    checksum: str | None


@dataclass(frozen=True, slots=True)
class Objects:
    """Objects over one store of blobs and one catalog."""

    blobs: BlobStore
    catalog: Catalog
    now: Clock
    names: Names
    keeping: Keeping

    async def put(
        self,
        principal: Principal,
        name: ObjectName,
        body: Body,
        claims: Claims,
        facts: Facts,
        condition: Condition = ALWAYS,
        want: frozenset[Algorithm] = frozenset(),
    ) -> tuple[StoredObject, Blob]:
        """The object `name` now points to, and its bytes; it moves when the last byte is safe, or not at all.

        Raises: Denied; NotFound for the bucket; PreconditionFailed; QuotaExceeded; TooLarge; DigestMismatch; DiskFull;
        BodyCut. Nothing is kept then.
        """
        bucket, condition = await self.catalog.probe(lambda tx: self.may_put(tx, principal, name, condition))
        room = Room(self.catalog, self.now, bucket.project_id, principal.id)
        try:
            received = await self.blobs.receive(body, claims, want, room)
            return await self._name(principal, name, received, facts, condition, room), received.blob
        except BaseException:
            await room.release()
            raise

    async def parts(self, stored: StoredObject) -> list[PartOfObject]:
        """The parts it was sent in, in order; none if it came whole."""
        return [PartOfObject(*row) for row in await self.catalog.probe(lambda tx: versions.parts(tx, stored.version))]

    async def put_known(
        self,
        principal: Principal,
        name: ObjectName,
        claims: Claims,
        facts: Facts,
        condition: Condition,
        want: frozenset[Algorithm],
    ) -> tuple[StoredObject, Blob] | None:
        """As `put`, if the caller may already read the bytes it claims to send, and every claim is known to hold.

        None if they must be sent. Raises: as `put`.
        """
        sha256 = claims.checksums.get(Algorithm.SHA256)
        if sha256 is None:
            return None

        def known(tx: Transaction) -> Blob | None:
            blob = blobs.find(tx, Digest(sha256))
            if blob is None or not can_read(tx, principal, blob.digest, self.now()):
                return None
            return blob if claims.hold(blob.size, {Algorithm.SHA256: sha256, **blob.checksums}, want) else None

        found = await self.catalog.read(known)
        if found is None or not await self.keeping.stands(found):
            return None

        def point(tx: Transaction) -> tuple[StoredObject, Blob] | None:
            blob = known(tx)
            if blob is None:
                return None
            bucket, checked = self.may_put(tx, principal, name, condition)
            blobs.hold(tx, blob.digest)
            return self.point(tx, principal, bucket, name.key, blob, facts, checked), blob

        return await self.catalog.write(point, slow=True)

    def may_put(
        self, tx: Transaction, principal: Principal, name: ObjectName, condition: Condition
    ) -> tuple[Bucket, Condition]:
        """The bucket, and what must hold in the commit. Raises: as `put`, before any of its bytes are taken."""
        bucket, resource = allowed(tx, principal, Action.CREATE, name)
        object_key(name.key, MAX_AREA_KEY_BYTES if bucket.areas else MAX_KEY_BYTES)
        if condition != ALWAYS:  # for certain only within the commit
            old = objects.find(tx, bucket, name.key)
            objects.check(None if old and objects.is_over(old, self.now()) else old, condition)
        action = Action.OVERWRITE
        overwrite = may(principal, action, resource) or is_allowed(tx, principal, action, bucket, name.key)
        return bucket, Condition(condition.absent, condition.etag, overwrite, condition.other_than)

    async def _name(
        self,
        principal: Principal,
        name: ObjectName,
        received: Received,
        facts: Facts,
        condition: Condition,
        room: Room,
    ) -> StoredObject:
        """One commit: blob, name, reference, quota, the upload's end, audit."""

        def bind(tx: Transaction) -> tuple[StoredObject, str]:
            bucket, checked = self.may_put(tx, principal, name, condition)  # it may be another than before the body
            key = blobs.keep(tx, received.blob, received.edges, self.now(), received.content)
            stored = self.point(tx, principal, bucket, name.key, received.blob, facts, checked, room.reserved)
            if room.id:
                uploads.close(tx, room.id)
            return stored, key

        try:
            stored, key = await self.catalog.write(bind)
        except EntrepotError:  # refused for certain; after any other failure the file may have its row
            await self.blobs.unlink_loser(received)
            raise
        await self.keeping.settle(received, key)
        return stored

    def point(
        self,
        tx: Transaction,
        principal: Principal,
        bucket: Bucket,
        key: str,
        blob: Blob,
        facts: Facts,
        condition: Condition,
        released: int = 0,
        etag: str | None = None,
    ) -> StoredObject:
        """Within a commit: the name, now pointing to bytes that are held, with its audit row."""
        etag = etag or blob.checksums.get(Algorithm.MD5, blob.digest.hex)
        now = self.now()
        if "object-lock" in bucket.config and "retention" not in facts.extra:
            kept = default_retention(bucket.config["object-lock"], now)
            facts = replace(facts, extra={**facts.extra, "retention": kept}) if kept else facts
        owner = facts.extra.get("owner") or owner_of(bucket, principal)
        if owner != bucket.project or "owner" in facts.extra:  # it is kept only of a guest's objects
            rest = {name: value for name, value in facts.extra.items() if name != "owner"}
            facts = replace(facts, extra=rest if owner == bucket.project else {**rest, "owner": owner})
        stored = objects.point(tx, bucket, key, blob.digest, blob.size, etag, facts, condition, now, released=released)
        audit.record(
            tx, principal, "put", now, project_id=bucket.project_id, name=f"{bucket.name}/{key}", digest=blob.digest.hex
        )
        return stored

    async def find(
        self, principal: Principal, name: ObjectName, version: VersionId | None = None
    ) -> tuple[StoredObject, Blob]:
        """What `name` points to, or that version of it, and its bytes, which are here.

        Raises: NotFound, Deleted if its newest version is a marker; Denied; Unauthenticated.
        """
        run = self.catalog.read if name.bucket == IMAGES else self.catalog.probe  # which may have to read a manifest
        return await run(lambda tx: self.look_up(tx, principal, name, version))

    def look_up(
        self, tx: Transaction, principal: Principal, name: ObjectName, version: VersionId | None = None
    ) -> tuple[StoredObject, Blob]:
        """As `find`, within a transaction."""
        if name.bucket in VIRTUAL:
            return self.names.shown.look_up(tx, principal, name)
        bucket, _ = allowed(tx, principal, Action.GET, name, version)
        found = objects.find_with_blob(tx, bucket, name.key)
        if version is not None and (found is None or id_of(found[0]) != version):
            found = versions.find_with_blob(tx, bucket, name.key, version.number)
        elif found is None and bucket.versioning:
            versions.check_not_deleted(tx, bucket, name.key)
        if found is None or found[1] is None or objects.is_over(found[0], self.now()):
            if found and found[0].marker:
                raise MarkerAsked(found[0].version_id)
            hide_missing(tx, principal, bucket, name.key)
            raise NotFound("no such object") if version is None else NoVersion("no such version")
        return found[0], found[1]

    async def find_digest(self, principal: Principal, digest: Digest) -> Blob:
        """That blob, if the principal may read it under some name. Raises: NotFound; Unauthenticated."""

        def look_up(tx: Transaction) -> Blob:
            blob = blobs.find(tx, digest)
            if blob is None or not can_read(tx, principal, digest, self.now()):
                require_known(principal)
                raise NotFound(f"no blob {digest}")
            return blob

        return await self.catalog.read(look_up)

    async def tell(self, principal: Principal, digest: Digest) -> Blob:
        """As `find_digest`; and since the principal is told these bytes are here, they stay for a day at least."""
        blob = await self.find_digest(principal, digest)
        holder, now = holder_of(principal), self.now()
        if principal.id and await self.catalog.probe(lambda tx: blobs.leased_until(tx, digest, holder)) < now + DAY:

            def lease(tx: Transaction) -> None:
                blobs.hold(tx, digest)
                blobs.take_lease(tx, digest, holder, now + 2 * DAY)

            await self.catalog.write(lease)
            failpoint("lease.taken")
        return blob

    async def copy(
        self,
        principal: Principal,
        source: ObjectName,
        version: VersionId | None,
        target: ObjectName,
        facts: Callable[[StoredObject, Blob], Facts],
        condition: Condition = ALWAYS,
    ) -> tuple[StoredObject, StoredObject, Blob]:
        """The source, the object `target` now points to, and the bytes of both, not one of them moved.

        `facts` says what the new name carries, or refuses. Raises: NotFound; Denied; PreconditionFailed; QuotaExceeded.
        """

        def point(tx: Transaction) -> tuple[StoredObject, StoredObject, Blob]:
            old, blob = self.look_up(tx, reading(principal, version), source, version)
            carried = facts(old, blob)
            bucket, checked = self.may_put(tx, principal, target, condition)
            if carried.extra.get("tags"):
                if carried.extra["tags"] is old.extra.get("tags"):
                    allowed(tx, asking(principal, "s3:GetObjectTagging"), Action.GET, source, version)
                check_not_denied(tx, principal, "s3:PutObjectTagging", Action.CREATE, bucket, target.key)
            blobs.hold(tx, blob.digest)
            etag = blob.checksums.get(Algorithm.MD5, old.etag)
            return old, self.point(tx, principal, bucket, target.key, blob, carried, checked, etag=etag), blob

        return await self.catalog.write(point, slow=True)
