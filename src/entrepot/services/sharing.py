"""What a bucket says of its guests: its policy, its access control list, and those of its objects.

A policy's denial wins over everything; what it allows, and what a grant allows, comes on top of roles.
"""

from collections.abc import Sequence
from typing import Final

from entrepot.auth import bucket_policy
from entrepot.auth.bucket_policy import ARN, PolicyRequest
from entrepot.auth.grants import Grant, canonical_id, full_control, permits
from entrepot.auth.permissions import NEEDS
from entrepot.catalog import objects, projects
from entrepot.catalog.database import Transaction
from entrepot.model import Bucket, StoredObject, VersionId
from entrepot.principals import Action, Kind, Principal

WORDS: Final = frozenset({"policy", "acl", "publicAccessBlock"})
"""Parts of a bucket's configuration that this page reads."""
_OPERATIONS: Final = {
    Action.GET: "s3:GetObject",
    Action.LIST: "s3:ListBucket",
    Action.CREATE: "s3:PutObject",
    Action.OVERWRITE: "s3:PutObject",
    Action.DELETE: "s3:DeleteObject",
}
"""What an action is in a policy's words, where the protocol does not say it more exactly."""
_TAG: Final = "s3:existingobjecttag/"
_BY_BUCKET: Final = {
    "s3:ListBucket": "READ",
    "s3:ListBucketVersions": "READ",
    "s3:ListBucketMultipartUploads": "READ",
    "s3:PutObject": "WRITE",
    "s3:DeleteObject": "WRITE",
    "s3:AbortMultipartUpload": "WRITE",
    "s3:ListMultipartUploadParts": "WRITE",
    "s3:GetBucketAcl": "READ_ACP",
    "s3:PutBucketAcl": "WRITE_ACP",
}
_BY_OBJECT: Final = {
    "s3:GetObject": "READ",
    "s3:GetObjectVersion": "READ",
    "s3:GetObjectAttributes": "READ",
    "s3:GetObjectVersionAttributes": "READ",
    "s3:GetObjectAcl": "READ_ACP",
    "s3:GetObjectVersionAcl": "READ_ACP",
    "s3:PutObjectAcl": "WRITE_ACP",
    "s3:PutObjectVersionAcl": "WRITE_ACP",
}
"""What grants on a bucket or an object open. Source: AWS, "Mapping of ACL permissions and policy permissions"."""
_ATTRIBUTES: Final = "Attributes"
"""Ends operations that tell of an object, which who may not read it may not ask either."""


def bucket_says(
    tx: Transaction, principal: Principal, action: Action, bucket: Bucket, key: str, version: VersionId | None
) -> bool | None:
    """Whether policy and grants of the bucket allow it, or the policy denies it; None if they say nothing."""
    block = bucket.config.get("publicAccessBlock", {})
    ids = _ids(tx, principal, action)
    said = _policy_says(tx, principal, action, bucket, key, version, ids)
    if said == "deny":
        return False
    member = bucket.project_id in principal.roles
    if said == "allow" and (member or not block.get("RestrictPublicBuckets") or not _is_public(bucket)):
        return True
    wanted = _BY_BUCKET.get(_operation(principal, action))
    grants = _heeded(bucket, bucket.config.get("acl", ()))
    if wanted and permits(grants, ids, principal.kind is not Kind.ANONYMOUS, wanted):
        return True
    return None


def writes_by_grant(tx: Transaction, principal: Principal, bucket: Bucket) -> bool:
    """Whether a guest writes there by a grant on the bucket, and so says who else reads what it writes."""
    if principal.grant or bucket.project_id in principal.roles:
        return False
    ids = _ids(tx, principal, Action.OVERWRITE)
    grants = _heeded(bucket, bucket.config.get("acl", ()))
    return permits(grants, ids, principal.kind is not Kind.ANONYMOUS, "WRITE")


