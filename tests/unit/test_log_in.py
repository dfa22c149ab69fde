"""Who may log in, and how often: every wrong answer does the same work, and who guesses waits longer and longer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2.exceptions import VerifyMismatchError

from entrepot.auth import passwords
from entrepot.catalog import accounts, projects
from entrepot.catalog.database import Transaction
from entrepot.catalog.sqlite import SqliteCatalog
from entrepot.catalog.upgrade import upgrade
from entrepot.errors import TooOften, Unauthenticated
from entrepot.principals import Kind
from entrepot.services.identity import Identity, Minted

SECRET = passwords.new_secret()
HERE = "192.0.2.1"


class Ticks:
    at = 100.0

    def __call__(self) -> float:
        return self.at


class Hasher:
    """Counts what is asked of argon2, and knows the one password without its cost."""

    def __init__(self) -> None:
        self.checked: list[str] = []

    def verify(self, stored: str, data: bytes) -> bool:
        self.checked.append(stored)
        if (stored, data) == ("$argon2id$of bob", b"right"):
            return True
        raise VerifyMismatchError


@pytest.fixture
def hasher(monkeypatch: pytest.MonkeyPatch) -> Hasher:
    made = Hasher()
    monkeypatch.setattr(passwords, "_HASHER", made)
    return made


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
async def identity(tmp_path: Path, hasher: Hasher, ticks: Ticks) -> AsyncIterator[Identity]:
    url = f"{tmp_path}/catalog.db"
    upgrade(f"sqlite:///{url}")
    catalog = SqliteCatalog(url)
    await catalog.write(add_accounts)
    yield Identity(catalog, bytes(32), lambda: 1000.0, ticks=ticks)
    await catalog.close()


def add_accounts(tx: Transaction) -> None:
    home = projects.add(tx, "default", 1000, 0.0)
    for name, kind, stored in (
        ("bob", Kind.USER, "$argon2id$of bob"),
        ("oidc", Kind.USER, None),
        ("robot", Kind.ROBOT, passwords.fingerprint(SECRET)),
    ):
        for suffix in ("", "-off"):
            made = accounts.add(tx, kind, name + suffix, 0.0, secret_hash=stored, project_id=home.id)
            accounts.set_disabled(tx, made, bool(suffix))


async def log_in(identity: Identity, name: str, password: str, address: str = HERE) -> Minted:
    return await identity.log_in(name, password, 60, address)


async def guess(identity: Identity, name: str, address: str = HERE, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(Unauthenticated):
            await log_in(identity, name, "wrong", address)


async def refused_seconds(identity: Identity, name: str, password: str, address: str = HERE) -> int:
    with pytest.raises(TooOften) as refused:
        await log_in(identity, name, password, address)
    return refused.value.retry_after_seconds


async def test_every_wrong_answer_costs_one_argon2(identity: Identity, hasher: Hasher) -> None:
    for name, password in (
        ("bob", "wrong"), ("bob", ""), ("bob-off", "right"), ("oidc", "wrong"), ("oidc", ""), ("nobody", "wrong"),
        ("robot", "wrong"), ("robot", ""), ("robot", "x" * 5000), ("robot", passwords.fingerprint(SECRET)),
        ("robot-off", SECRET), ("robot-off", "wrong"), ("nobody", SECRET), ("bob", "$argon2id$of bob"),
    ):  # fmt: skip
        hasher.checked.clear()
        with pytest.raises(Unauthenticated, match="log-in refused"):
            await log_in(identity, name, password)
        assert len(hasher.checked) == 1, (name, password)


async def test_a_robots_right_secret_costs_none_and_a_users_password_one(identity: Identity, hasher: Hasher) -> None:
    assert (await log_in(identity, "robot", SECRET)).account.name == "robot"
    assert hasher.checked == []
    assert (await log_in(identity, "bob", "right")).account.name == "bob"
    assert len(hasher.checked) == 1


async def test_who_failed_too_often_costs_no_argon2_at_all(identity: Identity, hasher: Hasher) -> None:
    for name in ("bob", "robot", "nobody"):
        hasher.checked.clear()
        tries = [log_in(identity, name, "wrong") for _ in range(30)]
        refusals = [type(one) for one in await asyncio.gather(*tries, return_exceptions=True)]
        assert refusals == [Unauthenticated] * 10 + [TooOften] * 20
        assert len(hasher.checked) == 10


async def test_failures_anywhere_in_a_64_are_counted_together(identity: Identity) -> None:
    for number in range(10):
        await guess(identity, "bob", f"2001:db8:1:2:{number}::{number:x}")
    assert await refused_seconds(identity, "bob", "right", "2001:db8:1:2:ffff::1")
    await log_in(identity, "bob", "right", "2001:db8:1:3::1")
    await log_in(identity, "robot", SECRET, "2001:db8:1:2::1")


async def test_an_ipv4_address_is_the_same_however_it_is_written(identity: Identity) -> None:
    await guess(identity, "bob", HERE, times=5)
    await guess(identity, "bob", f"::ffff:{HERE}", times=5)
    assert await refused_seconds(identity, "bob", "right", HERE)
    await log_in(identity, "bob", "right", "::ffff:192.0.2.2")


async def test_each_ten_failures_close_the_door_for_longer_up_to_15_minutes(identity: Identity, ticks: Ticks) -> None:
    for pause in (300, 600, 900, 900):
        await guess(identity, "bob", times=10)
        assert await refused_seconds(identity, "bob", "right") == pause
        ticks.at += pause - 1
        assert await refused_seconds(identity, "bob", "right") == 1, "asking again makes it no longer"
        await log_in(identity, "bob", "right", "192.0.2.2")
        ticks.at += 1
    await log_in(identity, "bob", "right")
    await guess(identity, "bob", times=10)
    assert await refused_seconds(identity, "bob", "right") == 300, "a right password begins anew"


async def test_nine_failures_in_five_minutes_close_nothing(identity: Identity, ticks: Ticks) -> None:
    for _ in range(3):
        await guess(identity, "bob", times=9)
        ticks.at += 300
    await log_in(identity, "bob", "right")


async def test_a_principal_gets_1200_tokens_a_minute_and_others_theirs(identity: Identity, ticks: Ticks) -> None:
    robot = (await log_in(identity, "robot", SECRET)).account
    await asyncio.gather(*(identity.mint(robot, (), None, 60) for _ in range(1199)))
    with pytest.raises(TooOften) as refused:
        await identity.mint(robot, (), None, 60)
    assert refused.value.retry_after_seconds == 60
    assert await refused_seconds(identity, "robot", SECRET, "192.0.2.2") == 60, "wherever it calls from"
    await log_in(identity, "bob", "right")
    ticks.at += 60
    await log_in(identity, "robot", SECRET)
