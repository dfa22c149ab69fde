"""Tokens of this user, one per server: in the keyring if there is one, else a file nobody else can read."""

import base64
import binascii
import importlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from types import ModuleType
from typing import Final
from urllib.parse import urlsplit

from entrepot.client.localfile import file_errors
from entrepot.errors import Denied, UsageError

_SERVICE: Final = "entrepot"
_TOKEN: Final = re.compile(r"[\x21-\x7e]+\Z")
_DEFAULT_PORTS: Final = {"https": 443, "http": None}


def host_of(server: str) -> str:
    """How the token of that server is kept: host, and port unless it is https on 443. Raises: UsageError."""
    parts = urlsplit(server)
    try:
        port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    except (KeyError, ValueError):
        raise UsageError(f"not an http or https address: {server!r}") from None
    if not parts.hostname:
        raise UsageError(f"not an http or https address: {server!r}")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return name if port == _DEFAULT_PORTS[parts.scheme] else f"{name}:{port}"


def token_path(environ: Mapping[str, str], host: str) -> str:
    """The file of that host's token."""
    state = environ.get("XDG_STATE_HOME", "")
    base = state if os.path.isabs(state) else os.path.join(home(environ), ".local", "state")
    return os.path.join(base, "entrepot", "tokens", host)


def home(environ: Mapping[str, str]) -> str:
    """The user's folder."""
    return environ.get("HOME") or os.path.expanduser("~")


def kept_token(environ: Mapping[str, str], host: str) -> str | None:
    """The token of `host`, None if there is none. Raises: Denied, if others could read its file."""
    path = token_path(environ, host)
    with file_errors(path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            keyring = _keyring()
            return keyring.get_password(_SERVICE, host) if keyring else None
        with open(descriptor, encoding="ascii", errors="replace") as file:
            status = os.fstat(descriptor)
            if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != os.geteuid():
                raise Denied(f"{path} is not used", why="others can read it", advice=f"chmod 600 {path}")
            return sound_token(file.read())


def keep_token(environ: Mapping[str, str], host: str, token: str) -> None:
    """Nothing; the token is kept for the next command. Raises: Denied; DiskFull."""
    keyring = _keyring()
    if keyring:
        with suppress(Exception):  # any of its back ends may be locked or missing: then the file
            keyring.set_password(_SERVICE, host, token)
            _remove(token_path(environ, host))
            return
    write_secret(token_path(environ, host), token + "\n")


def forget_token(environ: Mapping[str, str], host: str) -> None:
    """Nothing; no token of `host` is kept here. Raises: Denied."""
    _remove(token_path(environ, host))
    keyring = _keyring()
    if keyring:
        with suppress(Exception):
            keyring.delete_password(_SERVICE, host)


def write_secret(path: str, text: str) -> None:
    """A file that only this user can read, whole or not at all. Raises: Denied; DiskFull."""
    folder = os.path.dirname(path)
    with file_errors(path):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(dir=folder, prefix=".")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.rename(beside, path)
        except BaseException:
            os.unlink(beside)
            raise


def sound_token(text: str) -> str:
    """`text` without the white space around it. Raises: UsageError, if it is no token; it is not shown."""
    token = text.strip()
    if not _TOKEN.match(token):
        raise UsageError("this is no token", why="a token is one word of ASCII", advice="entrepot login")
    return token


def token_claims(token: str) -> Mapping[str, object]:
    """What a token says of itself, unproved; empty if it is none of ours. For messages and log out only."""
    body = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, binascii.Error):
        return {}
    return claims if isinstance(claims, dict) else {}


def _remove(path: str) -> None:
    with file_errors(path), suppress(FileNotFoundError):
        os.unlink(path)


def _keyring() -> ModuleType | None:
    try:
        return importlib.import_module("keyring")
    except ImportError:
        return None
