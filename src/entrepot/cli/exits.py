"""Errors at the edge: exit code, one word, and the lines people read."""

from collections.abc import Mapping
from typing import Final

from entrepot.cli.wording import escaped
from entrepot.errors import (
    Conflict,
    Denied,
    DigestMismatch,
    EntrepotError,
    LimitReached,
    NotFound,
    Refused,
    Unavailable,
    UsageError,
)

INTERRUPTED: Final = 130


class NothingMoved(EntrepotError):
    """All was there already, and `--error-on-no-transfer` was given."""

    code = "nothing"


EXITS: Final[Mapping[type[EntrepotError], int]] = {  # nearest ancestor first
    EntrepotError: 1,
    UsageError: 2,
    NotFound: 3,
    Denied: 4,
    Unavailable: 5,
    DigestMismatch: 6,
    Conflict: 7,
    LimitReached: 8,
    NothingMoved: 9,
    Refused: 10,
}


def exit_of(error: EntrepotError) -> int:
    """Exit code of an error, by its nearest ancestor."""
    return next(EXITS[kind] for kind in type(error).__mro__ if kind in EXITS)


def lines(error: EntrepotError, *, color: bool = False) -> list[str]:
    """What, why and what to try."""
    label = f"\x1b[1;31merror[{error.code}]\x1b[0m" if color else f"error[{error.code}]"
    shown = [f"{label}: {escaped(error.what)}"]
    if error.why:
        shown.append(f"  why: {escaped(error.why)}")
    more = f"more: entrepot help errors/{error.code}"
    shown.append(f"  try: {escaped(error.advice)}    {more}" if error.advice else f"  {more}")
    return shown


def record(error: EntrepotError) -> dict[str, str | int]:
    """The same for programs."""
    said = {"message": error.what, "why": error.why, "try": error.advice}
    return {"type": "error", "code": error.code, "exit": exit_of(error), **said}
