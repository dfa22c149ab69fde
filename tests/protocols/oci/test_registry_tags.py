"""Tags: in pages, many at once, under conditions, and as they were."""

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from tests.image_sets import MANIFEST, DataSet, Made, data_set, push, pushed_image
from tests.registry import Client, digest_of, values

NAMES = ["0", "B", "_x", "a", "b", "b.1", "b1", "z" * 128]
"""In ASCII order."""


@pytest.fixture
def image(client: Client) -> Made:
    """In the repository, without a tag."""
    return pushed_image(client)


@pytest.fixture
def tagged(client: Client, image: Made) -> Client:
    """The repository with all these tags."""
    client.put(f"{image.digest}?{'&'.join(f'tag={name}' for name in reversed(NAMES))}", image.data, MANIFEST)
    return client


def next_of(client: Client, query: str) -> str | None:
    """Where the page behind that one is."""
    found = values(client.done("GET", f"tags/list{query}", 200), "link")
    if not found:
        return None
    assert len(found) == 1
    path, _, relation = found[0].partition("; ")
    assert relation == 'rel="next"'
    assert path.startswith(f"</v2/{client.name}/tags/list?")
    return path.strip("<>")


# --- pages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 7])
def test_pages_follow_each_other_by_their_links(tagged: Client, size: int) -> None:
    found, path = list[str](), f"/v2/{tagged.name}/tags/list?n={size}"
    for _ in range(len(NAMES) + 1):
        answer = tagged.done("GET", path, 200)
        assert answer.json["name"] == tagged.name
        found += answer.json["tags"]
        links = values(answer, "link")
        if not links:
            break
        assert len(answer.json["tags"]) == size
        path = links[0].partition(">")[0].lstrip("<")
        assert path == f"/v2/{tagged.name}/tags/list?n={size}&last={found[-1]}"
    assert found == NAMES


@pytest.mark.parametrize("query", ["?n=8", "?n=9", "?n=1000", "?n=1001", "?n=2147483647", "", "?last=", "?n=8&last="])
def test_a_page_that_holds_all_has_no_link(tagged: Client, query: str) -> None:
    assert tagged.tags(query) == NAMES
    assert next_of(tagged, query) is None


def test_no_tags_are_asked_for_and_none_come(tagged: Client) -> None:
    for query in ("?n=0", "?n=0&last=a"):
        assert tagged.tags(query) == []
        assert next_of(tagged, query) is None


@pytest.mark.parametrize("number", ["-1", "x", "", "1.5", "0x10", "+1", "%20", "1e3"])
def test_a_number_of_tags_that_is_none_is_refused(tagged: Client, number: str) -> None:
    tagged.refused("GET", f"tags/list?n={quote(number, safe='%')}", 400, "UNSUPPORTED")
    tagged.refused("GET", f"/v2/_catalog?n={quote(number, safe='%')}", 400, "UNSUPPORTED")


@pytest.mark.parametrize("last", ["", "A", "a", "a!", "b", "b.", "not/a tag", "~", "é", "z" * 300])
def test_a_list_goes_on_behind_any_text(tagged: Client, last: str) -> None:
    expected = [name for name in NAMES if name > last]
    assert tagged.tags(f"?last={quote(last)}") == expected
    assert tagged.tags(f"?n=2&last={quote(last)}") == expected[:2]


def test_a_page_has_a_thousand_tags_at_most(client: Client, image: Made) -> None:
    names = [f"{number:04}" for number in range(1001)]
    for start in range(0, 1001, 100):
        query = "&".join(f"tag={name}" for name in names[start : start + 100])
        client.put(f"{image.digest}?{query}", image.data, MANIFEST)
    for query in ("", "?n=1001", "?n=2147483647"):
        assert client.tags(query) == names[:1000]
        assert next_of(client, query) == f"/v2/{client.name}/tags/list?n=1000&last=0999"
    assert client.tags("?last=0999") == ["1000"]


# --- many at once ----------------------------------------------------------------------------------------------------


def test_one_push_sets_up_to_a_hundred_tags(client: Client, image: Made) -> None:
    names = [f"t{number}" for number in range(101)]
    headers = {"Content-Type": MANIFEST}
    path = f"manifests/{image.digest}?{'&'.join(f'tag={name}' for name in names)}"
    client.refused("PUT", path, 414, "MANIFEST_INVALID", image.data, headers)
    assert client.tags() == []
    answer = client.done("PUT", path.rpartition("&")[0], 201, image.data, headers)
    assert answer["oci-tag"] == ", ".join(names[:100])
    assert client.tags() == sorted(names[:100])


def test_one_bad_tag_of_several_and_none_is_set(client: Client, image: Made) -> None:
    headers = {"Content-Type": MANIFEST}
    for bad in (".x", "", "a%2Fb", "a:b", "z" * 129):
        path = f"manifests/{image.digest}?tag=good&tag={bad}"
        client.refused("PUT", path, 400, "NAME_INVALID", image.data, headers)
    assert client.tags() == []


@pytest.mark.parametrize("tag", [".x", "-x", "a%20b", "z" * 129, "%C3%A9", "a+b"])
def test_a_tag_that_cannot_be_one_is_told_so(client: Client, image: Made, tag: str) -> None:
    client.refused("PUT", f"manifests/{tag}", 400, "NAME_INVALID", image.data, {"Content-Type": MANIFEST})
    assert client.ask("GET", f"manifests/{tag}").status in (400, 404)
    assert client.tags() == []


# --- conditions ------------------------------------------------------------------------------------------------------


