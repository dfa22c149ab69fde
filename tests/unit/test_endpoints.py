"""What holds for every protocol: each call declares its action, each kind of error has its row."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import pytest

from entrepot import errors
from entrepot.errors import EntrepotError
from entrepot.model import Action
from entrepot.protocols.api import Api, responses as api
from entrepot.protocols.base import KINDS, Endpoint, check_calls, kinds_of, row_of
from entrepot.protocols.data import Data, responses as data
from entrepot.protocols.ops import Ops, endpoint as ops
from entrepot.protocols.s3 import S3, responses as s3

PROTOCOLS: list[type[Endpoint[Any]]] = [Api, Data, S3, Ops]


@dataclass(frozen=True)
class Declared:
    action: ClassVar = Action.GET


@dataclass(frozen=True)
class Forgotten:
    pass


@dataclass(frozen=True)
class Misspelt:
    action: ClassVar = "get"


def endpoint_of(union: Any) -> Endpoint[Any]:
    return type("Some", (Endpoint,), {"name": "some", "calls": union})()  # type: ignore[no-any-return]


def every_error(kind: type[EntrepotError] = EntrepotError) -> list[type[EntrepotError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in every_error(child))]


@pytest.mark.parametrize("wrong", [Forgotten, Misspelt])
def test_a_call_without_an_action_stops_the_start(wrong: type) -> None:
    check_calls(endpoint_of(Declared))
    for union in (wrong, Declared | wrong):
        with pytest.raises(TypeError, match=wrong.__name__):
            check_calls(endpoint_of(union))


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda one: one.name)
def test_every_call_of_every_protocol_declares_one(protocol: type[Endpoint[Any]]) -> None:
    assert kinds_of(protocol)
    for kind in kinds_of(protocol):
        assert isinstance(kind.action, Action), kind


@pytest.mark.parametrize("table", [api, data, s3, ops], ids=lambda one: one.__name__)
def test_every_error_has_a_row_in_every_table(table: ModuleType) -> None:
    for kind in every_error():
        error = kind("GET") if kind.__name__ == "MethodNotAllowed" else kind()
        status, code = row_of(table.ERRORS, error)
        assert 400 <= status < 600
        assert code or table is data
    assert set(KINDS) <= set(every_error())
    assert {kind for kind in vars(errors).values() if isinstance(kind, type)} <= set(every_error()) | {Exception}


@pytest.mark.parametrize("table", [api, data, s3, ops], ids=lambda one: one.__name__)
def test_only_a_fault_of_ours_is_500(table: ModuleType) -> None:
    """An error that falls through to the root's row would look like one."""
    ours = {kind for kind in every_error() if kind is not EntrepotError and row_of(table.ERRORS, made(kind))[0] == 500}
    assert ours == set()


def made(kind: type[EntrepotError]) -> EntrepotError:
    return kind("GET") if kind.__name__ == "MethodNotAllowed" else kind()
