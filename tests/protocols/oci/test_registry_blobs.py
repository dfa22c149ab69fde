"""Blobs out: whole, in ranges, under conditions, and by names that cannot be ones."""

import secrets

import pytest

from tests.registry import Client, People, digest_of, values

DATA = secrets.token_bytes(2048)
RANGES = {
    "500-1499": (500, 1500), "500-": (500, 2048), "-500": (1548, 2048), "2000-5000": (2000, 2048), "0-0": (0, 1),
    "-5000": (0, 2048), "2047-": (2047, 2048),
}  # fmt: skip
BAD = {
    "no algorithm": "0" * 64, "short": "sha256:0123", "not hex": "sha256:" + "z" * 64, "baddigeststring":
    "sha256:baddigeststring", "upper case": "sha256:" + "A" * 64, "unknown": "md5:" + "0" * 32,
    "the other's length": "sha512:" + "0" * 64, "empty": "sha256:", "plus": "sha256+b64:" + "0" * 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def filled(people: People) -> Client:
    """A repository that has the data."""
    client = people.client()
    client.push(DATA, "sha512")
    return client


def test_a_blob_comes_whole_with_its_headers(filled: Client, algorithm: str) -> None:
    digest = digest_of(DATA, algorithm)
    for method in ("GET", "HEAD"):
        answer = filled.done(method, f"blobs/{digest}", 200)
        assert answer.body == (DATA if method == "GET" else b"")
        assert answer["content-length"] == "2048"
        assert answer["content-type"] == "application/octet-stream"
        assert answer["docker-content-digest"] == digest
        assert answer["etag"] == f'"{digest}"'
        assert answer["accept-ranges"] == "bytes"
        assert "content-encoding" not in answer


@pytest.mark.parametrize("text", RANGES)
def test_a_range_comes_clipped_to_the_end(filled: Client, algorithm: str, text: str) -> None:
    start, stop = RANGES[text]
    digest = digest_of(DATA, algorithm)
    answer = filled.done("GET", f"blobs/{digest}", 206, headers={"Range": f"bytes={text}"})
    assert answer.body == DATA[start:stop]
    assert answer["content-range"] == f"bytes {start}-{stop - 1}/2048"
    assert answer["content-length"] == str(stop - start)
    assert answer["docker-content-digest"] == digest


@pytest.mark.parametrize("text", ["500-0", "5000-10000", "2048-", "-0"])
def test_a_range_outside_the_bytes_is_refused(filled: Client, algorithm: str, text: str) -> None:
    path = f"blobs/{digest_of(DATA, algorithm)}"
    answer = filled.refused("GET", path, 416, "SIZE_INVALID", headers={"Range": f"bytes={text}"})
    assert DATA not in answer.body
    filled.done("HEAD", path, 416, headers={"Range": f"bytes={text}"})


@pytest.mark.parametrize("text", ["5000-10000", "500-0", "2048-"])
def test_a_refused_range_says_how_many_bytes_there_are(filled: Client, text: str) -> None:
    answer = filled.ask("GET", f"blobs/{digest_of(DATA)}", headers={"Range": f"bytes={text}"})
    assert values(answer, "content-range") == ["bytes */2048"]


@pytest.mark.parametrize("text", ["bytes=0-1,5-6", "lines=0-1", "bytes=a-b", "bytes=-"])
def test_what_is_not_one_range_of_bytes_is_the_whole(filled: Client, text: str) -> None:
    assert filled.done("GET", f"blobs/{digest_of(DATA)}", 200, headers={"Range": text}).body == DATA


def test_a_blob_the_client_has_is_not_sent_again(filled: Client, algorithm: str) -> None:
    digest = digest_of(DATA, algorithm)
    for method in ("GET", "HEAD"):
        answer = filled.done(method, f"blobs/{digest}", 304, headers={"If-None-Match": f'"{digest}"'})
        assert answer["etag"] == f'"{digest}"'
    assert filled.done("GET", f"blobs/{digest}", 200, headers={"If-None-Match": '"other"'}).body == DATA


def test_no_range_of_nothing(client: Client, algorithm: str) -> None:
    digest = client.push(b"", algorithm)
    assert client.done("GET", f"blobs/{digest}", 200)["content-length"] == "0"
    client.refused("GET", f"blobs/{digest}", 416, "SIZE_INVALID", headers={"Range": "bytes=0-0"})


def test_a_range_of_two_braces(client: Client, algorithm: str) -> None:
    digest = client.push(b"{}", algorithm)
    assert client.done("GET", f"blobs/{digest}", 206, headers={"Range": "bytes=1-"}).body == b"}"


def test_what_is_missing_is_unknown(filled: Client, algorithm: str) -> None:
    missing = digest_of(secrets.token_bytes(8), algorithm)
    filled.refused("GET", f"blobs/{missing}", 404, "BLOB_UNKNOWN")
    assert filled.done("HEAD", f"blobs/{missing}", 404).body == b""


@pytest.mark.parametrize("why", BAD)
def test_a_digest_that_cannot_be_one_is_told_so_wherever_it_stands(client: Client, why: str) -> None:
    bad = BAD[why]
    client.push(b"{}")
    client.refused("GET", f"blobs/{bad}", 400, "DIGEST_INVALID")
    client.done("HEAD", f"blobs/{bad}", 400)
    client.refused("DELETE", f"blobs/{bad}", 400, "DIGEST_INVALID")
    client.refused("GET", f"referrers/{bad}", 400, "DIGEST_INVALID")
    query = bad.replace("+", "%2B")
    client.refused("POST", f"blobs/uploads/?digest={query}", 400, "DIGEST_INVALID", b"x")
    client.refused("POST", f"blobs/uploads/?mount={query}", 400, "DIGEST_INVALID", b"")
    upload = client.begin()
    client.refused("PUT", f"{upload}?digest={query}", 400, "DIGEST_INVALID", b"x")


def test_an_encoded_digest_is_the_same(filled: Client, algorithm: str) -> None:
    encoded = digest_of(DATA, algorithm).replace(":", "%3A")
    answer = filled.done("GET", f"blobs/{encoded}", 200)
    assert answer.body == DATA
    assert answer["docker-content-digest"] == digest_of(DATA, algorithm)
    assert filled.referrers(encoded) == []
