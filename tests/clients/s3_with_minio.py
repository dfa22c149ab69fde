"""What users do with minio-py: `s3_with_minio.py HOST:PORT ACCESS SECRET SECURE BUCKET`, in the clients' environment.

Prints the name of each function that held.
"""

import hashlib
import io
import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from minio import Minio  # type: ignore[import-not-found]
from minio.commonconfig import REPLACE, ComposeSource, CopySource  # type: ignore[import-not-found]
from minio.datatypes import PostPolicy  # type: ignore[import-not-found]
from minio.deleteobjects import DeleteObject  # type: ignore[import-not-found]
from minio.error import S3Error  # type: ignore[import-not-found]
from minio.versioningconfig import ENABLED, VersioningConfig  # type: ignore[import-not-found]

MIB = 2**20
KEYS = ("plain", "two words", "größe-Ω-画像", "a+b&c=d;e,f'g%.x", 'quo"te<&>', "%2F%41", "dir/x?versionId=1#frag")


@contextmanager
def refused(code: str) -> Iterator[None]:
    """A block that must end in this error."""
    found = None
    try:
        yield
    except S3Error as error:
        found = error.code
    assert found == code, f"{found}, not {code}"


def content(client: Any, bucket: str, key: str, **more: Any) -> bytes:
    """The bytes of an object."""
    answer = client.get_object(bucket, key, **more)
    try:
        found: bytes = answer.read()
        return found
    finally:
        answer.close()
        answer.release_conn()


def buckets(client: Any, bucket: str) -> None:
    """Made, found, told apart."""
    assert client.bucket_exists(bucket)
    assert not client.bucket_exists(f"{bucket}-none")
    assert [one.name for one in client.list_buckets()] == [bucket]
    with refused("NoSuchBucketPolicy"):
        client.get_bucket_policy(bucket)


def objects(client: Any, bucket: str) -> None:
    """Put, look, read, list, in one piece and in parts, of known and unknown length."""
    for size in (0, 5, 70_000, 12 * MIB):
        data = os.urandom(size)
        client.put_object(bucket, "k", io.BytesIO(data), size, content_type="text/m", metadata={"own": "1"})
        stat = client.stat_object(bucket, "k")
        assert (stat.size, stat.content_type, stat.metadata["x-amz-meta-own"]) == (size, "text/m", "1")
        assert content(client, bucket, "k") == data
    assert stat.etag.endswith("-3")
    assert content(client, bucket, "k", offset=1000, length=50) == data[1000:1050]
    client.put_object(bucket, "stream", io.BytesIO(data), -1, part_size=5 * MIB)
    assert content(client, bucket, "stream") == data
    for key in KEYS:
        client.put_object(bucket, f"keys/{key}", io.BytesIO(key.encode()), len(key.encode()))
    listed = [one.object_name for one in client.list_objects(bucket, prefix="keys/", recursive=True)]
    assert listed == sorted((f"keys/{key}" for key in KEYS), key=str.encode)
    assert {one.object_name for one in client.list_objects(bucket)} == {"k", "keys/", "stream"}
    assert all(content(client, bucket, f"keys/{key}") == key.encode() for key in KEYS)
    assert list(client.remove_objects(bucket, [DeleteObject(f"keys/{key}") for key in KEYS])) == []
    with refused("NoSuchKey"):
        client.stat_object(bucket, "keys/plain")


def files(client: Any, bucket: str) -> None:
    """By way of the disk."""
    data = os.urandom(11 * MIB)
    with open("from", "wb") as file:
        file.write(data)
    client.fput_object(bucket, "file", "from")
    client.fget_object(bucket, "file", "to")
    with open("to", "rb") as file:
        assert hashlib.sha256(file.read()).digest() == hashlib.sha256(data).digest()


def copies(client: Any, bucket: str) -> None:
    """Copied, with new metadata, and composed of parts of others."""
    data = os.urandom(6 * MIB)
    client.put_object(bucket, "a b", io.BytesIO(data), len(data))
    client.copy_object(bucket, "copy", CopySource(bucket, "a b"))
    client.copy_object(bucket, "new", CopySource(bucket, "a b"), metadata={"n": "2"}, metadata_directive=REPLACE)
    assert client.stat_object(bucket, "new").metadata["x-amz-meta-n"] == "2"
    client.compose_object(bucket, "both", [ComposeSource(bucket, "a b"), ComposeSource(bucket, "copy")])
    assert content(client, bucket, "both") == data + data


def links(client: Any, bucket: str) -> None:
    """URLs and forms for somebody without a key."""
    put = client.presigned_put_object(bucket, "by url", timedelta(hours=1))
    with urllib.request.urlopen(urllib.request.Request(put, b"by url", method="PUT")) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(client.presigned_get_object(bucket, "by url")) as answer:
        assert answer.read() == b"by url"
    policy = PostPolicy(bucket, datetime.now(UTC) + timedelta(hours=1))
    policy.add_starts_with_condition("$key", "form/")
    policy.add_content_length_range_condition(1, 100)
    fields = client.presigned_post_policy(policy) | {"key": "form/x"}
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()]
    head = "".join(parts) + '--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    scheme_and_host = put.partition(f"/{bucket}/")[0]
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    wish = urllib.request.Request(f"{scheme_and_host}/{bucket}", head.encode() + b"form\r\n--b--\r\n", kind)
    with urllib.request.urlopen(wish) as answer:
        assert answer.status == 204
    assert content(client, bucket, "form/x") == b"form"


def versions(client: Any, bucket: str) -> None:
    """Kept, listed, removed."""
    client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    assert client.get_bucket_versioning(bucket).status == ENABLED
    ids = [client.put_object(bucket, "v", io.BytesIO(body), 1).version_id for body in (b"1", b"2")]
    client.remove_object(bucket, "v")
    found = list(client.list_objects(bucket, prefix="v", include_version=True))
    assert [one.version_id for one in found if not one.is_delete_marker] == ids[::-1]
    assert [one.is_latest for one in found if one.is_delete_marker] == ["true"]
    assert content(client, bucket, "v", version_id=ids[0]) == b"1"


def removal(client: Any, bucket: str) -> None:
    """Everything, then the bucket."""
    with refused("BucketNotEmpty"):
        client.remove_bucket(bucket)
    every = client.list_objects(bucket, recursive=True, include_version=True)
    gone = (DeleteObject(one.object_name, one.version_id) for one in every)
    assert list(client.remove_objects(bucket, gone)) == []
    client.remove_bucket(bucket)


def main(host: str, access: str, secret: str, secure: str, bucket: str) -> None:
    """All of them, in one bucket."""
    client = Minio(host, access_key=access, secret_key=secret, secure=secure == "True")
    client.make_bucket(bucket)
    for step in (buckets, objects, files, copies, links, versions, removal):
        step(client, bucket)
        print(step.__name__, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
