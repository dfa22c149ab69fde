"""The data sets of the specification's own suite: each pushed, listed, pulled, referred to and deleted."""

import secrets
from dataclasses import dataclass

import pytest

from tests.image_sets import ARTIFACT, MANIFEST, OTHER_ARTIFACT, SETS, DataSet, Made, data_set, push, pushed_image
from tests.registry import ALGORITHMS, Client, People, codes, digest_of

ON_POSTGRES = ("plain", "large", "tags_by_query", "nested", "artifacts_with_subject", "index_with_subject")
FILTERED = "oci-filters-applied"


@dataclass(frozen=True)
class Pushed:
    """A set that is in a repository."""

    client: Client
    made: DataSet

    @property
    def tags(self) -> list[str]:
        """All of them, in order."""
        return sorted(tag for one in self.made.manifests for tag in one.tags)

    @property
    def subjects(self) -> list[str]:
        """What manifests of the set refer to."""
        return sorted({one.subject for one in self.made.manifests if one.subject})

    def referring_to(self, subject: str, kind: str | None = None) -> list[dict[str, object]]:
        """Entries for these, of that artifact type."""
        found = [one for one in self.made.manifests if one.subject == subject and kind in (None, one.artifact_type)]
        return by_digest([one.as_referrer for one in found])


