"""The calls of `/api/v1` about accounts, projects, tokens and keys."""

from dataclasses import dataclass
from typing import TypeAlias

from entrepot import shapes
from entrepot.principals import Kind, Principal
from entrepot.protocols.api import responses
from entrepot.protocols.api.bodies import read_shape
from entrepot.protocols.api.calls import (
    AddKey,
    AddProject,
    AddRobot,
    AddToken,
    AddUser,
    ChangeProject,
    ChangeUser,
    DropRole,
    ListKeys,
    ListProjects,
    ListRobots,
    ListRoles,
    ListTokens,
    ListUsers,
    RemoveKey,
    RemoveProject,
    RemoveRobot,
    RemoveUser,
    RevokeToken,
    SetRole,
)
from entrepot.protocols.base import Request, Response, json_response
from entrepot.services.accounts import Accounts, role_of
from entrepot.services.projects import Projects

AdminCall: TypeAlias = (
    ListTokens | AddToken | RevokeToken | ListUsers | AddUser | ChangeUser | RemoveUser | ListRobots | AddRobot
    | RemoveRobot | ListProjects | AddProject | ChangeProject | RemoveProject | ListRoles | SetRole | DropRole
    | ListKeys | AddKey | RemoveKey
)  # fmt: skip
UserCall: TypeAlias = ListUsers | AddUser | ChangeUser | RemoveUser | ListRobots | AddRobot | RemoveRobot
ProjectCall: TypeAlias = ListProjects | AddProject | ChangeProject | RemoveProject | ListRoles | SetRole | DropRole
ProofCall: TypeAlias = ListTokens | AddToken | RevokeToken | ListKeys | AddKey | RemoveKey


@dataclass(frozen=True, slots=True)
class Administration:
    """Acts on them by the accounts and projects services, which decide who may."""

    accounts: Accounts
    projects: Projects

    async def act(self, call: AdminCall, principal: Principal, request: Request) -> Response:
        """The answer."""
        match call:
            case ListUsers() | AddUser() | ChangeUser() | RemoveUser() | ListRobots() | AddRobot() | RemoveRobot():
                return await self._users(call, principal, request)
            case ListTokens() | AddToken() | RevokeToken() | ListKeys() | AddKey() | RemoveKey():
                return await self._proofs(call, principal, request)
            case _:
                return await self._projects(call, principal, request)

    async def _users(self, call: UserCall, principal: Principal, request: Request) -> Response:
        match call:
            case ListUsers():
                found = await self.accounts.all_of(principal, Kind.USER)
                return json_response(200, [responses.user_shape(account) for account in found])
            case AddUser():
                user = await read_shape(request, shapes.UserRequest)
                made = await self.accounts.add_user(principal, user.name, user.password, admin=user.admin)
                return json_response(201, responses.user_shape(made))
            case ChangeUser(name):
                change = await read_shape(request, shapes.UserChange)
                changed = await self.accounts.change_user(
                    principal, name, password=change.password, admin=change.admin, disabled=change.disabled
                )
                return json_response(200, responses.user_shape(changed))
            case RemoveUser(name):
                await self.accounts.remove(principal, name, Kind.USER)
                return Response(204)
            case ListRobots():
                found = await self.accounts.all_of(principal, Kind.ROBOT)
                return json_response(200, [responses.user_shape(account) for account in found])
            case AddRobot():
                robot = await read_shape(request, shapes.RobotRequest)
                secret = await self.accounts.add_robot(principal, robot.name, robot.project, role_of(robot.role))
                return json_response(201, shapes.Secret(robot.name, secret))
            case RemoveRobot(name):
                await self.accounts.remove(principal, name, Kind.ROBOT)
                return Response(204)

    async def _projects(self, call: ProjectCall, principal: Principal, request: Request) -> Response:
        match call:
            case ListProjects():
                found = await self.projects.all(principal)
                return json_response(200, [responses.project_shape(project) for project in found])
            case AddProject():
                asked = await read_shape(request, shapes.ProjectRequest)
                made = await self.projects.add(principal, asked.name, asked.quota)
                return json_response(201, responses.project_shape(made))
            case ChangeProject(name):
                asked = await read_shape(request, shapes.ProjectRequest)
                changed = await self.projects.set_quota(principal, name, asked.quota)
                return json_response(200, responses.project_shape(changed))
            case RemoveProject(name):
                await self.projects.remove(principal, name)
                return Response(204)
            case ListRoles():
                roles = await self.accounts.roles(principal)
                return json_response(
                    200, [{"principal": who, "project": where, "role": role.name.lower()} for who, where, role in roles]
                )
            case SetRole():
                wish = await read_shape(request, shapes.RoleShape)
                await self.accounts.set_role(principal, wish.principal, wish.project, role_of(wish.role))
                return json_response(200, wish)
            case DropRole(project, name):
                await self.accounts.set_role(principal, name, project, None)
                return Response(204)

    async def _proofs(self, call: ProofCall, principal: Principal, request: Request) -> Response:
        match call:
            case ListTokens():
                tokens = await self.accounts.tokens(principal)
                return json_response(200, [responses.token_shape(token) for token in tokens])
            case AddToken():
                asked = await read_shape(request, shapes.TokenRequest)
                seconds = responses.seconds_of(asked.expires)
                minted = await self.accounts.add_token(principal, asked.user, tuple(asked.groups), asked.job, seconds)
                return json_response(201, responses.token_answer(minted))
            case RevokeToken(jti):
                await self.accounts.revoke(principal, jti)
                return Response(204)
            case ListKeys():
                keys = await self.accounts.keys(principal)
                return json_response(200, [responses.key_shape(key) for key in keys])
            case AddKey():
                wish = await read_shape(request, shapes.KeyRequest)
                key, secret = await self.accounts.add_key(principal, wish.principal, wish.project)
                return json_response(201, responses.key_shape(key, secret))
            case RemoveKey(access):
                await self.accounts.remove_key(principal, access)
                return Response(204)
