"""What may be a name: of a project, a bucket, an account, a key. Text in, the same text out, or BadName."""

import re
from typing import Final

from entrepot.errors import BadName, NameTooLong

MAX_KEY_BYTES: Final = 1024
MAX_AREA_KEY_BYTES: Final = 1280
"""Where areas are: PROMINENCE puts their owner in front."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,61}[a-z0-9]\Z|[a-z0-9]\Z")
_REPOSITORY: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*\Z")
MAX_REPOSITORY_BYTES: Final = 255
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z")
_ACCOUNT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,127}\Z")


def project_name(text: str) -> str:
    """`text` as the name of a project: 1 to 63 of `a-z 0-9 . _ -`. Raises: BadName."""
    if not _PLAIN_NAME.match(text):
        raise BadName(f"not a project name: {text!r}", why="1 to 63 of a-z0-9._-, a letter or digit at both ends")
    return text


def bucket_name(text: str) -> str:
    """`text` as the name of a bucket: 3 to 63 of `a-z 0-9 . _ -`. Raises: BadName."""
    if len(text) < 3 or not _PLAIN_NAME.match(text):
        raise BadName(f"not a bucket name: {text!r}", why="3 to 63 of a-z0-9._-, a letter or digit at both ends")
    return text


def repository_path(text: str) -> str:
    """`text` as the name of a repository: up to 255 of `a-z 0-9`, with `. _ - /` between them. Raises: BadName.

    Source: OCI distribution-spec 1.1, "Pulling manifests".
    """
    if len(text) > MAX_REPOSITORY_BYTES or not _REPOSITORY.match(text):
        raise BadName(f"not a repository name: {text[:300]!r}", why="up to 255 of a-z0-9, with . _ - or / between them")
    return text


def tag_name(text: str) -> str:
    """`text` as a tag: 1 to 128 of letters, digits, `. _ -`, a letter, digit or `_` first. Raises: BadName."""
    if not _TAG.match(text):
        raise BadName(f"not a tag: {text[:200]!r}", why="1 to 128 of letters, digits and ._-, no . or - in front")
    return text


def account_name(text: str) -> str:
    """`text` as the name of a user or robot: 1 to 128 of letters, digits and `@ . _ + -`. Raises: BadName."""
    if not _ACCOUNT_NAME.match(text):
        raise BadName(f"not a user name: {text!r}", why="1 to 128 of letters, digits, @._+-, a letter or digit first")
    return text


def object_key(text: str, limit: int = MAX_KEY_BYTES) -> str:
    """`text` as a key: 1 to `limit` bytes of UTF-8 without control characters. `..` is only text.

    Raises: BadName; NameTooLong.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise BadName("a key is UTF-8") from error
    if not size:
        raise BadName("a key is not empty")
    if size > limit:
        raise NameTooLong("a key is too long", size, limit)
    if _CONTROL.search(text):
        raise BadName("a key holds no control characters")
    return text


def is_key(text: str, in_areas: bool) -> bool:
    """Whether anything can have that key, in a bucket with areas or without."""
    try:
        object_key(text, MAX_AREA_KEY_BYTES if in_areas else MAX_KEY_BYTES)
    except BadName:
        return False
    return True
