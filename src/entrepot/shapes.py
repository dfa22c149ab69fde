"""The JSON shapes of `/api/v1`, the same for the server that writes them and the client that reads them.

Sizes are bytes, times RFC 3339 UTC, digests `sha256:<hex>`. Fields are only ever added.
"""

from typing import Literal

import msgspec


class Shape(msgspec.Struct, frozen=True):
    """Base of all shapes: frozen, fields by name, unknown ones ignored."""


class Problem(Shape, frozen=True):
    """`application/problem+json`: why a call was refused. Source: RFC 9457, specs of the command line, section 6."""

    code: str
    message: str
    status: int = 0
    type: Literal["error"] = "error"
    why: str = ""
    advice: str = msgspec.field(default="", name="try")
    request_id: str = ""


class PartitionShape(Shape, frozen=True):
    """A file system in a SIF, as its header has it."""

    file_system: str
    kind: str
    architecture: str
    size: int


class SifShape(Shape, frozen=True):
    """What a SIF says of itself; nothing of it is proven. `fingerprints`: of the keys that signed."""

    architecture: str
    created: str = ""
    signed: bool = False
    encrypted: bool = False
    fingerprints: list[str] = []
    partitions: list[PartitionShape] = []
    labels: dict[str, str] = {}
    definition: str | None = None


class ObjectShape(Shape, frozen=True):
    """One stored object; `ref` is `object:[PROJECT:]BUCKET/KEY`."""

    ref: str
    project: str
    bucket: str
    key: str
    digest: str
    size: int
    type: str = "application/octet-stream"
    labels: dict[str, str] = {}
    checksums: dict[str, str] = {}
    created: str = ""
    expires: str | None = None
    sniffed: str | None = None
    """Only of `inspect`: the media type the bytes themselves show."""
    sif: SifShape | None = None
    """Only of `inspect`."""


class PrefixShape(Shape, frozen=True):
    """All keys that begin like this, folded by a delimiter."""

    prefix: str


class ObjectPage(Shape, frozen=True):
    """A page of a list; `next` goes into `after=` for the following one."""

    objects: list[ObjectShape] = []
    prefixes: list[PrefixShape] = []
    next: str | None = None


class UploadRequest(Shape, frozen=True):
    """POST /uploads. `to` is `object:[PROJECT:]BUCKET/KEY`; `edges`: sha256 of first + last MiB; `expires` as `14d`."""

    to: str
    size: int | None = None
    sha256: str | None = None
    edges: str | None = None
    type: str | None = None
    labels: dict[str, str] = {}
    expires: str | None = None
    if_absent: bool = False


class Range(Shape, frozen=True):
    """Bytes the server holds: start, stop (without), and their sha256."""

    start: int
    stop: int
    sha256: str


class UploadShape(Shape, frozen=True):
    """An open upload: send parts to `<url>/<offset>`, then POST `<url>/commit`. `maybe`: ask again with the sha256."""

    url: str
    part_size: int
    have: list[Range] = []
    maybe: bool = False


class UploadState(Shape, frozen=True):
    """GET of an upload's URL."""

    state: Literal["open", "completing", "done"]
    have: list[Range] = []
    object: ObjectShape | None = None


class CommitRequest(Shape, frozen=True):
    """POST <url>/commit: the size and, if known, the sha256 of the whole."""

    size: int
    sha256: str | None = None


class Committed(Shape, frozen=True):
    """The object a finished upload, or bytes already here, became. `sent` false: no byte was needed."""

    object: ObjectShape
    sent: bool = True


UploadAnswer = UploadShape | Committed
"""200 of POST /uploads: the upload that is already open, or the object, if its bytes were here."""


class PutAnswer(Shape, frozen=True):
    """`curl -T` answer."""

    url: str
    sha256: str
    size: int


class LoginRequest(Shape, frozen=True):
    """POST /login: a user's name and password; `seconds` of life, at most 12 hours."""

    user: str
    password: str
    seconds: int = 43200


class TokenAnswer(Shape, frozen=True):
    """A new token, shown once."""

    token: str
    jti: str
    user: str
    expires: str


class TokenRequest(Shape, frozen=True):
    """POST /tokens: a token for `user` (admins: anyone; else oneself)."""

    user: str | None = None
    groups: list[str] = []
    job: str | None = None
    expires: str = "12h"


