"""What is deleted, what goes with it, what may not go, and who refers to what is gone."""

import json
import secrets

from tests.image_sets import (
    ARTIFACT,
    CONFIG,
    GZIP,
    INDEX,
    MANIFEST,
    DataSet,
    Made,
    data_set,
    push,
    push_manifest,
    pushed_image,
)
from tests.registry import Client, digest_of, values


def test_a_deleted_tag_takes_nothing_with_it(client: Client) -> None:
    image = pushed_image(client, "one", "two")
    client.done("DELETE", "manifests/one", 202)
    assert client.tags() == ["two"]
    assert client.done("GET", f"manifests/{image.digest}", 200).body == image.data


def test_a_deleted_manifest_takes_all_its_tags_with_it(client: Client) -> None:
    image, other = pushed_image(client, "one", "two"), pushed_image(client, "three")
    client.done("DELETE", f"manifests/{image.digest}", 202)
    assert client.tags() == ["three"]
    for reference in ("one", "two", image.digest):
        client.refused("GET", f"manifests/{reference}", 404, "MANIFEST_UNKNOWN")
    assert client.has(other.digest, "manifests")


def test_a_manifest_is_deleted_by_either_of_its_digests(client: Client) -> None:
    made = push(client, data_set("plain", "sha512"))
    one = made.manifests[0]
    client.done("DELETE", f"manifests/{digest_of(one.data)}", 202)
    client.refused("GET", f"manifests/{one.digest}", 404, "MANIFEST_UNKNOWN")


def test_a_blob_stays_while_a_manifest_names_it(client: Client, algorithm: str) -> None:
    made = push(client, data_set("plain", algorithm))
    image = made.manifests[0]
    for digest in made.blobs:
        answer = client.refused("DELETE", f"blobs/{digest}", 405, "UNSUPPORTED")
        assert digest_of(image.data) in json.dumps(answer.json["errors"][0]["detail"])
        assert set(answer["allow"].split(", ")) == {"GET", "HEAD"}
        assert client.has(digest)
    client.done("DELETE", f"manifests/{image.digest}", 202)
    for digest in made.blobs:
        client.done("DELETE", f"blobs/{digest}", 202)
        assert not client.has(digest)


def test_a_deleted_blob_is_gone_though_somebody_was_told_that_it_is_there(client: Client, algorithm: str) -> None:
    digest = client.push(secrets.token_bytes(10), algorithm)
    assert client.has(digest)
    client.done("DELETE", f"blobs/{digest}", 202)
    client.refused("GET", f"blobs/{digest}", 404, "BLOB_UNKNOWN")


def test_a_blob_that_came_in_often_is_deleted_once(client: Client) -> None:
    data, there = secrets.token_bytes(10), client.beside()
    digest = there.push(data)
    for _ in range(2):
        client.push(data)
        client.end(client.begin(), digest, data)
        client.done("POST", f"blobs/uploads/?mount={digest}", 201, b"")
    client.done("DELETE", f"blobs/{digest}", 202)
    client.refused("GET", f"blobs/{digest}", 404, "BLOB_UNKNOWN")
    client.refused("DELETE", f"blobs/{digest}", 404, "BLOB_UNKNOWN")


def test_a_blob_is_deleted_only_here(client: Client) -> None:
    data = secrets.token_bytes(10)
    other = client.beside()
    digest = client.push(data)
    other.done("POST", f"blobs/uploads/?mount={digest}&from={client.name}", 201, b"")
    client.done("DELETE", f"blobs/{digest}", 202)
    assert not client.has(digest)
    assert other.done("GET", f"blobs/{digest}", 200).body == data


def test_what_was_deleted_can_be_pushed_again(client: Client) -> None:
    made = push(client, data_set("plain"))
    image = made.manifests[0]
    client.done("DELETE", f"manifests/{image.digest}", 202)
    for digest in made.blobs:
        client.done("DELETE", f"blobs/{digest}", 202)
    push(client, made)
    assert client.done("GET", "manifests/one", 200).body == image.data


def test_a_child_of_an_index_may_be_deleted_before_it(client: Client) -> None:
    made = push(client, data_set("index"))
    child, index = made.manifests[0], made.manifests[-1]
    client.done("DELETE", f"manifests/{child.digest}", 202)
    client.refused("GET", f"manifests/{child.digest}", 404, "MANIFEST_UNKNOWN")
    assert client.done("GET", f"manifests/{index.digest}", 200).body == index.data


# --- referrers -------------------------------------------------------------------------------------------------------


def test_who_refers_to_a_deleted_manifest_stays(client: Client, algorithm: str) -> None:
    made = push(client, data_set("artifacts_with_subject", algorithm))
    subject = made.manifests[0].digest
    client.done("DELETE", f"manifests/{subject}", 202)
    assert len(client.referrers(subject)) == 3


