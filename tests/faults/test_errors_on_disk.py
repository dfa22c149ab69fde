"""The disk fails or is full: an answer at once, nothing left behind, what was there stays, and no restart is needed."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from entrepot import failpoints
from tests.asking import Answer, ask
from tests.faults.inside import opened_inside
from tests.faults.sockets import Peer
from tests.faults.story import BUCKET, DIED, Story, ended, read, token, uploads_of, url_of, write
from tests.faults.zygote import Zygote
from tests.running import RunningServer

SIZE = 100_000
MB = 1 << 20
RECEIVING = ["upload.written", "blob.synced", "blob.renamed", "blob.folder_synced"]
ERRORS = [("EIO", 500), ("ENOSPC", 507), ("EDQUOT", 507)]


def check_refusal(answer: Answer, status: int, story: Story) -> None:
    """It is that one, and tells nothing of this machine."""
    assert answer.status == status, answer
    for secret in (str(story.data), "staging", "blobs/", "Errno"):
        assert secret.encode() not in answer.body


@pytest.mark.parametrize(("error", "status"), ERRORS)
@pytest.mark.parametrize("point", RECEIVING)
def test_an_error_while_a_put_is_written_ends_it_and_nothing_else(
    zygote: Zygote, tmp_path: Path, point: str, error: str, status: int
) -> None:
    story = Story(zygote, tmp_path / "data")
    server = story.start(f"{point}:errno={error}")
    story.put(server, "old", os.urandom(100))
    data = os.urandom(SIZE)
    check_refusal(ask(url_of(server, "old"), "PUT", data, token(server)), status, story)
    story.check(server, whole=True)
    assert list((story.data / "blobs").glob("*/*")) == []
    story.put(server, "old", data)
    story.check(server, whole=True)
    assert server.stop() == 0


def open_upload(server: RunningServer, data: bytes) -> str:
    """URL of a new upload."""
    wish = {"to": f"object:{BUCKET}/resumed", "size": len(data)}
    url: str = server.call("POST", "/uploads", wish)["url"]
    return url


def commit(url: str, data: bytes) -> Answer:
    wish = f'{{"size":{len(data)},"sha256":"sha256:{hashlib.sha256(data).hexdigest()}"}}'
    return ask(f"{url}/commit", "POST", wish.encode(), {"Content-Type": "application/json"})


@pytest.mark.parametrize(("error", "status"), ERRORS)
def test_a_part_that_cannot_be_synced_ends_its_upload_for_good(
    zygote: Zygote, tmp_path: Path, error: str, status: int
) -> None:
    story = Story(zygote, tmp_path / "data")
    server = story.start(f"upload.synced@2:errno={error}")
    story.put(server, "old", os.urandom(100))
    data = os.urandom(SIZE)
    url = open_upload(server, data)
    assert ask(f"{url}/0", "PUT", data[:1000]).status == 204
    check_refusal(ask(f"{url}/1000", "PUT", data[1000:]), status, story)
    assert uploads_of(story.data) == {}
    assert ask(url).status == 404
    assert ask(f"{url}/1000", "PUT", data[1000:]).status == 404
    assert commit(url, data).status == 404
    story.check(server)
    url = open_upload(server, data)
    assert ask(f"{url}/0", "PUT", data).status == 204
    assert commit(url, data).status == 201
    assert read(server, "resumed") == data
    assert server.stop() == 0


@pytest.mark.parametrize(("error", "status"), ERRORS[:2])
@pytest.mark.parametrize("point", RECEIVING[1:])
def test_a_resumed_upload_that_cannot_be_made_safe_is_gone_for_good(
    zygote: Zygote, tmp_path: Path, point: str, error: str, status: int
) -> None:
    story = Story(zygote, tmp_path / "data")
    server = story.start(f"{point}:errno={error}")
    story.put(server, "old", os.urandom(100))
    data = os.urandom(SIZE)
    url = open_upload(server, data)
    assert ask(f"{url}/0", "PUT", data).status == 204
    check_refusal(commit(url, data), status, story)
    assert ask(url).status == 404
    assert uploads_of(story.data) == {}
    story.check(server)
    url = open_upload(server, data)
    assert ask(f"{url}/0", "PUT", data).status == 204
    assert commit(url, data).status == 201
    assert server.stop() == 0


def test_a_part_that_cannot_be_written_costs_only_itself(zygote: Zygote, tmp_path: Path) -> None:
    story = Story(zygote, tmp_path / "data")
    server = story.start("upload.written@2:errno=ENOSPC")
    story.put(server, "old", os.urandom(100))
    data = os.urandom(SIZE)
    url = open_upload(server, data)
    assert ask(f"{url}/0", "PUT", data[:1000]).status == 204
    check_refusal(ask(f"{url}/1000", "PUT", data[1000:]), 507, story)
    story.check(server)
    assert ask(f"{url}/1000", "PUT", data[1000:]).status == 204
    assert commit(url, data).status == 201
    assert read(server, "resumed") == data
    assert server.stop() == 0


@pytest.mark.parametrize("nth", [40, 41])
def test_a_commit_of_unknown_outcome_ends_the_server_and_the_next_one_recovers(
    zygote: Zygote, tmp_path: Path, nth: int
) -> None:
    story = Story(zygote, tmp_path / "data")
    server = story.start(f"catalog.committing@{nth}:errno=EIO")
    story.put(server, "first", os.urandom(SIZE))
    for number in range(40):
        data = os.urandom(SIZE)
        try:
            assert write(server, f"put-{number}", data) == 201
        except DIED:
            break
        story.kept[f"put-{number}"] = data
    assert ended(server) == 74
    server = story.start()
    story.check(server, whole=True)
    story.put(server, "after", os.urandom(SIZE))
    story.check(server)
    assert server.stop() == 0


async def test_the_row_is_committed_only_when_the_file_and_its_folder_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def kind(descriptor: int) -> str:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}")).relative_to(tmp_path)
        return "folder" if (tmp_path / path).is_dir() else path.parts[0]

    def spy_fsync(descriptor: int) -> None:
        fsync(descriptor)
        steps.append(f"fsync {kind(descriptor)}")

    def spy_rename(old: str, new: str) -> None:
        rename(old, new)
        steps.append("rename")

    async with opened_inside(tmp_path) as inside:
        await asyncio.sleep(0.1)
        monkeypatch.setattr(os, "fsync", spy_fsync)
        monkeypatch.setattr(os, "rename", spy_rename)
        monkeypatch.setattr(failpoints, "_pass", steps.append)
        failpoints.arm("catalog.committed:sleep=0,upload.reserved:sleep=0")
        try:
            await inside.put("key", os.urandom(SIZE))
        finally:
            failpoints.arm("")
    assert steps == [
        "catalog.committed", "upload.reserved", "fsync staging", "rename", "fsync folder", "catalog.committed",
    ]  # fmt: skip


def test_below_the_reserve_nothing_is_taken_in_and_the_rest_goes_on(zygote: Zygote, tmp_path: Path) -> None:
    story = Story(zygote, tmp_path / "data")
    server = story.start()
    for key, size in (("large", SIZE), ("small", 100), ("doomed", SIZE)):
        story.put(server, key, os.urandom(size))
    assert server.stop() == 0
    story.environ = {"ENTREPOT_RESERVE_BYTES": str(1 << 60)}
    server = story.start()
    for size in (SIZE, 100):
        check_refusal(ask(url_of(server, "large"), "PUT", os.urandom(size), token(server)), 507, story)
        check_refusal(ask(url_of(server, "new"), "PUT", iter([os.urandom(size)]), token(server)), 507, story)
    begin = {"Content-Type": "application/json", **token(server)}
    wish = f'{{"to":"object:{BUCKET}/resumed","size":{SIZE}}}'.encode()
    check_refusal(ask(f"{server.url}/api/v1/uploads", "POST", wish, begin), 507, story)
    story.check(server, whole=True)
    assert ask(url_of(server, "doomed"), "DELETE", headers=token(server)).status == 204
    del story.kept["doomed"]
    story.check(server, whole=True)
    assert server.stop() == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB of its own."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can make a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(path: Path, leave: int = 0) -> None:
    """A file that takes all room but `leave`."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(64 << 10))
    if leave:
        os.truncate(path, path.stat().st_size - leave)


