"""URLs of files: plain where all may read, else signed for an hour; whoever has one needs no header."""

import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from entrepot.errors import Denied, Unauthenticated
from entrepot.model import Digest
from entrepot.services.file_links import SIGNED_SECONDS
from tests.faults.inside import opened_inside
from tests.registry import Client, People, digest_of, new_user
from tests.running import RunningServer, running_server
from tests.sifs import DEFINITION, Thing, partition, sif_of
from tests.views import (
    code_of,
    manifest_of,
    new_sif,
    only_url,
    path_of,
    publish,
    push_file,
    see,
    seen,
)


@pytest.fixture
def content(client: Client) -> bytes:
    """Of `latest` in a repository that is its project's alone."""
    data = new_sif(definition="Bootstrap: library\nFrom: alpine\n")
    push_file(client, data)
    return data


def test_a_url_of_a_private_file_opens_it_for_whoever_has_it(client: Client, content: bytes, people: People) -> None:
    url = only_url(client.by(people.tokens["reader"]))
    assert urlsplit(url).query
    for token in (None, people.tokens["stranger"]):
        answer = see(client.server, url, token)
        assert (answer.status, answer.body) == (200, content)
        assert answer["content-length"] == str(len(content))
    headed = see(client.server, url, method="HEAD")
    assert (headed.status, headed.body, headed["content-length"]) == (200, b"", str(len(content)))


def test_a_url_of_a_public_file_is_plain_and_has_all_of_apptainers_needs(client: Client, content: bytes) -> None:
    publish(client)
    url = only_url(client)
    assert not urlsplit(url).query
    answers = [see(client.server, url, method=method) for method in ("HEAD", "GET", "GET")]
    assert {answer.status for answer in answers} == {200}
    assert answers[1].body == content
    kept = {(answer["etag"], answer["last-modified"], answer["accept-ranges"]) for answer in answers}
    assert len(kept) == 1
    assert answers[1]["content-type"] == "application/octet-stream"
    assert answers[1]["x-content-type-options"] == "nosniff"
    assert answers[1]["content-disposition"].startswith("attachment")


def test_the_manifest_gives_a_plain_url_again_only_while_all_may_read(client: Client, content: bytes) -> None:
    publish(client)
    plain = only_url(client)
    assert see(client.server, plain).body == content
    publish(client, public=False)
    assert urlsplit(only_url(client)).query
    answer = see(client.server, plain)
    assert (answer.status, code_of(answer)) == (401, "UNAUTHORIZED")
    assert see(client.server, plain, client.token).body == content


@pytest.mark.parametrize("what", ["sig", "key", "until", "path", "folder", "host"])
def test_a_url_that_was_changed_opens_nothing(client: Client, content: bytes, what: str) -> None:
    url = only_url(client)
    fields = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    other = new_sif()
    push_file(client, other, "other")
    path, query = urlsplit(url).path, urlsplit(url).query
    headers = {}
    match what:
        case "sig":
            query = query.replace(fields["sig"], fields["sig"][:-1] + ("0" if fields["sig"][-1] != "0" else "1"))
        case "key":
            query = query.replace(fields["key"], fields["key"][:-1] + ("A" if fields["key"][-1] != "A" else "B"))
        case "until":
            query = query.replace(fields["until"], str(int(fields["until"]) + 3600))
        case "path":
            path = urlsplit(only_url(client, "other")).path
        case "folder":
            path = path.replace(f"/{client.name}/", "/elsewhere/")
        case _:
            headers = {"Host": "elsewhere.example"}
    answer = see(client.server, f"{path}?{query}", headers=headers)
    if what == "host":  # http.client wrote the other one too: two Hosts are no request
        assert answer.status == 400
    else:
        assert (answer.status, code_of(answer)) == (401, "UNAUTHORIZED"), answer
    assert content not in answer.body
    assert other not in answer.body


@pytest.mark.parametrize("left_out", ["sig", "key", "until"])
def test_a_url_with_a_part_of_its_signature_is_no_request(client: Client, content: bytes, left_out: str) -> None:
    parts = urlsplit(only_url(client))
    query = "&".join(one for one in parts.query.split("&") if not one.startswith(left_out))
    assert see(client.server, f"{parts.path}?{query}").status in (400, 401)
    assert content


