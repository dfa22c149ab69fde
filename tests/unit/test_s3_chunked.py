"""aws-chunked bodies: AWS's example, any cut of the bytes, and whatever is broken is refused as AWS refuses it.

Where the notes are silent, what AWS does is what openstack/swift:test/s3api/test_input_errors.py was checked against.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entrepot.auth import sigv4
from entrepot.auth.sigv2 import WrongSignature
from entrepot.auth.sigv4 import Credential, Proof
from entrepot.model import Piece
from entrepot.protocols.s3.chunked import LEAST_CHUNK, LINE_BYTES, TRAILER_LINES, Decoder, Signer
from entrepot.protocols.s3.errors import S3Error

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors.json").read_text())["vectors"]
NAMED = {vector["name"]: vector for vector in VECTORS}
SECRET, DATE = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524T000000Z"
CREDENTIAL = Credential("AKIAIOSFODNN7EXAMPLE", "20130524", "us-east-1")
SEED = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
PROOF = Proof(CREDENTIAL, DATE, ("host",), SEED)
HELLO = b"b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"
"""As botocore sends it over TLS, inside the chunks of HTTP."""
CRC = [("x-amz-checksum-crc32", "DUoRhQ==")]
BIG = b"0123456789abcdef" * (LEAST_CHUNK // 16)


def signer(secret: str = SECRET, seed: str = SEED) -> Signer:
    return Signer(secret, PROOF, seed)


Trailers = Sequence[tuple[str, str]]


def framed(chunks: Sequence[bytes], trailers: Trailers = (), *, signed: bool = False, end: bytes = b"\r\n") -> bytes:
    """Those chunks and an empty one, as a client sends them."""
    out, previous = b"", SEED
    for chunk in (*chunks, b""):
        head = f"{len(chunk):x}"
        if signed:
            digest = hashlib.sha256(chunk).hexdigest()
            text = sigv4.chunk_string_to_sign(DATE, CREDENTIAL.scope, previous, digest)
            previous = sigv4.sign(SECRET, CREDENTIAL, text)
            head += f";chunk-signature={previous}"
        out += head.encode() + b"\r\n" + (chunk + b"\r\n" if chunk else b"")
    lines = "".join(f"{name}:{value}\n" for name, value in trailers).encode()
    out += lines.replace(b"\n", end)
    if signed and trailers:
        text = sigv4.trailer_string_to_sign(DATE, CREDENTIAL.scope, previous, hashlib.sha256(lines).hexdigest())
        out += f"x-amz-trailer-signature:{sigv4.sign(SECRET, CREDENTIAL, text)}\r\n".encode()
    return out + b"\r\n"


def decode(
    pieces: Sequence[Piece], length: int | None, by: Signer | None = None, *, trailers: bool = True
) -> tuple[bytes, dict[str, str]]:
    """The data, and the trailers."""
    decoder = Decoder(length, by, trailers=trailers)
    data = b"".join(decoder.feed(pieces))
    decoder.end()
    return data, decoder.found


def refused(body: bytes | Sequence[Piece], length: int | None, by: Signer | None = None, **more: bool) -> str:
    """The code a body is refused with."""
    with pytest.raises((S3Error, WrongSignature)) as caught:
        decode([body] if isinstance(body, bytes) else body, length, by, **more)
    error = caught.value
    return error.s3_code if isinstance(error, S3Error) else "SignatureDoesNotMatch"


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """`data` in pieces, cut at these places."""
    places = [0, *sorted(place % (len(data) + 1) for place in cuts), len(data)]
    return [data[start:stop] for start, stop in pairwise(places)]


# --- what is right ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["signed chunks", "signed chunks and trailer"])
def test_the_published_example_is_read(name: str) -> None:
    vector = NAMED[name]
    body = b""
    for size, signature in zip((65536, 1024, 0), vector["chunk_signatures"], strict=True):
        body += f"{size:x};chunk-signature={signature}\r\n".encode() + (b"a" * size + b"\r\n" if size else b"")
    if "trailer" in vector:
        body += vector["trailer"].strip().encode() + b"\r\n"
        body += f"x-amz-trailer-signature:{vector['trailer_signature']}\r\n".encode()
    body += b"\r\n"
    if "content-length" in vector["headers"]:
        assert len(body) == int(vector["headers"]["content-length"])
    by = signer(vector["secret_key"], vector["seed_signature"])
    data, found = decode([body], 66560, by, trailers="trailer" in vector)
    assert data == b"a" * 66560
    assert found == ({"x-amz-checksum-crc32c": "sOO8/Q=="} if "trailer" in vector else {})


def test_an_unsigned_trailer_is_read_as_botocore_sends_it() -> None:
    assert decode([HELLO], 11) == (b"hello world", dict(CRC))
    assert framed([b"hello world"], CRC) == HELLO


CHUNKS = st.lists(st.integers(0, 40).map(lambda more: BIG + b"x" * more), max_size=2).flatmap(
    lambda long: st.binary(max_size=60).map(lambda last: [*long, last] if last else long)
)


@settings(deadline=None)
@given(CHUNKS, st.booleans(), st.booleans(), st.lists(st.integers(0, 1 << 16), max_size=12), st.binary(max_size=9))
@example([], True, True, [1, 2, 3], b"")
@example([b"\r\n0\r\n\r\n"], False, True, [1, 2, 3, 4, 5, 6, 7, 8], b"\r\n")
def test_any_cut_of_a_body_into_pieces_means_the_same(
    chunks: list[bytes], signed: bool, with_trailer: bool, cuts: list[int], after: bytes
) -> None:
    trailers = CRC if with_trailer else []
    body = framed(chunks, trailers, signed=signed) + after
    by = signer() if signed else None
    whole = b"".join(chunks)
    assert decode(cut(body, cuts), len(whole), by, trailers=with_trailer) == (whole, dict(trailers))


def test_each_byte_by_itself_means_the_same() -> None:
    for by in (None, signer()):
        pieces = [bytes([byte]) for byte in framed([b"hello world"], CRC, signed=by is not None)]
        assert decode(pieces, 11, by) == (b"hello world", dict(CRC))


def test_data_leaves_as_views_of_the_pieces_that_came() -> None:
    first = framed([BIG, BIG])
    pieces: list[Piece] = [bytearray(first[:5000]), memoryview(first)[5000:9000], first[9000:]]
    origins = [pieces[0], first, pieces[2]]
    decoder = Decoder(None, None, trailers=False)
    found = [part for piece in pieces for part in decoder.feed([piece])]
    assert b"".join(found) == BIG + BIG
    for part in found:
        assert isinstance(part, memoryview)
        assert any(part.obj is origin for origin in origins)


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\n\r\n", b"\r\nmore: of it\r\n", b"\r\n more \x00\xff\r\n1\r\nx"])
@pytest.mark.parametrize("signed", [True, False])
def test_the_empty_line_may_lack_and_what_follows_it_is_ignored(signed: bool, end: bytes) -> None:
    for trailers in ([], CRC):
        body = framed([b"abc"], trailers, signed=signed).removesuffix(b"\r\n") + end
        assert decode([body], 3, signer() if signed else None, trailers=bool(trailers)) == (b"abc", dict(trailers))


@pytest.mark.parametrize("signed", [True, False])
def test_a_body_that_ends_earlier_is_refused(signed: bool) -> None:
    """But right behind the last chunk, where only the trailer is missing: whether one must come is not known here."""
    whole = framed([b"hello world"], CRC, signed=signed)
    behind_data = whole.index(b"x-amz-checksum")
    passed = []
    for length in range(len(whole)):
        with suppress(S3Error, WrongSignature):
            decode([whole[:length]], 11, signer() if signed else None)
            passed.append(length)
    assert passed == [length for length in (behind_data, len(whole) - 2) if not (signed and length == behind_data)]


def test_sizes_are_hex_in_any_case_with_zeros_in_front_and_room_behind() -> None:
    for line in (b"B", b"b", b"000b", b"0" * 15 + b"B", b"b \t"):
        assert decode([line + b"\r\nhello world\r\n000\r\n\r\n"], 11)[0] == b"hello world"


def test_a_trailer_may_be_in_any_case_and_have_room_around_its_value() -> None:
    for line in (b"X-Amz-Checksum-CRC32:DUoRhQ==\r\n", b"x-amz-checksum-crc32: \tDUoRhQ== \r\n"):
        assert decode([b"3\r\nabc\r\n0\r\n" + line + b"\r\n"], 3)[1] == dict(CRC)


def test_a_signed_trailer_signs_its_name_in_lower_case_and_its_value_alone() -> None:
    body = framed([b"abc"], CRC, signed=True).replace(b"x-amz-checksum-crc32:DU", b"X-Amz-Checksum-Crc32:  DU")
    assert decode([body], 3, signer())[1] == dict(CRC)


def test_there_may_be_room_around_the_words_of_a_size() -> None:
    body = framed([b"abc"], signed=True)
    for spaced in (b" ; chunk-signature=", b";chunk-signature = ", b";\tchunk-signature="):
        assert decode([body.replace(b";chunk-signature=", spaced)], 3, signer(), trailers=False)[0] == b"abc"


def test_a_trailer_may_have_a_line_feed_of_its_own() -> None:
    """As minio-go sends a signed one: `name:value\\n\\r\\n`. A line ends with both all the same."""
    for by in (None, signer()):
        body = framed([b"abc"], CRC, signed=by is not None, end=b"\n\r\n")
        assert decode([body], 3, by) == (b"abc", dict(CRC))
    assert refused(b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\n", 3) == "IncompleteBody"


def test_of_two_trailers_of_a_name_the_last_counts() -> None:
    twice = [("x-amz-checksum-crc32", "AAAAAA=="), *CRC]
    for by in (None, signer()):
        assert decode([framed([b"abc"], twice, signed=by is not None)], 3, by)[1] == dict(CRC)


def test_an_unknown_length_is_no_lie() -> None:
    assert decode([framed([BIG, BIG, b"x"], signed=True)], None, signer(), trailers=False)[0] == BIG + BIG + b"x"


# --- signatures ------------------------------------------------------------------------------------------------------


def changed(body: bytes, place: int) -> bytes:
    return body[:place] + (b"0" if body[place : place + 1] != b"0" else b"1") + body[place + 1 :]


@pytest.mark.parametrize("number", range(4))
def test_a_wrong_signature_of_any_chunk_or_of_the_trailer_is_refused(number: int) -> None:
    body = framed([BIG, b"abc"], CRC, signed=True)
    places = [place for place in range(len(body)) if body.startswith(b"signature", place)]
    assert len(places) == 4
    wrong = changed(body, places[number] + 40)
    assert refused(wrong, len(BIG) + 3, signer()) == "SignatureDoesNotMatch"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(BIG) + 2))
def test_a_changed_byte_of_data_is_refused(place: int) -> None:
    chunks = [BIG, b"abc"]
    right, data = framed(chunks, signed=True), b"".join(chunks)
    altered = changed(data, place)
    wrong = right.replace(BIG, altered[: len(BIG)]).replace(b"abc", altered[len(BIG) :])
    assert refused(wrong, len(data), signer(), trailers=False) == "SignatureDoesNotMatch"


def test_chunks_in_another_order_left_out_or_sent_twice_are_refused() -> None:
    first, second = BIG, BIG[::-1]
    body = framed([first, second], signed=True)
    line = body.index(b"\r\n") + 2 + len(BIG) + 2
    one, two, rest = body[:line], body[line : 2 * line], body[2 * line :]
    for wrong in (two + one + rest, one + rest, two + rest, one + one + rest, one + two + two + rest, rest + one):
        assert refused(wrong, None, signer(), trailers=False) == "SignatureDoesNotMatch"


def test_chunks_of_another_request_key_or_day_are_refused() -> None:
    body = framed([b"abc"], signed=True)
    assert refused(body, 3, signer(seed="0" * 64), trailers=False) == "SignatureDoesNotMatch"
    assert refused(body, 3, signer("another"), trailers=False) == "SignatureDoesNotMatch"
    later = Signer(SECRET, Proof(CREDENTIAL, "20130524T000001Z", ("host",), SEED), SEED)
    assert refused(body, 3, later, trailers=False) == "SignatureDoesNotMatch"


@pytest.mark.parametrize("extension", [b"", b";", b";chunk-signature=", b";chunk-signature", b";x", b";\x00"])
def test_a_chunk_without_a_signature_is_incomplete(extension: bytes) -> None:
    head, _, rest = framed([b"abc"], signed=True).partition(b"\r\n")
    assert refused(head.partition(b";")[0] + extension + b"\r\n" + rest, 3, signer()) == "IncompleteBody"


@pytest.mark.parametrize("signature", [b"invalid", b"0" * 63, b"0" * 65, b"0" * 64, b"F" * 64])
def test_a_signature_that_is_none_is_a_wrong_one(signature: bytes) -> None:
    body = b"3;chunk-signature=" + signature + b"\r\nabc\r\n0;chunk-signature=" + signature + b"\r\n\r\n"
    assert refused(body, 3, signer(), trailers=False) == "SignatureDoesNotMatch"


def test_a_trailer_must_be_signed_if_the_chunks_are() -> None:
    body = framed([b"abc"], CRC, signed=True)
    for unsigned in (body[: body.index(b"x-amz-trailer-")] + b"\r\n", framed([b"abc"], signed=True)):
        assert refused(unsigned, 3, signer()) == "IncompleteBody"


def test_signed_chunks_are_no_unsigned_ones_nor_the_other_way() -> None:
    assert refused(framed([b"abc"], signed=True), 3) == "IncompleteBody"
    assert refused(framed([b"abc"]), 3, signer()) == "IncompleteBody"
    body = framed([b"abc"], signed=True)
    assert refused(body[: body.rindex(b"0;")] + b"0\r\n\r\n", 3, signer(), trailers=False) == "IncompleteBody"


def test_a_trailer_with_another_value_name_or_one_more_is_refused() -> None:
    body = framed([b"abc"], CRC, signed=True)
    for old, new in (
        (b"DUoRhQ==", b"DUoRhQ=="[::-1]), (b"-crc32:", b"-crc32c:"), (b"x-amz-trailer-", b"a:b\r\nx-amz-trailer-"),
        (b"x-amz-checksum-crc32:DUoRhQ==\r\n", b""),
    ):  # fmt: skip
        assert refused(body.replace(old, new), 3, signer()) == "SignatureDoesNotMatch"


# --- framing ---------------------------------------------------------------------------------------------------------

BROKEN = {
    "nothing": b"",
    "data alone": b"hello world",
    "no size": b"\r\nhello world\r\n0\r\n\r\n",
    "no hex": b"g\r\nhello world\r\n0\r\n\r\n",
    "a sign": b"+b\r\nhello world\r\n0\r\n\r\n",
    "a prefix": b"0xb\r\nhello world\r\n0\r\n\r\n",
    "room in front": b" b\r\nhello world\r\n0\r\n\r\n",
    "a bare line feed": b"b\nhello world\r\n0\r\n\r\n",
    "a bare return": b"b\rhello world\r\n0\r\n\r\n",
    "an extension": b"b;x=1\r\nhello world\r\n0\r\n\r\n",
    "17 digits": b"0" * 16 + b"b\r\nhello world\r\n0\r\n\r\n",
    "more data than its size": b"a\r\nhello world\r\n0\r\n\r\n",
    "less data than its size": b"c\r\nhello world\r\n0\r\n\r\n",
    "no line end behind the data": b"b\r\nhello world0\r\n\r\n",
    "a line feed behind the data": b"b\r\nhello world\n0\r\n\r\n",
    "two line ends behind the data": b"b\r\nhello world\r\n\r\n0\r\n\r\n",
    "no last chunk": b"b\r\nhello world\r\n",
    "no end of the data": b"b\r\nhello wor",
    "half a last line": b"b\r\nhello world\r\n0",
    "a digit of another script": "٣\r\nabc\r\n0\r\n\r\n".encode(),
}  # fmt: skip


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_broken_framing_is_incomplete(body: bytes) -> None:
    for length in (11, None):
        assert refused(body, length) == "IncompleteBody"
    assert refused([bytes([byte]) for byte in body], 11) == "IncompleteBody"


@pytest.mark.parametrize("length", [0, 1, 10, 12, 1 << 40])
def test_a_length_that_lies_is_incomplete(length: int) -> None:
    assert refused(HELLO, length) == "IncompleteBody"


def test_chunks_that_together_hold_more_than_was_announced_are_refused_before_the_last() -> None:
    body = framed([BIG, BIG, b"abc"])
    decoder = Decoder(2 * len(BIG) + 2, None, trailers=False)
    before = body.index(b"\r\n3\r\n") + 2
    assert b"".join(decoder.feed([body[:before]])) == BIG + BIG
    with pytest.raises(S3Error, match="did not provide the number of bytes"):
        decoder.feed([b"3\r\n"])


@pytest.mark.parametrize("size", [b"ffffffffffffffff", b"7fffffffffffffff", b"140000001", b"c"])
def test_a_huge_size_is_refused_when_its_line_comes(size: bytes) -> None:
    decoder = Decoder(11, None, trailers=False)
    with pytest.raises(S3Error) as caught:
        decoder.feed([size + b"\r\n"])
    assert caught.value.s3_code == "IncompleteBody"
    if size != b"c":
        assert refused(size + b"\r\n", None) == "IncompleteBody"


def test_a_short_chunk_before_another_has_an_error_of_its_own() -> None:
    short = BIG[1:]
    for signed in (False, True):
        by: Callable[[], Signer | None] = signer if signed else lambda: None
        for chunks in ([short, b"x"], [BIG, short, b"x"], [b"a", b"b"], [short, BIG]):
            body = framed(chunks, signed=signed)
            assert refused(body, sum(map(len, chunks)), by(), trailers=False) == "InvalidChunkSizeError"
        for chunks in ([BIG, b"x"], [BIG, BIG, BIG], [b"x"], [BIG, short], []):
            data = b"".join(chunks)
            assert decode([framed(chunks, signed=signed)], len(data), by(), trailers=False)[0] == data
    assert S3Error("InvalidChunkSizeError", "x").status == 403


@pytest.mark.parametrize("tail", [b"", b"\r\n0\r\n\r\n", b"\n"])
def test_a_line_without_end_is_refused_before_it_fills_the_memory(tail: bytes) -> None:
    for start in (b"", b"b\r\nhello world\r\n", b"b\r\nhello world", b"b\r\nhello world\r\n0\r\n"):
        long = start + b"0" * (LINE_BYTES + 1) + tail
        for pieces in ([long], cut(long, range(0, len(long), 100)), cut(long, range(0, len(long), 4000))):
            assert refused(pieces, 11) == "IncompleteBody"


def test_a_line_of_the_greatest_length_passes() -> None:
    value = "v" * (LINE_BYTES - len("a:\r\n"))
    for cuts in (range(0), range(0, 2 * LINE_BYTES, 1000)):
        body = framed([b"abc"], [("a", value)])
        assert decode(cut(body, cuts), 3)[1] == {"a": value}
        assert refused(cut(framed([b"abc"], [("a", value + "v")]), cuts), 3) == "IncompleteBody"


# --- trailers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [b"no colon\r\n", b":DUoRhQ==\r\n", b"a b:c\r\n", b" a:b\r\n", b"a\x00:b\r\n", b"a:b\rc\r\n", b"\xc3\xa4:b\r\n"],
)
def test_a_malformed_trailer_is_refused(line: bytes) -> None:
    assert refused(b"3\r\nabc\r\n0\r\n" + line + b"\r\n", 3) == "MalformedTrailerError"


def test_a_trailer_where_none_may_come_is_refused() -> None:
    assert refused(HELLO, 11, trailers=False) == "MalformedTrailerError"
    assert refused(framed([b"abc"], CRC, signed=True), 3, signer(), trailers=False) == "MalformedTrailerError"


def test_only_so_many_trailers_are_read() -> None:
    trailers = [(f"t{number}", "") for number in range(TRAILER_LINES)]
    assert decode([framed([b"abc"], trailers)], 3)[1] == dict(trailers)
    assert refused(framed([b"abc"], [*trailers, ("more", "")]), 3) == "MalformedTrailerError"


@given(st.binary(max_size=80), st.booleans(), st.integers(0, 20) | st.none(), st.booleans())
def test_any_bytes_are_a_body_or_a_refusal(data: bytes, signed: bool, length: int | None, trailers: bool) -> None:
    with suppress(S3Error, WrongSignature):
        found, _ = decode([data], length, signer() if signed else None, trailers=trailers)
        assert length in (None, len(found))
