"""Resumable uploads: parts in any order, resuming, what a wrong byte costs, who may continue, what is already here."""

import hashlib
import os
import secrets
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from entrepot import shapes
from tests.asking import ask
from tests.calling import Api, admin, bucket, content_digest, problem, sha256, user
from tests.running import RunningServer, running_server

MIB = 1 << 20


@pytest.fixture(scope="module")
def data() -> bytes:
    """Bytes nobody else stores; three parts of a MiB and a little more."""
    return os.urandom(3 * MIB + 77)


@pytest.fixture
def box(server: RunningServer) -> str:
    return bucket(server)


@pytest.fixture
def api(server: RunningServer) -> Api:
    return admin(server)


def parts_of(data: bytes, size: int = MIB) -> list[tuple[int, bytes]]:
    return [(start, data[start : start + size]) for start in range(0, len(data), size)]


def spans(have: list[shapes.Range]) -> list[tuple[int, int]]:
    return [(one.start, one.stop) for one in have]


def test_parts_may_come_in_any_order_and_at_once(api: Api, box: str, data: bytes) -> None:
    upload = api.begin(f"{box}/a", size=len(data))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda part: api.part(upload, *part), reversed(parts_of(data, 500_000))))
    have = api.state(upload).have
    assert [(one.start, one.sha256) for one in have] == [(at, sha256(part)) for at, part in parts_of(data, 500_000)]
    stored = api.commit(upload, len(data), sha256(data))
    assert (stored.size, stored.digest) == (len(data), f"sha256:{sha256(data)}")
    assert api.get(f"{box}/a") == data


def test_beginning_again_gives_the_open_upload_and_what_it_has(api: Api, box: str, data: bytes) -> None:
    wish: dict[str, Any] = {"size": len(data), "edges": sha256(b"edges")}
    upload = api.begin(f"{box}/a", **wish)
    api.part(upload, MIB, data[MIB : 2 * MIB])
    again = api.begin(f"{box}/a", 200, **wish)
    assert again.url == upload.url
    assert spans(again.have) == [(MIB, 2 * MIB)]
    assert api.begin(f"{box}/a", size=len(data), edges=sha256(b"other")).url != upload.url
    assert api.begin(f"{box}/a", size=len(data) + 1, edges=wish["edges"]).url != upload.url
    assert api.begin(f"{box}/b", **wish).url != upload.url


def test_somebody_else_does_not_get_my_open_upload(server: RunningServer, api: Api, box: str) -> None:
    mine = api.begin(f"{box}/a", size=10)
    assert user(server, "writer")[1].begin(f"{box}/a", size=10).url != mine.url


def test_an_upload_survives_kill_9_of_the_server(tmp_path: Path, data: bytes) -> None:
    with running_server(tmp_path / "data") as first:
        api = admin(first)
        api.done("PUT", "/buckets/box", {}, 201)
        upload = api.begin("box/a", size=len(data))
        api.part(upload, 0, data[:MIB])
        api.part(upload, 2 * MIB, data[2 * MIB :])
        first.stop(signal.SIGKILL)
    with running_server(tmp_path / "data") as second:
        api = Api(second, first.admin_token)
        again = api.begin("box/a", 200, size=len(data))
        assert again.url.rpartition("/")[2] == upload.url.rpartition("/")[2]
        assert spans(again.have) == [(0, MIB), (2 * MIB, len(data))]
        api.part(again, MIB, data[MIB : 2 * MIB])
        assert api.commit(again, len(data)).digest == f"sha256:{sha256(data)}"
        assert api.get("box/a") == data
        assert list((tmp_path / "data" / "staging").iterdir()) == []


