"""Bucket policies: the part of AWS's language that is enforced here; every other word is refused when it is put.

read_policy(b'{"Version": "2012-10-17", "Statement": […]}', "b") -> {"statements": [{"effect": "allow", …}]}
decide(policy, PolicyRequest({"<64 hex>"}, "s3:GetObject", "arn:aws:s3:::b/k", {"s3:prefix": ["a/"]})) -> "allow"

What is stored is made to be judged: the text as it was put, which `?policy` gives back, is to be kept beside it.
Left out, and refused: NotPrincipal, NotAction, NotResource, principals other than `*` and projects, variables (`${…}`),
ForAnyValue, ForAllValues, dates, numbers with a fraction, keys about encryption.
Limits: 20 KiB, 100 `?`. Source: s3.md 4; AWS, "IAM JSON policy elements reference", "Condition keys for Amazon S3", and
for `is_public` "The meaning of public".
"""

import ipaddress
import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal, NoReturn, TypedDict

from entrepot import strict_json
from entrepot.errors import BadRequest

MAX_BYTES: Final = 20 * 1024
MAX_QUESTION_MARKS: Final = 100
"""They cost time in every request; `*` does not."""
ARN: Final = "arn:aws:s3:::"
OBJECT_ACTIONS: Final = frozenset(
    """
    s3:GetObject s3:GetObjectVersion s3:GetObjectAttributes s3:GetObjectVersionAttributes s3:PutObject s3:DeleteObject
    s3:DeleteObjectVersion s3:GetObjectAcl s3:GetObjectVersionAcl s3:PutObjectAcl s3:PutObjectVersionAcl
    s3:GetObjectTagging s3:GetObjectVersionTagging s3:PutObjectTagging s3:PutObjectVersionTagging
    s3:DeleteObjectTagging s3:DeleteObjectVersionTagging s3:GetObjectRetention s3:PutObjectRetention
    s3:GetObjectLegalHold s3:PutObjectLegalHold s3:BypassGovernanceRetention s3:AbortMultipartUpload
    s3:ListMultipartUploadParts
    """.split()
)
BUCKET_ACTIONS: Final = frozenset(
    """
    s3:ListBucket s3:ListBucketVersions s3:ListBucketMultipartUploads s3:DeleteBucket s3:GetBucketLocation
    s3:GetBucketAcl s3:PutBucketAcl s3:GetBucketPolicy s3:PutBucketPolicy s3:DeleteBucketPolicy s3:GetBucketPolicyStatus
    s3:GetBucketCORS s3:PutBucketCORS s3:GetBucketTagging s3:PutBucketTagging s3:GetBucketVersioning
    s3:PutBucketVersioning s3:GetBucketPublicAccessBlock s3:PutBucketPublicAccessBlock s3:GetBucketOwnershipControls
    s3:PutBucketOwnershipControls s3:GetLifecycleConfiguration s3:PutLifecycleConfiguration
    s3:GetBucketObjectLockConfiguration s3:PutBucketObjectLockConfiguration
    """.split()
)
ACTIONS: Final = OBJECT_ACTIONS | BUCKET_ACTIONS
"""The actions a request can have, so those a policy can name."""

HEADER_KEYS: Final = frozenset(
    """
    x-amz-acl x-amz-content-sha256 x-amz-copy-source x-amz-metadata-directive x-amz-storage-class
    x-amz-grant-full-control x-amz-grant-read x-amz-grant-read-acp x-amz-grant-write x-amz-grant-write-acp
    """.split()
)
"""Headers whose value is a condition key, `s3:` before it."""

KEYS: Final = {
    "aws:sourceip": "address",
    "aws:securetransport": "bool",
    "aws:referer": "text",
    "s3:prefix": "text",
    "s3:delimiter": "text",
    "s3:max-keys": "number",
    **{f"s3:{name}": "text" for name in HEADER_KEYS},
}
"""Condition keys in lower case, and what their values are. A caller must give every one that its request has."""

