"""A store that is killed again and again, and what it has promised so far."""

import hashlib
import http.client
import os
import random
import signal
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.asking import ask
from tests.faults.zygote import Zygote
from tests.running import RunningServer

BUCKET = "story"
DIED = (OSError, http.client.HTTPException)
"""What a client sees when the server dies under its request."""


class Change(Protocol):
    """One thing a client wants. `old` and `new` are the bytes under `key` before and after; None: nothing is there."""

    key: str
    old: bytes | None
    new: bytes | None

    def do(self, server: RunningServer) -> None:
        """Do it, and see it acknowledged; done again, it goes on where it was broken off."""


@dataclass
class Story:
    """What was acknowledged, by key, over one data folder."""

    zygote: Zygote
    data: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    def start(self, failpoint: str = "") -> RunningServer:
        """The next server over the folder, armed. Raises: RuntimeError if it dies before it answers."""
        server = self.zygote.start(self.data, {**self.environ, "ENTREPOT_FAILPOINT": failpoint})
        if not self.kept:
            server.bucket(BUCKET)
        return server

    def put(self, server: RunningServer, key: str, data: bytes) -> None:
        """An object of the old state."""
        assert write(server, key, data) == 201
        self.kept[key] = data

    def until_killed(self, server: RunningServer, changes: Iterable[Change]) -> Change:
        """Do them one by one; the one under which the server dies of its failpoint. At least one must."""
        for change in changes:
            try:
                change.do(server)
            except DIED:
                assert ended(server) == -signal.SIGKILL
                return change
            self.remember(change)
        raise AssertionError("the server never passed its failpoint")

    def remember(self, change: Change) -> None:
        """It was acknowledged."""
        if change.new is None:
            self.kept.pop(change.key, None)
        else:
            self.kept[change.key] = change.new

    def recover(self, server: RunningServer, broken: Change, allowed: Iterable[bytes | None]) -> None:
        """After a kill: what was acknowledged is there, the broken change is one of `allowed`; done again it works."""
        found = read(server, broken.key)
        assert found in list(allowed)
        if found is None:
            self.kept.pop(broken.key, None)
        else:
            self.kept[broken.key] = found
        self.check(server)
        broken.do(server)
        self.remember(broken)
        assert read(server, broken.key) == broken.new
        self.check(server)

    def check(self, server: RunningServer, *, whole: bool = False) -> None:
        """Names and digests are those that were acknowledged; some objects, or all, are read; nothing is left over."""
        page = server.call("GET", f"/objects/{BUCKET}?limit=1000")
        expected = {key: f"sha256:{hashlib.sha256(data).hexdigest()}" for key, data in self.kept.items()}
        assert {item["key"]: item["digest"] for item in page["objects"]} == expected
        keys = sorted(self.kept)
        for key in keys if whole else self.chance.sample(keys, min(5, len(keys))):
            assert read(server, key) == self.kept[key]
        project = server.call("GET", "/projects")[0]
        assert project["used"] == sum(map(len, self.kept.values()))
        open_uploads = uploads_of(self.data)
        assert set(os.listdir(self.data / "staging")) <= open_uploads.keys()  # made at their first part
        assert project["reserved"] == sum(open_uploads.values())


def uploads_of(data: Path) -> dict[str, int]:
    """Open uploads as the catalog has them, and what each reserves."""
    with closing(sqlite3.connect(f"file:{data}/catalog.db?mode=ro", uri=True)) as catalog:
        return dict(catalog.execute("SELECT id, reserved FROM upload WHERE state <> 'done'"))


def ended(server: RunningServer) -> int:
    """Exit code of a server that is ending."""
    return server.process.wait(20)


def url_of(server: RunningServer, key: str) -> str:
    """Where an object lies."""
    return f"{server.url}/api/v1/objects/{BUCKET}/{key}"


def token(server: RunningServer) -> dict[str, str]:
    """The admin's proof."""
    return {"Authorization": f"Bearer {server.admin_token}"}


def write(server: RunningServer, key: str, data: bytes, **headers: str) -> int:
    """Status of a PUT."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(url_of(server, key), "PUT", data, {**token(server), **more}).status


def read(server: RunningServer, key: str) -> bytes | None:
    """What lies there now, whole; None if nothing does."""
    answer = ask(url_of(server, key), headers=token(server))
    assert answer.status in (200, 404), answer
    return answer.body if answer.status == 200 else None
