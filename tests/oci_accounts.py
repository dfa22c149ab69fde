"""What registry clients are given: a project of their own on a running server, and a robot that pushes to it."""

import base64
import gzip
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

from tests.asking import Answer, ask
from tests.conftest import needs
from tests.images import Image, bytes_in_layout, digest_of, tags_in_layout
from tests.running import RunningServer
from tests.s3_accounts import Account

Role = Literal["guest", "reader", "writer", "maintainer", "owner"]
Headers = Mapping[str, str] | Sequence[tuple[str, str]]
GZIP = b"\x1f\x8b"


def new_registry_account(server: RunningServer, home: Path, role: Role = "maintainer", project: str = "") -> Account:
    """A robot of a project, a new one if none is named; its name and secret are the account's two words."""
    if not project:
        project = f"oci-{secrets.token_hex(4)}"
        server.call("POST", "/projects", {"name": project})
    name = f"robot-{secrets.token_hex(4)}"
    made = server.call("POST", "/robots", {"name": name, "project": project, "role": role})
    home.mkdir(exist_ok=True)
    return Account(server, project, made["name"], made["secret"], home)


def new_token(account: Account, name: str) -> str:
    """A token of ours, for that user or robot."""
    found: str = account.server.call("POST", "/tokens", {"user": name, "expires": "1h"})["token"]
    return found


@dataclass(frozen=True)
class Tool:
    """skopeo, podman or buildah with a home of its own, where it finds that http is http; nobody is logged in."""

    account: Account
    words: tuple[str, ...]
    """The program and its options for all commands."""
    environ: Mapping[str, str]

    def __call__(self, *words: str | Path, stdin: bytes = b"") -> str:
        """The stdout of a command that must succeed."""
        return self.account(*self.words, *words, stdin=stdin, environ=self.environ)

    def bytes_of(self, *words: str | Path) -> bytes:
        """As a call, but as it was printed."""
        done = self.account.run(*self.words, *words, environ=self.environ)
        assert done.returncode == 0, (words, done)
        return done.stdout

    def fails(self, *words: str | Path, stdin: bytes = b"") -> str:
        """All that a command says that must fail."""
        return self.account.fails(*self.words, *words, stdin=stdin, environ=self.environ)

    def log_in(self, name: str = "", secret: str = "") -> str:
        """What a log-in says; without a name it is the account's robot that logs in."""
        name, secret = (name, secret) if name else (self.account.access, self.account.secret)
        return self("login", "--username", name, "--password-stdin", self.account.address, stdin=secret.encode())


def new_tool(account: Account, *words: str, environ: Mapping[str, str] | None = None) -> Tool:
    """That program; its settings are in the account's home."""
    folder = account.home / ".config" / "containers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.json").write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    insecure = "false" if account.secure else "true"
    (folder / "registries.conf").write_text(f'[[registry]]\nlocation = "{account.address}"\ninsecure = {insecure}\n')
    log_ins = folder / "auth.json"
    if not log_ins.exists():
        log_ins.write_text("{}")
    found = {"REGISTRY_AUTH_FILE": str(log_ins), "TMPDIR": str(account.home)}
    return Tool(account, words, {**found, **(environ or {})})


def new_repository(account: Account, word: str = "image") -> str:
    """A name in the account's project that no other test uses; nothing is there yet."""
    return f"{account.project}/{account.name(word)}"


def new_password_user(account: Account, role: Role = "maintainer") -> tuple[str, str]:
    """Name and password of a user with a role in the account's project."""
    name, password = f"user-{secrets.token_hex(4)}", secrets.token_hex(8)
    account.server.call("POST", "/users", {"name": name, "password": password})
    account.server.call("PUT", "/roles", {"principal": name, "project": account.project, "role": role})
    return name, password


def skopeo_of(account: Account) -> Tool:
    """The program; the cache of what it has seen where is in its home, as for all but root."""
    return new_tool(account, needs("skopeo", "skopeo"), environ={"_CONTAINERS_ROOTLESS_UID": "1000"})


