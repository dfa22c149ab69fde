"""A registry client that is no more than its requests; every answer is held against what all of them promise."""

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from tests.asking import Answer, ask
from tests.running import RunningServer

ALGORITHMS = ("sha256", "sha512")
TOKEN = re.compile(r'Bearer realm="(https?://[^"/]+/v2/token)",service="entrepot"(?:,scope="([^"]+)")?\Z')
ROLES = ("reader", "writer", "maintainer")


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Of these bytes, as a registry's client writes it."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def checked(method: str, answer: Answer) -> Answer:
    """The same answer, which is as every answer of a registry must be."""
    assert answer.status < 500, answer
    assert values(answer, "docker-distribution-api-version") == ["registry/2.0"], answer
    challenges = values(answer, "www-authenticate")
    assert len(challenges) == (answer.status == 401), answer
    for challenge in challenges:
        assert TOKEN.match(challenge), challenge
        assert len(re.findall("bearer|basic", challenge, re.IGNORECASE)) == 1
    assert len(values(answer, "allow")) == (answer.status == 405), answer
    if method == "HEAD" or answer.status in (204, 304):
        assert answer.body == b"", answer
    elif answer.status >= 400:
        check_errors(answer)
    return answer


def check_errors(answer: Answer) -> None:
    """Errors are in the registry's own form, and say something."""
    assert answer.json.keys() == {"errors"}, answer
    assert answer.json["errors"], answer
    for error in answer.json["errors"]:
        assert error.keys() <= {"code", "message", "detail"}, answer
        assert re.fullmatch("[A-Z_]+", error["code"]), answer
        assert error["message"], answer


def values(answer: Answer, name: str) -> list[str]:
    """All headers of that name."""
    return [value for key, value in answer.headers if key == name]


def codes(answer: Answer) -> list[str]:
    """Of all errors."""
    return [error["code"] for error in answer.json["errors"]]


