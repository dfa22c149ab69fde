"""The one place that decides who may do what, asked without a server."""

import itertools

import pytest

from entrepot.auth.permissions import (
    NEEDS,
    administers,
    authorize,
    may,
    owns,
    require_admin,
    require_known,
    require_person,
)
from entrepot.errors import Denied, EntrepotError, Hidden, Unauthenticated
from entrepot.principals import ANONYMOUS, SYSTEM, Action, Area, AreaKind, Grant, Kind, Principal, Resource, Role

HOME, ELSEWHERE = 7, 8
PRIVATE, PUBLIC = Resource(HOME, bucket="box", key="a"), Resource(HOME, public=True, bucket="box", key="a")
IN_PROJECTS = {
    Action.LIST: Role.READER, Action.GET: Role.READER, Action.CREATE: Role.WRITER, Action.OVERWRITE: Role.MAINTAINER,
    Action.DELETE: Role.MAINTAINER, Action.MEMBERS: Role.OWNER, Action.QUOTA: Role.OWNER, Action.KEYS: Role.OWNER,
}  # fmt: skip


def person(role: Role | None = None, kind: Kind = Kind.USER, **more: object) -> Principal:
    return Principal(1, kind, "ann", roles={HOME: role} if role else {}, **more)  # type: ignore[arg-type]


def test_each_role_adds_to_the_one_before() -> None:
    assert NEEDS == IN_PROJECTS
    for (action, needed), role in itertools.product(IN_PROJECTS.items(), Role):
        assert may(person(role), action, PRIVATE) == (role >= needed), (action, role)
        assert not may(person(role), action, Resource(ELSEWHERE))


@pytest.mark.parametrize("action", list(Action))
def test_without_a_role_nothing_but_reading_what_is_public(action: Action) -> None:
    for principal in (ANONYMOUS, SYSTEM, person(), person(admin=True), person(kind=Kind.ROBOT)):
        assert not may(principal, action, PRIVATE)
        assert may(principal, action, PUBLIC) == (action in (Action.LIST, Action.GET))


@pytest.mark.parametrize("action", [Action.OPEN, Action.KNOWN, Action.CAPABILITY, Action.ADMIN])
def test_what_is_no_matter_of_roles_no_role_gives(action: Action) -> None:
    assert not may(person(Role.OWNER), action, PUBLIC)


def refusal(principal: Principal, action: Action, resource: Resource) -> type[EntrepotError]:
    with pytest.raises(EntrepotError) as found:
        authorize(principal, action, resource)
    return found.type


def test_a_refusal_says_no_more_than_the_caller_may_know() -> None:
    assert refusal(ANONYMOUS, Action.GET, PRIVATE) is Unauthenticated
    assert refusal(ANONYMOUS, Action.CREATE, PUBLIC) is Unauthenticated
    assert refusal(person(), Action.GET, PRIVATE) is Hidden
    assert refusal(person(Role.GUEST), Action.CREATE, PRIVATE) is Hidden
    assert refusal(person(Role.READER), Action.CREATE, PRIVATE) is Denied
    assert refusal(person(), Action.CREATE, PUBLIC) is Denied
    assert refusal(person(job="1"), Action.GET, PRIVATE) is Hidden
    authorize(person(Role.READER), Action.GET, PRIVATE)


def test_an_area_is_its_owners_whatever_the_role() -> None:
    own, other = (Resource(HOME, area=Area(AreaKind.USER, name)) for name in ("ann", "bob"))
    for action in (Action.LIST, Action.GET, Action.CREATE, Action.OVERWRITE, Action.DELETE):
        assert may(person(), action, own)
        assert may(person(admin=True), action, own), "an admin without a role has an area too"
        for role in Role:
            assert not may(person(role), action, other)
            assert not may(person(role, job="1", admin=True), action, other), "a job is not its admin"
            wanted = role >= NEEDS[action]
            assert may(person(role, Kind.ROBOT), action, other) == wanted
            assert may(person(role, admin=True), action, other) == wanted
    assert refusal(person(Role.OWNER), Action.GET, other) is Denied
    assert refusal(ANONYMOUS, Action.GET, own) is Unauthenticated


