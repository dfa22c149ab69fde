"""A registry killed at every step of a push: what was acknowledged stays, an upload goes on, a repeat succeeds."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.pushes import (
    BASE,
    REPOSITORY,
    SIZE,
    Push,
    RegistryStory,
    blobs_of,
    digest_of,
    image_of,
    oci,
    uploads_of,
)
from tests.faults.story import DIED, ended
from tests.faults.test_kill import EAGER
from tests.faults.zygote import Zygote

SENDING = (
    "upload.reserved@1 upload.reserved@2 upload.staged@2 upload.written@2 upload.written@3 upload.synced@1 "
    "upload.synced@2 upload.progressed@1 upload.progressed@2"
).split()
KEEPING = "blob.verified@1 blob.verified@2 blob.synced@1 blob.synced@2 blob.renamed@1 blob.renamed@2".split()
NAMING = "blob.folder_synced@1 blob.folder_synced@2 lease.taken@1 lease.taken@2".split()
COMMITTING = [f"catalog.committing@{number}" for number in range(9, 25)]
COMMITTED = [f"catalog.committed@{number}" for number in range(9, 25)]
ANSWERING = [f"answer.sending@{number}" for number in range(6, 22)]


def pushes(story: RegistryStory) -> Iterator[Push]:
    return (Push(f"t{len(story.images):03}-{os.urandom(3).hex()}", story.base) for _ in range(60))


@pytest.mark.parametrize(
    "points", [SENDING, KEEPING, NAMING, COMMITTING, COMMITTED, ANSWERING], ids=lambda points: points[0]
)
def test_killed_at_every_step_of_a_push(zygote: Zygote, tmp_path: Path, points: list[str]) -> None:
    story = RegistryStory(zygote, tmp_path / "data")
    story.begin()
    broken = None
    for point in [*points, ""]:
        server = story.start(f"{point}:kill" if point else "")
        try:
            if broken:
                story.recover(server, broken)
            broken = story.until_killed(server, pushes(story)) if point else None
        except DIED:  # it died of what the recovery did
            ended(server)
            server = story.start()
            assert broken
            story.recover(server, broken)
            broken = None
            assert server.stop() == 0
    story.check(server, whole=True)
    assert uploads_of(story.data)[0] == 0, "every blob is named by a manifest: none counts twice"
    assert len(uploads_of(story.data)[1]) <= 8, "only uploads of which nobody was told stay open"
    assert server.stop() == 0
    _, dark = blobs_of(story.data)
    assert dark <= len(points)
    if points is SENDING:
        assert story.resumed > 2, "no upload went on"


def test_an_upload_goes_on_after_a_kill_where_it_was_acknowledged(zygote: Zygote, tmp_path: Path) -> None:
    story = RegistryStory(zygote, tmp_path / "data")
    story.begin()
    for few in (100, 70_000, SIZE):
        data = os.urandom(few * 2)
        server = story.start()
        upload = oci(server, "POST", f"{REPOSITORY}/blobs/uploads/", b"")["location"]
        assert oci(server, "PATCH", upload, data[:few])["upload-offset"] == str(few)
        assert server.stop(9) == -9
        server = story.start()
        assert oci(server, "GET", upload)["upload-offset"] == str(few)
        assert oci(server, "PATCH", upload, data[few:], {"Content-Range": f"0-{few - 1}"}).status == 416
        done = oci(server, "PUT", f"{upload}?digest={digest_of(data)}", data[few:])
        assert done.status == 201, done
        assert oci(server, "GET", f"{REPOSITORY}/blobs/{digest_of(data)}").body == data
        assert server.stop() == 0


def test_a_piece_that_was_not_acknowledged_may_be_sent_again(zygote: Zygote, tmp_path: Path) -> None:
    story = RegistryStory(zygote, tmp_path / "data")
    story.begin()
    for point in ("upload.written@2", "upload.synced@3", "upload.synced@4", "upload.progressed@2"):
        data = os.urandom(SIZE * 2)
        server = story.start(f"{point}:kill")
        upload = oci(server, "POST", f"{REPOSITORY}/blobs/uploads/", b"")["location"]
        assert oci(server, "PATCH", upload, data[:SIZE]).status == 202
        with pytest.raises(DIED):
            oci(server, "PATCH", upload, data[SIZE:])
        assert ended(server) == -9
        server = story.start()
        found = oci(server, "GET", upload)
        assert found.status == 204, (point, found)
        offset = int(found["upload-offset"])
        assert offset == (2 * SIZE if point.startswith("upload.progressed") else SIZE)
        done = oci(server, "PUT", f"{upload}?digest={digest_of(data)}", data[offset:])
        assert done.status == 201, (point, done)
        assert oci(server, "GET", f"{REPOSITORY}/blobs/{digest_of(data)}").body == data
        assert server.stop() == 0


DELETING = ["name.deleted@1", "answer.sending@1", *(f"catalog.{step}@{n}" for step in ("committing", "committed")
            for n in range(4, 9))]  # fmt: skip


@pytest.mark.parametrize("kind", ["tag", "manifest"])
def test_killed_while_a_tag_or_a_manifest_is_deleted(zygote: Zygote, tmp_path: Path, kind: str) -> None:
    story, killed = RegistryStory(zygote, tmp_path / "data"), set()
    story.begin()
    for point in DELETING:
        server = story.start()
        push = Push(f"t{os.urandom(4).hex()}", story.base)
        push.do(server)
        assert server.stop() == 0
        try:
            server = story.start(f"{point}:kill")
        except RuntimeError:  # so few commits are those of a start
            continue
        path = f"{REPOSITORY}/manifests/{push.tag if kind == 'tag' else digest_of(push.manifest)}"
        try:
            assert oci(server, "DELETE", path).status == 202
            server.stop(9)
        except DIED:
            assert ended(server) == -9
            killed.add(point.partition("@")[0])
        server = story.start()
        there = oci(server, "GET", path).status
        assert there in ((200, 404) if point.startswith("catalog") else (404,))  # a job may have made that commit
        assert oci(server, "GET", f"{REPOSITORY}/manifests/{push.tag}").status == there
        assert oci(server, "DELETE", path).status == (202 if there == 200 else 404)
        assert oci(server, "GET", path).status == 404
        by_digest = oci(server, "GET", f"{REPOSITORY}/manifests/{digest_of(push.manifest)}").status
        assert by_digest == (200 if kind == "tag" else 404)
        story.check(server)
        assert server.stop() == 0
    assert killed == {"name.deleted", "answer.sending", "catalog.committing", "catalog.committed"}


def test_killed_when_somebody_was_told_bytes_are_here_they_stay(zygote: Zygote, tmp_path: Path) -> None:
    story = RegistryStory(zygote, tmp_path / "data", EAGER)
    story.begin()
    server = story.start("lease.taken@1:kill")
    with pytest.raises(DIED):
        oci(server, "POST", f"{REPOSITORY}/blobs/uploads/?mount={digest_of(story.base)}&from={BASE}", b"")
    assert ended(server) == -9
    server = story.start()
    manifest = digest_of(image_of(b"{}", story.base))
    assert oci(server, "DELETE", f"{BASE}/manifests/{manifest}").status == 202
    for digest in (digest_of(story.base), digest_of(b"{}")):
        assert oci(server, "DELETE", f"{BASE}/blobs/{digest}").status in (202, 404)
    time.sleep(1)
    assert oci(server, "GET", f"{REPOSITORY}/blobs/{digest_of(story.base)}").body == story.base
    assert oci(server, "GET", f"{BASE}/blobs/{digest_of(story.base)}").status == 404
    config = oci(server, "POST", f"{REPOSITORY}/blobs/uploads/?digest={digest_of(b'{}')}", b"{}")
    assert config.status == 201
    put = oci(
        server, "PUT", f"{REPOSITORY}/manifests/late", image_of(b"{}", story.base),
        {"Content-Type": "application/vnd.oci.image.manifest.v1+json"},
    )  # fmt: skip
    assert put.status == 201, put
    assert server.stop() == 0


def test_when_all_is_deleted_after_many_kills_nothing_is_left(zygote: Zygote, tmp_path: Path) -> None:
    story = RegistryStory(zygote, tmp_path / "data", EAGER)
    story.begin()
    for point in ("blob.folder_synced@2", "catalog.committed@20", "upload.progressed@2", "answer.sending@12"):
        server = story.start(f"{point}:kill")
        try:
            story.until_killed(server, pushes(story))
        except DIED:
            ended(server)
        server = story.start()
        assert server.stop() == 0
    server = story.start()
    for repository in (REPOSITORY, BASE):
        for tag in oci(server, "GET", f"{repository}/tags/list").json["tags"]:
            digest = oci(server, "HEAD", f"{repository}/manifests/{tag}")["docker-content-digest"]
            assert oci(server, "DELETE", f"{repository}/manifests/{digest}").status == 202
    (project,) = server.call("GET", "/projects")
    assert project["used"] == 0
    assert project["reserved"] == uploads_of(story.data)[0]
    assert server.stop() == 0
