"""A blob over HTTP: from a server of ours by its digest, or from any URL. Standard library, system trust store."""

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import IO, Final, Self
from urllib.parse import urlsplit

from entrepot.cache.source import Reply
from entrepot.errors import (
    BadRange,
    Busy,
    Denied,
    EntrepotError,
    NotFound,
    Refused,
    Unauthenticated,
    Unavailable,
    Unsupported,
    UsageError,
)

IDLE_SECONDS: Final = 60.0
_PIECE_BYTES: Final = 2**20
_LONGEST_PAUSE_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class HttpSource:
    """GET of one URL. A token is sent to that URL's host only; a signed URL is a secret too, so neither is shown.

    `idle_seconds`: the longest wait for a connection or the next byte; there is no total one. `cafile`: trusted
    certificates in place of the system's.
    """

    url: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    cafile: str | None = None
    insecure: bool = False
    idle_seconds: float = IDLE_SECONDS

    @classmethod
    def of_server(
        cls,
        server: str,
        digest_hex: str,
        token: str | None = None,
        *,
        cafile: str | None = None,
        insecure: bool = False,
    ) -> Self:
        """The blob of that digest on a server of ours, or a site parent. Source: /api/v1, GET /blobs/<digest>."""
        return cls(f"{server.rstrip('/')}/api/v1/blobs/sha256:{digest_hex}", token, cafile, insecure)

    @contextmanager
    def open(self, offset: int) -> Iterator[Reply]:
        """As `Source.open`. Raises: also UsageError, for a URL, token or certificate file that cannot be used."""
        try:
            request = self._request(offset)
            response = self._opener().open(request, timeout=self.idle_seconds)
        except urllib.error.HTTPError as error:
            with error:
                raise refusal(error.code, error.headers.get("Retry-After"), self.host) from error
        except (http.client.InvalidURL, ValueError) as error:
            raise UsageError("this URL or token cannot be sent", why="it has characters HTTP has not") from error
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(error, self.host) from error
        with response:
            total, start = extent(response.status, response.headers)
            yield Reply(total, start, self._pieces(response, total - start))

    @property
    def host(self) -> str:
        """Host and port for messages; the rest of a URL may be secret."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    def _request(self, offset: int) -> urllib.request.Request:
        if urlsplit(self.url).scheme not in ("http", "https") or not self.host:
            raise UsageError("not an http or https URL")
        headers = {"User-Agent": "entrepot-cache", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310
        if self.token:
            # urllib does not carry an unredirected header to where a redirect points
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        return request

    def _opener(self) -> urllib.request.OpenerDirector:
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=self._context()),
            urllib.request.HTTPDefaultErrorHandler(),
            _Redirects(),
            urllib.request.HTTPErrorProcessor(),
        ):
            opener.add_handler(handler)
        return opener

    def _context(self) -> ssl.SSLContext | None:
        if not (self.cafile or self.insecure or self.url.startswith("https:")):
            return None  # reading the system's certificates takes longer than a small blob
        try:
            context = ssl.create_default_context(cafile=self.cafile)
        except OSError as error:
            raise UsageError("the file of trusted certificates cannot be read", why=error.strerror or "") from error
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _pieces(self, response: http.client.HTTPResponse, rest: int) -> Iterator[bytes]:
        try:
            # read1 gives what has come, and never waits for a close behind the last byte
            while rest > 0 and (piece := response.read1(min(rest, _PIECE_BYTES))):
                rest -= len(piece)
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(error, self.host) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects; the token goes along only to the same scheme, host and port."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The next request, or None."""
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        if following and token and urlsplit(newurl)[:2] == urlsplit(req.full_url)[:2]:
            following.add_unredirected_header("Authorization", token)
        return following


def extent(status: int, headers: http.client.HTTPMessage) -> tuple[int, int]:
    """Size of the whole body, and where this response begins in it. Raises: Unsupported. Source: RFC 9110 14.4."""
    length = headers.get("Content-Length", "")
    if status == HTTPStatus.PARTIAL_CONTENT:
        unit, _, span = headers.get("Content-Range", "").partition(" ")
        place, _, total = span.partition("/")
        start = place.partition("-")[0]
        if unit == "bytes" and start.isdigit() and (total.isdigit() or (total == "*" and length.isdigit())):
            return (int(total) if total != "*" else int(start) + int(length)), int(start)
    elif status == HTTPStatus.OK and length.isdigit():
        return int(length), 0
    raise Unsupported("the source does not say how large it is", why="it sent no Content-Length")


def refusal(status: int, retry_after: str | None, host: str) -> EntrepotError:
    """What a status that is no success means."""
    said = f"{host} answered {status}"
    match status:
        case 401:
            return Unauthenticated(said, why="no token, or an expired one", advice="entrepot login")
        case 403:
            return Denied(said, why="this token or signed URL may not read it, or has expired")
        case 404 | 410:
            return NotFound(said, why="it is not there, or not for you")
        case 416:
            return BadRange(said)
        case 408 | 429 | 503:
            seconds = int(retry_after) if retry_after and retry_after.isdigit() else 2
            return Busy(said, retry_after_seconds=min(seconds, _LONGEST_PAUSE_SECONDS))
        case _ if status >= 500:
            return Unavailable(said)
        case _:
            return Refused(said)


def _unreachable(error: Exception, host: str) -> EntrepotError:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Refused(f"the certificate of {host} is not trusted", why=reason.verify_message, advice="--cacert FILE")
    if isinstance(reason, TimeoutError):
        return Unavailable(f"nothing came from {host} for a while", why="timed out")
    words = getattr(reason, "strerror", None) or type(reason).__name__
    return Unavailable(f"cannot reach {host}", why=words, advice="the same command continues where it stopped")
