"""A registry that is killed again and again, and the images and blobs it has acknowledged so far."""

import hashlib
import json
import os
import signal
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.asking import Answer, ask
from tests.faults.story import DIED, ended, token
from tests.faults.zygote import Zygote
from tests.running import RunningServer

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SIZE = 150_000
"""Of a layer: more than what an upload keeps in its row."""
REPOSITORY, BASE = "story/image", "story/base"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def image_of(*blobs: bytes) -> bytes:
    """A manifest: the first is its config, the others are layers."""
    described = [{"mediaType": "application/x", "digest": digest_of(one), "size": len(one)} for one in blobs]
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described[0], "layers": described[1:]}
    return json.dumps(body).encode()


def oci(
    server: RunningServer, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request of the admin; `path` begins behind `/v2/`, or with a slash at the root."""
    url = server.url + (path if path.startswith("/") else f"/v2/{path}")
    return ask(url, method, body, {**token(server), **(headers or {})})


@dataclass
class Push:
    """An image of a base layer that is mounted, one layer sent in two pieces, and a config sent in one request."""

    tag: str
    base: bytes
    layer: bytes = field(default_factory=lambda: os.urandom(SIZE))
    config: bytes = field(default_factory=lambda: b'{"id":"%s"}' % os.urandom(20_000).hex().encode())
    upload: str = ""
    safe: int = 0
    """Bytes of the layer that were acknowledged."""
    closing: bool = False
    held: set[str] = field(default_factory=set)
    """Blobs of which it was said that they are here."""
    resumed: int = 0

    @property
    def manifest(self) -> bytes:
        return image_of(self.config, self.base, self.layer)

    @property
    def blobs(self) -> dict[str, bytes]:
        return {digest_of(one): one for one in (self.base, self.layer, self.config)}

    def do(self, server: RunningServer) -> None:
        """All of it, from where it was broken off."""
        mount = f"{REPOSITORY}/blobs/uploads/?mount={digest_of(self.base)}&from={BASE}"
        self._done(server, "POST", mount, 201, b"", held=self.base)
        self._layer(server)
        posted = f"{REPOSITORY}/blobs/uploads/?digest={digest_of(self.config)}"
        self._done(server, "POST", posted, 201, self.config, held=self.config)
        self._done(server, "PUT", f"{REPOSITORY}/manifests/{self.tag}", 201, self.manifest)

    def _layer(self, server: RunningServer) -> None:
        digest = digest_of(self.layer)
        if oci(server, "HEAD", f"{REPOSITORY}/blobs/{digest}").status == 200:
            return
        assert digest not in self.held
        offset = self._goes_on(server)
        if offset is None:
            begun = self._done(server, "POST", f"{REPOSITORY}/blobs/uploads/", 202, b"")
            self.upload, self.safe, self.closing, offset = begun["location"], 0, False, 0
        half = SIZE // 2
        while offset < SIZE:
            stop = half if offset < half else SIZE
            span = {"Content-Range": f"{offset}-{stop - 1}"}
            self._done(server, "PATCH", self.upload, 202, self.layer[offset:stop], span)
            self.safe = offset = stop
        self.closing = True
        self._done(server, "PUT", f"{self.upload}?digest={digest}", 201, b"", held=self.layer)
        self.upload = ""

    def _goes_on(self, server: RunningServer) -> int | None:
        """Where an upload that was broken off goes on; None if there is none, or it died while it was closed."""
        if not self.upload:
            return None
        found = oci(server, "GET", self.upload)
        if found.status == 404:
            assert self.closing, "an open upload was lost"
            return None
        assert found.status == 204, found
        offset = int(found["upload-offset"])
        assert self.safe <= offset <= SIZE
        self.resumed += 1
        return offset

    def _done(
        self, server: RunningServer, method: str, path: str, status: int, body: bytes,
        headers: Mapping[str, str] | None = None, held: bytes | None = None,
    ) -> Answer:  # fmt: skip
        more = {"Content-Type": MANIFEST} if "/manifests/" in path else {}
        answer = oci(server, method, path, body, {**more, **(headers or {})})
        assert answer.status == status, (method, path, answer)
        if held is not None:
            self.held.add(digest_of(held))
        return answer


@dataclass
class RegistryStory:
    """What a registry over one data folder has acknowledged."""

    zygote: Zygote
    data: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    base: bytes = field(default_factory=lambda: os.urandom(SIZE))
    images: dict[str, Push] = field(default_factory=dict)
    resumed: int = 0
    closed: list[str] = field(default_factory=list)

    def start(self, failpoint: str = "") -> RunningServer:
        """The next server over the folder, armed. Raises: RuntimeError if it dies before it answers."""
        return self.zygote.start(self.data, {**self.environ, "ENTREPOT_FAILPOINT": failpoint})

    def begin(self) -> None:
        """The repository others mount from."""
        server = self.start()
        answer = oci(server, "POST", f"{BASE}/blobs/uploads/?digest={digest_of(self.base)}", self.base)
        assert answer.status == 201
        named = {"Content-Type": MANIFEST}
        config = oci(server, "POST", f"{BASE}/blobs/uploads/?digest={digest_of(b'{}')}", b"{}")
        assert config.status == 201
        assert oci(server, "PUT", f"{BASE}/manifests/base", image_of(b"{}", self.base), named).status == 201
        assert server.stop() == 0

    def until_killed(self, server: RunningServer, pushes: Iterable[Push]) -> Push:
        """Push one by one; the one under which the server dies of its failpoint. One must."""
        for push in pushes:
            try:
                push.do(server)
            except DIED:
                assert ended(server) == -signal.SIGKILL
                return push
            self.images[push.tag] = push
        raise AssertionError("the server never passed its failpoint")

    def recover(self, server: RunningServer, broken: Push) -> None:
        """After a kill: all that was acknowledged is there; the broken push, done again, succeeds."""
        self.check(server)
        for digest in broken.held:
            assert oci(server, "GET", f"{REPOSITORY}/blobs/{digest}").body == broken.blobs[digest]
        broken.do(server)
        self.resumed += broken.resumed
        self.images[broken.tag] = broken
        self.check(server)

    def check(self, server: RunningServer, *, whole: bool = False) -> None:
        """Every acknowledged image is there, some or all are pulled; no room is held by what is not there."""
        found = oci(server, "GET", f"{REPOSITORY}/tags/list")
        assert found.status in (200, 404)
        tags = set(found.json["tags"]) if found.status == 200 else set()
        assert self.images.keys() <= tags | set()
        names = sorted(self.images)
        for tag in names if whole else names[-3:]:
            pulled(server, self.images[tag])
        (project,) = server.call("GET", "/projects")
        reserved, open_uploads = uploads_of(self.data)
        assert project["reserved"] == reserved
        for name in os.listdir(self.data / "staging"):
            assert name.partition(".")[0] in open_uploads, name


def pulled(server: RunningServer, image: Push) -> None:
    """Every byte of it."""
    assert oci(server, "GET", f"{REPOSITORY}/manifests/{image.tag}").body == image.manifest
    for digest, data in image.blobs.items():
        assert oci(server, "GET", f"{REPOSITORY}/blobs/{digest}").body == data


def uploads_of(data: Path) -> tuple[int, set[str]]:
    """What uploads reserve, ended ones too, and which are open."""
    with closing(sqlite3.connect(f"file:{data}/catalog.db?mode=ro", uri=True)) as catalog:
        rows = list(catalog.execute("SELECT id, state, reserved FROM upload"))
    return sum(row[2] for row in rows), {row[0] for row in rows if row[1] != "done"}


def blobs_of(data: Path) -> tuple[int, int]:
    """Number of rows of blobs, each with its bytes, and of files without a row."""
    files = {path.name for path in (data / "blobs").glob("*/*")}
    with closing(sqlite3.connect(f"file:{data}/catalog.db?mode=ro", uri=True)) as catalog:
        rows = dict(catalog.execute("SELECT key, state FROM blob"))
        inline = {key for (key,) in catalog.execute("SELECT key FROM inline_blob")}
    assert {key for key, state in rows.items() if state == "present"} <= files | inline
    return len(rows), len(files - rows.keys())
