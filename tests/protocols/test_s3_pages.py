"""Lists of versions and of open uploads page by page; uploads and their parts at their edges."""

import hashlib
import os
import socket
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from entrepot.auth.grants import canonical_id
from tests.asking import Answer
from tests.protocols.s3_people import VERSIONS, People, code, new_people, tag, tags
from tests.running import RunningServer
from tests.s3_accounts import MIB

KEYS = ["a", "a/", "a/1", "a/2", "a/b/c", "ab", "b", "b/x", "c//d", "é/1", "😀/x", "z"]
COMPLETE = "<CompleteMultipartUpload>{}</CompleteMultipartUpload>"
COPY = "x-amz-copy-source"


@pytest.fixture(scope="module")
def people(server: RunningServer) -> People:
    return new_people(server)


@pytest.fixture
def bucket(people: People) -> str:
    """An empty bucket."""
    return people.bucket()


def part_of(people: People, bucket: str, key: str, upload: str, number: int, data: bytes) -> str:
    """The ETag of a part that was sent."""
    return people.done("PUT", f"/{bucket}/{key}?partNumber={number}&uploadId={upload}", data)["etag"]


def complete(people: People, bucket: str, key: str, upload: str, *etags: str) -> Answer:
    """The parts of that upload from 1 on, joined."""
    parts = (f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in enumerate(etags, 1))
    return people.ask("owner", "POST", f"/{bucket}/{key}?uploadId={upload}", COMPLETE.format("".join(parts)).encode())


# --- versions --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def history(people: People) -> str:
    """A bucket whose names have many versions, markers, and versions from before there were any."""
    name = people.bucket()
    with closing(people.client("owner")) as s3:
        for key in KEYS[::2]:
            s3.put_object(Bucket=name, Key=key, Body=b"before")
        people.done("PUT", f"/{name}?versioning", VERSIONS)
        for turn in range(3):
            for number, key in enumerate(KEYS):
                if (turn + number) % 3:
                    s3.put_object(Bucket=name, Key=key, Body=b"x")
                else:
                    s3.delete_object(Bucket=name, Key=key)
    return name


def version_pages(people: People, bucket: str, delimiter: str, prefix: str, most: int) -> Iterator[dict[str, object]]:
    """Each page of that list."""
    with closing(people.client("owner")) as s3:
        pages = s3.get_paginator("list_object_versions").paginate(
            Bucket=bucket, Delimiter=delimiter, Prefix=prefix, PaginationConfig={"PageSize": most}
        )
        yield from pages


def flat(page: dict[str, object]) -> tuple[list[tuple[str, str]], list[str]]:
    """Versions and markers by name and id, and common prefixes."""
    found = [one for word in ("Versions", "DeleteMarkers") for one in page.get(word, ())]  # type: ignore[attr-defined]
    prefixes = [one["Prefix"] for one in page.get("CommonPrefixes", ())]  # type: ignore[attr-defined]
    return [(one["Key"], one["VersionId"]) for one in found], prefixes


@pytest.mark.parametrize("delimiter", ["", "/", "b", "//"])
@pytest.mark.parametrize("prefix", ["", "a", "a/", "zz"])
def test_versions_are_the_same_in_pages_of_any_length(
    people: People, history: str, delimiter: str, prefix: str
) -> None:
    (whole,) = version_pages(people, history, "", "", 1000)
    every = [one for one in flat(whole)[0] if one[0].startswith(prefix)]
    folded = {key: key.find(delimiter, len(prefix)) if delimiter else -1 for key, _ in every}
    single = {one for one in every if folded[one[0]] < 0}
    common = sorted({key[: end + len(delimiter)] for key, end in folded.items() if end >= 0}, key=str.encode)
    for most in range(1, 8):
        versions: list[tuple[str, str]] = []
        prefixes: list[str] = []
        for page in version_pages(people, history, delimiter, prefix, most):
            found, folders = flat(page)
            assert len(found) + len(folders) <= most
            versions += found
            prefixes += folders
        assert (len(versions), set(versions), prefixes) == (len(single), single, common)


