"""Passwords (argon2id) and the secrets of robots and applications (256 random bits, kept as SHA-256).

Every refusal takes the time of a real check: for an unknown user pass None as what is stored. One check of a password
takes some 50 ms and 64 MiB, so the caller limits how many run at once.

Source: RFC 9106 (the second recommended setting); OWASP on password storage.
"""

import hashlib
import hmac
import secrets
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from entrepot.errors import BadRequest

MAX_PASSWORD_BYTES: Final = 1024

_HASHER: Final = PasswordHasher()
_NOBODY: Final = "$argon2id$v=19$m=65536,t=3,p=4$YvIpsDvLkMW82OPNL8u2hw$wRxHJiPrGA0eRXs0XDfj9wX/uas7UdVKLJpvFmPYqA4"


def hash_password(password: str) -> str:
    """What to store of a password: argon2id, its salt and settings. Raises: BadRequest if it is empty or over 1 KiB."""
    data = _bytes(password)
    if not data:
        raise BadRequest("a password has 1 to 1024 bytes")
    return _HASHER.hash(data)


def verify(stored: str | None, password: str) -> bool:
    """Is it the password that was stored? Never an empty one, nor for an unknown user (None); each takes as long."""
    data = _bytes(password)
    known = stored is not None and stored.startswith("$argon2id$")
    matches = _matches(stored if stored is not None and known else _NOBODY, data)
    return matches and known and bool(data)


def new_secret() -> str:
    """A secret of 256 random bits for a robot or an application, 43 characters of `[A-Za-z0-9_-]`. Shown once."""
    return secrets.token_urlsafe(32)


def fingerprint(secret: str) -> str:
    """What to store of a random secret: its SHA-256, 64 hex digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def is_secret(stored: str | None, secret: str) -> bool:
    """Is it the secret whose fingerprint was stored? Never for an empty one, nor for None; each takes as long."""
    same = hmac.compare_digest(fingerprint(secret).encode(), (stored or "0" * 64).encode())
    return same and bool(stored) and bool(secret)


def _bytes(password: str) -> bytes:
    data = password.encode("utf-8", "surrogatepass")
    return data if len(data) <= MAX_PASSWORD_BYTES else b""


def _matches(stored: str, data: bytes) -> bool:
    try:
        return _HASHER.verify(stored, data)
    except (VerificationError, InvalidHashError):
        return False
