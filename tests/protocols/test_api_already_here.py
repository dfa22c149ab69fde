"""Bytes that are already here are not sent again: told only to those who may read them."""

import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from entrepot import shapes
from tests.calling import Api, admin, bucket, sha256, user
from tests.running import RunningServer

MIB = 1 << 20


@pytest.fixture
def box(server: RunningServer) -> str:
    return bucket(server)


@pytest.fixture
def api(server: RunningServer) -> Api:
    return admin(server)


@pytest.fixture
def elsewhere(server: RunningServer) -> str:
    """A bucket of a project that admin alone is in."""
    api, name = admin(server), f"else-{secrets.token_hex(4)}"
    api.done("POST", "/projects", {"name": name}, 201)
    api.done("PUT", "/roles", {"principal": "admin", "project": name, "role": "owner"})
    api.done("PUT", f"/buckets/{name}:box", {}, 201)
    return f"{name}:box"


def test_bytes_the_caller_may_read_are_not_sent_again(server: RunningServer, api: Api, box: str) -> None:
    data = secrets.token_bytes(40)
    api.put(f"{box}/a", data)
    wish = {"to": f"{box}/b", "sha256": sha256(data), "size": 40, "type": "text/plain", "labels": {"a": "b"}}
    found = api.done("POST", "/uploads", wish)
    assert isinstance(found, shapes.Committed)
    assert (found.sent, found.object.key, found.object.type, found.object.labels) == (
        False, "b", "text/plain", {"a": "b"}
    )  # fmt: skip
    assert api.get(f"{box}/b") == data
    assert api.begin(f"{box}/c", sha256=sha256(data), size=41).have == [], "another size is not these bytes"


def test_bytes_only_others_may_read_must_be_sent(server: RunningServer, api: Api, elsewhere: str) -> None:
    data = secrets.token_bytes(40)
    api.put(f"{elsewhere}/a", data)
    _, other = user(server, "writer")
    mine = bucket(server)
    upload = other.begin(f"{mine}/a", sha256=sha256(data), size=40)
    assert not upload.maybe
    other.part(upload, 0, data)
    assert other.commit(upload, 40, sha256(data)).size == 40
    assert isinstance(other.done("POST", "/uploads", {"to": f"{mine}/b", "sha256": sha256(data)}), shapes.Committed)


def test_maybe_is_said_by_edges_alone_and_only_of_bytes_the_caller_may_read(
    server: RunningServer, api: Api, box: str
) -> None:
    size, seed = 64 << 20, secrets.token_bytes(16)
    upload = api.begin(f"{box}/large", size=size)
    with ThreadPoolExecutor(2) as pool:
        first = seed + bytes((16 << 20) - 16)
        list(pool.map(lambda n: api.part(upload, n << 24, first if n == 0 else bytes(16 << 20)), range(4)))
    api.commit(upload, size)
    edges = sha256(first[:MIB] + bytes(MIB))
    assert api.begin(f"{box}/again", size=size, edges=edges).maybe
    assert not api.begin(f"{box}/again", size=size + 1, edges=edges).maybe
    assert not api.begin(f"{box}/again", size=size, edges=sha256(b"x")).maybe
    tag = secrets.token_hex(4)
    name, stranger = user(server)
    api.done("POST", "/projects", {"name": tag}, 201)
    api.done("PUT", "/roles", {"principal": name, "project": tag, "role": "owner"})
    stranger.done("PUT", f"/buckets/{tag}:box", {}, 201)
    assert not stranger.begin(f"{tag}:box/a", size=size, edges=edges).maybe
