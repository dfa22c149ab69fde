"""What the specification leaves open of uploads: where they go on, who has them, what outlives what."""

import http.client
import secrets
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.asking import answer_of, ask
from tests.registry import Client, People, assert_kept, assert_open, codes, digest_of, new_name, new_people
from tests.running import RunningServer, running_server

DATA = secrets.token_bytes(300_000)
HALF = 150_000
BATCH = 1 << 20
"""So many bytes of a running request are taken at once, if it is the only one."""


def open_wire(client: Client, upload: str, length: int) -> socket.socket:
    """A connection on which the head of a PATCH of that length went out."""
    parts = urlsplit(client.server.url)
    wire = socket.create_connection((str(parts.hostname), parts.port or 80), 10)
    head = f"PATCH {upload} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {client.token}\r\n"
    wire.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
    return wire


def offset_of(client: Client, upload: str) -> int:
    return int(client.done("GET", upload, 204)["upload-offset"])


def wait_for(client: Client, upload: str, offset: int) -> None:
    """Until the server has taken that many bytes."""
    for _ in range(100):
        if offset_of(client, upload) == offset:
            return
        time.sleep(0.05)
    raise AssertionError(offset_of(client, upload))


# --- where an upload goes on -----------------------------------------------------------------------------------------


def test_a_chunk_sent_twice_is_refused_and_kept_once(client: Client) -> None:
    upload = client.begin()
    client.append(upload, DATA[:HALF], HALF, f"0-{HALF - 1}")
    answer = client.refused(
        "PATCH", upload, 416, "BLOB_UPLOAD_INVALID", DATA[:HALF], {"Content-Range": f"0-{HALF - 1}"}
    )
    assert_open(answer, client.name, HALF)
    client.end(upload, digest_of(DATA), DATA[HALF:])


