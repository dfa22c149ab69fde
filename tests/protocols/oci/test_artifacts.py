"""Objects pulled as artifacts: whatever protocol put them, under a manifest that is the same wherever it is made."""

import calendar
import hashlib
import io
import json
import tarfile
import time

import pytest

from tests.image_sets import MANIFEST, pushed_image
from tests.protocols.oci.stores import Store, new_store, pulled
from tests.protocols.rights import signed
from tests.registry import Client, People, digest_of, new_user
from tests.sifs import sif
from tests.views import SIF_CONFIG, SIF_LAYER, TITLE, new_sif

EMPTY = "application/vnd.oci.empty.v1+json"
CREATED = "org.opencontainers.image.created"
QCOW = b"QFI\xfb" + bytes(508)
VHD = b"conectix" + bytes(4) + b"\0\1\0\0" + bytes(496)
TABLE: dict[str, tuple[bytes, str]] = {
    "qcow2": (QCOW, "x-qemu-disk"), "vmdk": (b"KDMV" + bytes(600), "x-vmdk-disk"),
    "vhdx": (b"vhdxfile" + bytes(600), "x-vhdx-disk"), "gzip": (b"\x1f\x8b\x08" + bytes(20), "gzip"),
    "zip": (b"PK\x03\x04" + bytes(20), "zip"), "zstd": (b"\x28\xb5\x2f\xfd" + bytes(20), "zstd"),
    "xz": (b"\xfd7zXZ\0" + bytes(20), "x-xz"), "bzip2": (b"BZh91AY&SY" + bytes(20), "x-bzip2"),
}  # fmt: skip


def tar() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return made.getvalue()


@pytest.fixture
def store(people: People) -> Store:
    """A new bucket of the project."""
    return new_store(people)


def expected(content: bytes, title: str, kind: str, created: str, config: bytes = b"{}") -> bytes:
    """The manifest as the specification writes it."""
    is_sif = kind == SIF_LAYER
    body = {
        "schemaVersion": 2, "mediaType": MANIFEST, **({} if is_sif else {"artifactType": kind}),
        "config": {
            "mediaType": SIF_CONFIG if is_sif else EMPTY, "digest": digest_of(config), "size": len(config),
        },
        "layers": [
            {"mediaType": kind, "digest": digest_of(content), "size": len(content), "annotations": {TITLE: title}}
        ],
        "annotations": {CREATED: created},
    }  # fmt: skip
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def created_of(client: Client) -> str:
    found: str = json.loads(client.done("GET", "manifests/latest", 200).body)["annotations"][CREATED]
    assert abs(time.time() - calendar.timegm(time.strptime(found, "%Y-%m-%dT%H:%M:%SZ"))) < 60
    return found


@pytest.mark.parametrize("way", ["s3", "api"])
def test_a_sif_is_pulled_as_what_it_is(store: Store, way: str) -> None:
    content = new_sif(definition="From: x\n", signatures=1)
    client = store.put_by_s3("some/a.sif", content) if way == "s3" else store.put("some/a.sif", content)
    rootfs = digest_of(content)
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": rootfs, "signed": True, "encrypted": False},
        separators=(",", ":"),
    ).encode()
    pulled(client)
    found = client.done("GET", "manifests/latest", 200)
    assert found.body == expected(content, "a.sif", SIF_LAYER, created_of(client), config)
    assert client.done("GET", f"blobs/{digest_of(config)}", 200).body == config
    assert client.done("GET", f"blobs/{rootfs}", 200).body == content


@pytest.mark.parametrize("kind", ["sif", "encrypted", "arm64", "plain"])
def test_the_config_says_what_the_header_says(store: Store, kind: str) -> None:
    content = {
        "sif": sif(), "encrypted": sif(encrypted=True), "arm64": sif(architecture="04"), "plain": b"x" * 100
    }[kind]  # fmt: skip
    client = store.put("a.sif", content)
    manifest = pulled(client)
    config = client.done("GET", f"blobs/{manifest['config']['digest']}", 200).body  # type: ignore[index]
    if kind == "plain":
        assert config == b"{}"
        return
    assert json.loads(config) == {
        "architecture": "arm64" if kind == "arm64" else "amd64", "os": "linux", "rootfs": digest_of(content),
        "signed": False, "encrypted": kind == "encrypted",
    }  # fmt: skip


