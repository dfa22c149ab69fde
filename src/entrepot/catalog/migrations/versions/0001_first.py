"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "area",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("segment", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("area_pkey")),
        sa.UniqueConstraint("segment", name=op.f("area_segment_key")),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blob",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("marked_at", sa.Double(), nullable=True),
        sa.Column("verified_at", sa.Double(), nullable=False),
        sa.Column("stamp", sa.Text(), nullable=True),
        sa.Column("edges", sa.Text(), nullable=True),
        sa.Column("md5", sa.Text(), nullable=True),
        sa.Column("sha1", sa.Text(), nullable=True),
        sa.Column("sha512", sa.Text(), nullable=True),
        sa.Column("crc32", sa.Text(), nullable=True),
        sa.Column("crc32c", sa.Text(), nullable=True),
        sa.Column("crc64nvme", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("blob_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "blob_edges",
        "blob",
        ["edges", "size"],
        unique=False,
        sqlite_where=sa.text("edges IS NOT NULL"),
        postgresql_where=sa.text("edges IS NOT NULL"),
    )
    op.create_index(
        "blob_leaving",
        "blob",
        ["state", "marked_at"],
        unique=False,
        sqlite_where=sa.text("state <> 'present'"),
        postgresql_where=sa.text("state <> 'present'"),
    )
    op.create_index(
        "blob_present",
        "blob",
        ["digest"],
        unique=True,
        sqlite_where=sa.text("state = 'present'"),
        postgresql_where=sa.text("state = 'present'"),
    )
    op.create_index(
        "blob_sha512",
        "blob",
        ["sha512"],
        unique=False,
        sqlite_where=sa.text("sha512 IS NOT NULL"),
        postgresql_where=sa.text("sha512 IS NOT NULL"),
    )
    op.create_table(
        "content",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("content_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "dark_file",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("dark_file_pkey")),
    )
    op.create_table(
        "inline_blob",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("bytes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("inline_blob_pkey")),
    )
    op.create_table(
        "job",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("job_pkey")),
    )
    op.create_table(
        "job_owner",
        sa.Column("job", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("principal_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("job", name=op.f("job_owner_pkey")),
    )
    op.create_table(
        "lease",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "holder", name=op.f("lease_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("lease_holder", "lease", ["holder"], unique=False)
    op.create_index(op.f("lease_until"), "lease", ["until"], unique=False)
    op.create_table(
        "object_part",
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("md5", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("checksum", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version", "number", name=op.f("object_part_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("object_part_sha256", "object_part", ["sha256"], unique=False)
    op.create_table(
        "project",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("quota", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reserved", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("objects", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("project_pkey")),
        sa.UniqueConstraint("name", name=op.f("project_name_key")),
    )
    op.create_table(
        "reference",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("place_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "owner_id", "digest", name=op.f("reference_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("reference_digest", "reference", ["digest", "kind", "place_id"], unique=False)
    op.create_table(
        "setting",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("setting_pkey")),
    )
    op.create_table(
        "bucket",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("public", sa.Integer(), server_default="0", nullable=False),
        sa.Column("areas", sa.Integer(), server_default="0", nullable=False),
        sa.Column("versioning", sa.Text(), server_default="", nullable=False),
        sa.Column("config", sa.Text(), server_default="{}", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("bucket_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("bucket_pkey")),
        sa.UniqueConstraint("project_id", "name", name=op.f("bucket_project_id_name_key")),
    )
    op.create_index("bucket_name", "bucket", ["name"], unique=False)
    op.create_table(
        "principal",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=True),
        sa.Column("issuer", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("admin", sa.Integer(), server_default="0", nullable=False),
        sa.Column("disabled", sa.Integer(), server_default="0", nullable=False),
        sa.Column("valid_after", sa.Double(), server_default="0", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("principal_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("principal_pkey")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("principal_issuer_subject_key")),
        sa.UniqueConstraint("name", name=op.f("principal_name_key")),
    )
    op.create_table(
        "repository",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("path", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("public", sa.Integer(), server_default="0", nullable=False),
        sa.Column("config", sa.Text(), server_default="{}", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("repository_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("repository_pkey")),
        sa.UniqueConstraint("path", name=op.f("repository_path_key")),
    )
    op.create_index("repository_folder", "repository", [sa.literal_column("(path || '/')")], unique=False)
    op.create_index(op.f("repository_project_id"), "repository", ["project_id"], unique=False)
    op.create_table(
        "upload",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("principal_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("place_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("part_size", sa.BigInteger(), nullable=True),
        sa.Column("front", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("hash_state", sa.LargeBinary(), nullable=True),
        sa.Column("head", sa.LargeBinary(), nullable=True),
        sa.Column("result", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("upload_project_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("upload_pkey")),
    )
    op.create_index(op.f("upload_expires_at"), "upload", ["expires_at"], unique=False)
    op.create_index(
        "upload_into",
        "upload",
        ["place_id", "name", "id"],
        unique=False,
        sqlite_where=sa.text("place_id IS NOT NULL"),
        postgresql_where=sa.text("place_id IS NOT NULL"),
    )
    op.create_index(
        "upload_open",
        "upload",
        ["project_id"],
        unique=False,
        sqlite_where=sa.text("state = 'open' AND place_id IS NOT NULL"),
        postgresql_where=sa.text("state = 'open' AND place_id IS NOT NULL"),
    )
    op.create_index("upload_wish", "upload", ["principal_id", "place_id", "name"], unique=False)
    op.create_table(
        "access_key",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("principal_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("hidden", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principal.id"], name=op.f("access_key_principal_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("access_key_project_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("access_key_pkey")),
    )
    op.create_index(op.f("access_key_principal_id"), "access_key", ["principal_id"], unique=False)
    op.create_table(
        "manifest",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repository_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("artifact_type", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("annotations", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("removed_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["repository_id"], ["repository.id"], name=op.f("manifest_repository_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("manifest_pkey")),
    )
    op.create_index(
        "manifest_live",
        "manifest",
        ["repository_id", "digest"],
        unique=True,
        sqlite_where=sa.text("removed_at IS NULL"),
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_index(
        "manifest_removed",
        "manifest",
        ["repository_id", "digest"],
        unique=False,
        sqlite_where=sa.text("removed_at IS NOT NULL"),
        postgresql_where=sa.text("removed_at IS NOT NULL"),
    )
    op.create_index(
        "manifest_subject",
        "manifest",
        ["repository_id", "subject", "digest"],
        unique=False,
        sqlite_where=sa.text("removed_at IS NULL AND subject IS NOT NULL"),
        postgresql_where=sa.text("removed_at IS NULL AND subject IS NOT NULL"),
    )
    op.create_index(
        "manifest_trash",
        "manifest",
        ["removed_at"],
        unique=False,
        sqlite_where=sa.text("removed_at IS NOT NULL"),
        postgresql_where=sa.text("removed_at IS NOT NULL"),
    )
    op.create_table(
        "object",
        sa.Column("bucket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("extra", sa.Text(), nullable=False),
        sa.Column("unversioned", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["bucket_id"], ["bucket.id"], name=op.f("object_bucket_id_fkey")),
        sa.PrimaryKeyConstraint("bucket_id", "name", name=op.f("object_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("object_digest", "object", ["digest", "bucket_id", "name"], unique=False)
    op.create_index(
        "object_expires_at",
        "object",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("expires_at IS NOT NULL"),
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    op.create_index("object_version_key", "object", ["version"], unique=True)
    op.create_table(
        "object_version",
        sa.Column("bucket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("extra", sa.Text(), nullable=False),
        sa.Column("unversioned", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("kept", sa.Integer(), nullable=False),
        sa.Column("marker", sa.Integer(), nullable=False),
        sa.Column("removed_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["bucket_id"], ["bucket.id"], name=op.f("object_version_bucket_id_fkey")),
    )
    op.create_index("object_version_name", "object_version", ["bucket_id", "name", "version"], unique=False)
    op.create_index(
        "object_version_trash",
        "object_version",
        ["removed_at"],
        unique=False,
        sqlite_where=sa.text("kept = 0"),
        postgresql_where=sa.text("kept = 0"),
    )
    op.create_index("object_version_version", "object_version", ["version"], unique=True)
    op.create_table(
        "part",
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("area", sa.Text(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("md5", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("checksum", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["upload_id"], ["upload.id"], name=op.f("part_upload_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("upload_id", "number", name=op.f("part_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "piece",
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("stop", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["upload_id"], ["upload.id"], name=op.f("piece_upload_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("upload_id", "start", name=op.f("piece_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "role",
        sa.Column("principal_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("role", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principal.id"], name=op.f("role_principal_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("role_project_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("principal_id", "project_id", name=op.f("role_pkey")),
    )
    op.create_table(
        "tag",
        sa.Column("repository_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repository.id"], name=op.f("tag_repository_id_fkey")),
        sa.PrimaryKeyConstraint("repository_id", "name", name=op.f("tag_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_index("tag_folder", "tag", ["repository_id", sa.literal_column("(name || '/')")], unique=False)
    op.create_index("tag_digest", "tag", ["repository_id", "digest"], unique=False)
    op.create_index("tag_principal", "tag", ["principal", "repository_id", "name"], unique=False)
    op.create_table(
        "tag_move",
        sa.Column("repository_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repository.id"], name=op.f("tag_move_repository_id_fkey")),
        sa.PrimaryKeyConstraint("repository_id", "name", "version", name=op.f("tag_move_pkey")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "token",
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("principal_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("issued_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("revoked", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principal.id"], name=op.f("token_principal_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("jti", name=op.f("token_pkey")),
    )
    op.create_index(op.f("token_expires_at"), "token", ["expires_at"], unique=False)
    op.create_index(op.f("token_principal_id"), "token", ["principal_id"], unique=False)
