"""multipart/form-data, streamed: small fields first, then the file part, known by its name, as a body."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from entrepot.errors import BadRequest, BodyCut, TooLarge
from entrepot.model import Body, Piece
from entrepot.protocols.base import Request, UnsupportedType

MAX_FIELDS: Final = 100
MAX_FIELD_BYTES: Final = 64 << 10


class _Mark(Enum):
    BATCH_ENDS = auto()


_Event: TypeAlias = object
"""A part begins (MultipartSegment), bytes of it, a batch of the request ends (_Mark), the part ends (None)."""


@dataclass(frozen=True, slots=True)
class Form:
    """The fields before the file, in order; `file` is its body, to be read once. None: the form has no such part."""

    fields: tuple[tuple[str, str], ...]
    file: Body | None
    filename: str = ""
    content_type: str = ""


async def read_form(request: Request, file_field: str = "file") -> Form:
    """The form up to its file; whatever comes after the file is read and dropped.

    Raises: UnsupportedType; BadRequest for broken framing; TooLarge for over 100 fields or 64 KiB of them; BodyCut.
    """
    events = _events(request, _parser(request))
    fields: list[tuple[str, str]] = []
    size = 0
    async for event in events:
        if not isinstance(event, MultipartSegment):
            continue
        name = event.name or ""
        if name.lower() == file_field:
            return Form(tuple(fields), _file(events), event.filename or "", event.content_type or "")
        value = await _value(events, MAX_FIELD_BYTES - size)
        size += len(name) + len(value)
        fields.append((name, value))
        if len(fields) > MAX_FIELDS:
            raise TooLarge(f"the form has more than {MAX_FIELDS} fields")
    return Form(tuple(fields), None)


def _parser(request: Request) -> PushMultipartParser:
    kind, options = parse_options_header(request.header(b"content-type") or "")
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not 0 < len(boundary) <= 200:
        raise UnsupportedType("the body is not multipart/form-data with a boundary")
    try:
        return PushMultipartParser(boundary, max_segment_count=1000, max_header_size=64 << 10, max_header_count=16)
    except MultipartError as error:
        raise UnsupportedType("the form's boundary cannot be one") from error


async def _events(request: Request, parser: PushMultipartParser) -> AsyncIterator[_Event]:
    """What the parser sees, and where each batch of the request ends. Raises: BadRequest; BodyCut."""
    ended = False
    try:
        async for pieces in request.body:
            for piece in pieces:
                for event in parser.parse(bytes(piece) if isinstance(piece, memoryview) else piece):
                    yield event
            yield _Mark.BATCH_ENDS
        ended = True
        parser.close()
    except MultipartError as error:
        if ended:
            raise BodyCut("the form has no end") from error
        raise BadRequest("the form cannot be read", why=str(error)) from error


async def _value(events: AsyncIterator[_Event], limit: int) -> str:
    """The rest of the current part, as text. Raises: TooLarge; BadRequest."""
    found = bytearray()
    async for event in events:
        if event is None:
            break
        if isinstance(event, bytes | bytearray):
            found += event
        if len(found) > limit:
            raise TooLarge(f"the form's fields have more than {MAX_FIELD_BYTES} bytes")
    try:
        return found.decode()
    except UnicodeDecodeError as error:
        raise BadRequest("a form field is not UTF-8") from error


async def _file(events: AsyncIterator[_Event]) -> AsyncIterator[Sequence[Piece]]:
    """The rest of the current part, a batch for each batch of the request; then the form to its end."""
    batch: list[Piece] = []
    inside = True
    async for event in events:
        if event is None:
            inside = False
        elif inside and isinstance(event, bytes | bytearray):
            batch.append(event)
        if batch and event in (None, _Mark.BATCH_ENDS):
            yield batch
            batch = []
