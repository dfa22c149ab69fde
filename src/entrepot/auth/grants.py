"""Grants of an access control list: rights of other projects and of everybody, beside the roles in one's own.

permits(grants, {"…"}, True, "READ") -> whether one who is these ids (and has proved it) may
"""

import hashlib
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final, Literal, TypedDict

ALL_USERS: Final = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED_USERS: Final = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"


class Grant(TypedDict):
    """One right of one project (its id) or of a group (its URI)."""

    kind: Literal["id", "group"]
    who: str
    permission: str


@lru_cache(maxsize=4096)
def canonical_id(project: str) -> str:
    """The 64 hex digits S3 clients know a project by."""
    return hashlib.sha256(f"entrepot project {project}".encode()).hexdigest()


def full_control(project: str) -> Grant:
    """What the owner of something has, whatever else is granted."""
    return {"kind": "id", "who": canonical_id(project), "permission": "FULL_CONTROL"}


def permits(grants: Sequence[Grant], ids: Collection[str], authenticated: bool, permission: str) -> bool:
    """Whether one who is all of `ids`, and has proved to be somebody or not, has that permission."""
    return any(
        grant["permission"] in ("FULL_CONTROL", permission)
        and (
            grant["who"] in ids
            if grant["kind"] == "id"
            else grant["who"] == ALL_USERS or (authenticated and grant["who"] == AUTHENTICATED_USERS)
        )
        for grant in grants
    )


def reaches(grants: Sequence[Grant], *owners: str) -> bool:
    """Whether anybody but these projects has a right by them."""
    own = {canonical_id(project) for project in owners}
    return any(grant["who"] not in own for grant in grants)


def is_public(grants: Sequence[Grant]) -> bool:
    """Whether everybody, or everybody with an account, has a right by them. Source: AWS, "The meaning of public"."""
    return any(grant["kind"] == "group" for grant in grants)
