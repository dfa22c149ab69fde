"""CORS: which web pages may call a bucket from a browser.

read_cors(b"<CORSConfiguration>…") -> [{"origins": ["https://*.x.org"], "methods": ["GET"], "headers": [], …}]
preflight(rules, origin, method, names) -> headers of the answer to OPTIONS, None if no rule allows it
simple(rules, origin, method) -> headers for any other answer, errors too

The first rule that fits decides. An origin or header pattern has at most one `*`. A rule for the bare origin `*` is
answered with `*`, without credentials. Limits: 100 rules, ids of 255 characters.
Source: s3.md 2.9; AWS, "Elements of a CORS configuration"; Fetch Standard, "CORS protocol".
"""

import re
from collections.abc import Sequence
from typing import Final, NotRequired, TypedDict

from entrepot.protocols.base import Header
from entrepot.protocols.s3 import xml
from entrepot.protocols.s3.errors import S3Error, invalid_request, malformed_xml
from entrepot.protocols.s3.xml import Item, Node

MAX_RULES: Final = 100
MAX_ID: Final = 255
METHODS: Final = frozenset({"GET", "PUT", "POST", "DELETE", "HEAD"})
VARY: Final[Header] = (b"vary", b"Origin, Access-Control-Request-Headers, Access-Control-Request-Method")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_SECONDS: Final = re.compile(r"-?[0-9]{1,9}\Z")


class CorsRule(TypedDict):
    """A rule as it is stored."""

    id: NotRequired[str]
    origins: list[str]
    methods: list[str]
    headers: list[str]
    expose: list[str]
    max_age_seconds: NotRequired[int]


def read_cors(data: bytes) -> list[CorsRule]:
    """The rules of a CORSConfiguration, in order. Raises: S3Error MalformedXML, InvalidRequest."""
    nodes = xml.read(data, "CORSConfiguration").only("CORSRule").children
    if not nodes:
        raise malformed_xml()
    if len(nodes) > MAX_RULES:
        raise invalid_request(f"The number of CORS rules should not exceed allowed limit of {MAX_RULES} rules.")
    return [_rule(node) for node in nodes]


def write_cors(rules: Sequence[CorsRule]) -> bytes:
    """The CORSConfiguration document."""
    return xml.document("CORSConfiguration", *(_written(rule) for rule in rules))


def preflight(
    rules: Sequence[CorsRule], origin: str, method: str, request_headers: Sequence[str]
) -> list[Header] | None:
    """The headers that allow what a browser asks for, None if no rule does."""
    names = [name.lower() for name in request_headers]
    if not all(_TOKEN.match(name) for name in names):
        return None
    rule = _first(rules, origin, method, names)
    if rule is None:
        return None
    found = _allowed(rule, origin, method)
    if names:
        found.append((b"access-control-allow-headers", ", ".join(names).encode()))
    if (seconds := rule.get("max_age_seconds")) is not None:
        found.append((b"access-control-max-age", str(seconds).encode()))
    return found


def simple(rules: Sequence[CorsRule], origin: str, method: str) -> list[Header]:
    """The headers for an answer to `method`, with only Vary if no rule allows `origin` ("": the request names none)."""
    if not rules:
        return []
    rule = _first(rules, origin, method, [])
    return [VARY] if rule is None else _allowed(rule, origin, method)


def header_names(text: str) -> list[str]:
    """The names in Access-Control-Request-Headers. Raises: S3Error BadRequest for what is no name."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not _TOKEN.match(name):
            raise S3Error("BadRequest", f'Access-Control-Request-Headers "{name}" contains invalid character.')
    return names


def _first(rules: Sequence[CorsRule], origin: str, method: str, names: Sequence[str]) -> CorsRule | None:
    if not origin or not origin.isascii():
        return None
    for rule in rules:
        if (
            method in rule["methods"]
            and any(_fits(pattern, origin) for pattern in rule["origins"])
            and all(any(_fits(pattern.lower(), name) for pattern in rule["headers"]) for name in names)
        ):
            return rule
    return None


def _allowed(rule: CorsRule, origin: str, method: str) -> list[Header]:
    anyone = "*" in rule["origins"]
    found: list[Header] = [
        (b"access-control-allow-origin", b"*" if anyone else origin.encode()),
        (b"access-control-allow-methods", method.encode()),
    ]
    if not anyone:
        found.append((b"access-control-allow-credentials", b"true"))
    if rule["expose"]:
        found.append((b"access-control-expose-headers", ", ".join(rule["expose"]).encode()))
    found.append(VARY)
    return found


def _fits(pattern: str, text: str) -> bool:
    start, star, end = pattern.partition("*")
    if not star:
        return text == pattern
    return len(text) >= len(start) + len(end) and text.startswith(start) and text.endswith(end)


def _rule(node: Node) -> CorsRule:
    node.only("ID", "AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader", "MaxAgeSeconds")
    rule = CorsRule(
        origins=[_one_star("AllowedOrigin", child.text) for child in node.all("AllowedOrigin")],
        methods=[_method(child.text) for child in node.all("AllowedMethod")],
        headers=[_one_star("AllowedHeader", _name("AllowedHeader", child.text)) for child in node.all("AllowedHeader")],
        expose=[_exposed(_name("ExposeHeader", child.text)) for child in node.all("ExposeHeader")],
    )
    if not rule["origins"] or not rule["methods"]:
        raise malformed_xml()
    if node.all("ID"):
        rule["id"] = node.text_of("ID")
        if len(rule["id"]) > MAX_ID:
            raise invalid_request(f"The ID of a CORS rule has at most {MAX_ID} characters.")
    if node.all("MaxAgeSeconds"):
        seconds = node.text_of("MaxAgeSeconds").strip()
        if not _SECONDS.match(seconds):
            raise malformed_xml()
        rule["max_age_seconds"] = int(seconds)
    return rule


def _method(text: str) -> str:
    if text not in METHODS:
        raise invalid_request(f"Found unsupported HTTP method in CORS config. Unsupported method is {text}")
    return text


def _one_star(element: str, text: str) -> str:
    if not text:
        raise malformed_xml()
    if text.count("*") > 1:
        raise invalid_request(f'{element} "{text}" can not have more than one wildcard.')
    return text


def _name(element: str, text: str) -> str:
    if not _TOKEN.match(text):
        raise invalid_request(f'{element} "{text}" contains invalid character.')
    return text


def _exposed(text: str) -> str:
    if "*" in text:
        raise invalid_request(
            f'ExposeHeader "{text}" contains wildcard. We currently do not support wildcard for ExposeHeader.'
        )
    return text


def _written(rule: CorsRule) -> Item:
    seconds = rule.get("max_age_seconds")
    return (
        "CORSRule",
        ("ID", rule["id"]) if "id" in rule else None,
        *(("AllowedOrigin", text) for text in rule["origins"]),
        *(("AllowedMethod", text) for text in rule["methods"]),
        *(("AllowedHeader", text) for text in rule["headers"]),
        *(("ExposeHeader", text) for text in rule["expose"]),
        None if seconds is None else ("MaxAgeSeconds", seconds),
    )
