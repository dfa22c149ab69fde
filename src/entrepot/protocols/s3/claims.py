"""What an S3 request says of its body: length, checksums, and how it is packed. Headers in, claims out.

Source: AWS, "Checking object integrity"; the rules of section 2.7 of the S3 notes in `docs/s3.md`.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from entrepot.auth import sigv4
from entrepot.errors import DigestMismatch
from entrepot.model import Algorithm, Body, Claims, checksum
from entrepot.protocols.base import LengthRequired, Request
from entrepot.protocols.s3.chunked import Decoder, Hop, Signer, decoded
from entrepot.protocols.s3.errors import S3Error, invalid_argument, invalid_request
from entrepot.services.links import CLAIM
from entrepot.storage.hashing import checksums_of

PREFIX: Final = "x-amz-checksum-"
ALGORITHMS: Final = {
    "CRC32": Algorithm.CRC32, "CRC32C": Algorithm.CRC32C, "CRC64NVME": Algorithm.CRC64NVME, "SHA1": Algorithm.SHA1,
    "SHA256": Algorithm.SHA256, "SHA512": Algorithm.SHA512, "MD5": Algorithm.MD5,
}  # fmt: skip
"""By the name clients call them."""
HEADERS: Final = {f"{PREFIX}{name.lower()}": name for name in ALGORITHMS}
_NO_CHECKSUMS: Final = {f"{PREFIX}{word}" for word in ("mode", "type", "algorithm")}
UNSIGNED: Final = "UNSIGNED-PAYLOAD"
UNSIGNED_TRAILER: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
CHUNKED: Final = frozenset({UNSIGNED_TRAILER, SIGNED, SIGNED_TRAILER})


@dataclass(slots=True)
class Sent:
    """A body and what is said of it. `sums` gets a trailer's checksum when the body has ended."""

    body: Body
    size: int | None
    sums: dict[Algorithm, str]
    algorithm: str = ""
    """Of the checksum in a header or trailer; empty if there is none."""
    content_sha256: bool = False
    """Whether x-amz-content-sha256 is among the claims."""
    want: frozenset[Algorithm] = field(default_factory=frozenset)
    given: bool = False
    """Whether the client gave the checksum of `algorithm`; else we make it."""

    @property
    def claims(self) -> Claims:
        """All of it, for the service that takes the body."""
        return Claims(self.size, self.sums)


def hex_of(name: str, text: str) -> str:
    """A checksum in base64, as hex. Raises: S3Error InvalidRequest."""
    try:
        return checksum(ALGORITHMS[name].value, base64.b64decode(text, validate=True).hex())
    except (binascii.Error, ValueError, LookupError) as error:
        raise invalid_request(f"Value for {PREFIX}{name.lower()} header is invalid.") from error
    except Exception as error:
        raise invalid_request(f"Value for {PREFIX}{name.lower()} header is invalid.") from error


def base64_of(hex_: str) -> str:
    """A checksum in hex, as base64."""
    return base64.b64encode(bytes.fromhex(hex_)).decode()


def content_md5(text: str | None) -> str | None:
    """Content-MD5 as hex. Raises: S3Error InvalidDigest."""
    if text is None:
        return None
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != 16:
        raise S3Error("InvalidDigest", "The Content-MD5 you specified was invalid.")
    return raw.hex()


