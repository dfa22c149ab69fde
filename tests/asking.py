"""HTTP over a real socket with as little client as possible: what goes out is what the test wrote."""

import http.client
import json
import secrets
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from tests.running import RunningServer

BOUNDARY = "7d9c1f0e5a"


@dataclass(frozen=True)
class Answer:
    """What came back. Header names in lower case, in the order they came."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __getitem__(self, name: str) -> str:
        return dict(self.headers)[name]

    def __contains__(self, name: str) -> bool:
        return name in dict(self.headers)

    @property
    def json(self) -> Any:
        """The body, which says that it is JSON."""
        assert self["content-type"] == "application/json", (self.status, self.headers, self.body)
        return json.loads(self.body)


def connection(url: str, cafile: str | None = None, timeout: float = 30) -> http.client.HTTPConnection:
    """A connection to the host of `url`."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=cafile)
        return http.client.HTTPSConnection(parts.netloc, timeout=timeout, context=context)
    return http.client.HTTPConnection(parts.netloc, timeout=timeout)


def ask(
    url: str,
    method: str = "GET",
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    *,
    cafile: str | None = None,
) -> Answer:
    """One request on a connection of its own. Bytes get a Content-Length, other bodies go in chunks."""
    parts = urlsplit(url)
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    with closing(connection(url, cafile)) as http_connection:
        http_connection.putrequest(method, target or "/", skip_accept_encoding=True)
        chunked = body is not None and not isinstance(body, bytes)
        if isinstance(body, bytes) and "content-length" not in {name.lower() for name, _ in pairs}:
            pairs.append(("Content-Length", str(len(body))))
        if chunked:
            pairs.append(("Transfer-Encoding", "chunked"))
        for name, value in pairs:
            http_connection.putheader(name, value)
        http_connection.endheaders(body, encode_chunked=chunked)
        return answer_of(http_connection.getresponse())


def answer_of(response: http.client.HTTPResponse) -> Answer:
    """All of a response. Raises: whatever a cut one raises."""
    with response:
        body = response.read()
        return Answer(response.status, tuple((name.lower(), value) for name, value in response.getheaders()), body)


def exchange(server: RunningServer, sent: bytes, timeout: float = 10) -> bytes:
    """What comes back for exactly those bytes, until the server ends the connection or is silent for `timeout` s."""
    parts = urlsplit(server.url)
    found = b""
    with socket.create_connection((parts.hostname, parts.port or 80), timeout) as wire:
        wire.sendall(sent)
        try:
            while piece := wire.recv(1 << 16):
                found += piece
        except TimeoutError:
            pass
    return found


def form_body(
    fields: Mapping[str, str] | Sequence[tuple[str, str]],
    file: bytes | None,
    *,
    filename: str = "x.sif",
    file_field: str = "file",
    name_every_part: bool = False,
    after: Sequence[tuple[str, str]] = (),
) -> bytes:
    """multipart/form-data with the fields in order, then the file, then `after`."""
    out = []
    extra = '; filename="part"' if name_every_part else ""
    for name, value in fields.items() if isinstance(fields, Mapping) else fields:
        out.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n{value}\r\n'.encode())
    if file is not None:
        disposition = f'form-data; name="{file_field}"; filename="{filename}"'
        out.append(f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + file + b"\r\n")
    for name, value in after:
        out.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    return b"".join(out) + f"--{BOUNDARY}--\r\n".encode()


FORM_TYPE = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@dataclass(frozen=True)
class DataApi:
    """The PROMINENCE data API of a server, for one token."""

    server: RunningServer
    token: str | None
    base: str = "/prominence/v1"

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None, query: str = ""
    ) -> Answer:
        """One call; `path` begins behind the base and is sent as it is; a body that is not bytes goes as JSON."""
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if body is not None and not isinstance(body, bytes):
            sent["Content-Type"] = "application/json"
        url = f"{self.server.url}{self.base}{path}{query}"
        return ask(url, method, data, {**sent, **(headers or {})}, cafile=self.server.cafile)

    def put_url(self, name: str) -> str:
        """A URL to PUT that name with."""
        answer = self.ask("POST", "/data/upload", {"filename": name})
        assert answer.status == 201, answer
        url: str = answer.json["url"]
        return url

    def form(self, name: str, sha256: str) -> tuple[str, dict[str, str]]:
        """Where to POST that name to, and the fields."""
        answer = self.ask("POST", "/data/upload", {"filename": name, "checksum": sha256})
        assert answer.status == 201, answer
        return answer.json["url"], answer.json["fields"]

    def put(self, name: str, data: bytes) -> Answer:
        """Put it there by a signed PUT."""
        return ask(self.put_url(name), "PUT", data, cafile=self.server.cafile)

    def get_url(self, name: str, **more: object) -> str:
        """A URL to GET that name with."""
        answer = self.ask("POST", "/data/download", {"name": name, **more})
        assert answer.status == 201, answer
        url: str = answer.json["url"]
        return url

    def get(self, name: str) -> bytes:
        """The bytes of that name."""
        answer = ask(self.get_url(name), cafile=self.server.cafile)
        assert answer.status == 200, answer
        return answer.body

    def names(self, path: str = "") -> list[str]:
        """Names in the own area, or below a path."""
        answer = self.ask("GET", f"/data/{quote(path)}" if path else "/data")
        assert answer.status == 200, answer
        return [item["name"] for item in answer.json]


def someone(server: RunningServer, *groups: str, name: str = "", job: str | None = None) -> DataApi:
    """A user nobody has met, or the one of that name; without a password, whose hashing takes its time."""
    name = name or f"user-{secrets.token_hex(4)}"
    if name not in server.tokens:
        server.call("POST", "/users", {"name": name})
        server.tokens[name] = ""
    return DataApi(server, server.user(name, groups=groups, job=job))


def post_form(url: str, fields: Mapping[str, str] | Sequence[tuple[str, str]], data: bytes, **options: Any) -> Answer:
    """A form with that file."""
    return ask(url, "POST", form_body(fields, data, **options), FORM_TYPE)
