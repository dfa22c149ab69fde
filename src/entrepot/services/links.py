"""Signed URLs and forms: a time-limited right to one method on one name, made with the caller's hidden key.

The right is asked when the link is made; when it is used, only whether its maker is still enabled, and the quota.
"""

from dataclasses import dataclass
from typing import Final, Literal

from entrepot.auth import post_policy, sigv2, sigv4
from entrepot.catalog import objects
from entrepot.catalog.database import Catalog, Transaction
from entrepot.errors import BadName, NotFound
from entrepot.model import Clock, Digest, ObjectName, StoredObject
from entrepot.principals import Action, Principal
from entrepot.services.identity import Identity
from entrepot.services.places import VIRTUAL, allowed
from entrepot.services.shown import Shown

UPLOAD_SECONDS: Final = 600
OUTPUT_SECONDS: Final = 7200
MAX_SECONDS: Final = 864_000
CLAIM: Final = "x-amz-meta-prominence_sha256"


@dataclass(frozen=True, slots=True)
class Form:
    """Where to POST, and the fields to send in front of the file."""

    url: str
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class Links:
    """Maker of signed URLs. `base_url` is how the client reached us, or `public_url`; it has no path."""

    identity: Identity
    catalog: Catalog
    now: Clock
    shown: Shown
    signature: Literal["v2", "v4"] = "v2"

    async def put(self, principal: Principal, name: ObjectName, base_url: str, seconds: int = UPLOAD_SECONDS) -> str:
        """A URL to PUT `name` with, any number of times until it ends. Raises: Denied; NotFound; Unauthenticated."""
        project = await self._check(principal, Action.CREATE, name)
        return await self._url(principal, "PUT", project, name, base_url, seconds)

    async def get(
        self, principal: Principal, name: ObjectName, base_url: str, seconds: int = 3600
    ) -> tuple[str, StoredObject]:
        """A URL to GET and HEAD `name` with, and what it points to now.

        Raises: BadName for a life that is not 1 to 864000 seconds (604800 with V4 signatures); NotFound; Denied;
        Unauthenticated.
        """
        longest = MAX_SECONDS if self.signature == "v2" else sigv4.MAX_EXPIRES_SECONDS
        if not 1 <= seconds <= longest:
            raise BadName(f"a link lives from 1 to {longest} seconds")

        def look_up(tx: Transaction) -> StoredObject:
            if name.bucket in VIRTUAL:
                return self.shown.look_up(tx, principal, name)[0]
            bucket, _ = allowed(tx, principal, Action.GET, name)
            found = objects.find(tx, bucket, name.key)
            if found is None or objects.is_over(found, self.now()):
                raise NotFound("no such object")
            return found

        found = await self.catalog.read(look_up)
        return await self._url(principal, "GET", found.project or principal.project, name, base_url, seconds), found

    async def form(self, principal: Principal, name: ObjectName, digest: Digest, base_url: str) -> Form:
        """A form to POST `name` with; it takes bytes of that digest only. Raises: Denied; NotFound; Unauthenticated."""
        key_id, secret = await self.identity.hidden_key(principal, await self._check(principal, Action.CREATE, name))
        claim, ends = {CLAIM: digest.hex}, self.now() + UPLOAD_SECONDS
        if self.signature == "v2":
            fields = post_policy.make_v2(claim, name.bucket, name.key, key_id, secret, ends)
        else:
            fields = post_policy.make_v4(claim, name.bucket, name.key, key_id, secret, ends, self.now())
        return Form(f"{base_url}/{name.bucket}", fields)

    async def _check(self, principal: Principal, action: Action, name: ObjectName) -> str:
        """The project `name` lies in, if the principal may do that to it."""
        return await self.catalog.read(lambda tx: allowed(tx, principal, action, name)[0].project)

    async def _url(
        self, principal: Principal, method: str, project: str, name: ObjectName, base_url: str, seconds: int
    ) -> str:
        key_id, secret = await self.identity.hidden_key(principal, project)
        if self.signature == "v2":
            return sigv2.signed_url(base_url, method, name.bucket, name.key, key_id, secret, self.now() + seconds)
        return sigv4.signed_url(base_url, method, name.bucket, name.key, key_id, secret, seconds, self.now())
