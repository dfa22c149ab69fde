"""Tags of objects and buckets: the XML body and the header in, an ordered dict out, and XML again.

read_tags(b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag>…", 10) -> {"a": "1"}
header_tags("a=1&b") -> {"a": "1", "b": ""}

Limits: 10 tags for an object, 50 for a bucket; keys of 1 to 128 and values of at most 256 characters, made of letters,
digits, spaces and `+-=._:/@`. Source: s3.md 2.9; AWS, "Categorizing your storage using tags"; the codes and texts are
those AWS answers (moto's tests marked aws_verified).
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from entrepot.protocols.s3 import xml
from entrepot.protocols.s3.errors import S3Error, invalid_argument

MAX_OBJECT_TAGS: Final = 10
MAX_BUCKET_TAGS: Final = 50
MAX_KEY: Final = 128
MAX_VALUE: Final = 256
_SIGNS: Final = frozenset("+-=._:/@")
_BAD_PERCENT: Final = re.compile("%(?![0-9A-Fa-f]{2})")
_HEADER: Final = (
    "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters "
    "without tag name duplicates."
)


def read_tags(data: bytes, most: int) -> dict[str, str]:
    """The tags of a Tagging document, at most `most`. Raises: S3Error MalformedXML, InvalidTag."""
    tags = xml.read(data, "Tagging").only("TagSet").one("TagSet").only("Tag").children
    return check_tags([(tag.only("Key", "Value").text_of("Key"), tag.text_of("Value")) for tag in tags], most)


def header_tags(text: str) -> dict[str, str]:
    """The tags of an object in `x-amz-tagging`. Raises: S3Error InvalidArgument, InvalidTag."""
    if not text.isascii():
        raise invalid_argument(_HEADER)
    pairs = sorted(pair.partition("=") for pair in text.split("&") if pair)  # AWS leaves their order open
    tags = [(_decoded(key), _decoded(value)) for key, _, value in pairs]
    keys = [key for key, _ in tags]
    if "" in keys or len(set(keys)) < len(keys):
        raise invalid_argument(_HEADER)
    return check_tags(tags, MAX_OBJECT_TAGS)


def write_tags(tags: Mapping[str, str]) -> bytes:
    """The Tagging document."""
    return xml.document(
        "Tagging", ("TagSet", *(("Tag", ("Key", key), ("Value", value)) for key, value in tags.items()))
    )


def check_tags(tags: Sequence[tuple[str, str]], most: int) -> dict[str, str]:
    """The pairs as a dict. Raises: S3Error InvalidTag."""
    if len(tags) > most:
        whose = "Bucket tag count" if most == MAX_BUCKET_TAGS else "Object tags"
        raise S3Error("InvalidTag", f"{whose} cannot be greater than {most}")
    for key, value in tags:
        _check_tag(key, value, most)
    found = dict(tags)
    if len(found) < len(tags):
        raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key")
    return found


def _check_tag(key: str, value: str, most: int) -> None:
    if key.lower().startswith("aws:"):
        of_bucket = most == MAX_BUCKET_TAGS
        message = (
            "System tags cannot be added/updated by requester"
            if of_bucket
            else "Your TagKey cannot be prefixed with aws:"
        )
        raise S3Error("InvalidTag", message)
    if not 1 <= len(key) <= MAX_KEY or not _is_plain(key):
        raise S3Error("InvalidTag", "The TagKey you have provided is invalid")
    if len(value) > MAX_VALUE or not _is_plain(value):
        raise S3Error("InvalidTag", "The TagValue you have provided is invalid")


def _is_plain(text: str) -> bool:
    return all(letter in _SIGNS or unicodedata.category(letter)[0] in "LNZ" for letter in text)


def _decoded(text: str) -> str:
    if _BAD_PERCENT.search(text):
        raise invalid_argument(_HEADER)
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeDecodeError as error:
        raise invalid_argument(_HEADER) from error