def test_a_full_disk_is_507_at_once_and_room_again_is_used_without_a_restart(zygote: Zygote, small_disk: Path) -> None:
    story = Story(zygote, small_disk / "data", {"ENTREPOT_RESERVE_BYTES": str(4 * MB)})
    server = story.start()
    try:
        story.put(server, "kept", os.urandom(8 * MB))
        story.put(server, "doomed", os.urandom(SIZE))
        began = time.monotonic()
        with Peer(server) as peer:
            head = f"PUT /api/v1/objects/{BUCKET}/huge HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            proof = f"Authorization: {token(server)['Authorization']}\r\nContent-Length: {100 * MB}\r\n\r\n"
            peer.send((head + proof).encode())
            assert peer.hear().statuses == [507]
        endless = (bytes(MB) for _ in range(100))
        with suppress(ConnectionError):  # it may end while we send
            assert ask(url_of(server, "huge"), "PUT", endless, token(server)).status == 507
        assert time.monotonic() - began < 5
        story.check(server, whole=True)

        fill(small_disk / "filler", leave=2 * MB)
        check_refusal(ask(url_of(server, "more"), "PUT", os.urandom(SIZE), token(server)), 507, story)
        check_refusal(ask(url_of(server, "more"), "PUT", b"small", token(server)), 507, story)
        story.check(server, whole=True)
        assert ask(url_of(server, "doomed"), "DELETE", headers=token(server)).status == 204
        del story.kept["doomed"]
        story.check(server, whole=True)

        (small_disk / "filler").unlink()
        story.put(server, "more", os.urandom(MB))
        story.check(server, whole=True)
        assert server.stop() == 0
    finally:
        server.stop(9)


