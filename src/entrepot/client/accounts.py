"""The calls of `/api/v1` about accounts, projects, roles, tokens and keys."""

from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from entrepot.client.answers import decoded
from entrepot.client.api import BASE, json_request
from entrepot.client.flow import Flow, Request, send
from entrepot.shapes import LoginRequest, TokenAnswer

T = TypeVar("T")


def log_in(user: str, password: str) -> Flow[TokenAnswer]:
    """A token for a name and a password. Raises: Unauthenticated."""
    request = json_request("POST", f"{BASE}/login", "login", LoginRequest(user, password), repeat=False, anonymous=True)
    return decoded((yield from send(request)), TokenAnswer)


def all_of(noun: str, shape: type[T]) -> Flow[list[T]]:
    """All `users`, `robots`, `projects`, `roles`, `tokens` or `keys` there are for this caller. Raises: Denied."""
    listed: Any = list[shape]  # type: ignore[valid-type]
    found: list[T] = decoded((yield from send(Request("GET", f"{BASE}/{noun}", noun))), listed)
    return found


def add(noun: str, wish: msgspec.Struct, shape: type[T]) -> Flow[T]:
    """A new one. It is not asked for twice: who asked may have lost a secret. Raises: Conflict; Denied."""
    return decoded((yield from send(json_request("POST", f"{BASE}/{noun}", noun, wish, repeat=False))), shape)


def change(noun: str, name: str | None, wish: msgspec.Struct, shape: type[T]) -> Flow[T]:
    """One of them, as `wish` says. Raises: NotFound; Denied."""
    url = f"{BASE}/{noun}" if name is None else f"{BASE}/{noun}/{quote(name, safe='')}"
    return decoded((yield from send(json_request("PUT", url, f"{noun} {name or ''}".strip(), wish))), shape)


def remove(noun: str, *names: str) -> Flow[None]:
    """Nothing; it is gone. Raises: NotFound; Denied."""
    url = "/".join([BASE, noun, *(quote(name, safe="") for name in names)])
    yield from send(Request("DELETE", url, f"{noun} {' '.join(names)}"))
