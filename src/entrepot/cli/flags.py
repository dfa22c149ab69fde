"""The flags every command takes, before or behind its name. They are collected; `Settings` gives them their rank."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_VALUED: Final = (
    ("server", ("-H", "--server"), "URL", "The server, by address."),
    ("profile", ("--profile",), "NAME", "The server, by its name in config.toml."),
    ("project", ("-p", "--project"), "NAME", "Where bare names are."),
    ("token_file", ("--token-file",), "FILE", "A file with the token."),
    ("cacert", ("--cacert",), "FILE", "Certificates to trust in place of the system's."),
    ("bwlimit", ("--bwlimit",), "RATE", "No more bytes a second than this: 10M."),
    ("jobs", ("-j", "--jobs"), "N", "Transfers side by side (4)."),
)
_CHOICES: Final = (
    ("progress", "--progress", ("auto", "plain", "json", "none"), "How progress is shown, on stderr."),
    ("color", "--color", ("auto", "always", "never"), "Whether messages have colour."),
)
_SWITCHES: Final = (
    ("json", ("--json",), "Results and errors as JSON, one object a line."),
    ("quiet", ("-q", "--quiet"), "Nothing but results and errors."),
    ("verbose", ("-v", "--verbose"), "Tell of each request."),
    ("dry_run", ("-n", "--dry-run"), "Only say what would happen."),
    ("yes", ("-y", "--yes"), "Do not ask."),
    ("no_input", ("--no-input",), "Never ask; fail where an answer is missing."),
    ("insecure", ("--insecure",), "Believe any server. Others can then read and change what you send."),
)


def global_flags(*, hidden: bool, without: tuple[str, ...] = ()) -> list[click.Option]:
    """The options, new for each command. `hidden`: the help of one command does not repeat them."""
    options = [
        click.Option([*names, name], metavar=metavar, help=text, **_common(hidden))
        for name, names, metavar, text in _VALUED
        if name not in without
    ]
    options += [
        click.Option([flag, name], type=click.Choice(choices), help=text, **_common(hidden))
        for name, flag, choices, text in _CHOICES
    ]
    options += [
        click.Option([*names, name], is_flag=True, default=None, help=text, **_common(hidden))
        for name, names, text in _SWITCHES
        if name not in without
    ]
    return options


def _common(hidden: bool) -> dict[str, Any]:
    return {"hidden": hidden, "expose_value": False, "callback": _collect}


def _collect(ctx: click.Context, param: click.Parameter, value: object) -> None:
    if value is not None and param.name is not None:
        flags = ctx.find_root().ensure_object(dict)
        flags[param.name] = "true" if value is True else str(value)
