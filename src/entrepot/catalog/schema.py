"""The tables. Times are seconds since the epoch; digests and checksums lower-case hex; JSON is text we wrote.

`object` holds live names only, all a list page needs in one row; what they pointed to before lies in `object_version`.
A `reference` says why bytes live; a `lease` keeps bytes somebody was told are here. The row decides existence.
Those of repositories are in `image_schema`.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
    }
)

# One order everywhere, by code point: SQLite's BINARY, PostgreSQL's "C".
Name = Text().with_variant(Text(collation="C"), "postgresql")
Id = BigInteger().with_variant(Integer, "sqlite")

project = Table(
    "project",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    Column("quota", BigInteger, nullable=False),
    Column("used", BigInteger, nullable=False, server_default="0"),
    Column("reserved", BigInteger, nullable=False, server_default="0"),
    Column("objects", BigInteger, nullable=False, server_default="0"),
    Column("created_at", Double, nullable=False),
)

principal = Table(
    "principal",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", Text, nullable=False),  # user | robot | worker
    Column("name", Name, nullable=False, unique=True),
    Column("secret_hash", Text),  # user: argon2id; robot: sha256 of 256 random bits
    Column("issuer", Text),  # OIDC users: the provider and the subject it vouches for
    Column("subject", Text),
    Column("project_id", Id, ForeignKey("project.id")),  # robots and workers belong to one
    Column("admin", Integer, nullable=False, server_default="0"),
    Column("disabled", Integer, nullable=False, server_default="0"),
    Column("valid_after", Double, nullable=False, server_default="0"),  # older tokens are dead
    Column("created_at", Double, nullable=False),
    UniqueConstraint("issuer", "subject"),
)

role = Table(
    "role",
    metadata,
    Column("principal_id", Id, ForeignKey("principal.id", ondelete="CASCADE"), primary_key=True),
    Column("project_id", Id, ForeignKey("project.id", ondelete="CASCADE"), primary_key=True),
    Column("role", Integer, nullable=False),
)

access_key = Table(
    "access_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("principal_id", Id, ForeignKey("principal.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("project_id", Id, ForeignKey("project.id", ondelete="CASCADE"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("hidden", Integer, nullable=False),  # only good for URLs and forms we signed ourselves
    Column("created_at", Double, nullable=False),
)

token = Table(
    "token",
    metadata,
    Column("jti", Text, primary_key=True),
    Column("principal_id", Id, ForeignKey("principal.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("issued_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Column("revoked", Integer, nullable=False, server_default="0"),
)

bucket = Table(
    "bucket",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("project.id"), nullable=False),
    Column("name", Name, nullable=False),
    Column("public", Integer, nullable=False, server_default="0"),
    Column("areas", Integer, nullable=False, server_default="0"),
    Column("versioning", Text, nullable=False, server_default=""),  # "" | Enabled | Suspended
    Column("config", Text, nullable=False, server_default="{}"),  # JSON: what each protocol keeps of a bucket
    Column("created_at", Double, nullable=False),
    UniqueConstraint("project_id", "name"),
    Index("bucket_name", "name"),
)

# Gives each user and each first group segment its key segment in a bucket with areas, once.
area = Table(
    "area",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("segment", Name, nullable=False, unique=True),
)

# Whose job a scratch area belongs to: the first who asked to write there.
job_owner = Table(
    "job_owner",
    metadata,
    Column("job", Name, primary_key=True),
    Column("principal_id", Id, nullable=False),  # stays when the user goes: nobody else gets the job
)

_pointer = (
    ("version", BigInteger),
    ("digest", Text),
    ("size", BigInteger),
    ("etag", Text),
    ("content_type", Text),
    ("metadata", Text),
    ("extra", Text),  # JSON: what each protocol keeps of an object
    ("unversioned", Integer),  # its version is called "null"
    ("created_at", Double),
)


def _pointer_columns() -> list[Column[object]]:
    return [Column(name, kind, nullable=False) for name, kind in _pointer]


object_ = Table(
    "object",
    metadata,
    Column("bucket_id", Id, ForeignKey("bucket.id"), primary_key=True),
    Column("name", Name, primary_key=True),
    *_pointer_columns(),
    Column("expires_at", Double),
    Index("object_version_key", "version", unique=True),
    Index("object_digest", "digest", "bucket_id", "name"),  # who may read these bytes; what points to them
    Index(
        "object_expires_at",
        "expires_at",
        sqlite_where=text("expires_at IS NOT NULL"),
        postgresql_where=text("expires_at IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

object_version = Table(
    "object_version",
    metadata,
    Column("bucket_id", Id, ForeignKey("bucket.id"), nullable=False),
    Column("name", Name, nullable=False),
    *_pointer_columns(),
    Column("kept", Integer, nullable=False),  # a version its bucket keeps, not trash
    Column("marker", Integer, nullable=False),  # says that the name was deleted; it has no bytes
    Column("removed_at", Double, nullable=False),
    Index("object_version_version", "version", unique=True),
    Index("object_version_name", "bucket_id", "name", "version"),
    Index("object_version_trash", "removed_at", sqlite_where=text("kept = 0"), postgresql_where=text("kept = 0")),
)

# Where the parts of an object that was sent in parts begin and end in its bytes, and the checksums they had.
object_part = Table(
    "object_part",
    metadata,
    Column("version", BigInteger, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("start", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("md5", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("checksum", Text),  # of the upload's algorithm
    Column("digest", Text, nullable=False),  # of the whole
    Column("algorithm", Text, nullable=False),
    Index("object_part_sha256", "sha256"),
    sqlite_with_rowid=False,
)

blob = Table(
    "blob",
    metadata,
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # present | deleting | quarantined
    Column("created_at", Double, nullable=False),
    Column("marked_at", Double),
    Column("verified_at", Double, nullable=False),
    Column("stamp", Text),  # "size mtime_ns inode" of the file when it was verified
    Column("edges", Text),  # sha256 of first MiB + last MiB
    Column("md5", Text),
    Column("sha1", Text),
    Column("sha512", Text),
    Column("crc32", Text),
    Column("crc32c", Text),
    Column("crc64nvme", Text),
    Index(
        "blob_present",
        "digest",
        unique=True,
        sqlite_where=text("state = 'present'"),
        postgresql_where=text("state = 'present'"),
    ),
    Index(
        "blob_edges",
        "edges",
        "size",
        sqlite_where=text("edges IS NOT NULL"),
        postgresql_where=text("edges IS NOT NULL"),
    ),
    Index(
        "blob_sha512",
        "sha512",
        sqlite_where=text("sha512 IS NOT NULL"),
        postgresql_where=text("sha512 IS NOT NULL"),
    ),
    Index(
        "blob_leaving",
        "state",
        "marked_at",
        sqlite_where=text("state <> 'present'"),
        postgresql_where=text("state <> 'present'"),
    ),
    sqlite_with_rowid=False,
)

inline_blob = Table(
    "inline_blob",
    metadata,
    Column("key", Text, primary_key=True),
    Column("bytes", LargeBinary, nullable=False),
)

# What the bytes of a digest are, read from them once: their media type, and what a header in them says.
content = Table(
    "content",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("type", Text),
    Column("facts", Text, nullable=False),  # JSON
    sqlite_with_rowid=False,
)

reference = Table(
    "reference",
    metadata,
    Column("kind", Text, primary_key=True),  # object | manifest | trash: a manifest that was deleted
    Column("owner_id", BigInteger, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("place_id", Id, nullable=False),  # the bucket or repository it is in
    Column("size", BigInteger, nullable=False),
    Index("reference_digest", "digest", "kind", "place_id"),
    sqlite_with_rowid=False,
)

lease = Table(
    "lease",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("holder", Text, primary_key=True),
    Column("until", Double, nullable=False, index=True),
    Index("lease_holder", "holder"),
    sqlite_with_rowid=False,
)

upload = Table(
    "upload",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),  # open | completing | done | failed
    Column("project_id", Id, ForeignKey("project.id"), nullable=False),
    Column("principal_id", Id, nullable=False),
    Column("place_id", Id),  # the bucket or repository it goes to; a request alone has none
    Column("name", Name),
    Column("size", BigInteger),
    Column("reserved", BigInteger, nullable=False),
    Column("facts", Text, nullable=False),  # what the name will carry: type, labels, claims
    Column("part_size", BigInteger),  # numbered parts of this size lie at their place in the staging area
    Column("front", BigInteger, nullable=False, server_default="0"),
    Column("hash_state", LargeBinary),
    Column("head", LargeBinary),  # all its bytes, while they are few: there is no staging area yet
    Column("result", BigInteger),  # the version a finished upload became
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Index("upload_wish", "principal_id", "place_id", "name"),
    Index(
        "upload_into",
        "place_id",
        "name",
        "id",
        sqlite_where=text("place_id IS NOT NULL"),
        postgresql_where=text("place_id IS NOT NULL"),
    ),
    Index(
        "upload_open",
        "project_id",
        sqlite_where=text("state = 'open' AND place_id IS NOT NULL"),
        postgresql_where=text("state = 'open' AND place_id IS NOT NULL"),
    ),
)

piece = Table(
    "piece",
    metadata,
    Column("upload_id", Text, ForeignKey("upload.id", ondelete="CASCADE"), primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("stop", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    sqlite_with_rowid=False,
)

# Numbered parts that were acknowledged; `area` is the staging area a part has to itself, empty for the upload's own.
part = Table(
    "part",
    metadata,
    Column("upload_id", Text, ForeignKey("upload.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("area", Text, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("md5", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("checksum", Text),
    Column("created_at", Double, nullable=False),
    sqlite_with_rowid=False,
)

dark_file = Table(  # files without a row, as the last look found them
    "dark_file",
    metadata,
    Column("key", Text, primary_key=True),
    Column("seen_at", Double, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),  # grows with time
    Column("at", Double, nullable=False),
    Column("principal", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("project_id", Id),
    Column("name", Text),
    Column("digest", Text),
    Column("protocol", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    sqlite_with_rowid=False,
)

job = Table(
    "job",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text),
    Column("until", Double, nullable=False),
    Column("next_at", Double, nullable=False),
)

setting = Table(
    "setting",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
