"""The pages about the API and the command line name what there is, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from entrepot.cli.exits import EXITS, INTERRUPTED
from entrepot.cli.program import root
from entrepot.protocols.api.requests import ROUTES
from entrepot.protocols.api.responses import ERRORS

DOCS = Path(__file__).parents[2] / "docs"
CALL = re.compile(r"`((?:GET|HEAD|PUT|POST|DELETE)(?:, (?:GET|HEAD|PUT|POST|DELETE))*) (/[^`]*)`")
ELSEWHERE = {"/", "/livez", "/readyz", "/metrics", "/version", "/{bucket}/{key}", "/{bucket}", "/api/v1/openapi.json"}


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Each command that does something, by the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found
        if isinstance(found, click.Group):
            yield from commands(found, f"{path}{name} ")
        else:
            yield f"{path}{name}", found


def options(command: click.Command) -> set[str]:
    """The flags of a command, its long and short names."""
    found = (option for option in command.params if isinstance(option, click.Option))
    return {word for option in found for word in (*option.opts, *option.secondary_opts)}


def test_the_page_of_the_api_has_every_call_and_no_other() -> None:
    page = (DOCS / "api.md").read_text()
    said = {(method, path) for methods, path in CALL.findall(page) for method in methods.split(", ")}
    there = {(method, f"/{route.path.replace('*', '')}") for route in ROUTES for method in route.methods.split()}
    assert {call for call in said if call[1] not in ELSEWHERE} == there


def test_the_page_of_the_api_has_every_status_and_code() -> None:
    section = (DOCS / "api.md").read_text().partition("\n## Errors\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\d, ]+) \| `([\w-]+)` \|", section, re.MULTILINE)
    said = {(int(status), code) for statuses, code in rows for status in statuses.split(", ")}
    assert said == {(status, kind.code) for kind, (status, _) in ERRORS.items()}


def test_the_page_of_the_command_line_has_every_command() -> None:
    page = (DOCS / "cli.md").read_text()
    assert [words for words, _ in commands(root) if not re.search(rf"`{re.escape(words)}[` ]", page)] == []


def test_the_page_of_the_command_line_has_every_flag_and_no_other() -> None:
    page = (DOCS / "cli.md").read_text()
    said = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", page))
    there = options(root).union(*(options(command) for words, command in commands(root) if words != "serve"))
    assert said - there == set()
    assert {flag for flag in there if flag.startswith("--")} - said - {"--help"} == set()


def test_the_page_of_the_command_line_has_every_exit_code() -> None:
    page = (DOCS / "cli.md").read_text().partition("\n## Exit codes\n")[2]
    said = {int(code): word for code, word in re.findall(r"^\| (\d+) \| (?:`([\w-]+)`)? ?\|", page, re.MULTILINE)}
    assert said == {0: "", INTERRUPTED: "", **{number: kind.code for kind, number in EXITS.items()}}
