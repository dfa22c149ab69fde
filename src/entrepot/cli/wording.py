"""Sizes, times and names as people write and read them."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from entrepot.errors import UsageError

_SIZE: Final = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([kmgtp]?)(i?b)?\Z", re.IGNORECASE)
_DURATION: Final = re.compile(r"(\d{1,9})([smhdw]?)\Z")
_POWERS: Final[Mapping[str, int]] = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SECONDS: Final[Mapping[str, int]] = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_HIDDEN: Final = frozenset({"Cc", "Cs"})
_MISLEADING: Final = frozenset({"Cf", "Zl", "Zp", "Co", "Cn"})


def size_of(text: str, flag: str) -> int:
    """Bytes: `10M`, `1.5GiB`, `42`. Powers of 1024. Raises: UsageError, naming the flag."""
    found = _SIZE.match(text.strip())
    if not found:
        raise UsageError(f"{flag} takes a size, not {text!r}", advice=f"{flag} 10M")
    return int(float(found[1]) * 1024 ** _POWERS[found[2].lower()])


def seconds_of(text: str, flag: str) -> int:
    """Seconds: `90`, `30m`, `12h`, `14d`. Raises: UsageError, naming the flag."""
    found = _DURATION.match(text.strip())
    if not found:
        raise UsageError(f"{flag} takes a time, not {text!r}", advice=f"{flag} 14d")
    return int(found[1]) * _SECONDS[found[2]]


def escaped(text: str, *, for_people: bool = True) -> str:
    """`text` without characters that move the cursor or break lines; for people also none that hide or mislead."""
    if text.isascii() and text.isprintable():
        return text
    hidden = _HIDDEN | _MISLEADING if for_people else _HIDDEN
    return "".join(_escape(char) if unicodedata.category(char) in hidden else char for char in text)


def _escape(char: str) -> str:
    short = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
    code = ord(char)
    width, letter = (2, "x") if code < 0x100 else (4, "u") if code < 0x10000 else (8, "U")
    return short.get(char) or f"\\{letter}{code:0{width}x}"
