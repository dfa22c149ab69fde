"""From a proof to a principal, and the proofs we give out ourselves: tokens and keys for signed URLs.

Rights are looked up here for each request and never taken from a token.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from entrepot.auth import passwords, tokens
from entrepot.auth.oidc import OidcIdentity
from entrepot.catalog import accounts, audit, projects
from entrepot.catalog.accounts import AccessKey, Account
from entrepot.catalog.database import Catalog, Transaction
from entrepot.errors import BadName, Denied, NotFound, Unauthenticated
from entrepot.model import Clock, Instant
from entrepot.principals import ANONYMOUS, SYSTEM, Action, Grant, Kind, Origin, Principal
from entrepot.services.rates import Rate, Turns, site

ISSUER: Final = "entrepot"
AUDIENCE: Final = "entrepot"
ANYBODY: Final = "anybody"
"""The audience of tokens that prove nothing."""
LOGIN_SECONDS: Final = 12 * 3600
MAX_TOKEN_SECONDS: Final = 400 * 86400
DEFAULT_PROJECT: Final = "default"
FAILED_LOGINS: Final = 10
FAILED_LOGIN_SECONDS: Final = 300.0
LONGEST_PAUSE_SECONDS: Final = 900.0
MINTED_TOKENS: Final = 1200

_REFUSED: Final = "the token is not accepted"


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token, to be shown once."""

    text: str
    jti: str
    account: Account
    expires_at: Instant


