"""Access control lists: who may do what with a bucket or an object, beyond its project.

canned("public-read", owner, bucket_owner) -> [{"kind": "group", "who": ALL_USERS, "permission": "READ"}, …]
header_grants({"x-amz-grant-read": 'id="…"'}, known) and read_acl(body, known) -> the same

An id is the 64 hex digits of a project. Limit: 100 grants.
Source: s3.md 4; AWS, "Access control list (ACL) overview"; s3cmd and botocore for the bodies.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from entrepot.auth.grants import ALL_USERS, AUTHENTICATED_USERS, Grant
from entrepot.protocols.s3 import xml
from entrepot.protocols.s3.errors import S3Error, invalid_argument
from entrepot.protocols.s3.xml import Item, Node

GROUPS: Final = frozenset({ALL_USERS, AUTHENTICATED_USERS})
PERMISSIONS: Final = frozenset({"FULL_CONTROL", "READ", "WRITE", "READ_ACP", "WRITE_ACP"})
MAX_GRANTS: Final = 100
GRANT_HEADERS: Final = {
    "x-amz-grant-full-control": "FULL_CONTROL",
    "x-amz-grant-read": "READ",
    "x-amz-grant-read-acp": "READ_ACP",
    "x-amz-grant-write": "WRITE",
    "x-amz-grant-write-acp": "WRITE_ACP",
}
CANNED: Final = frozenset(
    "private public-read public-read-write authenticated-read bucket-owner-read bucket-owner-full-control".split()
)
_XSI: Final = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
_GRANTEE: Final = re.compile(r'\s*(id|uri|emailaddress)\s*=\s*(?:"([^"]*)"|([^"\s]*))\s*\Z', re.IGNORECASE)


def canned(name: str, owner_id: str, bucket_owner_id: str) -> list[Grant]:
    """The grants that an `x-amz-acl` stands for. Raises: S3Error InvalidArgument."""
    if name not in CANNED:
        raise invalid_argument(f"{name} is no canned ACL; there are {', '.join(sorted(CANNED))}")
    grants: list[Grant] = []
    if name in ("public-read", "public-read-write"):
        grants.append(_to_group(ALL_USERS, "READ"))
    if name == "public-read-write":
        grants.append(_to_group(ALL_USERS, "WRITE"))
    if name == "authenticated-read":
        grants.append(_to_group(AUTHENTICATED_USERS, "READ"))
    if name.startswith("bucket-owner-") and bucket_owner_id != owner_id:
        grants.append(_to_id(bucket_owner_id, "READ" if name == "bucket-owner-read" else "FULL_CONTROL"))
    return [*grants, _to_id(owner_id, "FULL_CONTROL")]


def header_grants(headers: Mapping[str, str], known: Callable[[str], bool]) -> list[Grant]:
    """The grants of the `x-amz-grant-*` among the headers (names in lower case), none if there are none.

    Raises: S3Error InvalidArgument, UnresolvableGrantByEmailAddress.
    """
    grants = [
        _named(grantee, permission, known)
        for name, permission in GRANT_HEADERS.items()
        if name in headers
        for grantee in headers[name].split(",")
    ]
    if len(grants) > MAX_GRANTS:
        raise invalid_argument(f"An ACL has at most {MAX_GRANTS} grants")
    return grants


def read_acl(data: bytes, known: Callable[[str], bool]) -> list[Grant]:
    """The grants of an AccessControlPolicy. The owner it names must be known, and stays who he was.

    Raises: S3Error MalformedACLError, InvalidArgument, UnresolvableGrantByEmailAddress.
    """
    try:
        root = xml.read(data, "AccessControlPolicy").only("Owner", "AccessControlList")
        owner = root.one("Owner").only("ID", "DisplayName").text_of("ID")
        nodes = root.one("AccessControlList").only("Grant").children
        grants = [_granted(node, known) for node in nodes]
    except S3Error as error:
        raise _malformed() if error.s3_code == "MalformedXML" else error from error
    if len(grants) > MAX_GRANTS or not owner:
        raise _malformed()
    if not known(owner):
        raise invalid_argument("Invalid id")
    return grants


def write_acl(owner_id: str, owner_name: str, grants: Sequence[Grant], names: Callable[[str], str]) -> bytes:
    """The AccessControlPolicy document, groups first and the owner last. `names`: the name to show for an id."""
    ordered = sorted(grants, key=lambda grant: (grant["kind"] != "group", grant["who"] == owner_id))
    return xml.document(
        "AccessControlPolicy",
        ("Owner", ("ID", owner_id), ("DisplayName", owner_name)),
        ("AccessControlList", *(_written(grant, names) for grant in ordered)),
    )


def _to_id(who: str, permission: str) -> Grant:
    return {"kind": "id", "who": who, "permission": permission}


def _to_group(uri: str, permission: str) -> Grant:
    return {"kind": "group", "who": uri, "permission": permission}


def _named(text: str, permission: str, known: Callable[[str], bool]) -> Grant:
    found = _GRANTEE.match(text)
    if found is None:
        raise invalid_argument("Argument format not recognized")
    kind, who = found[1].lower(), found[2] if found[2] is not None else found[3]
    return _grant({"id": "CanonicalUser", "uri": "Group"}.get(kind, "AmazonCustomerByEmail"), who, permission, known)


def _granted(node: Node, known: Callable[[str], bool]) -> Grant:
    node.only("Grantee", "Permission")
    grantee, permission = node.one("Grantee"), node.text_of("Permission")
    grantee.only("xsi:type", "ID", "DisplayName", "URI", "EmailAddress")
    kind = grantee.text_of("xsi:type")
    element = {"CanonicalUser": "ID", "Group": "URI", "AmazonCustomerByEmail": "EmailAddress"}.get(kind)
    if element is None or permission not in PERMISSIONS:
        raise _malformed()
    return _grant(kind, grantee.text_of(element), permission, known)


def _grant(kind: str, who: str, permission: str, known: Callable[[str], bool]) -> Grant:
    if kind == "Group":
        if who not in GROUPS:
            raise invalid_argument("Invalid group uri")
        return _to_group(who, permission)
    if kind == "AmazonCustomerByEmail":
        raise S3Error(
            "UnresolvableGrantByEmailAddress",
            "The e-mail address you provided does not match any account on record; name the project by its id",
        )
    if not known(who):
        raise invalid_argument("Invalid id")
    return _to_id(who, permission)


def _written(grant: Grant, names: Callable[[str], str]) -> Item:
    if grant["kind"] == "group":
        grantee: Item = (f'Grantee {_XSI} xsi:type="Group"', ("URI", grant["who"]))
    else:
        grantee = (
            f'Grantee {_XSI} xsi:type="CanonicalUser"',
            ("ID", grant["who"]),
            ("DisplayName", names(grant["who"])),
        )
    return ("Grant", grantee, ("Permission", grant["permission"]))


def _malformed() -> S3Error:
    message = "The XML you provided was not well-formed or did not validate against our published schema"
    return S3Error("MalformedACLError", message)