TAG_KEYS: Final = ("s3:existingobjecttag/", "s3:requestobjecttag/")
"""How the keys for tags begin; the name of the tag follows, its case counts."""

_SHAPES: Final = {
    "text": re.compile(r"(?s).*\Z"),
    "bool": re.compile(r"(?:true|false)\Z"),
    "number": re.compile(r"-?[0-9]{1,18}\Z"),
}
_CANONICAL: Final = re.compile(r"(arn:aws:iam::)?([0-9a-f]{64})(?(1):root)\Z")
_PRIVATE: Final = [ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]


class MalformedPolicy(BadRequest):
    """A policy that cannot be read, or says what is not enforced here."""


class Condition(TypedDict):
    """One demand on one key; any of the values will do."""

    operator: str
    if_exists: bool
    key: str
    values: list[str]


class Statement(TypedDict):
    """What is allowed or denied, to whom, on what, and when. Actions and resources are patterns."""

    effect: Literal["allow", "deny"]
    principals: list[str]
    actions: list[str]
    resources: list[str]
    conditions: list[Condition]


class Policy(TypedDict):
    """A policy as it is judged."""

    statements: list[Statement]


@dataclass(frozen=True, slots=True)
class PolicyRequest:
    """What is to be judged: the ids of who asks (none if nobody proved), an action, the ARN of bucket or object, facts.

    `context` has the values of condition keys, in any case of letters; one that the request lacks is left out.
    """

    ids: Collection[str]
    action: str
    resource: str
    context: Mapping[str, Sequence[str]] = field(default_factory=dict)


def read_policy(data: bytes, bucket: str, known: Callable[[str], bool] | None = None) -> Policy:
    """The policy, fit for that bucket. `known`: whether an id is one of ours. Raises: MalformedPolicy."""
    if len(data) > MAX_BYTES:
        _refuse(f"Normalized policy document exceeds the maximum allowed size of {MAX_BYTES} bytes.")
    if data.count(b"?") > MAX_QUESTION_MARKS:
        _refuse(f"A policy has at most {MAX_QUESTION_MARKS} question marks; use * instead")
    if not data.lstrip().startswith(b"{"):
        _refuse("Policies must be valid JSON and the first byte must be '{'")
    try:
        document = strict_json.read_object(data)
    except ValueError as error:
        raise MalformedPolicy(f"This policy contains invalid Json: {error}") from error
    _only(document, "Version", "Id", "Statement")
    if document.get("Version", "2008-10-17") not in ("2008-10-17", "2012-10-17"):
        _refuse("The policy must contain a valid version string")
    if not isinstance(document.get("Id", ""), str):
        _refuse("The Id of a policy is a string")
    if "Statement" not in document:
        _refuse("Missing required field Statement")
    found = document["Statement"] if isinstance(document["Statement"], list) else [document["Statement"]]
    if not found:
        _refuse("Could not parse the policy: Statement is empty!")
    names = [item["Sid"] for item in found if isinstance(item, dict) and item.get("Sid", "") != ""]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        _refuse("Statement IDs (SID) in a single policy must be unique strings.")
    return {"statements": [_statement(item, bucket, known) for item in found]}


def decide(policy: Policy, request: PolicyRequest) -> Literal["allow", "deny"] | None:
    """What the policy says of the request: a denial wins over what allows it; None if it says nothing."""
    context = {_folded(key): values for key, values in request.context.items()}
    effects = {found["effect"] for found in policy["statements"] if _is_about(found, request, context)}
    return "deny" if "deny" in effects else "allow" if effects else None


def is_public(policy: Policy) -> bool:
    """Whether it allows anything to everybody, wherever they are; in a network of /8 or less is somewhere."""
    return any(
        found["effect"] == "allow" and "*" in found["principals"] and not any(map(_restricts, found["conditions"]))
        for found in policy["statements"]
    )


