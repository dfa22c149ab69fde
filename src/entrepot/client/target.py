"""Where requests go and how they look; what a broken connection means. Shared by both clients, without any I/O."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import httpx2

from entrepot.client.answers import Unreached, refusal
from entrepot.client.flow import Buffer, Reply, Request
from entrepot.errors import Busy, EntrepotError, Refused, Unavailable, UsageError

IDLE_SECONDS: Final = 60.0
CONNECT_SECONDS: Final = 15.0
ATTEMPTS: Final = 5
RETRY: Final = {"attempts": ATTEMPTS, "timeout": None, "wait_initial": 0.5, "wait_max": 10.0, "wait_jitter": 0.5}
_PIECE_BYTES: Final = 256 * 2**10
_MOST_BYTES: Final = 64 * 2**20
_READ_ONLY: Final = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Target:
    """A server: `base` is its URL without a slash at the end. The token goes to it and nowhere else."""

    base: str
    token: str | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.base).netloc

    def arguments(self, request: Request) -> dict[str, object]:
        """What httpx2 needs to build `request`, but for the body."""
        headers = {"Accept": "application/json, */*;q=0.5", "Accept-Encoding": "identity", **request.headers}
        is_ours = request.url.startswith("/")
        if is_ours and self.token and not request.anonymous:
            headers["Authorization"] = f"Bearer {self.token}"
        if request.body is not None:
            headers["Content-Length"] = str(len(request.body))
        return {
            "method": request.method,
            "url": self.base + request.url if is_ours else request.url,
            "headers": headers,
        }


def follows(request: Request) -> bool:
    """True if a redirect may be followed: nothing but reading. httpx2 takes no token along to another origin."""
    return request.method in _READ_ONLY


def pieces(body: Buffer) -> Iterator[bytes]:
    """The body in pieces small enough to see it move."""
    whole = memoryview(body)
    for start in range(0, len(whole), _PIECE_BYTES):
        yield bytes(whole[start : start + _PIECE_BYTES])


class Arrived:
    """One answer as it comes: its body counts for the watcher, and is taken back if it must come again."""

    def __init__(self, request: Request, host: str) -> None:
        self._moved = request.moved or (lambda _: None)
        self._host = host
        self._name = request.name
        self._counted = 0
        self.body = bytearray()

    def count(self, size: int) -> None:
        """So many bytes of a body passed."""
        self._counted += size
        self._moved(size)

    def take(self, piece: bytes) -> None:
        """The next piece of the answer. Raises: Refused, if it does not end."""
        self.body += piece
        if len(self.body) > _MOST_BYTES:
            raise Refused(f"{self._host} sent too much for {self._name}")

    def take_back(self) -> None:
        """Nothing of it counts."""
        self._moved(-self._counted)

    def reply(self, status: int, headers: Mapping[str, str]) -> Reply:
        """The whole answer. Raises: EntrepotError, for a status that is no success."""
        if not 200 <= status < 300:
            raise refusal(status, headers, self.body, self._host)
        return Reply(status, headers, self.body)


class Pace:
    """Keeps all transfers of one client together below a rate in bytes a second; None: no limit."""

    def __init__(self, bytes_per_second: float | None) -> None:
        self._rate = bytes_per_second
        self._free_at = time.monotonic()
        self._lock = threading.Lock()

    def wait_seconds(self, size: int) -> float:
        """How long to wait before so many bytes may pass."""
        if not self._rate:
            return 0.0
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._free_at)
            self._free_at = begin + size / self._rate
            return begin - now


def connection_error(error: Exception, host: str) -> EntrepotError:
    """What a failure below HTTP means. Its text may hold a URL, so only its kind is told."""
    cause = _certificate_error(error)
    if cause is not None:
        return Refused(f"the certificate of {host} is not trusted", why=cause.verify_message, advice="--cacert FILE")
    again = "the same command continues where it stopped"
    match error:
        case httpx2.ConnectTimeout():
            return Unreached(f"no connection to {host} in {CONNECT_SECONDS:.0f} s", advice="entrepot config show")
        case httpx2.ConnectError() | httpx2.ProxyError():
            return Unreached(
                f"cannot connect to {host}", why=_reason(error), advice="is the address right, is it running?"
            )
        case httpx2.TimeoutException():
            return Unavailable(
                f"no byte to or from {host}", why=f"the idle deadline of {IDLE_SECONDS:.0f} s", advice=again
            )
        case httpx2.InvalidURL() | httpx2.UnsupportedProtocol() | httpx2.LocalProtocolError() | UnicodeError():
            return UsageError("this address or token cannot be sent", why="it has characters HTTP has not")
        case _:
            return Unavailable(f"the connection to {host} broke", why=_reason(error), advice=again)


def retry_or_wait(*, repeat: bool) -> Callable[[Exception], bool | float]:
    """Whether to send a request again after an error; a number: after so many seconds.

    It must not hold the request: tenacity's objects are cycles, and would keep each body until the next collection.
    """

    def decide(error: Exception) -> bool | float:
        if isinstance(error, Busy):
            return float(error.retry_after_seconds)
        return isinstance(error, Unreached) or (isinstance(error, Unavailable) and repeat)

    return decide


def _certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _reason(error: BaseException) -> str:
    innermost: BaseException = error
    while (cause := innermost.__cause__ or innermost.__context__) is not None:
        innermost = cause
    return (getattr(innermost, "strerror", None) or type(innermost).__name__).lower()