@pytest.mark.parametrize("span", ["0-10", "0-8"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_body_of_another_length_than_its_range_is_refused(client: Client, span: str, method: str) -> None:
    upload, headers = client.begin(), {"Content-Range": span}
    at = upload if method == "PATCH" else f"{upload}?digest={digest_of(b'0123456789')}"
    client.refused(method, at, 400, "SIZE_INVALID", b"0123456789", headers)
    assert offset_of(client, upload) == 0
    client.end(upload, digest_of(b"0123456789"), b"0123456789")


@pytest.mark.parametrize("span", ["0-10", "0-8"])
def test_a_stream_of_another_length_than_its_range_is_refused(client: Client, span: str) -> None:
    upload = client.begin()
    client.refused("PATCH", upload, 400, "SIZE_INVALID", iter([b"01234", b"56789"]), {"Content-Range": span})
    assert not client.has(digest_of(b"0123456789"))


@pytest.mark.parametrize("span", ["x", "5-4", "0", "-5", "bytes=", "0-"])
def test_a_range_that_cannot_be_read_changes_nothing(client: Client, span: str) -> None:
    upload = client.begin()
    assert client.ask("PATCH", upload, b"01234", {"Content-Range": span}).status in (400, 416)
    assert offset_of(client, upload) == 0


def test_what_comes_of_a_body_that_is_cut_is_kept(client: Client) -> None:
    upload = client.begin()
    with open_wire(client, upload, len(DATA)) as wire:
        wire.sendall(DATA[:HALF])
        time.sleep(0.2)
    wait_for(client, upload, HALF)
    client.end(upload, digest_of(DATA), DATA[HALF:], Content_Range=f"{HALF}-{len(DATA) - 1}")


def test_whoever_sends_last_has_the_upload_and_the_older_is_cut(client: Client) -> None:
    upload, data = client.begin(), secrets.token_bytes(2 * BATCH)
    with open_wire(client, upload, len(data)) as older:
        older.sendall(data[:BATCH])
        wait_for(client, upload, BATCH)
        client.append(upload, data[BATCH:], len(data), f"{BATCH}-{len(data) - 1}")
        older.sendall(b"x" * BATCH)
        response = http.client.HTTPResponse(older)
        response.begin()
        answer = answer_of(response)
    assert answer.status == 416
    assert codes(answer) == ["BLOB_UPLOAD_INVALID"]
    client.end(upload, digest_of(data))
    assert client.done("GET", f"blobs/{digest_of(data)}", 200).body == data


def test_an_empty_closing_put_may_come_at_a_place_too(client: Client) -> None:
    upload = client.begin()
    client.append(upload, DATA, len(DATA))
    wrong = {"Content-Range": f"{HALF}-{len(DATA) - 1}"}
    client.refused("PUT", f"{upload}?digest={digest_of(DATA)}", 416, "BLOB_UPLOAD_INVALID", b"", wrong)
    client.end(upload, digest_of(DATA))


# --- how an upload ends ----------------------------------------------------------------------------------------------


def test_of_two_closing_puts_one_commits_and_both_are_told_so(client: Client) -> None:
    for _ in range(4):
        data, upload = secrets.token_bytes(200_000), client.begin()
        client.append(upload, data, len(data))
        with ThreadPoolExecutor(2) as pool:
            for _ in pool.map(lambda _: client.end(upload, digest_of(data)), range(2)):  # noqa: B023
                pass
        assert client.done("GET", f"blobs/{digest_of(data)}", 200).body == data


def test_a_closing_put_whose_answer_was_lost_may_be_sent_again(client: Client, algorithm: str) -> None:
    upload = client.begin()
    client.append(upload, DATA, len(DATA))
    for _ in range(3):
        client.end(upload, digest_of(DATA, algorithm))


def test_a_closed_upload_is_unknown(client: Client) -> None:
    upload = client.begin()
    client.end(upload, digest_of(DATA), DATA)
    for method, body in (("GET", None), ("PATCH", b"more"), ("DELETE", None)):
        client.refused(method, upload, 404, "BLOB_UPLOAD_UNKNOWN", body)
    client.refused("PUT", f"{upload}?digest={digest_of(b'other')}", 404, "BLOB_UPLOAD_UNKNOWN", b"")
    assert client.done("GET", f"blobs/{digest_of(DATA)}", 200).body == DATA


def test_a_closing_put_without_a_digest_leaves_the_upload_as_it_is(client: Client) -> None:
    upload = client.begin()
    client.append(upload, DATA[:HALF], HALF)
    client.refused("PUT", upload, 400, "DIGEST_INVALID", b"")
    client.refused("PUT", upload, 400, "DIGEST_INVALID", DATA[HALF:])
    assert offset_of(client, upload) == HALF
    client.end(upload, digest_of(DATA), DATA[HALF:])


@pytest.mark.parametrize("id", ["nonsense", "00000000-0000-4000-8000-000000000000", "..."])
def test_an_upload_nobody_began_is_unknown(client: Client, id: str) -> None:
    client.push(b"{}")
    for method, body in (("GET", None), ("PATCH", b"x"), ("PUT", b"x"), ("DELETE", None)):
        query = f"?digest={digest_of(b'x')}" if method == "PUT" else ""
        client.refused(method, f"blobs/uploads/{id}{query}", 404, "BLOB_UPLOAD_UNKNOWN", body)


def test_an_upload_is_known_only_in_its_own_repository(client: Client) -> None:
    upload = client.begin()
    other = client.beside()
    other.push(b"{}")
    path = f"blobs/uploads/{upload.rpartition('/')[2]}"
    other.refused("PATCH", path, 404, "BLOB_UPLOAD_UNKNOWN", b"x")
    assert offset_of(client, upload) == 0


def test_further_keys_of_a_query_change_nothing(client: Client) -> None:
    upload = client.begin("?ns=docker.io&origin=there")
    answer = client.done("PATCH", f"{upload}?_state=abc&ns=docker.io", 202, DATA)
    assert_open(answer, client.name, len(DATA))
    answer = client.done("PUT", f"{upload}?_state=abc&digest={digest_of(DATA)}", 201, b"")
    assert_kept(answer, client.name, "blobs", digest_of(DATA))


# --- going on by digest ----------------------------------------------------------------------------------------------


def test_who_asks_for_the_same_bytes_again_goes_on_where_it_was(client: Client, algorithm: str) -> None:
    data = secrets.token_bytes(2000)
    path = f"blobs/uploads/?digest={digest_of(data, algorithm)}"
    begun = client.done("POST", path, 202, b"")
    assert_open(begun, client.name, 0)
    client.append(begun["location"], data[:1000], 1000)
    again = client.done("POST", path, 202, b"")
    assert again["location"] == begun["location"]
    assert_open(again, client.name, 1000)
    client.end(again["location"], digest_of(data, algorithm), data[1000:])
    assert_kept(client.done("POST", path, 201, b""), client.name, "blobs", digest_of(data, algorithm))


def test_what_the_caller_may_read_in_the_project_needs_no_sending(client: Client, algorithm: str) -> None:
    data = secrets.token_bytes(100)
    digest = client.beside().push(data, algorithm)
    there = client.done("POST", f"blobs/uploads/?digest={digest}", 201, b"")
    assert_kept(there, client.name, "blobs", digest)
    assert client.done("GET", f"blobs/{digest}", 200).body == data


def test_what_only_others_may_read_must_be_sent(client: Client, server: RunningServer) -> None:
    data = secrets.token_bytes(100)
    new_people(server).client().push(data)
    answer = client.done("POST", f"blobs/uploads/?digest={digest_of(data)}", 202, b"")
    assert_open(answer, client.name, 0)
    assert not client.has(digest_of(data))


def test_somebody_else_gets_an_upload_of_its_own(people: People) -> None:
    first, digest = people.client("writer"), digest_of(secrets.token_bytes(9))
    path = f"blobs/uploads/?digest={digest}"
    other = people.client("maintainer", first.name)
    assert first.done("POST", path, 202, b"")["location"] != other.done("POST", path, 202, b"")["location"]


# --- whose an upload is ----------------------------------------------------------------------------------------------


def test_the_address_of_an_upload_is_the_right_to_it(people: People) -> None:
    client = people.client("writer")
    upload = client.begin()
    nobody, forged = client.by(None), client.by(f"{client.token}x")
    nobody.append(upload, DATA[:HALF], HALF)
    forged.append(upload, DATA[HALF:], len(DATA))
    assert offset_of(nobody, upload) == len(DATA)
    nobody.end(upload, digest_of(DATA))
    assert client.done("GET", f"blobs/{digest_of(DATA)}", 200).body == DATA


def test_a_token_that_ends_does_not_end_an_upload(people: People) -> None:
    name = new_name()
    people.server.call("POST", "/users", {"name": name})
    people.server.call("PUT", "/roles", {"principal": name, "project": people.project, "role": "writer"})
    short = people.server.call("POST", "/tokens", {"user": name, "expires": "1s"})["token"]
    client = people.client().by(short)
    upload = client.begin()
    time.sleep(2.1)
    client.done("GET", "tags/list", 401)
    client.append(upload, DATA, len(DATA))
    client.end(upload, digest_of(DATA))


@pytest.mark.parametrize("who", ["stranger", "reader", "maintainer"])
def test_an_upload_of_somebody_else_is_unknown(people: People, who: str) -> None:
    client = people.client("writer")
    upload = client.begin()
    other = client.by(people.tokens[who])
    for method, body in (("GET", None), ("PATCH", b"x"), ("PUT", b"x"), ("DELETE", None)):
        query = f"?digest={digest_of(b'x')}" if method == "PUT" else ""
        other.refused(method, upload + query, 404, "BLOB_UPLOAD_UNKNOWN", body)
    assert offset_of(client, upload) == 0


def test_whoever_lost_the_right_to_push_ends_no_upload(people: People) -> None:
    name = new_name()
    people.server.call("POST", "/users", {"name": name})
    people.server.call("PUT", "/roles", {"principal": name, "project": people.project, "role": "writer"})
    token = people.server.call("POST", "/tokens", {"user": name, "expires": "1h"})["token"]
    client = people.client().by(token)
    upload = client.begin()
    people.server.call("PUT", "/roles", {"principal": name, "project": people.project, "role": "reader"})
    for caller in (client, client.by(None)):
        caller.refused("PATCH", upload, 403, "DENIED", b"x")
        caller.refused("PUT", f"{upload}?digest={digest_of(b'x')}", 403, "DENIED", b"x")


# --- what outlives the server ----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_uploads_survive_kill_9_of_the_server(folder: Path, algorithm: str) -> None:
    digest = digest_of(DATA, algorithm)
    with running_server(folder) as first:
        client = Client(first, first.admin_token, new_name())
        upload = client.begin(f"?digest-algorithm={algorithm}")
        client.append(upload, DATA[:HALF], HALF)
        resumed = client.done("POST", f"blobs/uploads/?digest={digest}", 202, b"")["location"]
        client.append(resumed, DATA[:HALF], HALF)
        first.stop(signal.SIGKILL)
    with running_server(folder) as second:
        client = Client(second, first.admin_token, client.name)
        assert_open(client.done("GET", upload, 204), client.name, HALF)
        again = client.done("POST", f"blobs/uploads/?digest={digest}", 202, b"")
        assert again["location"] == resumed
        assert_open(again, client.name, HALF)
        client.append(upload, DATA[HALF:], len(DATA), f"{HALF}-{len(DATA) - 1}")
        client.end(upload, digest)
        assert ask(f"{second.url}/v2/", headers={"Authorization": f"Bearer {first.admin_token}"}).json == {}
        assert client.done("GET", f"blobs/{digest}", 200).body == DATA
