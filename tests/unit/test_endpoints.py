"""What holds for every protocol before it serves a request: each kind of call declares the action it needs."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from entrepot.errors import EntrepotError
from entrepot.principals import Action
from entrepot.protocols.api import Api
from entrepot.protocols.base import Endpoint, check_calls, kinds_of, row_of
from entrepot.protocols.data import Data
from entrepot.protocols.oci import Oci
from entrepot.protocols.ops import Ops
from entrepot.protocols.ops.endpoint import ERRORS
from entrepot.protocols.registry import Registry
from entrepot.protocols.s3 import S3

PROTOCOLS: list[type[Endpoint[Any]]] = [Api, Data, S3, Oci, Registry, Ops]


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
    """A protocol with those calls."""
    kind: type[Endpoint[Any]] = type("Some", (Endpoint,), {"name": "some", "calls": union})
    return kind()


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
        assert isinstance(kind.action, Action), kind  # type: ignore[attr-defined]


def test_every_error_has_a_row_in_the_table_of_operations_too() -> None:
    for kind in every_error():
        assert 400 <= row_of(ERRORS, kind.__new__(kind))[0] < 600
