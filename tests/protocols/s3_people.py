"""Those whom the tests of S3 tell apart: a project's own people by role, a stranger from another project, nobody."""

import json
import re
import secrets
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import boto3
from botocore.config import Config

from entrepot.auth.grants import canonical_id
from tests.asking import FORM_TYPE, Answer, ask, form_body
from tests.protocols.rights import signed
from tests.running import RunningServer

NOBODY = "nobody"
OWN = ("writer", "maintainer", "owner")
Headers = Mapping[str, str]
VERSIONS = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
BYPASS = {"x-amz-bypass-governance-retention": "true"}


@dataclass(frozen=True)
class People:
    """A project with one of each role, and a stranger, who maintains another."""

    server: RunningServer = field(repr=False)
    project: str
    other: str
    keys: dict[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    tokens: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def stranger(self) -> str:
        """The stranger's canonical id."""
        return canonical_id(self.other)

    def ask(self, who: str, method: str, target: str, body: bytes = b"", headers: Headers | None = None) -> Answer:
        """A request by one of them; `target` begins behind the server's address."""
        return signed(self.keys.get(who), method, f"{self.server.url}{target}", body, headers)

    def done(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        """A request of the owner that must succeed; `_` in the name of a header stands for `-`."""
        answer = self.ask(
            "owner", method, target, body, {name.replace("_", "-"): text for name, text in headers.items()}
        )
        assert 200 <= answer.status < 300, (method, target, answer)
        return answer

    def bucket(self, **headers: str) -> str:
        """A new bucket of the owner, asked for with these headers."""
        name = f"bucket-{secrets.token_hex(4)}"
        self.done("PUT", f"/{name}", b"", **headers)
        return name

    def versioned(self, **headers: str) -> str:
        """One that keeps versions."""
        name = self.bucket(**headers)
        self.done("PUT", f"/{name}?versioning", VERSIONS)
        return name

    def version(self, bucket: str, key: str, data: bytes = b"x", **headers: str) -> str:
        """The id of a new version, put by the owner."""
        return self.done("PUT", f"/{bucket}/{key}", data, **headers)["x-amz-version-id"]

    def policy(self, bucket: str, *statements: Mapping[str, object]) -> None:
        """Make that the policy of a bucket; a statement is of everybody and of all of the bucket, unless it says so."""
        where = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        whole = [{"Principal": "*", "Resource": where, **one} for one in statements]
        self.done("PUT", f"/{bucket}?policy", json.dumps({"Version": "2012-10-17", "Statement": whole}).encode())

    def deny(self, bucket: str, *actions: str, **condition: object) -> None:
        """A policy that denies these to everybody."""
        self.policy(bucket, {"Effect": "Deny", "Action": actions} | ({"Condition": condition} if condition else {}))

    def allow_stranger(self, bucket: str, *actions: str, **condition: object) -> None:
        """A policy that allows these to the stranger."""
        said = {"Effect": "Allow", "Action": actions, "Principal": {"CanonicalUser": self.stranger}}
        self.policy(bucket, said | ({"Condition": condition} if condition else {}))

    def text(self, bucket: str, key: str) -> bytes | None:
        """What the owner reads there; None if it is not there."""
        answer = self.ask("owner", "GET", f"/{bucket}/{key}")
        return answer.body if answer.status == 200 else None

    def upload(self, who: str, bucket: str, key: str, headers: Headers | None = None) -> str:
        """The id of an upload that one of them begins."""
        return tag("UploadId", self.ask(who, "POST", f"/{bucket}/{key}?uploads", headers=headers))

    def form(
        self, who: str, bucket: str, fields: Headers, data: bytes = b"x", headers: Headers | None = None, url: str = ""
    ) -> Answer:
        """A form, with a policy signed by one of them that allows all of its fields; bare from nobody."""
        if who != NOBODY:
            with closing(self.client(who)) as s3:
                rest = {name: text for name, text in fields.items() if name != "key"}
                free = [["starts-with", f"${name}", ""] for name in rest]
                fields = s3.generate_presigned_post(bucket, fields["key"], rest, free)["fields"]
        where = url or f"{self.server.url}/{bucket}"
        return ask(where, "POST", form_body(fields, data), {**FORM_TYPE, **(headers or {})})

    def client(self, who: str) -> Any:
        """A boto3 client of one of them."""
        access, secret = self.keys[who]
        return boto3.client(
            "s3", endpoint_url=self.server.url, region_name="us-east-1", aws_access_key_id=access,
            aws_secret_access_key=secret, config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
        )  # fmt: skip

    def api(self, who: str, path: str, headers: Headers | None = None) -> Answer:
        """A GET through `/api/v1`."""
        sent = {"Authorization": f"Bearer {self.tokens[who]}", **(headers or {})}
        return ask(f"{self.server.url}/api/v1{path}", headers=sent)


def new_people(server: RunningServer) -> People:
    """All of them, on that server."""
    mark = secrets.token_hex(3)
    found = People(server, f"home-{mark}", f"elsewhere-{mark}")
    server.call("POST", "/projects", {"name": found.project})
    server.call("POST", "/projects", {"name": found.other})
    for who in (*OWN, "stranger"):
        project, role = (found.other, "maintainer") if who == "stranger" else (found.project, who)
        name = f"{who}-{mark}"
        server.call("POST", "/users", {"name": name})
        server.tokens[name] = ""
        found.tokens[who] = server.user(name)
        server.call("PUT", "/roles", {"principal": name, "project": project, "role": role})
        made = server.call("POST", "/keys", {"principal": name, "project": project})
        found.keys[who] = made["access"], made["secret"]
    return found


def code(answer: Answer) -> tuple[int, str]:
    """Status and code of a refusal."""
    found = re.search(rb"<Error><Code>(\w+)</Code><Message>[^<]+</Message>", answer.body)
    return answer.status, found[1].decode() if found else ""


def tag(name: str, answer: Answer) -> str:
    """The first text between those tags."""
    found = re.search(f"<{name}>([^<]*)</{name}>", answer.body.decode())
    assert found, (name, answer)
    return found[1]


def tags(name: str, answer: Answer) -> list[str]:
    """Every text between those tags."""
    assert answer.status == 200, answer
    return re.findall(f"<{name}>([^<]*)</{name}>", answer.body.decode())


def at(bucket: str, key: str, query: str = "") -> str:
    """Where that key is, percent-encoded."""
    return f"/{bucket}/{quote(key)}{f'?{query}' if query else ''}"


DENIED = (403, "AccessDenied")
