"""Who asks, what for, and what it is asked of: the words that rights are decided in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final

from entrepot.model import Instant


class Role(IntEnum):
    """What a principal may do in a project; each adds to the one before."""

    GUEST = 1
    READER = 2
    WRITER = 3
    MAINTAINER = 4
    OWNER = 5


class Action(Enum):
    """What is asked for. Every route declares one; `auth.permissions` knows which role it takes."""

    OPEN = "open"
    """For everyone: health, version, log in, the OpenAPI document."""
    KNOWN = "known"
    """For every principal that proved itself."""
    CAPABILITY = "capability"
    """The URL itself is the right: an upload's unguessable address."""
    LIST = "list"
    GET = "get"
    CREATE = "create"
    OVERWRITE = "overwrite"
    DELETE = "delete"
    MEMBERS = "members"
    QUOTA = "quota"
    KEYS = "keys"
    ADMIN = "admin"


class Kind(Enum):
    """What sort of caller a principal is."""

    USER = "user"
    ROBOT = "robot"
    WORKER = "worker"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Grant:
    """The right a signed URL or form carries: these actions on one key, as its maker could do them."""

    actions: frozenset[Action]
    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class Origin:
    """How a request came in, for audit and logs."""

    address: str = ""
    protocol: str = ""
    request_id: str = ""
    operation: str = ""
    """What is asked for, in the words of bucket policies, if its protocol has them."""
    words: "Callable[[], Mapping[str, Sequence[str]]] | None" = None
    """Of the request, what a policy may ask about: values by condition key."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling, with the rights that were looked up for this request."""

    id: int
    kind: Kind
    name: str
    admin: bool = False
    roles: Mapping[int, Role] = field(default_factory=dict)
    """By project id."""
    project: str = "default"
    """Where bare bucket names are looked up."""
    groups: tuple[str, ...] = ()
    job: str | None = None
    """The batch job this token was made for."""
    grant: Grant | None = None
    expires_at: Instant | None = None
    origin: Origin = Origin()


ANONYMOUS: Final = Principal(0, Kind.ANONYMOUS, "anonymous")
SYSTEM: Final = Principal(0, Kind.ANONYMOUS, "system")
"""The server itself, in the audit. It has no rights: jobs do not ask."""


class AreaKind(Enum):
    """Whose part of a shared bucket a key lies in."""

    USER = "user"
    GROUP = "group"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class Area:
    """A part of a bucket that belongs to one user, group or job, whatever roles others have in the project."""

    kind: AreaKind
    name: str
    owner: str = ""
    """Of a job's area: the user whose token wrote there first."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What an action is asked on: a project, a bucket of it, or an area in a bucket."""

    project_id: int
    public: bool = False
    area: Area | None = None
    bucket: str = ""
    key: str = ""
