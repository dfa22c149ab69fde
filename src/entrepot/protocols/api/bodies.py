"""Reading JSON bodies into shapes."""

from typing import Final, TypeVar

import msgspec

from entrepot import strict_json
from entrepot.errors import BadRequest
from entrepot.protocols.base import Request, UnsupportedType

MAX_JSON: Final = 64 << 10
ShapeT = TypeVar("ShapeT")


async def read_shape(request: Request, shape: type[ShapeT]) -> ShapeT:
    """The request's JSON body. Raises: UnsupportedType; TooLarge; BadRequest, naming the member that is wrong."""
    kind = (request.header(b"content-type") or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedType("the body is not JSON", advice="send Content-Type: application/json")
    try:
        return msgspec.convert(strict_json.read_body(await request.read(MAX_JSON)), shape)
    except ValueError as error:
        raise BadRequest("the body cannot be read", why=str(error)) from error
