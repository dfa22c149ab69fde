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


EXITS: Final[Mapping[type[EntrepotError], tuple[int, str]]] = {  # nearest ancestor first
    EntrepotError: (1, "failed"),
    UsageError: (2, "usage"),
    NotFound: (3, "not-found"),
    Denied: (4, "denied"),
    Unavailable: (5, "temporary"),
    DigestMismatch: (6, "checksum"),
    Conflict: (7, "conflict"),
    LimitReached: (8, "limit"),
    NothingMoved: (9, "nothing"),
    Refused: (10, "refused"),
}


def exit_of(error: EntrepotError) -> tuple[int, str]:
    """Exit code and word of an error, by its nearest ancestor."""
    return next(EXITS[kind] for kind in type(error).__mro__ if kind in EXITS)


def lines(error: EntrepotError, *, color: bool = False) -> list[str]:
    """What, why and what to try."""
    word = exit_of(error)[1]
    label = f"\x1b[1;31merror[{word}]\x1b[0m" if color else f"error[{word}]"
    shown = [f"{label}: {escaped(error.what)}"]
    if error.why:
        shown.append(f"  why: {escaped(error.why)}")
    more = f"more: entrepot help errors/{word}"
    shown.append(f"  try: {escaped(error.advice)}    {more}" if error.advice else f"  {more}")
    return shown


def record(error: EntrepotError) -> dict[str, str | int]:
    """The same for programs."""
    number, word = exit_of(error)
    said = {"message": error.what, "why": error.why, "try": error.advice}
    return {"type": "error", "code": word, "exit": number, **said}
