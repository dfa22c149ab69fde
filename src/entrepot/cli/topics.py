"""`help`, `version`, `completion`: text, and no network."""

import platform
from typing import Final

import click

from entrepot import __version__
from entrepot.cli.output import Row
from entrepot.cli.reports import VersionReport
from entrepot.cli.session import Session, command
from entrepot.errors import NotFound

_SHELLS: Final = ("bash", "zsh", "fish")
_VARIABLE: Final = "_ENTREPOT_COMPLETE"

TOPICS: Final = {
    "references": """\
object:[PROJECT:]BUCKET/KEY   an object, its key taken literally
object:[PROJECT:]BUCKET/A/    all objects below A/
sha256:HEX                    a blob you may read
-                             standard input or output
NAME[:TAG]                    an image in the registry, for bundle and export-static
Other commands understand NAME:TAG, machine:NAME and docker://, but not in this version yet.
`push dir/` sends what is inside, `push dir` the folder.""",
    "settings": """\
Flag, then ENTREPOT_<FLAG>, then the profile in config.toml, then the default:
    $XDG_CONFIG_HOME/entrepot/config.toml
    default = "home"
    [profile.home]
    server = "https://entrepot.example"
    project = "phys"
A token comes from --token-file, ENTREPOT_TOKEN, ENTREPOT_TOKEN_FILE, `entrepot login`, and last PROMINENCE_TOKEN.
It goes to its own server only. `entrepot config show` prints each value and its source.""",
    "errors": """\
An error says what happened, why, and what to try. Exit codes:
0 done   1 failed   2 usage   3 not-found   4 denied   5 temporary   6 checksum   7 conflict   8 limit
9 nothing (only with --error-on-no-transfer)   10 refused   130 interrupted
More: entrepot help errors/checksum""",
    "errors/failed": "1: none of the others. With -v each request is told; the server's log has the same request.",
    "errors/usage": "2: the command, a name, a range, a setting or the place of -O is wrong, or a flag is missing.",
    "errors/not-found": "3: it is not there, or you may not know of it. A bucket can be made by `push --make-bucket`.",
    "errors/denied": "4: you are not logged in, your token has expired, or you may not do this. `entrepot login`.",
    "errors/temporary": "5: no connection, too busy, or nothing came for a minute. The same command continues.",
    "errors/checksum": "6: the bytes are not the ones that were promised. Nothing of them was kept.",
    "errors/conflict": "7: it exists and differs, or may not change.",
    "errors/limit": "8: a quota, a limit of size, or a full disk.",
    "errors/nothing": "9: all bytes were there already, and --error-on-no-transfer was given.",
    "errors/refused": "10: understood, and not done: not in this version, or the input is not safe.",
    "errors/interrupted": "130: you stopped it. The same command continues.",
}


@command(
    "help",
    click.Argument(["words"], nargs=-1, metavar="[TOPIC]"),
    help="Explain a command, or a topic: references, settings, errors, errors/CODE.",
)
def help_(session: Session, words: tuple[str, ...]) -> None:
    """The text."""
    topic = " ".join(words)
    text = TOPICS.get(topic) if topic else None
    click.echo(text if text is not None else _command_help(words))


def _command_help(words: tuple[str, ...]) -> str:
    found: click.Command = click.get_current_context().find_root().command
    context = click.Context(found, info_name="entrepot")
    for word in words:
        following = found.get_command(context, word) if isinstance(found, click.Group) else None
        if following is None:
            raise NotFound(f"no help on {' '.join(words)!r}", advice=f"entrepot help {', '.join(list(TOPICS)[:3])}")
        found = following
        context = click.Context(found, parent=context, info_name=word)
    return found.get_help(context)


@command("version", help="Print the version of this program.")
def version(session: Session) -> None:
    """Its version."""
    report = VersionReport(__version__, platform.python_version())
    session.output.add(Row((__version__,), report, sentence=f"entrepot {__version__}, python {report.python}"))


@command(
    "completion",
    click.Argument(["shell"], type=click.Choice(_SHELLS)),
    help='Print the completion script of SHELL; for bash: eval "$(entrepot completion bash)".',
)
def completion(session: Session, shell: str) -> None:
    """The script."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(click.get_current_context().find_root().command, {}, "entrepot", _VARIABLE).source())