def declared(headers: Mapping[str, str]) -> tuple[str, str | None]:
    """Name and base64 of the one checksum among headers or form fields (lower-case names); `("", None)` without one.

    Raises: S3Error for two, an unknown one, or one unlike x-amz-sdk-checksum-algorithm.
    """
    found = [name for name in headers if name.startswith(PREFIX) and name not in _NO_CHECKSUMS]
    if any(name.startswith(f"{PREFIX}xxhash") for name in found):
        raise S3Error("NotImplemented", "this checksum algorithm is not implemented")
    if any(name not in HEADERS for name in found):
        raise invalid_request("The algorithm type you specified in x-amz-checksum- header is invalid.")
    if len(found) > 1:
        raise invalid_request("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
    name = HEADERS[found[0]] if found else ""
    return name, headers[found[0]] if found else None


def sent_by(request: Request, headers: Mapping[str, str], word: str, signer: Signer | None, hop: Hop) -> Sent:
    """The body of a PUT as its headers describe it; `word` is its x-amz-content-sha256, empty if there is none.

    Raises: S3Error; LengthRequired.
    """
    name, value = declared(headers)
    trailer = headers.get("x-amz-trailer", "").strip().lower()
    if trailer and (trailer not in HEADERS or word not in (UNSIGNED_TRAILER, SIGNED_TRAILER)):
        raise invalid_request("The value specified in the x-amz-trailer header is not supported")
    if trailer and name:
        raise invalid_request("Expecting a single x-amz-checksum- header")
    named = name or (HEADERS[trailer] if trailer else "")
    asked = headers.get("x-amz-sdk-checksum-algorithm", "").upper()
    if asked and asked not in ALGORITHMS:
        raise invalid_request("Value for x-amz-sdk-checksum-algorithm header is invalid.")
    if asked and asked != named:
        raise invalid_request(
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers "
            "were found."
        )
    sums: dict[Algorithm, str] = {}
    content = len(word) == 64 and word not in CHUNKED
    if content:
        sums[Algorithm.SHA256] = _content_sha256(word)
    md5 = content_md5(headers.get("content-md5"))
    if md5:
        sums[Algorithm.MD5] = md5
    own = headers.get(CLAIM)
    for algorithm, hex_ in (
        *([(ALGORITHMS[name], hex_of(name, value))] if value is not None else []),
        *([(Algorithm.SHA256, checksum("sha256", own))] if own is not None else []),
    ):
        if sums.setdefault(algorithm, hex_) != hex_:
            raise S3Error("BadDigest", f"two {algorithm.value} checksums were given, and they differ")
    size, body = _unpacked(request, headers, word, signer, trailer, sums, hop)
    want = frozenset({Algorithm.MD5, ALGORITHMS[named or "CRC64NVME"]})
    return Sent(body, size, sums, named or "CRC64NVME", content, want, bool(named))


def _content_sha256(word: str) -> str:
    try:
        return checksum("sha256", word)
    except Exception as error:
        raise invalid_argument(
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-…, or a valid sha256 value."
        ) from error


def _unpacked(
    request: Request,
    headers: Mapping[str, str],
    word: str,
    signer: Signer | None,
    trailer: str,
    sums: dict[Algorithm, str],
    hop: Hop,
) -> tuple[int | None, Body]:
    """Length of the data, None if nobody knows, and the data."""
    if word not in CHUNKED:
        if request.header(b"content-length") is None and request.header(b"transfer-encoding") is None:
            raise LengthRequired("You must provide the Content-Length HTTP header.")
        return request.length, request.body
    text = headers.get("x-amz-decoded-content-length")
    if text is None and request.header(b"content-length") is not None:
        raise LengthRequired("You must provide the x-amz-decoded-content-length HTTP header.")
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 16):
        raise invalid_argument("x-amz-decoded-content-length is no number")
    length = int(text) if text is not None else None
    decoder = Decoder(length, signer, trailers=word != SIGNED)

    def ended(found: dict[str, str]) -> None:
        if set(found) != ({trailer} if trailer else set()):
            raise S3Error("MalformedTrailerError", "The request contained trailing data that was not well-formed")
        if trailer:
            name = HEADERS[trailer]
            sums[ALGORITHMS[name]] = hex_of(name, found[trailer])

    return length, decoded(request.body, decoder, ended, hop if signer else None)


def told(error: DigestMismatch, sent: Sent) -> Exception:
    """The same error in S3's words: x-amz-content-sha256 has its own."""
    if sent.content_sha256 and error.algorithm == Algorithm.SHA256.value:
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        return S3Error("XAmzContentSHA256Mismatch", message)
    return error


def check_body(data: bytes, headers: Mapping[str, str], word: str) -> None:
    """Nothing, if a document is the one its headers tell of. Raises: S3Error BadDigest, XAmzContentSHA256Mismatch."""
    name, value = declared(headers)
    wanted: list[tuple[Algorithm, str, str]] = []
    if len(word) == 64:
        wanted.append((Algorithm.SHA256, _content_sha256(word), "XAmzContentSHA256Mismatch"))
    if md5 := content_md5(headers.get("content-md5")):
        wanted.append((Algorithm.MD5, md5, "BadDigest"))
    if value is not None:
        wanted.append((ALGORITHMS[name], hex_of(name, value), "BadDigest"))
    sums = checksums_of(data, [algorithm for algorithm, _, _ in wanted])
    for algorithm, claimed, code in wanted:
        if sums[algorithm] != claimed:
            raise S3Error(code, f"The {algorithm.value} you specified did not match what we received.")


def check_word(word: str, *, in_query: bool, takes_chunks: bool) -> None:
    """Nothing, if x-amz-content-sha256 may say that. Raises: S3Error InvalidArgument."""
    if word in (UNSIGNED, "") or (word in CHUNKED and takes_chunks and not in_query):
        return
    if in_query and len(word) != 64:
        return
    if len(word) != 64 or any(letter not in "0123456789abcdefABCDEF" for letter in word):
        raise invalid_argument(
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, or a valid sha256 "
            "value."
        )


def signer_of(proof: object, secret: str, word: str) -> Signer | None:
    """What signs the chunks of that body; None if they are not signed."""
    if word not in (SIGNED, SIGNED_TRAILER) or not isinstance(proof, sigv4.Proof):
        return None
    return Signer(secret, proof, proof.signature)