def test_versions_below_many_prefixes_are_folded_in_pages(people: People) -> None:
    bucket = people.versioned()
    with closing(people.client("owner")) as s3:
        for number in range(40):
            for _ in range(2):
                s3.put_object(Bucket=bucket, Key=f"{number:02}/k", Body=b"")
    expected = [f"{number:02}/" for number in range(40)]
    for most in (1, 7, 39, 40, 1000):
        pages = [flat(page) for page in version_pages(people, bucket, "/", "", most)]
        assert [one for _, prefixes in pages for one in prefixes] == expected
        assert not any(versions for versions, _ in pages)
        assert len(pages) == -(-40 // most)


# --- open uploads ----------------------------------------------------------------------------------------------------


def upload_pages(
    people: People, bucket: str, most: int, prefix: str = "", delimiter: str = ""
) -> tuple[list[tuple[str, str]], list[str]]:
    """All uploads in order, and all common prefixes, in pages of that length."""
    uploads: list[tuple[str, str]] = []
    prefixes: list[str] = []
    with closing(people.client("owner")) as s3:
        pages = s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=bucket, Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": most}
        )
        for page in pages:
            found = [(one["Key"], one["UploadId"]) for one in page.get("Uploads", ())]
            folders = [one["Prefix"] for one in page.get("CommonPrefixes", ())]
            assert len(found) + len(folders) <= most
            uploads += found
            prefixes += folders
    return uploads, prefixes


@pytest.mark.parametrize("most", [1, 2, 3, 1000])
def test_uploads_are_the_same_in_pages_of_any_length(people: People, bucket: str, most: int) -> None:
    begun = [(key, people.upload("owner", bucket, key)) for key in ("b", "a/1", "b", "a/2", "b", "c/x/y", "a/1", "d")]
    expected = sorted(begun, key=lambda one: one[0])
    assert upload_pages(people, bucket, most) == (expected, [])
    below = [one for one in expected if one[0].startswith("a/")]
    assert upload_pages(people, bucket, most, "a/", "/") == (below, [])
    top = [one for one in expected if "/" not in one[0]]
    assert upload_pages(people, bucket, most, "", "/") == (top, ["a/", "c/"])
    assert upload_pages(people, bucket, most, "c/", "/") == ([], ["c/x/"])


def test_a_list_of_uploads_goes_on_behind_one_that_is_gone(people: People, bucket: str) -> None:
    for key in ("a", "b", "b", "b", "b", "c"):
        people.upload("owner", bucket, key)
    every = [one for _, one in upload_pages(people, bucket, 1000)[0]]
    for place in (1, 2):
        page = people.done("GET", f"/{bucket}?uploads&max-uploads={place + 1}")
        key, marker = tag("NextKeyMarker", page), tag("NextUploadIdMarker", page)
        assert (key, marker) == ("b", every[place])
        people.done("DELETE", f"/{bucket}/b?uploadId={marker}")
        rest = people.done("GET", f"/{bucket}?uploads&key-marker={key}&upload-id-marker={marker}")
        assert tags("UploadId", rest) == every[place + 1 :]
        every.remove(marker)
        every.insert(place, people.upload("owner", bucket, "b"))
        every = [one for _, one in upload_pages(people, bucket, 1000)[0]]


def test_an_upload_is_of_whoever_began_it(people: People) -> None:
    bucket = people.bucket(x_amz_grant_write=f'id="{people.stranger}"')
    for who, project in (("owner", people.project), ("stranger", people.other)):
        upload = people.upload(who, bucket, who)
        for answer in (
            people.done("GET", f"/{bucket}?uploads&prefix={who}"),
            people.ask(who, "GET", f"/{bucket}/{who}?uploadId={upload}"),
        ):
            body = answer.body.decode()
            for word in ("Initiator", "Owner"):
                whose = body.partition(f"<{word}>")[2].partition(f"</{word}>")[0]
                assert f"<ID>{canonical_id(project)}</ID>" in whose, (who, word)


def test_a_list_of_no_parts_does_not_go_on(people: People, bucket: str) -> None:
    upload = people.upload("owner", bucket, "k")
    part_of(people, bucket, "k", upload, 1, b"x")
    answer = people.done("GET", f"/{bucket}/k?uploadId={upload}&max-parts=0")
    assert (tag("IsTruncated", answer), tags("PartNumber", answer)) == ("false", [])
    assert tag("IsTruncated", people.done("GET", f"/{bucket}/k?uploadId={upload}&max-parts=1")) == "false"


# --- uploads that end ------------------------------------------------------------------------------------------------


