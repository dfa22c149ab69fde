"""Where settings and tokens come from, and whom a token goes to."""

import os
from pathlib import Path

import pytest

from entrepot.client.flow import Request
from entrepot.client.login import host_of, keep_token, token_claims, token_path
from entrepot.client.profiles import add_profile, config_path, parse_profiles, read_profiles
from entrepot.client.settings import Settings, server_url
from entrepot.client.target import Target
from entrepot.errors import Denied, UsageError


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def write_config(environ: dict[str, str], text: str) -> None:
    path = Path(config_path(environ))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


TWO = """
default = "home"
[profile.home]
server = "https://home.example"
project = "phys"
token_file = "/nowhere"
[profile.work]
server = "https://work.example"
"""


def test_flag_then_variable_then_profile_then_default(environ: dict[str, str]) -> None:
    write_config(environ, TWO)
    settings = Settings.read({}, environ)
    assert (settings.project, settings.values["project"].source) == ("phys", "profile home")
    environ["ENTREPOT_PROJECT"] = "chem"
    assert Settings.read({}, environ).values["project"].source == "ENTREPOT_PROJECT"
    assert Settings.read({"project": "bio"}, environ).values["project"].source == "--project"
    assert settings.values["jobs"].source == "default"


def test_another_server_than_the_profile_s_gets_nothing_of_that_profile(environ: dict[str, str]) -> None:
    write_config(environ, TWO)
    for settings in (
        Settings.read({"server": "https://other.example"}, environ),
        Settings.read({"server": "https://other.example", "profile": "home"}, environ),
        Settings.read({}, {**environ, "ENTREPOT_SERVER": "https://other.example"}),
    ):
        assert settings.server() == "https://other.example"
        assert settings.project is None
        assert settings.text("token_file") is None
        assert settings.token()[0] is None


def test_the_address_of_a_profile_selects_it(environ: dict[str, str]) -> None:
    write_config(environ, TWO)
    assert Settings.read({"server": "home.example"}, environ).project == "phys"


def test_a_kept_token_goes_to_its_own_host_only(environ: dict[str, str]) -> None:
    keep_token(environ, "home.example", "secret")
    assert Settings.read({"server": "https://home.example"}, environ).token()[0] == "secret"
    for other in ("https://home.example:8443", "http://home.example", "https://work.example"):
        assert Settings.read({"server": other}, environ).token()[0] is None


def test_an_address_that_is_a_right_itself_gets_no_token() -> None:
    target = Target("https://home.example", "secret")
    ours = target.arguments(Request("GET", "/api/v1/me", "me"))
    foreign = target.arguments(Request("PUT", "https://home.example/api/v1/uploads/u/0", "part"))
    anonymous = target.arguments(Request("POST", "/api/v1/login", "login", anonymous=True))
    assert "secret" in str(ours)
    assert "secret" not in str(foreign)
    assert "secret" not in str(anonymous)
    assert "secret" not in repr(target)


def test_the_token_file_flag_beats_the_variable_and_that_the_kept_one(environ: dict[str, str], tmp_path: Path) -> None:
    environ["ENTREPOT_SERVER"] = "https://home.example"
    keep_token(environ, "home.example", "kept")
    (tmp_path / "t").write_text("filed\n")
    assert Settings.read({}, environ).token() == ("kept", "login home.example")
    environ["ENTREPOT_TOKEN"] = "told"
    assert Settings.read({}, environ).token() == ("told", "ENTREPOT_TOKEN")
    assert Settings.read({"token_file": str(tmp_path / "t")}, environ).token() == ("filed", "--token-file")


def test_prominence_comes_last_and_its_token_stays_with_its_server(environ: dict[str, str]) -> None:
    environ |= {"PROMINENCE_URL": "https://p.example/prominence/v1", "PROMINENCE_TOKEN": "job"}
    settings = Settings.read({}, environ)
    assert settings.server() == "https://p.example"
    assert settings.token() == ("job", "PROMINENCE_TOKEN")
    assert Settings.read({"server": "https://other.example"}, environ).token()[0] is None


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_token_others_can_read_is_refused(environ: dict[str, str], mode: int) -> None:
    keep_token(environ, "home.example", "secret")
    path = token_path(environ, "home.example")
    assert os.stat(path).st_mode & 0o777 == 0o600
    os.chmod(path, mode)
    with pytest.raises(Denied, match="others can read it") as refused:
        Settings.read({"server": "https://home.example"}, environ).token()
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("defualt = 'x'", "defualt"),
        ("[profile.a]\nservre = 'x'", "servre"),
        ("default = 'gone'\n[profile.a]\nserver = 'x'", "gone"),
        ("[profile.a]\ntoken = 'x'", "token"),
        ("server = [", "cannot be read"),
        ("profile = 3", "cannot be read"),
    ],
)
def test_an_unknown_key_in_the_config_is_an_error(environ: dict[str, str], text: str, what: str) -> None:
    write_config(environ, text)
    with pytest.raises(UsageError) as refused:
        Settings.read({}, environ)
    assert what in str(refused.value)


def test_a_profile_is_added_without_touching_what_is_there(environ: dict[str, str]) -> None:
    text = '# mine\n[profile.home]\nserver = "https://home.example"'
    write_config(environ, text)
    assert add_profile(environ, "new.example:80", "http://new.example") == "new-example-80"
    assert add_profile(environ, "again", "http://new.example") == "new-example-80"
    assert add_profile(environ, "home", "https://second.example") == "home-2"
    assert text in Path(config_path(environ)).read_text()
    profiles = read_profiles(environ)
    assert profiles.default == "new-example-80"
    assert set(profiles.by_name) == {"home", "new-example-80", "home-2"}


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("entrepot.example", "https://entrepot.example"),
        ("https://Entrepot.Example:443/", "https://entrepot.example"),
        ("http://h:80", "http://h"),
        ("localhost:8080", "http://localhost:8080"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("https://h/prominence/v1/", "https://h"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_server_s_address_has_one_form(text: str, url: str) -> None:
    assert server_url(text) == url


@pytest.mark.parametrize(
    "text", ["ftp://h", "https://", "https://user:pw@h", "https://h?x=1", "http://h:99999", "http://[x", "[x"]
)
def test_an_address_that_cannot_be_one_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        server_url(text)


def test_hosts_are_told_apart_by_their_port() -> None:
    assert host_of("https://h") == host_of("https://h:443") == "h"
    assert host_of("http://h") == "h:80"
    assert host_of("http://[::1]:8080") == "[::1]:8080"


def test_switches_and_numbers_are_checked_with_their_source(environ: dict[str, str]) -> None:
    environ |= {"ENTREPOT_QUIET": "perhaps"}
    with pytest.raises(UsageError, match="ENTREPOT_QUIET"):
        Settings.read({}, environ).is_on("quiet")
    for text in ("many", "0", "33", "²", "9" * 5000):
        with pytest.raises(UsageError, match="ENTREPOT_JOBS"):
            Settings.read({}, {**environ, "ENTREPOT_JOBS": text}).jobs()
    assert Settings.read({}, {**environ, "ENTREPOT_JOBS": "32"}).jobs() == 32


def test_nothing_is_known_of_a_token_that_is_none_of_ours() -> None:
    assert token_claims("a.b.c") == {}
    assert token_claims("x") == {}


def test_a_profile_must_be_a_table() -> None:
    with pytest.raises(UsageError):
        parse_profiles({"profile": {"a": 3}})
