"""Headers that keep stored bytes from acting as pages of this origin, on every answer a browser may show."""

import re
from typing import Final
from urllib.parse import quote

from entrepot.protocols.base import Header

_SHOWN: Final = {"image/png", "image/jpeg", "image/gif", "image/webp", "text/plain"}
SHIELD: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox; default-src 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""What every answer with a body carries, errors too."""
_UNSAFE: Final = re.compile(r'[^\x20-\x7e]|["\\]')


def shielded(content_type: str, key: str) -> list[Header]:
    """Content-Type and the headers beside it; anything but plain text and pictures is saved, not shown."""
    safe_type = content_type if content_type.isascii() and content_type.isprintable() else "application/octet-stream"
    return [
        (b"content-type", safe_type.encode()),
        *SHIELD,
        (b"content-disposition", disposition(safe_type, key).encode()),
    ]


def disposition(content_type: str, key: str) -> str:
    """`attachment` unless it is harmless, with the last part of the key as file name. Source: RFC 6266, 8187."""
    kind = content_type.partition(";")[0].strip().lower()
    name = key.rstrip("/").rpartition("/")[2] or "file"
    fallback = _UNSAFE.sub("_", name)
    how = "inline" if kind in _SHOWN else "attachment"
    return f"{how}; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe='')}"
