"""The one reader of files and environment on the server. Frozen; every unit is in the name.

A setting is taken from the command line, else `ENTREPOT_<NAME>`, else the TOML file, else its default. Secrets may come
as `ENTREPOT_<NAME>_FILE`.
"""

import ipaddress
import os
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal, get_type_hints
from urllib.parse import urlsplit

from entrepot.errors import UsageError

AREAS_BUCKET: Final = "prominence-data"
_SECRETS: Final = {"prominence_job_token_secret", "db"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a server can be told."""

    data: str = ""
    """The data folder. Default: `$XDG_DATA_HOME/entrepot`, for root `/var/lib/entrepot`."""
    db: str = ""
    """PostgreSQL URL; empty: SQLite in the data folder."""
    listen: str = "127.0.0.1:8080"
    """Address and port; port 0 takes a free one."""
    public_url: str = ""
    """How clients reach the server, if not by the address they send as Host. It has no path."""
    tls: str = ""
    """`self`: a certificate of our own, made at the first start."""
    tls_cert: str = ""
    tls_key: str = ""
    insecure_http: bool = False
    """Listen without TLS on an address others can reach."""
    trusted_proxy: tuple[str, ...] = ()
    """Networks whose X-Forwarded-For and X-Forwarded-Proto count."""
    force_network_disk: bool = False
    new_admin_token: bool = False
    """Make a token for an admin there is, as at the first start: the way back in when the last one is lost."""
    inline_bytes: int = 16 << 10
    reserve_bytes: int = 1 << 30
    verify_reads_days: float = 7.0
    """A whole-blob read hashes the bytes if they were not verified for that long; 0: always."""
    trash_days: float = 7.0
    collect_seconds: float = 60.0
    remove_grace_seconds: float = 3600.0
    max_uploads: int = 64
    max_downloads: int = 256
    max_connections: int = 1024
    max_connections_per_address: int = 256
    drain_seconds: float = 30.0
    prominence_signature: Literal["v2", "v4"] = "v2"
    prominence_job_token_secret: str = field(default="", repr=False)
    prominence_oidc_url: str = ""
    prominence_username_claim: str = "preferred_username"
    prominence_entitlements: tuple[str, ...] = ()
    oidc_issuer: str = ""
    oidc_audience: str = ""
    oidc_username_claim: str = "preferred_username"
    oidc_groups_claim: str = "groups"

    @property
    def host(self) -> str:
        """The address of `listen`."""
        return self.listen.rpartition(":")[0].strip("[]") or "127.0.0.1"

    @property
    def port(self) -> int:
        """The port of `listen`."""
        return int(self.listen.rpartition(":")[2])

    @property
    def secure(self) -> bool:
        """Whether it speaks TLS."""
        return bool(self.tls or self.tls_cert)


def load(flags: Mapping[str, Any], environ: Mapping[str, str], config: str | None = None) -> Settings:
    """The settings of this start. Raises: UsageError for an unknown name, or a value that cannot be one."""
    hints = get_type_hints(Settings)
    values: dict[str, Any] = {}
    for name, value in _from_file(config).items():
        if name not in hints:
            raise UsageError(f"{config}: unknown setting {name!r}")
        values[name] = tuple(value) if isinstance(value, list) else value
    for one in fields(Settings):
        text = _from_environment(one.name, environ)
        if text is not None:
            values[one.name] = _parsed(one.name, text, hints[one.name])
    values |= {name: value for name, value in flags.items() if value is not None and value != ()}
    found = Settings(**values)
    return check(found if found.data else replace(found, data=default_data(environ)))


def default_data(environ: Mapping[str, str]) -> str:
    """Where data goes if nobody said."""
    if os.geteuid() == 0:
        return "/var/lib/entrepot"
    home = environ.get("XDG_DATA_HOME") or os.path.join(environ.get("HOME", "."), ".local", "share")
    return os.path.join(home, "entrepot")


def check(found: Settings) -> Settings:
    """The settings, if a server can run with them. Raises: UsageError."""
    if not found.listen.rpartition(":")[2].isdigit():
        raise UsageError(f"--listen {found.listen}: write ADDRESS:PORT")
    if bool(found.tls_cert) != bool(found.tls_key):
        raise UsageError("--tls-cert and --tls-key go together")
    if found.tls not in {"", "self"}:
        raise UsageError("--tls knows only 'self'", advice="or give --tls-cert and --tls-key")
    if not (_is_loopback(found.host) or found.secure or found.insecure_http):
        raise UsageError(
            f"{found.host} can be reached by others",
            why="without TLS tokens and data cross the network in clear",
            advice="give --tls-cert and --tls-key, or --tls self, or --insecure-http behind a proxy",
        )
    parts = urlsplit(found.public_url)
    if found.public_url and (parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/")):
        raise UsageError("public_url is SCHEME://HOST[:PORT] without a path")
    if AREAS_BUCKET in parts.netloc:
        raise UsageError(
            f"the host of public_url may not contain {AREAS_BUCKET}", why="workers cut keys out of URLs by that text"
        )
    return found


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _from_file(config: str | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        with open(config, "rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {config}", why=str(error)) from error


def _from_environment(name: str, environ: Mapping[str, str]) -> str | None:
    variable = f"ENTREPOT_{name.upper()}"
    path = environ.get(f"{variable}_FILE") if name in _SECRETS else None
    if path:
        with open(path) as file:
            return file.read().strip()
    return environ.get(variable)


def _parsed(name: str, text: str, kind: object) -> Any:
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        if kind in (int, float):
            return int(text) if kind is int else float(text)
    except (KeyError, ValueError):
        raise UsageError(f"ENTREPOT_{name.upper()}={text}: not a value for it") from None
    if kind == tuple[str, ...]:
        return tuple(filter(None, text.split(",")))
    return text


def master_key(data: str, environ: Mapping[str, str]) -> bytes:
    """The 32 bytes all other keys are derived from: `ENTREPOT_MASTER_KEY_FILE`, else `master.key`, made at first start.

    Raises: UsageError if the file has another length or others may read it.
    """
    path = environ.get("ENTREPOT_MASTER_KEY_FILE") or os.path.join(data, "master.key")
    if not os.path.exists(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(descriptor)
    with open(path, "rb") as file:
        key = file.read()
        if len(key) != 32:
            raise UsageError("the master key has 32 bytes")
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise UsageError("others can read the master key", advice="chmod 600")
    return key