@pytest.mark.parametrize("until", ["", "-1", "x", "1e9", "99999999999999999999999999", "²", "٣"])
def test_an_end_that_is_no_time_opens_nothing(client: Client, content: bytes, until: str) -> None:
    parts = urlsplit(only_url(client))
    fields = {name: values[0] for name, values in parse_qs(parts.query).items()}
    query = parts.query.replace(f"until={fields['until']}", f"until={quote(until)}")
    answer = see(client.server, f"{parts.path}?{query}")
    assert answer.status in (400, 401), answer
    assert content not in answer.body


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_a_signed_url_is_for_nothing_but_reading(client: Client, content: bytes, method: str) -> None:
    url = only_url(client)
    assert see(client.server, url, method=method, body=b"").status == 405
    assert see(client.server, url).body == content


def test_a_signed_url_says_nothing_to_other_protocols(client: Client, content: bytes) -> None:
    query = urlsplit(only_url(client)).query
    for path in (f"/v2/{client.name}/manifests/latest", f"/registry/{client.name}/manifests/latest", "/registry/"):
        answer = see(client.server, f"{path}?{query}")
        assert answer.status in (400, 401) or answer.json == {"repositories": []} or client.name not in str(answer.json)
    assert content


def test_a_signed_url_ends_with_the_rights_of_whom_it_was_given_to(client: Client, content: bytes) -> None:
    project = client.name.partition("/")[0]
    token = new_user(client.server, project, "reader")
    name = client.server.call("GET", "/me", token=token)["name"]
    url = only_url(client.by(token))
    assert see(client.server, url).body == content
    client.server.call("DELETE", f"/roles/{project}/{name}")
    assert see(client.server, url).status == 404
    client.server.call("PUT", "/roles", {"principal": name, "project": project, "role": "reader"})
    assert see(client.server, url).body == content
    client.server.call("PUT", f"/users/{name}", {"disabled": True})
    assert see(client.server, url).status == 401


def test_a_signed_url_ends_when_the_file_is_in_no_repository_one_may_read(client: Client, content: bytes) -> None:
    url = only_url(client)
    assert see(client.server, url).body == content
    manifest = client.done("HEAD", "manifests/latest", 200)["docker-content-digest"]
    client.done("DELETE", f"manifests/{manifest}", 202)
    client.done("DELETE", f"blobs/{digest_of(content)}", 202)
    assert see(client.server, url).status == 404
    assert see(client.server, url, client.token).status == 404


async def test_a_signed_url_ends_after_an_hour(tmp_path: Path) -> None:
    async with opened_inside(tmp_path / "data") as inside:
        links, data = inside.server.registry.links, b"some bytes"
        await inside.put("a", data)
        digest = Digest(digest_of(data)[7:])
        made = await links.url(inside.principal, digest, f"x/{digest.hex}", "http", "host:1")
        path = urlsplit(made).path
        query = {name: values[0] for name, values in parse_qs(urlsplit(made).query).items()}
        for seconds, ok in ((0, True), (SIGNED_SECONDS - 5, True), (SIGNED_SECONDS + 5, False)):
            later = replace(links, now=lambda seconds=seconds: time.time() + seconds)  # type: ignore[misc]
            if ok:
                found = await later.principal(query, "host:1", path)
                assert found
                assert found.name == inside.principal.name
            else:
                with pytest.raises(Denied):
                    await later.principal(query, "host:1", path)
        with pytest.raises(Unauthenticated):
            await links.principal(query, "other:1", path)
        assert SIGNED_SECONDS == 3600


def test_parts_of_a_file(client: Client, content: bytes) -> None:
    url, size = only_url(client), len(content)
    for text, expected in (
        ("bytes=0-9", (0, 10)), (f"bytes=10-{size + 100}", (10, size)), ("bytes=5-", (5, size)),
        ("bytes=-7", (size - 7, size)),
    ):  # fmt: skip
        answer = see(client.server, url, headers={"Range": text})
        start, stop = expected
        assert (answer.status, answer.body) == (206, content[start:stop]), text
        assert answer["content-range"] == f"bytes {start}-{stop - 1}/{size}"
    beyond = see(client.server, url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status, code_of(beyond), beyond["content-range"]) == (416, "SIZE_INVALID", f"bytes */{size}")
    whole = see(client.server, url)
    same = see(client.server, url, headers={"If-None-Match": whole["etag"]})
    assert (same.status, same.body) == (304, b"")