@dataclass(frozen=True)
class Client:
    """Somebody's view of one repository."""

    server: RunningServer
    token: str | None = None
    name: str = ""

    def at(self, name: str) -> "Client":
        """The same caller, another repository."""
        return replace(self, name=name)

    def beside(self) -> "Client":
        """The same caller, a repository of the same project that nobody has used."""
        return self.at(f"{self.name.rpartition('/')[0]}/{new_name()}".lstrip("/"))

    def by(self, token: str | None) -> "Client":
        """Another caller, the same repository."""
        return replace(self, token=token)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call; `path` begins behind the repository's name, or with a slash at the root of the server."""
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = self.server.url + (path if path.startswith("/") else f"/v2/{self.name}/{path}")
        answer = ask(url, method, body, {**sent, **(headers or {})}, cafile=self.server.cafile)
        return checked(method, answer)

    def done(
        self,
        method: str,
        path: str,
        status: int,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A call that is answered with that status."""
        answer = self.ask(method, path, body, headers)
        assert answer.status == status, (method, path, answer)
        return answer

    def refused(
        self,
        method: str,
        path: str,
        status: int,
        code: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A call that is refused with that status, and that code as its only error."""
        answer = self.done(method, path, status, body, headers)
        assert codes(answer) == [code], answer
        return answer

    def begin(self, query: str = "") -> str:
        """Where the bytes of a new upload go."""
        answer = self.done("POST", f"blobs/uploads/{query}", 202, b"")
        assert_open(answer, self.name, 0)
        return answer["location"]

    def append(
        self, upload: str, data: bytes | Iterable[bytes], offset: int, span: str | None = None, status: int = 202
    ) -> Answer:
        """Send bytes; the upload then holds `offset`."""
        headers = {"Content-Type": "application/octet-stream"}
        answer = self.done("PATCH", upload, status, data, {**headers, "Content-Range": span} if span else headers)
        assert_open(answer, self.name, offset)
        return answer

    def end(self, upload: str, digest: str, body: bytes = b"", **headers: str) -> Answer:
        """The upload is a blob."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.done("PUT", with_digest(upload, digest), 201, body, sent)
        assert_kept(answer, self.name, "blobs", digest)
        return answer

    def push(self, data: bytes, algorithm: str = "sha256") -> str:
        """The digest of bytes this repository now has."""
        digest = digest_of(data, algorithm)
        answer = self.done("POST", f"blobs/uploads/?digest={digest}", 201, data)
        assert_kept(answer, self.name, "blobs", digest)
        return digest

    def put(self, reference: str, data: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> Answer:
        """A manifest that is accepted under that reference."""
        answer = self.done("PUT", f"manifests/{reference}", 201, data, {"Content-Type": media_type, **(headers or {})})
        named = reference.partition("?")[0]
        assert_kept(answer, self.name, "manifests", named if ":" in named else digest_of(data))
        return answer

    def tags(self, query: str = "") -> list[str]:
        """A page of them."""
        answer = self.done("GET", f"tags/list{query}", 200)
        assert answer.json.keys() == {"name", "tags"}
        assert answer.json["name"] == self.name
        found: list[str] = answer.json["tags"]
        return found

    def referrers(self, digest: str, query: str = "") -> list[dict[str, Any]]:
        """A page of them."""
        answer = self.done("GET", f"referrers/{digest}{query}", 200)
        assert answer["content-type"] == "application/vnd.oci.image.index.v1+json"
        body = json.loads(answer.body)
        assert body["schemaVersion"] == 2
        assert body["mediaType"] == "application/vnd.oci.image.index.v1+json"
        found: list[dict[str, Any]] = body["manifests"]
        return found

    def has(self, digest: str, kind: str = "blobs") -> bool:
        """Whether the repository says that it has that."""
        answer = self.ask("HEAD", f"{kind}/{digest}")
        assert answer.status in (200, 404), answer
        return answer.status == 200


def with_digest(upload: str, digest: str) -> str:
    """Where the closing PUT goes."""
    return f"{upload}{'&' if '?' in upload else '?'}digest={quote(digest)}"


def assert_open(answer: Answer, name: str, offset: int) -> None:
    """The headers say where an upload is, and that it holds `offset` bytes."""
    assert re.fullmatch(rf"/v2/{re.escape(name)}/blobs/uploads/[0-9a-f-]{{36}}", answer["location"]), answer
    assert answer["range"] == f"0-{max(0, offset - 1)}", answer
    assert answer["upload-offset"] == str(offset), answer
    assert answer["docker-upload-uuid"] == answer["location"].rpartition("/")[2], answer


def assert_kept(answer: Answer, name: str, kind: str, digest: str) -> None:
    """The headers say where the blob or manifest is now."""
    assert answer["location"] == f"/v2/{name}/{kind}/{digest}", answer
    assert answer["docker-content-digest"] == digest, answer


def new_name() -> str:
    """Of a repository, project or user that is not there."""
    return f"r{secrets.token_hex(5)}"


def new_user(server: RunningServer, project: str | None = None, role: str | None = None) -> str:
    """A token of a user nobody has met, who has no password; with that role in the project."""
    name = f"u{secrets.token_hex(5)}"
    server.call("POST", "/users", {"name": name})
    if project and role:
        server.call("PUT", "/roles", {"principal": name, "project": project, "role": role})
    token: str = server.call("POST", "/tokens", {"user": name, "expires": "1h"})["token"]
    return token


@dataclass(frozen=True)
class People:
    """A project with one of each role in it, and somebody who has none there."""

    server: RunningServer
    project: str
    tokens: Mapping[str, str | None]

    def client(self, who: str = "maintainer", name: str | None = None) -> Client:
        """For one of them a repository, a new one if none is named."""
        return Client(self.server, self.tokens[who], name or f"{self.project}/{new_name()}")


def new_people(server: RunningServer) -> People:
    """Of a project of their own."""
    project = f"p{secrets.token_hex(5)}"
    server.call("POST", "/projects", {"name": project})
    tokens: dict[str, str | None] = {role: new_user(server, project, role) for role in ROLES}
    return People(server, project, {**tokens, "stranger": new_user(server), "anonymous": None})
