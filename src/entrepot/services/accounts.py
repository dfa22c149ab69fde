"""Users, robots, roles, tokens and access keys, as admins and owners see to them."""

import asyncio
from dataclasses import dataclass

from entrepot.auth import passwords
from entrepot.auth.permissions import UNKNOWN, administers, authorize, require_admin, require_known, require_person
from entrepot.catalog import accounts, audit, projects
from entrepot.catalog.accounts import AccessKey, Account, Token
from entrepot.catalog.database import Catalog, Transaction
from entrepot.errors import BadName, Denied, NotFound
from entrepot.model import Clock
from entrepot.names import account_name
from entrepot.principals import Action, Area, AreaKind, Kind, Principal, Resource, Role
from entrepot.services.areas import check_job
from entrepot.services.identity import Identity, Minted, new_key_id


@dataclass(frozen=True, slots=True)
class Accounts:
    """Who there is, and what each may do where."""

    catalog: Catalog
    identity: Identity
    now: Clock

    async def all_of(self, principal: Principal, kind: Kind) -> list[Account]:
        """Every user or robot, by name. Raises: Denied."""
        require_admin(principal)
        return await self.catalog.read(lambda tx: accounts.all_of(tx, kind))

    async def add_user(self, principal: Principal, name: str, password: str | None, *, admin: bool = False) -> Account:
        """A new user; without a password it only logs in elsewhere. Raises: Denied; BadName; Conflict."""
        require_admin(principal)
        account_name(name)
        stored = await asyncio.to_thread(passwords.hash_password, password) if password is not None else None

        def add(tx: Transaction) -> Account:
            made = accounts.add(tx, Kind.USER, name, self.now(), secret_hash=stored, admin=admin)
            audit.record(tx, principal, "add user", self.now(), name=name)
            return made

        return await self.catalog.write(add)

    async def change_user(
        self, principal: Principal, name: str, *, password: str | None, admin: bool | None, disabled: bool | None
    ) -> Account:
        """The user, changed; what is None stays. A user may change its own password. Raises: Denied; NotFound.

        With another password all its tokens are dead, those of this second too.
        """
        require_person(principal)
        if not (principal.name == name and admin is None and disabled is None and principal.kind is Kind.USER):
            require_admin(principal)
        stored = await asyncio.to_thread(passwords.hash_password, password) if password is not None else None

        def change(tx: Transaction) -> Account:
            account = self._of_kind(tx, name, Kind.USER)
            if stored is not None and account.secret_hash is None and not administers(principal):
                raise Denied("this account logs in elsewhere", advice="an admin can give it a password")
            if stored is not None:
                accounts.set_secret(tx, account, stored)
                accounts.kill_tokens_before(tx, account, self.now())
            if admin is not None:
                accounts.set_admin(tx, account, admin)
            if disabled is not None:
                accounts.set_disabled(tx, account, disabled)
            audit.record(tx, principal, "change user", self.now(), name=name)
            return accounts.known(tx, name)

        return await self.catalog.write(change)

    async def remove(self, principal: Principal, name: str, kind: Kind) -> None:
        """The user or robot is gone, with its tokens and keys; what it stored stays. Raises: Denied; NotFound."""
        require_admin(principal)

        def remove(tx: Transaction) -> None:
            account = self._of_kind(tx, name, kind)
            projects.retire_area(tx, Area(AreaKind.USER, name), account.id)
            accounts.remove(tx, account)
            audit.record(tx, principal, f"remove {kind.value}", self.now(), name=name)

        await self.catalog.write(remove, slow=True)

    async def add_robot(self, principal: Principal, name: str, project: str, role: Role) -> str:
        """The secret of a new robot of that project, shown once. Raises: Denied; BadName; Conflict; NotFound."""
        account_name(name)
        secret = passwords.new_secret()

        def add(tx: Transaction) -> None:
            home = self._ruled(tx, principal, Action.MEMBERS, project)
            made = accounts.add(
                tx, Kind.ROBOT, name, self.now(), secret_hash=passwords.fingerprint(secret), project_id=home
            )
            accounts.set_role(tx, made.id, home, role)
            audit.record(tx, principal, "add robot", self.now(), project_id=home, name=name)

        await self.catalog.write(add)
        return secret

    async def roles(self, principal: Principal) -> list[tuple[str, str, Role]]:
        """Every (principal, project, role). Raises: Denied."""
        require_admin(principal)
        return await self.catalog.read(accounts.all_roles)

    async def set_role(self, principal: Principal, name: str, project: str, role: Role | None) -> None:
        """That principal's role in that project from now on; None takes it away. Raises: Denied; NotFound."""

        def change(tx: Transaction) -> None:
            home = self._ruled(tx, principal, Action.MEMBERS, project)
            account = accounts.known(tx, name)
            if role is None:
                accounts.drop_role(tx, account.id, home)
            else:
                accounts.set_role(tx, account.id, home, role)
            what = f"role {role.name.lower()}" if role else "no role"
            audit.record(tx, principal, what, self.now(), project_id=home, name=name)

        await self.catalog.write(change)

    async def tokens(self, principal: Principal) -> list[Token]:
        """Tokens that have not expired: all for an admin, else the caller's own. Raises: Unauthenticated."""
        require_known(principal)
        found = await self.catalog.read(lambda tx: accounts.tokens(tx, self.now()))
        return [token for token in found if administers(principal) or token.account == principal.name]

    async def add_token(
        self, principal: Principal, name: str | None, groups: tuple[str, ...], job: str | None, seconds: float
    ) -> Minted:
        """A token for that principal; others than admins get one for themselves, with no group or job they do not have.

        Raises: Unauthenticated; Denied; NotFound; BadName.
        """
        require_known(principal)
        if principal.grant or (principal.job and job != principal.job):
            raise Denied("a token made for one job makes none for others")
        own = name in (None, principal.name) and set(groups) <= set(principal.groups) and job in (None, principal.job)
        if not own:
            require_admin(principal)
        if job is not None:
            check_job(job)
        account = await self.catalog.read(lambda tx: accounts.known(tx, name or principal.name))
        if principal.expires_at is not None and not administers(principal):
            seconds = min(seconds, principal.expires_at - self.now())
        minted = await self.identity.mint(account, groups, job, seconds)
        await self.catalog.write(
            lambda tx: audit.record(tx, principal, "add token", self.now(), name=f"{account.name} {minted.jti}")
        )
        return minted

    async def revoke(self, principal: Principal, jti: str) -> None:
        """That token is dead. Raises: Unauthenticated; Denied; NotFound for one that is not the caller's."""
        require_person(principal)

        def revoke(tx: Transaction) -> None:
            found = accounts.find_token(tx, jti)
            if found is None or not (administers(principal) or found.account == principal.name):
                raise NotFound("no such token")
            accounts.revoke(tx, jti)
            audit.record(tx, principal, "revoke token", self.now(), name=f"{found.account} {jti}")

        await self.catalog.write(revoke)

    async def keys(self, principal: Principal) -> list[AccessKey]:
        """Access keys: all for an admin, else the caller's own. Raises: Unauthenticated."""
        require_known(principal)
        found = await self.catalog.read(accounts.keys)
        return [key for key in found if administers(principal) or key.account.name == principal.name]

    async def add_key(self, principal: Principal, name: str | None, project: str) -> tuple[AccessKey, str]:
        """An access key and its secret, for the caller or, by an admin, another. Raises: Denied; NotFound."""
        require_person(principal)
        if name not in (None, principal.name):
            require_admin(principal)

        def add(tx: Transaction) -> AccessKey:
            account = accounts.known(tx, name or principal.name)
            home = projects.find(tx, project)
            if home is None or (home.id not in account.roles and not principal.admin):
                raise NotFound(UNKNOWN)
            key_id = new_key_id()
            accounts.add_key(tx, key_id, account.id, home.id, self.now(), hidden=False)
            audit.record(tx, principal, "add key", self.now(), project_id=home.id, name=f"{account.name} {key_id}")
            made = accounts.find_key(tx, key_id)
            assert made
            return made

        made = await self.catalog.write(add)
        return made, self.identity.secret_of(made.id, made.version)

    async def remove_key(self, principal: Principal, key_id: str) -> None:
        """That key is dead. Raises: Unauthenticated; Denied; NotFound for one that is not the caller's."""
        require_person(principal)

        def remove(tx: Transaction) -> None:
            found = accounts.find_key(tx, key_id)
            if found is None or found.hidden or not (principal.admin or found.account.name == principal.name):
                raise NotFound("no such key")
            accounts.remove_key(tx, key_id)
            audit.record(tx, principal, "remove key", self.now(), name=f"{found.account.name} {key_id}")

        await self.catalog.write(remove)

    @staticmethod
    def _ruled(tx: Transaction, principal: Principal, action: Action, project: str) -> int:
        """The project's id, if the principal may do that there: admins everywhere, owners in their own."""
        require_known(principal)
        found = projects.find(tx, project)
        if found is None:
            raise NotFound(UNKNOWN)
        if not administers(principal):
            authorize(principal, action, Resource(found.id))
        return found.id

    @staticmethod
    def _of_kind(tx: Transaction, name: str, kind: Kind) -> Account:
        account = accounts.known(tx, name)
        if account.kind is not kind:
            raise NotFound(f"no {kind.value} {name}")
        return account


def role_of(text: str) -> Role:
    """The role of that name. Raises: BadName."""
    try:
        return Role[text.upper()]
    except KeyError:
        raise BadName(f"no role {text!r}", advice="guest, reader, writer, maintainer or owner") from None
