"""Settings of the server: a bad value is one line that names the setting and what is allowed."""

import importlib.util
import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from entrepot.errors import UsageError
from entrepot.protocols.proxies import networks
from entrepot.settings import Settings, load, master_key

NAMES = [one.name for one in fields(Settings)]
SECRETS = {"db", "prominence_job_token_secret"}
LISTS = {"trusted_proxy", "s3_hosts", "prominence_entitlements"}
SWITCHES = ("insecure_http", "force_network_disk", "new_admin_token")
TIMES = ("verify_reads_days", "trash_days", "remove_grace_seconds", "drain_seconds")
COUNTS = ("max_uploads", "max_downloads", "max_connections", "max_connections_per_address")
NO_URLS = (
    "ftp://h",
    "h",
    "http://",
    "http://[x",
    "http://h:99999",
    "http://h:x",
    "http://h?q",
    "http://u@h",
    "http://h h",
)
NO_TIMES = ("-1", "soon", "nan", "inf", "1e300", "")
NO_COUNTS = ("0", "-1", "1.5", "many", "", "1_000", "²", "9" * 30, "9" * 5000)

BAD: dict[str, tuple[str, ...]] = {  # as a variable has them
    "registry_path_template": (
        "{name}",
        "{hash}/../x",
        "{nope}/{hash}",
        "/{hash}",
        "{hash",
        "a b/{hash}",
        "{name}//{hash}",
    ),
    "keyserver_url": ("keys", "ftp://keys", "http://", "https://keys?x=1"),
    "data": ("a\0b",),
    "db": ("mysql://u:hidden@h/d", "postgresql://u:hidden@h/d", "postgresql+psycopg://u:hidden@h:x/d", "hidden"),
    "listen": ("", "x", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:²", "h:http", "a..b:80", "[x]:80"),
    "public_url": (*NO_URLS, "https://h/path"),
    "tls": ("other", "SELF"),
    "tls_cert": ("a\0b",),
    "tls_key": ("a\0b",),
    **dict.fromkeys(SWITCHES, ("", "2", "perhaps")),
    "s3_hosts": ("A.example", "a b", "-a.example", "a/b"),
    "trusted_proxy": ("10.0.0.0/33", "10.0.0.1/8", "proxy", "10.0.0.0/8,x"),
    "inline_bytes": ("-1", "16k", "1.5", "", str((64 << 20) + 1)),
    "reserve_bytes": ("-1", "1G", "", "9" * 30),
    **dict.fromkeys(TIMES, NO_TIMES),
    "collect_seconds": (*NO_TIMES, "0"),
    **dict.fromkeys(COUNTS, NO_COUNTS),
    "prominence_signature": ("v3", "", "V2"),
    "prominence_job_token_secret": ("hidden\udc80",),
    "prominence_oidc_url": NO_URLS,
    "prominence_username_claim": ("",),
    "prominence_entitlements": ("a+", "+", "a,b++c"),
    "oidc_issuer": NO_URLS,
    "oidc_audience": ("a\0b",),
    "oidc_username_claim": ("",),
    "oidc_groups_claim": ("",),
}
GOOD: dict[str, tuple[str, Any]] = {
    "registry_path_template": ("{host}/{user}/{repo}/{commit}/{hash}", "{host}/{user}/{repo}/{commit}/{hash}"),
    "keyserver_url": ("https://keys.example", "https://keys.example"),
    "data": ("/srv/x", "/srv/x"),
    "db": ("postgresql+psycopg://u:p@h:5432/d", "postgresql+psycopg://u:p@h:5432/d"),
    "listen": ("[::1]:0", "[::1]:0"),
    "public_url": ("https://store.example:8443/", "https://store.example:8443/"),
    "tls": ("self", "self"),
    **dict.fromkeys(SWITCHES, ("Yes", True)),
    "s3_hosts": ("s3.example, localhost", ("s3.example", "localhost")),
    "trusted_proxy": ("10.0.0.0/8, ::1", ("10.0.0.0/8", "::1")),
    "inline_bytes": ("0", 0),
    "reserve_bytes": (str(1 << 60), 1 << 60),
    **dict.fromkeys(TIMES, ("0", 0)),
    "collect_seconds": ("0.05", 0.05),
    **dict.fromkeys(COUNTS, ("1", 1)),
    "prominence_signature": ("v4", "v4"),
    "prominence_job_token_secret": ("é", "é"),
    "prominence_oidc_url": ("https://idp.example/realms/a", "https://idp.example/realms/a"),
    "prominence_username_claim": ("sub", "sub"),
    "prominence_entitlements": ("a+b,c", ("a+b", "c")),
    "oidc_issuer": ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    "oidc_audience": ("me", "me"),
    "oidc_username_claim": ("sub", "sub"),
    "oidc_groups_claim": ("roles", "roles"),
}
WRONG_TYPES: dict[type, tuple[str, ...]] = {  # of a default, as TOML
    str: ("7", "true", "['text']", "{a = 1}", "1979-05-27"),
    bool: ("1", "'true'", "[true]"),
    int: ("'7'", "7.0", "true", "[7]"),
    float: ("'7'", "true", "nan", "-inf"),
    tuple: ("'text'", "[1]", "7", "[['text']]"),
}


def refusal(flags: dict[str, Any], environ: dict[str, str], config: str | None = None) -> UsageError:
    with pytest.raises(UsageError) as found:
        load(flags, environ, config)
    assert "\n" not in str(found.value)
    return found.value


def variable(name: str) -> str:
    return f"ENTREPOT_{name.upper()}"


def test_each_setting_has_bad_values_here() -> None:
    assert set(BAD) == set(NAMES)
    assert set(GOOD) | {"tls_cert", "tls_key"} == set(NAMES)


CASES = [(name, text) for name, texts in BAD.items() for text in texts]


@pytest.mark.parametrize(("name", "text"), CASES)
def test_a_bad_variable_is_one_line_that_names_it_and_what_is_allowed(name: str, text: str) -> None:
    said = refusal({}, {variable(name): text})
    told = "" if name in SECRETS else f" {text!r:.99},"
    assert re.fullmatch(rf"{variable(name)} is{re.escape(told)} not \S.+", said.what)
    assert "hidden" not in str(said)


@pytest.mark.parametrize(("name", "text"), CASES)
def test_a_bad_flag_is_refused_in_the_same_way(name: str, text: str) -> None:
    said = refusal({name: tuple(text.split(",")) if name in LISTS else text}, {})
    assert said.what.startswith(f"--{name.replace('_', '-')} is ")


@pytest.mark.parametrize(
    ("name", "text"), [(one.name, text) for one in fields(Settings) for text in WRONG_TYPES[type(one.default)]]
)
def test_a_wrong_type_in_the_file_names_setting_and_file(tmp_path: Path, name: str, text: str) -> None:
    config = tmp_path / "entrepot.toml"
    config.write_text(f"{name} = {text}")
    assert refusal({}, {}, str(config)).what.startswith(f"{name} in {config} is ")


@pytest.mark.parametrize("name", GOOD)
def test_a_good_value_is_taken_from_each_place(tmp_path: Path, name: str) -> None:
    text, value = GOOD[name]
    assert getattr(load({}, {variable(name): text}), name) == value
    assert getattr(load({name: value}, {}), name) == value
    config = tmp_path / "entrepot.toml"
    written = (
        str(value).lower() if isinstance(value, bool) else repr(list(value) if isinstance(value, tuple) else value)
    )
    config.write_text(f"{name} = {written}")
    assert getattr(load({}, {}, str(config)), name) == value


def test_what_is_taken_for_a_network_is_one_for_the_proxies_too() -> None:
    assert len(networks(load({"trusted_proxy": ("10.0.0.0/8", "192.168.1.7", "fd00::/8")}, {}).trusted_proxy)) == 3


def test_the_command_line_beats_the_environment_and_that_the_file(tmp_path: Path) -> None:
    config = tmp_path / "entrepot.toml"
    config.write_text('listen = "127.0.0.1:1"\nmax_uploads = 3')
    environ = {"ENTREPOT_LISTEN": "127.0.0.1:2"}
    assert load({"listen": "127.0.0.1:3"}, environ, str(config)).port == 3
    assert load({"listen": None}, environ, str(config)).port == 2
    assert load({}, {}, str(config)).port == 1
    assert load({}, environ, str(config)).max_uploads == 3


@pytest.mark.parametrize(
    ("text", "near"), [("max_upload = 3", "max_uploads"), ("public-url = ''", "public_url"), ("[listne]", "listen")]
)
def test_an_unknown_name_in_the_file_is_refused_and_the_nearest_is_told(tmp_path: Path, text: str, near: str) -> None:
    config = tmp_path / "entrepot.toml"
    config.write_text(text)
    said = refusal({}, {}, str(config))
    assert f"{config} has an unknown setting" in said.what
    assert said.advice == f"the nearest is '{near}'"
    config.write_text("zzz = 1")
    assert refusal({}, {}, str(config)).advice == ""


@pytest.mark.parametrize("content", [b"listen = ", b"\xff", b"a = 1\na = 2"])
def test_a_file_that_is_not_toml_is_one_line(tmp_path: Path, content: bytes) -> None:
    config = tmp_path / "entrepot.toml"
    config.write_bytes(content)
    assert refusal({}, {}, str(config)).what == f"--config {config} is not TOML"
    assert refusal({}, {}, str(tmp_path)).why == "Is a directory"


def test_a_secret_comes_from_a_file_and_is_checked_as_any(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("postgresql+psycopg://u:p@h/d\n")
    assert load({}, {"ENTREPOT_DB_FILE": str(tmp_path / "db")}).db == "postgresql+psycopg://u:p@h/d"
    (tmp_path / "db").write_bytes(b"hidden\xff")
    said = refusal({}, {"ENTREPOT_DB_FILE": str(tmp_path / "db")})
    assert said.what == "ENTREPOT_DB_FILE is not a URL postgresql+psycopg://USER@HOST/DATABASE"
    gone = refusal({}, {"ENTREPOT_PROMINENCE_JOB_TOKEN_SECRET_FILE": str(tmp_path / "gone")})
    assert gone.what.startswith("ENTREPOT_PROMINENCE_JOB_TOKEN_SECRET_FILE ")


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        ({"tls_cert": "/dev/null"}, "--tls-cert and --tls-key go together"),
        ({"tls_cert": "/no/file", "tls_key": "/dev/null"}, "--tls-cert /no/file cannot be read"),
        ({"tls_key": "/dev/null"}, "--tls-cert and --tls-key go together"),
        ({"listen": "0.0.0.0:8080"}, "0.0.0.0 can be reached by others"),
        ({"public_url": "https://prominence-data.example"}, "the host of public_url may not contain prominence-data"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(flags: dict[str, Any], what: str) -> None:
    assert refusal(flags, {}).what == what


def test_postgresql_without_its_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "entrepot[postgres]" in refusal({"db": "postgresql+psycopg://h/d"}, {}).advice


def test_a_master_key_is_made_once_and_then_read(tmp_path: Path) -> None:
    key = master_key(str(tmp_path), {})
    assert (len(key), os.stat(tmp_path / "master.key").st_mode & 0o777) == (32, 0o600)
    assert master_key(str(tmp_path), {}) == key
    assert master_key("/nowhere", {"ENTREPOT_MASTER_KEY_FILE": str(tmp_path / "master.key")}) == key


@pytest.mark.parametrize("path", ["/no/such/folder/key", "/"])
def test_a_master_key_that_cannot_be_had_names_its_variable(path: str) -> None:
    with pytest.raises(UsageError, match="ENTREPOT_MASTER_KEY_FILE"):
        master_key("/nowhere", {"ENTREPOT_MASTER_KEY_FILE": path})


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_master_key_has_32_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "master.key").write_bytes(content)
    (tmp_path / "master.key").chmod(0o600)
    with pytest.raises(UsageError, match="32 bytes"):
        master_key(str(tmp_path), {})
