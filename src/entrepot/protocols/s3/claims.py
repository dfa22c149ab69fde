"""What an S3 request says of its body: length, checksums, and how it is packed. Headers in, claims out.

Source: AWS, "Checking object integrity in Amazon S3"; for the words of refusals
openstack/swift:test/s3api/test_input_errors.py, which was written beside AWS.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from entrepot.auth import sigv4
from entrepot.errors import BadName, DigestMismatch, EntrepotError, TooLarge
from entrepot.model import Algorithm, Body, Claims, checksum
from entrepot.protocols.base import LengthRequired, Request
from entrepot.protocols.s3 import xml
from entrepot.protocols.s3.chunked import Decoder, Hop, Signer, decoded
from entrepot.protocols.s3.errors import (
    S3Error,
    another_length,
    invalid_argument,
    invalid_request,
    malformed_trailer,
    malformed_xml,
)
from entrepot.services.links import CLAIM
from entrepot.storage.hashing import checksums_of

PREFIX: Final = "x-amz-checksum-"
ALGORITHMS: Final = {
    "CRC32": Algorithm.CRC32, "CRC32C": Algorithm.CRC32C, "CRC64NVME": Algorithm.CRC64NVME, "SHA1": Algorithm.SHA1,
    "SHA256": Algorithm.SHA256, "SHA512": Algorithm.SHA512, "MD5": Algorithm.MD5,
}  # fmt: skip
"""By the name clients call them."""
HEADERS: Final = {f"{PREFIX}{name.lower()}": name for name in ALGORITHMS}
UNSIGNED: Final = "UNSIGNED-PAYLOAD"
UNSIGNED_TRAILER: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
CHUNKED: Final = frozenset({UNSIGNED_TRAILER, SIGNED, SIGNED_TRAILER})
_NAMES: Final = {algorithm.value: name for name, algorithm in ALGORITHMS.items()}
_NO_CHECKSUMS: Final = {f"{PREFIX}{word}" for word in ("mode", "type", "algorithm")}
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}\Z")
_NO_SHA256: Final = "0" * 64
"""Stands for a word that is no sha256: of no bytes that anybody knows."""
_ONE: Final = "Expecting a single x-amz-checksum- header"
_SINGLE: Final = f"{_ONE}. Multiple checksum Types are not allowed."
_TOO_LARGE: Final = "Your proposed upload exceeds the maximum allowed size"
_NO_LENGTH: Final = "You must provide the Content-Length HTTP header."


@dataclass(slots=True)
class Sent:
    """A body and what is said of it. `sums` gets a trailer's checksum when the body has ended."""

    body: Body
    size: int | None
    sums: dict[Algorithm, str]
    algorithm: str = ""
    """Of the checksum in a header or trailer; empty if there is none."""
    content_sha256: str = ""
    """x-amz-content-sha256 as sent, if it is among the claims."""
    want: frozenset[Algorithm] = field(default_factory=frozenset)
    given: bool = False
    """Whether the client gave the checksum of `algorithm`; else we make it."""

    @property
    def claims(self) -> Claims:
        """All of it, for the service that takes the body."""
        return Claims(self.size, self.sums)

    def held_to(self, most: int) -> "Sent":
        """The same, of which no more than `most` bytes are taken. Raises: TooLarge, now or while they come."""
        if self.size is not None and self.size > most:
            raise TooLarge(_TOO_LARGE)
        return self if self.size is not None else replace(self, body=within(self.body, most))


async def within(body: Body, most: int | None, least: int = 0) -> Body:
    """The same body. Raises: TooLarge; S3Error if it ends before `least`."""
    size = 0
    async for pieces in body:
        size += sum(map(len, pieces))
        if most is not None and size > most:
            raise TooLarge(_TOO_LARGE)
        yield pieces
    if size < least:
        raise S3Error("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")


def hex_of(name: str, text: str, where: str = "header") -> str:
    """A checksum in base64, as hex. Raises: S3Error InvalidRequest."""
    try:
        found = checksum(ALGORITHMS[name].value, base64.b64decode(text, validate=True).hex())
    except (ValueError, BadName) as error:
        raise _no_checksum(name, where) from error
    if base64_of(found) != text:  # bits behind the last byte are none
        raise _no_checksum(name, where)
    return found


def _no_checksum(name: str, where: str) -> S3Error:
    return invalid_request(f"Value for {PREFIX}{name.lower()} {where} is invalid.")


def base64_of(hex_: str) -> str:
    """A checksum in hex, as base64."""
    return base64.b64encode(bytes.fromhex(hex_)).decode()


def content_md5(text: str | None) -> str | None:
    """Content-MD5 as hex. Raises: S3Error InvalidDigest."""
    if text is None:
        return None
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != 16:
        raise S3Error("InvalidDigest", "The Content-MD5 you specified was invalid.")
    return raw.hex()