@pytest.mark.parametrize("kind", [*TABLE, "tar"])
def test_disks_and_archives_are_told_by_their_bytes(store: Store, kind: str) -> None:
    content, name = TABLE[kind] if kind in TABLE else (tar(), "x-tar")
    client = store.put(f"file.{kind}", content, "text/html")
    pulled(client)
    found = client.done("GET", "manifests/latest", 200).body
    assert found == expected(content, f"file.{kind}", f"application/{name}", created_of(client))


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        ("text/plain", "text/plain"), ("text/plain; charset=utf-8", "text/plain"), ("Image/PNG", "image/png"),
        ("", "application/octet-stream"), ("nonsense", "application/octet-stream"),
        ("a/b/c", "application/octet-stream"),
        ("a/b c", "application/octet-stream"), ('text/"x"', "application/octet-stream"),
    ],
)  # fmt: skip
def test_other_objects_have_the_type_they_were_put_with(store: Store, sent: str, kind: str) -> None:
    client = store.put_by_s3("a", b"plain text", **({"Content_Type": sent} if sent else {}))
    found = client.done("GET", "manifests/latest", 200).body
    if not sent:
        kind = json.loads(found)["artifactType"]
        assert kind in ("application/octet-stream", "binary/octet-stream")
    assert found == expected(b"plain text", "a", kind, created_of(client))


def test_by_tag_by_digest_by_both_algorithms_and_by_nothing_else(store: Store) -> None:
    client = store.put("a.sif", new_sif())
    found = client.done("GET", "manifests/latest", 200)
    for algorithm in ("sha256", "sha512"):
        digest = f"{algorithm}:{hashlib.new(algorithm, found.body).hexdigest()}"
        answer = client.done("GET", f"manifests/{digest}", 200)
        assert (answer.body, answer["docker-content-digest"]) == (found.body, digest)
    for reference in ("other", f"sha256:{'0' * 64}"):
        client.refused("GET", f"manifests/{reference}", 404, "MANIFEST_UNKNOWN")
    client.refused("GET", f"blobs/sha256:{'0' * 64}", 404, "BLOB_UNKNOWN")
    assert client.tags() == ["latest"]
    assert client.tags("?n=1") == ["latest"]
    assert client.tags("?n=0") == client.tags("?last=latest") == []
    assert client.tags("?last=a") == ["latest"]
    assert client.referrers(digest_of(found.body)) == []


def test_a_manifest_of_an_object_has_an_etag_and_conditions(store: Store) -> None:
    client = store.put("a", b"x")
    found = client.done("GET", "manifests/latest", 200)
    assert found["etag"] == f'"{digest_of(found.body)}"'
    client.done("GET", "manifests/latest", 304, None, {"If-None-Match": found["etag"]})


def test_parts_of_an_object_can_be_had(store: Store) -> None:
    content = new_sif()
    client = store.put("a.sif", content)
    part = client.done("GET", f"blobs/{digest_of(content)}", 206, None, {"Range": "bytes=100-199"})
    assert part.body == content[100:200]


def test_nothing_can_be_pushed_where_an_object_is(store: Store) -> None:
    content = new_sif()
    client = store.put("a.sif", content)
    manifest = client.done("GET", "manifests/latest", 200).body
    client.refused("POST", "blobs/uploads/", 409, "DENIED", b"")
    client.refused("POST", f"blobs/uploads/?digest={digest_of(b'x')}", 409, "DENIED", b"x")
    client.refused("POST", f"blobs/uploads/?mount={digest_of(content)}", 409, "DENIED", b"")
    client.refused("PUT", "manifests/other", 409, "DENIED", manifest, {"Content-Type": MANIFEST})
    client.refused("PUT", "manifests/latest", 409, "DENIED", manifest, {"Content-Type": MANIFEST})
    client.refused("PUT", f"manifests/{digest_of(manifest)}", 409, "DENIED", manifest, {"Content-Type": MANIFEST})
    for path in ("manifests/latest", f"manifests/{digest_of(manifest)}", f"blobs/{digest_of(content)}"):
        client.refused("DELETE", path, 405, "UNSUPPORTED")
    assert client.done("GET", "manifests/latest", 200).body == manifest
    assert client.tags() == ["latest"]


def test_a_repository_wins_over_an_object_of_its_name(store: Store) -> None:
    client = store.at("both")
    made = pushed_image(client, "one")
    content = new_sif()
    store.put("both", content)
    assert client.tags() == ["one"]
    client.refused("GET", "manifests/latest", 404, "MANIFEST_UNKNOWN")
    client.refused("GET", f"blobs/{digest_of(content)}", 404, "BLOB_UNKNOWN")
    assert client.done("GET", "manifests/one", 200).body == made.data
    client.done("DELETE", f"manifests/{made.digest}", 202)
    client.refused("GET", "manifests/one", 404, "MANIFEST_UNKNOWN")


def test_bytes_by_their_sha256_alone(store: Store, people: People) -> None:
    content = new_sif()
    store.put("UPPER Case.sif", content)
    client = store.client.at(f"sha256/{digest_of(content)[7:]}")
    found = json.loads(client.done("GET", "manifests/latest", 200).body)
    assert found["layers"][0]["digest"] == digest_of(content)
    assert client.done("GET", f"blobs/{digest_of(content)}", 200).body == content
    mine = client.by(new_user(client.server, "default", "maintainer"))
    assert mine.ask("DELETE", "manifests/latest").status in (404, 405)
    assert mine.ask("POST", "blobs/uploads/", b"").status == 409
    client.by(people.tokens["stranger"]).refused("GET", "manifests/latest", 404, "NAME_UNKNOWN")
    client.by(None).refused("GET", "manifests/latest", 401, "UNAUTHORIZED")
    client.at(f"sha256/{'0' * 64}").refused("GET", "manifests/latest", 404, "NAME_UNKNOWN")


