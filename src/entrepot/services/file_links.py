"""URLs of files that need no header: plain for what all may read, else signed for an hour.

A signed one speaks for whoever it was made for, with the groups and the job of its token: when it is used, its right is
looked up again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from entrepot.auth import signed_path
from entrepot.errors import NotFound, Unauthenticated
from entrepot.model import Clock, Digest
from entrepot.principals import ANONYMOUS, Principal
from entrepot.services.identity import DEFAULT_PROJECT, Identity, principal_of
from entrepot.services.objects import Objects
from entrepot.services.places import can_read

FILES: Final = "/registry/files/"
SIGNED_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class FileLinks:
    """Maker and judge of such URLs."""

    identity: Identity
    objects: Objects
    now: Clock

    async def url(self, principal: Principal, digest: Digest, path: str, scheme: str, host: str) -> str:
        """Where the caller, or for that hour anybody with this URL, gets those bytes, which it may read."""
        raw_path = quote(f"{FILES}{path}")
        url = f"{scheme}://{host}{raw_path}"
        open_ = await self.objects.catalog.read(lambda tx: can_read(tx, ANONYMOUS, digest, self.now()))
        if open_ or not principal.id:
            return url
        key_id, secret = await self.identity.hidden_key(principal, DEFAULT_PROJECT)
        fields = {"key": key_id, "until": str(int(self.now()) + SIGNED_SECONDS)}
        if principal.groups:
            fields["groups"] = ",".join(principal.groups)
        if principal.job:
            fields["job"] = principal.job
        return f"{url}?{signed_path.sign(secret, host, raw_path, fields)}"

    async def principal(self, query: Mapping[str, str], host: str, raw_path: str) -> Principal | None:
        """Whom a signed URL speaks for; None if it is not signed. Raises: Unauthenticated; Denied; BadRequest."""
        if not signed_path.is_signed(query):
            return None
        try:
            key, secret = await self.identity.of_access_key(query.get("key", ""))
        except NotFound:
            raise Unauthenticated("the signature of the URL is wrong") from None
        signed_path.verify(secret, query, host, raw_path, self.now())
        groups = tuple(filter(None, query.get("groups", "").split(",")))
        return principal_of(key.account, groups, query.get("job") or None, project=key.project)
