"""How calls of `/api/v1` are written: one table, from which requests are read and the OpenAPI document is written.

Pure: request line in, one value out. A `*` in a path takes the rest of it, slashes and all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final

from entrepot import shapes
from entrepot.errors import BadRequest
from entrepot.protocols.api import calls
from entrepot.protocols.base import MethodNotAllowed, NoSuchRoute, segments

PREFIX: Final = b"/api/v1/"


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
    Route("GET", "openapi.json", calls.ShowOpenApi, {200: dict[str, Any]}),
    Route("POST", "login", calls.LogIn, {201: shapes.TokenAnswer}, shapes.LoginRequest),
    Route("GET", "me", calls.ShowMe, {200: shapes.Me}),
    Route("GET", "tokens", calls.ListTokens, {200: list[shapes.TokenShape]}),
    Route("POST", "tokens", calls.AddToken, {201: shapes.TokenAnswer}, shapes.TokenRequest),
    Route("DELETE", "tokens/{jti}", calls.RevokeToken, {204: None}),
    Route("GET", "users", calls.ListUsers, {200: list[shapes.UserShape]}),
    Route("POST", "users", calls.AddUser, {201: shapes.UserShape}, shapes.UserRequest),
    Route("PUT POST", "users/{name}", calls.ChangeUser, {200: shapes.UserShape}, shapes.UserChange),
    Route("DELETE", "users/{name}", calls.RemoveUser, {204: None}),
    Route("GET", "robots", calls.ListRobots, {200: list[shapes.UserShape]}),
    Route("POST", "robots", calls.AddRobot, {201: shapes.Secret}, shapes.RobotRequest),
    Route("DELETE", "robots/{name}", calls.RemoveRobot, {204: None}),
    Route("GET", "projects", calls.ListProjects, {200: list[shapes.ProjectShape]}),
    Route("POST", "projects", calls.AddProject, {201: shapes.ProjectShape}, shapes.ProjectRequest),
    Route("PUT POST", "projects/{name}", calls.ChangeProject, {200: shapes.ProjectShape}, shapes.ProjectRequest),
    Route("DELETE", "projects/{name}", calls.RemoveProject, {204: None}),
    Route("GET", "roles", calls.ListRoles, {200: list[shapes.RoleShape]}),
    Route("PUT POST", "roles", calls.SetRole, {200: shapes.RoleShape}, shapes.RoleShape),
    Route("DELETE", "roles/{project}/{principal}", calls.DropRole, {204: None}),
    Route("GET", "keys", calls.ListKeys, {200: list[shapes.KeyShape]}),
    Route("POST", "keys", calls.AddKey, {201: shapes.KeyShape}, shapes.KeyRequest),
    Route("DELETE", "keys/{access}", calls.RemoveKey, {204: None}),
    Route("GET", "buckets", calls.ListBuckets, {200: list[shapes.BucketShape]}),
    Route("PUT POST", "buckets/{bucket}", calls.PutBucket, _MADE_OR_THERE, shapes.BucketRequest),
    Route("DELETE", "buckets/{bucket}", calls.RemoveBucket, {204: None}),
    Route("GET", "objects/{bucket}", calls.ListObjects, {200: shapes.ObjectPage}),
    Route("GET HEAD", _OBJECT, calls.GetObject, {200: bytes, 206: bytes, 304: None}),
    Route("PUT POST", _OBJECT, calls.PutObject, {201: shapes.PutAnswer}, bytes),
    Route("DELETE", _OBJECT, calls.DeleteObject, {204: None}),
    Route("GET", "inspect/{bucket}/{key*}", calls.InspectObject, {200: shapes.ObjectShape}),
    Route("GET HEAD", "blobs/{digest}", calls.GetBlob, {200: bytes, 206: bytes, 304: None}),
    Route("GET", "repositories", calls.ListRepositories, {200: shapes.RepositoryPage}),
    Route("GET", "repositories/{path*}", calls.ShowRepository, {200: shapes.RepositoryShape}),
    Route(
        "PUT POST", "repositories/{path*}", calls.ChangeRepository, {200: shapes.RepositoryShape},
        shapes.RepositoryRequest,
    ),
    Route("GET", "tag-moves/{path*}", calls.ListTagMoves, {200: list[shapes.TagMove]}),
    Route("POST", "undelete/{path*}", calls.Undelete, {200: shapes.Undeleted}, shapes.UndeleteRequest),
    Route("POST", "uploads", calls.BeginUpload, _BEGUN, shapes.UploadRequest),
    Route("GET", "uploads/{upload}", calls.ShowUpload, {200: shapes.UploadState}),
    Route("DELETE", "uploads/{upload}", calls.DiscardUpload, {204: None}),
    Route("POST", "uploads/{upload}/commit", calls.CommitUpload, _COMMITTED, shapes.CommitRequest),
    Route("PUT POST", "uploads/{upload}/{offset}", calls.PutPart, {204: None}, bytes),
    Route("POST", "links", calls.MakeLink, {201: shapes.Link}, shapes.LinkRequest),
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


def parse(method: str, raw_path: bytes, query: Mapping[str, str]) -> calls.Call:
    """The call these bytes mean. Raises: NoSuchRoute; MethodNotAllowed; BadName; BadRequest for what is no number."""
    route, names = find(method, raw_path)
    values: dict[str, Any] = {}
    for name, kind in route.types.items():
        text = names.get(name, query.get(name))
        if text is not None:
            values[name] = _number(name, text) if kind is int else text
    call: calls.Call = route.kind(**values)
    return call


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest(f"{name} is a whole number")
    return int(text)
