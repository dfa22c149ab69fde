"""What every test may ask for."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningServer, new_postgres, running_postgres, running_server


def needs(tool: str, package: str) -> str:
    """Path of a program, or of a file by its absolute path, that a test cannot do without.

    Without it the test skips, naming the Debian package; where CI=true it fails: there `dev` should have installed it.
    """
    search = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    found = tool if Path(tool).is_absolute() and Path(tool).exists() else shutil.which(tool, path=search)
    if found is None:
        missing = f"{tool} is missing; install {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing, allow_module_level=True)
    return found


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server over http for the whole run. A test makes users and buckets of its own in it."""
    with running_server(tmp_path_factory.mktemp("server") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The same over TLS, with a certificate of its own; `cafile` is what clients should trust."""
    with running_server(tmp_path_factory.mktemp("tls-server") / "data", tls=True) as running:
        yield running


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty PostgreSQL database."""
    bin_folder = Path(needs("/usr/lib/postgresql/15/bin/initdb", "postgresql-15")).parent
    folder = Path(tempfile.mkdtemp(prefix="entrepot-pg-"))
    try:
        with running_postgres(folder, bin_folder) as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[RunningServer]:
    """As `server`, with its catalog in PostgreSQL."""
    data = tmp_path_factory.mktemp("postgres-server") / "data"
    with new_postgres(postgres_url) as url, running_server(data, environ={"ENTREPOT_DB": url}) as running:
        assert not (data / "catalog.db").exists()
        yield running