def _is_about(found: Statement, request: PolicyRequest, context: Mapping[str, Sequence[str]]) -> bool:
    resource = request.resource.removeprefix(ARN)
    return (
        any(who == "*" or who in request.ids for who in found["principals"])
        and any(_like(request.action.lower(), pattern) for pattern in found["actions"])
        and any(_like(resource, pattern) for pattern in found["resources"])
        and all(_holds(condition, context) for condition in found["conditions"])
    )


def _holds(condition: Condition, context: Mapping[str, Sequence[str]]) -> bool:
    have = context.get(condition["key"], ())
    if condition["operator"] == "Null":
        return ("false" if have else "true") in condition["values"]
    _, negated, test = _OPERATORS[condition["operator"]]
    if not have:
        return negated or condition["if_exists"]
    return negated != any(test(value, wanted) for value in have for wanted in condition["values"])


def _restricts(condition: Condition) -> bool:
    if condition["operator"] != "IpAddress" or condition["if_exists"]:
        return False
    return all(_is_narrow(_network(text)) for text in condition["values"])


def _is_narrow(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    if isinstance(network, ipaddress.IPv6Network):
        return network.prefixlen >= 32
    return network.prefixlen >= 8 or any(network.subnet_of(private) for private in _PRIVATE)


def _statement(item: Any, bucket: str, known: Callable[[str], bool] | None) -> Statement:
    if not isinstance(item, dict):
        _refuse("A Statement is an object")
    for name in ("NotPrincipal", "NotAction", "NotResource"):
        if name in item:
            _refuse(f"{name} is not possible here: say what is meant by {name[3:]}")
    _only(item, "Sid", "Effect", "Principal", "Action", "Resource", "Condition")
    for name in ("Effect", "Principal", "Action", "Resource"):
        if name not in item:
            _refuse(f"Missing required field {name}")
    if item["Effect"] not in ("Allow", "Deny"):
        _refuse(f"Invalid effect: {item['Effect']}")
    return {
        "effect": "allow" if item["Effect"] == "Allow" else "deny",
        "principals": _principals(item["Principal"], known),
        "actions": [_action(text) for text in _texts(item["Action"], "Policy has invalid action")],
        "resources": [_resource(text, bucket) for text in _texts(item["Resource"], "Policy has invalid resource")],
        "conditions": _conditions(item["Condition"]) if "Condition" in item else [],
    }


def _principals(value: Any, known: Callable[[str], bool] | None) -> list[str]:
    if value == "*":
        return ["*"]
    message = "Invalid principal in policy"
    if not isinstance(value, dict) or not value or not set(value) <= {"AWS", "CanonicalUser"}:
        _refuse(message)
    found = []
    for text in (text for texts in value.values() for text in _texts(texts, message)):
        canonical = _CANONICAL.match(text)
        if text != "*" and (canonical is None or (known is not None and not known(canonical[2]))):
            _refuse(message)
        found.append(canonical[2] if canonical else "*")
    return found


def _action(text: str) -> str:
    pattern = text.lower()
    if not any(_like(action.lower(), pattern) for action in ACTIONS):
        _refuse(f"Policy has invalid action: {text}")
    return pattern


def _resource(text: str, bucket: str) -> str:
    pattern = text.removeprefix(ARN)
    if pattern == text or "${" in text or not _like(bucket, pattern.partition("/")[0]):
        _refuse(f"Policy has invalid resource: {text}")
    return pattern


def _conditions(value: Any) -> list[Condition]:
    if not isinstance(value, dict):
        _refuse("A Condition is an object")
    return [
        _condition(name, key, values)
        for name, keys in value.items()
        for key, values in (keys if isinstance(keys, dict) else _refuse("A Condition is an object")).items()
    ]


def _condition(name: str, key: str, values: Any) -> Condition:
    plain = name.removesuffix("IfExists")
    known = _folded(key)
    kind = "text" if known.startswith(TAG_KEYS) and known not in TAG_KEYS else KEYS.get(known)
    if kind is None:
        _refuse(f"Policy has an invalid condition key: {key}")
    if name == "Null":
        kind = "bool"
    elif plain not in _OPERATORS or _OPERATORS[plain][0] != kind:
        _refuse(f"Invalid Condition type: {name} for {key}")
    texts = _texts(values, f"Invalid value for {key} in the policy")
    if not all(_is_of(kind, text) for text in texts):
        _refuse(f"Invalid value for {key} in the policy")
    return {"operator": plain, "if_exists": plain != name, "key": known, "values": texts}


def _is_of(kind: str, text: str) -> bool:
    if kind != "address":
        return _SHAPES[kind].match(text) is not None and "${" not in text
    try:
        _network(text)
    except ValueError:
        return False
    return True


def _texts(value: Any, message: str) -> list[str]:
    """One string or several; true, false and whole numbers are written as strings."""
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str | int) for item in items):
        _refuse(message)
    return [str(item).lower() if isinstance(item, bool) else str(item) for item in items]


