"""The one reader of files and environment on the server. Frozen; every unit is in the name.

A setting is taken from the command line, else `ENTREPOT_<NAME>`, else the TOML file, else its default. Secrets may come
as `ENTREPOT_<NAME>_FILE`.
"""

import difflib
import importlib.util
import ipaddress
import os
import re
import secrets
import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from entrepot.errors import UsageError

AREAS_BUCKET: Final = "prominence-data"
_SECRETS: Final = {"prominence_job_token_secret", "db"}
_SWITCH: Final = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_NO_QUERY: Final = r"\A[^\s\0?#]*\Z"
_FOLDERS: Final = re.compile(r"[A-Za-z0-9._{}/-]+\Z")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*)?\Z")


def _check_address(text: str) -> None:
    host, _, port = text.rpartition(":")
    if not _HOST.match(host):
        ipaddress.ip_address(host.strip("[]"))
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError


def _check_url(text: str) -> None:
    parts = urlsplit(text)
    if text and (parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.port == 0):
        raise ValueError


def _check_origin(text: str) -> None:
    _check_url(text)
    if urlsplit(text).path.strip("/"):
        raise ValueError


def _check_database(text: str) -> None:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        if text and make_url(text).drivername != "postgresql+psycopg":
            raise ValueError
    except ArgumentError:
        raise ValueError from None


def _check_networks(texts: Sequence[str]) -> None:
    for text in texts:
        ipaddress.ip_network(text)


def _check_hosts(texts: Sequence[str]) -> None:
    if not all(_HOST.match(text) and text == text.lower() and text.strip("-") == text for text in texts):
        raise ValueError


def _check_sets(texts: Sequence[str]) -> None:
    if not all(all(text.split("+")) for text in texts):
        raise ValueError


def _check_template(text: str) -> None:
    fields = {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}
    folders = text.split("/")
    if fields - {"host", "user", "repo", "commit", "hash", "name", "tag"} or "hash" not in fields:
        raise ValueError
    if any(folder in ("", ".", "..") for folder in folders) or not _FOLDERS.match(text):
        raise ValueError


def _within(least: float, most: float, what: str) -> Meta:
    return Meta(ge=least, le=most, description=f"{what} from {least} to {most}")


