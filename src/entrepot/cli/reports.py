"""What commands print as JSON where `/api/v1` has no shape of its own. Fields are only ever added."""

import msgspec


class Quota(msgspec.Struct, frozen=True):
    """Bytes of a project; `limit` None: no limit."""

    used: int
    limit: int | None = None


class PushReport(msgspec.Struct, frozen=True):
    """One pushed object."""

    schema: int
    ref: str
    digest: str
    size: int
    sent: int
    saved: int
    seconds: float
    type: str
    urls: dict[str, str]
    quota: Quota | None = None


class PullReport(msgspec.Struct, frozen=True):
    """One pulled file."""

    schema: int
    ref: str
    path: str
    digest: str
    size: int
    received: int
    saved: int
    seconds: float


class RemoveReport(msgspec.Struct, frozen=True):
    """One object that is in the trash now."""

    ref: str
    size: int


class LoginReport(msgspec.Struct, frozen=True):
    """A kept token, without its text."""

    server: str
    user: str
    expires: str | None = None


class SettingReport(msgspec.Struct, frozen=True):
    """A setting and where it comes from."""

    name: str
    value: str | None
    source: str


class VersionReport(msgspec.Struct, frozen=True):
    """This program."""

    version: str
    python: str


class PathReport(msgspec.Struct, frozen=True):
    """A file or folder here."""

    path: str


class CacheEntryReport(msgspec.Struct, frozen=True):
    """A blob in the node cache; times in RFC 3339 UTC, `pins` by user id."""

    digest: str
    size: int
    used: str
    verified: str | None
    pins: list[int]
    open: str


class VerdictReport(msgspec.Struct, frozen=True):
    """A blob that was hashed again."""

    digest: str
    size: int
    right: bool


class EvictedReport(msgspec.Struct, frozen=True):
    """A blob that left the node cache, or would."""

    digest: str
    size: int


class CacheStatsReport(msgspec.Struct, frozen=True):
    """Counts of the node cache since it was made, and its size in bytes."""

    hits: int
    misses: int
    waits: int
    repairs: int
    full: int
    bytes_saved: int
    entries: int
    used: int
    limit: int


class ExportReport(msgspec.Struct, frozen=True):
    """A tree of static files that is as the registry is. `written` and `removed` of its `files` changed."""

    schema: int
    path: str
    repositories: int
    files: int
    written: int
    removed: int
    received: int
    saved: int
    seconds: float


class BundleReport(msgspec.Struct, frozen=True):
    """Images in one file."""

    schema: int
    path: str
    digest: str
    size: int
    images: list[str]
    received: int
    saved: int
    seconds: float


class LoadReport(msgspec.Struct, frozen=True):
    """One image of a bundle that is in the registry now."""

    schema: int
    ref: str
    digest: str
    sent: int
    saved: int
    seconds: float
