"""What a log-in is answered that comes too often, from wherever it comes; in one process, with a clock of ours."""

import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from argon2.exceptions import VerifyMismatchError

from entrepot.auth import passwords
from entrepot.catalog import accounts, projects
from entrepot.catalog.database import Transaction
from entrepot.lifetime import fetch_json, opened
from entrepot.principals import Kind, Role
from entrepot.protocols.api.endpoint import Api
from entrepot.protocols.base import Request
from entrepot.services import identity
from entrepot.services.identity import Identity
from entrepot.settings import Settings
from tests.wire import MemoryWire

MAPPED = "::ffff:192.0.2.1"


class Ticks:
    at = 100.0

    def __call__(self) -> float:
        return self.at


class NeverRight:
    """Argon2 without its cost."""

    checked = 0

    def verify(self, _stored: str, _data: bytes) -> bool:
        self.checked += 1
        raise VerifyMismatchError


@pytest.fixture
def hasher(monkeypatch: pytest.MonkeyPatch) -> NeverRight:
    made = NeverRight()
    monkeypatch.setattr(passwords, "_HASHER", made)
    return made


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
async def api(tmp_path: Path, ticks: Ticks) -> AsyncIterator[Api]:
    os.makedirs(tmp_path / "data")
    async with opened(Settings(data=str(tmp_path / "data")), bytes(32), fetch_json) as server:
        yield with_clock(server.api, ticks)


def with_clock(api: Api, ticks: Ticks) -> Api:
    own = Identity(api.identity.catalog, bytes(32), api.now, ticks=ticks)
    accounts = replace(api.administration.accounts, identity=own)
    return replace(api, identity=own, administration=replace(api.administration, accounts=accounts))


async def ask(
    api: Api, path: str, body: object, address: str = MAPPED, token: str = ""
) -> tuple[int, Mapping[bytes, bytes], bytes]:
    headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
    wire = MemoryWire([[json.dumps(body).encode()]])
    headers.append((b"transfer-encoding", b"chunked"))
    answer = await api.handle(Request("POST", f"/api/v1{path}".encode(), b"", headers, wire, address=address))
    assert isinstance(answer.body, bytes)
    return answer.status, dict(answer.headers), answer.body


async def status(api: Api, name: str, password: str, address: str = MAPPED) -> int:
    return (await ask(api, "/login", {"user": name, "password": password}, address))[0]


async def test_a_robots_wrong_secret_an_unknown_name_and_a_user_answer_and_cost_alike(
    api: Api, hasher: NeverRight
) -> None:
    token, secret = await robot(api)
    assert (await ask(api, "/users", {"name": "bob"}, token=token))[0] == 201
    answers = set()
    for count, name in enumerate(("bob", "robot", "nobody"), 1):
        answered, headers, body = await ask(api, "/login", {"user": name, "password": "wrong"})
        found = json.loads(body)
        answers.add((answered, tuple(headers), found["message"], found["why"]))
        assert hasher.checked == count
    assert len(answers) == 1
    assert await status(api, "robot", secret) == 201
    assert hasher.checked == 3, "a right secret is quick"


async def robot(api: Api) -> tuple[str, str]:
    """A token of an admin, and the secret of a robot it made."""
    own = api.identity

    def add(tx: Transaction) -> accounts.Account:
        made = accounts.add(tx, Kind.USER, "admin", 0.0, admin=True)
        accounts.set_role(tx, made.id, projects.known(tx, "default").id, Role.OWNER)
        return accounts.known(tx, "admin")

    token = (await own.mint(await own.catalog.write(add), (), None, 3600)).text
    answered, _, body = await ask(api, "/robots", {"name": "robot", "project": "default"}, token=token)
    assert answered == 201
    return token, json.loads(body)["secret"]


async def test_the_answer_to_a_guesser_says_429_and_to_wait_twice_as_long_each_time(
    api: Api, hasher: NeverRight, ticks: Ticks
) -> None:
    for pause in (300, 600, 900, 900):
        assert [await status(api, "bob", "wrong") for _ in range(10)] == [401] * 10
        checked = hasher.checked
        answered, headers, body = await ask(api, "/login", {"user": "bob", "password": "wrong"})
        assert (answered, headers[b"retry-after"]) == (429, str(pause).encode())
        assert json.loads(body)["code"] == "temporary"
        assert hasher.checked == checked, "no argon2 for who must wait"
        assert await status(api, "bob", "wrong", "192.0.2.1") == 429, "the same address without IPv6 around it"
        ticks.at += pause


async def test_a_64_of_ipv6_counts_as_one_address_and_locks_nobody_else_out(api: Api, hasher: NeverRight) -> None:
    _, secret = await robot(api)
    for number in range(10):
        assert await status(api, "robot", "wrong", f"2001:db8::{number:x}:0:0:1") == 401
    assert hasher.checked == 10
    assert await status(api, "robot", secret, "2001:db8::ffff:0:0:1") == 429
    assert await status(api, "robot", secret, "2001:db8:0:1::1") == 201


async def test_tokens_are_made_up_to_the_limit_of_their_principal(
    tmp_path: Path, api: Api, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert identity.MINTED_TOKENS == 1200
    monkeypatch.setattr(identity, "MINTED_TOKENS", 4)
    api = with_clock(api, ticks)
    token, secret = await robot(api)
    assert [(await ask(api, "/tokens", {}, token=token))[0] for _ in range(3)] == [201] * 3
    answered, headers, _ = await ask(api, "/tokens", {}, token=token)
    assert (answered, headers[b"retry-after"]) == (429, b"60")
    assert [await status(api, "robot", secret) for _ in range(5)] == [201] * 4 + [429], "each has its own"
    ticks.at += 60
    assert (await ask(api, "/tokens", {}, token=token))[0] == 201