class Identity:
    """Who is calling. `oidc` asks the configured provider about a token that is not ours; `ticks` times the rates."""

    def __init__(
        self,
        catalog: Catalog,
        master: bytes,
        now: Clock,
        *,
        job_token_secret: str | None = None,
        oidc: Callable[[str, tokens.Peeked], Awaitable[OidcIdentity]] | None = None,
        ticks: Clock = time.monotonic,
    ) -> None:
        self.catalog = catalog
        self.now = now
        self._master = master
        self._key = tokens.TokenKey.derive(master, 1)
        self._job_token_secret = job_token_secret
        self._oidc = oidc
        self._hashing = asyncio.Semaphore(2)
        self._failures = Rate(
            FAILED_LOGINS, FAILED_LOGIN_SECONDS, "failed log-ins",
            longest_pause_seconds=LONGEST_PAUSE_SECONDS, clock=ticks,
        )  # fmt: skip
        self._turns = Turns()
        self._minted = Rate(MINTED_TOKENS, 60.0, "new tokens", clock=ticks)

    async def of_token(self, text: str) -> Principal:
        """The principal of a bearer token: ours, a PROMINENCE server's job token, or an OIDC provider's.

        Raises: Unauthenticated for any other, and for one that is expired or revoked.
        """
        peeked = tokens.peek(text)
        if peeked.issuer == ISSUER:
            return await self._of_own(tokens.verify(self._key, text, self.now()))
        if self._job_token_secret and peeked.algorithm == "HS256":
            claims = tokens.verify_job_token(self._job_token_secret, text, self.now())
            account = await self._provisioned(claims.username, None, None)
            if account.kind is not Kind.USER or account.admin:
                raise Unauthenticated(_REFUSED, why="it names a robot or an admin, not a plain user")
            return self._principal(account, claims.groups, claims.job, claims.expires_at)
        if self._oidc:
            found = await self._oidc(text, peeked)
            account = await self._provisioned(found.username, found.issuer, found.subject)
            return self._principal(account, found.groups, None, found.expires_at)
        raise Unauthenticated(_REFUSED, why="nobody this server trusts has issued it", advice="log in again")

    async def _of_own(self, claims: tokens.TokenClaims) -> Principal:
        if claims.audience == ANYBODY:
            return ANONYMOUS
        if claims.audience != AUDIENCE:
            raise Unauthenticated(_REFUSED, why="it is meant for another service")

        found = await self.catalog.probe(
            lambda tx: accounts.of_token(tx, claims.token_id), key=("token", claims.token_id)
        )
        if found is None or found[0].disabled or found[1] < found[0].valid_after:
            raise Unauthenticated(_REFUSED, why="it was revoked", advice="log in again")
        return principal_of(found[0], claims.groups, claims.job, claims.expires_at)

    def _principal(
        self, account: Account, groups: tuple[str, ...], job: str | None, expires_at: Instant | None
    ) -> Principal:
        if account.disabled:
            raise Unauthenticated(_REFUSED, why="the account is disabled")
        return principal_of(account, groups, job, expires_at)

    async def _provisioned(self, name: str, issuer: str | None, subject: str | None) -> Account:
        """The account of somebody another service vouches for, made at the first visit."""

        def find(tx: Transaction) -> Account | None:
            return accounts.find_subject(tx, issuer, subject) if issuer and subject else accounts.find(tx, name)

        def make(tx: Transaction) -> Account:
            found = find(tx)
            if found is not None:
                return found
            if accounts.find(tx, name):
                raise Denied(f"the name {name} belongs to another account", advice="ask the operator")
            made = accounts.add(tx, Kind.USER, foreign_name(name), self.now(), issuer=issuer, subject=subject)
            audit.record(tx, principal_of(made), "first log-in", self.now())
            return made

        known = await self.catalog.probe(find)
        return known if known is not None else await self.catalog.write(make)

    async def of_access_key(self, key_id: str) -> tuple[AccessKey, str]:
        """That key and its secret. Raises: NotFound for an unknown key, or one of a disabled principal."""
        if not key_id.isalnum():
            raise NotFound("no such access key")
        found = await self.catalog.probe(lambda tx: accounts.find_key(tx, key_id), key=("access key", key_id))
        if found is None or found.account.disabled:
            raise NotFound("no such access key")
        return found, self.secret_of(found.id, found.version)

    def secret_of(self, key_id: str, version: int) -> str:
        """The secret of an access key; derived, never stored."""
        return tokens.derive_secret(self._master, key_id, version)

    def of_grant(self, key: AccessKey, actions: frozenset[Action], bucket: str, name: str) -> Principal:
        """The principal of a URL or form signed with that key: its owner; a hidden key carries only this one right."""
        grant = Grant(actions, bucket, name) if key.hidden else None

        return principal_of(key.account, project=key.project, grant=grant)

    async def hidden_key(self, principal: Principal, project: str) -> tuple[str, str]:
        """Id and secret of the key this principal's URLs into that project are signed with; made at its first use."""
        found = await self.catalog.probe(lambda tx: accounts.hidden_key(tx, principal.id, project))
        if found is None:
            found = await self.catalog.write(lambda tx: self._make_hidden_key(tx, principal, project))
        return found.id, self.secret_of(found.id, found.version)

    def _make_hidden_key(self, tx: Transaction, principal: Principal, project: str) -> AccessKey:
        key_id = new_key_id()
        accounts.add_key(tx, key_id, principal.id, projects.known(tx, project).id, self.now(), hidden=True)
        found = accounts.find_key(tx, key_id)
        assert found
        return found

    async def log_in(self, name: str, password: str, seconds: int, address: str) -> Minted:
        """A token for a user who knows the password, or a robot with its secret.

        Raises: Unauthenticated, alike and after the same time whatever was wrong; TooOften after ten failures in 5
        minutes from that address (of IPv6: that /64), for 5 minutes at first and up to 15 if it happens again.
        """
        account = await self.prove(name, password, address)
        return await self.mint(account, (), None, min(seconds, LOGIN_SECONDS))

    async def prove(self, name: str, password: str, address: str) -> Account:
        """The account of a user who knows the password, or a robot with its secret. Raises: as `log_in`."""
        name = name[:128]
        who = name, site(address)
        async with self._turns.of(who):  # one try at a time, so that none slips past the count
            self._failures.check(who)
            account = await self._proven(name, password)
            if account is None:
                self._failures.count(who)
                await self.catalog.write(lambda tx: self._audit_login(tx, name, address, "refused"))
                raise Unauthenticated("log-in refused", why="the name or the password is wrong")
            self._failures.forget(who)
            await self.catalog.write(lambda tx: self._audit_login(tx, name, address, "done"))
            return account

    def _audit_login(self, tx: Transaction, name: str, address: str, outcome: str) -> None:
        audit.record(tx, replace(SYSTEM, name=name, origin=Origin(address)), "log in", self.now(), outcome=outcome)

    async def _proven(self, name: str, password: str) -> Account | None:
        """The account, if that is its password. A robot's right secret is quick; all else takes one argon2."""
        found = await self.catalog.probe(lambda tx: accounts.find(tx, name))
        account = None if found is None or found.disabled else found
        stored = account.secret_hash if account else None
        if passwords.is_secret(stored, password):  # never of a user: what is kept of a password is no fingerprint
            return account
        async with self._hashing:
            return account if await asyncio.to_thread(passwords.verify, stored, password) else None

    async def mint_for(self, principal: Principal, seconds: float) -> Minted:
        """A new token for whoever is calling, that says no more and lives no longer than the proof it came with.

        Raises: as `mint`; Unauthenticated if the account is gone.
        """
        account = await self.catalog.probe(lambda tx: accounts.find(tx, principal.name))
        if account is None:
            raise Unauthenticated(_REFUSED, why="its account is gone")
        if principal.expires_at is not None:
            seconds = max(1.0, min(seconds, principal.expires_at - self.now()))
        return await self.mint(account, principal.groups, principal.job, seconds)

    def mint_for_nobody(self, seconds: float) -> tuple[str, Instant]:
        """A token that proves nothing, for clients that cannot do without one; and when it was made."""
        now = int(self.now())
        claims = tokens.TokenClaims(
            ISSUER, ANYBODY, secrets.token_hex(16), now, int(now + seconds), ANYBODY, ANYBODY
        )  # fmt: skip
        return tokens.mint(self._key, claims), now

    async def mint(self, account: Account, groups: tuple[str, ...], job: str | None, seconds: float) -> Minted:
        """A new token of ours. Raises: BadName for a life not of 1 second to 400 days; TooOften over 1200 a minute."""
        if not 1 <= seconds <= MAX_TOKEN_SECONDS:
            raise BadName("a token lives from 1 second to 400 days")
        self._minted.check(account.id)
        self._minted.count(account.id)
        jti, now = secrets.token_hex(16), self.now()
        issued_at, expires_at = int(now), int(now + seconds)
        text = tokens.mint(
            self._key,
            tokens.TokenClaims(
                ISSUER, account.name, jti, issued_at, expires_at, AUDIENCE, account.name, groups, None, job
            ),
        )

        def remember(tx: Transaction) -> None:
            fresh = accounts.find(tx, account.name)
            if fresh is None or fresh.disabled or fresh.secret_hash != account.secret_hash:
                raise Unauthenticated("the account was changed meanwhile", advice="log in again")
            accounts.add_token(tx, jti, account.id, now, expires_at)

        await self.catalog.write(remember)
        return Minted(text, jti, account, expires_at)


def principal_of(
    account: Account,
    groups: tuple[str, ...] = (),
    job: str | None = None,
    expires_at: Instant | None = None,
    *,
    project: str | None = None,
    grant: Grant | None = None,
) -> Principal:
    """The principal of an account, with the roles it has now."""
    home = project or account.project or DEFAULT_PROJECT
    return Principal(
        account.id, account.kind, account.name, account.admin, account.roles, home, groups, job, grant, expires_at
    )


def foreign_name(text: str) -> str:
    """A user's name as another service gives it: up to 256 bytes, no control characters. Raises: Unauthenticated."""
    if not 1 <= len(text.encode()) <= 256 or not text.isprintable():
        raise Unauthenticated(_REFUSED, why="its user has no usable name")
    return text


def new_key_id() -> str:
    """20 characters, as S3 clients expect an access key id."""
    return "EN" + secrets.token_hex(9).upper()