def declared(headers: Mapping[str, str]) -> tuple[str, str | None]:
    """Name and base64 of the one checksum among headers or form fields (lower-case names); `("", None)` without one.

    Raises: S3Error for two, or an unknown one.
    """
    found = [name for name in headers if name.startswith(PREFIX) and name not in _NO_CHECKSUMS]
    if any(name.startswith(f"{PREFIX}xxhash") for name in found):
        raise S3Error("NotImplemented", "this checksum algorithm is not implemented")
    if any(name not in HEADERS for name in found):
        raise invalid_request("The algorithm type you specified in x-amz-checksum- header is invalid.")
    if len(found) > 1:
        raise invalid_request(_SINGLE)
    name = HEADERS[found[0]] if found else ""
    return name, headers[found[0]] if found else None


def sent_by(
    request: Request, headers: Mapping[str, str], word: str, signer: Signer | None, hop: Hop, *, in_header: bool = True
) -> Sent:
    """The body of a PUT as its headers describe it; `word` is its x-amz-content-sha256, empty if there is none.

    `in_header`: whether its proof stands there; else the word is never more than a claim of a plain body.
    Raises: S3Error; LengthRequired.
    """
    packed = is_packed(word, in_header=in_header)
    name, value = declared(headers)
    trailer = _trailer(headers, name)
    named = name or (HEADERS[trailer] if trailer else "")
    _check_algorithm(headers.get("x-amz-sdk-checksum-algorithm", "").upper(), named)
    if trailer and (not packed or word == SIGNED):
        raise malformed_trailer()
    claimed = "" if packed or word == UNSIGNED else word
    sums = _claimed(headers, claimed, name, value)
    size, body = _length(request, headers, word, packed=packed), request.body
    if packed:
        body = _unpacked(body, size, word, signer, trailer, sums, hop)
    want = frozenset({Algorithm.MD5, ALGORITHMS[named or "CRC64NVME"]})
    return Sent(body, size, sums, named or "CRC64NVME", claimed, want, bool(named))


def is_packed(word: str, *, in_header: bool) -> bool:
    """Whether x-amz-content-sha256 says that the body is aws-chunked: it does so beside a proof in a header alone."""
    return in_header and word in CHUNKED


def plain_encoding(text: str) -> str:
    """The Content-Encoding of what was packed in aws-chunked."""
    return ", ".join(word.strip() for word in text.split(",") if word.strip().lower() != "aws-chunked")


def _trailer(headers: Mapping[str, str], name: str) -> str:
    """The one checksum x-amz-trailer announces, empty if none; `name` is that of a header. Raises: S3Error."""
    text = headers.get("x-amz-trailer", "").strip().lower()
    if not text:
        return ""
    names = [part.strip() for part in text.rstrip(",").split(",")]
    if any(part not in HEADERS for part in names):
        raise invalid_request("The value specified in the x-amz-trailer header is not supported")
    if len(names) > 1:
        raise invalid_request(_SINGLE)
    if name:
        raise invalid_request(_ONE)
    return names[0]


def _check_algorithm(asked: str, named: str) -> None:
    """Nothing, if x-amz-sdk-checksum-algorithm is that of the checksum that comes. Raises: S3Error."""
    if asked in ("", named):
        return
    if asked in ALGORITHMS and not named:
        raise invalid_request(
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers "
            "were found."
        )
    raise invalid_request("Value for x-amz-sdk-checksum-algorithm header is invalid.")


def _claimed(headers: Mapping[str, str], word: str, name: str, value: str | None) -> dict[Algorithm, str]:
    """The checksums of headers in the order AWS judges them; the last is ours. Raises: S3Error; BadName."""
    found: list[tuple[Algorithm, str]] = []
    if word:
        found.append((Algorithm.SHA256, word.lower() if _SHA256.match(word) else _NO_SHA256))
    if md5 := content_md5(headers.get("content-md5")):
        found.append((Algorithm.MD5, md5))
    if value is not None:
        found.append((ALGORITHMS[name], hex_of(name, value)))
    if CLAIM in headers:
        found.append((Algorithm.SHA256, checksum("sha256", headers[CLAIM])))
    sums: dict[Algorithm, str] = {}
    for algorithm, hex_ in found:
        if sums.setdefault(algorithm, hex_) != hex_:  # they cannot both hold
            raise bad_checksum(algorithm.value)
    return sums


def _length(request: Request, headers: Mapping[str, str], word: str, *, packed: bool) -> int | None:
    """Length of the data; None if nobody knows. Raises: LengthRequired; S3Error if two lengths differ."""
    known = request.header(b"content-length") is not None
    if not known and request.header(b"transfer-encoding") is None:
        raise LengthRequired(_NO_LENGTH)
    if word not in CHUNKED:
        return request.length
    text = headers.get("x-amz-decoded-content-length")
    if packed and not known and text is None:  # boto3 sends a body it cannot measure
        return None
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 16):
        raise LengthRequired(_NO_LENGTH)
    if packed:
        return int(text)
    if request.length not in (None, int(text)):
        raise another_length(request.length or 0, int(text))
    return request.length


