"""Pages of collections: all of it without JavaScript, nothing in it that runs, whatever a pusher wrote."""

import json
import re
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urljoin

import pytest

from tests.asking import Answer
from tests.conftest import needs
from tests.image_sets import DataSet, push, pushed_image
from tests.registry import Client, People, digest_of, new_people, new_user
from tests.running import RunningServer, running_server
from tests.sifs import fingerprint
from tests.views import HTML, REVISION, SOURCE, code_of, new_sif, publish, push_file, see, seen

HOSTILE = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "'\"&<>", "{{ 7*7 }}",
    "</dd></dl><svg/onload=alert(1)>", "\u202egnp.exe",
]  # fmt: skip
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a browser would make of a page: its elements, attributes and text."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        assert answer["content-type"] == "text/html; charset=utf-8"
        self.feed(answer.body.decode())
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def links(self) -> list[str]:
        return [attrs["href"] or "" for tag, attrs in self.elements if tag == "a"]


def page_of(client: Client, path: str = "", status: int = 200) -> Page:
    """The page a browser of that client shows."""
    answer = seen(client, path, status, headers=HTML)
    policy = answer["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert answer["x-content-type-options"] == "nosniff"
    assert answer["cache-control"] == "no-store"
    found = Page(answer)
    assert {tag for tag, _ in found.elements} <= {
        "html", "head", "meta", "title", "style", "body", "p", "a", "h1", "h2", "dl", "dt", "dd", "code", "pre", "ul",
        "li",
    }  # fmt: skip
    for _, attrs in found.elements:
        assert not [name for name in attrs if name.startswith("on") or name in ("src", "style", "srcdoc")]
    return found


def test_a_page_tells_all_of_a_sif_and_how_to_get_it(client: Client) -> None:
    content = new_sif(definition="From: x\n", signatures=1, labels={"org.label-schema.name": "ü & co"})
    made = push_file(client, content, "v1", annotations={"org.opencontainers.image.created": "2026-01-02T03:04:05Z"})
    publish(client)
    page = page_of(client)
    host = client.server.url.partition("://")[2]
    for text in (
        client.name, "v1", f"{len(content):,}", made.digest, "amd64", "2026-01-02T03:04:05Z", fingerprint(0),
        "org.label-schema.name", "ü & co", f"apptainer pull oras://{host}/{client.name}:v1",
        "curl -", "sha256sum -c", digest_of(content)[7:],
    ):  # fmt: skip
        assert text in page.text, text
    assert re.search(r"signed\s*yes", page.text)
    assert "docker pull" not in page.text
    assert "shub://" not in page.text, "it takes no port"
    for link in page.links:
        assert see(client.server, urljoin(f"{client.server.url}/registry/{client.name}/", link)).status == 200, link
    definition = next(link for link in page.links if link.endswith("/Singularity"))
    assert see(client.server, definition).body == b"From: x\n"


def test_a_page_of_a_container_image_says_docker_pull(client: Client) -> None:
    pushed_image(client, "one")
    page = page_of(client)
    host = client.server.url.partition("://")[2]
    assert f"docker pull {host}/{client.name}:one" in page.text
    assert "apptainer pull shub" not in page.text


def test_the_lines_to_copy_give_the_bytes(client: Client, tmp_path: Path) -> None:
    needs("curl", "curl")
    content = new_sif()
    push_file(client, content)
    lines = re.findall(r"^(?:curl|echo) .*$", page_of(client).text, re.MULTILINE)
    assert len(lines) == 2
    subprocess.run(["bash", "-ec", "\n".join(lines)], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    (file,) = tmp_path.iterdir()
    assert file.read_bytes() == content


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_pusher_wrote_is_only_text(client: Client, text: str) -> None:
    labels = {"label": text, f"key {text}": "x", SOURCE: text, REVISION: text}
    content = new_sif(labels=labels)
    said = {"org.opencontainers.image.created": text, f"other {text}": text}
    push_file(client, content, title=text, annotations=said)
    publish(client)
    page = page_of(client)
    assert page.text.count(text) >= 4
    assert not [link for link in page.links if link.lower().startswith(("javascript", "data"))]
    (tag,) = seen(client, "").json["tags"]
    assert (tag["labels"]["label"], tag["labels"][f"key {text}"], tag["files"][0]["title"]) == (text, "x", text)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_the_config_says_is_only_text(client: Client, text: str) -> None:
    made = DataSet()
    config = {"architecture": text, "created": text, "os": [text]}
    made.image(config=made.blob("application/vnd.oci.image.config.v1+json", json.dumps(config).encode()), tags=("one",))
    push(client, made)
    assert text in page_of(client).text


@pytest.mark.parametrize(
    "config", [b"", b"[]", b"nonsense", b'"text"', b"\xff", b"[" * 100_000, b'{"architecture":{"a":1},"created":[1]}']
)
def test_a_config_that_says_nothing_harms_nothing(client: Client, config: bytes) -> None:
    made = DataSet()
    made.image(config=made.blob("application/vnd.oci.image.config.v1+json", config), tags=("one",))
    push(client, made)
    assert "one" in page_of(client).text
    seen(client, "manifests/one")


@pytest.mark.parametrize("text", HOSTILE)
def test_what_was_asked_for_is_only_text_in_a_refusal(client: Client, text: str) -> None:
    pushed_image(client, "one")
    for path, status in ((f"manifests/{quote(text, safe='')}", (400, 404)), (f"{quote(text, safe='')}/", (400, 404))):
        answer = see(client.server, f"/registry/{client.name}/{path}", client.token, headers=HTML)
        assert answer.status in status
        page = Page(answer)
        assert not {tag for tag, _ in page.elements} & {"script", "img", "svg"}


def test_json_of_a_collection_tells_the_same(client: Client) -> None:
    content = new_sif(definition="From: x\n", signatures=1)
    made = push_file(client, content, "v1")
    publish(client)
    answer = seen(client, "", headers={"Accept": "application/json"})
    assert answer.json["name"] == client.name
    (tag,) = answer.json["tags"]
    assert (tag["tag"], tag["digest"], tag["size"], tag["architecture"], tag["signed"], tag["encrypted"]) == (
        "v1", made.digest, len(content), "amd64", True, False,
    )  # fmt: skip
    assert tag["fingerprints"] == [fingerprint(0)]
    (file,) = tag["files"]
    assert (file["digest"], file["size"], file["title"]) == (digest_of(content), len(content), "image.sif")
    assert see(client.server, file["url"]).body == content


def test_a_long_collection_comes_in_pages(client: Client) -> None:
    made = pushed_image(client)
    tags = sorted(f"t{number}" for number in range(250))
    for start in range(0, 250, 100):
        query = "&".join(f"tag={tag}" for tag in tags[start : start + 100])
        client.put(f"{made.digest}?{query}", made.data, made.media_type)
    found: list[str] = []
    path = ""
    while True:
        page = page_of(client, path)
        found += [str(attrs["id"]) for tag, attrs in page.elements if tag == "h2"]
        following = [link for link in page.links if "last=" in link]
        if not following:
            break
        path = following[0]
    assert found == tags


def test_the_list_shows_what_one_may_read(server: RunningServer) -> None:
    people = new_people(server)
    hidden, shown = people.client(), people.client()
    for one in (hidden, shown):
        pushed_image(one, "one")
    publish(shown)
    for who, expected in (
        ("anonymous", {shown.name}), ("stranger", {shown.name}), ("reader", {hidden.name, shown.name}),
        ("maintainer", {hidden.name, shown.name}),
    ):  # fmt: skip
        one = hidden.by(people.tokens[who])
        names = [name for name in seen(one, "/registry/").json["repositories"] if name.startswith(people.project)]
        assert set(names) == expected
        page = page_of(one, "/registry/")
        assert {link for link in page.links if people.project in link} == {f"/registry/{name}/" for name in expected}


def test_a_refusal_is_a_page_for_people_and_json_for_programs(client: Client, people: People) -> None:
    pushed_image(client, "one")
    stranger, nobody = client.by(people.tokens["stranger"]), client.by(None)
    for one, path, status, code in (
        (client, "manifests/none", 404, "MANIFEST_UNKNOWN"), (stranger, "", 404, "NAME_UNKNOWN"),
        (nobody, "", 401, "UNAUTHORIZED"),
    ):  # fmt: skip
        assert f"{status}" in page_of(one, path, status).text
        assert code_of(seen(one, path, status)) == code
        assert code_of(seen(one, path, status, headers={"Accept": "*/*"})) == code


def test_tags_and_manifests_are_json_for_browsers_too(client: Client) -> None:
    pushed_image(client, "one")
    for path in ("tags", "manifests/one"):
        assert seen(client, path, headers=HTML)["content-type"] == "application/json"


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("crowded") / "data") as server:
        yield server


def test_a_damaged_or_strange_tag_spoils_no_page(crowded: RunningServer) -> None:
    client = new_people(crowded).client()
    pushed_image(client, "good")
    made = DataSet()
    made.index([], ("empty-index",))
    made.index([made.image(tags=()), made.image(tags=())], ("index",))
    made.artifact(tags=("artifact",))
    made.image([], tags=("no-layers",))
    push(client, made)
    page = page_of(client)
    for tag in ("good", "index", "artifact", "no-layers"):
        assert tag in page.text
    assert seen(client, "tags").json["tags"] == ["artifact", "empty-index", "good", "index", "no-layers"]


def test_names_of_all_kinds_are_linked_rightly(crowded: RunningServer) -> None:
    token = new_user(crowded, "default", "maintainer")
    names = ["a", "a/b", "a/manifests/b", "tags/x", "x/tags/y", "manifests/blobs", "a__b/c-d.e"]
    for name in names:
        pushed_image(Client(crowded, token, name), "one")
    who = Client(crowded, token, "a")
    links = page_of(who, "/registry/").links
    for name in names:
        assert f"/registry/{name}/" in links
        if name != "a/manifests/b":  # with its slash that is also the tag `b` of `a`, which wins
            assert seen(who, f"/registry/{name}/").json["name"] == name
        assert seen(who, f"/registry/{name}/tags").json == {"name": name, "tags": ["one"]}
        assert seen(who, f"/registry/{name}/manifests/one").json["schemaVersion"] == 2
