"""`/api/v1` as its own table describes it: each answer is decoded by the shape its route declares."""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from entrepot import shapes
from entrepot.protocols.api.requests import Route, find
from tests.asking import Answer, ask
from tests.running import RunningServer


@dataclass(frozen=True)
class Api:
    """The API of a server, for one token."""

    server: RunningServer
    token: str | None = None

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One call; `path` begins behind `/api/v1` and goes out as it is; a body that is not bytes goes as JSON."""
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if body is not None and not isinstance(body, bytes):
            sent["Content-Type"] = "application/json"
        url = path if path.startswith("http") else f"{self.server.url}/api/v1{path}"
        return ask(url, method, data, {**sent, **(headers or {})}, cafile=self.server.cafile)

    def done(
        self, method: str, path: str, body: object = None, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Any:
        """The answer of a call that succeeds with that status, in the shape the table promises for it."""
        answer = self.ask(method, path, body, headers)
        assert answer.status == status, (method, path, answer)
        return decoded(answer, route_of(method, path.partition("/api/v1")[2] or path))

    def refused(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> shapes.Problem:
        """The problem a refused call answers."""
        return problem(self.ask(method, path, body, headers))

    def put(self, name: str, data: bytes) -> shapes.PutAnswer:
        """Put `BUCKET/KEY`."""
        found: shapes.PutAnswer = self.done("PUT", f"/objects/{quote(name)}", data, 201)
        return found

    def begin(self, to: str, status: int = 201, **more: object) -> shapes.UploadShape:
        """An open upload."""
        found: shapes.UploadShape = self.done("POST", "/uploads", {"to": to, **more}, status)
        return found

    def part(self, upload: shapes.UploadShape, offset: int, data: bytes, status: int = 204, **headers: str) -> Answer:
        """Send a part, without any token."""
        answer = ask(f"{upload.url}/{offset}", "PUT", data, {"Content-Digest": content_digest(data), **headers})
        assert answer.status == status, answer
        return answer

    def state(self, upload: shapes.UploadShape) -> shapes.UploadState:
        """What the upload holds."""
        found: shapes.UploadState = Api(self.server).done("GET", upload.url)
        return found

    def commit(self, upload: shapes.UploadShape, size: int, sha256: str | None = None) -> shapes.ObjectShape:
        """The object it became."""
        found: shapes.Committed = Api(self.server).done(
            "POST", f"{upload.url}/commit", {"size": size, "sha256": sha256}, 201
        )
        return found.object

    def get(self, name: str) -> bytes:
        """The bytes of `BUCKET/KEY`."""
        found: bytes = self.done("GET", f"/objects/{quote(name)}")
        return found


def admin(server: RunningServer) -> Api:
    """The API for the first admin."""
    return Api(server, server.admin_token)


def user(server: RunningServer, role: str | None = None, **more: Any) -> tuple[str, Api]:
    """The name of a new user with that role in project `default`, and the API for it."""
    name = f"user-{secrets.token_hex(4)}"
    return name, Api(server, server.user(name, role=role, **more))


def bucket(server: RunningServer, *, public: bool = False) -> str:
    """A new bucket of project `default`."""
    return server.bucket(f"bucket-{secrets.token_hex(4)}", public=public)


def route_of(method: str, path: str) -> Route:
    """The line of the table that answers this call."""
    return find(method, f"/api/v1{path.partition('?')[0]}".encode())[0]


def decoded(answer: Answer, route: Route) -> Any:
    """The body in the shape the route declares for this status: nothing more in it and nothing less."""
    shape = route.answers[answer.status]
    if shape is None:
        assert answer.body == b""
        return None
    if shape is bytes:
        return answer.body
    if route.kind.__name__ == "PutObject" and answer["content-type"] == "text/plain":
        return answer.body.decode()
    if shape == shapes.UploadAnswer:
        shape = shapes.Committed if "object" in answer.json else shapes.UploadShape
    assert answer["cache-control"] == "no-store"
    found = msgspec.json.decode(answer.body, type=shape)
    assert json.loads(msgspec.json.encode(found)) == answer.json
    return found


def problem(answer: Answer) -> shapes.Problem:
    """The problem document of a refusal; its status is that of the answer."""
    assert answer.status >= 400, answer
    assert answer["content-type"] == "application/problem+json", answer
    found = msgspec.json.decode(answer.body, type=shapes.Problem)
    assert found.status == answer.status
    assert found.message
    return found


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()


def content_digest(data: bytes) -> str:
    """As the header has it. Source: RFC 9530."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"