def _unpacked(
    body: Body, length: int | None, word: str, signer: Signer | None, trailer: str, sums: dict[Algorithm, str], hop: Hop
) -> Body:
    """The data of an aws-chunked body; its trailer goes to `sums`."""

    def ended(found: dict[str, str]) -> None:
        if set(found) != ({trailer} if trailer else set()):
            raise malformed_trailer()
        if trailer:
            name = HEADERS[trailer]
            claimed = hex_of(name, found[trailer], "trailing header")
            if sums.setdefault(ALGORITHMS[name], claimed) != claimed:
                raise bad_checksum(ALGORITHMS[name].value)

    decoder = Decoder(length, signer, trailers=word != SIGNED)
    return decoded(body, decoder, ended, hop if signer else None)


def told(error: DigestMismatch, sent: Sent) -> EntrepotError:
    """The same error in S3's words, by where the claim came from."""
    if error.algorithm == Algorithm.SHA256.value and sent.content_sha256:
        return _bad_content(sent.content_sha256, error.found)
    if error.algorithm == Algorithm.MD5.value and sent.algorithm != "MD5":
        return _bad_md5(error.claimed, error.found)
    return bad_checksum(error.algorithm) if error.algorithm in _NAMES else error


def _bad_content(claimed: str, found: str) -> S3Error:
    return S3Error(
        "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.",
        ("ClientComputedContentSHA256", claimed), ("S3ComputedContentSHA256", found),
    )  # fmt: skip


def _bad_md5(expected: str, found: str) -> S3Error:
    """`expected` as AWS shows it: in hex for an object, in base64 for a document."""
    return S3Error(
        "BadDigest", "The Content-MD5 you specified did not match what we received.",
        ("ExpectedDigest", expected), ("CalculatedDigest", base64_of(found)),
    )  # fmt: skip


def bad_checksum(algorithm: str) -> S3Error:
    """Bytes with another checksum than was claimed, of the algorithm of that name."""
    return S3Error("BadDigest", f"The {_NAMES[algorithm]} you specified did not match the calculated checksum.")


async def document(request: Request, headers: Mapping[str, str], word: str, *, with_checksum: bool = True) -> bytes:
    """A body that is a document, and the one its headers tell of. Raises: BodyCut; S3Error, as `check_body`."""
    try:
        data = await request.read(xml.MAX_BYTES)
    except TooLarge as error:
        raise malformed_xml() from error
    check_body(data, headers, word, with_checksum=with_checksum)
    return data


def check_body(data: bytes, headers: Mapping[str, str], word: str, *, with_checksum: bool = True) -> None:
    """Nothing, if a document is the one its headers tell of; `with_checksum` if x-amz-checksum-* is of its bytes.

    Raises: S3Error BadDigest, XAmzContentSHA256Mismatch, InvalidDigest, InvalidRequest.
    """
    name, value = declared(headers) if with_checksum else ("", None)
    md5 = content_md5(headers.get("content-md5"))
    claimed = hex_of(name, value) if value is not None else None
    asked = {Algorithm.SHA256, Algorithm.MD5, *([ALGORITHMS[name]] if name else [])}
    sums = checksums_of(data, asked)
    if word not in ("", UNSIGNED) and word.lower() != sums[Algorithm.SHA256]:
        raise _bad_content(word, sums[Algorithm.SHA256])
    if md5 and md5 != sums[Algorithm.MD5]:
        raise _bad_md5(headers["content-md5"], sums[Algorithm.MD5])
    if claimed and claimed != sums[ALGORITHMS[name]]:
        raise bad_checksum(ALGORITHMS[name].value)


def check_word(word: str, *, in_query: bool, takes_chunks: bool) -> None:
    """Nothing, if x-amz-content-sha256 may say that; beside a proof in the query it may say anything.

    Raises: S3Error InvalidArgument.
    """
    if in_query or word in ("", UNSIGNED) or _SHA256.match(word) or (takes_chunks and word in CHUNKED):
        return
    raise invalid_argument(
        f"x-amz-content-sha256 must be {UNSIGNED}, {UNSIGNED_TRAILER}, {SIGNED}, {SIGNED_TRAILER} or a valid sha256 "
        "value.", "x-amz-content-sha256", word,
    )  # fmt: skip


def signer_of(proof: object, secret: str, word: str, canonical_request: bytes = b"") -> Signer | None:
    """What signs the chunks of that body; None if they are not signed."""
    if word not in (SIGNED, SIGNED_TRAILER) or not isinstance(proof, sigv4.Proof):
        return None
    return Signer(secret, proof, proof.signature, canonical_request)