def reserved(people: People) -> int:
    (found,) = (one for one in people.server.call("GET", "/projects") if one["name"] == people.project)
    return int(found["reserved"])


def test_a_bucket_goes_with_its_open_uploads_and_what_they_reserve(people: People, bucket: str) -> None:
    before = reserved(people)
    uploads = [people.upload("owner", bucket, key) for key in ("a", "a", "b")]
    for upload, key in zip(uploads, ("a", "a", "b"), strict=True):
        part_of(people, bucket, key, upload, 1, os.urandom(100_000))
    assert reserved(people) > before
    people.done("DELETE", f"/{bucket}")
    assert reserved(people) == before
    people.done("PUT", f"/{bucket}")
    assert tags("UploadId", people.done("GET", f"/{bucket}?uploads")) == []
    assert code(people.ask("owner", "GET", f"/{bucket}/a?uploadId={uploads[0]}")) == (404, "NoSuchUpload")
    catalog = people.server.data / "catalog.db"
    if catalog.exists():
        with closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True)) as db:
            marks = ",".join("?" * len(uploads))
            assert db.execute(f"SELECT id FROM upload WHERE id IN ({marks})", uploads).fetchall() == []
            assert db.execute(f"SELECT number FROM part WHERE upload_id IN ({marks})", uploads).fetchall() == []


def part_on_its_way(people: People, target: str, data: bytes) -> socket.socket:
    """A PUT whose head was taken: the server waits for its body."""
    parts = urlsplit(people.server.url)
    request = AWSRequest("PUT", f"{people.server.url}{target}", data=data)
    S3SigV4Auth(Credentials(*people.keys["owner"]), "s3", "us-east-1").add_auth(request)
    headers = dict(request.headers) | {
        "Host": parts.netloc, "Content-Length": str(len(data)), "Expect": "100-continue", "Connection": "close",
    }  # fmt: skip
    wire = socket.create_connection((parts.hostname, parts.port or 80), 20)
    lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    wire.sendall(f"PUT {target} HTTP/1.1\r\n{lines}\r\n".encode())
    assert wire.recv(1000).startswith(b"HTTP/1.1 100 ")
    return wire


def rest_of(wire: socket.socket) -> bytes:
    found = b""
    while piece := wire.recv(1 << 16):
        found += piece
    return found


@pytest.mark.parametrize("end", ["abort", "complete", "bucket"])
def test_a_part_that_comes_behind_the_end_is_of_no_upload(people: People, bucket: str, end: str) -> None:
    upload = people.upload("owner", bucket, "k")
    target = f"/{bucket}/k?partNumber=2&uploadId={upload}"
    etag = part_of(people, bucket, "k", upload, 1, b"first")
    data = os.urandom(300_000)
    with part_on_its_way(people, target, data) as wire:
        wire.sendall(data[:100_000])
        if end == "abort":
            people.done("DELETE", f"/{bucket}/k?uploadId={upload}")
        elif end == "complete":
            assert complete(people, bucket, "k", upload, etag).status == 200
        else:
            people.done("DELETE", f"/{bucket}")
        wire.sendall(data[100_000:])
        answer = rest_of(wire)
    assert answer.startswith(b"HTTP/1.1 404 "), answer
    assert b"<Code>NoSuchUpload</Code>" in answer
    assert people.text(bucket, "k") == (b"first" if end == "complete" else None)


@pytest.mark.parametrize("end", ["abort", "complete"])
def test_parts_that_race_the_end_of_their_upload_are_taken_or_of_no_upload(
    people: People, bucket: str, end: str
) -> None:
    data, last, before = os.urandom(200_000), os.urandom(1000), reserved(people)

    def send(upload: str, number: int) -> Answer:
        return people.ask("owner", "PUT", f"/{bucket}/k?partNumber={number}&uploadId={upload}", data)

    def finish(upload: str, etag: str) -> Answer:
        if end == "complete":
            return complete(people, bucket, "k", upload, etag)
        return people.ask("owner", "DELETE", f"/{bucket}/k?uploadId={upload}")

    found = set()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(25):
            upload = people.upload("owner", bucket, "k")
            etag = part_of(people, bucket, "k", upload, 1, last)
            sent = [pool.submit(send, upload, number) for number in (2, 3, 4)]
            ended = pool.submit(finish, upload, etag)
            sent += [pool.submit(send, upload, number) for number in (5, 6, 2)]
            found |= {code(one.result()) for one in sent}
            assert ended.result().status in (200, 204)
            assert people.text(bucket, "k") == (last if end == "complete" else None)
    assert found <= {(200, ""), (404, "NoSuchUpload")}
    assert reserved(people) == before


