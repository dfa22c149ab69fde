"""Access control lists: documents by botocore's model, canned ones, headers, and who may."""

import json
from collections.abc import Sequence
from typing import Any

import botocore.session
import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from entrepot.auth import grants as rights
from entrepot.auth.grants import ALL_USERS, AUTHENTICATED_USERS, Grant
from entrepot.protocols.s3 import acl
from entrepot.protocols.s3.errors import S3Error

MODEL = botocore.session.get_session().get_service_model("s3")
OWNER, OTHER, NOBODY = "a" * 64, "b" * 64, "c" * 64


def known(who: str) -> bool:
    return who in (OWNER, OTHER)


def sent(*grants: dict[str, Any], owner: dict[str, str] | None = None) -> bytes:
    """The body botocore sends."""
    policy = {"Owner": owner or {"ID": OWNER, "DisplayName": "main"}, "Grants": list(grants)}
    operation = MODEL.operation_model("PutBucketAcl")
    serializer = create_serializer("rest-xml", include_validation=False)
    body: bytes = serializer.serialize_to_request({"Bucket": "b", "AccessControlPolicy": policy}, operation)["body"]
    return body


def shown(body: bytes) -> Any:
    """What botocore makes of an answer."""
    shape = MODEL.operation_model("GetBucketAcl").output_shape
    found = create_parser("rest-xml").parse({"status_code": 200, "headers": {}, "body": body}, shape)
    return {name: found[name] for name in ("Owner", "Grants")}


def user(who: str, permission: str) -> dict[str, Any]:
    return {"Grantee": {"Type": "CanonicalUser", "ID": who}, "Permission": permission}


def group(uri: str, permission: str) -> dict[str, Any]:
    return {"Grantee": {"Type": "Group", "URI": uri}, "Permission": permission}


def of_id(who: str, permission: str) -> Grant:
    return {"kind": "id", "who": who, "permission": permission}


def of_group(uri: str, permission: str) -> Grant:
    return {"kind": "group", "who": uri, "permission": permission}


def test_grants_go_round_by_botocore_and_json_groups_first_owner_last() -> None:
    body = sent(
        user(OWNER, "FULL_CONTROL"),
        user(OTHER, "READ_ACP"),
        group(ALL_USERS, "READ"),
        user(OTHER, "WRITE"),
        group(AUTHENTICATED_USERS, "WRITE_ACP"),
    )
    found = json.loads(json.dumps(acl.read_acl(body, known)))
    assert shown(acl.write_acl(OWNER, "main", found, {OWNER: "main", OTHER: "alt <&>"}.__getitem__)) == {
        "Owner": {"ID": OWNER, "DisplayName": "main"},
        "Grants": [
            {"Grantee": {"Type": "Group", "URI": ALL_USERS}, "Permission": "READ"},
            {"Grantee": {"Type": "Group", "URI": AUTHENTICATED_USERS}, "Permission": "WRITE_ACP"},
            {"Grantee": {"Type": "CanonicalUser", "ID": OTHER, "DisplayName": "alt <&>"}, "Permission": "READ_ACP"},
            {"Grantee": {"Type": "CanonicalUser", "ID": OTHER, "DisplayName": "alt <&>"}, "Permission": "WRITE"},
            {"Grantee": {"Type": "CanonicalUser", "ID": OWNER, "DisplayName": "main"}, "Permission": "FULL_CONTROL"},
        ],
    }


def test_the_document_is_written_as_aws_does_and_read_again() -> None:
    body = acl.write_acl(OWNER, "main", acl.canned("public-read", OWNER, OWNER), lambda _: "main")
    xsi = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    assert body.decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Owner><ID>{OWNER}</ID><DisplayName>main</DisplayName></Owner><AccessControlList>"
        f'<Grant><Grantee {xsi} xsi:type="Group"><URI>{ALL_USERS}</URI></Grantee><Permission>READ</Permission></Grant>'
        f'<Grant><Grantee {xsi} xsi:type="CanonicalUser"><ID>{OWNER}</ID><DisplayName>main</DisplayName></Grantee>'
        "<Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>"
    )
    assert acl.read_acl(body, known) == acl.canned("public-read", OWNER, OWNER)


def test_no_grants_are_allowed() -> None:
    assert acl.read_acl(sent(), known) == []
    assert shown(acl.write_acl(OWNER, "main", [], str))["Grants"] == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"nonsense", "MalformedACLError"),
        (b"<Other/>", "MalformedACLError"),
        (b"<AccessControlPolicy/>", "MalformedACLError"),
        (b"<AccessControlPolicy><AccessControlList/></AccessControlPolicy>", "MalformedACLError"),
        (sent(user(OWNER, "read")), "MalformedACLError"),
        (sent(user(OWNER, "")), "MalformedACLError"),
        (sent({"Grantee": {"Type": "Robot", "ID": OWNER}, "Permission": "READ"}), "MalformedACLError"),
        (sent({"Grantee": {"ID": OWNER}, "Permission": "READ"}), "MalformedACLError"),
        (sent({"Grantee": {"Type": "CanonicalUser"}, "Permission": "READ"}), "MalformedACLError"),
        (sent({"Permission": "READ"}), "MalformedACLError"),
        (sent(*[user(OWNER, "READ")] * 101), "MalformedACLError"),
        (sent(owner={"DisplayName": "main"}), "MalformedACLError"),
        (sent(owner={"ID": ""}), "MalformedACLError"),
        (sent(owner={"ID": NOBODY}), "InvalidArgument"),
        (sent(user(NOBODY, "READ")), "InvalidArgument"),
        (sent(user("", "READ")), "InvalidArgument"),
        (sent(group("http://acs.amazonaws.com/groups/s3/LogDelivery", "WRITE")), "InvalidArgument"),
        (sent(group(OWNER, "WRITE")), "InvalidArgument"),
        (
            sent({"Grantee": {"Type": "AmazonCustomerByEmail", "EmailAddress": "a@b"}, "Permission": "READ"}),
            "UnresolvableGrantByEmailAddress",
        ),
    ],
)
def test_a_document_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(S3Error) as refused:
        acl.read_acl(body, known)
    assert (refused.value.s3_code, refused.value.status) == (code, 400)


