"""What the tests of S3 clients and of registry clients may ask for."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.oci_accounts import new_registry_account
from tests.running import RunningServer
from tests.s3_accounts import Account, boto3_of, new_account


@pytest.fixture(params=["http", "tls"])
def account(request: pytest.FixtureRequest, tmp_path: Path) -> Account:
    """An account reached over http, and one over TLS."""
    server: RunningServer = request.getfixturevalue("server" if request.param == "http" else "tls_server")
    return new_account(server, tmp_path)


@pytest.fixture
def http_account(server: RunningServer, tmp_path: Path) -> Account:
    """An account over http, where the transport does not matter."""
    return new_account(server, tmp_path)


@pytest.fixture
def s3(account: Account) -> Iterator[Any]:
    """The account's client."""
    with closing(boto3_of(account)) as client:
        yield client


@pytest.fixture
def bucket(account: Account, s3: Any) -> str:
    """An empty bucket."""
    name = account.name()
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["http", "tls"])
def registry_account(request: pytest.FixtureRequest, tmp_path: Path) -> Account:
    """A robot that maintains a project with nothing in it, reached over http, and one over TLS."""
    server: RunningServer = request.getfixturevalue("server" if request.param == "http" else "tls_server")
    return new_registry_account(server, tmp_path)


@pytest.fixture
def http_registry_account(server: RunningServer, tmp_path: Path) -> Account:
    """The same over http, where the transport does not matter."""
    return new_registry_account(server, tmp_path)
