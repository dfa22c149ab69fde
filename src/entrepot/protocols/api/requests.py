"""What is asked of `/api/v1`: one table, from which requests are read and the OpenAPI document is written.

Pure: request line in, one value out. A `*` in a path takes the rest of it, slashes and all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Final, TypeAlias

from entrepot import shapes
from entrepot.errors import BadRequest
from entrepot.model import Action
from entrepot.protocols.base import MethodNotAllowed, NoSuchRoute, segments

PREFIX: Final = b"/api/v1/"


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
    | GetObject | PutObject | DeleteObject | InspectObject | GetBlob | BeginUpload | PutPart | ShowUpload
    | DiscardUpload | CommitUpload | MakeLink
)  # fmt: skip


@dataclass(frozen=True)
class Route:
    """One line of the table. `answers`: the shape of each success; None is no body, bytes are bytes."""

    methods: str
    path: str
    kind: type[Any]
    answers: Mapping[int, Any]
    body: Any = None

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The path's segments."""
        return tuple(self.path.split("/"))

    @cached_property
    def allowed(self) -> frozenset[str]:
        """The methods."""
        return frozenset(self.methods.split())

    @cached_property
    def types(self) -> Mapping[str, Any]:
        """What the call is made of: fields and their types."""
        return {one.name: one.type for one in fields(self.kind)}


_MADE_OR_THERE: Final = {200: shapes.BucketShape, 201: shapes.BucketShape}
_BEGUN: Final = {200: shapes.UploadAnswer, 201: shapes.UploadShape}
_COMMITTED: Final = {201: shapes.Committed, 202: shapes.UploadState}
_OBJECT: Final = "objects/{bucket}/{key*}"
ROUTES: Final = (
    Route("GET", "openapi.json", ShowOpenApi, {200: dict[str, Any]}),
    Route("POST", "login", LogIn, {201: shapes.TokenAnswer}, shapes.LoginRequest),
    Route("GET", "me", ShowMe, {200: shapes.Me}),
    Route("GET", "tokens", ListTokens, {200: list[shapes.TokenShape]}),
    Route("POST", "tokens", AddToken, {201: shapes.TokenAnswer}, shapes.TokenRequest),
    Route("DELETE", "tokens/{jti}", RevokeToken, {204: None}),
    Route("GET", "users", ListUsers, {200: list[shapes.UserShape]}),
    Route("POST", "users", AddUser, {201: shapes.UserShape}, shapes.UserRequest),
    Route("PUT POST", "users/{name}", ChangeUser, {200: shapes.UserShape}, shapes.UserChange),
    Route("DELETE", "users/{name}", RemoveUser, {204: None}),
    Route("GET", "robots", ListRobots, {200: list[shapes.UserShape]}),
    Route("POST", "robots", AddRobot, {201: shapes.Secret}, shapes.RobotRequest),
    Route("DELETE", "robots/{name}", RemoveRobot, {204: None}),
    Route("GET", "projects", ListProjects, {200: list[shapes.ProjectShape]}),
    Route("POST", "projects", AddProject, {201: shapes.ProjectShape}, shapes.ProjectRequest),
    Route("PUT POST", "projects/{name}", ChangeProject, {200: shapes.ProjectShape}, shapes.ProjectRequest),
    Route("DELETE", "projects/{name}", RemoveProject, {204: None}),
    Route("GET", "roles", ListRoles, {200: list[shapes.RoleShape]}),
    Route("PUT POST", "roles", SetRole, {200: shapes.RoleShape}, shapes.RoleShape),
    Route("DELETE", "roles/{project}/{principal}", DropRole, {204: None}),
    Route("GET", "keys", ListKeys, {200: list[shapes.KeyShape]}),
    Route("POST", "keys", AddKey, {201: shapes.KeyShape}, shapes.KeyRequest),
    Route("DELETE", "keys/{access}", RemoveKey, {204: None}),
    Route("GET", "buckets", ListBuckets, {200: list[shapes.BucketShape]}),
    Route("PUT POST", "buckets/{bucket}", PutBucket, _MADE_OR_THERE, shapes.BucketRequest),
    Route("DELETE", "buckets/{bucket}", RemoveBucket, {204: None}),
    Route("GET", "objects/{bucket}", ListObjects, {200: shapes.ObjectPage}),
    Route("GET HEAD", _OBJECT, GetObject, {200: bytes, 206: bytes, 304: None}),
    Route("PUT POST", _OBJECT, PutObject, {201: shapes.PutAnswer}, bytes),
    Route("DELETE", _OBJECT, DeleteObject, {204: None}),
    Route("GET", "inspect/{bucket}/{key*}", InspectObject, {200: shapes.ObjectShape}),
    Route("GET HEAD", "blobs/{digest}", GetBlob, {200: bytes, 206: bytes, 304: None}),
    Route("POST", "uploads", BeginUpload, _BEGUN, shapes.UploadRequest),
    Route("GET", "uploads/{upload}", ShowUpload, {200: shapes.UploadState}),
    Route("DELETE", "uploads/{upload}", DiscardUpload, {204: None}),
    Route("POST", "uploads/{upload}/commit", CommitUpload, _COMMITTED, shapes.CommitRequest),
    Route("PUT POST", "uploads/{upload}/{offset}", PutPart, {204: None}, bytes),
    Route("POST", "links", MakeLink, {201: shapes.Link}, shapes.LinkRequest),
)  # fmt: skip

_BY_FIRST: Final[dict[str, list[Route]]] = {}
for _route in ROUTES:
    _BY_FIRST.setdefault(_route.parts[0], []).append(_route)


def find(method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
    """The route of a request line and what its path names. Raises: NoSuchRoute; MethodNotAllowed; BadName."""
    asked = segments(raw_path[len(PREFIX) - 1 :])
    known: list[str] = []
    for route in _BY_FIRST.get(asked[0], ()):
        names = _match(route.parts, asked)
        if names is None:
            continue
        if method in route.allowed:
            return route, names
        known += route.methods.split()
    if known:
        raise MethodNotAllowed(", ".join(dict.fromkeys(known)))
    raise NoSuchRoute("there is nothing at this path", advice="see /api/v1/openapi.json")


def _match(parts: tuple[str, ...], asked: list[str]) -> dict[str, str] | None:
    """What each name in the pattern stands for; None if it does not fit."""
    open_end = parts[-1].endswith("*}")
    if len(asked) < len(parts) or (len(asked) > len(parts) and not open_end):
        return None
    names: dict[str, str] = {}
    for index, part in enumerate(parts):
        if part.endswith("*}"):
            names[part[1:-2]] = "/".join(asked[index:])
        elif part.startswith("{"):
            names[part[1:-1]] = asked[index]
        elif part != asked[index]:
            return None
    return names if all(names.values()) else None


def parse(method: str, raw_path: bytes, query: Mapping[str, str]) -> Call:
    """The call these bytes mean. Raises: NoSuchRoute; MethodNotAllowed; BadName; BadRequest for what is no number."""
    route, names = find(method, raw_path)
    values: dict[str, Any] = {}
    for name, kind in route.types.items():
        text = names.get(name, query.get(name))
        if text is not None:
            values[name] = _number(name, text) if kind is int else text
    call: Call = route.kind(**values)
    return call


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest(f"{name} is a whole number")
    return int(text)
