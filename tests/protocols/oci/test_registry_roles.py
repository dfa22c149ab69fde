"""Who may do what in a repository, and what those are told who may not."""

import base64
import secrets
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.image_sets import MANIFEST, Made, pushed_image
from tests.registry import Client, People, assert_open, codes, digest_of, new_name, new_people, new_user
from tests.running import RunningServer, running_server

EVERYBODY = ("anonymous", "stranger", "reader", "writer", "maintainer")
Expected = int | tuple[int, str]
UNKNOWN: dict[str, Expected] = {"anonymous": (401, "UNAUTHORIZED"), "stranger": (404, "NAME_UNKNOWN")}
READS: dict[str, Expected] = {"reader": 200, "writer": 200, "maintainer": 200}
PUSHES: dict[str, Expected] = {"reader": (403, "DENIED"), "writer": 202, "maintainer": 202}
DELETES: dict[str, Expected] = {"reader": (403, "DENIED"), "writer": (403, "DENIED"), "maintainer": 202}
CALLS: dict[str, tuple[str, str, dict[str, Expected]]] = {
    "list": ("GET", "tags/list", READS),
    "manifest": ("GET", "manifests/one", READS),
    "by digest": ("GET", "manifests/{manifest}", READS),
    "blob": ("GET", "blobs/{blob}", READS),
    "referrers": ("GET", "referrers/{manifest}", READS),
    "begin": ("POST", "blobs/uploads/", PUSHES),
    "mount": ("POST", "blobs/uploads/?mount={blob}", {**PUSHES, "writer": 201, "maintainer": 201}),
    "resume": ("POST", "blobs/uploads/?digest={blob}", {**PUSHES, "writer": 201, "maintainer": 201}),
    "post": ("POST", "blobs/uploads/?digest={x}", {**PUSHES, "writer": 201, "maintainer": 201}),
    "new tag": ("PUT", "manifests/new", {**PUSHES, "writer": 201, "maintainer": 201}),
    "same tag": ("PUT", "manifests/one", {**PUSHES, "writer": 201, "maintainer": 201}),
    "delete tag": ("DELETE", "manifests/one", DELETES),
    "delete manifest": ("DELETE", "manifests/{manifest}", DELETES),
    "delete blob": ("DELETE", "blobs/{loose}", DELETES),
    "delete nothing": ("DELETE", "manifests/missing", {**DELETES, "maintainer": (404, "MANIFEST_UNKNOWN")}),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("who", EVERYBODY)
def test_each_role_may_do_what_it_may(people: People, client: Client, who: str, call: str) -> None:
    image, loose = pushed_image(client, "one"), client.push(secrets.token_bytes(10))
    method, path, expected = CALLS[call]
    config = image.data.partition(b'"digest": "')[2].partition(b'"')[0].decode()
    body = {"post": b"x", "new tag": image.data, "same tag": image.data}.get(call)
    body = b"" if method == "POST" and body is None else body
    headers = {"Content-Type": MANIFEST} if method == "PUT" else {}
    at = path.format(manifest=image.digest, blob=config, loose=loose, x=digest_of(b"x"))
    answer = client.by(people.tokens[who]).ask(method, at, body, headers)
    wanted = {**UNKNOWN, **expected}[who]
    if isinstance(wanted, tuple):
        assert (answer.status, codes(answer)) == (wanted[0], [wanted[1]])
    else:
        assert answer.status == wanted, answer


@pytest.mark.parametrize("who", EVERYBODY)
def test_what_is_told_of_a_repository_that_is_not_there(people: People, who: str) -> None:
    client = people.client(who)
    status, code = (401, "UNAUTHORIZED") if who == "anonymous" else (404, "NAME_UNKNOWN")
    for path in ("tags/list", "manifests/one", f"blobs/{digest_of(b'')}"):
        client.refused("GET", path, status, code)
    answer = client.ask("GET", f"referrers/{digest_of(b'')}")
    assert answer.status == (status if who in UNKNOWN else 200)


def test_a_writer_moves_no_tag_but_may_push_what_it_points_to(people: People, client: Client) -> None:
    image, writer = pushed_image(client, "one"), client.by(people.tokens["writer"])
    other = pushed_image(writer, "two")
    writer.refused("PUT", "manifests/one", 403, "DENIED", other.data, {"Content-Type": MANIFEST})
    path = f"manifests/{other.digest}?tag=new&tag=one"
    writer.refused("PUT", path, 403, "DENIED", other.data, {"Content-Type": MANIFEST})
    assert client.tags() == ["one", "two"]
    writer.put("one", image.data, MANIFEST)
    writer.put(f"{image.digest}?tag=one", image.data, MANIFEST)
    assert client.done("GET", "manifests/one", 200).body == image.data
    client.put("one", other.data, MANIFEST)
    assert client.done("GET", "manifests/one", 200).body == other.data


def test_a_manifest_a_writer_may_not_tag_is_not_kept(people: People, client: Client) -> None:
    image, writer = pushed_image(client, "one"), client.by(people.tokens["writer"])
    data = image.data + b"\n"
    writer.refused("PUT", "manifests/one", 403, "DENIED", data, {"Content-Type": MANIFEST})
    client.refused("GET", f"manifests/{digest_of(data)}", 404, "MANIFEST_UNKNOWN")


def test_rights_come_before_the_body_is_read(people: People, client: Client) -> None:
    pushed_image(client, "one")
    headers = {"Content-Type": MANIFEST, "Content-Length": str(5 << 20)}
    client.by(people.tokens["reader"]).refused("PUT", "manifests/one", 403, "DENIED", None, headers)
    client.by(people.tokens["stranger"]).refused("PUT", "manifests/one", 404, "NAME_UNKNOWN", None, headers)
    client.by(None).refused("PUT", "manifests/one", 401, "UNAUTHORIZED", None, headers)


# --- mounting --------------------------------------------------------------------------------------------------------


@pytest.fixture
def hidden(server: RunningServer) -> Client:
    """A repository of a project the others have no role in."""
    return new_people(server).client()


@pytest.mark.parametrize("named", [True, False], ids=["from", "anywhere"])
def test_what_the_caller_may_not_read_is_not_mounted(
    client: Client, hidden: Client, named: bool, algorithm: str
) -> None:
    digest = hidden.push(secrets.token_bytes(100), algorithm)
    query = f"?mount={digest}" + (f"&from={hidden.name}" if named else "")
    answer = client.done("POST", f"blobs/uploads/{query}", 202, b"")
    assert_open(answer, client.name, 0)
    assert not client.has(digest)


def test_a_mount_from_a_repository_that_has_it_not_begins_an_upload(client: Client) -> None:
    digest = client.beside().push(secrets.token_bytes(100))
    other = client.beside()
    other.push(b"{}")
    client.done("POST", f"blobs/uploads/?mount={digest}&from={other.name}", 202, b"")
    assert not client.has(digest)


def test_what_the_caller_may_read_in_another_project_is_mounted_from_there(
    server: RunningServer, people: People, hidden: Client
) -> None:
    name = new_name()
    server.call("POST", "/users", {"name": name})
    for project, role in ((people.project, "writer"), (hidden.name.partition("/")[0], "reader")):
        server.call("PUT", "/roles", {"principal": name, "project": project, "role": role})
    token = server.call("POST", "/tokens", {"user": name, "expires": "1h"})["token"]
    digest = hidden.push(secrets.token_bytes(100))
    client = people.client().by(token)
    client.done("POST", f"blobs/uploads/?mount={digest}&from={hidden.name}", 201, b"")
    assert client.has(digest)


@pytest.mark.parametrize("text", [b"a\0b:c", b"a:\0", b"\0:\0", "ü:ö".encode(), b"a" * 300 + b":b", b"a'--:b"])
def test_odd_names_and_passwords_are_only_wrong(people: People, text: bytes) -> None:
    headers = {"Authorization": f"Basic {base64.b64encode(text).decode()}"}
    client = people.client("anonymous")
    for path in ("/v2/", "tags/list", "/v2/token"):
        client.refused("GET", path, 401, "UNAUTHORIZED", headers=headers)


# --- names -----------------------------------------------------------------------------------------------------------


def test_default_in_front_is_the_same_repository(server: RunningServer) -> None:
    client = Client(server, server.admin_token, new_name())
    image = pushed_image(client, "one")
    longer = client.at(f"default/{client.name}")
    assert longer.done("GET", "manifests/one", 200).body == image.data
    assert longer.tags() == ["one"]
    pushed_image(longer, "two")
    assert client.tags() == ["one", "two"]


def test_the_catalog_lists_what_the_caller_may_read(people: People, hidden: Client) -> None:
    names = sorted(f"{people.project}/list-{number}" for number in range(5))
    for name in names:
        pushed_image(people.client().at(name))
    pushed_image(hidden)
    reader = people.client("reader")
    start = f"{people.project}/list-"
    found = reader.done("GET", f"/v2/_catalog?n=3&last={start}", 200)
    assert found.json == {"repositories": names[:3]}
    assert found["link"].startswith("</v2/_catalog?n=3&last=")
    behind = reader.done("GET", found["link"].partition(">")[0].lstrip("<"), 200)
    assert behind.json["repositories"][:2] == names[3:]
    assert hidden.name not in reader.done("GET", "/v2/_catalog", 200).json["repositories"]
    listed = hidden.by(people.tokens["stranger"]).done("GET", "/v2/_catalog", 200).json["repositories"]
    assert not {hidden.name, *names} & set(listed)
    hidden.by(None).refused("GET", "/v2/_catalog", 401, "UNAUTHORIZED")


# --- public ones ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Made]]:
    """A public repository and what is in it; the client is a maintainer's.

    Made so in the catalog of a server that is down, as no call did it when this was written.
    """
    folder = tmp_path_factory.mktemp("public") / "data"
    with running_server(folder) as first:
        client = new_people(first).client()
        image = pushed_image(client, "one")
        first.stop(signal.SIGTERM)
    with closing(sqlite3.connect(folder / "catalog.db")) as catalog, catalog:
        catalog.execute("UPDATE repository SET public = 1 WHERE path = ?", (client.name,))
        assert catalog.execute("SELECT count(*) FROM repository WHERE public = 1").fetchone() == (1,)
    with running_server(folder) as second:
        yield Client(second, client.token, client.name), image


@pytest.mark.parametrize("who", ["nobody", "stranger", "nobody's token"])
def test_a_public_repository_is_read_by_everybody(opened: tuple[Client, Made], who: str) -> None:
    maintainer, image = opened
    token = {"stranger": new_user(maintainer.server)}.get(who)
    if who == "nobody's token":
        token = maintainer.by(None).done("GET", "/v2/token", 200).json["token"]
    client = maintainer.by(token)
    config = image.data.partition(b'"digest": "')[2].partition(b'"')[0].decode()
    for method in ("GET", "HEAD"):
        for path in ("manifests/one", f"manifests/{image.digest}", f"blobs/{config}", "tags/list"):
            client.done(method, path, 200)
    assert client.referrers(image.digest) == []
    client.refused("GET", "manifests/two", 404, "MANIFEST_UNKNOWN")


def test_a_public_repository_is_written_by_nobody_else(opened: tuple[Client, Made]) -> None:
    maintainer, image = opened
    for token, status, code in ((None, 401, "UNAUTHORIZED"), (new_user(maintainer.server), 403, "DENIED")):
        client = maintainer.by(token)
        client.refused("POST", "blobs/uploads/", status, code, b"")
        client.refused("PUT", "manifests/new", status, code, image.data, {"Content-Type": MANIFEST})
        client.refused("DELETE", "manifests/one", status, code)
    maintainer.by(None).refused("GET", "/v2/", 401, "UNAUTHORIZED")


def test_what_is_public_is_mounted_by_whoever_may_push_elsewhere(opened: tuple[Client, Made]) -> None:
    maintainer, image = opened
    config = image.data.partition(b'"digest": "')[2].partition(b'"')[0].decode()
    client = new_people(maintainer.server).client("writer")
    client.done("POST", f"blobs/uploads/?mount={config}&from={maintainer.name}", 201, b"")
    assert client.has(config)
