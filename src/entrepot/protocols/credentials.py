"""The Authorization header of registry clients: a token, a name and a password, or in many ways nothing."""

import base64
from dataclasses import dataclass

from entrepot.errors import BadRequest, Unauthenticated
from entrepot.principals import ANONYMOUS, Principal
from entrepot.protocols.base import Request
from entrepot.services.identity import Identity
from entrepot.services.registry_tokens import RegistryTokens


@dataclass(frozen=True, slots=True)
class Basic:
    """A name and a password."""

    name: str
    password: str


def proof_of(request: Request) -> Basic | str | None:
    """A name and password, a token, or None for a stranger. Raises: BadRequest for two; Unauthenticated."""
    found = [value.decode("latin-1") for name, value in request.headers if name == b"authorization"]
    if len(found) > 1:
        raise BadRequest("two Authorization headers")
    scheme, _, rest = found[0].strip().partition(" ") if found else ("", "", "")
    rest = rest.strip()
    if scheme.lower() in ("", "none") or (scheme.lower() == "basic" and not rest):
        return None
    if scheme.lower() == "basic":
        return _basic(rest)
    if scheme.lower() == "bearer" and rest:
        return rest
    raise Unauthenticated("the Authorization header cannot be read", advice="send a token, or a name and a password")


def _basic(text: str) -> Basic | None:
    try:
        name, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError as error:  # no base64, no ASCII, no UTF-8
        raise Unauthenticated("the Authorization header cannot be read") from error
    if "\0" in name or "\0" in password:
        raise Unauthenticated("log-in refused", why="the name or the password is wrong")
    return Basic(name, password) if name or password else None


async def principal_by(
    proof: Basic | str | None, request: Request, identity: Identity, tokens: RegistryTokens
) -> Principal:
    """Who that is. Raises: Unauthenticated; TooOften."""
    match proof:
        case None:
            return ANONYMOUS
        case Basic(name, password):
            return await tokens.of_password(name, password, request.address)
        case text:
            return await identity.of_token(text)
