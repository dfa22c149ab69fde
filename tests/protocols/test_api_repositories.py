"""Repositories through `/api/v1`: listed, shown, configured, their tags' moves told, what was deleted brought back."""

import json
import re
import secrets
import time

import pytest

from tests.calling import Api
from tests.image_sets import INDEX, DataSet, Made, push, pushed_image
from tests.registry import ROLES, Client, People, new_name, new_people, new_user
from tests.running import RunningServer
from tests.views import publish

EVERYBODY = ("anonymous", "stranger", *ROLES)
UNKNOWN = {"anonymous": 401, "stranger": 404}


@pytest.fixture(scope="module")
def people(server: RunningServer) -> People:
    return new_people(server)


@pytest.fixture
def client(people: People) -> Client:
    """A maintainer's, for a repository that is not there yet."""
    return people.client()


def api(client: Client) -> Api:
    return Api(client.server, client.token)


def moved(client: Client, tag: str) -> list[tuple[str | None, str]]:
    """What a tag pointed to, the newest first, and who moved it."""
    found = api(client).done("GET", f"/tag-moves/{client.name}?tag={tag}")
    assert all(one.tag == tag for one in found)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", one.at) for one in found), found
    times = [one.at for one in found]
    assert times == sorted(times, reverse=True)
    return [(one.digest, one.principal) for one in found]


# --- listing and showing ---------------------------------------------------------------------------------------------


def test_repositories_one_may_read_are_listed_in_pages(server: RunningServer) -> None:
    people = new_people(server)
    names = sorted(f"{people.project}/{name}" for name in ("a", "a-b", "a/b", "a.b", "b", "a0"))
    for name in names:
        pushed_image(people.client(name=name), "one")
    reader = Api(server, people.tokens["reader"])
    for size in (1, 2, 3, 5, 100):
        found: list[str] = []
        after = people.project
        while True:
            page = reader.done("GET", f"/repositories?after={after}&limit={size}")
            found += page.repositories
            assert len(page.repositories) <= size
            if page.next is None:
                break
            assert page.next == page.repositories[-1]
            after = page.next
        assert [name for name in found if name.startswith(f"{people.project}/")] == names, size
    for who in ("anonymous", "stranger"):
        page = Api(server, people.tokens[who]).done("GET", f"/repositories?after={people.project}")
        assert not [name for name in page.repositories if name.startswith(f"{people.project}/")]
    publish(people.client(name=names[2]))
    page = Api(server, None).done("GET", f"/repositories?after={people.project}")
    assert [name for name in page.repositories if name.startswith(f"{people.project}/")] == [names[2]]


@pytest.mark.parametrize("limit", ["x", "-1", "1.5", "", "99999999999999999999999"])
def test_a_limit_that_is_none_is_refused_or_capped(client: Client, limit: str) -> None:
    answer = api(client).ask("GET", f"/repositories?limit={limit}")
    assert answer.status in (200, 400, 422), answer


