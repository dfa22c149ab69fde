"""The catalog on each database: an empty one for every test."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from entrepot.catalog.database import Catalog
from entrepot.catalog.image_schema import metadata
from entrepot.catalog.postgres import PostgresCatalog
from entrepot.catalog.sqlite import SqliteCatalog
from entrepot.catalog.upgrade import upgrade

Databases = Callable[[], str]


@contextmanager
def empty_sqlite(request: pytest.FixtureRequest) -> Iterator[str]:
    folder: Path = request.getfixturevalue("tmp_path")
    url = f"sqlite:///{folder}/catalog.db"
    upgrade(url)
    yield url


@contextmanager
def empty_postgres(request: pytest.FixtureRequest) -> Iterator[str]:
    url: str = request.getfixturevalue("postgres_url")
    upgrade(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        names = ", ".join(f'"{table}"' for table in metadata.tables)
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    engine.dispose()
    yield url


DATABASES = {"sqlite": empty_sqlite, "postgres": empty_postgres}


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty database at today's schema."""
    with DATABASES[request.param](request) as url:
        yield url


@pytest.fixture
async def catalog(database: str) -> AsyncIterator[Catalog]:
    """The catalog over it."""
    path = database.removeprefix("sqlite:///")
    made: Catalog = SqliteCatalog(path) if path != database else PostgresCatalog(database)
    yield made
    await made.close()
