"""What an S3 client asks for. Pure: request line in, one value out."""

from dataclasses import dataclass
from typing import ClassVar, Final
from urllib.parse import unquote_to_bytes

from entrepot.auth import sigv2
from entrepot.errors import BadName
from entrepot.model import Action
from entrepot.protocols.base import MethodNotAllowed

OPERATIONS: Final = (
    sigv2.SUB_RESOURCES
    | sigv2.UNSIGNABLE
    | frozenset(b"append defaultObjectAcl select-type storageClass list-type metadataTable".split())
)
"""Query keys that choose another operation than that of the bare path."""


@dataclass(frozen=True, slots=True)
class GetObject:  # GET, HEAD /<bucket>/<key>  200 206 304 403 404 412 416
    """The bytes of an object."""

    bucket: str
    key: str
    action: ClassVar = Action.GET


@dataclass(frozen=True, slots=True)
class PutObject:  # PUT /<bucket>/<key>  200, 201 into a bucket with areas if signed in the query
    """Put an object."""

    bucket: str
    key: str
    action: ClassVar = Action.CREATE


@dataclass(frozen=True, slots=True)
class PostForm:  # POST /<bucket>  204
    """Put an object by a form; its proof is among the fields."""

    bucket: str
    action: ClassVar = Action.CAPABILITY


@dataclass(frozen=True, slots=True)
class Unimplemented:  # 501; 403 without a proof, or with that of another method
    """What S3 has and this does not."""

    bucket: str
    key: str
    what: str
    action: ClassVar = Action.KNOWN


Call = GetObject | PutObject | PostForm | Unimplemented


def parse(method: str, raw_path: bytes, raw_query: bytes) -> Call:
    """The call these bytes mean. Raises: MethodNotAllowed; BadName."""
    bucket, slash, key = _text(raw_path[1:]).partition("/")
    asked = {name for name, _ in sigv2.parameters(raw_query)} & OPERATIONS
    if asked:
        return Unimplemented(bucket, key, f"the operation ?{min(asked).decode()}")
    match method, bool(slash and key):
        case (("GET" | "HEAD"), True):
            return GetObject(bucket, key)
        case "PUT", True:
            return PutObject(bucket, key)
        case "POST", False:
            return PostForm(bucket)
        case (("GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS" | "POST"), _):
            return Unimplemented(bucket, key, "this operation")
        case _:
            raise MethodNotAllowed("GET, HEAD, PUT, POST")


def _text(raw: bytes) -> str:
    if b"%00" in raw:
        raise BadName("a key holds no NUL")
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise BadName("a key is UTF-8") from error