def test_a_name_outside_the_grammar_is_no_repository(store: Store) -> None:
    store.put("UPPER.sif", new_sif())
    store.at("UPPER.sif").refused("GET", "manifests/latest", 400, "NAME_INVALID")


def test_the_next_object_of_a_name_is_the_next_latest(store: Store) -> None:
    first, second = new_sif(), new_sif()
    client = store.put("a.sif", first)
    before = client.done("GET", "manifests/latest", 200)
    store.put("a.sif", second)
    after = pulled(client)
    assert after["layers"][0]["digest"] == digest_of(second)  # type: ignore[index]
    client.refused("GET", f"manifests/{digest_of(before.body)}", 404, "MANIFEST_UNKNOWN")
    client.refused("GET", f"blobs/{digest_of(first)}", 404, "BLOB_UNKNOWN")
    store.delete("a.sif")
    client.refused("GET", "manifests/latest", 404, "NAME_UNKNOWN")
    client.refused("GET", f"blobs/{digest_of(second)}", 404, "NAME_UNKNOWN")


def versioned(store: Store) -> None:
    """The bucket keeps all versions."""
    made = store.client.server.call("POST", "/keys", {"project": store.project}, token=store.client.token)
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    url = f"{store.client.server.url}/{store.bucket}?versioning"
    assert signed((made["access"], made["secret"]), "PUT", url, body).status == 200


def test_an_object_is_pulled_as_it_was_at_any_second(store: Store) -> None:
    versioned(store)
    contents = [new_sif() for _ in range(3)]
    seconds, manifests = [], []
    for content in contents:
        client = store.put("a.sif", content)
        manifests.append(client.done("GET", "manifests/latest", 200).body)
        seconds.append(time.time())
        time.sleep(1.05)
    for second, manifest, content in zip(seconds, manifests, contents, strict=True):
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        assert client.done("GET", f"manifests/latest.at-{at}", 200).body == manifest
        assert client.done("GET", f"manifests/{digest_of(manifest)}", 200).body == manifest
        assert client.done("GET", f"blobs/{digest_of(content)}", 200).body == content
        assert client.has(digest_of(content))
        config = json.loads(manifest)["config"]["digest"]
        assert digest_of(client.done("GET", f"blobs/{config}", 200).body) == config
    before = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds[0] - 100))
    client.refused("GET", f"manifests/latest.at-{before}", 404, "MANIFEST_UNKNOWN")
    assert client.ask("GET", "manifests/latest.at-yesterday").status in (400, 404)
    client.refused("GET", f"manifests/other.at-{before}", 404, "MANIFEST_UNKNOWN")


def test_an_object_that_was_deleted_is_pulled_as_it_was_before(store: Store) -> None:
    versioned(store)
    content = new_sif()
    client = store.put("a.sif", content)
    manifest = client.done("GET", "manifests/latest", 200).body
    second = time.time()
    time.sleep(1.1)
    store.delete("a.sif")
    time.sleep(1.1)
    assert client.ask("GET", "manifests/latest").status == 404
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
    assert client.done("GET", f"manifests/latest.at-{at}", 200).body == manifest
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    assert client.ask("GET", f"manifests/latest.at-{now}").status == 404


def test_equal_objects_have_equal_manifests_but_for_their_times(store: Store) -> None:
    content = new_sif()
    one, other = store.put("x/a.sif", content), store.put("y/a.sif", content)
    found = [json.loads(client.done("GET", "manifests/latest", 200).body) for client in (one, other)]
    for body in found:
        del body["annotations"]
    assert found[0] == found[1]


def test_a_segmented_object_waits_for_its_digest(store: Store) -> None:
    made = store.client.server.call("POST", "/keys", {"project": store.project}, token=store.client.token)
    key, url = (made["access"], made["secret"]), f"{store.client.server.url}/{store.bucket}/parts.bin"
    begun = signed(key, "POST", f"{url}?uploads=", b"")
    upload = begun.body.partition(b"<UploadId>")[2].partition(b"<")[0].decode()
    parts = [b"a" * (5 << 20), b"b" * 100]
    etags = [
        signed(key, "PUT", f"{url}?partNumber={number}&uploadId={upload}", part)["etag"]
        for number, part in enumerate(parts, 1)
    ]
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, etag in enumerate(etags, 1)
    )
    done = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
    assert signed(key, "POST", f"{url}?uploadId={upload}", done).status == 200
    answer = store.at("parts.bin").ask("GET", "manifests/latest")
    assert answer.status in (200, 404)
    if answer.status == 200:
        assert json.loads(answer.body)["layers"][0]["digest"] == digest_of(b"".join(parts))
