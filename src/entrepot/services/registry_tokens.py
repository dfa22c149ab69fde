"""Names and passwords as registry clients send them, and the tokens they get for them.

A token says who it is, never what it may: whatever scopes are asked for, rights are looked up for each request.
"""

import hashlib
import hmac
import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from entrepot.catalog import accounts
from entrepot.errors import Unauthenticated
from entrepot.model import Clock, Instant
from entrepot.principals import ANONYMOUS, Principal
from entrepot.services.identity import Identity, principal_of

TOKEN_SECONDS: Final = 3600
REFRESH_SECONDS: Final = 30 * 86400
REMEMBERED_SECONDS: Final = 60.0
MOST_REMEMBERED: Final = 1024


@dataclass(frozen=True, slots=True)
class RegistryToken:
    """A new token, and if it was asked for a longer-lived one to get the next with."""

    text: str
    issued_at: Instant
    refresh: str | None = None


class RegistryTokens:
    """Proofs by name and password over one account base."""

    def __init__(self, identity: Identity, now: Clock) -> None:
        self._identity, self._now = identity, now
        self._key = os.urandom(32)
        self._remembered: OrderedDict[bytes, tuple[str, Instant]] = OrderedDict()

    async def of_password(self, name: str, password: str, address: str) -> Principal:
        """A user with its password, a robot with its secret, or anybody with a token of ours as the password.

        A pair that was right is remembered for a minute. No name and no password is a stranger. Raises:
        Unauthenticated; TooOften.
        """
        if not name and not password:
            return ANONYMOUS
        if password.count(".") == 2 and password.startswith("ey"):
            return await self._identity.of_token(password)
        mark = hmac.digest(self._key, f"{name}\0{password}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        known = self._remembered.get(mark)
        if known and self._now() < known[1]:
            return await self._again(known[0], mark)
        account = await self._identity.prove(name, password, address)
        self._remember(mark, account.name, account.secret_hash)
        return principal_of(account)

    def _remember(self, mark: bytes, name: str, secret_hash: str | None) -> None:
        self._remembered[mark] = f"{name}\0{secret_hash}", self._now() + REMEMBERED_SECONDS
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)

    async def _again(self, known: str, mark: bytes) -> Principal:
        name, _, secret_hash = known.partition("\0")
        account = await self._identity.catalog.probe(lambda tx: accounts.find(tx, name))
        if account is None or account.disabled or str(account.secret_hash) != secret_hash:
            self._remembered.pop(mark, None)
            raise Unauthenticated("log-in refused", why="the account was changed", advice="log in again")
        return principal_of(account)

    async def issue(self, principal: Principal, *, refresh: bool) -> RegistryToken:
        """A token of an hour; strangers get one that proves nothing. Raises: TooOften; Unauthenticated."""
        if not principal.id:
            return RegistryToken(*self._identity.mint_for_nobody(TOKEN_SECONDS))
        longer = await self._identity.mint_for(principal, REFRESH_SECONDS) if refresh else None
        minted = await self._identity.mint_for(principal, TOKEN_SECONDS)
        return RegistryToken(minted.text, int(self._now()), longer.text if longer else None)
