"""Lifecycle rules, read and written as S3 has them; `services.lifecycle` knows when each thing they govern expires.

read_lifecycle(b"<LifecycleConfiguration>…") -> [{"id": "r", "enabled": True, "form": "filter", "tags": {}, "days": 30}]

Limits: 1 to 1,000 rules, ids of 255 characters. Source: s3.md 2.9; AWS, "Lifecycle configuration elements".
"""

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from entrepot.model import Instant
from entrepot.protocols.s3 import xml
from entrepot.protocols.s3.errors import S3Error, invalid_argument, invalid_request, malformed_xml
from entrepot.protocols.s3.tagging import MAX_KEY, MAX_VALUE
from entrepot.protocols.s3.xml import Item, Node
from entrepot.services.lifecycle import Rule

MAX_RULES: Final = 1000
MAX_ID: Final = 255
MAX_NUMBER: Final = 2**31 - 1
MAX_KEPT_VERSIONS: Final = 100
_DAY_SECONDS: Final = 86_400
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}\Z")
_DATE: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00))?\Z", re.ASCII)
_ELEMENTS: Final = (
    "ID Status Prefix Filter Expiration NoncurrentVersionExpiration AbortIncompleteMultipartUpload".split()
)


def read_lifecycle(data: bytes) -> list[Rule]:
    """The rules, each with an id. Raises: S3Error MalformedXML, InvalidArgument, InvalidRequest, NotImplemented."""
    nodes = xml.read(data, "LifecycleConfiguration").only("Rule").children
    if not 1 <= len(nodes) <= MAX_RULES:
        raise malformed_xml()
    rules = [_rule(node, place) for place, node in enumerate(nodes)]
    if len({rule["id"] for rule in rules}) < len(rules):
        raise invalid_argument("Rule ID must be unique. Found same ID for more than one rule")
    return rules


def write_lifecycle(rules: Sequence[Rule]) -> bytes:
    """The LifecycleConfiguration document."""
    return xml.document("LifecycleConfiguration", *(_written(rule) for rule in rules))


def _rule(node: Node, place: int) -> Rule:
    for name in ("Transition", "NoncurrentVersionTransition"):
        if node.all(name):
            raise S3Error("NotImplemented", f"{name} is not possible: there is one storage class")
    node.only(*_ELEMENTS)
    status = node.text_of("Status")
    if status not in ("Enabled", "Disabled"):
        raise malformed_xml()
    rule: Rule = {"id": "", "enabled": status == "Enabled", "form": "filter", "tags": {}}
    _read_scope(node, rule)
    _read_expiration(node, rule)
    _read_noncurrent(node, rule)
    _read_abort(node, rule)
    if not any(node.all(name) for name in _ELEMENTS[-3:]):
        raise invalid_request("At least one action needs to be specified in a rule")
    rule["id"] = _read_id(node) or _made_id(rule, place)
    return rule


def _read_id(node: Node) -> str:
    name = node.text_of("ID", "")
    if len(name) > MAX_ID:
        raise invalid_argument(f"ID length should not exceed allowed limit of {MAX_ID}")
    return name


def _made_id(rule: Rule, place: int) -> str:
    """The same for the same document."""
    return hashlib.sha256(json.dumps([place, rule], sort_keys=True).encode()).hexdigest()[:32]


def _read_scope(node: Node, rule: Rule) -> None:
    if bool(node.all("Prefix")) == bool(node.all("Filter")):
        raise malformed_xml()
    if node.all("Prefix"):
        rule["form"], rule["prefix"] = "prefix", node.text_of("Prefix")
        return
    scope = node.one("Filter").only("Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan", "And")
    if len(scope.children) > 1:
        raise malformed_xml()
    if scope.all("And"):
        rule["form"] = "and"
        scope = scope.one("And").only("Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan")
        if not scope.children:
            raise malformed_xml()
    if scope.all("Prefix"):
        rule["prefix"] = scope.text_of("Prefix")
    _read_tags(scope, rule)
    _read_sizes(scope, rule)


def _read_tags(scope: Node, rule: Rule) -> None:
    for tag in scope.all("Tag"):
        key, value = tag.only("Key", "Value").text_of("Key"), tag.text_of("Value")
        if key in rule["tags"]:
            raise invalid_request("Duplicate Tag Keys are not allowed.")
        if not 1 <= len(key) <= MAX_KEY:
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid")
        if len(value) > MAX_VALUE:
            raise S3Error("InvalidTag", "The TagValue you have provided is invalid")
        rule["tags"][key] = value


def _read_sizes(scope: Node, rule: Rule) -> None:
    if scope.all("ObjectSizeGreaterThan"):
        rule["larger_than"] = _number(scope, "ObjectSizeGreaterThan", "Filter", least=0, most=2**63 - 1)
    if scope.all("ObjectSizeLessThan"):
        rule["smaller_than"] = _number(scope, "ObjectSizeLessThan", "Filter", most=2**63 - 1)
    if rule.get("smaller_than", 2**63) <= rule.get("larger_than", -1):
        raise invalid_request("'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.")


