r"""aws-chunked bodies, with or without signatures and trailers.

    <hex>[;chunk-signature=…]\r\n<data>\r\n … 0[;chunk-signature=…]\r\n[name:value\r\n …]\r\n

Data passes on as views of the pieces that came, never joined. Signatures and trailers are judged before the body ends,
and so before anything is named. Source: AWS, "Transferring Payload in Multiple Chunks"; `auth.sigv4` for the texts.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from entrepot.auth import sigv4
from entrepot.auth.sigv2 import WrongSignature
from entrepot.errors import BodyCut
from entrepot.model import Body, Piece
from entrepot.protocols.s3.errors import S3Error

LEAST_CHUNK: Final = 8192
"""Any chunk but the last is at least so long."""
MAX_CHUNK: Final = 5 << 30
LINE_BYTES: Final = 4096
TRAILER_LINES: Final = 16
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[ \t]*chunk-signature=([0-9a-f]{64}))?[ \t]*\r\n\Z")
_TRAILER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*?)[ \t]*\r?\n\Z")
SIGNATURE: Final = b"x-amz-trailer-signature"

Hop = Callable[[Callable[[Sequence[Piece]], list[Piece]], Sequence[Piece]], Awaitable[list[Piece]]]
"""Runs the first with the second in a worker thread."""


class _At(Enum):
    SIZE = auto()
    DATA = auto()
    GAP = auto()
    """Between a chunk's data and the next line."""
    TRAILER = auto()
    END = auto()


def broken(what: str) -> S3Error:
    """The framing is not that of aws-chunked."""
    return S3Error("IncompleteBody", what)


@dataclass(slots=True)
class Signer:
    """What signs the chunks: `previous` is the request's own signature at first."""

    secret: str = field(repr=False)
    proof: sigv4.Proof
    previous: str
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def update(self, data: Piece) -> None:
        """Bytes of the chunk."""
        self._hash.update(data)

    def end(self, signature: str) -> None:
        """The chunk is whole. Raises: WrongSignature."""
        scope = self.proof.credential.scope
        text = sigv4.chunk_string_to_sign(self.proof.date, scope, self.previous, self._hash.hexdigest())
        self._check(signature, text)
        self._hash = hashlib.sha256()

    def end_trailer(self, signature: str, lines: bytes) -> None:
        """All trailers have come. Raises: WrongSignature."""
        scope, digest = self.proof.credential.scope, hashlib.sha256(lines).hexdigest()
        self._check(signature, sigv4.trailer_string_to_sign(self.proof.date, scope, self.previous, digest))

    def _check(self, signature: str, text: bytes) -> None:
        if not sigv4.is_signature(signature, self.secret, self.proof.credential, text):
            raise WrongSignature(text)
        self.previous = signature


class Decoder:
    """Pieces of framing in, pieces of data out."""

    def __init__(self, length: int | None, signer: Signer | None, *, trailers: bool) -> None:
        """`length`: of the data, as announced. `trailers`: whether any may come; they are in `found` at the end."""
        self.found: dict[str, str] = {}
        self._length, self._signer, self._trailers = length, signer, trailers
        self._at = _At.SIZE
        self._line = b""
        self._left = self._total = 0
        self._short = False
        self._signature = ""
        self._lines: list[bytes] = []

    def feed(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The data in `pieces`. Raises: S3Error for broken framing; WrongSignature."""
        data: list[Piece] = []
        for piece in pieces:
            view, at = memoryview(piece), 0
            while at < len(view) and self._at is not _At.END:
                if self._at is _At.DATA:
                    part = view[at : at + self._left]
                    at += len(part)
                    self._take(part)
                    data.append(part)
                else:
                    at = self._read_line(piece, at)
        return data

    def _take(self, part: memoryview) -> None:
        self._left -= len(part)
        if self._signer:
            self._signer.update(part)
        if not self._left:
            self._at = _At.GAP

    def _read_line(self, piece: Piece, start: int) -> int:
        """Where the line that goes on at `start` ends; it is read once it is whole."""
        end = bytes(piece[start : start + LINE_BYTES]).find(b"\n")
        stop = start + end + 1 if end >= 0 else len(piece)
        self._line += bytes(piece[start : min(stop, start + LINE_BYTES)])
        if len(self._line) > LINE_BYTES or (end < 0 and stop - start > LINE_BYTES):
            raise broken("a line of the chunked body is too long")
        if end >= 0:
            line, self._line = self._line, b""
            self._on_line(line)
        return stop

    def _on_line(self, line: bytes) -> None:
        if self._at is _At.SIZE:
            self._on_size(line)
        elif self._at is _At.GAP:
            if line != b"\r\n":
                raise broken("a chunk is longer than its size says")
            self._end_chunk()
            self._at = _At.SIZE
        elif line.strip():
            self._on_trailer(line)
        else:
            self._at = _At.END

    def _on_size(self, line: bytes) -> None:
        match = _SIZE.match(line)
        if match is None or (match[2] is None) != (self._signer is None):
            raise broken("a chunk does not begin with its size" + (" and signature" if self._signer else ""))
        size, self._signature = int(match[1], 16), (match[2] or b"").decode()
        if size and self._short:
            raise S3Error(
                "InvalidChunkSizeError", f"Only the last chunk is allowed to have a size less than {LEAST_CHUNK} bytes"
            )
        if size > MAX_CHUNK or (self._length is not None and self._total + size > self._length):
            raise broken("the chunks hold more than x-amz-decoded-content-length announces")
        self._short = size < LEAST_CHUNK
        self._left, self._total = size, self._total + size
        if size:
            self._at = _At.DATA
        else:
            self._end_chunk()
            self._at = _At.TRAILER

    def _end_chunk(self) -> None:
        if self._signer:
            self._signer.end(self._signature)

    def _on_trailer(self, line: bytes) -> None:
        match = _TRAILER.match(line)
        if match is None or not self._trailers or len(self._lines) >= TRAILER_LINES:
            raise S3Error("MalformedTrailerError", "The request contained trailing data that was not well-formed")
        name, value = match[1].lower(), match[2]
        self.found[name.decode()] = value.decode("latin-1")
        if name != SIGNATURE:
            self._lines.append(name + b":" + value + b"\n")

    def end(self) -> None:
        """The body is over. Raises: S3Error if that is too early; WrongSignature."""
        if self._line and self._at is _At.TRAILER:
            self._on_line(self._line + b"\n")
        if self._at not in (_At.TRAILER, _At.END):
            raise broken("the chunked body ends before its last chunk")
        if self._length is not None and self._total != self._length:
            raise broken(f"the chunks hold {self._total} bytes, x-amz-decoded-content-length says {self._length}")
        signature = self.found.pop(SIGNATURE.decode(), None)
        if self._signer and self._trailers:
            if signature is None:
                raise broken("the trailer is not signed")
            self._signer.end_trailer(signature, b"".join(self._lines))


async def decoded(
    body: Body, decoder: Decoder, ended: Callable[[dict[str, str]], None], hop: Hop | None
) -> AsyncIterator[list[Piece]]:
    """The data of `body`; `ended` is told the trailers and may refuse. `hop`: signed chunks are hashed in a thread."""
    try:
        async for pieces in body:
            data = await hop(decoder.feed, pieces) if hop else decoder.feed(pieces)
            if data:
                yield data
    except BodyCut as error:
        raise broken(error.what) from error
    decoder.end()
    ended(decoder.found)
