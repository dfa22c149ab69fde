"""JSON as security needs it: UTF-8, no half surrogates, no key twice, no NaN, no more than 64 levels."""

import json
import re
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 64
_BRACKETS: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{\]}]', re.DOTALL)


def read(data: bytes) -> Any:
    """The value `data` holds. Raises: ValueError, saying why."""
    text = data.decode()
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} levels")
    value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    if "\\ud" in text or "\\uD" in text:
        _refuse_half_surrogates(value)
    return value


def read_object(data: bytes) -> dict[str, Any]:
    """The JSON object `data` holds. Raises: ValueError."""
    value = read(data)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _refuse_half_surrogates(value: Any) -> None:
    """They are no text, and nothing could store them. Raises: ValueError."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair") from None


def read_body(data: bytes) -> dict[str, Any]:
    """As `read_object`, for the body of a request: no NUL, which not every database can keep. Raises: ValueError."""
    if b"\\u0000" in data:
        raise ValueError("a NUL")
    return read_object(data)


def _depth(text: str) -> int:
    depth = deepest = 0
    for match in _BRACKETS.finditer(text):
        bracket = match.group()
        depth += 1 if bracket in "[{" else -1 if bracket in "]}" else 0
        deepest = max(deepest, depth)
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key twice")
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")