# --- parts that are copied -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(people: People) -> tuple[str, bytes]:
    """A bucket with an object `source`, and its bytes."""
    bucket, data = people.bucket(), os.urandom(12 * MIB + 17)
    people.done("PUT", f"/{bucket}/source", data)
    return bucket, data


def copied(people: People, bucket: str, upload: str, number: int, first: int, end: int) -> str:
    """The ETag of a part that is a range of the source."""
    headers = {COPY: f"{bucket}/source", f"{COPY}-range": f"bytes={first}-{end - 1}"}
    return tag("ETag", people.ask("owner", "PUT", f"/{bucket}/k?partNumber={number}&uploadId={upload}", b"", headers))


def room(people: People) -> int:
    """Bytes of files below the data folder, but for the catalog."""
    return sum(
        path.stat().st_blocks * 512
        for folder in ("blobs", "staging")
        for path in (people.server.data / folder).rglob("*")
        if path.is_file()
    )


def test_consecutive_ranges_of_an_object_take_no_room(people: People, source: tuple[str, bytes]) -> None:
    bucket, data = source
    upload, cuts = people.upload("owner", bucket, "k"), [0, 5 * MIB, 10 * MIB, len(data)]
    before = room(people)
    etags = [
        copied(people, bucket, upload, number, first, end) for number, (first, end) in enumerate(pairwise(cuts), 1)
    ]
    assert room(people) - before < MIB
    assert complete(people, bucket, "k", upload, *etags).status == 200
    assert room(people) - before < MIB
    assert people.text(bucket, "k") == data


RANGES = [
    [(0, 5 * MIB), (5 * MIB + 1, 12 * MIB), (0, 7)],
    [(5 * MIB, 10 * MIB), (0, 5 * MIB), (10 * MIB, 12 * MIB + 17)],
    [(0, 6 * MIB), (0, 6 * MIB), (3, 5)],
    [(0, 5 * MIB), (5 * MIB, 10 * MIB), (10 * MIB, 12 * MIB)],
    [(1, 5 * MIB + 1), (5 * MIB + 1, 12 * MIB + 17)],
    [(0, 12 * MIB + 17), (0, 12 * MIB + 17)],
]


@pytest.mark.parametrize("ranges", RANGES, ids=["gap", "swapped", "twice", "cut off", "later", "whole twice"])
def test_any_ranges_of_an_object_are_joined_byte_for_byte(
    people: People, source: tuple[str, bytes], ranges: list[tuple[int, int]]
) -> None:
    bucket, data = source
    upload = people.upload("owner", bucket, "k")
    etags = [copied(people, bucket, upload, number, *one) for number, one in reversed(list(enumerate(ranges, 1)))]
    assert complete(people, bucket, "k", upload, *reversed(etags)).status == 200
    assert people.text(bucket, "k") == b"".join(data[first:end] for first, end in ranges)


def test_ranges_between_parts_that_were_sent_are_joined_byte_for_byte(
    people: People, source: tuple[str, bytes]
) -> None:
    bucket, data = source
    upload, sent = people.upload("owner", bucket, "k"), os.urandom(5 * MIB + 3)
    first = part_of(people, bucket, "k", upload, 1, sent)
    etags = [copied(people, bucket, upload, 2, 0, 5 * MIB), copied(people, bucket, upload, 3, 5 * MIB, len(data))]
    assert complete(people, bucket, "k", upload, first, *etags).status == 200
    assert people.text(bucket, "k") == sent + data


def test_a_copied_part_shows_the_checksum_its_upload_asked_for(people: People, source: tuple[str, bytes]) -> None:
    bucket, data = source
    upload = people.upload("owner", bucket, "k", {"x-amz-checksum-algorithm": "SHA256"})
    headers = {COPY: f"{bucket}/source", f"{COPY}-range": "bytes=100-199"}
    answer = people.ask("owner", "PUT", f"/{bucket}/k?partNumber=1&uploadId={upload}", b"", headers)
    assert tag("ChecksumSHA256", answer) == b64encode(hashlib.sha256(data[100:200]).digest()).decode()
