"""Principals with their roles, tokens and access keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sqlalchemy import Text, bindparam, cast, delete, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert

from entrepot.catalog.database import Query, Row, Transaction, joined
from entrepot.catalog.ids import row_id
from entrepot.catalog.schema import access_key, principal, project, role, token
from entrepot.errors import Conflict, NotFound
from entrepot.model import Instant
from entrepot.principals import Kind, Role


@dataclass(frozen=True, slots=True)
class Account:
    """A principal as its row has it, with its roles by project id. `project` is the home of a robot or worker."""

    id: int
    kind: Kind
    name: str
    secret_hash: str | None
    project: str | None
    admin: bool
    disabled: bool
    valid_after: Instant
    created_at: Instant
    roles: Mapping[int, Role]


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key id; its secret is derived, never stored. A hidden one is good only for what we signed ourselves."""

    id: str
    account: Account
    project: str
    version: int
    hidden: bool
    created_at: Instant


@dataclass(frozen=True, slots=True)
class Token:
    """A token we minted, without its text."""

    jti: str
    account: str
    issued_at: Instant
    expires_at: Instant
    revoked: bool


_home = project.alias("home")
# "project:role,project:role" in one column: rights are asked for each request, and this saves a query.
_ROLES: Final = (
    select(joined(cast(role.c.project_id, Text) + literal_column("':'") + cast(role.c.role, Text)))
    .where(role.c.principal_id == principal.c.id)
    .scalar_subquery()
)
_ACCOUNT: Final = (
    principal.c.id, principal.c.kind, principal.c.name, principal.c.secret_hash, _home.c.name, principal.c.admin,
    principal.c.disabled, principal.c.valid_after, principal.c.created_at, _ROLES,
)  # fmt: skip
_FROM: Final = principal.outerjoin(_home, _home.c.id == principal.c.project_id)
_BY_NAME: Final = Query(select(*_ACCOUNT).select_from(_FROM).where(principal.c.name == bindparam("name")))
_BY_SUBJECT: Final = Query(
    select(*_ACCOUNT)
    .select_from(_FROM)
    .where(principal.c.issuer == bindparam("issuer"), principal.c.subject == bindparam("subject"))
)
_ALL: Final = Query(
    select(*_ACCOUNT).select_from(_FROM).where(principal.c.kind == bindparam("kind")).order_by(principal.c.name)
)
_BY_TOKEN: Final = Query(
    select(*_ACCOUNT, token.c.issued_at)
    .select_from(token.join(_FROM, principal.c.id == token.c.principal_id))
    .where(token.c.jti == bindparam("jti"), token.c.revoked == 0)
)
_ADD: Final = Query(
    insert(principal)
    .values(
        {
            name: bindparam(name)
            for name in ("id", "kind", "name", "secret_hash", "issuer", "subject", "project_id", "admin", "created_at")
        }
    )
    .on_conflict_do_nothing(index_elements=["name"])
)
_SET: Final = {
    name: Query(update(principal).values({name: bindparam("to")}).where(principal.c.id == bindparam("wanted")))
    for name in ("secret_hash", "admin", "disabled", "valid_after")
}
_REMOVE: Final = Query(delete(principal).where(principal.c.id == bindparam("id")))
_ROLE_NAMES: Final = Query(
    select(principal.c.name, project.c.name, role.c.role)
    .select_from(
        role.join(principal, principal.c.id == role.c.principal_id).join(project, project.c.id == role.c.project_id)
    )
    .order_by(project.c.name, principal.c.name)
)
_SET_ROLE: Final = Query(
    insert(role)
    .values(principal_id=bindparam("principal_id"), project_id=bindparam("project_id"), role=bindparam("role"))
    .on_conflict_do_update(index_elements=["principal_id", "project_id"], set_={"role": bindparam("role")})
)
_DROP_ROLE: Final = Query(
    delete(role).where(role.c.principal_id == bindparam("principal_id"), role.c.project_id == bindparam("project_id"))
)
_ADD_TOKEN: Final = Query(
    insert(token).values({name: bindparam(name) for name in ("jti", "principal_id", "issued_at", "expires_at")})
)
_REVOKE: Final = Query(update(token).values(revoked=1).where(token.c.jti == bindparam("wanted")))
_TOKEN: Final = (token.c.jti, principal.c.name, token.c.issued_at, token.c.expires_at, token.c.revoked)
_TOKENS: Final = Query(
    select(*_TOKEN)
    .select_from(token.join(principal, principal.c.id == token.c.principal_id))
    .where(token.c.expires_at > bindparam("now"))
    .order_by(token.c.issued_at)
    .limit(10_000)
)
_FIND_TOKEN: Final = Query(
    select(*_TOKEN)
    .select_from(token.join(principal, principal.c.id == token.c.principal_id))
    .where(token.c.jti == bindparam("jti"))
)
_EXPIRED: Final = Query(delete(token).where(token.c.expires_at <= bindparam("now")))
_KEY: Final = (
    access_key.c.id, project.c.name, access_key.c.version, access_key.c.hidden, access_key.c.created_at,
)  # fmt: skip
_KEY_FROM: Final = access_key.join(_FROM, principal.c.id == access_key.c.principal_id).join(
    project, project.c.id == access_key.c.project_id
)
_FIND_KEY: Final = Query(select(*_KEY, *_ACCOUNT).select_from(_KEY_FROM).where(access_key.c.id == bindparam("id")))
_HIDDEN_KEY: Final = Query(
    select(*_KEY, *_ACCOUNT)
    .select_from(_KEY_FROM)
    .where(
        principal.c.id == bindparam("principal_id"), access_key.c.hidden == 1, project.c.name == bindparam("project")
    )
)
_KEYS: Final = Query(
    select(*_KEY, *_ACCOUNT).select_from(_KEY_FROM).where(access_key.c.hidden == 0).order_by(access_key.c.created_at)
)
_ADD_KEY: Final = Query(insert(access_key).values({c.name: bindparam(c.name) for c in access_key.c}))
_REMOVE_KEY: Final = Query(delete(access_key).where(access_key.c.id == bindparam("id")))