@pytest.mark.parametrize(
    ("group", "area", "owned"),
    [
        ("a", "a", True), ("a", "a/b", True), ("a/b", "a/b", True), ("a/b", "a", False), ("a", "ab", False),
        ("a", "A", False), ("a/", "a", False), ("", "", True),
    ],
)  # fmt: skip
def test_a_group_owns_what_lies_below_it(group: str, area: str, owned: bool) -> None:
    assert owns(person(groups=("x", group)), Area(AreaKind.GROUP, area)) is owned


def test_a_job_owns_its_scratch_and_nobody_what_is_nobodys() -> None:
    assert owns(person(job="1"), Area(AreaKind.JOB, "1"))
    assert not owns(person(job="1"), Area(AreaKind.JOB, "2"))
    assert not owns(person(), Area(AreaKind.JOB, "")), "a key outside all areas"
    assert not owns(person(groups=("bob",)), Area(AreaKind.USER, "bob")), "a group of that name is not the user"
    assert not owns(person(), Area(AreaKind.GROUP, "ann"))


def test_a_grant_is_these_actions_on_one_key_and_nothing_more_of_its_makers() -> None:
    grant = Grant(frozenset({Action.GET}), "box", "a")
    principal = person(Role.OWNER, admin=True, grant=grant)
    assert may(principal, Action.GET, PRIVATE)
    assert may(principal, Action.GET, Resource(HOME, area=Area(AreaKind.USER, "bob"), bucket="box", key="a"))
    for action in set(Action) - {Action.GET}:
        assert not may(principal, action, PRIVATE)
    for bucket, key in (("box", "b"), ("box", ""), ("other", "a"), ("box", "A")):
        assert not may(principal, Action.GET, Resource(HOME, public=True, bucket=bucket, key=key))
    assert refusal(principal, Action.DELETE, PRIVATE) is Denied
    assert not administers(principal)


def test_only_a_whole_admin_administers() -> None:
    require_admin(person(admin=True))
    grant = Grant(frozenset(), "", "")
    for principal in (person(Role.OWNER), person(admin=True, job="1"), person(admin=True, grant=grant)):
        with pytest.raises(Denied):
            require_admin(principal)
    with pytest.raises(Unauthenticated):
        require_admin(ANONYMOUS)


def test_a_token_of_a_job_is_known_and_not_a_person() -> None:
    require_known(person(job="1"))
    require_person(person())
    with pytest.raises(Denied):
        require_person(person(job="1"))
    for ask in (require_known, require_person):
        with pytest.raises(Unauthenticated):
            ask(ANONYMOUS)


@pytest.mark.parametrize("action", [Action.MEMBERS, Action.QUOTA, Action.KEYS])
def test_a_job_manages_no_project(action: Action) -> None:
    assert may(person(Role.OWNER), action, PRIVATE)
    assert not may(person(Role.OWNER, job="1"), action, PRIVATE)


def test_a_grant_gives_no_more_than_its_makers_role_gives_now() -> None:
    grant = Grant(frozenset({Action.CREATE, Action.OVERWRITE}), "box", "a")
    assert may(person(Role.WRITER, grant=grant), Action.CREATE, PRIVATE)
    assert not may(person(Role.WRITER, grant=grant), Action.OVERWRITE, PRIVATE)
    assert not may(person(grant=grant), Action.CREATE, PRIVATE)


def test_in_an_area_the_right_was_asked_when_the_link_was_made() -> None:
    grant = Grant(frozenset({Action.GET}), "box", "a")
    left_the_group = person(grant=grant)
    area = Area(AreaKind.GROUP, "vo")
    assert may(left_the_group, Action.GET, Resource(HOME, area=area, bucket="box", key="a"))
