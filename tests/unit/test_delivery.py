"""200, 206, 304, 412 and 416 against a model of RFC 9110; and bytes that are hashed on their way out."""

import asyncio
import hashlib
import os
import re
import tempfile
import time
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entrepot.errors import BadRange, PreconditionFailed
from entrepot.model import WHOLE, Algorithm, Blob, Digest, FileSpan, Opened, Span, Stamp
from entrepot.protocols.base import Header, Response
from entrepot.protocols.delivery import (
    CHUNK,
    HELD_BACK,
    Representation,
    deliver,
    http_date,
    is_unmodified,
    repr_digest,
    span_of,
)
from tests.wire import request_of, sent, wire_of

AT = 1_795_248_000.75
ETAG = "9e107d9d372bb6826bd81d3542a419d6"
DATA = bytes(range(256)) * 4


def what(size: int) -> Representation:
    return Representation(size, ETAG, AT)


def blob_of(data: bytes) -> Blob:
    digest = hashlib.sha256(data).hexdigest()
    return Blob(Digest(digest), len(data), "key", {Algorithm.SHA256: digest}, 0.0, inline=data)


async def open_inline(blob: Blob, span: Span) -> Opened:
    assert blob.inline is not None
    span = span.within(blob.size)
    return Opened(blob, span, blob.inline[span.start : span.stop])


def answer(
    data: bytes, headers: list[Header], method: str = "GET", own: tuple[Header, ...] = ()
) -> tuple[Response, dict[bytes, bytes], bytes]:
    """The response, and its headers and body as they leave."""

    async def run() -> tuple[Response, dict[bytes, bytes], bytes]:
        request = request_of(method, headers=headers)
        response = await deliver(request, blob_of(data), what(len(data)), open_inline, own)
        return response, *await sent(response, request)

    return asyncio.run(run())


# --- ranges ----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(0, 60), st.integers(0, 60) | st.none())
@example(0, 0, None)
@example(10, 9, None)
@example(10, 10, None)
def test_a_range_from_the_front_gives_those_bytes(size: int, first: int, last: int | None) -> None:
    data = DATA[:size]
    text = f"bytes={first}-{'' if last is None else last}".encode()
    if last is not None and last < first:  # no range at all: ignored
        response, headers, body = answer(data, [(b"range", text)])
        assert (response.status, body) == (200, data)
        return
    expected = data[first:] if last is None else data[first : last + 1]
    if not expected:
        with pytest.raises(BadRange):
            answer(data, [(b"range", text)])
        return
    response, headers, body = answer(data, [(b"range", text)])
    assert (response.status, body) == (206, expected)
    assert headers[b"content-range"] == b"bytes %d-%d/%d" % (first, first + len(expected) - 1, size)
    assert headers[b"content-length"] == b"%d" % len(expected)


@given(st.integers(0, 40), st.integers(0, 60))
def test_a_range_from_the_end_gives_the_last_bytes(size: int, count: int) -> None:
    data = DATA[:size]
    text = b"bytes=-%d" % count
    if not count or not size:
        with pytest.raises(BadRange):
            answer(data, [(b"range", text)])
        return
    response, headers, body = answer(data, [(b"range", text)])
    expected = data[-count:]
    assert (response.status, body) == (206, expected)
    assert headers[b"content-range"] == b"bytes %d-%d/%d" % (size - len(expected), size - 1, size)


@given(st.text(st.sampled_from("bytes=0129-, x"), max_size=14) | st.text(max_size=10))
@example("bytes=0-1,3-4")
@example("bytes=--1")
@example("bytes=1-2-3")
@example("bytes=" + "9" * 19 + "-")
@example("octets=0-1")
def test_what_is_not_one_range_is_ignored(text: str) -> None:
    if re.fullmatch(r"bytes=(\d{1,18}-\d{0,18}|-\d{1,18})", text, re.ASCII):
        return
    raw = text.encode("latin-1", "ignore")
    assert span_of(request_of(headers=[(b"range", raw)]), what(10)) is WHOLE


