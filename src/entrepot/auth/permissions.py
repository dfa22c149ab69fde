"""May they? The one place that decides, called for every route by the service that acts."""

from typing import Final

from entrepot.errors import Denied, Hidden, Unauthenticated
from entrepot.principals import Action, Area, AreaKind, Grant, Kind, Principal, Resource, Role

NEEDS: Final = {
    Action.LIST: Role.READER,
    Action.GET: Role.READER,
    Action.CREATE: Role.WRITER,
    Action.OVERWRITE: Role.MAINTAINER,
    Action.DELETE: Role.MAINTAINER,
    Action.MEMBERS: Role.OWNER,
    Action.QUOTA: Role.OWNER,
    Action.KEYS: Role.OWNER,
}
"""The least role in a project that may do it. What is not here takes no role: see `may`."""

_PUBLIC: Final = frozenset({Action.LIST, Action.GET})
_NOT_BY_JOBS: Final = frozenset({Action.MEMBERS, Action.QUOTA, Action.KEYS})
UNKNOWN: Final = "no such name"
"""What is said of nonsense, and of what the caller may not know of: in the same words."""


def authorize(principal: Principal, action: Action, resource: Resource) -> None:
    """Nothing, if the principal may.

    Raises: Unauthenticated for a stranger; Denied if it may know of the resource; else Hidden, told as nonsense is.
    """
    if may(principal, action, resource):
        return
    if principal.kind is Kind.ANONYMOUS:
        raise Unauthenticated("log in first", advice="send a token")
    if resource.area or principal.grant or may(principal, Action.GET, resource):
        raise Denied("you may not do this here", why=f"it takes the right to {action.value}")
    raise Hidden(UNKNOWN)


def may(principal: Principal, action: Action, resource: Resource) -> bool:
    """Whether the principal may do that there."""
    if principal.grant and not _grants(principal.grant, action, resource):
        return False
    if principal.grant and resource.area and principal.kind is Kind.USER and not principal.admin:
        return True  # its groups and job were asked when the link was made
    if action in _PUBLIC and resource.public:
        return True
    if principal.job and action in _NOT_BY_JOBS:
        return False
    if resource.area and principal.kind is Kind.USER:
        if owns(principal, resource.area):
            return True
        if principal.job or not principal.admin:
            return False
    needed = NEEDS.get(action)
    return needed is not None and principal.roles.get(resource.project_id, 0) >= needed


def _grants(grant: Grant, action: Action, resource: Resource) -> bool:
    return action in grant.actions and (resource.bucket, resource.key) == (grant.bucket, grant.key)


def owns(principal: Principal, area: Area) -> bool:
    """Whether that part of a shared bucket is the principal's own, one of its groups', or its job's."""
    match area.kind:
        case AreaKind.USER:
            return principal.name == area.name
        case AreaKind.GROUP:
            return any(area.name == group or area.name.startswith(group + "/") for group in principal.groups)
        case AreaKind.JOB:
            return area.owner == principal.name or (not area.owner and principal.job == area.name)


def administers(principal: Principal) -> bool:
    """Whether the principal sees to the whole server; a token made for one job or URL never does."""
    return principal.admin and not principal.grant and not principal.job


def require_admin(principal: Principal) -> None:
    """Nothing, if the principal administers the whole server. Raises: Unauthenticated; Denied."""
    if administers(principal):
        return
    if principal.kind is Kind.ANONYMOUS:
        raise Unauthenticated("log in first", advice="send an admin token")
    raise Denied("only a system admin may do this")


def require_person(principal: Principal) -> None:
    """Nothing, if the proof stands for all of somebody, not for one job or URL. Raises: Unauthenticated; Denied."""
    require_known(principal)
    if principal.job or principal.grant:
        raise Denied("a token made for one job may not do this", advice="use a token of your own")


def require_known(principal: Principal) -> None:
    """Nothing, if somebody proved who they are. Raises: Unauthenticated."""
    if principal.kind is Kind.ANONYMOUS:
        raise Unauthenticated("log in first", advice="send a token")
