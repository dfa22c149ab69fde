"""Results on stdout: held back until the command has succeeded, so that a failed one leaves nothing there."""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self, TextIO

import msgspec

from entrepot.cli.wording import escaped
from entrepot.client.localfile import file_errors

_IN_MEMORY_BYTES: Final = 8 * 2**20


class Style(Enum):
    """Who reads: a person, a program that splits lines, a program that reads JSON."""

    TERMINAL = "terminal"
    PLAIN = "plain"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Row:
    """One result. `fields`: full values for programs; `cells`: the same for people; `shape`: for JSON."""

    fields: Sequence[str]
    shape: object
    cells: Sequence[str] | None = None
    sentence: str | None = None
    """For people, in place of cells: a line that is no part of a table."""


class Output:
    """Collects rows; `flush` prints them. Rows of a terminal wait in memory, the others on disk if they are many."""

    def __init__(self, style: Style, stream: TextIO | None = None) -> None:
        self.style = style
        self._stream = stream or sys.stdout
        # closed at the end of our own `with`
        self._spool = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, "w+", encoding="utf-8")  # noqa: SIM115
        self._table: list[Sequence[str]] = []
        self._header: Sequence[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def header(self, *names: str) -> None:
        """Names of the columns, for people only."""
        self._header = names

    def add(self, row: Row) -> None:
        """One more result."""
        match self.style:
            case Style.JSON:
                self._spool.write(msgspec.json.encode(row.shape).decode() + "\n")
            case Style.PLAIN:
                self._spool.write("\t".join(escaped(field, for_people=False) for field in row.fields) + "\n")
            case Style.TERMINAL if row.sentence is not None:
                self._spool.write(row.sentence + "\n")
            case Style.TERMINAL:
                self._table.append([escaped(cell) for cell in row.cells or row.fields])

    def flush(self) -> None:
        """Print all. Raises: BrokenPipeError, if nobody reads; DiskFull."""
        for line in _aligned(self._table, self._header):
            self._spool.write(line + "\n")
        self._spool.seek(0)
        with file_errors("standard output"):
            shutil.copyfileobj(self._spool, self._stream)
            self._stream.flush()


def _aligned(table: Sequence[Sequence[str]], header: Sequence[str] | None) -> list[str]:
    if not table:
        return []
    rows = [[name.upper() for name in header], *table] if header else list(table)
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(max(map(len, rows)))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