@lru_cache(maxsize=1024)  # the row is asked for at each request, and seldom another
def _account_of(row: Row) -> Account:
    id_, kind, name, secret_hash, home, admin, disabled, valid_after, created_at, roles = row
    pairs = [pair.split(":") for pair in roles.split(",")] if roles else []
    return Account(
        id_, Kind(kind), name, secret_hash, home, bool(admin), bool(disabled), valid_after, created_at,
        {int(project_id): Role(int(number)) for project_id, number in pairs},
    )  # fmt: skip


def _token_of(row: Row) -> Token:
    jti, name, issued_at, expires_at, revoked = row
    return Token(jti, name, issued_at, expires_at, bool(revoked))


def _key_of(row: Row) -> AccessKey:
    id_, project_name, version, hidden, created_at = row[:5]
    return AccessKey(id_, _account_of(row[5:]), project_name, version, bool(hidden), created_at)


def find(tx: Transaction, name: str) -> Account | None:
    """The principal of that name."""
    row = tx.row(_BY_NAME, name=name)
    return _account_of(row) if row else None


def known(tx: Transaction, name: str) -> Account:
    """The principal of that name. Raises: NotFound."""
    found = find(tx, name)
    if found is None:
        raise NotFound(f"no user or robot {name}")
    return found


def find_subject(tx: Transaction, issuer: str, subject: str) -> Account | None:
    """The user an OIDC provider knows as `subject`."""
    row = tx.row(_BY_SUBJECT, issuer=issuer, subject=subject)
    return _account_of(row) if row else None


def of_token(tx: Transaction, jti: str) -> tuple[Account, Instant] | None:
    """Whose token that is, and when it was issued; None for one we never minted, and for one that was revoked."""
    row = tx.row(_BY_TOKEN, jti=jti)
    return (_account_of(row[:-1]), row[-1]) if row else None


def all_of(tx: Transaction, kind: Kind) -> list[Account]:
    """Every user, or every robot, by name."""
    return [_account_of(row) for row in tx.rows(_ALL, kind=kind.value)]


