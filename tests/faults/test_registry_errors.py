"""A registry whose disk fails, is full, or rots: an answer at once, nothing broken, and a repeat that works."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.asking import Answer
from tests.faults.pushes import BASE, REPOSITORY, SIZE, Push, RegistryStory, blobs_of, digest_of, oci, uploads_of
from tests.faults.story import DIED
from tests.faults.zygote import Zygote
from tests.s3_accounts import flip_a_bit

ERRORS = [("EIO", 500), ("ENOSPC", 507)]
POINTS = ["upload.written", "blob.synced", "blob.renamed", "blob.folder_synced"]


def check_refusal(story: RegistryStory, answer: Answer, status: int) -> None:
    """It is that one, and tells nothing of this machine."""
    assert answer.status == status, answer
    assert answer["docker-distribution-api-version"] == "registry/2.0"
    assert answer.json["errors"][0]["message"]
    for secret in (str(story.data), "staging", "Errno"):
        assert secret.encode() not in answer.body


@pytest.mark.parametrize(("error", "status"), ERRORS)
@pytest.mark.parametrize("point", POINTS)
def test_an_error_while_a_blob_is_posted_ends_it_and_nothing_else(
    zygote: Zygote, tmp_path: Path, point: str, error: str, status: int
) -> None:
    story = RegistryStory(zygote, tmp_path / "data")
    story.begin()
    server = story.start(f"{point}:errno={error}")
    data, where = os.urandom(SIZE), f"{REPOSITORY}/blobs"
    check_refusal(story, oci(server, "POST", f"{where}/uploads/?digest={digest_of(data)}", data), status)
    assert oci(server, "HEAD", f"{where}/{digest_of(data)}").status == 404
    story.check(server)
    assert uploads_of(story.data)[1] == set()
    assert blobs_of(story.data)[1] == 0
    assert oci(server, "POST", f"{where}/uploads/?digest={digest_of(data)}", data).status == 201
    assert oci(server, "GET", f"{where}/{digest_of(data)}").body == data
    assert oci(server, "DELETE", f"{where}/{digest_of(data)}").status == 202
    story.check(server)
    assert server.stop() == 0


@pytest.mark.parametrize(("error", "status"), ERRORS)
@pytest.mark.parametrize("point", ["upload.written@2", "upload.synced@3", *POINTS[1:]])
def test_an_error_while_a_session_is_sent_or_closed_ends_it_and_nothing_else(
    zygote: Zygote, tmp_path: Path, point: str, error: str, status: int
) -> None:
    story = RegistryStory(zygote, tmp_path / "data")
    story.begin()
    server = story.start(f"{point}:errno={error}")
    data = os.urandom(SIZE * 2)
    upload = oci(server, "POST", f"{REPOSITORY}/blobs/uploads/", b"")["location"]
    assert oci(server, "PATCH", upload, data[:SIZE]).status == 202
    sent = oci(server, "PATCH", upload, data[SIZE:])
    closed = oci(server, "PUT", f"{upload}?digest={digest_of(data)}", b"") if sent.status == 202 else sent
    check_refusal(story, closed, status)
    assert oci(server, "HEAD", f"{REPOSITORY}/blobs/{digest_of(data)}").status == 404
    found = oci(server, "GET", upload)
    if point == "upload.written@2":  # bytes that were safe before stay so
        assert (found.status, found["upload-offset"]) == (204, str(SIZE))
        closed = oci(server, "PUT", f"{upload}?digest={digest_of(data)}", data[SIZE:])
        assert closed.status == 201, closed
    else:  # a failed sync is final
        assert found.status == 404, found
        assert uploads_of(story.data) == (0, set())
        assert os.listdir(story.data / "staging") == []
        upload = oci(server, "POST", f"{REPOSITORY}/blobs/uploads/", b"")["location"]
        assert oci(server, "PUT", f"{upload}?digest={digest_of(data)}", data).status == 201
    assert oci(server, "GET", f"{REPOSITORY}/blobs/{digest_of(data)}").body == data
    story.check(server)
    assert server.stop() == 0


@pytest.mark.parametrize(("error", "status"), ERRORS)
def test_an_error_while_few_bytes_of_a_session_become_a_file_leaves_them_to_be_closed_again(
    zygote: Zygote, tmp_path: Path, error: str, status: int
) -> None:
    story = RegistryStory(zygote, tmp_path / "data")
    story.begin()
    server = story.start(f"blob.synced:errno={error}")
    data = os.urandom(40_000)
    upload = oci(server, "POST", f"{REPOSITORY}/blobs/uploads/", b"")["location"]
    assert oci(server, "PATCH", upload, data).status == 202
    check_refusal(story, oci(server, "PUT", f"{upload}?digest={digest_of(data)}", b""), status)
    story.check(server)
    found = oci(server, "GET", upload)
    if found.status == 204:
        assert oci(server, "PUT", f"{upload}?digest={digest_of(data)}", b"").status == 201
        assert oci(server, "GET", f"{REPOSITORY}/blobs/{digest_of(data)}").body == data
    else:
        assert (found.status, uploads_of(story.data)) == (404, (0, set()))
    story.check(server)
    assert server.stop() == 0


def test_below_the_reserve_pushes_are_507_and_the_rest_goes_on(zygote: Zygote, tmp_path: Path) -> None:
    story = RegistryStory(zygote, tmp_path / "data")
    story.begin()
    server = story.start()
    push = Push("kept", story.base)
    push.do(server)
    story.images["kept"] = push
    upload = oci(server, "POST", f"{REPOSITORY}/blobs/uploads/", b"")["location"]
    assert oci(server, "PATCH", upload, push.layer[: SIZE // 2]).status == 202
    assert server.stop() == 0
    story.environ = {"ENTREPOT_RESERVE_BYTES": str(1 << 60)}
    server = story.start()
    data = os.urandom(SIZE)
    where = f"{REPOSITORY}/blobs/uploads/"
    for method, path, body in (
        ("POST", where, b""), ("POST", f"{where}?digest={digest_of(data)}", data), ("PATCH", upload, data),
    ):  # fmt: skip
        check_refusal(story, oci(server, method, path, body), 507)
    story.check(server, whole=True)
    assert oci(server, "GET", upload)["upload-offset"] == str(SIZE // 2)
    assert oci(server, "POST", f"{where}?mount={digest_of(story.base)}&from={BASE}", b"").status in (201, 507)
    assert oci(server, "DELETE", f"{REPOSITORY}/manifests/kept").status == 202
    assert oci(server, "DELETE", upload).status == 204
    assert server.stop() == 0


@pytest.mark.parametrize("whole", [True, False])
def test_a_rotten_layer_is_cut_off_then_not_there_and_the_next_push_repairs_it(
    zygote: Zygote, tmp_path: Path, *, whole: bool
) -> None:
    story = RegistryStory(zygote, tmp_path / "data", {"ENTREPOT_VERIFY_READS_DAYS": "0"})
    story.begin()
    server = story.start()
    push = Push("rotten", story.base)
    push.do(server)
    digest = digest_of(push.layer)
    (path,) = (story.data / "blobs" / digest[7:9]).glob(f"{digest[7:]}.*")
    if whole:
        flip_a_bit(path, SIZE // 2)
    else:
        os.truncate(path, SIZE // 2)
    where = f"{REPOSITORY}/blobs/{digest}"
    found = None
    with suppress(*DIED):
        found = oci(server, "GET", where)
    assert found is None or (not whole and found.status == 404), "rotten bytes were sent as whole ones"
    for method in ("GET", "HEAD"):
        assert oci(server, method, where).status == 404
    assert oci(server, "GET", f"{REPOSITORY}/manifests/rotten").body == push.manifest
    again = oci(server, "PUT", f"{REPOSITORY}/manifests/again", push.manifest, {
        "Content-Type": "application/vnd.oci.image.manifest.v1+json"})  # fmt: skip
    assert again.status == 400
    assert again.json["errors"][0]["code"] == "MANIFEST_BLOB_UNKNOWN"
    mount = oci(server, "POST", f"{BASE}/blobs/uploads/?mount={digest}&from={REPOSITORY}", b"")
    assert mount.status == 202, "what is not there is not mounted"
    for page in (f"/registry/{REPOSITORY}/", f"/registry/{REPOSITORY}/tags"):
        assert oci(server, "GET", page).status == 200
    assert oci(server, "POST", f"{REPOSITORY}/blobs/uploads/?digest={digest}", push.layer).status == 201
    story.images["rotten"] = push
    story.check(server, whole=True)
    assert "Traceback" not in server.log.read_text()
    assert server.stop() == 0