def test_if_range_must_name_this_very_version() -> None:
    date, later = http_date(AT).encode(), http_date(AT + 1).encode()
    for value, status in ((f'"{ETAG}"'.encode(), 206), (b'"other"', 200), (f'W/"{ETAG}"'.encode(), 200), (date, 206),
                          (later, 200), (b"nonsense", 200), (b"", 200)):  # fmt: skip
        response, _, body = answer(DATA, [(b"range", b"bytes=0-9"), (b"if-range", value)])
        assert (response.status, len(body)) == (status, 10 if status == 206 else len(DATA))


def test_head_has_the_headers_of_get_and_no_body() -> None:
    for headers in ([], [(b"range", b"bytes=5-9")]):
        got, got_headers, body = answer(DATA, headers)
        head, head_headers, nothing = answer(DATA, headers, "HEAD")
        assert (head.status, head_headers, nothing) == (got.status, got_headers, b"")
        assert got_headers[b"content-length"] == b"%d" % len(body)


# --- conditions ------------------------------------------------------------------------------------------------------

TAGS = st.lists(st.sampled_from([f'"{ETAG}"', '"other"', f'W/"{ETAG}"', "*", '""']), min_size=1, max_size=3)
MOMENTS = st.sampled_from([-3600, -1, 0, 1, 3600]) | st.none()


def date_of(offset: int | None) -> str:
    return "no date" if offset is None else http_date(AT + offset)


@given(TAGS | st.none(), TAGS | st.none(), st.none() | MOMENTS, st.none() | MOMENTS, st.booleans(), st.booleans())
def test_conditions_hold_in_the_order_of_rfc_9110(
    match: list[str] | None,
    none_match: list[str] | None,
    unmodified: int | None,
    modified: int | None,
    with_unmodified: bool,
    with_modified: bool,
) -> None:
    headers: list[Header] = []
    if match is not None:
        headers.append((b"if-match", ", ".join(match).encode()))
    if none_match is not None:
        headers.append((b"if-none-match", ",".join(none_match).encode()))
    if with_unmodified:
        headers.append((b"if-unmodified-since", date_of(unmodified).encode()))
    if with_modified:
        headers.append((b"if-modified-since", date_of(modified).encode()))
    strong = {f'"{ETAG}"', "*"}
    weak = strong | {f'W/"{ETAG}"'}
    if match is not None:
        expected = 200 if strong & set(match) else 412
    else:
        expected = 412 if with_unmodified and unmodified is not None and unmodified < 0 else 200
    if expected == 200:
        if none_match is not None:
            expected = 304 if weak & set(none_match) else 200
        elif with_modified and modified is not None and modified >= 0:
            expected = 304
    request = request_of(headers=headers)
    if expected == 412:
        with pytest.raises(PreconditionFailed):
            is_unmodified(request, what(10))
    else:
        assert is_unmodified(request, what(10)) is (expected == 304)


def test_304_keeps_validators_and_drops_what_describes_a_body() -> None:
    own = ((b"content-type", b"text/plain"), (b"x-own", b"1"))
    response, headers, body = answer(DATA, [(b"if-none-match", f'"{ETAG}"'.encode())], own=own)
    assert (response.status, body) == (304, b"")
    assert (headers[b"etag"], headers[b"x-own"]) == (f'"{ETAG}"'.encode(), b"1")
    assert headers.keys().isdisjoint({b"content-type", b"content-length"})