def _read_expiration(node: Node, rule: Rule) -> None:
    if not node.all("Expiration"):
        return
    what = node.one("Expiration").only("Days", "Date", "ExpiredObjectDeleteMarker")
    if len(what.children) != 1:
        raise malformed_xml()
    if what.all("Days"):
        rule["days"] = _number(what, "Days", "Expiration action")
    elif what.all("Date"):
        rule["date"] = _midnight(what.text_of("Date").strip())
    else:
        word = what.text_of("ExpiredObjectDeleteMarker").strip()
        if word not in ("true", "false"):
            raise malformed_xml()
        if rule["tags"]:
            raise invalid_request("ExpiredObjectDeleteMarker cannot be specified with Tags.")
        rule["lone_markers"] = word == "true"


def _read_noncurrent(node: Node, rule: Rule) -> None:
    if not node.all("NoncurrentVersionExpiration"):
        return
    action = "NoncurrentVersionExpiration action"
    what = node.one("NoncurrentVersionExpiration").only("NoncurrentDays", "NewerNoncurrentVersions")
    rule["noncurrent_days"] = _number(what, "NoncurrentDays", action)
    if what.all("NewerNoncurrentVersions"):
        rule["kept_versions"] = _number(what, "NewerNoncurrentVersions", action, most=MAX_KEPT_VERSIONS)


def _read_abort(node: Node, rule: Rule) -> None:
    if not node.all("AbortIncompleteMultipartUpload"):
        return
    if rule["tags"]:
        raise invalid_request("AbortIncompleteMultipartUpload cannot be specified with Tags.")
    if "larger_than" in rule or "smaller_than" in rule:
        raise invalid_request("AbortIncompleteMultipartUpload cannot be specified with Object Size.")
    what = node.one("AbortIncompleteMultipartUpload").only("DaysAfterInitiation")
    rule["upload_days"] = _number(what, "DaysAfterInitiation", "AbortIncompleteMultipartUpload action")


def _number(node: Node, name: str, where: str, least: int = 1, most: int = MAX_NUMBER) -> int:
    text = node.text_of(name).strip()
    if not _WHOLE.match(text):
        raise malformed_xml()
    number = int(text)
    if number < least:
        raise invalid_argument(f"'{name}' for {where} must be a {'positive' if least else 'non-negative'} integer")
    if number > most:
        raise invalid_argument(f"'{name}' for {where} must be at most {most}")
    return number


def _midnight(text: str) -> Instant:
    found = _DATE.match(text)
    if found is None:
        raise malformed_xml()
    try:
        at = datetime.fromisoformat(f"{found[1]}T{found[2] or '00:00:00'}+00:00")
    except ValueError as error:
        raise malformed_xml() from error
    if at.timestamp() % _DAY_SECONDS or int(found[3] or "0"):
        raise invalid_argument("'Date' must be at midnight GMT")
    return at.timestamp()


def _written(rule: Rule) -> Item:
    return (
        "Rule",
        ("ID", rule["id"]),
        _written_scope(rule),
        ("Status", "Enabled" if rule["enabled"] else "Disabled"),
        _written_expiration(rule),
        _group(
            "NoncurrentVersionExpiration",
            ("NoncurrentDays", rule.get("noncurrent_days")),
            ("NewerNoncurrentVersions", rule.get("kept_versions")),
        ),
        _group("AbortIncompleteMultipartUpload", ("DaysAfterInitiation", rule.get("upload_days"))),
    )


def _written_scope(rule: Rule) -> Item:
    if rule["form"] == "prefix":
        return ("Prefix", rule.get("prefix", ""))
    conditions: list[Item] = [
        *([("Prefix", rule["prefix"])] if "prefix" in rule else []),
        *(("Tag", ("Key", key), ("Value", value)) for key, value in rule["tags"].items()),
        *([("ObjectSizeGreaterThan", rule["larger_than"])] if "larger_than" in rule else []),
        *([("ObjectSizeLessThan", rule["smaller_than"])] if "smaller_than" in rule else []),
    ]
    return ("Filter", ("And", *conditions)) if rule["form"] == "and" else ("Filter", *conditions)


def _written_expiration(rule: Rule) -> Item | None:
    if "date" in rule:
        return ("Expiration", ("Date", f"{datetime.fromtimestamp(rule['date'], UTC):%Y-%m-%dT00:00:00.000Z}"))
    if "lone_markers" in rule:
        return ("Expiration", ("ExpiredObjectDeleteMarker", "true" if rule["lone_markers"] else "false"))
    return _group("Expiration", ("Days", rule.get("days")))


def _group(name: str, *items: Item) -> Item | None:
    """The element with those items that have a value; None if none has."""
    found = [item for item in items if item[1] is not None]
    return (name, *found) if found else None
