"""Reading JSON bodies into shapes."""

from typing import Final, TypeVar

import msgspec

from entrepot.errors import BadRequest
from entrepot.protocols.base import Request, read_json

MAX_JSON: Final = 64 << 10
ShapeT = TypeVar("ShapeT")


async def read_shape(request: Request, shape: type[ShapeT]) -> ShapeT:
    """The request's JSON body. Raises: as `read_json`; BadRequest, naming the member that is wrong."""
    try:
        return msgspec.convert(await read_json(request, MAX_JSON), shape)
    except ValueError as error:
        raise BadRequest("the body cannot be read", why=str(error)) from error
