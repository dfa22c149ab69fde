"""The registry's own suite: what all its modules ask for, and which of them run on more than one server."""

import pytest

from tests.registry import ALGORITHMS, Client, People, new_people
from tests.running import RunningServer

SERVERS = {
    "test_registry_pushes": ("sqlite", "postgres", "tls"),
    "test_registry_manifests": ("sqlite", "postgres"),
    "test_registry_tags": ("sqlite", "postgres"),
    "test_registry_roles": ("sqlite", "postgres"),
    "test_registry_log_in": ("sqlite", "tls"),
    "test_registry_review": ("sqlite", "postgres"),
}
"""All others run on SQLite; the data sets say themselves where."""
ONCE = {
    "test_what_is_no_json_object_of_version_two_is_no_manifest", "test_levels_without_end_are_refused",
    "test_63_levels_below_the_first_are_fine", "test_a_key_that_is_there_twice_is_refused",
    "test_other_types_of_manifest_are_refused", "test_schema_one_is_refused",
    "test_both_layers_and_manifests_are_refused",
    "test_a_type_that_is_not_the_one_in_the_body_is_refused", "test_members_of_another_kind_are_refused",
    "test_the_type_is_the_one_sent_else_the_own_else_that_of_the_shape", "test_a_descriptor_without_a_size_is_refused",
    "test_a_descriptor_of_no_digest_we_know_is_refused", "test_data_in_a_descriptor_is_what_the_digest_says",
    "test_a_number_of_tags_that_is_none_is_refused", "test_a_tag_that_cannot_be_one_is_told_so",
    "test_a_wrong_password_gets_no_token", "test_a_disabled_user_is_out_at_once",
    "test_no_upload_is_hashed_by_what_nobody_knows", "test_a_proof_that_is_wrong_is_challenged_everywhere",
    "test_a_tag_is_read_as_it_was_at_any_second", "test_each_role_may_do_what_it_may",
}  # fmt: skip
"""What is decided before a catalog is asked, and seconds of waiting or of hashing passwords."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test says where it runs, also those that run once: else they would share the module's first server."""
    module, name = metafunc.module.__name__.rpartition(".")[2], metafunc.function.__name__
    if "server" in metafunc.fixturenames and not {"pushed", "made"} & set(metafunc.fixturenames):
        servers = ("sqlite",) if name in ONCE else SERVERS.get(module, ("sqlite",))
        metafunc.parametrize("database", servers, scope="module")


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, database: str) -> RunningServer:
    """The one for the whole run over http, or the one over TLS."""
    found: RunningServer = request.getfixturevalue("tls_server" if database == "tls" else "server")
    return found


@pytest.fixture(scope="module")
def people(server: RunningServer) -> People:
    """One of each role, in a project of their own."""
    return new_people(server)


@pytest.fixture
def client(people: People) -> Client:
    """A maintainer's, for a repository that is not there yet."""
    return people.client()


@pytest.fixture(params=ALGORITHMS)
def algorithm(request: pytest.FixtureRequest) -> str:
    """What digests are made by."""
    found: str = request.param
    return found
