"""Every setting of a command or client, and where it comes from: flag, environment, profile, default."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from entrepot.client.localfile import file_errors
from entrepot.client.login import host_of, kept_token, sound_token
from entrepot.client.profiles import Profiles, read_profiles
from entrepot.errors import UsageError

DEFAULTS: Final[Mapping[str, str | None]] = {
    "server": None,
    "profile": None,
    "project": None,
    "token_file": None,
    "cacert": None,
    "insecure": "false",
    "json": "false",
    "quiet": "false",
    "verbose": "false",
    "progress": "auto",
    "color": "auto",
    "dry_run": "false",
    "yes": "false",
    "no_input": "false",
    "bwlimit": None,
    "jobs": "4",
}
_OF_ONE_SERVER: Final = ("token_file", "cacert", "insecure", "project")
_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Value:
    """What a setting is, as text, and who said so."""

    text: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings by name."""

    values: Mapping[str, Value]
    environ: Mapping[str, str]
    flags: Mapping[str, str]

    @classmethod
    def read(cls, flags: Mapping[str, str], environ: Mapping[str, str]) -> "Settings":
        """Flag > `ENTREPOT_<FLAG>` > profile > default. Raises: UsageError; Denied."""
        profiles = read_profiles(environ)
        chosen = _chosen_profile(flags, environ, profiles)
        profile = dict(profiles.by_name.get(chosen.text, {})) if chosen.text else {}
        named = flags.get("server") or environ.get("ENTREPOT_SERVER")
        if named and server_url(named) != server_url(profile.get("server", named)):
            for name in _OF_ONE_SERVER:
                profile.pop(name, None)
        values = {name: _value(name, flags, environ, chosen.text, profile) for name in DEFAULTS}
        values["profile"] = chosen
        if values["server"].text is None and environ.get("PROMINENCE_URL"):
            values["server"] = Value(environ["PROMINENCE_URL"], "PROMINENCE_URL")
        return cls(values, environ, flags)

    def at(self, server: str) -> "Settings":
        """As if `--server` had said this: another server's profile does not count. Raises: UsageError; Denied."""
        return Settings.read({**self.flags, "server": server}, self.environ)

    def text(self, name: str) -> str | None:
        """A setting as it was written."""
        return self.values[name].text

    def is_on(self, name: str) -> bool:
        """A switch. Raises: UsageError."""
        value = self.values[name]
        text = (value.text or "").lower()
        if text not in _YES | _NO:
            raise UsageError(f"{name} is true or false, not {text!r}", why=f"from {value.source}")
        return text in _YES

    @property
    def project(self) -> str | None:
        """Where bare bucket names are; None: the server knows."""
        return self.text("project") or None

    def server(self) -> str:
        """The server's URL without a slash at its end. Raises: UsageError, if nobody says one."""
        text = self.text("server")
        if not text:
            raise UsageError(
                "no server is known", why="no flag, variable or profile names one", advice="entrepot login https://HOST"
            )
        return server_url(text)

    def jobs(self) -> int:
        """Transfers side by side. Raises: UsageError."""
        text = self.text("jobs") or ""
        if text not in map(str, range(1, 33)):
            raise UsageError(f"jobs is 1 to 32, not {text!r}", why=f"from {self.values['jobs'].source}")
        return int(text)

    def token(self) -> tuple[str | None, str]:
        """The token for `server()`, and where it comes from; it is for no other. Raises: UsageError; Denied."""
        file = self.values["token_file"]
        if file.text and file.source.startswith("--"):
            return read_token_file(file.text), file.source
        if self.environ.get("ENTREPOT_TOKEN"):
            return sound_token(self.environ["ENTREPOT_TOKEN"]), "ENTREPOT_TOKEN"
        if file.text:
            return read_token_file(file.text), file.source
        host = host_of(self.server())
        kept = kept_token(self.environ, host)
        if kept:
            return kept, f"login {host}"
        return self._prominence_token(host), "PROMINENCE_TOKEN"

    def _prominence_token(self, host: str) -> str | None:
        url, token = self.environ.get("PROMINENCE_URL"), self.environ.get("PROMINENCE_TOKEN")
        if not url or not token or host_of(server_url(url)) != host:
            return None
        return sound_token(token)


def server_url(text: str) -> str:
    """`text` as the URL of a server: https unless it says http or is this machine. Raises: UsageError."""
    try:
        if "://" not in text:
            text = f"{'http' if is_here(text) else 'https'}://{text}"
        parts = urlsplit(text)
    except ValueError:
        raise UsageError(f"not an http or https address: {text!r}") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError("a server's address has no user, query or fragment", advice="entrepot login HOST --user NAME")
    host_of(text)  # refuses what is no address
    host = parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")
    return f"{parts.scheme}://{host}{parts.path.rstrip('/').removesuffix('/prominence/v1')}"


def read_token_file(path: str) -> str:
    """The token in a file. Raises: NotFound; Denied; UsageError."""
    with file_errors(path), open(path, encoding="ascii", errors="replace") as file:
        return sound_token(file.read(65536))


def is_here(host: str) -> bool:
    """True for an address of this machine alone."""
    name = urlsplit(f"//{host}").hostname or ""
    return name == "localhost" or name.startswith("127.") or name == "::1"


def _chosen_profile(flags: Mapping[str, str], environ: Mapping[str, str], profiles: Profiles) -> Value:
    for text, source in ((flags.get("profile"), "--profile"), (environ.get("ENTREPOT_PROFILE"), "ENTREPOT_PROFILE")):
        if text:
            if text not in profiles.by_name:
                raise UsageError(f"no profile {text!r}", why=f"from {source}", advice="entrepot config show")
            return Value(text, source)
    for text, source in ((flags.get("server"), "--server"), (environ.get("ENTREPOT_SERVER"), "ENTREPOT_SERVER")):
        if text:
            return Value(profiles.of_server(server_url(text)), source)
    return Value(profiles.default, "config.toml" if profiles.default else "default")


def _value(
    name: str, flags: Mapping[str, str], environ: Mapping[str, str], chosen: str | None, profile: Mapping[str, str]
) -> Value:
    variable = f"ENTREPOT_{name.upper()}"
    if name in flags:
        return Value(flags[name], f"--{name.replace('_', '-')}")
    if environ.get(variable):
        return Value(environ[variable], variable)
    if name in profile:
        return Value(profile[name], f"profile {chosen}")
    return Value(DEFAULTS[name], "default")
