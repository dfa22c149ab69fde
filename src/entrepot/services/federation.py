"""Asks an OpenID Connect provider about tokens that are not ours: by its keys, or by its userinfo endpoint."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from entrepot.auth import oidc
from entrepot.auth.tokens import Peeked
from entrepot.errors import EntrepotError, Unauthenticated

USERINFO_SECONDS: Final = 60.0
KEYS_SECONDS: Final = 3600.0
REFETCH_SECONDS: Final = 30.0
MAX_REMEMBERED: Final = 4096

Fetch = Callable[[str, str | None], Awaitable[dict[str, Any]]]
"""A JSON object from a URL, with a bearer token or without; any failure raises `EntrepotError`."""


class Provider:
    """A provider whose tokens carry signatures: discovery, then its key set, fetched again when a key is unknown."""

    def __init__(self, config: oidc.OidcConfig, fetch: Fetch) -> None:
        self.config = config
        self._fetch = fetch
        self._keys: tuple[oidc.SigningKey, ...] = ()
        self._fetched_at = -KEYS_SECONDS

    async def __call__(self, text: str, peeked: Peeked) -> oidc.OidcIdentity:
        """Who the token says is calling. Raises: Unauthenticated."""
        if peeked.issuer != self.config.issuer:
            raise Unauthenticated("the token is not accepted", why="it is of another issuer")
        if time.monotonic() - self._fetched_at > KEYS_SECONDS:
            await self._fetch_keys()
        try:
            return oidc.verify(self._keys, text, self.config, time.time())
        except oidc.UnknownKey:
            if time.monotonic() - self._fetched_at < REFETCH_SECONDS:
                raise
            await self._fetch_keys()
            return oidc.verify(self._keys, text, self.config, time.time())

    async def _fetch_keys(self) -> None:
        try:
            document = await self._fetch(oidc.discovery_url(self.config.issuer), None)
            endpoints = oidc.endpoints_of(document, self.config.issuer)
            self._keys = oidc.keys_of(await self._fetch(endpoints.jwks_uri, None))
        except EntrepotError as error:
            raise Unauthenticated("the token cannot be checked", why="its issuer does not answer") from error
        self._fetched_at = time.monotonic()


class Userinfo:
    """A provider that is asked about each token, as PROMINENCE does: one try, its answer kept for 60 s."""

    def __init__(self, config: oidc.OidcConfig, fetch: Fetch) -> None:
        self.config = config
        self._fetch = fetch
        self._known: dict[str, tuple[float, oidc.OidcIdentity]] = {}

    async def __call__(self, text: str, peeked: Peeked) -> oidc.OidcIdentity:
        """Who the provider says is calling. Raises: Unauthenticated."""
        if peeked.issuer not in (None, self.config.issuer):
            raise Unauthenticated("the token is not accepted", why="it is of another issuer")
        expires_at = oidc.claimed_end(text)
        if expires_at <= time.time():
            raise Unauthenticated("the token has expired", advice="log in again")
        since, found = self._known.get(text, (-USERINFO_SECONDS, None))
        if found is None or time.monotonic() - since >= USERINFO_SECONDS:
            found = await self._ask(text)
            while len(self._known) >= MAX_REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[text] = time.monotonic(), found
        return replace(found, expires_at=expires_at)

    async def _ask(self, text: str) -> oidc.OidcIdentity:
        try:
            answer = await self._fetch(f"{self.config.issuer.rstrip('/')}/userinfo", text)
        except EntrepotError as error:
            raise Unauthenticated("the token cannot be checked", why="its issuer refuses it or is down") from error
        return oidc.principal_of(answer, self.config)
