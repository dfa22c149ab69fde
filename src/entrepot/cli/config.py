"""`config show`: each setting and who said so."""

from typing import Final

from entrepot.cli.lazy import LazyGroup, Line
from entrepot.cli.output import Row
from entrepot.cli.reports import SettingReport
from entrepot.cli.session import Session, command
from entrepot.client.profiles import config_path
from entrepot.errors import EntrepotError

config: Final = LazyGroup(
    "config",
    lines={"show": Line("entrepot.cli.config", "show", "Each setting, its value and its source.")},
    help="Settings of this user.",
)


@command("show", help="Print each setting, its value and where it comes from. No token is shown.")
def show(session: Session) -> None:
    """One setting a line."""
    session.output.header("setting", "value", "source")
    for name, value in session.settings.values.items():
        _add(session, name, value.text, value.source)
    try:
        token, source = session.settings.token()
    except EntrepotError as error:
        token, source = None, error.what
    _add(session, "token", "set" if token else None, source if token else "default")
    path = config_path(session.settings.environ)
    _add(
        session,
        "config_file",
        path,
        "XDG_CONFIG_HOME" if session.settings.environ.get("XDG_CONFIG_HOME") else "default",
    )


def _add(session: Session, name: str, value: str | None, source: str) -> None:
    shape = SettingReport(name, value, source)
    session.output.add(Row((name, value or "", source), shape, (name, value or "-", source)))