# What a value must be. The Meta's description completes "it is not ..."; the checks behind it raise ValueError.
Text = Annotated[str, Meta(pattern=r"\A[^\0]*\Z", description="text in UTF-8 without a NUL"), str.encode]
Path = Annotated[str, Meta(pattern=r"\A[^\0]*\Z", description="a path")]
Claim = Annotated[str, Meta(min_length=1, description="the name of a claim")]
Switch = Annotated[bool, Meta(description="true or false")]
Count = Annotated[int, _within(1, 1_000_000, "a whole number")]
Size = Annotated[int, _within(0, 1 << 60, "a whole number of bytes")]
InlineSize = Annotated[int, _within(0, 64 << 20, "a whole number of bytes")]
Days = Annotated[float, _within(0, 36500, "a number of days")]
Seconds = Annotated[float, _within(0, 31_536_000, "a number of seconds")]
Interval = Annotated[float, _within(0.01, 31_536_000, "a number of seconds")]
Address = Annotated[str, Meta(description="ADDRESS:PORT with a port from 0 to 65535"), _check_address]
Url = Annotated[str, Meta(pattern=_NO_QUERY, description="a URL http(s)://… without a query"), _check_url]
Origin = Annotated[str, Meta(pattern=_NO_QUERY, description="http(s)://HOST[:PORT] without a path"), _check_origin]
Database = Annotated[str, Meta(description="a URL postgresql+psycopg://USER@HOST/DATABASE"), _check_database]
Template = Annotated[
    str,
    Meta(description="folders with {hash} and of {host} {user} {repo} {commit} {name} {tag}, as {name}/{hash}"),
    _check_template,
]
Networks = Annotated[
    tuple[str, ...],
    Meta(description="a list of addresses, or of networks such as 10.0.0.0/8 without host bits"),
    _check_networks,
]
Hosts = Annotated[tuple[str, ...], Meta(description="a list of host names in lower case"), _check_hosts]
Sets = Annotated[tuple[str, ...], Meta(description="a list of texts, each one or several joined by +"), _check_sets]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a server can be told."""

    data: Path = ""
    """The data folder. Default: `$XDG_DATA_HOME/entrepot`, for root `/var/lib/entrepot`."""
    db: Database = ""
    """PostgreSQL URL; empty: SQLite in the data folder."""
    listen: Address = "127.0.0.1:8080"
    """Address and port; port 0 takes a free one."""
    public_url: Origin = ""
    """How clients reach the server, if not by the address they send as Host. It has no path."""
    tls: Annotated[Literal["", "self"], Meta(description="self")] = ""
    """`self`: a certificate of our own, made at the first start."""
    tls_cert: Path = ""
    tls_key: Path = ""
    insecure_http: Switch = False
    """Listen without TLS on an address others can reach."""
    trusted_proxy: Networks = ()
    """Networks whose X-Forwarded-For and X-Forwarded-Proto count."""
    s3_hosts: Hosts = ()
    """Host names below which a bucket may stand in front: `BUCKET.HOST`."""
    force_network_disk: Switch = False
    new_admin_token: Switch = False
    """Make a token for an admin there is, as at the first start: the way back in when the last one is lost."""
    inline_bytes: InlineSize = 16 << 10
    reserve_bytes: Size = 1 << 30
    verify_reads_days: Days = 7.0
    """A whole-blob read hashes the bytes if they were not verified for that long; 0: always."""
    trash_days: Days = 7.0
    collect_seconds: Interval = 60.0
    remove_grace_seconds: Seconds = 3600.0
    max_uploads: Count = 64
    max_downloads: Count = 256
    max_connections: Count = 1024
    max_connections_per_address: Count = 256
    drain_seconds: Seconds = 30.0
    registry_path_template: Template = "{name}/{hash}"
    """Where a tree of files has each file: folders of `{host}`, `{user}`, `{repo}`, `{commit}`, `{name}`, `{tag}`."""
    keyserver_url: Url = "https://keys.openpgp.org"
    """Where clients of `library://` look for keys."""
    prominence_signature: Annotated[Literal["v2", "v4"], Meta(description="v2 or v4")] = "v2"
    prominence_job_token_secret: Text = field(default="", repr=False)
    prominence_oidc_url: Url = ""
    prominence_username_claim: Claim = "preferred_username"
    prominence_entitlements: Sets = ()
    oidc_issuer: Url = ""
    oidc_audience: Text = ""
    oidc_username_claim: Claim = "preferred_username"
    oidc_groups_claim: Claim = "groups"

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


_KINDS: Final = get_type_hints(Settings, include_extras=True)


def load(flags: Mapping[str, Any], environ: Mapping[str, str], config: str | None = None) -> Settings:
    """The settings of this start. Raises: UsageError for an unknown name, or a value that cannot be one."""
    values: dict[str, Any] = {}
    for name, value in _from_file(config).items():
        if name not in _KINDS:
            raise _unknown(name, config)
        values[name] = _value(name, value, f"{name} in {config}", strict=True)
    for name in _KINDS:
        text, source = _from_environment(name, environ)
        if text is not None:
            values[name] = _value(name, _plain(name, text), source)
    for name, value in flags.items():
        if value is not None and value != ():
            values[name] = _value(name, value, f"--{name.replace('_', '-')}")
    found = Settings(**values)
    return check(found if found.data else replace(found, data=default_data(environ)))


def default_data(environ: Mapping[str, str]) -> str:
    """Where data goes if nobody said."""
    if os.geteuid() == 0:
        return "/var/lib/entrepot"
    home = environ.get("XDG_DATA_HOME") or os.path.join(environ.get("HOME", "."), ".local", "share")
    return os.path.join(home, "entrepot")


def check(found: Settings) -> Settings:
    """The settings, if they go together and a server can run with them. Raises: UsageError."""
    if bool(found.tls_cert) != bool(found.tls_key):
        raise UsageError("--tls-cert and --tls-key go together")
    for name, path in (("--tls-cert", found.tls_cert), ("--tls-key", found.tls_key)):
        if path:
            _read(path, name)
    if not (_is_loopback(found.host) or found.secure or found.insecure_http):
        raise UsageError(
            f"{found.host} can be reached by others",
            why="without TLS tokens and data cross the network in clear",
            advice="give --tls-cert and --tls-key, or --tls self, or --insecure-http behind a proxy",
        )
    if AREAS_BUCKET in found.public_url:
        raise UsageError(
            f"the host of public_url may not contain {AREAS_BUCKET}", why="workers cut keys out of URLs by that text"
        )
    if found.db and importlib.util.find_spec("psycopg") is None:
        raise UsageError("--db needs psycopg", advice="pip install 'entrepot[postgres]'")
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
        return tomllib.loads(_read(config, "--config").decode())
    except ValueError as error:
        raise UsageError(f"--config {config} is not TOML", why=str(error)) from error


def _unknown(name: str, config: str | None) -> UsageError:
    near = difflib.get_close_matches(name.replace("-", "_"), _KINDS, 1)
    return UsageError(f"{config} has an unknown setting {name!r}", advice=f"the nearest is {near[0]!r}" if near else "")


def _from_environment(name: str, environ: Mapping[str, str]) -> tuple[str | None, str]:
    """The text, if there is one, and the variable it came by."""
    variable = f"ENTREPOT_{name.upper()}"
    path = environ.get(f"{variable}_FILE") if name in _SECRETS else None
    if path:
        return _read(path, f"{variable}_FILE").decode(errors="surrogateescape").strip(), f"{variable}_FILE"
    return environ.get(variable), variable


def _plain(name: str, text: str) -> str | list[str]:
    """A variable's text as msgspec reads it: lists are split, and switches may be yes, no, on and off."""
    kind = _KINDS[name].__origin__
    if get_origin(kind) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    return _SWITCH.get(text.lower(), text) if kind is bool else text


