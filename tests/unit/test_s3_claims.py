"""What headers say of a body: each rule, the code it is refused with, and what is known when the body has ended.

Where the notes are silent, what AWS does is what openstack/swift:test/s3api/test_input_errors.py was checked against.
"""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.auth import sigv4
from entrepot.auth.sigv2 import QueryProof
from entrepot.auth.sigv4 import Credential, Proof
from entrepot.errors import BodyCut, EntrepotError
from entrepot.model import Algorithm, Piece
from entrepot.protocols.base import Request
from entrepot.protocols.s3 import claims, heads, responses
from entrepot.protocols.s3.claims import SIGNED, SIGNED_TRAILER, UNSIGNED, UNSIGNED_TRAILER, Sent
from entrepot.protocols.s3.errors import S3Error
from entrepot.storage.hashing import checksums_of
from tests.wire import MemoryWire, request_of

DATA = b"hello world"
LENGTH = {"Content-Length": "11"}
SHA256 = hashlib.sha256(DATA).hexdigest()
MD5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()
SUMS = {
    "CRC32": "DUoRhQ==", "CRC32C": "yZRlqg==", "CRC64NVME": "jSnVw/bqjr4=", "SHA1": "Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
    "SHA256": "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=", "MD5": MD5,
    "SHA512": base64.b64encode(hashlib.sha512(DATA).digest()).decode(),
}  # fmt: skip
CRC = {"x-amz-checksum-crc32": SUMS["CRC32"]}
CHUNKS = b"b\r\nhello world\r\n0\r\n"
TRAILING = {**LENGTH, "x-amz-content-sha256": UNSIGNED_TRAILER, "x-amz-decoded-content-length": "11"}
PROOF = Proof(Credential("AK", "20261121", "us-east-1"), "20261121T080000Z", ("host",), "0" * 64)


async def hop(job: Callable[[Sequence[Piece]], list[Piece]], pieces: Sequence[Piece]) -> list[Piece]:
    return job(pieces)


def sent(headers: Mapping[str, str], *batches: Sequence[Piece], proof: object = None, in_header: bool = True) -> Sent:
    """What a PUT with those headers says of its body; its proof stands in one of them, or in the URL."""
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    request = request_of("PUT", b"/b/k", b"", pairs, *batches)
    table = heads.table_of(request, {})
    word = table.get("x-amz-content-sha256", "")
    return claims.sent_by(request, table, word, claims.signer_of(proof, "secret", word), hop, in_header=in_header)


def read(found: Sent) -> list[list[bytes]]:
    """The batches of its body."""

    async def run() -> list[list[bytes]]:
        return [[bytes(piece) for piece in batch] async for batch in found.body]

    return asyncio.run(run())


def taken(headers: Mapping[str, str], body: bytes = DATA) -> tuple[bytes, dict[Algorithm, str]]:
    """The data, and the checksums that are claimed of it."""
    found = sent(headers, [body])
    data = b"".join(piece for batch in read(found) for piece in batch)
    return data, dict(found.claims.checksums)


def refused(act: Callable[..., Any], *args: Any, **options: Any) -> tuple[int, str]:
    """Status and code as the client sees them."""
    with pytest.raises(EntrepotError) as caught:
        act(*args, **options)
    return responses.code_of(caught.value)


def refusal(headers: Mapping[str, str], body: bytes = DATA) -> str:
    return refused(taken, headers, body)[1]


# --- checksums in headers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUMS)
def test_a_checksum_in_a_header_is_a_claim_and_is_what_the_object_is_known_by(name: str) -> None:
    header = {f"x-amz-checksum-{name.lower()}": SUMS[name]}
    for more in ({}, {"x-amz-sdk-checksum-algorithm": name}, {"x-amz-sdk-checksum-algorithm": name.lower()}):
        found = sent({**LENGTH, **header, **more}, [DATA])
        algorithm = claims.ALGORITHMS[name]
        assert found.claims.checksums == {algorithm: checksums_of(DATA, [algorithm])[algorithm]}
        assert (found.algorithm, found.size, found.content_sha256, found.given) == (name, 11, "", True)
        assert found.want == {Algorithm.MD5, algorithm}
        assert read(found) == [[DATA]]


def test_without_a_checksum_a_crc64nvme_is_made() -> None:
    found = sent({**LENGTH, "x-amz-checksum-mode": "ENABLED", "x-amz-checksum-type": "COMPOSITE"}, [DATA])
    assert (found.algorithm, found.given, dict(found.claims.checksums)) == ("CRC64NVME", False, {})
    assert found.want == {Algorithm.MD5, Algorithm.CRC64NVME}