def test_a_hundred_grants_are_allowed() -> None:
    assert len(acl.read_acl(sent(*[user(OWNER, "READ")] * 100), known)) == 100


FULL = of_id(OWNER, "FULL_CONTROL")


@pytest.mark.parametrize(
    ("name", "bucket_owner", "grants"),
    [
        ("private", OTHER, [FULL]),
        ("public-read", OTHER, [of_group(ALL_USERS, "READ"), FULL]),
        ("public-read-write", OTHER, [of_group(ALL_USERS, "READ"), of_group(ALL_USERS, "WRITE"), FULL]),
        ("authenticated-read", OTHER, [of_group(AUTHENTICATED_USERS, "READ"), FULL]),
        ("bucket-owner-read", OTHER, [of_id(OTHER, "READ"), FULL]),
        ("bucket-owner-read", OWNER, [FULL]),
        ("bucket-owner-full-control", OTHER, [of_id(OTHER, "FULL_CONTROL"), FULL]),
        ("bucket-owner-full-control", OWNER, [FULL]),
    ],
)
def test_canned_lists_are_what_they_say(name: str, bucket_owner: str, grants: list[Grant]) -> None:
    assert acl.canned(name, OWNER, bucket_owner) == grants


@pytest.mark.parametrize("name", ["", "Private", "public", "log-delivery-write", "aws-exec-read"])
def test_no_other_list_is_canned(name: str) -> None:
    with pytest.raises(S3Error) as refused:
        acl.canned(name, OWNER, OWNER)
    assert (refused.value.s3_code, refused.value.status) == ("InvalidArgument", 400)


@pytest.mark.parametrize(
    ("headers", "grants"),
    [
        ({}, []),
        ({"x-amz-acl": "private"}, []),
        ({"x-amz-grant-read": f'id="{OTHER}"'}, [of_id(OTHER, "READ")]),
        ({"x-amz-grant-full-control": f"id={OTHER}"}, [of_id(OTHER, "FULL_CONTROL")]),
        (
            {"x-amz-grant-write": f'ID = "{OTHER}" , uri="{ALL_USERS}"', "x-amz-grant-read-acp": f"uri={ALL_USERS}"},
            [of_group(ALL_USERS, "READ_ACP"), of_id(OTHER, "WRITE"), of_group(ALL_USERS, "WRITE")],
        ),
        ({"x-amz-grant-write-acp": f"id={OWNER},id={OTHER}"}, [of_id(OWNER, "WRITE_ACP"), of_id(OTHER, "WRITE_ACP")]),
    ],
)
def test_grant_headers_are_read(headers: dict[str, str], grants: list[Grant]) -> None:
    assert acl.header_grants(headers, known) == grants


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "InvalidArgument"),
        (OTHER, "InvalidArgument"),
        (f'id="{OTHER}', "InvalidArgument"),
        (f"id={OTHER},", "InvalidArgument"),
        (f"name={OTHER}", "InvalidArgument"),
        (f"id={NOBODY}", "InvalidArgument"),
        ("uri=http://acs.amazonaws.com/groups/s3/LogDelivery", "InvalidArgument"),
        ('emailAddress="a@example.org"', "UnresolvableGrantByEmailAddress"),
        (",".join([f"id={OTHER}"] * 101), "InvalidArgument"),
    ],
)
def test_a_grant_header_is_refused(value: str, code: str) -> None:
    with pytest.raises(S3Error) as refused:
        acl.header_grants({"x-amz-grant-read": value}, known)
    assert (refused.value.s3_code, refused.value.status) == (code, 400)


@pytest.mark.parametrize(
    ("grants", "anyone", "somebody", "other"),
    [
        ([FULL], "", "", ""),
        ([FULL, of_id(OTHER, "READ")], "", "", "READ"),
        ([FULL, of_id(OTHER, "WRITE_ACP")], "", "", "WRITE_ACP"),
        ([of_id(OTHER, "FULL_CONTROL")], "", "", "READ WRITE READ_ACP WRITE_ACP FULL_CONTROL"),
        ([of_group(ALL_USERS, "READ")], "READ", "READ", "READ"),
        ([of_group(AUTHENTICATED_USERS, "WRITE")], "", "WRITE", "WRITE"),
        ([of_group(ALL_USERS, "FULL_CONTROL")], *["READ WRITE READ_ACP WRITE_ACP FULL_CONTROL"] * 3),
        ([of_id(ALL_USERS, "READ")], "", "", ""),
        ([of_group(OTHER, "READ")], "", "", ""),
    ],
)
def test_who_may(grants: Sequence[Grant], anyone: str, somebody: str, other: str) -> None:
    for permission in acl.PERMISSIONS:
        assert rights.permits(grants, set(), False, permission) == (permission in anyone.split())
        assert rights.permits(grants, {NOBODY}, True, permission) == (permission in somebody.split())
        assert rights.permits(grants, {NOBODY, OTHER}, True, permission) == (permission in other.split())


@pytest.mark.parametrize("name", sorted(acl.CANNED))
def test_public_is_what_a_group_may(name: str) -> None:
    assert rights.is_public(acl.canned(name, OWNER, OTHER)) == (
        name.startswith("public") or name == "authenticated-read"
    )
