"""Every way a call can be refused has a status of its own in every protocol; 500 is left for faults of ours."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import entrepot
from entrepot.errors import EntrepotError
from entrepot.protocols.api import responses as api
from entrepot.protocols.base import KINDS, ErrorTable, row_of
from entrepot.protocols.data import responses as data
from entrepot.protocols.oci import responses as oci
from entrepot.protocols.registry import responses as registry
from entrepot.protocols.s3 import responses as s3

SERVER_SIDE = ("entrepot.auth", "entrepot.catalog", "entrepot.protocols", "entrepot.services", "entrepot.storage")


def kinds_below(kind: type[EntrepotError]) -> Iterator[type[EntrepotError]]:
    for below in kind.__subclasses__():
        yield below
        yield from kinds_below(below)


def all_kinds() -> list[type[EntrepotError]]:
    """Every error a protocol may meet, wherever it is defined."""
    for module in pkgutil.walk_packages(entrepot.__path__, "entrepot."):
        if module.name.startswith(SERVER_SIDE) and "migrations" not in module.name:
            importlib.import_module(module.name)
    found = {*KINDS, *kinds_below(EntrepotError)} - {EntrepotError}
    return [kind for kind in found if kind.__module__ == "entrepot.errors" or kind.__module__.startswith(SERVER_SIDE)]


@pytest.mark.parametrize(
    "table",
    [api.ERRORS, data.ERRORS, s3.ERRORS, oci.ERRORS, registry.ERRORS],
    ids=["api", "data", "s3", "oci", "registry"],
)
def test_no_kind_of_refusal_is_taken_for_a_fault(table: ErrorTable) -> None:
    kinds = all_kinds()
    assert len(kinds) > 25
    assert [kind.__name__ for kind in kinds if row_of(table, kind.__new__(kind))[0] == 500] == []
    assert row_of(table, EntrepotError())[0] == 500


def test_the_data_api_answers_404_for_unknown_routes_alone() -> None:
    """To the client 404 means "Invalid PROMINENCE URL"."""
    found = [kind.__name__ for kind in all_kinds() if row_of(data.ERRORS, kind.__new__(kind))[0] == 404]
    assert found == ["NoSuchRoute"]


def test_a_url_that_is_no_longer_good_is_403_and_nothing_else() -> None:
    """Workers renew on 403 alone."""
    found = {kind.__name__ for kind in all_kinds() if row_of(s3.ERRORS, kind.__new__(kind))[0] == 403}
    assert {"Expired", "WrongSignature", "ClockSkewed", "Denied", "Unauthenticated", "QuotaExceeded"} <= found
    assert found.isdisjoint({"NotFound", "NoBucket", "DigestMismatch", "TooLarge", "Busy", "DiskFull"})
