"""What the OpenAPI document says holds: schemathesis asks every operation, with good and with broken values.

On a server of its own: it makes and unmakes whatever it can think of, as admin.
"""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from entrepot.protocols.api import openapi
from tests.calling import Api, admin
from tests.running import RunningServer, running_server

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("schema") / "data") as running:
        yield running


schema = schemathesis.openapi.from_dict(openapi.document())


def test_the_document_is_the_one_the_server_gives(own: RunningServer) -> None:
    assert Api(own).done("GET", "/openapi.json") == schema.raw_schema


@schema.parametrize()
@settings(
    max_examples=12, derandomize=True, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_an_operation_answers_as_its_document_says(case: schemathesis.Case, own: RunningServer) -> None:
    headers = {"Authorization": f"Bearer {own.admin_token}"}
    case.call_and_validate(own.url, checks=CHECKS, headers=headers, timeout=10)


def test_after_all_that_the_admin_is_still_there(own: RunningServer) -> None:
    """Else the answers above were all 401, and nothing was tried."""
    assert admin(own).done("GET", "/me").name == "admin"
    assert admin(own).done("GET", "/users")