def test_a_date_means_the_same_in_each_of_its_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9110 section 5.6.7; a date without a zone is UTC wherever the server stands."""
    at = datetime.fromtimestamp(int(AT), UTC)
    forms = [
        http_date(AT),
        at.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        at.strftime("%a %b %d %H:%M:%S %Y"),
        format_datetime(at.astimezone(timezone(timedelta(hours=5)))),
    ]
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        for text in forms:
            assert is_unmodified(request_of(headers=[(b"if-modified-since", text.encode())]), what(1))
            earlier = [(b"if-unmodified-since", text.encode())]
            assert not is_unmodified(request_of(headers=earlier), what(1))
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text(st.sampled_from("SunMon, 0129Jan:GMT+-\r\t\x00é"), max_size=40) | st.text(max_size=30))
@example("Mon, 01 Jan 99999999999 00:00:00 GMT")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@example("Mon, 01 Jan 2000 00:00:00 +99999999")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
@example("")
@example(" ")
@example("\r")
def test_any_text_is_a_date_or_is_ignored(text: str) -> None:
    headers = [(name, text.encode("latin-1", "ignore")) for name in (b"if-modified-since", b"if-range")]
    request = request_of(headers=[*headers, (b"range", b"bytes=0-1")])
    is_unmodified(request, what(10))
    span_of(request, what(10))


def test_the_digest_of_the_whole_goes_along_in_rfc_9530s_form() -> None:
    _, headers, _ = answer(b"hello", [(b"range", b"bytes=0-0")])
    assert headers[b"repr-digest"] == b"sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"
    assert repr_digest(Digest(hashlib.sha256(b"hello").hexdigest())) == (b"repr-digest", headers[b"repr-digest"])


# --- bytes on their way out ------------------------------------------------------------------------------------------


async def deliver_file(
    data: bytes, path: Path, span: Span, *, told: bytes | None = None, hashed: bool, plain: bool
) -> tuple[bytes, list[str], list[bool]]:
    """What leaves of a file that holds `data` where `told` was promised; what befell the wire; what was judged."""
    path.write_bytes(data)
    promised = data if told is None else told
    digest = hashlib.sha256(promised).hexdigest()
    blob = Blob(Digest(digest), len(promised), "key", {}, 0.0)
    judged: list[bool] = []

    async def judge(right: bool) -> None:
        judged.append(right)

    descriptor = os.open(path, os.O_RDONLY)
    opened = Opened(blob, span, FileSpan(descriptor, span, Stamp(len(data), 0, 0)), judge, must_hash=hashed)
    request = request_of(plain=plain)
    headers = [(b"content-length", str(span.length).encode())]
    _, body = await sent(Response(200, headers, opened), request)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    return body, wire_of(request).steps, judged


SIZES = [0, 1, HELD_BACK - 1, HELD_BACK, HELD_BACK + 1, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK + HELD_BACK, 2 * CHUNK + 5]


@pytest.mark.parametrize("size", SIZES)
async def test_right_bytes_leave_whole_hashed_or_not(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    for hashed in (True, False):
        for plain in (True, False):
            body, steps, judged = await deliver_file(data, tmp_path / "blob", Span(0, size), hashed=hashed, plain=plain)
            assert (body, steps, judged) == (data, ["answering"], [True] if hashed else [])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, CHUNK + 10), st.integers(0, CHUNK + 10))
def test_any_span_of_a_file_leaves_as_it_is(start: int, length: int) -> None:
    data = os.urandom(CHUNK + 20)
    span = Span(start, min(len(data), start + length))
    with tempfile.TemporaryDirectory() as folder:
        for plain in (True, False):
            body, _, _ = asyncio.run(deliver_file(data, Path(folder) / "blob", span, hashed=False, plain=plain))
            assert body == data[span.start : span.stop]


@pytest.mark.parametrize("size", SIZES[1:])
async def test_wrong_bytes_end_in_a_reset_before_their_last_64_kib(size: int, tmp_path: Path) -> None:
    told = os.urandom(size)
    for at in {0, size // 2, size - 1}:
        data = bytearray(told)
        data[at] ^= 1
        body, steps, judged = await deliver_file(
            bytes(data), tmp_path / "blob", Span(0, size), told=told, hashed=True, plain=True
        )
        assert (steps, judged) == (["answering", "abort"], [False])
        assert len(body) <= max(0, size - min(size, HELD_BACK))


@pytest.mark.parametrize("hashed", [True, False])
async def test_a_file_that_shrank_ends_in_a_reset(hashed: bool, tmp_path: Path) -> None:
    told = os.urandom(CHUNK + 100)
    body, steps, _ = await deliver_file(
        told[:-1], tmp_path / "blob", Span(0, len(told)), told=told, hashed=hashed, plain=False
    )
    assert steps == ["answering", "abort"]
    assert len(body) < len(told)
