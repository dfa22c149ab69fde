"""Bytes going out: 200, 206, 304, 412, 416 and HEAD, decided once for every protocol; and how a body is sent.

A whole blob that was not verified lately is hashed on its way out. Its last 64 KiB wait for the digest; a wrong one is
cut off by a reset, never by a clean end.
"""

import asyncio
import base64
import errno
import hashlib
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from typing import Final

from entrepot.errors import NoSuchRange, PreconditionFailed
from entrepot.failpoints import failpoint
from entrepot.model import WHOLE, Blob, Digest, FileSpan, Instant, Opened, Span
from entrepot.protocols.base import Header, Request, Response, Wire

CHUNK: Final = 1 << 20
HELD_BACK: Final = 64 << 10
_RANGE: Final = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))\Z")

Send = Callable[[dict[str, object]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Representation:
    """What conditions and ranges are judged by. The ETag is without quotes."""

    size: int
    etag: str
    modified_at: Instant


def http_date(at: Instant) -> str:
    """RFC 1123, as headers have it."""
    return _date_text(int(at))


@lru_cache(maxsize=4096)
def _date_text(seconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def repr_digest(digest: Digest) -> Header:
    """`Repr-Digest` of the whole. Source: RFC 9530."""
    return b"repr-digest", b"sha-256=:" + base64.b64encode(bytes.fromhex(digest.hex)) + b":"


def is_unmodified(request: Request, what: Representation) -> bool:
    """Whether 304 is the answer. Raises: PreconditionFailed for 412. Source: RFC 9110 section 13.2.2."""
    match, none_match = request.header(b"if-match"), request.header(b"if-none-match")
    if match is not None and not names_etag(match, what.etag):
        raise PreconditionFailed("If-Match does not hold")
    since = http_time(request.header(b"if-unmodified-since")) if match is None else None
    if since is not None and int(what.modified_at) > since:
        raise PreconditionFailed("If-Unmodified-Since does not hold")
    if none_match is not None:
        return names_etag(none_match, what.etag, weakly=True)
    since = http_time(request.header(b"if-modified-since"))
    return since is not None and int(what.modified_at) <= since


def names_etag(header: str, etag: str, *, weakly: bool = False) -> bool:
    """Whether a list of ETags, or `*`, holds for this one; `weakly` takes weak ones too."""
    tags = {tag.strip().removeprefix("W/" if weakly else "").strip('"') for tag in header.split(",")}
    return "*" in tags or etag in tags


def http_time(text: str | None) -> Instant | None:
    """The time a header gives; None if it is none, or there is none."""
    if text is None:
        return None
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()  # asctime's form has no zone: it is UTC


def span_of(request: Request, what: Representation) -> Span:
    """The one range that is asked for; WHOLE if there is none, several, or If-Range names another version.

    Raises: NoSuchRange for one that lies outside.
    """
    text = request.header(b"range")
    found = _RANGE.match(text) if text else None
    if not found:
        return WHOLE
    if_range = request.header(b"if-range")
    if if_range is not None and if_range.strip('"') != what.etag and http_time(if_range) != int(what.modified_at):
        return WHOLE
    first, last, suffix = found.groups()
    if suffix is not None:
        span = Span(max(0, what.size - int(suffix)), what.size if int(suffix) else 0)
    else:
        span = Span(int(first), int(last) + 1 if last else what.size)
        if last and int(last) < int(first):
            return WHOLE
    if span.start >= what.size or span.stop == 0:
        raise NoSuchRange(what.size)
    return span.within(what.size)


async def deliver(
    request: Request,
    blob: Blob,
    what: Representation,
    open_blob: Callable[[Blob, Span], Awaitable[Opened]],
    headers: Sequence[Header],
    *,
    part: Span | None = None,
    whole: Sequence[Header] = (),
) -> Response:
    """The answer to a GET or HEAD of `blob`; `headers` are the protocol's own, `whole` those of an answer in full.

    `part` is sent as a range is, whatever Range says.

    Raises: PreconditionFailed; NoSuchRange; NotFound if the bytes are wrong: all before the status line.
    """
    common = [
        *headers,
        (b"etag", f'"{what.etag}"'.encode()),
        (b"last-modified", http_date(what.modified_at).encode()),
        (b"accept-ranges", b"bytes"),
        repr_digest(blob.digest),
    ]
    if is_unmodified(request, what):
        return Response(304, [header for header in common if header[0] != b"content-type"])
    span = part or span_of(request, what)
    status = 200
    if span is WHOLE:
        common += whole
    else:
        status = 206
        common.append((b"content-range", f"bytes {span.start}-{(span.stop or 0) - 1}/{what.size}".encode()))
    length = span.within(what.size).length
    common.append((b"content-length", str(length).encode()))
    if request.method == "HEAD":
        return Response(status, common)
    return Response(status, common, await open_blob(blob, span))


async def respond(response: Response, request: Request, send: Send) -> int:
    """Send it; bytes of body that went out. The response's stream or file is closed afterwards, whatever happens."""
    request.wire.answering()
    failpoint("answer.sending")
    body, headers = response.body, response.headers
    if isinstance(body, bytes) and response.status not in (204, 304) and not _has_length(headers):
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    try:
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
    except BaseException:
        if isinstance(body, Opened):
            body.close()
        raise
    sent = 0
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body if request.method != "HEAD" else b""})
        return len(body)
    if isinstance(body, Opened):
        return await _send_opened(body, request.wire, send)
    async for chunk in body:
        if request.wire.gone:
            break
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        sent += len(chunk)
    await send({"type": "http.response.body", "body": b""})
    return sent


def _has_length(headers: Sequence[Header]) -> bool:
    return any(name == b"content-length" for name, _ in headers)


async def _send_opened(opened: Opened, wire: Wire, send: Send) -> int:
    delivery = opened.delivery
    if isinstance(delivery, bytes):
        await send({"type": "http.response.body", "body": delivery})
        return len(delivery)
    assert isinstance(delivery, FileSpan)
    try:
        failpoint("blob.reading")
        if opened.must_hash:
            await _send_verified(opened, delivery, wire, send)
        elif wire.plain:
            await wire.sendfile(delivery.descriptor, opened.span.start, opened.span.length)
        else:
            async for chunk in _chunks(delivery.descriptor, opened.span):
                if wire.gone:
                    return 0
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except (OSError, EOFError) as error:
        if opened.judge and getattr(error, "errno", None) == errno.EIO:
            with suppress(Exception):
                await opened.judge(False)
        wire.abort()
        return 0
    finally:
        opened.close()
    if not wire.gone:
        await send({"type": "http.response.body", "body": b""})
    return opened.span.length


async def _chunks(descriptor: int, span: Span) -> AsyncIterator[bytes]:
    """The span in pieces of 1 MiB, each read in a thread. Raises: EOFError if the file is shorter."""
    offset, stop = span.start, span.start + span.length
    while offset < stop:
        chunk = await asyncio.to_thread(os.pread, descriptor, min(CHUNK, stop - offset), offset)
        if not chunk:
            raise EOFError
        offset += len(chunk)
        yield chunk


async def _send_verified(opened: Opened, delivery: FileSpan, wire: Wire, send: Send) -> None:
    """Hash while sending; the last 64 KiB leave once the digest agrees, else the connection is reset."""
    running, size = hashlib.sha256(), opened.blob.size
    offset, held = 0, b""
    while offset < size:
        length = min(CHUNK, size - offset)
        chunk = await asyncio.to_thread(_read_and_hash, delivery.descriptor, length, offset, running)
        offset += len(chunk)
        if wire.gone:
            return
        free = len(chunk) - max(0, min(len(chunk), offset - (size - HELD_BACK)))
        if free:
            await send({"type": "http.response.body", "body": chunk[:free], "more_body": True})
        held += chunk[free:]
    right = running.hexdigest() == opened.blob.digest.hex
    assert opened.judge
    with suppress(Exception):
        await opened.judge(right)
    if not right:
        raise EOFError
    await send({"type": "http.response.body", "body": held, "more_body": True})


def _read_and_hash(descriptor: int, length: int, offset: int, running: "hashlib._Hash") -> bytes:
    chunk = os.pread(descriptor, length, offset)
    if len(chunk) != length:
        raise EOFError
    running.update(chunk)
    return chunk