def at(account: Account, repository: str, reference: str = "") -> str:
    """As skopeo names it."""
    return f"docker://{account.address}/{repository}{reference}"


def podman_of(account: Account, runs: Path, store: str) -> Tool:
    """The program, with a store of that name."""
    folder = account.home / store
    words = [
        needs("podman", "podman"), "--root", str(folder), "--runroot", f"{runs}/{store}", "--tmpdir", f"{folder}-tmp",
        "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none",
    ]  # fmt: skip
    return new_tool(account, *words, environ={"STORAGE_DRIVER": "vfs"})


def buildah_of(account: Account, store: str) -> Tool:
    """The program, with a store of that name."""
    folder = account.home / store
    words = (needs("buildah", "buildah"), "--root", f"{folder}", "--runroot", f"{folder}-run")
    return new_tool(account, *words, environ={"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"})


def saved_layers(podman: Tool, name: str) -> list[bytes]:
    """The tars of an image in the store."""
    folder = podman.account.home / podman.account.name("saved")
    podman("save", "--quiet", "--format", "oci-dir", "--output", folder, name)
    held = bytes_in_layout(folder)
    (digest,) = tags_in_layout(folder).values()
    found = [held[layer["digest"]] for layer in json.loads(held[digest])["layers"]]
    return [gzip.decompress(layer) if layer.startswith(GZIP) else layer for layer in found]


@dataclass(frozen=True)
class Registry:
    """Requests to `/v2/` as a client's author would write them; `proof` goes along as Authorization."""

    account: Account
    proof: str | None

    def ask(
        self, method: str, target: str, body: bytes | Iterable[bytes] | None = None, headers: Headers = ()
    ) -> Answer:
        """One request; `target` is a path with its query."""
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        if self.proof and not any(name.lower() == "authorization" for name, _ in pairs):
            pairs.append(("Authorization", self.proof))
        return ask(f"{self.account.server.url}{target}", method, body, pairs, cafile=self.account.server.cafile)

    def done(
        self,
        status: int,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Headers = (),
    ) -> Answer:
        """The answer of a request that is answered so."""
        answer = self.ask(method, target, body, headers)
        assert answer.status == status, (method, target, answer)
        return answer

    def push(self, repository: str, content: Image, tag: str = "") -> None:
        """All of an image, the plainest way."""
        for child in content.children:
            self.push(repository, child)
        for data in content.blobs:
            self.done(201, "POST", f"/v2/{repository}/blobs/uploads/?{urlencode({'digest': digest_of(data)})}", data)
        target = f"/v2/{repository}/manifests/{tag or content.digest}"
        self.done(201, "PUT", target, content.manifest, {"Content-Type": content.media_type})

    def holds(self, repository: str, content: Image, tag: str = "") -> None:
        """Every byte of an image is there, under its type."""
        found = self.done(200, "GET", f"/v2/{repository}/manifests/{tag or content.digest}")
        assert (found.body, found["content-type"]) == (content.manifest, content.media_type)
        assert found["docker-content-digest"] == content.digest
        for data in content.blobs:
            assert self.done(200, "GET", f"/v2/{repository}/blobs/{digest_of(data)}").body == data
        for child in content.children:
            self.holds(repository, child)


def registry_of(account: Account) -> Registry:
    """Requests of the account's robot, each with its name and secret."""
    return Registry(account, basic(account.access, account.secret))


def basic(name: str, secret: str) -> str:
    """An Authorization header."""
    return f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"


def make_public(account: Account, name: str, *, public: bool = True) -> None:
    """Anybody may read that repository, or nobody more: a maintainer of its project says so."""
    opener = f"opener-{secrets.token_hex(4)}"
    token = account.server.user(opener)
    account.server.call("PUT", "/roles", {"principal": opener, "project": account.project, "role": "maintainer"})
    account.server.call("PUT", f"/repositories/{name}", {"public": public}, token=token)
