"""Headers of objects: what a PUT, a form or a copy says of one, and what a GET or HEAD shows.

An object's `extra` holds, of S3: `headers` (those below), `checksum` {algorithm, type, value if it is composite},
`tags`, `acl`, `retention`, `hold`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from entrepot.errors import BadName
from entrepot.model import Blob, StoredObject
from entrepot.protocols.base import Header, Request
from entrepot.protocols.s3 import lock
from entrepot.protocols.s3.claims import ALGORITHMS, PREFIX, base64_of
from entrepot.protocols.s3.errors import S3Error, invalid_request
from entrepot.services.links import CLAIM
from entrepot.services.places import AREAS_BUCKET

META: Final = "x-amz-meta-"
DEFAULT_TYPE: Final = "binary/octet-stream"
MAX_META_BYTES: Final = 2048
KEPT: Final = ("cache-control", "content-disposition", "content-encoding", "content-language", "expires")
OVERRIDES: Final = {f"response-{name}": name.encode() for name in (*KEPT, "content-type")}
FULL: Final = "FULL_OBJECT"
COMPOSITE: Final = "COMPOSITE"
_META_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+\Z")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def table_of(request: Request, query: Mapping[str, str]) -> dict[str, str]:
    """Headers by lower-case name, of `x-amz-*` also those that stand in the query; twins are joined by a comma.

    Each character of a value is one byte that was sent.
    """
    found: dict[str, str] = {}
    for raw, value in request.headers:
        name, text = raw.decode("latin-1"), value.decode("latin-1")
        found[name] = f"{found[name]},{text}" if name in found and name.startswith("x-amz-") else text
    for name, text in query.items():
        if name.lower().startswith("x-amz-") and not (name.lower().startswith(PREFIX) and text == "AAAAAA=="):
            found.setdefault(name.lower(), text.encode().decode("latin-1"))
    return found


def metadata_of(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The client's own metadata, without the checksum we keep ourselves. Raises: BadName; TooLarge."""
    found = {name.removeprefix(META): value for name, value in pairs if name.startswith(META) and name != CLAIM}
    if not all(_META_NAME.match(name) and not _CONTROL.search(value) for name, value in found.items()):
        raise BadName("metadata cannot be a header", why="its name is no token, or it holds control characters")
    if sum(len(name) + len(value.encode("latin-1", "replace")) for name, value in found.items()) > MAX_META_BYTES:
        raise S3Error("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size.")
    return found


def content_type(headers: Mapping[str, str]) -> str:
    """The type an object keeps. Raises: BadName."""
    found = headers.get("content-type") or DEFAULT_TYPE
    if _CONTROL.search(found):
        raise BadName("a content type holds no control characters")
    return found


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The system headers an object keeps."""
    found = {name: headers[name] for name in KEPT if headers.get(name)}
    if any(_CONTROL.search(value) for value in found.values()):
        raise BadName("a header holds control characters")
    return found


def shown(stored: StoredObject, query: Mapping[str, str], *, signed: bool) -> list[Header]:
    """What a GET or HEAD shows beside what every protocol does. Raises: S3Error for an unsigned `response-…`."""
    kept: dict[bytes, bytes] = {b"content-type": _encoded(stored.content_type)}
    kept |= {name.encode(): _encoded(value) for name, value in stored.extra.get("headers", {}).items()}
    overrides = {OVERRIDES[name]: value for name, value in query.items() if name in OVERRIDES}
    if overrides and not signed:
        raise invalid_request("Request specific response headers cannot be used for anonymous GET requests.")
    if any(_CONTROL.search(value) for value in overrides.values()):
        raise BadName("a header holds control characters")
    kept |= {name: _encoded(value) for name, value in overrides.items()}
    headers: list[Header] = list(kept.items())
    headers += [(_encoded(f"{META}{name}"), _encoded(value)) for name, value in stored.metadata.items()]
    if stored.bucket == AREAS_BUCKET:
        headers.append((CLAIM.encode(), stored.digest.hex.encode()))
    if stored.version_id:
        headers.append((b"x-amz-version-id", stored.version_id.encode()))
    headers += lock.lock_headers(stored.extra.get("retention"), stored.extra.get("hold"))
    tags = stored.extra.get("tags")
    if tags:
        headers.append((b"x-amz-tagging-count", str(len(tags)).encode()))
    return headers


def checksum_of(extra: Mapping[str, Any], blob: Blob) -> tuple[str, str, str] | None:
    """Name, type and base64 of the checksum an object is known by; None if it has none."""
    known = extra.get("checksum")
    if not known:
        return None
    name = known["algorithm"]
    value = known.get("value")
    if value is None:
        hex_ = blob.digest.hex if name == "SHA256" else blob.checksums.get(ALGORITHMS[name])
        if hex_ is None:
            return None
        value = base64_of(hex_)
    return name, known["type"], value


def checksum_headers(stored: StoredObject, blob: Blob, *, whole: bool = False) -> list[Header]:
    """The checksum an object is known by; if `whole`, also the sha256 of all of it, unless a composite stands there."""
    found = checksum_of(stored.extra, blob)
    headers: list[Header] = []
    if found:
        headers.append((f"{PREFIX}{found[0].lower()}".encode(), found[2].encode()))
        headers.append((b"x-amz-checksum-type", found[1].encode()))
    if whole and (found is None or found[0] != "SHA256"):
        headers.append((f"{PREFIX}sha256".encode(), base64_of(blob.digest.hex).encode()))
    return headers


def part_checksum_headers(stored: StoredObject, checksum: str | None) -> list[Header]:
    """The checksum of one part, in hex, as the object's own is shown."""
    known = stored.extra.get("checksum")
    if not known or checksum is None:
        return []
    return [
        (f"{PREFIX}{known['algorithm'].lower()}".encode(), base64_of(checksum).encode()),
        (b"x-amz-checksum-type", known["type"].encode()),
    ]


def _encoded(text: str) -> bytes:
    return text.encode("latin-1", "replace")