class TokenShape(Shape, frozen=True):
    """A token as lists show it, without its text."""

    jti: str
    user: str
    issued: str
    expires: str
    revoked: bool = False


class RoleShape(Shape, frozen=True):
    """A principal's role in a project."""

    principal: str
    project: str
    role: Literal["guest", "reader", "writer", "maintainer", "owner"]


class Me(Shape, frozen=True):
    """GET /me: who this token is."""

    name: str
    kind: str
    admin: bool = False
    groups: list[str] = []
    job: str | None = None
    project: str = "default"
    projects: list["MyProject"] = []
    expires: str | None = None


class MyProject(Shape, frozen=True):
    """A project as one of its members sees it; `quota` None is none."""

    name: str
    role: str
    used: int
    quota: int | None = None


class ProjectShape(Shape, frozen=True):
    """A project as an admin sees it."""

    name: str
    quota: int | None = None
    used: int = 0
    reserved: int = 0
    objects: int = 0


class ProjectRequest(Shape, frozen=True):
    """POST or PUT of a project: a quota in bytes, None for none."""

    name: str
    quota: int | None = None


class UserShape(Shape, frozen=True):
    """A user or robot."""

    name: str
    kind: str = "user"
    admin: bool = False
    disabled: bool = False
    project: str | None = None
    created: str = ""


class UserRequest(Shape, frozen=True):
    """POST of a user: a password, or None for one that only logs in elsewhere."""

    name: str
    password: str | None = None
    admin: bool = False


class UserChange(Shape, frozen=True):
    """PUT of a user; what is None stays."""

    password: str | None = None
    admin: bool | None = None
    disabled: bool | None = None


class RobotRequest(Shape, frozen=True):
    """POST of a robot: it belongs to one project and has a role there."""

    name: str
    project: str
    role: Literal["guest", "reader", "writer", "maintainer", "owner"] = "writer"


class Secret(Shape, frozen=True):
    """A new robot's secret, shown once."""

    name: str
    secret: str


class KeyRequest(Shape, frozen=True):
    """POST /keys: an access key for `principal` (None: oneself) in `project`."""

    principal: str | None = None
    project: str = "default"


class KeyShape(Shape, frozen=True):
    """An access key; `secret` only in the answer that made it."""

    access: str
    principal: str
    project: str
    created: str = ""
    secret: str | None = None


class BucketRequest(Shape, frozen=True):
    """PUT of a bucket. `public` None: a new one is not, one that is there stays as it is."""

    public: bool | None = None


class BucketShape(Shape, frozen=True):
    """A bucket."""

    project: str
    name: str
    public: bool = False
    created: str = ""


class RepositoryShape(Shape, frozen=True):
    """A repository. `immutable_tags`: patterns with `*` and `?` of tags that never move.

    `sparse_index`: an index may name manifests that are not here.
    """

    path: str
    public: bool = False
    immutable_tags: list[str] = []
    sparse_index: bool = False
    created: str = ""


class RepositoryRequest(Shape, frozen=True):
    """PUT of a repository; what is None stays."""

    public: bool | None = None
    immutable_tags: list[str] | None = None
    sparse_index: bool | None = None


class RepositoryPage(Shape, frozen=True):
    """A page of names the caller may read; `next` goes into `after=` for the following one."""

    repositories: list[str] = []
    next: str | None = None


class TagMove(Shape, frozen=True):
    """What a tag pointed to since then; None: it was deleted."""

    tag: str
    digest: str | None
    principal: str
    at: str


class UndeleteRequest(Shape, frozen=True):
    """POST undelete: a tag, or the digest of a manifest."""

    reference: str


class Undeleted(Shape, frozen=True):
    """The manifest that is live again, or its tag."""

    path: str
    reference: str
    digest: str


class LinkRequest(Shape, frozen=True):
    """POST /links: a signed GET URL of an object, good for `seconds`."""

    ref: str
    seconds: int = 3600


class Link(Shape, frozen=True):
    """A signed URL."""

    url: str
    digest: str
    size: int


class Version(Shape, frozen=True):
    """GET /version: the seed registry's shape."""

    version: str
    api_version: str = msgspec.field(default="2.0.0-alpha.2", name="apiVersion")
