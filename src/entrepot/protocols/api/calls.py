"""What can be asked of `/api/v1`: one value for each kind of call, with the action it needs."""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from entrepot.principals import Action


@dataclass(frozen=True, slots=True)
class ShowOpenApi:
    """This document."""

    action: ClassVar = Action.OPEN


@dataclass(frozen=True, slots=True)
class LogIn:
    """A token for a name and a password."""

    action: ClassVar = Action.OPEN


@dataclass(frozen=True, slots=True)
class ShowMe:
    """Who this token is, and its projects."""

    action: ClassVar = Action.KNOWN


@dataclass(frozen=True, slots=True)
class ListTokens:
    """Tokens that have not expired: one's own, for admins all."""

    action: ClassVar = Action.KNOWN


@dataclass(frozen=True, slots=True)
class AddToken:
    """A token for oneself; admins: for anybody, with groups or a job."""

    action: ClassVar = Action.KNOWN


@dataclass(frozen=True, slots=True)
class RevokeToken:
    """That token is dead."""

    jti: str
    action: ClassVar = Action.KNOWN


@dataclass(frozen=True, slots=True)
class ListUsers:
    """Every user."""

    action: ClassVar = Action.ADMIN


@dataclass(frozen=True, slots=True)
class AddUser:
    """A new user."""

    action: ClassVar = Action.ADMIN


@dataclass(frozen=True, slots=True)
class ChangeUser:
    """Another password, or admin, or disabled."""

    name: str
    action: ClassVar = Action.KNOWN


@dataclass(frozen=True, slots=True)
class RemoveUser:
    """The user is gone; what it stored stays."""

    name: str
    action: ClassVar = Action.ADMIN


@dataclass(frozen=True, slots=True)
class ListRobots:
    """Every robot."""

    action: ClassVar = Action.ADMIN


@dataclass(frozen=True, slots=True)
class AddRobot:
    """A robot of a project; its secret is shown once."""

    action: ClassVar = Action.MEMBERS


@dataclass(frozen=True, slots=True)
class RemoveRobot:
    """The robot is gone."""

    name: str
    action: ClassVar = Action.ADMIN


@dataclass(frozen=True, slots=True)
class ListProjects:
    """Every project."""

    action: ClassVar = Action.ADMIN


@dataclass(frozen=True, slots=True)
class AddProject:
    """A new project."""

    action: ClassVar = Action.ADMIN


@dataclass(frozen=True, slots=True)
class ChangeProject:
    """Another quota."""

    name: str
    action: ClassVar = Action.ADMIN


@dataclass(frozen=True, slots=True)
class RemoveProject:
    """The project is gone, if it had no buckets."""

    name: str
    action: ClassVar = Action.ADMIN


@dataclass(frozen=True, slots=True)
class ListRoles:
    """Every role of everybody."""

    action: ClassVar = Action.ADMIN


@dataclass(frozen=True, slots=True)
class SetRole:
    """A principal's role in a project."""

    action: ClassVar = Action.MEMBERS


@dataclass(frozen=True, slots=True)
class DropRole:
    """No role there any more."""

    project: str
    principal: str
    action: ClassVar = Action.MEMBERS


@dataclass(frozen=True, slots=True)
class ListKeys:
    """Access keys: one's own, for admins all."""

    action: ClassVar = Action.KNOWN


@dataclass(frozen=True, slots=True)
class AddKey:
    """An access key; its secret is shown once."""

    action: ClassVar = Action.KNOWN


@dataclass(frozen=True, slots=True)
class RemoveKey:
    """That key is dead."""

    access: str
    action: ClassVar = Action.KNOWN


@dataclass(frozen=True, slots=True)
class ListBuckets:
    """Buckets of a project."""

    project: str = ""
    action: ClassVar = Action.LIST


@dataclass(frozen=True, slots=True)
class PutBucket:
    """That bucket, made if it is missing."""

    bucket: str
    action: ClassVar = Action.CREATE


@dataclass(frozen=True, slots=True)
class RemoveBucket:
    """The bucket is gone, if it was empty."""

    bucket: str
    action: ClassVar = Action.DELETE


@dataclass(frozen=True, slots=True)
class ListObjects:
    """A page of names."""

    bucket: str
    prefix: str = ""
    after: str = ""
    limit: int = 1000
    delimiter: str = ""
    action: ClassVar = Action.LIST


@dataclass(frozen=True, slots=True)
class GetObject:
    """The bytes of an object."""

    bucket: str
    key: str
    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class PutObject:
    """Put an object in one request; `expires` as 14d."""

    bucket: str
    key: str
    expires: str = ""
    action: ClassVar = Action.CREATE


@dataclass(frozen=True, slots=True)
class DeleteObject:
    """The name is gone."""

    bucket: str
    key: str
    action: ClassVar = Action.DELETE


@dataclass(frozen=True, slots=True)
class InspectObject:
    """Everything known about one name."""

    bucket: str
    key: str
    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class GetBlob:
    """The bytes of a digest the caller may read under some name."""

    digest: str
    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class ListRepositories:
    """A page of the repositories the caller may read."""

    after: str = ""
    limit: int = 1000
    action: ClassVar = Action.LIST


@dataclass(frozen=True, slots=True)
class ShowRepository:
    """What its owners decided of a repository."""

    path: str
    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class ChangeRepository:
    """Other settings of a repository."""

    path: str
    action: ClassVar = Action.OVERWRITE


@dataclass(frozen=True, slots=True)
class ListTagMoves:
    """The last 1000 moves of a tag, the newest first."""

    path: str
    tag: str = ""
    action: ClassVar = Action.LIST


@dataclass(frozen=True, slots=True)
class Undelete:
    """A deleted tag or manifest is back."""

    path: str
    action: ClassVar = Action.OVERWRITE


@dataclass(frozen=True, slots=True)
class BeginUpload:
    """A resumable upload; the same again gives the one that is open. 200 with the object if nothing need be sent."""

    action: ClassVar = Action.CREATE


@dataclass(frozen=True, slots=True)
class PutPart:
    """Bytes at an offset."""

    upload: str
    offset: int
    action: ClassVar = Action.CAPABILITY


@dataclass(frozen=True, slots=True)
class ShowUpload:
    """What an upload holds, or what it became."""

    upload: str
    action: ClassVar = Action.CAPABILITY


@dataclass(frozen=True, slots=True)
class DiscardUpload:
    """Forget an upload and its bytes."""

    upload: str
    action: ClassVar = Action.CAPABILITY


@dataclass(frozen=True, slots=True)
class CommitUpload:
    """The upload becomes the object."""

    upload: str
    action: ClassVar = Action.CAPABILITY


@dataclass(frozen=True, slots=True)
class MakeLink:
    """A signed GET URL."""

    action: ClassVar = Action.KNOWN


Call: TypeAlias = (
    ShowOpenApi | LogIn | ShowMe | ListTokens | AddToken | RevokeToken | ListUsers | AddUser | ChangeUser | RemoveUser
    | ListRobots | AddRobot | RemoveRobot | ListProjects | AddProject | ChangeProject | RemoveProject | ListRoles
    | SetRole | DropRole | ListKeys | AddKey | RemoveKey | ListBuckets | PutBucket | RemoveBucket | ListObjects
    | GetObject | PutObject | DeleteObject | InspectObject | GetBlob | ListRepositories | ShowRepository
    | ChangeRepository | ListTagMoves | Undelete | BeginUpload | PutPart | ShowUpload
    | DiscardUpload | CommitUpload | MakeLink
)  # fmt: skip