def test_with_not_a_byte_left_for_the_catalog_reads_go_on_and_room_again_is_used(
    zygote: Zygote, small_disk: Path
) -> None:
    story = Story(zygote, small_disk / "data", {"ENTREPOT_RESERVE_BYTES": "0"})
    server = story.start()
    try:
        story.put(server, "kept", os.urandom(8 * MB))
        fill(small_disk / "filler")
        for number in range(40):
            answer = ask(url_of(server, f"more-{number}"), "PUT", os.urandom(12_000), token(server))
            if answer.status != 201:
                check_refusal(answer, 507, story)
                break
        else:
            raise AssertionError("the disk never filled")
        assert read(server, "kept") == story.kept["kept"]
        assert ask(url_of(server, "kept"), "DELETE", headers=token(server)).status in (204, 507)
        (small_disk / "filler").unlink()
        story.put(server, "kept", os.urandom(MB))
        assert read(server, "kept") == story.kept["kept"]
        assert server.stop() == 0
    finally:
        server.stop(9)


def test_bytes_that_cannot_be_read_are_absent_until_somebody_pushes_them_again(zygote: Zygote, tmp_path: Path) -> None:
    story = Story(zygote, tmp_path / "data")
    server = story.start("blob.reading:errno=EIO")
    data = os.urandom(SIZE)
    story.put(server, "old", data)
    with pytest.raises(DIED):
        read(server, "old")
    assert ask(url_of(server, "old"), headers=token(server)).status == 404
    story.put(server, "old", data)
    assert read(server, "old") == data
    story.check(server)
    assert server.stop() == 0