def object_says(
    tx: Transaction, principal: Principal, action: Action, bucket: Bucket, key: str, version: VersionId | None
) -> bool:
    """Whether grants of that object allow it: reading it, or its list of grants."""
    wanted = _BY_OBJECT.get(_operation(principal, action))
    found = version_in(tx, bucket, key, version) if wanted else None
    if wanted is None or found is None or principal.grant:
        return False
    grants = _heeded(bucket, found.extra.get("acl") or [full_control(found.owner)])
    return permits(grants, _ids(tx, principal, action), principal.kind is not Kind.ANONYMOUS, wanted)


def _operation(principal: Principal, action: Action) -> str:
    """What is asked for in a policy's words; empty if it has none."""
    return principal.origin.operation or _OPERATIONS.get(action, "")


def owner_of(bucket: Bucket, writer: Principal) -> str:
    """The project whose a new object is: a guest's own, if the bucket leaves it to guests; else the bucket's."""
    if bucket.project_id in writer.roles or writer.admin or writer.kind is Kind.ANONYMOUS or bucket.areas:
        return bucket.project
    return bucket.project if bucket.config.get("ownershipControls") == "BucketOwnerEnforced" else writer.project


def _heeded(bucket: Bucket, grants: Sequence[Grant]) -> list[Grant]:
    """The grants that count: none where the bucket's owner enforces that, none to everybody where that is blocked.

    Where there are areas, none to the bucket's own project: its roles do not open them either.
    """
    if bucket.config.get("ownershipControls") == "BucketOwnerEnforced":
        return []
    blocked = bucket.config.get("publicAccessBlock", {}).get("IgnorePublicAcls")
    own = canonical_id(bucket.project) if bucket.areas else ""
    return [grant for grant in grants if grant["who"] != own and not (blocked and grant["kind"] == "group")]


def _policy_says(
    tx: Transaction,
    principal: Principal,
    action: Action,
    bucket: Bucket,
    key: str,
    version: VersionId | None,
    ids: frozenset[str],
) -> str | None:
    policy = bucket.config.get("policy")
    if policy is None:
        return None
    origin = principal.origin
    operation = _operation(principal, action)
    words: dict[str, Sequence[str]] = {"aws:SourceIp": [origin.address]} if origin.address else {}
    if action is Action.LIST and key:
        words["s3:prefix"] = [key]
    if origin.words:
        words |= origin.words()
    if key and any(
        one["key"].startswith(_TAG) for found in policy["read"]["statements"] for one in found["conditions"]
    ):
        stored = version_in(tx, bucket, key, version)
        words |= {f"{_TAG}{name}": [text] for name, text in (stored.extra.get("tags", {}) if stored else {}).items()}
    where = f"{bucket.name}/{key}" if key and operation not in bucket_policy.BUCKET_ACTIONS else bucket.name
    asked = {operation, operation.removesuffix(_ATTRIBUTES)}
    said = {bucket_policy.decide(policy["read"], PolicyRequest(ids, one, f"{ARN}{where}", words)) for one in asked}
    return "deny" if "deny" in said else said.pop() if len(said) == 1 else None


def denies_some(bucket: Bucket) -> bool:
    """Whether the policy of the bucket denies anything to anybody."""
    policy = bucket.config.get("policy")
    return policy is not None and any(found["effect"] == "deny" for found in policy["read"]["statements"])


def version_in(tx: Transaction, bucket: Bucket, key: str, version: VersionId | None) -> StoredObject | None:
    """The very version that is asked for: the grants of another say nothing of it."""
    return objects.find(tx, bucket, key) if version is None else objects.find_any(tx, bucket, key, version.number)


def _is_public(bucket: Bucket) -> bool:
    policy = bucket.config.get("policy")
    return policy is not None and bucket_policy.is_public(policy["read"])


def _ids(tx: Transaction, principal: Principal, action: Action) -> frozenset[str]:
    """The projects the principal may speak for in that action: its role there must be enough for it at home."""
    needed = NEEDS.get(action, 0)
    found = (projects.by_id(tx, project_id) for project_id, role in principal.roles.items() if role >= needed)
    return frozenset(canonical_id(one.name) for one in found if one)