@pytest.mark.parametrize("name", SUMS)
def test_a_checksum_that_is_not_base64_of_its_length_is_an_invalid_request(name: str) -> None:
    right = SUMS[name]
    wrong = ["", "bad", right[:-1], f"{right}=", right[4:], right + "AAAA", "AAAA" + right, f"{right[:3]} {right[3:]}"]
    wrong += ["é" + right[1:], "-" + right[1:], "_" + right[1:], base64.b64decode(right).hex(), "!" * len(right)]
    for value in wrong:
        with pytest.raises(S3Error) as caught:
            sent({**LENGTH, f"x-amz-checksum-{name.lower()}": value})
        assert caught.value.s3_code == "InvalidRequest", value
        assert str(caught.value) == f"Value for x-amz-checksum-{name.lower()} header is invalid."


@given(st.binary(min_size=4, max_size=4))
def test_base64_and_hex_say_the_same(raw: bytes) -> None:
    assert claims.hex_of("CRC32", claims.base64_of(raw.hex())) == raw.hex()


ONE = "Expecting a single x-amz-checksum- header"
SINGLE = f"{ONE}. Multiple checksum Types are not allowed."
UNLIKE = "Value for x-amz-sdk-checksum-algorithm header is invalid."
UNMET = (
    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found."
)
UNKNOWN = "The algorithm type you specified in x-amz-checksum- header is invalid."
CONTRADICTIONS = {
    "two": ({"x-amz-checksum-sha1": SUMS["SHA1"]}, SINGLE),
    "two, unlike the algorithm": ({"x-amz-checksum-sha1": "x", "x-amz-sdk-checksum-algorithm": "SHA256"}, SINGLE),
    "an unknown one": ({"x-amz-checksum-bad": "x"}, UNKNOWN),
    "beside a trailer": ({**TRAILING, "x-amz-trailer": "x-amz-checksum-crc32"}, ONE),
    "beside another trailer": ({**TRAILING, "x-amz-trailer": "x-amz-checksum-sha1"}, ONE),
    "beside a trailer that cannot come": ({"x-amz-trailer": "x-amz-checksum-crc32"}, ONE),
    "unlike the algorithm": ({"x-amz-sdk-checksum-algorithm": "CRC32C"}, UNLIKE),
    "of an unknown algorithm": ({"x-amz-sdk-checksum-algorithm": "CRC31"}, UNLIKE),
}  # fmt: skip


