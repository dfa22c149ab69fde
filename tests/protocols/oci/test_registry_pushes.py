"""Blobs in, in every way the distribution specification has, by both algorithms."""

import secrets
from collections.abc import Iterator

import pytest

from tests.registry import Client, People, assert_kept, assert_open, digest_of, values

SIZE = 3000
CUTS = ((0, 1000), (1000, 2000), (2000, SIZE))


@pytest.fixture
def data() -> bytes:
    return secrets.token_bytes(SIZE)


def held(client: Client, digest: str, data: bytes) -> None:
    """The repository gives these bytes out under that name."""
    answer = client.done("GET", f"blobs/{digest}", 200)
    assert answer.body == data
    assert answer["docker-content-digest"] == digest
    assert client.done("HEAD", f"blobs/{digest}", 200)["content-length"] == str(len(data))


def test_a_blob_goes_in_by_one_post(client: Client, algorithm: str, data: bytes) -> None:
    held(client, client.push(data, algorithm), data)


def test_a_blob_goes_in_by_one_post_in_chunks_of_no_length(client: Client, algorithm: str, data: bytes) -> None:
    digest = digest_of(data, algorithm)
    answer = client.done("POST", f"blobs/uploads/?digest={digest}", 201, iter([data[:7], data[7:]]))
    assert_kept(answer, client.name, "blobs", digest)
    held(client, digest, data)


def test_a_blob_goes_in_by_a_post_and_a_put(client: Client, algorithm: str, data: bytes) -> None:
    digest = digest_of(data, algorithm)
    client.end(client.begin(), digest, data)
    held(client, digest, data)


@pytest.mark.parametrize("slash", ["", "/"])
def test_an_upload_may_say_by_what_it_is_hashed(client: Client, algorithm: str, data: bytes, slash: str) -> None:
    digest = digest_of(data, algorithm)
    answer = client.done("POST", f"blobs/uploads{slash}?digest-algorithm={algorithm}", 202, b"")
    assert_open(answer, client.name, 0)
    client.append(answer["location"], data, SIZE)
    client.end(answer["location"], digest)
    held(client, digest, data)


def test_no_upload_is_hashed_by_what_nobody_knows(client: Client) -> None:
    for name in ("md5", "sha1", "SHA256", ""):
        client.refused("POST", f"blobs/uploads/?digest-algorithm={name}", 400, "DIGEST_INVALID", b"")


def test_a_blob_goes_in_as_one_chunk(client: Client, algorithm: str, data: bytes) -> None:
    digest, upload = digest_of(data, algorithm), client.begin()
    client.append(upload, data, SIZE, f"0-{SIZE - 1}")
    client.end(upload, digest)
    held(client, digest, data)


def test_a_blob_goes_in_as_a_stream(client: Client, algorithm: str, data: bytes) -> None:
    digest, upload = digest_of(data, algorithm), client.begin()
    pieces: Iterator[bytes] = (data[at : at + 100] for at in range(0, SIZE, 100))
    client.append(upload, pieces, SIZE)
    client.end(upload, digest)
    held(client, digest, data)


def test_a_blob_goes_in_as_a_stream_of_the_closing_put(client: Client, algorithm: str, data: bytes) -> None:
    digest, upload = digest_of(data, algorithm), client.begin()
    answer = client.done("PUT", f"{upload}?digest={digest}", 201, iter([data[:1], data[1:]]))
    assert_kept(answer, client.name, "blobs", digest)
    held(client, digest, data)


@pytest.mark.parametrize("form", ["%d-%d", "bytes %d-%d/*", "bytes %d-%d/3000"])
def test_a_blob_goes_in_as_three_chunks(client: Client, algorithm: str, data: bytes, form: str) -> None:
    digest, upload = digest_of(data, algorithm), client.begin()
    for start, stop in CUTS:
        upload = client.append(upload, data[start:stop], stop, form % (start, stop - 1))["location"]
        answer = client.done("GET", upload, 204)
        assert_open(answer, client.name, stop)
    client.end(upload, digest)
    held(client, digest, data)


def test_the_last_of_three_chunks_may_come_with_the_closing_put(client: Client, algorithm: str, data: bytes) -> None:
    digest, upload = digest_of(data, algorithm), client.begin()
    for start, stop in CUTS[:2]:
        upload = client.append(upload, data[start:stop], stop, f"{start}-{stop - 1}")["location"]
    client.end(upload, digest, data[2000:], Content_Range=f"2000-{SIZE - 1}")
    held(client, digest, data)


def test_chunks_go_in_without_ever_saying_where(client: Client, algorithm: str, data: bytes) -> None:
    digest, upload = digest_of(data, algorithm), client.begin()
    for start, stop in CUTS[:2]:
        upload = client.append(upload, data[start:stop], stop)["location"]
    client.end(upload, digest, data[2000:])
    held(client, digest, data)


def not_there(client: Client, method: str, at: str, data: bytes, start: int, offset: int) -> None:
    """Bytes for another place are refused, with where the upload goes on; it holds what it held."""
    headers = {"Content-Range": f"{start}-{start + len(data) - 1}", "Content-Type": "application/octet-stream"}
    answer = client.refused(method, at, 416, "BLOB_UPLOAD_INVALID", data, headers)
    assert_open(answer, client.name, offset)
    assert_open(client.done("GET", at.partition("?")[0], 204), client.name, offset)