def add(
    tx: Transaction,
    kind: Kind,
    name: str,
    now: Instant,
    *,
    secret_hash: str | None = None,
    project_id: int | None = None,
    admin: bool = False,
    issuer: str | None = None,
    subject: str | None = None,
) -> Account:
    """A new principal. Raises: Conflict if the name is taken."""
    added = tx.run(
        _ADD, id=row_id(now), kind=kind.value, name=name, secret_hash=secret_hash, issuer=issuer, subject=subject,
        project_id=project_id, admin=int(admin), created_at=now,
    )  # fmt: skip
    if not added:
        raise Conflict(f"the name {name} is taken")
    return known(tx, name)


def set_secret(tx: Transaction, account: Account, secret_hash: str) -> None:
    """Another password or robot secret."""
    tx.run(_SET["secret_hash"], wanted=account.id, to=secret_hash)


def set_admin(tx: Transaction, account: Account, admin: bool) -> None:
    """Make an admin, or no longer."""
    tx.run(_SET["admin"], wanted=account.id, to=int(admin))


def set_disabled(tx: Transaction, account: Account, disabled: bool) -> None:
    """A disabled principal's tokens, keys and URLs are dead at the next request."""
    tx.run(_SET["disabled"], wanted=account.id, to=int(disabled))


def kill_tokens_before(tx: Transaction, account: Account, at: Instant) -> None:
    """Tokens issued before that moment are dead."""
    tx.run(_SET["valid_after"], wanted=account.id, to=at)


def remove(tx: Transaction, account: Account) -> None:
    """Drop a principal with its roles, tokens and keys. Names it made stay."""
    tx.run(_REMOVE, id=account.id)


def all_roles(tx: Transaction) -> list[tuple[str, str, Role]]:
    """Every (principal, project, role)."""
    return [(who, where, Role(number)) for who, where, number in tx.rows(_ROLE_NAMES)]


def set_role(tx: Transaction, account_id: int, project_id: int, granted: Role) -> None:
    """Its one role in that project."""
    tx.run(_SET_ROLE, principal_id=account_id, project_id=project_id, role=int(granted))


def drop_role(tx: Transaction, account_id: int, project_id: int) -> None:
    """No role in that project any more."""
    tx.run(_DROP_ROLE, principal_id=account_id, project_id=project_id)


def add_token(tx: Transaction, jti: str, account_id: int, issued_at: Instant, expires_at: Instant) -> None:
    """Remember a token we mint, so that it can be listed and revoked."""
    tx.run(_ADD_TOKEN, jti=jti, principal_id=account_id, issued_at=issued_at, expires_at=expires_at)


def find_token(tx: Transaction, jti: str) -> Token | None:
    """That token, if we minted it and it has not been swept."""
    row = tx.row(_FIND_TOKEN, jti=jti)
    return _token_of(row) if row else None


def tokens(tx: Transaction, now: Instant) -> list[Token]:
    """Tokens that have not expired, oldest first."""
    return [_token_of(row) for row in tx.rows(_TOKENS, now=now)]


def revoke(tx: Transaction, jti: str) -> bool:
    """Kill that token; False if there is none."""
    return bool(tx.run(_REVOKE, wanted=jti))


def drop_expired_tokens(tx: Transaction, now: Instant) -> int:
    """Forget tokens that ended by themselves; how many."""
    return tx.run(_EXPIRED, now=now)


def find_key(tx: Transaction, key_id: str) -> AccessKey | None:
    """That access key with its owner."""
    row = tx.row(_FIND_KEY, id=key_id)
    return _key_of(row) if row else None


def hidden_key(tx: Transaction, account_id: int, project_name: str) -> AccessKey | None:
    """The key this principal's signed URLs into that project are made with, if one was made."""
    row = tx.row(_HIDDEN_KEY, principal_id=account_id, project=project_name)
    return _key_of(row) if row else None


def keys(tx: Transaction) -> list[AccessKey]:
    """Every key that was given out, oldest first."""
    return [_key_of(row) for row in tx.rows(_KEYS)]


def add_key(tx: Transaction, key_id: str, account_id: int, project_id: int, now: Instant, *, hidden: bool) -> None:
    """A new access key."""
    tx.run(
        _ADD_KEY, id=key_id, principal_id=account_id, project_id=project_id, version=1, hidden=int(hidden),
        created_at=now,
    )  # fmt: skip


def remove_key(tx: Transaction, key_id: str) -> bool:
    """Drop that key; False if there is none."""
    return bool(tx.run(_REMOVE_KEY, id=key_id))