def test_a_part_with_a_wrong_content_digest_changes_nothing(api: Api, box: str, data: bytes) -> None:
    upload = api.begin(f"{box}/a", size=len(data))
    api.part(upload, 0, data[:MIB])
    answer = api.part(upload, MIB, data[MIB : 2 * MIB], 422, **{"Content-Digest": content_digest(b"other")})
    assert problem(answer).code == "checksum"
    assert spans(api.state(upload).have) == [(0, MIB)]
    for offset, part in parts_of(data)[1:]:
        api.part(upload, offset, part)
    assert api.commit(upload, len(data)).digest == f"sha256:{sha256(data)}"


def test_over_an_acknowledged_part_wrong_bytes_take_it_back_and_the_right_ones_mend_it(
    api: Api, box: str, data: bytes
) -> None:
    upload = api.begin(f"{box}/a", size=2 * MIB)
    api.part(upload, 0, data[:MIB])
    api.part(upload, MIB, data[MIB : 2 * MIB])
    api.part(upload, MIB, bytes(MIB), 422, **{"Content-Digest": content_digest(b"other")})
    assert spans(api.state(upload).have) == [(0, MIB)], "bytes that were written over are not claimed to be here"
    assert api.refused("POST", f"{upload.url}/commit", {"size": 2 * MIB}).status == 416
    api.part(upload, MIB, data[MIB : 2 * MIB])
    assert api.commit(upload, 2 * MIB).digest == f"sha256:{sha256(data[: 2 * MIB])}"