def test_a_subject_may_be_asked_for_by_either_digest(client: Client) -> None:
    made = push(client, data_set("artifacts_with_subject", "sha512"))
    assert len(client.referrers(made.manifests[0].digest)) == 3
    assert len(client.referrers(digest_of(made.manifests[0].data))) == 3


def test_a_subject_that_comes_later_has_who_referred_to_it_before(client: Client) -> None:
    made = data_set("artifacts_with_subject")
    for data in made.blobs.values():
        client.push(data)
    for one in reversed(made.manifests):
        push_manifest(client, one)
    assert len(client.referrers(made.manifests[0].digest)) == 3


def test_what_is_listed_of_a_referrer_is_what_it_says_of_itself(client: Client) -> None:
    made = DataSet()
    subject = made.image(tags=())
    named = made.artifact(subject.descriptor, annotations={"a": "1"})
    by_config = made.image([], made.blob(CONFIG), (), subject=subject.descriptor)
    index = made.index([], (), subject=subject.descriptor)
    push(client, made)
    found = {entry["digest"]: entry for entry in client.referrers(subject.digest)}
    assert found[named.digest] == {**named.descriptor, "annotations": {"a": "1"}, "artifactType": ARTIFACT}
    assert found[by_config.digest] == {**by_config.descriptor, "artifactType": CONFIG}
    assert "artifactType" not in found[index.digest]
    assert len(found) == 3


def test_referrers_are_those_of_one_repository(client: Client) -> None:
    made = push(client, data_set("artifacts_with_subject"))
    other = client.beside()
    pushed_image(other)
    assert other.referrers(made.manifests[0].digest) == []


def test_a_filter_of_nothing_is_no_filter_that_is_not_told_of(client: Client) -> None:
    made = push(client, data_set("artifacts_with_subject"))
    subject = made.manifests[0].digest
    answer = client.done("GET", f"referrers/{subject}?artifactType={ARTIFACT.replace('/', '%2F')}", 200)
    assert values(answer, "oci-filters-applied") == ["artifactType"]
    assert [entry["artifactType"] for entry in json.loads(answer.body)["manifests"]] == [ARTIFACT]


def test_over_a_thousand_referrers_come_in_pages(client: Client) -> None:
    absent = digest_of(secrets.token_bytes(9))
    subject = {"mediaType": MANIFEST, "digest": absent, "size": 9}
    client.push(b"{}")
    expected = set()
    for number in range(1002):
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": subject, "n": number}
        one = Made(json.dumps(body).encode(), INDEX)
        expected.add(one.digest)
        client.done("PUT", f"manifests/{one.digest}", 201, one.data, {"Content-Type": INDEX})
    answer = client.done("GET", f"referrers/{absent}", 200)
    first = [entry["digest"] for entry in json.loads(answer.body)["manifests"]]
    assert len(first) == 1000
    path, _, relation = answer["link"].partition("; ")
    assert relation == 'rel="next"'
    last = client.done("GET", path.strip("<>"), 200)
    assert {entry["digest"] for entry in json.loads(last.body)["manifests"]} | set(first) == expected
    assert values(last, "link") == []


def test_referrers_of_over_four_mebibytes_come_in_pages(client: Client) -> None:
    made = DataSet()
    subject = made.image(tags=())
    expected = {
        made.artifact(subject.descriptor, annotations={"x": f"{number}" * 2_000_000}).digest for number in range(3)
    }
    push(client, made)
    found, path = list[str](), f"referrers/{subject.digest}"
    for _ in range(3):
        answer = client.done("GET", path, 200)
        assert len(answer.body) <= 4 << 20
        found += [entry["digest"] for entry in json.loads(answer.body)["manifests"]]
        if not values(answer, "link"):
            break
        path = answer["link"].partition(">")[0].lstrip("<")
    assert sorted(found) == sorted(expected)


def test_referrers_by_the_old_tag_are_listed_too(client: Client) -> None:
    image = pushed_image(client, "one")
    made = DataSet()
    signature = made.artifact()
    for data in made.blobs.values():
        client.push(data)
    push_manifest(client, signature)
    entry = {**signature.descriptor, "artifactType": ARTIFACT}
    fallback = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    client.put(image.digest.replace(":", "-"), fallback, INDEX)
    assert [one["digest"] for one in client.referrers(image.digest)] == [signature.digest]


def test_a_layer_of_two_images_stays_with_the_other(client: Client) -> None:
    made = DataSet()
    layer = made.blob(GZIP)
    first, second = made.image([layer], tags=("one",)), made.image([layer], tags=("two",))
    push(client, made)
    client.done("DELETE", f"manifests/{first.digest}", 202)
    client.refused("DELETE", f"blobs/{layer['digest']}", 405, "UNSUPPORTED")
    assert client.has(layer["digest"])
    client.done("DELETE", f"manifests/{second.digest}", 202)
    client.done("DELETE", f"blobs/{layer['digest']}", 202)
