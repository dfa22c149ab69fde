"""The server killed at every step it names: what was acknowledged stays, what was under way is old or new, all whole.

Each test kills several servers over one data folder; the next server is the recovery of the one before.
"""

import hashlib
import os
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import entrepot
from entrepot.failpoints import NAMES
from tests.asking import DataApi, ask, post_form
from tests.faults.story import BUCKET, DIED, Change, Story, ended, read, token, uploads_of, url_of, write
from tests.faults.zygote import Zygote
from tests.running import RunningServer

SIZE = 100_000
RECEIVING = (
    "upload.reserved@2 upload.staged@2 upload.written@2 blob.verified@2 blob.synced@2 blob.renamed@2 "
    "blob.folder_synced@2 catalog.committing@30 catalog.committing@31 catalog.committed@30 catalog.committed@31 "
    "answer.sending@40"
).split()
"""A recovery passes each of the first once; start, checks and recovery together pass the last fewer times."""
RESUMING = (
    "upload.reserved@2 upload.staged@2 upload.written@3 upload.written@4 upload.synced@3 upload.progressed@3 "
    "upload.progressed@4 blob.verified@2 blob.synced@2 blob.renamed@2 blob.folder_synced@2 "
    "catalog.committing@40 catalog.committing@41 catalog.committing@42 catalog.committed@43 answer.sending@41 "
    "answer.sending@42"
).split()
DELETING = "catalog.committing@20 catalog.committed@20 name.deleted@2 answer.sending@40".split()
COLLECTING = (
    "job.claimed@5 job.finished@5 gc.marked@4 gc.unlinking@2 gc.unlinked@2 gc.forgotten@2 catalog.committed@60"
).split()
STARTING = "catalog.committing@1 catalog.committing@2 catalog.committed@2 catalog.committing@3 epoch.raised@1".split()
STOPPING = "drain.started@1 checkpoint.starting@1".split()
OTHERS = "blob.loser_unlinking@2 lease.taken@1 quota.released@2 scrub.quarantined@1 sweep.unlinking@1".split()
ELSEWHERE = ["blob.reading", "lifecycle.removing"]
"""A read that fails is in `test_errors_on_disk`; lifecycle rules remove in one commit, as DELETE does."""
EAGER = {"ENTREPOT_COLLECT_SECONDS": "0.05", "ENTREPOT_REMOVE_GRACE_SECONDS": "0", "ENTREPOT_TRASH_DAYS": "0"}
BEFORE_THE_COMMIT = {"upload", "blob"}


@dataclass
class Put:
    """A PUT of bytes whose length is announced."""

    key: str
    old: bytes | None
    new: bytes | None
    status: int = 201
    headers: dict[str, str] = field(default_factory=dict)

    def do(self, server: RunningServer) -> None:
        assert self.new is not None
        assert write(server, self.key, self.new, **self.headers) == self.status


@dataclass
class Delete:
    """A DELETE; sent again it may find nothing."""

    key: str
    old: bytes | None
    new: bytes | None = None

    def do(self, server: RunningServer) -> None:
        assert ask(url_of(server, self.key), "DELETE", headers=token(server)).status in (204, 404)


