r"""aws-chunked bodies, with or without signatures and trailers.

    <hex>[;chunk-signature=…]\r\n<data>\r\n … 0[;chunk-signature=…]\r\n[name:value\r\n …]\r\n

Data passes on as views of the pieces that came, never joined. Signatures and trailers are judged before the body ends,
and so before anything is named. Source: AWS, "Transferring Payload in Multiple Chunks"; `auth.sigv4` for the texts;
openstack/swift:test/s3api/test_input_errors.py for what AWS makes of bodies that break the rules.
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
from entrepot.protocols.s3.errors import S3Error, another_length, cut_short, malformed_trailer

LEAST_CHUNK: Final = 8192
"""Any chunk but the last is at least so long."""
MAX_CHUNK: Final = 5 << 30
LINE_BYTES: Final = 4096
TRAILER_LINES: Final = 16
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;([^=\r\n]*)=([^\r\n]*))?\r\n\Z")
# minio-go ends the line of a signed trailer with \n\r\n.
_TRAILER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n]*)\n?\r\n\Z")
PARAMETER: Final = b"chunk-signature"
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


@dataclass(slots=True)
class Signer:
    """What signs the chunks: `previous` is the request's own signature at first."""

    secret: str = field(repr=False)
    proof: sigv4.Proof
    previous: str
    canonical_request: bytes = field(default=b"", repr=False)
    """Of the request; who has a chunk refused is shown it too."""
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
        """All trailers have come; no trailer is signed as an empty line. Raises: WrongSignature."""
        scope, digest = self.proof.credential.scope, hashlib.sha256(lines or b"\n").hexdigest()
        self._check(signature, sigv4.trailer_string_to_sign(self.proof.date, scope, self.previous, digest))

    def _check(self, signature: str, text: bytes) -> None:
        if not sigv4.is_signature(signature, self.secret, self.proof.credential, text):
            raise WrongSignature(text, self.proof.access_key, signature, self.canonical_request)
        self.previous = signature


class Decoder:
    """Pieces of framing in, pieces of data out."""

    def __init__(self, length: int | None, signer: Signer | None, *, trailers: bool) -> None:
        """`length`: of the data, as announced. `trailers`: whether any may come; they are in `found` at the end."""
        self.found: dict[str, str] = {}
        self._length, self._signer, self._trailers = length, signer, trailers
        self._at = _At.SIZE
        self._line = b""
        self._left = self._total = self._number = self._size = 0
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
        known = len(self._line)
        self._line += bytes(piece[start : start + LINE_BYTES - known])
        end = self._line.find(b"\r\n", max(0, known - 1)) + 2
        if end < 2:
            if len(self._line) >= LINE_BYTES:
                raise cut_short()
            return len(piece)
        line, self._line = self._line[:end], b""
        self._on_line(line)
        return start + end - known

    def _on_line(self, line: bytes) -> None:
        if self._at is _At.SIZE:
            self._on_size(line)
        elif self._at is _At.GAP:
            if line != b"\r\n":
                raise cut_short()
            self._end_chunk()
            self._at = _At.SIZE
        elif line != b"\r\n":
            self._on_trailer(line)
        else:
            self._at = _At.END

    def _on_size(self, line: bytes) -> None:
        match = _SIZE.match(line)
        if match is None or (match[2] is None) != (self._signer is None):
            raise cut_short()
        size, self._number = int(match[1], 16), self._number + 1
        if self._signer:
            self._signature = _signature(match[2], match[3])
        if size and 0 < self._size < LEAST_CHUNK:
            raise S3Error(
                "InvalidChunkSizeError", f"Only the last chunk is allowed to have a size less than {LEAST_CHUNK} bytes",
                ("Chunk", self._number), ("BadChunkSize", self._size),
            )  # fmt: skip
        if self._length is not None and self._total + size > self._length:
            raise another_length(self._total + size, self._length)
        if size > MAX_CHUNK:
            raise cut_short()
        self._left, self._total, self._size = size, self._total + size, size
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
            raise malformed_trailer()
        name, value = match[1].lower(), match[2].strip(b" \t")
        self.found[name.decode()] = value.decode("latin-1")
        if name != SIGNATURE:
            self._lines.append(name + b":" + value + b"\n")

    def end(self) -> None:
        """The body is over. Raises: S3Error if that is too early; WrongSignature."""
        if self._line or self._at not in (_At.TRAILER, _At.END):
            raise cut_short()
        signature = self.found.pop(SIGNATURE.decode(), None)
        if self._signer and self._trailers:
            if signature is None:
                raise cut_short()
            self._signer.end_trailer(signature, b"".join(self._lines))
            if not self._lines:
                raise cut_short()
        if self._length is not None and self._total != self._length:
            raise another_length(self._total, self._length)


def _signature(name: bytes, value: bytes) -> str:
    """The signature a chunk's parameter holds. One of another name stands in its place, and is a wrong one."""
    signature = value.strip(b" \t")
    if name.strip(b" \t") != PARAMETER:
        return f"{name.decode('latin-1')}={value.decode('latin-1')}"
    if not signature or b";" in signature:
        raise cut_short()
    return signature.decode("latin-1")


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
        raise cut_short() from error
    decoder.end()
    ended(decoder.found)
