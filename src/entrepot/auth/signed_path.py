"""URLs of ours that carry the right to one file: an HMAC over method, host, path, end, and for whom it was made.

Source: specs of security, section 2.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from entrepot.errors import BadRequest, Denied, Unauthenticated
from entrepot.model import Instant

FIELDS: Final = ("key", "until", "groups", "job")
SIGNATURE: Final = "sig"


def is_signed(query: Mapping[str, str]) -> bool:
    """Whether a URL brings a signature of this kind, or a part of one."""
    return SIGNATURE in query or "until" in query


def sign(secret: str, host: str, path: str, fields: Mapping[str, str]) -> str:
    """The query that opens `path` on `host` for GET and HEAD, as `fields` say: of `FIELDS`, `key` and `until` at least.

    `until` is seconds since the epoch.
    """
    return urlencode({**fields, SIGNATURE: _mac(secret, host, path, fields)})


def verify(secret: str, query: Mapping[str, str], host: str, path: str, now: Instant) -> None:
    """Nothing, if that query opens that path now.

    Raises: BadRequest if it lacks something; Unauthenticated for a wrong one; Denied for an expired one.
    """
    if not query.keys() >= {"key", "until", SIGNATURE} or not query["until"].isdecimal():
        raise BadRequest("the signature of the URL is not complete")
    if not hmac.compare_digest(_mac(secret, host, path, query).encode(), query[SIGNATURE].encode("utf-8", "replace")):
        raise Unauthenticated("the signature of the URL is wrong")
    if now >= int(query["until"]):
        raise Denied("the URL has expired", advice="ask for a new one")


def _mac(secret: str, host: str, path: str, fields: Mapping[str, str]) -> str:
    lines = ["entrepot-path/1", "GET", host.lower(), path, *(fields.get(name, "") for name in FIELDS)]
    text = "\n".join(f"{len(line)} {line}" for line in lines)
    return hmac.new(secret.encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
