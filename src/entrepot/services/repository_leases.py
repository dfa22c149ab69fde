"""What somebody was told a repository has: it stays for a day, and counts in the quota while no manifest names it."""

import uuid
from typing import Final

from entrepot.catalog import blobs, manifests, uploads
from entrepot.catalog.database import Transaction
from entrepot.model import Blob, Digest, Instant, Repository
from entrepot.principals import Principal
from entrepot.services.repository_places import holder_of
from entrepot.storage.blobs import DAY

LEASE_SECONDS: Final = 2 * DAY


def lease(tx: Transaction, principal: Principal, repository: Repository, blob: Blob, now: Instant) -> None:
    """Somebody is told the repository has those bytes: they stay there for a day at least, and count.

    Raises: QuotaExceeded.
    """
    blobs.hold(tx, blob.digest)
    blobs.take_lease(tx, blob.digest, holder_of(repository), now + LEASE_SECONDS)
    if not manifests.is_named(tx, repository.id, blob.digest):
        count_leased(tx, principal, repository, blob.digest, blob.size, now)


def count_leased(
    tx: Transaction, principal: Principal, repository: Repository, digest: Digest, size: int, now: Instant
) -> None:
    """Bytes that no manifest names hold their place in the quota as an upload that ended, while they are leased.

    Raises: QuotaExceeded.
    """
    until = now + LEASE_SECONDS
    if uploads.prolong_ended(tx, repository.id, digest.hex, until):
        return
    id_ = uuid.uuid4().hex
    uploads.begin(
        tx, id_, repository.project_id, principal.id, now, until, place_id=repository.id, name=digest.hex, size=size,
        reserve=size, facts={"stream": True},
    )  # fmt: skip
    uploads.end_stream(tx, uploads.known(tx, id_), digest.hex, size, size, until)
