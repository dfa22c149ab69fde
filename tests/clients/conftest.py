"""What the tests of S3 clients may ask for."""

from pathlib import Path

import pytest

from tests.running import RunningServer
from tests.s3_accounts import Account, new_account


@pytest.fixture(params=["http", "tls"])
def account(request: pytest.FixtureRequest, tmp_path: Path) -> Account:
    """An account reached over http, and one over TLS."""
    server: RunningServer = request.getfixturevalue("server" if request.param == "http" else "tls_server")
    return new_account(server, tmp_path)


@pytest.fixture
def http_account(server: RunningServer, tmp_path: Path) -> Account:
    """An account over http, where the transport does not matter."""
    return new_account(server, tmp_path)
