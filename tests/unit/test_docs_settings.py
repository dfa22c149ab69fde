"""The table of settings in the docs says what the code does."""

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NamedTuple

import click

from entrepot.cli.serve import serve
from entrepot.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "operate.md"
ROW = re.compile(
    r"\| `(?P<name>\w+)` \| (?:`(?P<option>[\w-]+)`)? ?\| (?:`(?P<default>[^`]*)`)? ?\| (?P<meaning>.+) \|\Z"
)


class Row(NamedTuple):
    """One line of the table."""

    name: str
    option: str
    default: str
    meaning: str


def table() -> list[Row]:
    section = PAGE.read_text().partition("\n## Settings\n")[2].partition("\n## ")[0]
    found = (ROW.match(line) for line in section.splitlines())
    return [Row(*(row[group] or "" for group in Row._fields)) for row in found if row]


def written(value: Any) -> str:
    """A default as the table writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value in ("", ()) else str(value)


def test_every_setting_is_in_the_table_in_order_with_its_default() -> None:
    assert [(row.name, row.default) for row in table()] == [
        (one.name, written(one.default)) for one in fields(Settings) if one.default is not MISSING
    ]
    assert len(table()) == len(fields(Settings))


def test_every_option_of_serve_is_in_the_table_and_no_other() -> None:
    options = {option.name: option.opts[0] for option in serve.params if isinstance(option, click.Option)}
    assert options.pop("config") == "--config"
    assert {row.name: row.option for row in table() if row.option} == options
    assert "`--config`" in PAGE.read_text()


def test_every_setting_has_its_meaning() -> None:
    assert [row.name for row in table() if not row.meaning.strip()] == []