def test_a_part_sent_again_with_other_bytes_counts_as_sent_last(api: Api, box: str, data: bytes) -> None:
    upload = api.begin(f"{box}/a", size=len(data))
    for offset, part in parts_of(data):
        api.part(upload, offset, part)
    new = os.urandom(MIB)
    api.part(upload, MIB, new)
    api.part(upload, MIB // 2, new[: MIB // 2])
    assert spans(api.state(upload).have) == [
        (MIB // 2, MIB), (MIB, 2 * MIB), (2 * MIB, 3 * MIB), (3 * MIB, len(data))
    ]  # fmt: skip
    api.part(upload, 0, data[: MIB // 2])
    wanted = data[: MIB // 2] + new[: MIB // 2] + new + data[2 * MIB :]
    assert api.commit(upload, len(data)).digest == f"sha256:{sha256(wanted)}"
    assert api.get(f"{box}/a") == wanted


def test_a_wrong_sha256_at_the_end_is_422_and_all_is_gone(api: Api, box: str) -> None:
    upload = api.begin(f"{box}/a", size=5)
    api.part(upload, 0, b"12345")
    found = api.refused("POST", f"{upload.url}/commit", {"size": 5, "sha256": sha256(b"54321")})
    assert (found.status, found.code) == (422, "checksum")
    assert sha256(b"12345") in found.message
    assert sha256(b"54321") in found.message
    assert api.refused("GET", upload.url).status == 404
    assert api.refused("GET", f"/objects/{box}/a").status == 404


def test_a_sha256_promised_at_the_beginning_holds_at_the_end(api: Api, box: str) -> None:
    upload = api.begin(f"{box}/a", size=5, sha256=sha256(secrets.token_bytes(9)))
    api.part(upload, 0, b"12345")
    assert api.refused("POST", f"{upload.url}/commit", {"size": 5, "sha256": sha256(b"12345")}).status == 422
    assert api.refused("GET", upload.url).status == 404


def test_a_commit_that_comes_too_early_is_416_and_the_upload_stays_open(api: Api, box: str) -> None:
    upload = api.begin(f"{box}/a", size=10)
    api.part(upload, 0, b"12345")
    api.part(upload, 7, b"890")
    for size in (10, 7, 4, 0):
        assert api.refused("POST", f"{upload.url}/commit", {"size": size}).status == 416
    assert api.state(upload).state == "open"
    api.part(upload, 5, b"67")
    assert api.commit(upload, 10).size == 10


def test_a_commit_sent_twice_gets_the_same_answer(api: Api, box: str) -> None:
    upload = api.begin(f"{box}/a", size=5)
    api.part(upload, 0, b"12345")
    first = api.commit(upload, 5)
    assert api.commit(upload, 5) == first
    assert api.state(upload).object == first
    assert len(api.done("GET", f"/objects/{box}").objects) == 1


def test_of_many_commits_at_once_all_tell_of_one_object(api: Api, box: str, data: bytes) -> None:
    upload = api.begin(f"{box}/a", size=len(data))
    api.part(upload, 0, data)
    with ThreadPoolExecutor(6) as pool:
        ask = lambda _: api.ask("POST", f"{upload.url}/commit", {"size": len(data)})  # noqa: E731
        answers = list(pool.map(ask, range(6)))
    assert {answer.status for answer in answers} <= {201, 202}
    assert 201 in {answer.status for answer in answers}
    assert {str(answer.json["object"]) for answer in answers if answer.status == 201} == {
        str(api.ask("GET", upload.url).json["object"])
    }
    assert api.get(f"{box}/a") == data


def test_a_finished_or_discarded_upload_takes_no_part(api: Api, box: str) -> None:
    upload = api.begin(f"{box}/a", size=5)
    api.part(upload, 0, b"12345")
    api.commit(upload, 5)
    assert problem(api.part(upload, 0, b"x", 409)).code == "conflict"
    assert api.get(f"{box}/a") == b"12345"
    other = api.begin(f"{box}/b", size=5)
    api.done("DELETE", other.url, None, 204)
    api.part(other, 0, b"x", 404)
    assert api.refused("DELETE", other.url).status == 404
    assert api.refused("POST", f"{other.url}/commit", {"size": 5}).status == 404


def test_a_part_on_its_way_during_the_commit_cannot_change_what_is_committed(tmp_path: Path) -> None:
    """The part's head comes before the commit, its bytes while the commit waits between fsync and rename."""
    right, wrong = os.urandom(100_000), os.urandom(100_000)
    with running_server(tmp_path / "data", environ={"ENTREPOT_FAILPOINT": "blob.synced:sleep=0.6"}) as own:
        api = admin(own)
        api.done("PUT", "/buckets/box", {}, 201)
        upload = api.begin("box/a", size=len(right))
        api.part(upload, 0, right)
        parts = urlsplit(f"{upload.url}/0")
        with socket.create_connection((parts.hostname, parts.port), 10) as late:
            late.sendall(
                f"PUT {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 100000\r\n\r\n".encode()
            )
            time.sleep(0.2)
            committing = threading.Thread(target=api.commit, args=(upload, len(right)))
            committing.start()
            time.sleep(0.2)
            late.sendall(wrong)
            answer = late.recv(1000)
            committing.join()
        assert answer.startswith(b"HTTP/1.1 409 ")
        assert api.get("box/a") == right
        assert hashlib.sha256(next((tmp_path / "data" / "blobs").glob("??/*.*")).read_bytes()).hexdigest() == sha256(
            right
        )


def test_two_writers_of_one_place_never_leave_bytes_that_are_not_their_digest(api: Api, box: str) -> None:
    one, other = os.urandom(2 * MIB), os.urandom(2 * MIB)
    for _ in range(5):
        upload = api.begin(f"{box}/{secrets.token_hex(4)}", size=len(one))
        with ThreadPoolExecutor(2) as pool:
            answers = pool.map(partial(ask, f"{upload.url}/0", "PUT"), (one, other))
        assert {answer.status for answer in answers} <= {204, 409}
        have = api.state(upload).have
        assert len(have) <= 1
        if not have:
            api.part(upload, 0, one)
            have = api.state(upload).have
        stored = api.commit(upload, len(one))
        assert stored.digest == f"sha256:{sha256(api.get(f'{box}/{stored.key}'))}" == f"sha256:{have[0].sha256}"


def test_an_upload_of_unknown_length_grows_and_an_empty_one_is_empty(api: Api, box: str, data: bytes) -> None:
    upload = api.begin(f"{box}/a")
    for offset, part in parts_of(data):
        api.part(upload, offset, part)
    assert api.commit(upload, len(data)).size == len(data)
    empty = api.begin(f"{box}/empty", size=0)
    assert api.commit(empty, 0, sha256(b"")).size == 0
    assert api.get(f"{box}/empty") == b""


@pytest.mark.parametrize(("offset", "data"), [(11, b""), (10, b"1"), (8, b"123"), (10**17, b"1")])
def test_a_part_outside_the_announced_size_is_416(api: Api, box: str, offset: int, data: bytes) -> None:
    upload = api.begin(f"{box}/a", size=10)
    assert problem(api.part(upload, offset, data, 416)).code == "usage"
    assert api.state(upload).have == []


@pytest.mark.parametrize("size", [-1, (8 << 40) + 1, 10**30])
def test_a_size_no_upload_can_have_is_refused(api: Api, box: str, size: int) -> None:
    assert api.refused("POST", "/uploads", {"to": f"{box}/a", "size": size}).status in (400, 416)


@pytest.fixture
def small(server: RunningServer) -> str:
    """A project of 1000 bytes that admin owns, and a bucket in it."""
    api, name = admin(server), f"small-{secrets.token_hex(4)}"
    api.done("POST", "/projects", {"name": name, "quota": 1000}, 201)
    api.done("PUT", "/roles", {"principal": "admin", "project": name, "role": "owner"})
    api.done("PUT", f"/buckets/{name}:box", {}, 201)
    return name


def project(api: Api, name: str) -> shapes.ProjectShape:
    found: list[shapes.ProjectShape] = api.done("GET", "/projects")
    return next(one for one in found if one.name == name)


def test_what_does_not_fit_the_quota_is_refused_before_a_byte(api: Api, small: str) -> None:
    found = api.refused("POST", "/uploads", {"to": f"{small}:box/a", "size": 1001})
    assert (found.status, found.code) == (413, "limit")
    first = api.begin(f"{small}:box/a", size=600)
    assert api.refused("POST", "/uploads", {"to": f"{small}:box/b", "size": 600}).status == 413
    assert project(api, small).reserved == 600
    api.done("DELETE", first.url, None, 204)
    assert project(api, small).reserved == 0
    again = api.begin(f"{small}:box/b", size=600)
    api.part(again, 0, bytes(600))
    api.commit(again, 600)
    assert (project(api, small).used, project(api, small).reserved) == (600, 0)


def test_an_upload_of_unknown_length_stops_at_the_quota(api: Api, small: str) -> None:
    upload = api.begin(f"{small}:box/a")
    assert problem(api.part(upload, 0, bytes(1001), 413)).code == "limit"
    assert project(api, small).used == 0


def test_if_absent_refuses_to_replace(api: Api, box: str) -> None:
    upload = api.begin(f"{box}/a", size=3, if_absent=True)
    api.part(upload, 0, b"new")
    api.put(f"{box}/a", b"was first")
    assert api.refused("POST", f"{upload.url}/commit", {"size": 3}).status == 412
    assert api.get(f"{box}/a") == b"was first"
    wish = {"to": f"{box}/a", "sha256": sha256(b"was first"), "if_absent": True}
    assert api.refused("POST", "/uploads", wish).status == 412


def test_a_writer_may_create_and_not_overwrite(server: RunningServer, api: Api, box: str) -> None:
    _, writer = user(server, "writer")
    upload = writer.begin(f"{box}/a", size=3)
    writer.part(upload, 0, b"new")
    api.put(f"{box}/a", b"was first")
    assert api.refused("POST", f"{upload.url}/commit", {"size": 3}).status == 403
    assert writer.refused("PUT", f"/objects/{box}/a", b"other").status == 403
    assert api.get(f"{box}/a") == b"was first"


def test_whose_role_is_gone_is_refused_at_the_next_request(server: RunningServer, api: Api, box: str) -> None:
    name, writer = user(server, "writer")
    upload = writer.begin(f"{box}/a", size=6)
    writer.part(upload, 0, b"abc")
    api.done("DELETE", f"/roles/default/{name}", None, 204)
    writer.part(upload, 3, b"def", 404)
    assert api.refused("POST", f"{upload.url}/commit", {"size": 6}).status == 404
    api.done("PUT", "/roles", {"principal": name, "project": "default", "role": "reader"})
    writer.part(upload, 3, b"def", 403)
    api.done("PUT", f"/users/{name}", {"disabled": True})
    writer.part(upload, 3, b"def", 401)
    api.done("PUT", f"/users/{name}", {"disabled": False})
    api.done("PUT", "/roles", {"principal": name, "project": "default", "role": "writer"})
    writer.part(upload, 3, b"def")
    assert writer.commit(upload, 6).size == 6


def test_whose_token_expired_or_was_revoked_goes_on(server: RunningServer, box: str) -> None:
    name, _ = user(server, "writer")
    short = Api(server, admin(server).done("POST", "/tokens", {"user": name, "expires": "2s"}, 201).token)
    upload = short.begin(f"{box}/a", size=6)
    short.part(upload, 0, b"abc")
    time.sleep(2.1)
    assert short.refused("GET", "/me").status == 401
    short.part(upload, 3, b"def")
    assert short.commit(upload, 6).size == 6


def test_a_removed_user_continues_nothing_and_a_namesake_does_not_inherit(
    server: RunningServer, api: Api, box: str
) -> None:
    name, writer = user(server, "writer")
    upload = writer.begin(f"{box}/a", size=6)
    api.done("DELETE", f"/users/{name}", None, 204)
    writer.part(upload, 0, b"abc", 401)
    del server.tokens[name]
    server.user(name, role="writer")
    writer.part(upload, 0, b"abc", 401)
    assert writer.refused("GET", "/me").status == 401


def test_an_upload_url_is_the_right_and_nothing_like_it_is(server: RunningServer, api: Api, box: str) -> None:
    upload = api.begin(f"{box}/a", size=3)
    for other in ("0" * 32, upload.url.rpartition("/")[2][:-1], upload.url.rpartition("/")[2].upper() + "x", "%2e%2e"):
        assert Api(server).refused("GET", f"/uploads/{other}").status == 404
    assert Api(server, "no.valid.token").ask("GET", upload.url).status == 200, "a token beside it is not looked at"


def test_an_expired_object_is_gone_and_its_room_free(tmp_path: Path) -> None:
    environ = {"ENTREPOT_COLLECT_SECONDS": "0.3"}
    with running_server(tmp_path / "data", environ=environ) as own:
        api = admin(own)
        api.done("PUT", "/buckets/box", {}, 201)
        upload = api.begin("box/a", size=3, expires="1s")
        api.part(upload, 0, b"abc")
        assert api.commit(upload, 3).expires is not None
        api.done("PUT", "/objects/box/b?expires=1s", b"defg", 201)
        api.done("PUT", "/objects/box/c?expires=1d", b"hi", 201)
        time.sleep(1.1)
        assert api.refused("GET", "/objects/box/a").status == 404
        assert api.refused("GET", "/objects/box/b").status == 404
        for _ in range(100):
            if project(api, "default").used == 2:
                break
            time.sleep(0.1)
        assert [one.key for one in api.done("GET", "/objects/box").objects] == ["c"]
        assert project(api, "default").used == 2


@pytest.mark.parametrize("expires", ["0", "-1", "1y", "soon", "1.5h", "9999999999"])
def test_what_is_no_duration_is_refused(api: Api, box: str, expires: str) -> None:
    assert api.refused("POST", "/uploads", {"to": f"{box}/a", "expires": expires}).status == 400
    assert api.refused("PUT", f"/objects/{box}/a?expires={expires}", b"").status == 400
