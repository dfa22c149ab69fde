"""What belongs to one user, group or job stays theirs, whatever names have in common; links and labels besides."""

import hashlib
import json
import secrets
import urllib.error
import urllib.request
from urllib.parse import quote

import pytest
import requests

from tests.running import RunningServer


def status(server: RunningServer, method: str, path: str, token: str, body: object = None) -> int:
    """The status of a call to `/api/v1`."""
    try:
        server.call(method, path, body, token=token)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    return 200


def put(url: str, data: bytes) -> None:
    """As the clients do, without a Content-Type: the signature covers that there is none."""
    assert requests.put(url, data=data, timeout=30).status_code in (200, 201)


def upload(server: RunningServer, token: str, name: str, data: bytes, route: str = "upload") -> None:
    """Put `data` as the PROMINENCE data API does."""
    member = "name" if route == "output" else "filename"
    request = urllib.request.Request(
        f"{server.url}/data/{route}",
        json.dumps({member: name}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        put(json.loads(answer.read())["url"], data)


def names(server: RunningServer, prefix: str, token: str) -> int:
    return status(server, "GET", f"/objects/prominence-data?prefix={quote(prefix)}", token)


def test_a_name_that_begins_like_anothers_lists_nothing_of_it(server: RunningServer) -> None:
    short = f"bo{secrets.token_hex(3)}"
    owner, nosy = server.user(short + "b", groups=(short + "x",)), server.user(short, groups=(short,))
    upload(server, owner, "secret.sif", b"secret")
    upload(server, owner, f"{short}x/secret", b"secret")
    upload(server, nosy, "own", b"own")
    assert names(server, f"uploads/{short}", nosy) == 403
    assert names(server, f"uploads/{short}b/", nosy) == 403
    assert names(server, f"uploads/{short}/", nosy) == 200
    assert names(server, f"uploads/{short}b/", owner) == 200


def test_a_job_whose_name_begins_like_anothers_lists_nothing_of_it(server: RunningServer) -> None:
    job = f"j{secrets.token_hex(3)}"
    first, second = server.user(f"u{job}", job=job + "0"), server.user(f"v{job}", job=job)
    upload(server, first, "o", b"secret", "output")
    assert names(server, f"scratch/{job}", second) == 403
    assert names(server, f"scratch/{job}0/", second) == 403
    assert names(server, f"scratch/{job}0/", first) == 200


def test_a_job_belongs_to_whoever_wrote_first_also_after_they_are_gone(server: RunningServer) -> None:
    job = f"j{secrets.token_hex(4)}"
    upload(server, server.user(f"a{job}", job=job), "o", b"secret", "output")
    thief = server.user(f"b{job}", job=job)
    with pytest.raises(urllib.error.HTTPError):
        upload(server, thief, "o", b"mine", "output")
    server.call("DELETE", f"/users/a{job}")
    assert status(server, "GET", f"/inspect/prominence-data/scratch/{job}/o", thief) == 403


def test_a_link_serves_the_object_of_the_project_it_was_made_for(server: RunningServer) -> None:
    project = f"p{secrets.token_hex(4)}"
    server.call("POST", "/projects", {"name": project})
    server.call("PUT", "/roles", {"principal": "admin", "project": project, "role": "owner"})
    bucket = f"b{secrets.token_hex(4)}"
    for home in ("default", project):
        server.call("PUT", f"/buckets/{home}:{bucket}", {})
        request = urllib.request.Request(
            f"{server.url}/api/v1/objects/{home}:{bucket}/a", home.encode(),
            {"Authorization": f"Bearer {server.admin_token}"}, method="PUT",
        )  # fmt: skip
        urllib.request.urlopen(request, timeout=30).close()
    for home in ("default", project):
        link = server.call("POST", "/links", {"ref": f"object:{home}:{bucket}/a"})
        with urllib.request.urlopen(link["url"], timeout=30) as answer:
            assert answer.read() == home.encode()


def test_who_was_told_of_bytes_may_not_take_them_once_the_right_is_gone(server: RunningServer) -> None:
    bucket, data = server.bucket(f"b{secrets.token_hex(4)}"), secrets.token_bytes(100)
    request = urllib.request.Request(
        f"{server.url}/api/v1/objects/{bucket}/a", data, {"Authorization": f"Bearer {server.admin_token}"}, method="PUT"
    )
    urllib.request.urlopen(request, timeout=30).close()
    name = f"d{secrets.token_hex(4)}"
    reader = server.user(name, role="reader")
    digest = hashlib.sha256(data).hexdigest()
    told = urllib.request.Request(
        f"{server.url}/api/v1/blobs/{digest}", headers={"Authorization": f"Bearer {reader}"}, method="HEAD"
    )
    urllib.request.urlopen(told, timeout=30).close()
    server.call("DELETE", f"/roles/default/{name}")
    upload(server, reader, "first", b"claims the area")
    wish = {"to": f"prominence-data/uploads/{name}/loot", "sha256": digest}
    assert "url" in server.call("POST", "/uploads", wish, token=reader)  # the bytes must be sent


@pytest.mark.parametrize(
    "labels", [{"prominence_sha256": "0" * 64}, {"a": "x\r\nSet-Cookie: y"}, {"a b": "x"}, {"a": "x" * 3000}, {"": "x"}]
)
def test_labels_that_could_not_be_headers_are_refused(server: RunningServer, labels: dict[str, str]) -> None:
    bucket = server.bucket(f"b{secrets.token_hex(4)}")
    wish = {"to": f"{bucket}/a", "size": 1, "labels": labels}
    assert status(server, "POST", "/uploads", server.admin_token, wish) in (400, 413)