def test_a_repository_is_shown_as_it_is(client: Client) -> None:
    pushed_image(client, "one")
    found = api(client).done("GET", f"/repositories/{client.name}")
    assert (found.path, found.public, found.immutable_tags, found.sparse_index) == (client.name, False, [], False)
    assert abs(time.mktime(time.strptime(found.created[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone - time.time()) < 60


def test_the_name_of_project_default_need_not_be_written(server: RunningServer) -> None:
    client = Client(server, new_user(server, "default", "maintainer"), f"plain/{new_name()}")
    pushed_image(client, "one")
    for name in (client.name, f"default/{client.name}"):
        assert api(client).done("GET", f"/repositories/{name}").path == client.name


# --- settings --------------------------------------------------------------------------------------------------------


def test_a_repository_is_open_to_all_until_it_is_closed_again(client: Client) -> None:
    pushed_image(client, "one")
    for public in (True, False):
        for method in ("PUT", "POST"):
            assert api(client).done(method, f"/repositories/{client.name}", {"public": public}).public is public
        assert api(client).done("GET", f"/repositories/{client.name}").public is public
        assert client.by(None).ask("GET", "manifests/one").status == (200 if public else 401)


def test_what_is_not_in_a_wish_stays(client: Client) -> None:
    pushed_image(client, "one")
    where = f"/repositories/{client.name}"
    api(client).done("PUT", where, {"public": True})
    api(client).done("PUT", where, {"immutable_tags": ["v*"]})
    api(client).done("PUT", where, {"sparse_index": True})
    found = api(client).done("PUT", where, {})
    assert (found.public, found.immutable_tags, found.sparse_index) == (True, ["v*"], True)
    found = api(client).done("PUT", where, {"immutable_tags": [], "sparse_index": False, "public": False})
    assert (found.public, found.immutable_tags, found.sparse_index) == (False, [], False)


@pytest.mark.parametrize(
    "wish", [{"public": "yes"}, {"immutable_tags": "v*"}, {"immutable_tags": [1]}, {"sparse_index": 1}, []]
)
def test_a_wish_that_is_none_is_refused(client: Client, wish: object) -> None:
    pushed_image(client, "one")
    assert api(client).ask("PUT", f"/repositories/{client.name}", wish).status in (400, 422)
    assert not api(client).done("GET", f"/repositories/{client.name}").public


def test_tags_of_a_pattern_never_move(client: Client) -> None:
    first = pushed_image(client, "v1", "latest")
    api(client).done("PUT", f"/repositories/{client.name}", {"immutable_tags": ["v*", "?x"]})
    second = pushed_image(client, "latest", "v2", "ax")
    for tag in ("v1", "v2", "ax"):
        was = client.done("GET", f"manifests/{tag}", 200).body
        other = second if was == first.data else first
        refused = client.ask("PUT", f"manifests/{tag}", other.data, {"Content-Type": other.media_type})
        assert refused.status == 409
        client.put(tag, was, first.media_type)
        client.refused("DELETE", f"manifests/{tag}", 409, "DENIED")
        assert client.done("GET", f"manifests/{tag}", 200).body == was
    client.refused("DELETE", f"manifests/{first.digest}", 409, "DENIED")
    client.put("latest", first.data, first.media_type)
    client.done("DELETE", "manifests/latest", 202)
    by_query = client.ask(
        "PUT", f"manifests/{first.digest}?tag=v2&tag=new", first.data, {"Content-Type": first.media_type}
    )
    assert by_query.status == 409
    assert "new" not in client.tags()
    api(client).done("PUT", f"/repositories/{client.name}", {"immutable_tags": []})
    client.put("v1", second.data, second.media_type)
    client.done("DELETE", f"manifests/{first.digest}", 202)


def test_an_index_may_be_sparse_where_that_is_said(client: Client) -> None:
    made = DataSet()
    here, absent = made.image(tags=()), Made(secrets.token_bytes(100), made.image(tags=()).media_type)
    push(client, made)
    index = json.dumps({"schemaVersion": 2, "manifests": [here.descriptor, absent.descriptor]}).encode()
    refused = client.ask("PUT", "manifests/sparse", index, {"Content-Type": INDEX})
    assert refused.status == 400
    api(client).done("PUT", f"/repositories/{client.name}", {"sparse_index": True})
    client.put("sparse", index, INDEX)
    assert client.done("GET", "manifests/sparse", 200).body == index
    image = json.loads(here.data)
    image["layers"].append({**image["layers"][0], "digest": absent.digest})
    refused = client.ask("PUT", "manifests/image", json.dumps(image).encode(), {"Content-Type": here.media_type})
    assert refused.status == 400, "an image is never sparse"


# --- tags that moved -------------------------------------------------------------------------------------------------


def test_every_move_of_a_tag_is_told(client: Client) -> None:
    name = client.server.call("GET", "/me", token=client.token)["name"]
    first, second = pushed_image(client, "t"), pushed_image(client, "t")
    client.put("t", second.data, second.media_type)
    client.done("DELETE", "manifests/t", 202)
    client.put("t", first.data, first.media_type)
    assert moved(client, "t") == [(one, name) for one in (first.digest, None, second.digest, first.digest)]
    assert moved(client, "never") == []


# --- brought back ----------------------------------------------------------------------------------------------------


def bring_back(client: Client, reference: str, status: int = 200) -> str:
    answer = api(client).ask("POST", f"/undelete/{client.name}", {"reference": reference})
    assert answer.status == status, answer
    if status != 200:
        return ""
    assert (answer.json["path"], answer.json["reference"]) == (client.name, reference)
    digest: str = answer.json["digest"]
    return digest


def pulled(client: Client, made: Made) -> None:
    """All of an image is there."""
    assert client.done("GET", f"manifests/{made.digest}", 200).body == made.data
    for layer in json.loads(made.data)["layers"]:
        assert len(client.done("GET", f"blobs/{layer['digest']}", 200).body) == layer["size"]


def test_a_deleted_tag_is_brought_back(client: Client) -> None:
    made = pushed_image(client, "t")
    client.done("DELETE", "manifests/t", 202)
    assert client.tags() == []
    assert bring_back(client, "t") == made.digest
    assert client.tags() == ["t"]
    assert [digest for digest, _ in moved(client, "t")] == [made.digest, None, made.digest]
    bring_back(client, "t", 409)


def test_a_deleted_manifest_is_brought_back_with_its_bytes_and_then_its_tags(client: Client) -> None:
    made = pushed_image(client, "t", "u")
    client.done("DELETE", f"manifests/{made.digest}", 202)
    assert client.ask("GET", f"manifests/{made.digest}").status == 404
    assert bring_back(client, made.digest) == made.digest
    pulled(client, made)
    assert client.tags() == []
    assert bring_back(client, "t") == made.digest
    assert client.tags() == ["t"]
    assert bring_back(client, made.digest) == made.digest, "what is there may be asked for again"


def test_a_tag_of_a_deleted_manifest_brings_it_back(client: Client) -> None:
    made = pushed_image(client, "t")
    client.done("DELETE", f"manifests/{made.digest}", 202)
    assert bring_back(client, "t") == made.digest
    pulled(client, made)


def test_an_index_is_brought_back_with_what_it_names(client: Client) -> None:
    made = DataSet()
    children = [made.image(tags=()), made.image(tags=())]
    index = made.index(children, ("many",))
    push(client, made)
    for one in (index, *children):
        client.done("DELETE", f"manifests/{one.digest}", 202)
    bring_back(client, "many")
    assert client.done("GET", "manifests/many", 200).body == index.data
    for one in children:
        assert bring_back(client, one.digest) == one.digest
        pulled(client, one)


def test_nothing_is_brought_back_that_never_was(client: Client) -> None:
    pushed_image(client, "t")
    for reference in ("never", f"sha256:{'0' * 64}"):
        bring_back(client, reference, 404)
    bring_back(client.beside(), "t", 404)
    for reference in ("", "a/b", "sha256:12", "..", "x" * 200):
        assert api(client).ask("POST", f"/undelete/{client.name}", {"reference": reference}).status in (400, 404, 422)


def test_a_tag_that_never_moves_can_still_be_brought_back(client: Client) -> None:
    made = pushed_image(client, "v1")
    client.done("DELETE", "manifests/v1", 202)
    api(client).done("PUT", f"/repositories/{client.name}", {"immutable_tags": ["v*"]})
    assert bring_back(client, "v1") == made.digest


def test_what_is_deleted_counts_not_and_brought_back_counts_again(server: RunningServer) -> None:
    people = new_people(server)
    client = people.client()

    def used() -> tuple[int, int]:
        (found,) = (one for one in server.call("GET", "/projects") if one["name"] == people.project)
        return found["used"], found["reserved"]

    made = pushed_image(client, "t")
    full = used()
    size = len(made.data) + sum(
        one["size"] for one in [json.loads(made.data)["config"], *json.loads(made.data)["layers"]]
    )
    assert full == (size, 0)
    client.done("DELETE", "manifests/t", 202)
    assert used() == full
    client.done("DELETE", f"manifests/{made.digest}", 202)
    assert used() == (0, size - len(made.data)), "what was pushed a moment ago stays two days, and counts"
    bring_back(client, "t")
    assert used() == full
    bring_back(client, made.digest)
    assert used() == full
    client.done("DELETE", f"manifests/{made.digest}", 202)
    client.put("t", made.data, made.media_type)
    assert used() == full


# --- rights ----------------------------------------------------------------------------------------------------------

READS = dict.fromkeys(ROLES, 200) | UNKNOWN
CHANGES = {"reader": 403, "writer": 403, "maintainer": 200} | UNKNOWN
CALLS = {
    "show": ("GET", "/repositories/{}", None, READS), "moves": ("GET", "/tag-moves/{}?tag=one", None, READS),
    "configure": ("PUT", "/repositories/{}", {}, CHANGES),
    "undelete": ("POST", "/undelete/{}", {"reference": "two"}, CHANGES),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_each_role_may_do_what_it_may(people: People, call: str) -> None:
    method, path, body, expected = CALLS[call]
    got = {}
    for who in EVERYBODY:
        client = people.client()
        pushed_image(client, "one", "two")
        client.done("DELETE", "manifests/two", 202)
        got[who] = api(client.by(people.tokens[who])).ask(method, path.format(client.name), body).status
    assert got == expected


@pytest.mark.parametrize("call", CALLS)
def test_a_public_repository_is_read_by_all_and_changed_by_its_maintainers(people: People, call: str) -> None:
    method, path, body, expected = CALLS[call]
    client = people.client()
    pushed_image(client, "one")
    publish(client)
    reading = expected is READS
    for who in ("anonymous", "stranger", "reader", "writer"):
        status = api(client.by(people.tokens[who])).ask(method, path.format(client.name), body).status
        assert status == (200 if reading else 401 if who == "anonymous" else 403), who


@pytest.mark.parametrize("call", CALLS)
def test_what_one_may_not_know_of_answers_as_nonsense_does(people: People, call: str) -> None:
    method, path, body, _ = CALLS[call]
    client = people.client()
    pushed_image(client, "one")
    for who in ("anonymous", "stranger"):
        answers = []
        for name in (client.name, client.beside().name):
            answer = api(client.by(people.tokens[who])).ask(method, path.format(name), body)
            text = re.sub(r'"request_id":"\w+"', "", answer.body.decode().replace(name, "NAME"))
            answers.append((answer.status, text))
        assert answers[0] == answers[1], who