@dataclass
class Resumable:
    """An upload in two parts, the second first; `sent` are the parts that were acknowledged, by upload."""

    key: str
    old: bytes | None
    new: bytes | None
    sent: dict[str, set[int]] = field(default_factory=dict)

    def do(self, server: RunningServer) -> None:
        assert self.new is not None
        begun = server.call("POST", "/uploads", {"to": f"object:{BUCKET}/{self.key}", "size": len(self.new)})
        upload = begun["url"].rpartition("/")[2]
        have = {piece["start"]: piece["stop"] for piece in begun["have"]}
        assert self.sent.setdefault(upload, set()) <= have.keys()
        for start, stop in ((SIZE // 3, SIZE), (0, SIZE // 3)):
            if start not in have:
                part = ask(f"{server.url}/api/v1/uploads/{upload}/{start}", "PUT", self.new[start:stop])
                assert part.status == 204
                self.sent[upload].add(start)
        wish = {"size": SIZE, "sha256": hashlib.sha256(self.new).hexdigest()}
        assert server.call("POST", f"/uploads/{upload}/commit", wish)["sent"]


def puts() -> Iterator[Put]:
    """New objects without end."""
    return (Put(f"put-{number}-{os.urandom(4).hex()}", None, os.urandom(SIZE)) for number in range(60))


def allowed_after(point: str, change: Change) -> list[bytes | None]:
    """What may lie under the key of a PUT or DELETE that was killed there."""
    kind, _, step = point.partition("@")[0].partition(".")
    if kind in BEFORE_THE_COMMIT or step == "committing":
        return [change.old]
    if kind in ("answer", "name"):
        return [change.new]
    return [change.old, change.new]


def test_killed_at_every_step_of_a_put(zygote: Zygote, tmp_path: Path) -> None:
    story, broken, before = Story(zygote, tmp_path / "data"), None, ""
    for point in [*RECEIVING, ""]:
        server = story.start(f"{point}:kill" if point else "")
        if broken:
            story.recover(server, broken, allowed_after(before, broken))
        if point:
            broken, before = story.until_killed(server, puts()), point
    story.check(server, whole=True)
    assert server.stop() == 0
    rows, dark = blobs_of(story.data)
    assert rows == len(story.kept)
    assert dark <= 4  # one for each kill between the rename and the end of the commit


def blobs_of(data: Path) -> tuple[int, int]:
    """Number of rows, each with its bytes, and of files without a row: dark ones."""
    files = {path.name: path for path in (data / "blobs").glob("*/*")}
    with closing(sqlite3.connect(f"file:{data}/catalog.db?mode=ro", uri=True)) as catalog:
        rows = dict(catalog.execute("SELECT key, state FROM blob"))
        inline = {key for (key,) in catalog.execute("SELECT key FROM inline_blob")}
    assert {key for key, state in rows.items() if state == "present"} <= files.keys() | inline
    return len(rows), sum(files[key].exists() for key in files.keys() - rows.keys())


def test_killed_at_every_step_of_a_form_that_replaces_an_object(zygote: Zygote, tmp_path: Path) -> None:
    data, name = tmp_path / "data", "replaced.sif"
    old = new = b""
    before = ""
    for point in [*RECEIVING, ""]:
        server = zygote.start(data, {"ENTREPOT_FAILPOINT": f"{point}:kill" if point else ""})
        api = DataApi(server, server.admin_token)
        if before:
            found = api.get(name)
            assert found in (old, new)
            if before.partition(".")[0] in BEFORE_THE_COMMIT:
                assert found == old
            assert os.listdir(data / "staging") == []
            assert server.call("GET", "/projects")[0]["reserved"] == 0
        old = os.urandom(SIZE)
        replace(api, name, old)
        assert server.call("GET", "/projects")[0]["used"] == len(old)
        if not point:
            assert server.stop() == 0
            return
        for _ in range(60):
            new = os.urandom(SIZE)
            try:
                replace(api, name, new)
            except DIED:
                break
            old = new
        assert ended(server) == -signal.SIGKILL
        before = point


def replace(api: DataApi, name: str, data: bytes) -> None:
    url, fields = api.form(name, hashlib.sha256(data).hexdigest())
    assert post_form(url, fields, data).status == 204


def test_killed_at_every_step_of_a_resumable_upload(zygote: Zygote, tmp_path: Path) -> None:
    story, broken = Story(zygote, tmp_path / "data"), None
    for point in [*RESUMING, ""]:
        server = story.start(f"{point}:kill" if point else "")
        if broken:
            story.recover(server, broken, [broken.old, broken.new])
            assert uploads_of(story.data) == {}
        if point:
            broken = story.until_killed(server, resumables())
    story.check(server, whole=True)
    assert server.stop() == 0


def resumables() -> Iterator[Resumable]:
    return (Resumable(f"resumed-{number}-{os.urandom(4).hex()}", None, os.urandom(SIZE)) for number in range(40))


def test_an_upload_left_open_by_a_kill_is_taken_up_by_the_next_server(zygote: Zygote, tmp_path: Path) -> None:
    story = Story(zygote, tmp_path / "data")
    server = story.start("upload.progressed@2:kill")
    change = Resumable("resumed", None, os.urandom(SIZE))
    with pytest.raises(DIED):
        change.do(server)
    assert ended(server) == -signal.SIGKILL
    server = story.start()
    ((upload, reserved),) = uploads_of(story.data).items()
    assert reserved == SIZE
    story.check(server)
    state = server.call("GET", f"/uploads/{upload}")
    assert [(piece["start"], piece["stop"]) for piece in state["have"]] == [(0, SIZE // 3), (SIZE // 3, SIZE)]
    change.do(server)
    story.remember(change)
    story.check(server, whole=True)
    assert server.stop() == 0


def test_killed_at_every_step_of_a_delete(zygote: Zygote, tmp_path: Path) -> None:
    story, broken, before = Story(zygote, tmp_path / "data"), None, ""
    server = story.start()
    for number in range(90):
        story.put(server, f"doomed-{number}", os.urandom(SIZE if number % 9 == 0 else 100))
    assert server.stop() == 0
    for point in [*DELETING, ""]:
        server = story.start(f"{point}:kill" if point else "")
        if broken:
            story.recover(server, broken, allowed_after(before, broken))
        if point:
            broken = story.until_killed(server, (Delete(key, data) for key, data in sorted(story.kept.items())))
            before = point
    story.check(server, whole=True)
    assert server.stop() == 0


def test_killed_at_every_step_of_collecting_garbage(zygote: Zygote, tmp_path: Path) -> None:
    story, broken = Story(zygote, tmp_path / "data", EAGER), None
    server = story.start()
    story.put(server, "anchor", os.urandom(SIZE))
    assert server.stop() == 0
    for point in [*COLLECTING, ""]:
        server = story.start(f"{point}:kill" if point else "")
        try:
            if broken:
                story.recover(server, broken, [broken.old, broken.new])
            broken = story.until_killed(server, churn(story)) if point else broken
        except DIED:
            assert ended(server) == -signal.SIGKILL
    story.check(server, whole=True)
    deadline = time.monotonic() + 10
    while (found := blobs_of(story.data))[0] > len(set(story.kept.values())):
        assert time.monotonic() < deadline, "garbage stays"
        time.sleep(0.05)
    assert found[1] <= len(COLLECTING)  # a kill may have met a PUT between rename and commit
    story.check(server, whole=True)
    assert server.stop() == 0


def churn(story: Story) -> Iterator[Change]:
    """One object replaced, deleted and put again, large and small, with bytes that were there before."""
    bodies = [os.urandom(SIZE), os.urandom(SIZE), os.urandom(500)]
    for number in range(400):
        old = story.kept.get("churned")
        yield Put("churned", old, bodies[number % 3]) if number % 4 else Delete("churned", old)
        time.sleep(0.01)


def test_killed_while_it_starts(zygote: Zygote, tmp_path: Path) -> None:
    story = Story(zygote, tmp_path / "data")
    server = story.start()
    story.put(server, "kept", os.urandom(SIZE))
    for point in STARTING:
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        with pytest.raises(RuntimeError, match="did not start"):
            story.start(f"{point}:kill")
        assert "Traceback" not in server.log.read_text()
        server = story.start()
        story.check(server, whole=True)
    assert server.stop() == 0


def test_killed_while_it_stops(zygote: Zygote, tmp_path: Path) -> None:
    story = Story(zygote, tmp_path / "data")
    for point in STOPPING:
        server = story.start(f"{point}:kill")
        story.put(server, point.partition("@")[0], os.urandom(SIZE))
        assert server.stop() == -signal.SIGKILL
    server = story.start()
    story.check(server, whole=True)
    assert server.stop() == 0


def test_killed_before_the_second_copy_of_equal_bytes_is_unlinked(zygote: Zygote, tmp_path: Path) -> None:
    story = Story(zygote, tmp_path / "data")
    server = story.start("blob.loser_unlinking@2:kill")
    data = os.urandom(SIZE)
    story.put(server, "first", data)
    broken = story.until_killed(server, [Put("second", None, data), Put("third", None, data)])
    assert broken.key == "third"
    server = story.start()
    story.recover(server, broken, [data])
    story.check(server, whole=True)
    assert blobs_of(story.data) == (1, 1)  # the dark one goes when it was seen twice, two days apart
    assert server.stop() == 0


def test_killed_when_a_lease_was_taken_the_bytes_stay_for_who_was_told_of_them(zygote: Zygote, tmp_path: Path) -> None:
    story = Story(zygote, tmp_path / "data", EAGER)
    server = story.start("lease.taken:kill")
    data, other = os.urandom(SIZE), os.urandom(SIZE)
    story.put(server, "first", data)
    story.put(server, "other", other)
    blob = f"/api/v1/blobs/sha256:{hashlib.sha256(data).hexdigest()}"
    with pytest.raises(DIED):
        ask(server.url + blob, "HEAD", headers=token(server))
    assert ended(server) == -signal.SIGKILL
    server = story.start()
    for key, bytes_ in (("first", data), ("other", other)):
        Delete(key, bytes_).do(server)
    deadline = time.monotonic() + 10
    while blobs_of(story.data)[0] > 1:  # the other is collected
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)  # ten more rounds
    (kept,) = (story.data / "blobs").glob("*/*")
    assert kept.read_bytes() == data
    Put("again", None, data).do(server)
    assert read(server, "again") == data
    assert [kept] == list((story.data / "blobs").glob("*/*"))
    assert server.stop() == 0


def test_killed_when_a_refused_upload_gave_its_room_back(zygote: Zygote, tmp_path: Path) -> None:
    story = Story(zygote, tmp_path / "data")
    server = story.start("quota.released@2:kill")
    data = os.urandom(SIZE)
    story.put(server, "same", data)
    wrong = {"Content_Digest": f"sha-256=:{'A' * 43}=:"}
    for dies in (False, True):
        try:
            assert write(server, "same", os.urandom(SIZE), **wrong) == 422
        except DIED:
            assert dies
    assert ended(server) == -signal.SIGKILL
    server = story.start()
    story.check(server, whole=True)
    assert uploads_of(story.data) == {}
    assert server.stop() == 0


def test_killed_when_damaged_bytes_were_put_out_of_sight(zygote: Zygote, tmp_path: Path) -> None:
    story = Story(zygote, tmp_path / "data", {"ENTREPOT_VERIFY_READS_DAYS": "0"})
    server = story.start("scrub.quarantined:kill")
    data = os.urandom(SIZE)
    story.put(server, "rotten", data)
    story.put(server, "sound", os.urandom(SIZE))
    (path,) = (story.data / "blobs" / hashlib.sha256(data).hexdigest()[:2]).iterdir()
    with path.open("r+b") as file:
        file.seek(SIZE // 2)
        file.write(bytes([data[SIZE // 2] ^ 1]))
    with pytest.raises(DIED):
        read(server, "rotten")
    assert ended(server) == -signal.SIGKILL
    server = story.start()
    assert read(server, "rotten") is None
    story.put(server, "repair", data)
    story.check(server, whole=True)
    assert server.stop() == 0


def test_killed_while_it_clears_what_a_kill_left_in_staging(zygote: Zygote, tmp_path: Path) -> None:
    story = Story(zygote, tmp_path / "data")
    server = story.start("upload.written@2:kill")
    broken = story.until_killed(server, puts())
    assert len(os.listdir(story.data / "staging")) == 1
    with pytest.raises(RuntimeError, match="did not start"):
        story.start("sweep.unlinking:kill")
    assert len(os.listdir(story.data / "staging")) == 1
    server = story.start()
    assert os.listdir(story.data / "staging") == []
    story.recover(server, broken, [None])
    assert server.stop() == 0


def test_every_step_a_server_can_pass_is_one_it_was_killed_at() -> None:
    sources = Path(entrepot.__file__).parent
    placed = {
        name
        for path in sources.rglob("*.py")
        if "cache" not in path.relative_to(sources).parts
        for name in re.findall(r'\bfailpoint\("([\w.]+)"\)', path.read_text())
    }
    points = [*RECEIVING, *RESUMING, *DELETING, *COLLECTING, *STARTING, *STOPPING, *OTHERS, *ELSEWHERE]
    assert {point.partition("@")[0] for point in points} == placed
    assert placed <= NAMES
