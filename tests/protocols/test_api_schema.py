"""What the OpenAPI document says holds: schemathesis asks every operation, with good and with broken values.

On a server of its own: it makes and unmakes whatever it can think of, as admin. So that it does more than guess names,
it is told a few that exist; `admin` is not among them, as it would lock itself out. Every request has the admin's
token: that no other token does is what `test_rights.py` is for.
"""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from entrepot.protocols.api import openapi
from tests.calling import Api, admin, sha256
from tests.running import RunningServer, running_server

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
BYTES = b"some bytes"
REAL = {
    "bucket": ["box", "default:box", "open"], "key": ["a", "b c", "d/e"], "digest": [sha256(BYTES)],
    "project": ["default"], "principal": ["someone", "robot"], "name": ["someone", "robot", "spare"],
}  # fmt: skip
MEMBERS = {
    ("UploadRequest", "to"): ["box/a", "open/new"], ("LinkRequest", "ref"): ["box/a", "open/none"],
    ("TokenRequest", "user"): ["someone", None], ("KeyRequest", "principal"): ["someone", None],
    ("KeyRequest", "project"): ["default", "spare"], ("LoginRequest", "user"): ["someone", "robot"],
}  # fmt: skip


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("schema") / "data") as running:
        api = admin(running)
        running.user("someone", role="maintainer")
        api.done("POST", "/projects", {"name": "spare"}, 201)
        api.done("POST", "/robots", {"name": "robot", "project": "default"}, 201)
        for name in ("box", "open"):
            running.bucket(name, public=name == "open")
            api.put(f"{name}/a", BYTES)
        yield running


def grounded(document: dict[str, Any]) -> dict[str, Any]:
    """The document with names that exist in place of any text, and without the mention of tokens."""
    found = copy.deepcopy(document)
    for item in found["paths"].values():
        for operation in item.values():
            operation.pop("security", None)
            for parameter in operation["parameters"]:
                if parameter["in"] == "path" and parameter["name"] in REAL:
                    parameter["schema"]["enum"] = REAL[parameter["name"]]
    for (shape, member), values in MEMBERS.items():
        found["components"]["schemas"][shape]["properties"][member]["enum"] = values
    return found


SCHEMA = schemathesis.openapi.from_dict(grounded(openapi.document()))
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]  # type: ignore[union-attr]


def test_the_document_is_the_one_the_server_gives(own: RunningServer) -> None:
    assert Api(own).done("GET", "/openapi.json") == openapi.document()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_an_operation_answers_as_its_document_says(operation: Any, own: RunningServer) -> None:
    headers = {"Authorization": f"Bearer {own.admin_token}"}

    @settings(
        max_examples=8, derandomize=True, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def ask(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(own.url, checks=CHECKS, headers=headers, timeout=10)

    ask()


def test_after_all_that_the_admin_is_still_there(own: RunningServer) -> None:
    """Else the answers above were all 401, and nothing was tried."""
    assert admin(own).done("GET", "/me").name == "admin"