@pytest.mark.parametrize("begun", [0, 1000], ids=["first", "second"])
def test_a_chunk_out_of_order_is_refused_and_the_right_one_then_taken(
    client: Client, algorithm: str, data: bytes, begun: int
) -> None:
    digest, upload = digest_of(data, algorithm), client.begin()
    if begun:
        client.append(upload, data[:begun], begun, f"0-{begun - 1}")
    for start in {0, 1000, 2000} - {begun}:
        not_there(client, "PATCH", upload, data[start : start + 1000], start, begun)
    for start, stop in CUTS:
        if start >= begun:
            client.append(upload, data[start:stop], stop, f"{start}-{stop - 1}")
    client.end(upload, digest)
    held(client, digest, data)


def test_a_last_chunk_out_of_order_is_refused_and_the_upload_stays(client: Client, algorithm: str, data: bytes) -> None:
    digest, upload = digest_of(data, algorithm), client.begin()
    client.append(upload, data[:1000], 1000, "0-999")
    not_there(client, "PUT", f"{upload}?digest={digest}", data[2000:], 2000, 1000)
    assert not client.has(digest)
    client.append(upload, data[1000:2000], 2000, "1000-1999")
    client.end(upload, digest, data[2000:], Content_Range="2000-2999")
    held(client, digest, data)


def test_a_mount_from_where_it_is_sends_no_byte(client: Client, algorithm: str, data: bytes) -> None:
    there, digest = client.beside(), digest_of(data, algorithm)
    there.push(data, algorithm)
    query = f"?mount={digest}&from={there.name}"
    assert_kept(client.done("POST", f"blobs/uploads/{query}", 201, b""), client.name, "blobs", digest)
    held(client, digest, data)


def test_a_mount_without_from_finds_what_the_caller_may_read(client: Client, algorithm: str, data: bytes) -> None:
    digest = client.beside().push(data, algorithm)
    answer = client.done("POST", f"blobs/uploads/?mount={digest}", 201, b"")
    assert_kept(answer, client.name, "blobs", digest)
    held(client, digest, data)


@pytest.mark.parametrize("source", ["", "beside", "nowhere"])
def test_a_mount_of_what_is_missing_begins_an_upload(client: Client, algorithm: str, data: bytes, source: str) -> None:
    digest, there = digest_of(data, algorithm), client.beside()
    if source == "beside":
        there.push(b"other", algorithm)
    query = f"?mount={digest}" + (f"&from={there.name}" if source else "")
    answer = client.done("POST", f"blobs/uploads/{query}", 202, b"")
    assert_open(answer, client.name, 0)
    assert values(answer, "docker-content-digest") == []
    client.end(answer["location"], digest, data)
    held(client, digest, data)


def test_a_cancelled_upload_is_unknown(client: Client, algorithm: str, data: bytes) -> None:
    digest, upload = digest_of(data, algorithm), client.begin()
    client.append(upload, data, SIZE)
    client.done("DELETE", upload, 204)
    client.refused("GET", upload, 404, "BLOB_UPLOAD_UNKNOWN")
    client.refused("PATCH", upload, 404, "BLOB_UPLOAD_UNKNOWN", data)
    client.refused("PUT", f"{upload}?digest={digest}", 404, "BLOB_UPLOAD_UNKNOWN", b"")
    client.refused("DELETE", upload, 404, "BLOB_UPLOAD_UNKNOWN")
    assert not client.has(digest)


def test_nothing_and_two_braces_are_blobs_too(client: Client, algorithm: str) -> None:
    for data in (b"", b"{}"):
        by_put = client.beside()
        held(client, client.push(data, algorithm), data)
        by_put.end(by_put.begin(), digest_of(data, algorithm), data)
        held(by_put, digest_of(data, algorithm), data)


def test_bytes_of_another_digest_are_refused_and_the_upload_is_gone(
    client: Client, algorithm: str, data: bytes
) -> None:
    wrong = digest_of(b"other", algorithm)
    client.refused("POST", f"blobs/uploads/?digest={wrong}", 400, "DIGEST_INVALID", data)
    for body in (data, b""):
        upload = client.begin()
        if not body:
            client.append(upload, data, SIZE)
        client.refused("PUT", f"{upload}?digest={wrong}", 400, "DIGEST_INVALID", body)
        client.refused("GET", upload, 404, "BLOB_UPLOAD_UNKNOWN")
    assert not client.has(wrong)
    assert not client.has(digest_of(data, algorithm))


def test_what_was_pushed_by_one_algorithm_is_found_by_either(client: Client, data: bytes) -> None:
    client.push(data, "sha512")
    for algorithm in ("sha256", "sha512"):
        held(client, digest_of(data, algorithm), data)


def test_a_repository_does_not_have_what_only_another_has(people: People, data: bytes) -> None:
    there, here = people.client(), people.client()
    digest = there.push(data)
    here.push(b"other")
    here.refused("GET", f"blobs/{digest}", 404, "BLOB_UNKNOWN")
    here.done("HEAD", f"blobs/{digest}", 404)
