"""A group of commands that are imported when they are called; its help knows them by one line each."""

from importlib import import_module
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from entrepot.errors import Unsupported


class Line(NamedTuple):
    """A command of a group: where it is, and what it does, for help and completion. `module` empty: a later version."""

    module: str
    name: str
    help: str


class LazyGroup(click.Group):
    """Commands by name in the order they are shown. `later`: names that this version only knows."""

    def __init__(self, *args: Any, lines: dict[str, Line], later: frozenset[str] = frozenset(), **rest: Any) -> None:
        super().__init__(*args, **rest)
        self._lines = lines
        self._later = later

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in order."""
        return list(self._lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now. Raises: Unsupported, for one of a later version."""
        line = self._lines.get(cmd_name)
        if line is None:
            if cmd_name in self._later:
                raise Unsupported(f"`{ctx.command_path} {cmd_name}` is not in this version yet")
            return None
        command = getattr(import_module(line.module), line.name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line.help) for name, line in self._lines.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands, then flags."""
        names = [(name, line.help) for name, line in self._lines.items() if name.startswith(incomplete)]
        return [CompletionItem(name, help=text) for name, text in names] + click.Command.shell_complete(
            self, ctx, incomplete
        )
