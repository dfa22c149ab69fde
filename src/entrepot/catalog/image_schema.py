"""The tables of repositories: what they are called, their manifests, and where tags point and pointed.

With this module all tables are in `metadata`.
"""

from sqlalchemy import BigInteger, Column, Double, ForeignKey, Index, Integer, Table, Text, text

from entrepot.catalog.schema import Id, Name
from entrepot.catalog.schema import metadata as metadata

# `path` is the whole name as `/v2/` has it: that of a repository of project `default` has no project in front.
repository = Table(
    "repository",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("project.id"), nullable=False, index=True),
    Column("path", Name, nullable=False, unique=True),
    Column("public", Integer, nullable=False, server_default="0"),
    Column("config", Text, nullable=False, server_default="{}"),  # JSON: immutable tags, sparse indexes
    Column("created_at", Double, nullable=False),
    Index("repository_folder", text("(path || '/')")),  # in the order of keys that begin with it
)

# A deleted one stays, with its references as `trash`, until `trash_days` are over.
manifest = Table(
    "manifest",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("repository_id", Id, ForeignKey("repository.id"), nullable=False),
    Column("digest", Text, nullable=False),
    Column("alias", Text),  # the sha512 digest it was last pushed by
    Column("size", BigInteger, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("artifact_type", Text),
    Column("subject", Text),  # digest of the manifest it refers to, as it has it
    Column("annotations", Text, nullable=False),  # JSON
    Column("created_at", Double, nullable=False),
    Column("removed_at", Double),
    Index(
        "manifest_live",
        "repository_id",
        "digest",
        unique=True,
        sqlite_where=text("removed_at IS NULL"),
        postgresql_where=text("removed_at IS NULL"),
    ),
    Index(
        "manifest_subject",
        "repository_id",
        "subject",
        "digest",
        sqlite_where=text("removed_at IS NULL AND subject IS NOT NULL"),
        postgresql_where=text("removed_at IS NULL AND subject IS NOT NULL"),
    ),
    Index(
        "manifest_removed",
        "repository_id",
        "digest",
        sqlite_where=text("removed_at IS NOT NULL"),
        postgresql_where=text("removed_at IS NOT NULL"),
    ),
    Index(
        "manifest_trash",
        "removed_at",
        sqlite_where=text("removed_at IS NOT NULL"),
        postgresql_where=text("removed_at IS NOT NULL"),
    ),
)

tag = Table(
    "tag",
    metadata,
    Column("repository_id", Id, ForeignKey("repository.id"), primary_key=True),
    Column("name", Name, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("principal", Text, nullable=False),  # who moved it there
    Index("tag_digest", "repository_id", "digest"),
    Index("tag_folder", "repository_id", text("(name || '/')")),
    Index("tag_principal", "principal", "repository_id", "name"),
    sqlite_with_rowid=False,
)

# What each tag pointed to, and since when: the last row of a tag is what it means now, empty if it was deleted.
tag_move = Table(
    "tag_move",
    metadata,
    Column("repository_id", Id, ForeignKey("repository.id"), primary_key=True),
    Column("name", Name, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    sqlite_with_rowid=False,
)
