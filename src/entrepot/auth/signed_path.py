"""URLs of ours that carry the right to one file: an HMAC over method, host, path and end.

Source: specs of security, section 2.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from entrepot.errors import Denied, Unauthenticated
from entrepot.model import Instant

FIELDS: Final = ("key", "until", "sig")


def sign(secret: str, key_id: str, host: str, path: str, until: int) -> str:
    """The query that opens `path` on `host` for GET and HEAD, until that second since the epoch."""
    return urlencode({"key": key_id, "until": until, "sig": _mac(secret, key_id, host, path, str(until))})


def verify(secret: str, query: Mapping[str, str], host: str, path: str, now: Instant) -> None:
    """Nothing, if that query opens that path now. Raises: Unauthenticated for a wrong one; Denied for an expired."""
    until = query["until"]
    expected = _mac(secret, query["key"], host, path, until)
    if not hmac.compare_digest(expected.encode(), query["sig"].encode("utf-8", "surrogatepass")):
        raise Unauthenticated("the signature of the URL is wrong")
    if now >= int(until):
        raise Denied("the URL has expired", advice="ask for a new one")


def _mac(secret: str, key_id: str, host: str, path: str, until: str) -> str:
    text = f"entrepot-path/1\nGET\n{host.lower()}\n{path}\n{key_id}\n{until}"
    return hmac.new(secret.encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