def _folded(key: str) -> str:
    name, slash, tag = key.partition("/")
    return f"{name.lower()}{slash}{tag}"


def _like(text: str, pattern: str) -> bool:
    """Whether a pattern with `*` and `?` fits all of the text. Each `*` takes little, and is never gone back to."""
    first, *parts = pattern.split("*")
    if not parts:
        return len(text) == len(first) and _is_at(text, first, 0)
    last = parts.pop()
    place, end = len(first), len(text) - len(last)
    if place > end or not _is_at(text, first, 0) or not _is_at(text, last, end):
        return False
    for part in parts:
        found = next((at for at in _places(text, part, place, end) if _is_at(text, part, at)), None)
        if found is None:
            return False
        place = found + len(part)
    return True


def _places(text: str, part: str, start: int, end: int) -> Iterator[int]:
    """Where the part may begin: where what it has before its first `?` is found."""
    fixed, last = part.partition("?")[0], end - len(part)
    at = text.find(fixed, start, last + len(fixed)) if last >= start else -1
    while at >= 0:
        yield at
        at = text.find(fixed, at + 1, last + len(fixed))


def _is_at(text: str, part: str, place: int) -> bool:
    for run in part.split("?"):
        if not text.startswith(run, place):
            return False
        place += len(run) + 1
    return True


@lru_cache(maxsize=1024)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


def _is_within(text: str, wanted: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address) in _network(wanted)


def _same_letters(text: str, wanted: str) -> bool:
    return text.casefold() == wanted.casefold()


def _by_number(test: Callable[[int, int], bool]) -> Callable[[str, str], bool]:
    def compare(text: str, wanted: str) -> bool:
        return _SHAPES["number"].match(text) is not None and test(int(text), int(wanted))

    return compare


_OPERATORS: Final[dict[str, tuple[str, bool, Callable[[str, str], bool]]]] = {
    "StringEquals": ("text", False, operator.eq),
    "StringNotEquals": ("text", True, operator.eq),
    "StringEqualsIgnoreCase": ("text", False, _same_letters),
    "StringNotEqualsIgnoreCase": ("text", True, _same_letters),
    "StringLike": ("text", False, _like),
    "StringNotLike": ("text", True, _like),
    "IpAddress": ("address", False, _is_within),
    "NotIpAddress": ("address", True, _is_within),
    "Bool": ("bool", False, operator.eq),
    "NumericEquals": ("number", False, _by_number(operator.eq)),
    "NumericNotEquals": ("number", True, _by_number(operator.eq)),
    "NumericLessThan": ("number", False, _by_number(operator.lt)),
    "NumericLessThanEquals": ("number", False, _by_number(operator.le)),
    "NumericGreaterThan": ("number", False, _by_number(operator.gt)),
    "NumericGreaterThanEquals": ("number", False, _by_number(operator.ge)),
}
"""Each with the kind of key it is for, whether it is the opposite of its test, and the test: (value, wanted)."""


def _only(item: dict[str, Any], *names: str) -> None:
    for name in item:
        if name not in names:
            _refuse(f"Unknown field {name}")


def _refuse(message: str) -> NoReturn:
    raise MalformedPolicy(message)
