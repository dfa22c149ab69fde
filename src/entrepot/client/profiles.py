"""`config.toml`: which servers this user knows, by name. No secrets are in it."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from entrepot.client.localfile import file_errors
from entrepot.client.login import home
from entrepot.errors import UsageError

KEYS: Final = ("server", "project", "token_file", "cacert", "insecure", "progress", "color", "bwlimit", "jobs")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


@dataclass(frozen=True, slots=True)
class Profiles:
    """The profiles by name, each a mapping from setting to text, and which one counts if nobody says."""

    default: str | None = None
    by_name: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of_server(self, server: str) -> str | None:
        """The name of the first profile of that server."""
        return next((name for name, one in self.by_name.items() if one.get("server", "").rstrip("/") == server), None)


def config_path(environ: Mapping[str, str]) -> str:
    """Where the file is, or would be."""
    config = environ.get("XDG_CONFIG_HOME", "")
    base = config if os.path.isabs(config) else os.path.join(home(environ), ".config")
    return os.path.join(base, "entrepot", "config.toml")


def read_profiles(environ: Mapping[str, str]) -> Profiles:
    """What the file says; none if there is no file. Raises: UsageError, for what it may not hold; Denied."""
    path = config_path(environ)
    with file_errors(path):
        try:
            with open(path, "rb") as file:
                table = tomllib.load(file)
        except FileNotFoundError:
            return Profiles()
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read", why=str(error)) from error
    return parse_profiles(table, path)


def parse_profiles(table: Mapping[str, object], path: str = "config.toml") -> Profiles:
    """The profiles in a file's tables. Raises: UsageError, for an unknown key or a default that is none of them."""
    unknown = sorted(set(table) - {"default", "profile"})
    if unknown:
        raise UsageError(f"unknown key {unknown[0]!r} in {path}", why="it has `default` and `[profile.NAME]`")
    found = table.get("profile", {})
    default = table.get("default")
    if not isinstance(found, dict) or not isinstance(default, str | None):
        raise UsageError(f"{path} cannot be read", why='it has `default = "NAME"` and `[profile.NAME]`')
    if default is not None and default not in found:
        raise UsageError(f"no profile {default!r} in {path}", why="it is the default")
    return Profiles(default, {name: _profile(name, one, path) for name, one in found.items()})


def _profile(name: str, table: object, path: str) -> Mapping[str, str]:
    if not isinstance(table, dict):
        raise UsageError(f"profile {name!r} in {path} is no table", advice=f"[profile.{name}]")
    for key, value in table.items():
        if key not in KEYS:
            raise UsageError(f"unknown key {key!r} in profile {name!r} of {path}", why=f"known are {', '.join(KEYS)}")
        if not isinstance(value, str | int | bool):
            raise UsageError(f"{key} in profile {name!r} of {path} is neither text nor number")
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in table.items()}


def add_profile(environ: Mapping[str, str], name: str, server: str) -> str:
    """The name of the profile of `server`: one that is there, or `name`, which is added and becomes the default
    if there is none. What the user wrote stays as it is. Raises: UsageError; Denied; DiskFull.
    """
    profiles = read_profiles(environ)
    known = profiles.of_server(server)
    if known is not None:
        return known
    name = _free_name(name, profiles)
    path = config_path(environ)
    with file_errors(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        text = ""
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                text = file.read()
        head = "" if profiles.default else f'default = "{name}"\n'
        gap = "\n" if text and not text.endswith("\n") else ""
        _replace(path, f'{head}{text}{gap}\n[profile.{name}]\nserver = "{server}"\n')
    return name


def _free_name(name: str, profiles: Profiles) -> str:
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "server"
    assert _NAME.match(plain)
    numbered = (plain if number == 1 else f"{plain}-{number}" for number in range(1, len(profiles.by_name) + 2))
    return next(one for one in numbered if one not in profiles.by_name)


def _replace(path: str, text: str) -> None:
    beside = f"{path}.{os.getpid()}.new"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(beside, path)
