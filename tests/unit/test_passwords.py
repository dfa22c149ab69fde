"""Passwords and random secrets: only the right one matches, and no answer is quicker than another."""

import hashlib
import re
from typing import Any

import pytest
from argon2 import PasswordHasher

from entrepot.auth import passwords
from entrepot.errors import BadRequest

STORED = passwords.hash_password("correct horse é")


def test_only_the_password_that_was_stored_matches() -> None:
    assert passwords.verify(STORED, "correct horse é")
    assert not passwords.verify(STORED, "correct horse")
    assert "horse" not in STORED
    assert STORED.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_an_empty_password_never_matches_and_cannot_be_set() -> None:
    assert not passwords.verify(STORED, "")
    assert not passwords.verify(PasswordHasher().hash(""), "")
    for password in ("", "x" * 1025):
        with pytest.raises(BadRequest):
            passwords.hash_password(password)


@pytest.mark.parametrize("stored", [None, "", "!disabled", "plain", "$argon2id$broken"])
def test_what_is_no_hash_matches_nothing(stored: str | None) -> None:
    assert not passwords.verify(stored, "plain")
    assert not passwords.verify(stored, "")


@pytest.mark.parametrize("password", ["x" * 5000, "\udcff", "\x00"])
def test_a_strange_password_is_refused_not_a_fault(password: str) -> None:
    assert not passwords.verify(STORED, password)


@pytest.mark.parametrize(
    ("stored", "password"),
    [(None, "x"), (None, ""), ("", "x"), ("!", "x"), pytest.param(STORED, "", id="empty"),
     pytest.param(STORED, "x" * 5000, id="long")],
)  # fmt: skip
def test_every_refusal_costs_one_real_check(monkeypatch: pytest.MonkeyPatch, stored: str | None, password: str) -> None:
    checked: list[str] = []

    class Counting:
        def verify(self, stored: str, data: bytes) -> bool:
            checked.append(stored)
            return bool(passwords_hasher.verify(stored, data))

    passwords_hasher: Any = passwords._HASHER
    monkeypatch.setattr(passwords, "_HASHER", Counting())
    assert not passwords.verify(stored, password)
    assert len(checked) == 1
    assert not passwords_hasher.check_needs_rehash(checked[0]), "the dummy must cost as much as today's hashes"


def test_a_new_secret_has_256_random_bits_and_only_its_sha256_is_kept() -> None:
    secret = passwords.new_secret()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", secret)
    assert secret != passwords.new_secret()
    assert passwords.fingerprint(secret) == hashlib.sha256(secret.encode()).hexdigest()


def test_only_the_secret_itself_matches_its_fingerprint() -> None:
    secret = passwords.new_secret()
    stored = passwords.fingerprint(secret)
    assert passwords.is_secret(stored, secret)
    assert not passwords.is_secret(stored, secret[:-1])
    assert not passwords.is_secret(stored, stored)
    assert not passwords.is_secret(None, secret)
    assert not passwords.is_secret("", "")
    assert not passwords.is_secret(passwords.fingerprint(""), "")
    assert not passwords.is_secret(stored, "\udcff")