def by_digest(entries: list[dict[str, object]]) -> list[dict[str, object]]:
    return sorted(entries, key=lambda entry: str(entry["digest"]))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All sets by both algorithms on SQLite, some by one on PostgreSQL."""
    sets = [("sqlite", f"{name}-{algorithm}") for algorithm in ALGORITHMS for name in SETS]
    sets += [("postgres", f"{name}-sha256") for name in ON_POSTGRES]
    for fixture in {"pushed", "made"} & set(metafunc.fixturenames):
        metafunc.parametrize(("database", fixture), sets, indirect=[fixture], scope="module")


@pytest.fixture
def made(request: pytest.FixtureRequest) -> DataSet:
    """Each set, not pushed yet."""
    name, _, algorithm = request.param.rpartition("-")
    return data_set(name, algorithm)


@pytest.fixture(scope="module")
def pushed(request: pytest.FixtureRequest, people: People) -> Pushed:
    """Each set in a repository of its own."""
    name, _, algorithm = request.param.rpartition("-")
    client = people.client()
    return Pushed(client, push(client, data_set(name, algorithm)))


def assert_is(client: Client, one: Made, reference: str, digest: str) -> None:
    """That reference gives these bytes, by GET and by HEAD, and by neither to one who has them."""
    for method in ("GET", "HEAD"):
        answer = client.done(method, f"manifests/{reference}", 200, headers={"Accept": "application/x-other"})
        assert answer.body == (one.data if method == "GET" else b"")
        assert answer["content-type"] == one.media_type
        assert answer["content-length"] == str(len(one.data))
        assert answer["docker-content-digest"] == digest
        assert answer["etag"] == f'"{digest}"'
        assert "content-encoding" not in answer
        same = client.done(method, f"manifests/{reference}", 304, headers={"If-None-Match": f'"{digest}"'})
        assert same["docker-content-digest"] == digest


def test_each_manifest_comes_out_as_it_went_in(pushed: Pushed) -> None:
    for one in pushed.made.manifests:
        assert_is(pushed.client, one, one.digest, one.digest)
        other = digest_of(one.data, "sha256")
        assert_is(pushed.client, one, other, other)


def test_each_tag_gives_its_manifest(pushed: Pushed) -> None:
    for one in pushed.made.manifests:
        for tag in one.tags:
            assert_is(pushed.client, one, tag, one.digest)


def test_each_blob_comes_out_as_it_went_in(pushed: Pushed) -> None:
    for digest, data in pushed.made.blobs.items():
        assert pushed.client.done("GET", f"blobs/{digest}", 200).body == data
        assert pushed.client.done("HEAD", f"blobs/{digest}", 200)["docker-content-digest"] == digest
    for digest in pushed.made.left_out:
        pushed.client.refused("GET", f"blobs/{digest}", 404, "BLOB_UNKNOWN")


def test_all_tags_are_listed_in_order_and_from_any_of_them_on(pushed: Pushed) -> None:
    tags = pushed.tags
    assert pushed.client.tags() == tags
    for place, tag in enumerate(tags):
        assert pushed.client.tags(f"?last={tag}") == tags[place + 1 :]


def test_what_refers_to_a_manifest_is_listed_with_it(pushed: Pushed) -> None:
    for subject in pushed.subjects:
        assert by_digest(pushed.client.referrers(subject)) == pushed.referring_to(subject)
    for one in pushed.made.manifests:
        if one.digest not in pushed.subjects:
            assert pushed.client.referrers(one.digest) == []


def test_referrers_can_be_asked_for_by_type(pushed: Pushed) -> None:
    for subject in pushed.subjects:
        for kind in (ARTIFACT, OTHER_ARTIFACT, "application/x-nobody"):
            answer = pushed.client.done("GET", f"referrers/{subject}?artifactType={kind}", 200)
            assert answer[FILTERED] == "artifactType"
            found = pushed.client.referrers(subject, f"?artifactType={kind}")
            assert by_digest(found) == pushed.referring_to(subject, kind)
        assert FILTERED not in pushed.client.done("GET", f"referrers/{subject}", 200)


def test_a_manifest_that_comes_again_is_accepted_again(pushed: Pushed) -> None:
    for one in pushed.made.manifests:
        pushed.client.put(one.digest, one.data, one.media_type)
        for tag in one.tags[:2]:
            pushed.client.put(tag, one.data, one.media_type)
    assert pushed.client.tags() == pushed.tags


def test_what_is_deleted_is_gone_at_once(client: Client, made: DataSet) -> None:
    push(client, made)
    delete_tags(client, made)
    for one in reversed(made.manifests):
        client.done("DELETE", f"manifests/{one.digest}", 202)
        client.refused("GET", f"manifests/{one.digest}", 404, "MANIFEST_UNKNOWN")
        client.done("HEAD", f"manifests/{one.digest}", 404)
        client.refused("DELETE", f"manifests/{one.digest}", 404, "MANIFEST_UNKNOWN")
        assert not one.subject or one.digest not in [entry["digest"] for entry in client.referrers(one.subject)]
    for digest in made.blobs:
        client.done("DELETE", f"blobs/{digest}", 202)
        client.refused("GET", f"blobs/{digest}", 404, "BLOB_UNKNOWN")
        client.done("HEAD", f"blobs/{digest}", 404)
        client.refused("DELETE", f"blobs/{digest}", 404, "BLOB_UNKNOWN")
    assert client.tags() == []


def delete_tags(client: Client, made: DataSet) -> None:
    """One after the other: each is gone, its manifest stays."""
    for one in made.manifests:
        for tag in one.tags:
            client.done("DELETE", f"manifests/{tag}", 202)
            client.refused("GET", f"manifests/{tag}", 404, "MANIFEST_UNKNOWN")
            client.refused("DELETE", f"manifests/{tag}", 404, "MANIFEST_UNKNOWN")
        assert client.has(one.digest, "manifests")
    assert client.tags() == []


def test_a_manifest_of_another_digest_than_its_address_is_refused(client: Client, algorithm: str) -> None:
    image = pushed_image(client, "one")
    for wrong in (digest_of(b"other", algorithm), f"{algorithm}:baddigeststring"):
        headers = {"Content-Type": MANIFEST}
        client.refused("PUT", f"manifests/{wrong}?tag=two", 400, "DIGEST_INVALID", image.data, headers)
    client.refused("GET", f"manifests/{digest_of(b'other', algorithm)}", 404, "MANIFEST_UNKNOWN")
    assert client.tags() == ["one"]


def test_missing_manifests_are_unknown(client: Client, algorithm: str) -> None:
    client.push(b"{}")
    for reference in ("nowhere", digest_of(secrets.token_bytes(8), algorithm)):
        client.refused("GET", f"manifests/{reference}", 404, "MANIFEST_UNKNOWN")
        assert client.done("HEAD", f"manifests/{reference}", 404).body == b""
    client.refused("GET", f"manifests/{algorithm}:baddigeststring", 400, "DIGEST_INVALID")
    client.done("HEAD", f"manifests/{algorithm}:baddigeststring", 400)


def test_a_repository_nobody_pushed_to_has_no_tags_and_no_referrers(client: Client, algorithm: str) -> None:
    answer = client.ask("GET", "tags/list")
    assert answer.status in (200, 404)
    if answer.status == 404:
        assert codes(answer) == ["NAME_UNKNOWN"]
    else:
        assert answer.json == {"name": client.name, "tags": []}
    assert client.referrers(digest_of(b"nobody", algorithm)) == []


def test_a_repository_of_blobs_alone_has_an_empty_list_of_tags(client: Client) -> None:
    client.push(b"{}")
    assert client.done("GET", "tags/list", 200).body.replace(b" ", b"").endswith(b'"tags":[]}')
