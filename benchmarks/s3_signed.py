"""A light S3 client: requests signed with AWS Signature V4 in their headers, made before any clock starts."""

import hashlib
import hmac
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Final
from urllib.parse import quote, urlsplit

from benchmarks.bodies import Answer, WrongAnswer, dialled, head_of, read_answer

REGION: Final = "us-east-1"
EMPTY: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Account:
    """Where a server is, and a key it knows."""

    url: str
    access: str
    secret: str = field(repr=False)

    @property
    def port(self) -> int:
        """The server's."""
        return urlsplit(self.url).port or 0

    def head(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes = b"", **headers: str
    ) -> bytes:
        """The head of a signed request. `path` needs no encoding; of a body sent apart, give `sha256` and `length`."""
        sha256 = headers.pop("sha256", "") or (hashlib.sha256(body).hexdigest() if body else EMPTY)
        length = headers.pop("length", str(len(body)))
        words = "&".join(f"{name}={quote(value, safe='')}" for name, value in sorted((query or {}).items()))
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        signed = {"host": urlsplit(self.url).netloc, "x-amz-content-sha256": sha256, "x-amz-date": now}
        signed |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        names = ";".join(sorted(signed))
        canonical = f"{method}\n{path}\n{words}\n{lines}\n{names}\n{sha256}"
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.new(_signing_key(self.secret, now[:8]), text.encode(), hashlib.sha256).hexdigest()
        proof = f"AWS4-HMAC-SHA256 Credential={self.access}/{scope}, SignedHeaders={names}, Signature={signature}"
        del signed["host"]
        more = {"Content-Length": length} if method in ("PUT", "POST") else {}
        url = f"{self.url}{path}" + (f"?{words}" if words else "")
        return head_of(method, url, **signed, **more, Authorization=proof)


@cache
def _signing_key(secret: str, day: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for word in (day, REGION, "s3", "aws4_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    return key


def hear(connection: socket.socket, *, bare: bool = False) -> tuple[Answer, bytes]:
    """An answer and its whole body; `bare` says that it has none, whatever its length. Raises: WrongAnswer."""
    answer = read_answer(connection)
    if bare:
        return answer, b""
    body, length = bytearray(answer.rest), int(answer.headers.get("content-length", "0"))
    while len(body) < length:
        piece = connection.recv(1 << 20)
        if not piece:
            raise WrongAnswer("the body was cut")
        body += piece
    return answer, bytes(body)


def ask(
    account: Account, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes = b"", **headers: str
) -> tuple[Answer, bytes]:
    """One request on a connection of its own. Raises: WrongAnswer."""
    with dialled(account.url) as connection:
        connection.sendall(account.head(method, path, query, body, **headers) + body)
        return hear(connection, bare=method == "HEAD")