def put_if(client: Client, one: Made, status: int, **conditions: str) -> None:
    headers = {name.replace("_", "-"): value for name, value in conditions.items()}
    answer = client.done("PUT", "manifests/tag", status, one.data, {"Content-Type": MANIFEST, **headers})
    if status == 412:
        assert [error["code"] for error in answer.json["errors"]] == ["DENIED"]


def test_only_a_new_tag_is_set_where_that_is_asked(client: Client, image: Made) -> None:
    other = pushed_image(client)
    put_if(client, image, 201, If_None_Match="*")
    put_if(client, other, 412, If_None_Match="*")
    put_if(client, image, 412, If_None_Match="*")
    assert client.done("GET", "manifests/tag", 200).body == image.data


def test_a_tag_moves_only_from_where_it_is_believed_to_be(client: Client, image: Made) -> None:
    other = pushed_image(client)
    put_if(client, image, 412, If_Match=f'"{image.digest}"')
    client.refused("GET", "manifests/tag", 404, "MANIFEST_UNKNOWN")
    client.put("tag", image.data, MANIFEST)
    put_if(client, other, 412, If_Match=f'"{other.digest}"')
    assert client.done("GET", "manifests/tag", 200).body == image.data
    put_if(client, other, 201, If_Match=client.done("HEAD", "manifests/tag", 200)["etag"])
    assert client.done("GET", "manifests/tag", 200).body == other.data


def test_a_condition_that_does_not_hold_leaves_no_manifest(client: Client) -> None:
    first = pushed_image(client, "tag")
    data = first.data + b" "
    put_if(client, Made(data, MANIFEST), 412, If_None_Match="*")
    client.refused("GET", f"manifests/{digest_of(data)}", 404, "MANIFEST_UNKNOWN")


def test_of_many_who_set_a_new_tag_at_once_one_does(client: Client) -> None:
    made = [pushed_image(client) for _ in range(6)]
    headers = {"Content-Type": MANIFEST, "If-None-Match": "*"}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda one: client.ask("PUT", "manifests/tag", one.data, headers), made))
    assert sorted(answer.status for answer in answers) == [201] + [412] * 5
    won = next(one for one, answer in zip(made, answers, strict=True) if answer.status == 201)
    assert client.done("GET", "manifests/tag", 200).body == won.data


def test_many_may_push_the_same_into_a_repository_that_is_not_there_yet(client: Client) -> None:
    made = data_set("index")

    def push_all(_: int) -> None:
        for data in made.blobs.values():
            client.push(data)
        for one in made.manifests:
            client.put(one.digest, one.data, one.media_type)
            client.put("tag", one.data, one.media_type)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(push_all, range(4)))
    assert client.tags() == ["tag"]
    assert client.done("GET", "manifests/tag", 200)["docker-content-digest"] in {one.digest for one in made.manifests}


# --- the past --------------------------------------------------------------------------------------------------------


def past(tag: str, second: int) -> str:
    return f"{tag}.at-{datetime.fromtimestamp(second, UTC):%Y%m%dT%H%M%SZ}"


def next_second() -> int:
    """The second that just ended, once it has."""
    now = time.time()
    time.sleep(1.02 - now % 1)
    return int(now)


def test_a_tag_is_read_as_it_was_at_any_second(client: Client, image: Made) -> None:
    before = next_second()
    client.put("tag", image.data, MANIFEST)
    first = next_second()
    other = pushed_image(client, "tag")
    second = next_second()
    client.done("DELETE", "manifests/tag", 202)
    third = next_second()
    client.put("tag", image.data, MANIFEST)
    for at, one in ((first, image), (second, other)):
        for method in ("GET", "HEAD"):
            answer = client.done(method, f"manifests/{past('tag', at)}", 200)
            assert answer["docker-content-digest"] == one.digest
    for at in (before, third):
        client.refused("GET", f"manifests/{past('tag', at)}", 404, "MANIFEST_UNKNOWN")
    assert client.tags() == ["tag"]


@pytest.mark.parametrize("reference", ["tag.at-20261001T120000Z", "tag.at-20261301T120000Z"])
def test_the_past_cannot_be_pushed(client: Client, image: Made, reference: str) -> None:
    headers = {"Content-Type": MANIFEST}
    client.refused("PUT", f"manifests/{reference}", 400, "NAME_INVALID", image.data, headers)
    path = f"manifests/{image.digest}?tag=good&tag={reference}"
    client.refused("PUT", path, 400, "NAME_INVALID", image.data, headers)
    assert client.tags() == []


def test_a_time_that_is_none_is_told_so(client: Client, image: Made) -> None:
    client.put("tag", image.data, MANIFEST)
    client.refused("GET", "manifests/tag.at-20261301T120000Z", 400, "NAME_INVALID")
    client.refused("GET", f"manifests/{past(secrets.token_hex(4), int(time.time()))}", 404, "MANIFEST_UNKNOWN")


def test_who_asks_by_tag_is_told_the_digest_it_was_last_pushed_by(client: Client) -> None:
    made = DataSet("sha512")
    image = made.image(tags=())
    push(client, made)
    by_sha256, by_sha512 = digest_of(image.data), digest_of(image.data, "sha512")
    for digest, told in ((f"{by_sha512}?tag=t", by_sha512), (f"{by_sha256}?tag=t", by_sha256), (by_sha512, by_sha512)):
        client.put(digest, image.data, MANIFEST)
        for method in ("GET", "HEAD"):
            answer = client.done(method, "manifests/t", 200)
            assert (answer["docker-content-digest"], answer["etag"]) == (told, f'"{told}"')
            assert client.done(method, f"manifests/{by_sha256}", 200)["docker-content-digest"] == by_sha256
    client.put("t", image.data, MANIFEST)
    assert client.done("GET", "manifests/t", 200)["docker-content-digest"] == by_sha512
