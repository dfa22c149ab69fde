"""URLs of files that need no header: plain for what all may read, else signed for an hour."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from entrepot.auth import signed_path
from entrepot.catalog import blobs
from entrepot.errors import BadRequest, NotFound, Unauthenticated
from entrepot.model import Blob, Clock, Digest
from entrepot.principals import ANONYMOUS, Principal
from entrepot.services.identity import DEFAULT_PROJECT, Identity
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
        return f"{url}?{signed_path.sign(secret, key_id, host, raw_path, int(self.now()) + SIGNED_SECONDS)}"

    async def blob(self, query: Mapping[str, str], host: str, raw_path: str, digest: Digest) -> Blob:
        """The bytes a signed URL is of: its maker could read them, and is still enabled.

        Raises: Unauthenticated for a wrong signature; Denied for an expired one; BadRequest; NotFound.
        """
        if not query.keys() >= set(signed_path.FIELDS) or not query["until"].isdecimal():
            raise BadRequest("the signature of the URL is not complete")
        try:
            _, secret = await self.identity.of_access_key(query["key"])
        except NotFound:
            raise Unauthenticated("the signature of the URL is wrong") from None
        signed_path.verify(secret, query, host, raw_path, self.now())
        found = await self.objects.catalog.probe(lambda tx: blobs.find(tx, digest))
        if found is None:
            raise NotFound(f"no blob {digest}")
        return found


def is_signed(query: Mapping[str, str]) -> bool:
    """Whether a URL brings a signature of its own."""
    return bool(query.keys() & set(signed_path.FIELDS))
