"""The suites whose every test that asks for `server` runs on SQLite, then again on PostgreSQL."""

from collections.abc import Iterator

import pytest

from tests.protocols.rights import World, end_world, new_world
from tests.running import RunningServer

ON_BOTH = set(
    """
    test_api test_api_accounts test_api_already_here test_api_objects test_api_repositories test_api_uploads
    test_areas_hold test_data test_data_images test_files test_library test_registry_rights test_rights
    test_s3_hostile test_s3_locks test_s3_pages test_s3_rights test_signed_urls
    """.split()
)
ONCE = {
    "test_a_link_is_a_get_of_one_name_until_it_ends", "test_a_right_password_forgets_the_wrong_ones",
    "test_a_token_ends_at_its_second", "test_ten_wrong_passwords_and_the_next_must_wait_but_nobody_else",
    "test_whatever_is_wrong_with_a_log_in_the_answer_is_the_same",
}  # fmt: skip
"""Seconds of waiting or of hashing passwords, that say nothing of the catalog."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    module, name = metafunc.module.__name__.rpartition(".")[2], metafunc.function.__name__
    if "server" in metafunc.fixturenames and module in ON_BOTH and name not in ONCE:
        metafunc.parametrize("database", ["sqlite", "postgres"], scope="module")


@pytest.fixture(scope="module")
def database() -> str:
    """Where the catalog of `server` is, for a test that runs once."""
    return "sqlite"


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, server: RunningServer, database: str) -> RunningServer:
    """The one for the whole run with its catalog there."""
    if database == "sqlite":
        return server
    found: RunningServer = request.getfixturevalue("postgres_server")
    return found


@pytest.fixture(scope="module")
def world(server: RunningServer) -> Iterator[World]:
    """One of every principal and every place on `server`."""
    found = new_world(server)
    yield found
    end_world(found)
