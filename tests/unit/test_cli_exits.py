"""Every error has an exit code and a word, and is told in the same way."""

import inspect
import json

import pytest

from entrepot import errors
from entrepot.cache import store
from entrepot.cli.exits import EXITS, NothingMoved, exit_of, lines, record
from entrepot.cli.topics import TOPICS
from entrepot.client import target
from entrepot.client.answers import CODES
from entrepot.errors import EntrepotError

KINDS = [
    kind
    for module in (errors, target, store)
    for kind in vars(module).values()
    if inspect.isclass(kind) and issubclass(kind, EntrepotError)
]


@pytest.mark.parametrize("kind", [*KINDS, NothingMoved])
def test_every_kind_of_error_has_its_own_exit_code(kind: type[EntrepotError]) -> None:
    number = exit_of(kind("what"))
    assert number != 0
    assert (number == 1) == (kind is EntrepotError)
    assert f"errors/{kind.code}" in TOPICS


def test_numbers_and_words_are_those_of_the_specification() -> None:
    assert {number: kind.code for kind, number in EXITS.items()} == {
        1: "failed", 2: "usage", 3: "not-found", 4: "denied", 5: "temporary", 6: "checksum", 7: "conflict", 8: "limit",
        9: "nothing", 10: "refused",
    }  # fmt: skip


def test_every_code_that_can_come_over_the_wire_is_known_to_the_client() -> None:
    assert {kind.code for kind in EXITS} - {"nothing"} == set(CODES)


def test_an_error_says_what_why_and_what_to_try() -> None:
    error = errors.DigestMismatch("what\x1b[2J", why="why", advice="try")
    assert lines(error) == [
        "error[checksum]: what\\x1b[2J",
        "  why: why",
        "  try: try    more: entrepot help errors/checksum",
    ]
    assert json.loads(json.dumps(record(error))) == {
        "type": "error", "code": "checksum", "exit": 6, "message": "what\x1b[2J", "why": "why", "try": "try",
    }  # fmt: skip
