"""Signed URLs and forms: what they take, what they refuse, and that nothing half or false is ever seen."""

import base64
import hashlib
import http.client
import json
import re
import secrets
import socket
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from entrepot.auth import post_policy, sigv2, sigv4, tokens
from tests.asking import FORM_TYPE, Answer, DataApi, answer_of, ask, connection, exchange, form_body, post_form, someone
from tests.running import RunningServer, running_server

BUCKET = "prominence-data"
META = "x-amz-meta-prominence_sha256"
EMPTY = hashlib.sha256(b"").hexdigest()
SHIELD = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
    "cross-origin-resource-policy": "same-origin",
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def fresh(kind: str = "user") -> str:
    return f"{kind}-{secrets.token_hex(4)}"


@pytest.fixture
def bob(server: RunningServer) -> DataApi:
    """A new user."""
    return someone(server)


def refused(answer: Answer, status: int, code: str = "") -> str:
    """The message of a refusal in S3's XML."""
    assert answer.status == status, answer
    assert answer["content-type"] == "application/xml"
    root = ET.fromstring(answer.body)
    found = {child.tag: child.text for child in root}
    assert (root.tag, list(found)[:2], list(found)[-2:]) == ("Error", ["Code", "Message"], ["Resource", "RequestId"])
    assert all(found.values())
    assert found["RequestId"].upper() == answer["x-amz-request-id"]  # type: ignore[union-attr]
    assert not code or found["Code"] == code, found
    assert SHIELD.items() <= dict(answer.headers).items()
    return found["Message"] or ""


def key_pair(url_or_fields: str | dict[str, str], server: RunningServer) -> tuple[str, str]:
    """Id and secret of the hidden key that signed, as only the server's owner can derive it."""
    if isinstance(url_or_fields, str):
        key_id = parse_qs(urlsplit(url_or_fields).query)["AWSAccessKeyId"][0]
    else:
        key_id = url_or_fields["AWSAccessKeyId"]
    return key_id, tokens.derive_secret((server.data / "master.key").read_bytes(), key_id, 1)


def target_of(url: str) -> bytes:
    return url.partition("://")[2].partition("/")[2].join(["/", ""]).encode()


def head_of(url: str, method: str = "PUT", *lines: str) -> bytes:
    """The head of a raw request to a signed URL."""
    first = f"{method} {target_of(url).decode()} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
    return (first + "".join(f"{line}\r\n" for line in lines) + "\r\n").encode()


def staged(server: RunningServer) -> set[Path]:
    return set((server.data / "staging").iterdir())