@pytest.mark.parametrize(("more", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_headers_that_contradict_each_other_are_refused_in_awss_words(more: dict[str, str], message: str) -> None:
    with pytest.raises(S3Error) as caught:
        sent({**LENGTH, **CRC, **more})
    assert (caught.value.s3_code, str(caught.value)) == ("InvalidRequest", message)


def test_an_algorithm_alone_promises_a_checksum_that_did_not_come() -> None:
    with pytest.raises(S3Error) as caught:
        sent({**LENGTH, "x-amz-sdk-checksum-algorithm": "CRC32"})
    assert (caught.value.s3_code, str(caught.value)) == ("InvalidRequest", UNMET)
    assert refusal({**TRAILING, "x-amz-trailer": "x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm": "SHA1"}) == (
        "InvalidRequest"
    )


@pytest.mark.parametrize("name", ["xxhash3", "xxhash64", "xxhash128"])
def test_xxhash_is_not_implemented(name: str) -> None:
    assert refused(sent, {**LENGTH, f"x-amz-checksum-{name}": "AAAA"}) == (501, "NotImplemented")


def test_content_md5_is_base64_of_16_bytes() -> None:
    assert taken({**LENGTH, "Content-MD5": MD5})[1] == {Algorithm.MD5: base64.b64decode(MD5).hex()}
    for value in ("", " ", "invalid", MD5[:-1], MD5[:-2], MD5[4:], "AAAA" + MD5, base64.b64decode(MD5).hex(), "*" * 24):
        assert refusal({**LENGTH, "Content-MD5": value}) == "InvalidDigest"
    assert claims.content_md5(None) is None


def test_a_content_md5_beyond_ascii_is_refused_as_any_other() -> None:
    assert refusal({**LENGTH, "Content-MD5": "é" * 24}) == "InvalidDigest"


def test_the_label_of_prominence_is_a_claim_too() -> None:
    label = "x-amz-meta-prominence_sha256"
    assert taken({**LENGTH, label: SHA256.upper()})[1] == {Algorithm.SHA256: SHA256}
    for value in ("", "x", SHA256[1:], SHA256[1:] + "g"):
        assert refusal({**LENGTH, label: value}) == "InvalidArgument"


@pytest.mark.parametrize(
    "other",
    [
        {"x-amz-checksum-md5": base64.b64encode(b"0" * 16).decode()},
        {"x-amz-meta-prominence_sha256": "0" * 64, "x-amz-checksum-sha256": SUMS["SHA256"]},
    ],
)
def test_two_claims_of_one_kind_that_differ_cannot_both_hold(other: dict[str, str]) -> None:
    assert refusal({**LENGTH, "Content-MD5": MD5, **other}) == "BadDigest"


def test_claims_are_judged_in_awss_order() -> None:
    """The first that does not hold gives its code: of the content, its MD5, the checksum."""
    headers = {**LENGTH, **CRC, "Content-MD5": MD5, "x-amz-content-sha256": SHA256}
    assert list(taken(headers)[1]) == [Algorithm.SHA256, Algorithm.MD5, Algorithm.CRC32]


# --- x-amz-content-sha256 --------------------------------------------------------------------------------------------


def test_a_sha256_of_the_content_is_a_claim_in_any_case() -> None:
    for word in (SHA256, SHA256.upper()):
        found = sent({**LENGTH, "x-amz-content-sha256": word}, [DATA])
        assert (found.claims.checksums, found.content_sha256) == ({Algorithm.SHA256: SHA256}, word)
    assert taken({**LENGTH, "x-amz-content-sha256": UNSIGNED}) == (DATA, {})


@pytest.mark.parametrize("takes_chunks", [True, False])
@pytest.mark.parametrize("in_query", [True, False])
def test_each_word_has_its_place(in_query: bool, takes_chunks: bool) -> None:
    """In a URL any word may stand: it is a claim that may be wrong."""
    for word in (UNSIGNED, SHA256, SHA256.upper()):
        claims.check_word(word, in_query=in_query, takes_chunks=takes_chunks)
    chunked, nonsense = (UNSIGNED_TRAILER, SIGNED, SIGNED_TRAILER), ("invalid", "unsigned-payload", "g" * 64, "0" * 63)
    for word in (*chunked, *nonsense, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"):
        if in_query or (takes_chunks and word in chunked):
            claims.check_word(word, in_query=in_query, takes_chunks=takes_chunks)
        else:
            assert refused(claims.check_word, word, in_query=False, takes_chunks=takes_chunks) == (
                400, "InvalidArgument"
            )  # fmt: skip


@pytest.mark.parametrize(
    "word", ["invalid", "unsigned-payload", "g" * 64, "0" * 63, UNSIGNED_TRAILER, SIGNED, SIGNED_TRAILER]
)
def test_beside_a_signed_url_any_word_is_a_claim_of_a_plain_body(word: str) -> None:
    """One that is no sha256 cannot hold, and is shown as it was sent."""
    headers = {
        "x-amz-content-sha256": word,
        "Content-Length": str(len(CHUNKS)),
        "x-amz-decoded-content-length": str(len(CHUNKS)),
    }
    found = sent(headers, [CHUNKS], in_header=False)
    assert (found.size, found.content_sha256, read(found)) == (len(CHUNKS), word, [[CHUNKS]])
    assert found.claims.checksums[Algorithm.SHA256] != hashlib.sha256(CHUNKS).hexdigest()
    if word.startswith("STREAMING"):
        wrong = {**headers, "x-amz-decoded-content-length": "11"}
        assert refused(sent, wrong, [CHUNKS], in_header=False) == (400, "IncompleteBody")


def test_a_right_word_beside_a_signed_url_holds() -> None:
    for word, sums in ((SHA256, {Algorithm.SHA256: SHA256}), (UNSIGNED, {}), ("", {})):
        assert sent({**LENGTH, "x-amz-content-sha256": word}, [DATA], in_header=False).claims.checksums == sums


def test_the_word_alone_decides_whether_a_body_is_unpacked() -> None:
    packed = {**LENGTH, "Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": "3"}
    assert taken({**packed, "x-amz-content-sha256": UNSIGNED}, CHUNKS) == (CHUNKS, {})
    assert taken(packed, CHUNKS) == (CHUNKS, {})
    assert taken(TRAILING, CHUNKS) == (DATA, {})


def test_chunks_are_signed_by_a_v4_proof_alone() -> None:
    for word in (SIGNED, SIGNED_TRAILER):
        found = claims.signer_of(PROOF, "secret", word)
        assert found
        assert (found.secret, found.proof, found.previous) == ("secret", PROOF, PROOF.signature)
        assert claims.signer_of(None, "secret", word) is None
        assert claims.signer_of(QueryProof("AK", "x", "1"), "secret", word) is None
    for word in ("", UNSIGNED, UNSIGNED_TRAILER, SHA256):
        assert claims.signer_of(PROOF, "secret", word) is None


# --- length ----------------------------------------------------------------------------------------------------------


def test_a_body_without_any_length_is_refused() -> None:
    for word in ("", UNSIGNED, SHA256):
        assert refused(sent, {"x-amz-content-sha256": word}) == (411, "MissingContentLength")
    assert sent({"Transfer-Encoding": "chunked"}).size is None
    assert sent({"Content-Length": "0"}).size == 0


def test_a_packed_body_says_how_much_is_in_it_unless_its_own_length_is_unknown_too() -> None:
    word = {"x-amz-content-sha256": UNSIGNED_TRAILER}
    assert refused(sent, {**LENGTH, **word}) == (411, "MissingContentLength")
    assert sent(TRAILING).size == 11
    assert sent({**word, "Transfer-Encoding": "chunked"}).size is None
    assert sent({**word, "Transfer-Encoding": "chunked", "x-amz-decoded-content-length": "7"}).size == 7


def test_a_decoded_length_that_is_no_number_is_none() -> None:
    for text in ("not an int", "", "-1", "+1", "1.0", "0x1", "1_0", "٣", "9" * 40):
        assert refused(sent, {**TRAILING, "x-amz-decoded-content-length": text}) == (411, "MissingContentLength"), text


# --- trailers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUMS)
def test_a_checksum_in_a_trailer_is_a_claim_once_the_body_has_ended(name: str) -> None:
    header, algorithm = f"x-amz-checksum-{name.lower()}", claims.ALGORITHMS[name]
    for declared in (header, header.upper(), f" {header} "):
        found = sent({**TRAILING, "x-amz-trailer": declared}, [CHUNKS + f"{header}:{SUMS[name]}\r\n\r\n".encode()])
        assert (found.algorithm, found.want) == (name, frozenset({Algorithm.MD5, algorithm}))
        kept = found.claims
        assert kept.checksums == {}
        assert read(found) == [[DATA]]
        assert kept.checksums == {algorithm: checksums_of(DATA, [algorithm])[algorithm]}


def test_commas_behind_the_name_of_a_trailer_mean_nothing() -> None:
    for declared in ("x-amz-checksum-crc32,", "x-amz-checksum-crc32,,", "x-amz-checksum-crc32, "):
        assert taken({**TRAILING, "x-amz-trailer": declared}, CHUNKS + LINE + b"\r\n")[0] == DATA


LINE = b"x-amz-checksum-crc32:DUoRhQ==\r\n"
TRAILERS = {
    "declared and not sent": ("x-amz-checksum-crc32", b"", "MalformedTrailerError"),
    "behind the empty line": ("x-amz-checksum-crc32", b"\r\n" + LINE, "MalformedTrailerError"),
    "another one": ("x-amz-checksum-crc32c", LINE, "MalformedTrailerError"),
    "an unknown one": ("x-amz-checksum-crc32", b"x-amz-checksum-bad:DUoRhQ==\r\n", "MalformedTrailerError"),
    "one more": ("x-amz-checksum-crc32", LINE + b"bonus:trailer\r\n", "MalformedTrailerError"),
    "undeclared": ("", LINE, "MalformedTrailerError"),
    "no base64": ("x-amz-checksum-crc32", b"x-amz-checksum-crc32:not-base-64\r\n", "InvalidRequest"),
    "too short": ("x-amz-checksum-crc32", b"x-amz-checksum-crc32:AAAA\r\n", "InvalidRequest"),
    "no checksum": ("foo", b"foo:bar\r\n", "InvalidRequest"),
    "an MD5": ("content-md5", f"content-md5:{MD5}\r\n".encode(), "InvalidRequest"),
    "the word": ("x-amz-content-sha256", f"x-amz-content-sha256:{SHA256}\r\n".encode(), "InvalidRequest"),
    "an unknown checksum": ("x-amz-checksum-bad", LINE, "InvalidRequest"),
    "two": ("x-amz-checksum-crc32, x-amz-checksum-sha1", LINE, "InvalidRequest"),
    "twice": ("x-amz-checksum-crc32, x-amz-checksum-crc32", LINE, "InvalidRequest"),
    "one and another": ("x-amz-checksum-crc32, x-amz-foo", LINE, "InvalidRequest"),
    "a comma in front": (",x-amz-checksum-crc32", LINE, "InvalidRequest"),
}


@pytest.mark.parametrize(("declared", "lines", "code"), TRAILERS.values(), ids=TRAILERS)
def test_a_trailer_is_the_one_checksum_that_was_declared(declared: str, lines: bytes, code: str) -> None:
    headers = {**TRAILING, **({"x-amz-trailer": declared} if declared else {})}
    assert refusal(headers, CHUNKS + lines + b"\r\n") == code


@pytest.mark.parametrize("word", ["", UNSIGNED, SHA256])
def test_a_trailer_that_a_plain_body_cannot_have_is_missing(word: str) -> None:
    headers = {**LENGTH, "x-amz-trailer": "x-amz-checksum-crc32", "x-amz-content-sha256": word}
    assert refusal(headers) == "MalformedTrailerError"


@pytest.mark.parametrize(
    "header", [{"x-amz-meta-prominence_sha256": "0" * 64}, {"Content-MD5": base64.b64encode(b"0" * 16).decode()}]
)
def test_a_trailer_does_not_take_the_place_of_a_claim_that_came_before(header: dict[str, str]) -> None:
    name = "sha256" if "Content-MD5" not in header else "md5"
    line = f"x-amz-checksum-{name}:{SUMS[name.upper()]}\r\n\r\n".encode()
    headers = {**TRAILING, **header, "x-amz-trailer": f"x-amz-checksum-{name}"}
    assert refusal(headers, CHUNKS + line) == "BadDigest"


# --- the body on its way ---------------------------------------------------------------------------------------------


def test_data_leaves_in_the_batches_it_came_in() -> None:
    body = CHUNKS + LINE + b"\r\n"
    found = sent(
        {**TRAILING, "x-amz-trailer": "x-amz-checksum-crc32"}, [body[:5], body[5:7]], [body[7:20]], [body[20:]]
    )
    assert read(found) == [[b"he", b"ll"], [b"o world"]]


def test_a_signed_body_is_unpacked_by_the_hop() -> None:
    text = sigv4.chunk_string_to_sign(PROOF.date, PROOF.credential.scope, PROOF.signature, SHA256)
    first = sigv4.sign("secret", PROOF.credential, text)
    text = sigv4.chunk_string_to_sign(PROOF.date, PROOF.credential.scope, first, hashlib.sha256().hexdigest())
    last = sigv4.sign("secret", PROOF.credential, text)
    body = f"b;chunk-signature={first}\r\nhello world\r\n0;chunk-signature={last}\r\n\r\n".encode()
    headers = {**TRAILING, "x-amz-content-sha256": SIGNED}
    assert read(sent(headers, [body], proof=PROOF)) == [[DATA]]
    for wrong in (CHUNKS, body.replace(b"world", b"wurld"), body.replace(b"0;", b"00;x")):
        assert refused(read, sent(headers, [wrong], proof=PROOF))[1] in ("IncompleteBody", "SignatureDoesNotMatch")


def test_a_connection_that_is_cut_leaves_an_incomplete_body() -> None:
    class Cut(MemoryWire):
        async def _run(self) -> Any:
            yield [CHUNKS[:8]]
            raise BodyCut("the client has gone")

    pairs = [(name.lower().encode(), value.encode()) for name, value in TRAILING.items()]
    request = Request("PUT", b"/b/k", b"", pairs, Cut())
    found = claims.sent_by(request, heads.table_of(request, {}), UNSIGNED_TRAILER, None, hop)
    assert refused(read, found) == (400, "IncompleteBody")


# --- documents -------------------------------------------------------------------------------------------------------


def test_a_document_is_the_one_its_headers_tell_of() -> None:
    claims.check_body(DATA, {**CRC, "content-md5": MD5}, SHA256.upper())
    claims.check_body(DATA, {}, UNSIGNED)
    wrong_md5 = {"content-md5": base64.b64encode(b"0" * 16).decode()}
    wrong_crc = {"x-amz-checksum-crc32": "AAAAAA=="}
    for headers, word, code in (
        ({**wrong_md5, **wrong_crc}, "0" * 64, "XAmzContentSHA256Mismatch"), (wrong_md5, SHA256, "BadDigest"),
        (wrong_md5, "", "BadDigest"), ({**wrong_crc, "content-md5": MD5}, SHA256, "BadDigest"),
        ({"content-md5": "x"}, SHA256, "InvalidDigest"), ({"x-amz-checksum-crc32": "x"}, SHA256, "InvalidRequest"),
        ({**CRC, "x-amz-checksum-sha1": SUMS["SHA1"]}, SHA256, "InvalidRequest"),
    ):  # fmt: skip
        assert refused(claims.check_body, DATA, headers, word) == (400, code)