def _value(name: str, value: object, source: str, *, strict: bool = False) -> Any:
    """`value` as that setting; `strict`: text is no number. Raises: UsageError, naming `source`; no secret is told."""
    meta, *checks = _KINDS[name].__metadata__
    try:
        found = msgspec.convert(value, _KINDS[name], strict=strict)
        for check_value in checks:
            check_value(found)
    except ValueError:
        shown = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
        said = "is" if name in _SECRETS else f"is {shown!r:.99},"
        raise UsageError(f"{source} {said} not {meta.description}") from None
    return found


def _read(path: str, source: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"{source} {path} cannot be read", why=error.strerror or "") from error


def master_key(data: str, environ: Mapping[str, str]) -> bytes:
    """The 32 bytes all other keys are derived from: `ENTREPOT_MASTER_KEY_FILE`, else `master.key`, made at first start.

    Raises: UsageError if the file has another length, others may read it, or we may not.
    """
    named = environ.get("ENTREPOT_MASTER_KEY_FILE")
    source, path = "ENTREPOT_MASTER_KEY_FILE" if named else "master.key", named or os.path.join(data, "master.key")
    try:
        if not os.path.exists(path):
            _make_key(path)
        with open(path, "rb") as file:
            key, mode = file.read(33), os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise UsageError(f"{source} {path} cannot be used", why=error.strerror or "") from error
    if len(key) != 32:
        raise UsageError(f"{source} does not hold 32 bytes", why="the master key has 32 bytes")
    if mode & 0o077:
        raise UsageError("others can read the master key", why=f"from {source}", advice="chmod 600")
    return key


def _make_key(path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(descriptor)