def eventually(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until it holds, for a while."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def blob_files(server: RunningServer, data: bytes) -> list[Path]:
    """Where those bytes lie on disk."""
    return list((server.data / "blobs").glob(f"??/{sha256(data)}.*"))


# --- URLs ------------------------------------------------------------------------------------------------------------


def test_a_signed_put_answers_201_empty_with_an_etag(bob: DataApi) -> None:
    for data in (b"small", secrets.token_bytes(100_000)):
        answer = ask(bob.put_url("x.sif"), "PUT", data)
        assert (answer.status, answer.body, answer["content-length"]) == (201, b"", "0")
        assert re.fullmatch('"[0-9a-f]+"', answer["etag"])
        assert bob.get("x.sif") == data


def test_an_empty_file_comes_in_chunks(bob: DataApi) -> None:
    assert ask(bob.put_url("empty"), "PUT", iter(())).status == 201
    head = ask(bob.get_url("empty"), "HEAD")
    assert (head.status, head["content-length"], head[META]) == (200, "0", EMPTY)
    assert bob.get("empty") == b""


def test_a_body_in_chunks_is_taken_whole(bob: DataApi) -> None:
    data = secrets.token_bytes(3_000_000)
    assert ask(bob.put_url("x"), "PUT", (data[at : at + 70_001] for at in range(0, len(data), 70_001))).status == 201
    assert bob.get("x") == data


def test_a_put_without_a_length_is_refused(bob: DataApi) -> None:
    refused(ask(bob.put_url("x"), "PUT"), 411, "MissingContentLength")


def test_a_url_may_be_used_again_and_the_last_complete_put_wins(bob: DataApi) -> None:
    url = bob.put_url("x")
    for data in (b"one", b"", secrets.token_bytes(50_000), b"two"):
        assert ask(url, "PUT", data).status == 201
        assert bob.get("x") == data


def test_equal_bytes_are_kept_once_and_outlive_one_of_their_names(bob: DataApi) -> None:
    data = secrets.token_bytes(60_000)
    bob.put("one", data)
    bob.put("two", data)
    assert post_form(*bob.form("three", sha256(data)), data).status == 204
    assert len(blob_files(bob.server, data)) == 1
    bob.ask("DELETE", "/data/one")
    assert (bob.names(), bob.get("two"), bob.get("three")) == (["three", "two"], data, data)


def test_foreign_tokens_beside_a_signature_are_ignored(bob: DataApi) -> None:
    data = secrets.token_bytes(20_000)
    strange = [("Authorization", "Bearer nobody.knows"), ("X-Auth-Token", "gAAAA"), ("x-ms-blob-type", "BlockBlob")]
    assert ask(bob.put_url("x"), "PUT", data, strange).status == 201
    assert ask(bob.get_url("x"), headers=strange).body == data
    url, fields = bob.form("y", sha256(data))
    assert ask(url, "POST", form_body(fields, data), [*FORM_TYPE.items(), *strange]).status == 204
    own = [("Authorization", f"Bearer {bob.token}"), ("Authorization", "Basic eDp5")]
    assert ask(bob.put_url("x"), "PUT", b"again", own).status == 201


def test_a_signed_get_shows_the_object_as_it_is(bob: DataApi) -> None:
    data = secrets.token_bytes(200_000)
    bob.put("größe & co.sif", data)
    url = bob.get_url("größe & co.sif")
    got, head = ask(url), ask(url, "HEAD")
    assert (got.status, got.body) == (200, data)
    assert (head.status, head.body) == (200, b"")
    names = {name for name, _ in got.headers}
    assert {name for name, _ in head.headers} == names
    assert names.isdisjoint({"transfer-encoding", "content-encoding"})
    for answer in (got, head):
        assert (answer["content-length"], answer["accept-ranges"], answer[META]) == ("200000", "bytes", sha256(data))
        assert answer["repr-digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"
        assert answer["content-type"] == "binary/octet-stream"
        assert answer["content-disposition"] == (
            "attachment; filename=\"gr__e & co.sif\"; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%26%20co.sif"
        )
        assert SHIELD.items() <= dict(answer.headers).items()


def test_ranges_and_conditions_of_a_signed_get(bob: DataApi) -> None:
    for data in (secrets.token_bytes(1000), secrets.token_bytes(100_000)):
        bob.put("x", data)
        url = bob.get_url("x")
        size = len(data)
        for text, start, stop in (
            ("0-0", 0, 1), ("1-9", 1, 10), (f"{size - 1}-", size - 1, size), ("-5", size - 5, size),
            (f"-{size + 5}", 0, size), (f"0-{size + 5}", 0, size),
        ):  # fmt: skip
            part = ask(url, headers={"Range": f"bytes={text}"})
            assert (part.status, part.body) == (206, data[start:stop])
            assert part["content-range"] == f"bytes {start}-{stop - 1}/{size}"
            assert part["content-length"] == str(stop - start)
        for text in (f"{size}-", f"{size + 5}-{size + 9}", "-0"):
            answer = ask(url, headers={"Range": f"bytes={text}"})
            refused(answer, 416, "InvalidRange")
            assert answer["content-range"] == f"bytes */{size}"
        etag = ask(url, "HEAD")["etag"]
        unchanged = ask(url, headers={"If-None-Match": etag})
        assert (unchanged.status, unchanged.body, unchanged["etag"]) == (304, b"", etag)
        assert "content-length" not in unchanged
        assert ask(url, headers={"If-None-Match": '"other"'}).body == data
        refused(ask(url, headers={"If-Match": '"other"'}), 412, "PreconditionFailed")
        assert ask(url, headers={"Range": "bytes=0-1", "If-Range": etag}).status == 206
        assert ask(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).body == data


def test_nothing_there_is_404(server: RunningServer, bob: DataApi) -> None:
    bob.put("x", b"1")
    url = bob.get_url("x")
    bob.ask("DELETE", "/data/x")
    refused(ask(url), 404, "NoSuchKey")
    head = ask(url, "HEAD")
    assert (head.status, head.body) == (404, b"")


def test_a_url_is_good_for_one_method(bob: DataApi) -> None:
    put, get = bob.put_url("x"), ""
    bob.put("x", b"kept")
    get = bob.get_url("x")
    for method, url in (("GET", put), ("DELETE", put), ("PUT", get), ("DELETE", get), ("POST", get), ("POST", put)):
        refused(ask(url, method, b"false" if method in ("PUT", "POST") else None), 403)
    assert ask(put, "HEAD").status == 403
    assert bob.get("x") == b"kept"


def test_a_url_changed_anywhere_is_403_and_stores_nothing(bob: DataApi) -> None:
    bob.put("y", b"kept")
    url = bob.put_url("x")
    other = someone(bob.server).put_url("x")
    query = parse_qs(urlsplit(url).query)
    expires, signature = query["Expires"][0], quote(query["Signature"][0], safe="")
    foreign_key = parse_qs(urlsplit(other).query)["AWSAccessKeyId"][0]
    for changed in (
        url.replace("/x?", "/y?"),
        url.replace("/x?", "/x%2F..%2Fy?"),
        url.replace("/x?", "/../y?"),
        url.replace(f"{BUCKET}/uploads", f"{BUCKET}//uploads"),
        url.replace(f"/{BUCKET}/", "/other-bucket/"),
        url.replace(expires, str(int(expires) + 1)),
        url.replace(f"Expires={expires}", f"Expires={int(expires) + 10**9}"),
        url.replace(f"Signature={signature}", f"Signature={'A' * 27}%3D"),
        url.replace(f"Signature={signature}&", "Signature=&"),
        url.replace(f"Signature={signature}&", ""),
        url.replace(f"&Expires={expires}", ""),
        url.replace(query["AWSAccessKeyId"][0], foreign_key),
        url.replace(query["AWSAccessKeyId"][0], "NOBODY"),
        url + "&acl",
        url + "&uploads",
        url + "&versionId=1",
        url + "&response-content-type=text/html",
        url + "&x-amz-meta-a=b",
    ):
        assert changed != url
        refused(ask(changed, "PUT", b"false"), 403)
    for header in ({"x-amz-meta-a": "b"}, {META: sha256(b"false")}, {"Content-Type": "text/html"},
                   {"Content-MD5": base64.b64encode(hashlib.md5(b"false").digest()).decode()},
                   {"x-amz-copy-source": f"/{BUCKET}/uploads/x/y"}):  # fmt: skip
        refused(ask(url, "PUT", b"false", header), 403)
    assert bob.names() == ["y"]
    assert bob.get("y") == b"kept"


def test_two_proofs_are_400(bob: DataApi) -> None:
    url = bob.put_url("x")
    again = "AWS4-HMAC-SHA256 Credential=A/20261121/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=0"
    refused(ask(url, "PUT", b"", {"Authorization": again, "x-amz-date": "20261121T000000Z"}), 400)
    refused(ask(url + "&Expires=9999999999", "PUT", b""), 400)
    refused(ask(url + "&Signature=x", "PUT", b""), 400)
    assert bob.names() == []


def test_an_expired_url_is_403(bob: DataApi) -> None:
    url = bob.put_url("x")
    key = urlsplit(url).path.split("/", 2)[2]
    pair = key_pair(url, bob.server)

    def signed(method: str, at: float) -> str:
        return sigv2.signed_url(bob.server.url, method, BUCKET, key, *pair, at)

    assert ask(signed("PUT", time.time() + 60), "PUT", b"kept").status == 201
    assert ask(signed("PUT", time.time() + 10_000_000), "PUT", b"kept").status == 201
    for at in (time.time() - 1, 1, 0):
        refused(ask(signed("PUT", at), "PUT", b"late"), 403)
        refused(ask(signed("GET", at)), 403)
    assert bob.get("x") == b"kept"


def test_the_key_of_links_opens_nothing_by_header(bob: DataApi) -> None:
    key_id, secret = key_pair(bob.put_url("x"), bob.server)
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"}, proxies={})
    s3 = boto3.client(
        "s3", endpoint_url=bob.server.url, region_name="us-east-1", config=config,
        aws_access_key_id=key_id, aws_secret_access_key=secret,
    )  # fmt: skip
    bob.put("x", b"1")
    key = urlsplit(bob.get_url("x")).path.split("/", 2)[2]
    with pytest.raises(ClientError) as caught:
        s3.head_object(Bucket=BUCKET, Key=key)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    s3.close()


def test_urls_and_forms_of_a_disabled_or_deleted_user_are_dead(server: RunningServer) -> None:
    name = fresh()
    bob = someone(server, name=name)
    bob.put("x", b"kept")
    put, get, (url, fields) = bob.put_url("x"), bob.get_url("x"), bob.form("x", sha256(b"false"))

    def dead() -> None:
        refused(ask(put, "PUT", b"false"), 403)
        refused(ask(get), 403)
        assert ask(get, "HEAD").status == 403
        refused(post_form(url, fields, b"false"), 403)

    server.call("PUT", f"/users/{name}", {"disabled": True})
    dead()
    server.call("PUT", f"/users/{name}", {"disabled": False})
    assert ask(get).body == b"kept"
    server.call("DELETE", f"/users/{name}")
    dead()


def test_the_end_of_a_token_ends_no_url(server: RunningServer) -> None:
    bob = someone(server)
    url = bob.put_url("x")
    payload = (bob.token or "").split(".")[1]
    jti = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"]
    server.call("DELETE", f"/tokens/{jti}")
    assert bob.ask("GET", "/data").status == 401
    assert ask(url, "PUT", b"1").status == 201


def robot_of(server: RunningServer, role: str) -> tuple[str, DataApi]:
    name = fresh("robot")
    server.call("POST", "/robots", {"name": name, "project": "default", "role": role})
    return name, DataApi(server, server.call("POST", "/tokens", {"user": name, "groups": [], "expires": "1h"})["token"])


def test_a_url_gives_no_more_than_its_makers_role(server: RunningServer) -> None:
    _, writer = robot_of(server, "writer")
    url = writer.put_url("x")
    assert ask(url, "PUT", b"first").status == 201
    refused(ask(url, "PUT", b"second"), 403)


def test_a_url_ends_with_the_role_it_was_made_by(server: RunningServer) -> None:
    name, robot = robot_of(server, "maintainer")
    robot.put("x", b"1")
    get, put = robot.get_url("x"), robot.put_url("x")
    server.call("DELETE", f"/roles/default/{name}")
    refused(ask(put, "PUT", b"2"), 403)
    refused(ask(get), 403)


# --- bodies that break off -------------------------------------------------------------------------------------------


@contextmanager
def half_sent(url: str, data: bytes, *lines: str) -> Iterator[socket.socket]:
    """A PUT of which half the body is on its way."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port or 80), 20) as wire:
        wire.sendall(head_of(url, "PUT", f"Content-Length: {len(data)}", *lines) + data[: len(data) // 2])
        yield wire


def ending(wire: socket.socket, data: bytes) -> int:
    """Status, once the other half is sent."""
    wire.sendall(data[len(data) // 2 :])
    response = http.client.HTTPResponse(wire)
    response.begin()
    return answer_of(response).status


def test_a_name_is_seen_when_it_is_whole(bob: DataApi) -> None:
    first, second = secrets.token_bytes(400_000), secrets.token_bytes(400_000)
    before = staged(bob.server)
    with half_sent(bob.put_url("x"), first) as wire:
        eventually(lambda: staged(bob.server) != before)
        assert bob.names() == []
        assert ending(wire, first) == 201
    assert bob.names() == ["x"]
    with half_sent(bob.put_url("x"), second) as wire:
        eventually(lambda: staged(bob.server) != before)
        assert bob.get("x") == first
        assert ending(wire, second) == 201
    assert bob.get("x") == second
    assert staged(bob.server) == before


def test_of_two_puts_at_once_the_one_that_ends_last_wins(bob: DataApi) -> None:
    slow, quick = secrets.token_bytes(300_000), secrets.token_bytes(300_000)
    url = bob.put_url("x")
    with half_sent(url, slow) as wire:
        assert ask(url, "PUT", quick).status == 201
        assert bob.get("x") == quick
        assert ending(wire, slow) == 201
    assert bob.get("x") == slow


def test_a_client_gone_in_the_middle_leaves_nothing(bob: DataApi) -> None:
    data = secrets.token_bytes(400_000)
    bob.put("y", b"kept")
    before = staged(bob.server)
    for name in ("x", "y"):
        with half_sent(bob.put_url(name), data) as wire:
            eventually(lambda: staged(bob.server) != before)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        eventually(lambda: staged(bob.server) == before)
    assert bob.names() == ["y"]
    assert bob.get("y") == b"kept"
    assert blob_files(bob.server, data[: len(data) // 2]) == []


@pytest.mark.parametrize("size", [10, 300_000], ids=["in the catalog", "in a file"])
def test_a_body_shorter_than_its_length_is_not_stored(bob: DataApi, size: int) -> None:
    before = staged(bob.server)
    parts = urlsplit(bob.server.url)
    with socket.create_connection((parts.hostname, parts.port or 80), 10) as wire:
        wire.sendall(head_of(bob.put_url("x"), "PUT", f"Content-Length: {size}") + bytes(size - 1))
        wire.shutdown(socket.SHUT_WR)
        assert b" 201 " not in wire.recv(1000)
    eventually(lambda: staged(bob.server) == before)
    assert bob.names() == []


def test_what_follows_the_announced_length_is_no_part_of_the_body(bob: DataApi) -> None:
    said = exchange(bob.server, head_of(bob.put_url("x"), "PUT", "Content-Length: 3") + b"abcdef\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 201 ")
    assert said.count(b"HTTP/1.1 2") == 1
    assert bob.get("x") == b"abc"


def test_chunks_that_cannot_be_read_store_nothing(bob: DataApi) -> None:
    before = staged(bob.server)
    head = head_of(bob.put_url("x"), "PUT", "Transfer-Encoding: chunked")
    for chunks in (b"zz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b"186a0\r\n" + bytes(100_000) + b"XX"):
        assert b" 201 " not in exchange(bob.server, head + chunks)
    eventually(lambda: staged(bob.server) == before)
    assert bob.names() == []


def test_a_body_is_only_asked_for_when_the_url_is_good(bob: DataApi) -> None:
    good, parts = bob.put_url("x"), urlsplit(bob.server.url)
    expect = ("Content-Length: 5000000", "Expect: 100-continue")
    said = exchange(bob.server, head_of(good.replace("/x?", "/y?"), "PUT", *expect))
    assert said.startswith(b"HTTP/1.1 403 ")
    assert b"100 Continue" not in said
    with socket.create_connection((parts.hostname, parts.port or 80), 10) as wire:
        wire.sendall(head_of(good, "PUT", "Content-Length: 3", "Expect: 100-continue"))
        assert wire.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.sendall(b"abc")
        assert wire.recv(1000).startswith(b"HTTP/1.1 201 ")
    assert bob.names() == ["x"]


# --- stored bytes that rot -------------------------------------------------------------------------------------------


def clean_answer(url: str, cafile: str | None = None) -> Answer | None:
    """The answer if it came to a proper end; None if the connection was reset within it."""
    try:
        return ask(url, cafile=cafile)
    except (ConnectionResetError, http.client.IncompleteRead):
        return None


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


def shorten(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)


@pytest.mark.parametrize("damage", [flip, shorten, Path.unlink], ids=["flipped", "cut", "gone"])
@pytest.mark.parametrize("size", [40_000, 3_000_000])
@pytest.mark.parametrize("place", ["server", "tls_server"])
def test_damaged_bytes_never_come_to_a_clean_end(
    request: pytest.FixtureRequest, damage: Callable[[Path], None], size: int, place: str
) -> None:
    server: RunningServer = request.getfixturevalue(place)
    bob = someone(server)
    data = secrets.token_bytes(size)
    bob.put("x", data)
    bob.put("same bytes", data)
    url = bob.get_url("x")
    (path,) = blob_files(server, data)
    path.chmod(0o600)
    damage(path)
    broken = clean_answer(url, server.cafile)
    if broken is not None:
        refused(broken, 404)
    for name in ("x", "same bytes"):
        refused(ask(bob.get_url(name), cafile=server.cafile), 404, "NoSuchKey")
    assert ask(url, "HEAD", cafile=server.cafile).status == 404
    assert bob.put("third", data).status == 201
    for name in ("x", "same bytes", "third"):
        assert bob.get(name) == data


def test_a_reset_is_what_a_reader_of_damaged_bytes_gets(bob: DataApi) -> None:
    """Not a clean close: requests on urllib3 1.26 took a short body for whole."""
    data = secrets.token_bytes(3_000_000)
    bob.put("x", data)
    url = bob.get_url("x")
    flip_at = blob_files(bob.server, data)[0]
    flip_at.chmod(0o600)
    flip(flip_at)
    parts = urlsplit(url)
    found = b""

    def read_on() -> None:
        nonlocal found
        while piece := wire.recv(1 << 16):
            found += piece

    with socket.create_connection((parts.hostname, parts.port or 80), 10) as wire:
        wire.sendall(head_of(url, "GET"))
        with pytest.raises(ConnectionResetError):
            read_on()
    assert len(found) < len(data)
    assert not found or found.startswith(b"HTTP/1.1 200 ")


# --- forms -----------------------------------------------------------------------------------------------------------


def test_a_form_answers_204_and_keeps_the_digest(bob: DataApi) -> None:
    for data in (b"", b"small", secrets.token_bytes(2_500_000)):
        url, fields = bob.form("x y.sif", sha256(data))
        answer = post_form(url, fields, data)
        assert (answer.status, answer.body) == (204, b"")
        assert re.fullmatch('"[0-9a-f]+"', answer["etag"])
        assert answer["location"] == f"{url}/{quote(fields['key'])}"
        assert bob.get("x y.sif") == data
        assert ask(bob.get_url("x y.sif"), "HEAD")[META] == sha256(data)


def test_a_form_is_taken_in_any_order_and_with_any_file_name(bob: DataApi) -> None:
    data = secrets.token_bytes(30_000)
    url, fields = bob.form("x.sif", sha256(data))
    for pairs in (list(fields.items()), list(fields.items())[::-1], sorted(fields.items())):
        for filename in ("x.sif", "", "größe.sif", "../../etc/passwd", "a/b c.sif"):
            assert post_form(url, pairs, data, filename=filename).status == 204
    assert post_form(url, fields, data, name_every_part=True).status == 204
    assert post_form(url, fields, data, after=[("extra", "ignored"), ("key", "uploads/x/y")]).status == 204
    assert post_form(url + "/", fields, data).status == 204
    assert bob.names() == ["x.sif"]


def test_a_name_that_looks_like_a_placeholder_stays_itself(bob: DataApi) -> None:
    url, fields = bob.form("${filename}", sha256(b"1"))
    assert post_form(url, fields, b"1", filename="${filename}").status == 204
    refused(post_form(url, fields, b"1", filename="other"), 403)
    assert bob.names() == ["${filename}"]


def test_a_false_checksum_is_bad_digest_and_leaves_nothing(bob: DataApi) -> None:
    bob.put("y", b"kept")
    before = staged(bob.server)
    for name in ("x", "y"):
        for true, false in ((b"abc", b"abd"), (secrets.token_bytes(50_000), secrets.token_bytes(50_000))):
            url, fields = bob.form(name, sha256(true))
            refused(post_form(url, fields, false), 400, "BadDigest")
            assert blob_files(bob.server, false) == []
    assert bob.names() == ["y"]
    assert bob.get("y") == b"kept"
    assert staged(bob.server) == before


def changed_policy(fields: dict[str, str], **changes: object) -> str:
    policy = {**json.loads(base64.b64decode(fields["policy"])), **changes}
    return base64.b64encode(json.dumps(policy).encode()).decode()


def test_a_form_changed_anywhere_is_403_and_stores_nothing(bob: DataApi) -> None:
    data = b"abc"
    url, fields = bob.form("x", sha256(data))
    other_key = key_pair(someone(bob.server).form("x", sha256(data))[1], bob.server)[0]
    for change in (
        {"key": fields["key"] + "y"},
        {"key": fields["key"].replace("/x", "/../y")},
        {META: sha256(b"abd")},
        {META: fields[META].upper()},
        {"policy": changed_policy(fields, expiration="2036-01-01T00:00:00Z")},
        {"policy": changed_policy(fields, conditions=[["starts-with", "$key", ""], {"bucket": BUCKET}])},
        {"policy": fields["policy"] + " "},
        {"signature": base64.b64encode(bytes(20)).decode()},
        {"AWSAccessKeyId": other_key},
        {"AWSAccessKeyId": "NOBODY"},
        {"extra": "field"},
        {"x-amz-meta-other": "1"},
        {"acl": "public-read"},
        {"Content-Type": "text/html"},
        {"success_action_status": "200"},
    ):
        refused(post_form(url, {**fields, **change}, data), 403)
    for left_out, status in ((META, 403), ("key", 400)):
        refused(post_form(url, {name: value for name, value in fields.items() if name != left_out}, data), status)
    bob.server.bucket("another-bucket")
    refused(post_form(url.replace(BUCKET, "another-bucket"), fields, data), 403)
    refused(post_form(url, [("file-ish", "x")], data), 400)
    assert bob.names() == []
    assert post_form(url, {**fields, "x-ignore-me": "1"}, data).status == 204


def test_a_form_with_holes_or_twins_is_400(bob: DataApi) -> None:
    url, fields = bob.form("x", sha256(b"abc"))
    for name in ("key", "policy", "signature", META):
        refused(post_form(url, [*fields.items(), (name, fields[name])], b"abc"), 400)
        refused(post_form(url, [*fields.items(), (name.upper(), fields[name])], b"abc"), 400)
    for left_out in ("policy", "signature", "AWSAccessKeyId"):
        refused(post_form(url, {name: value for name, value in fields.items() if name != left_out}, b"abc"), 400)
    refused(ask(url, "POST", form_body(fields, None), FORM_TYPE), 400)
    refused(ask(url, "POST", form_body(fields, b"abc", file_field="data"), FORM_TYPE), 400)
    assert bob.names() == []


def test_an_expired_form_is_403(bob: DataApi) -> None:
    url, fields = bob.form("x", sha256(b"abc"))
    pair = key_pair(fields, bob.server)

    def made(at: float) -> dict[str, str]:
        return post_policy.make_v2({META: sha256(b"abc")}, BUCKET, fields["key"], *pair, at)

    assert list(made(time.time() + 60)) == list(fields)
    refused(post_form(url, made(time.time() - 1), b"abc"), 403)
    assert bob.names() == []
    assert post_form(url, made(time.time() + 60), b"abc").status == 204


def test_a_form_that_is_broken_stores_nothing(bob: DataApi) -> None:
    before = staged(bob.server)
    for data in (b"abc", secrets.token_bytes(60_000)):
        url, fields = bob.form("x", sha256(data))
        whole = form_body(fields, data)
        boundary = FORM_TYPE["Content-Type"].partition("boundary=")[2].encode()
        for broken in (
            whole[: -len(boundary) - 6],  # no end
            whole[:-4],  # half an end
            whole[: len(whole) // 2],
            whole.replace(boundary, b"another"),
            whole.replace(b"form-data; name=", b"form-data; title="),
            whole.replace(b"Content-Disposition", b"Content-Something"),
            whole.replace(b'"key"', b'"\xff"'),
            b"",
            b"--",
        ):
            assert broken != whole
            assert ask(url, "POST", broken, FORM_TYPE).status in (400, 403)
        many = [*fields.items(), *((f"x-ignore-{number}", "") for number in range(10_000))]
        refused(post_form(url, many, data), 400)
        refused(post_form(url, {**fields, "x-ignore-much": "y" * (70 << 10)}, data), 400)
        for kind in (
            "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=x", "text/plain",
            f"multipart/form-data; boundary={'b' * 300}", "application/x-www-form-urlencoded",
        ):  # fmt: skip
            refused(ask(url, "POST", whole, {"Content-Type": kind}), 400)
        refused(ask(url, "POST", whole), 400)
    assert bob.names() == []
    assert staged(bob.server) == before


def test_a_form_cut_off_by_its_client_leaves_nothing(bob: DataApi) -> None:
    data = secrets.token_bytes(3_000_000)
    url, fields = bob.form("x", sha256(data))
    body = form_body(fields, data)
    before, parts = staged(bob.server), urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port or 80), 10) as wire:
        lines = (f"Content-Length: {len(body)}", f"Content-Type: {FORM_TYPE['Content-Type']}")
        wire.sendall(head_of(url, "POST", *lines) + body[:2_500_000])
        eventually(lambda: staged(bob.server) != before)
    eventually(lambda: staged(bob.server) == before)
    assert bob.names() == []


# --- keys of one's own -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_key(server: RunningServer) -> tuple[str, str]:
    """Id and secret of a key an operator was given."""
    key = server.call("POST", "/keys", {"principal": "admin", "project": "default"})
    return key["access"], key["secret"]


def own_form(
    bucket: str, pair: tuple[str, str], fields: dict[str, str], *conditions: object, key: str = "x"
) -> dict[str, str]:
    """A form signed by a key one was given."""
    document = {
        "expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600)),
        "conditions": [{"bucket": bucket}, {"key": key}, *conditions],
    }
    policy = base64.b64encode(json.dumps(document).encode()).decode()
    signature = sigv2.sign(pair[1], policy.encode())
    return {**fields, "key": key, "AWSAccessKeyId": pair[0], "policy": policy, "signature": signature}


def test_metadata_that_would_be_headers_of_its_own_is_400(server: RunningServer, own_key: tuple[str, str]) -> None:
    bucket = server.bucket(fresh("bucket"), public=True)
    url = f"{server.url}/{bucket}"

    def post(name: str, value: str) -> Answer:
        return post_form(url, own_form(bucket, own_key, {name: value}, ["starts-with", f"${name}", ""]), b"<b>")

    refused(post("x-amz-meta-note", "two\r\nSet-Cookie: a=b"), 400, "InvalidArgument")
    refused(post("x-amz-meta-note", "two\x00"), 400, "InvalidArgument")
    refused(post("x-amz-meta-a: b", "c"), 400, "InvalidArgument")
    refused(post("x-amz-meta-", "c"), 400, "InvalidArgument")
    refused(post("x-amz-meta-note", "y" * 3000), 400)
    assert ask(f"{url}/x").status == 404
    assert post("x-amz-meta-note", "two words").status == 204
    assert ask(f"{url}/x")["x-amz-meta-note"] == "two words"


def test_stored_pages_are_saved_not_shown(server: RunningServer, own_key: tuple[str, str]) -> None:
    bucket = server.bucket(fresh("bucket"), public=True)
    for kind, how in (
        ("text/html", "attachment"), ("image/svg+xml", "attachment"), ("application/xhtml+xml", "attachment"),
        ("text/plain; charset=utf-8", "inline"), ("image/png", "inline"), ("TEXT/HTML", "attachment"),
    ):  # fmt: skip
        fields = own_form(bucket, own_key, {"Content-Type": kind}, ["starts-with", "$Content-Type", ""])
        assert post_form(f"{server.url}/{bucket}", fields, b"<script>").status == 204
        answer = ask(f"{server.url}/{bucket}/x")
        assert (answer["content-type"], answer["content-disposition"].partition(";")[0]) == (kind, how)
        assert SHIELD.items() <= dict(answer.headers).items()


def test_a_policy_limits_the_size(server: RunningServer, own_key: tuple[str, str]) -> None:
    bucket = server.bucket(fresh("bucket"))
    fields = own_form(bucket, own_key, {}, ["content-length-range", 3, 100_000])
    url = f"{server.url}/{bucket}"
    refused(post_form(url, fields, b"12"), 400)
    refused(post_form(url, fields, bytes(100_001)), 400, "EntityTooLarge")
    assert post_form(url, fields, bytes(100_000)).status == 204
    assert post_form(url, fields, b"123").status == 204


def test_a_claimed_digest_is_held_in_every_bucket(server: RunningServer, own_key: tuple[str, str]) -> None:
    bucket = server.bucket(fresh("bucket"))
    url, condition = f"{server.url}/{bucket}", ["starts-with", f"${META}", ""]
    refused(post_form(url, own_form(bucket, own_key, {META: sha256(b"1")}, condition), b"2"), 400, "BadDigest")
    refused(post_form(url, own_form(bucket, own_key, {META: "00"}, condition), b"2"), 400, "InvalidArgument")
    refused(post_form(url, own_form(bucket, own_key, {META: ""}, condition), b"2"), 400, "InvalidArgument")
    assert post_form(url, own_form(bucket, own_key, {META: sha256(b"2")}, condition), b"2").status == 204


# --- a server of its own: V4, quota ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def v4_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that hands out V4 signatures."""
    environ = {"ENTREPOT_PROMINENCE_SIGNATURE": "v4"}
    with running_server(tmp_path_factory.mktemp("v4") / "data", environ=environ) as running:
        yield running


def test_v4_urls_and_forms_are_handed_out_if_the_operator_wants(v4_server: RunningServer) -> None:
    bob = someone(v4_server)
    url = bob.put_url("é x.sif")
    query = parse_qs(urlsplit(url).query)
    words = ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"]
    assert list(query) == [f"X-Amz-{word}" for word in words]
    assert (query["X-Amz-Expires"], query["X-Amz-Algorithm"]) == (["600"], ["AWS4-HMAC-SHA256"])
    data = secrets.token_bytes(40_000)
    assert ask(url, "PUT", data, {"Authorization": "Bearer x", "Content-Type": "text/html"}).status == 201
    get = bob.get_url("é x.sif")
    assert ask(get).body == data
    assert ask(get)["content-disposition"].startswith("attachment")
    head = ask(get, "HEAD")
    assert (head.status, head[META]) == (200, sha256(data))
    post_url, fields = bob.form("y", sha256(b"abc"))
    assert list(fields) == [
        META, "key", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "policy", "x-amz-signature"
    ]  # fmt: skip
    conditions = json.loads(base64.b64decode(fields["policy"]))["conditions"]
    assert [next(iter(condition)) for condition in conditions] == [
        META, "bucket", "key", "x-amz-algorithm", "x-amz-credential", "x-amz-date"
    ]  # fmt: skip
    refused(post_form(post_url, fields, b"abd"), 400, "BadDigest")
    assert post_form(post_url, fields, b"abc").status == 204
    assert bob.names() == ["y", "é x.sif"]


def test_v4_urls_and_forms_changed_anywhere_are_refused(v4_server: RunningServer) -> None:
    bob = someone(v4_server)
    url = bob.put_url("x")
    for changed in (
        url.replace("/x?", "/y?"),
        url.replace("X-Amz-Expires=600", "X-Amz-Expires=601"),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        url + "&acl",
        url + "&x-amz-meta-a=b",
        url.replace("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=accept"),
    ):
        assert changed != url
        refused(ask(changed, "PUT", b"false"), 403)
    refused(ask(url, "PUT", b"false", {"x-amz-meta-a": "b"}), 403)
    refused(ask(url), 403)
    refused(ask(url.replace("us-east-1", "eu-west-1"), "PUT", b"false"), 400)
    post_url, fields = bob.form("x", sha256(b"abc"))
    refused(post_form(post_url, {**fields, "x-amz-date": "20200101T000000Z"}, b"abc"), 400)
    for change in (
        {"key": fields["key"] + "y"},
        {META: sha256(b"abd")},
        {"x-amz-signature": "0" * 64},
        {"policy": changed_policy(fields, expiration="2036-01-01T00:00:00Z")},
        {"extra": "1"},
    ):
        refused(post_form(post_url, {**fields, **change}, b"abc"), 403)
    assert bob.names() == []


def test_v4_urls_end_in_time_and_last_a_week_at_most(v4_server: RunningServer) -> None:
    bob = someone(v4_server)
    bob.put("x", b"1")
    url = bob.put_url("x")
    credential = parse_qs(urlsplit(url).query)["X-Amz-Credential"][0]
    key_id = credential.partition("/")[0]
    secret = tokens.derive_secret((v4_server.data / "master.key").read_bytes(), key_id, 1)
    key = urlsplit(url).path.split("/", 2)[2]

    def signed(seconds: int, at: float) -> str:
        return sigv4.signed_url(v4_server.url, "GET", BUCKET, key, key_id, secret, seconds, at)

    now = time.time()
    assert ask(signed(60, now)).body == b"1"
    assert ask(signed(604_800, now - 600_000)).body == b"1"
    for late in (signed(60, now - 61), signed(604_801, now), signed(0, now), signed(60, now + 1000)):
        refused(ask(late), 403)
    assert ask(bob.get_url("x", expires=604_800)).body == b"1"
    assert bob.ask("POST", "/data/download", {"name": "x", "expires": 604_801}).status == 400


@contextmanager
def quota(server: RunningServer, room: int) -> Iterator[None]:
    """Project `default` has room for that many bytes more."""
    (found,) = [one for one in server.call("GET", "/projects") if one["name"] == "default"]
    server.call("PUT", "/projects/default", {"name": "default", "quota": found["used"] + room})
    try:
        yield
    finally:
        server.call("PUT", "/projects/default", {"name": "default", "quota": 2**63 - 1})


def test_over_quota_is_403_and_leaves_nothing(v4_server: RunningServer) -> None:
    bob = someone(v4_server)
    before = staged(v4_server)
    with quota(v4_server, 50_000):
        large, small = secrets.token_bytes(50_001), secrets.token_bytes(5_000)
        refused(ask(bob.put_url("x"), "PUT", large), 403, "QuotaExceeded")
        refused(ask(bob.put_url("x"), "PUT", iter([large[:20_000], large[20_000:]])), 403, "QuotaExceeded")
        refused(post_form(*bob.form("x", sha256(large)), large), 403, "QuotaExceeded")
        assert bob.names() == []
        assert ask(bob.put_url("x"), "PUT", small).status == 201
        assert ask(bob.put_url("y"), "PUT", secrets.token_bytes(45_000)).status == 201
        refused(ask(bob.put_url("z"), "PUT", b"1"), 403, "QuotaExceeded")
        bob.ask("DELETE", "/data/y")
        assert ask(bob.put_url("z"), "PUT", b"1").status == 201
    assert blob_files(v4_server, large) == []
    assert staged(v4_server) == before


def test_a_body_of_unknown_length_may_fill_the_quota(v4_server: RunningServer) -> None:
    bob = someone(v4_server)
    data = secrets.token_bytes(5_000_000)
    with quota(v4_server, 6_000_000):
        assert post_form(*bob.form("x", sha256(data)), data).status == 204


def test_an_upload_under_way_keeps_its_connection_for_the_next(bob: DataApi) -> None:
    with closing(connection(bob.server.url)) as kept:
        for data in (b"one", secrets.token_bytes(200_000), b""):
            url = bob.put_url("x")
            kept.request("PUT", target_of(url).decode(), data)
            assert answer_of(kept.getresponse()).status == 201
            kept.request("GET", target_of(bob.get_url("x")).decode())
            assert answer_of(kept.getresponse()).body == data
