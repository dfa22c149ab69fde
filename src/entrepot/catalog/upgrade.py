"""Bring a database to the schema of this version."""

import os

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine


def upgrade(url: str) -> None:
    """Run the missing migrations, each in a transaction. `url` as SQLAlchemy writes them."""
    config = Config()
    config.set_main_option("script_location", os.path.join(os.path.dirname(__file__), "migrations").replace("%", "%%"))
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()