def test_folders_of_a_file_are_not_looked_at(client: Client, content: bytes) -> None:
    publish(client)
    hex_ = digest_of(content)[7:]
    for path in (hex_, f"{hex_}.sif", f"x/{hex_}.simg", f"github.com/a/b/c/{hex_}/{hex_}.tar", f"a%20b/%C3%BC/{hex_}"):
        answer = see(client.server, f"/registry/files/{path}")
        assert (answer.status, answer.body) == (200, content), path


@pytest.mark.parametrize(
    "path",
    ["", "x", "../{hex}", "a/%2e%2e/{hex}", "a%2Fb/{hex}", "{upper}", "{hex}0", "{short}", "{hex}/", "{hex}.",
     "{hex}.a.b",
     "{hex}.averylongending"],
)  # fmt: skip
def test_what_is_no_name_of_a_file_is_not_there(client: Client, content: bytes, path: str) -> None:
    publish(client)
    hex_ = digest_of(content)[7:]
    where = path.format(hex=hex_, upper=hex_.upper(), short=hex_[:-1])
    answer = see(client.server, f"/registry/files/{where}", client.token)
    assert answer.status in (400, 404) or (path == "{hex}/" and answer.body == content), answer
    assert path == "{hex}/" or content not in answer.body


def test_a_file_one_may_not_read_answers_as_one_that_is_not_there(
    client: Client, content: bytes, people: People
) -> None:
    for who, status in (("anonymous", 401), ("stranger", 404)):
        names = digest_of(content)[7:], "0" * 64
        answers = [see(client.server, f"/registry/files/{hex_}", people.tokens[who]) for hex_ in names]
        assert {answer.status for answer in answers} == {status}
        bodies = {answer.body.replace(hex_.encode(), b"") for answer, hex_ in zip(answers, names, strict=True)}
        assert len(bodies) == 1
        assert len({tuple(name for name, _ in answer.headers) for answer in answers}) == 1


def test_a_repository_called_files_has_no_view(server: RunningServer) -> None:
    client = Client(server, new_user(server, "default", "maintainer"), "files/inner")
    push_file(client, new_sif())
    publish(client)
    for path in ("", "tags", "manifests/latest"):
        seen(client, path, 404)
    assert client.tags() == ["latest"]


def test_the_definition_file_is_plain_text(client: Client, content: bytes) -> None:
    assert content
    answer = seen(client, "manifests/latest/Singularity")
    assert answer.body == b"Bootstrap: library\nFrom: alpine\n"
    assert answer["content-type"].partition(";")[0] == "text/plain"
    assert answer["x-content-type-options"] == "nosniff"
    push_file(client, new_sif(), "without")
    assert code_of(seen(client, "manifests/without/Singularity", 404)) == "MANIFEST_UNKNOWN"
    push_file(client, b"no sif", "else", title="a.txt")
    assert code_of(seen(client, "manifests/else/Singularity", 404)) == "MANIFEST_UNKNOWN"


def test_a_definition_file_that_is_no_utf_8_is_told_all_the_same(client: Client) -> None:
    data = sif_of([Thing(DEFINITION, b"From: \xff<script>\n"), partition()], architecture="02")
    push_file(client, data)
    answer = seen(client, "manifests/latest/Singularity")
    assert answer["content-type"] == "text/plain; charset=utf-8"
    assert b"From: " in answer.body
    answer.body.decode()


def test_urls_are_of_the_address_the_server_is_told_it_has(tmp_path: Path) -> None:
    public = "https://images.example.org"
    with running_server(tmp_path / "data", "--public-url", public) as server:
        client = Client(server, new_user(server, "default", "maintainer"), "a/b")
        content = new_sif()
        push_file(client, content)
        url = only_url(client)
        assert url.startswith(f"{public}/registry/files/")
        assert see(server, path_of(url)).body == content, "a proxy that passes its own Host on to us breaks the URL"
        assert manifest_of(client)["layers"][0]["digest"] == digest_of(content)
