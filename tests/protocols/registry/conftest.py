"""The views of repositories: who looks, and at what."""

import pytest

from tests.registry import Client, People, new_people
from tests.running import RunningServer


@pytest.fixture(scope="module")
def people(server: RunningServer) -> People:
    """One of each role, in a project of their own."""
    return new_people(server)


@pytest.fixture
def client(people: People) -> Client:
    """A maintainer's, for a repository that is not there yet, whose name has two parts."""
    return people.client()
