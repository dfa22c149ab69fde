"""boto3 with awscrt, which then signs; and without it, where Python does."""

import base64
import hashlib
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import FlexibleChecksumError
from botocore.session import Session
from s3transfer.crt import (  # type: ignore[import-untyped]
    BotocoreCRTCredentialsWrapper,
    BotocoreCRTRequestSerializer,
    CRTTransferManager,
    create_s3_crt_client,
)

from tests.clients import s3_with_boto3
from tests.clients.s3_with_boto3 import content, refused
from tests.s3_accounts import MIB, REGION, Account, blob_file, client_program, flip_a_bit

SCRIPT = Path(s3_with_boto3.__file__)


@pytest.fixture
def s3(account: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client in this process, set up as its users do it: by the environment."""
    for name, value in account.aws_environ.items():
        monkeypatch.setenv(name, value)
    with closing(s3_with_boto3.new_client()) as client:
        yield client


@pytest.mark.parametrize("scenario", s3_with_boto3.SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_what_users_do_holds(account: Account, s3: Any, scenario: Any) -> None:
    bucket = account.name()
    s3.create_bucket(Bucket=bucket)
    scenario(s3, bucket)
    s3_with_boto3.clear(s3, bucket)
    assert s3.list_buckets()["Buckets"] == []


def test_what_users_do_holds_without_awscrt(account: Account) -> None:
    python = client_program("python")
    assert "ModuleNotFoundError" in account.fails(python, "-c", "import awscrt")
    done = account(python, SCRIPT, account.name(), environ=account.aws_environ)
    assert done.split() == [scenario.__name__ for scenario in s3_with_boto3.SCENARIOS]


def test_the_sha256_of_an_object_sent_in_parts_is_shown(s3: Any, bucket: str) -> None:
    data = os.urandom(12 * MIB)
    for algorithm, named in (({}, "-2"), ({"ChecksumAlgorithm": "CRC64NVME"}, "=")):
        s3.upload_fileobj(io.BytesIO(data), bucket, "k", ExtraArgs=algorithm)
        answer = s3.get_object(Bucket=bucket, Key="k")  # boto3 asks for checksums by itself
        assert answer["ETag"].endswith('-2"')
        composite = answer["ChecksumCRC64NVME"] if algorithm else answer["ChecksumCRC32"]
        assert composite.endswith(named)
        assert base64.b64decode(answer["ChecksumSHA256"]) == hashlib.sha256(data).digest()
        assert answer["Body"].read() == data


@pytest.mark.parametrize("size", [200_000, 12 * MIB], ids=["whole", "in parts"])
def test_one_flipped_bit_on_the_disk_is_found_by_the_client(account: Account, s3: Any, bucket: str, size: int) -> None:
    data = os.urandom(size)
    s3.upload_fileobj(io.BytesIO(data), bucket, "k")
    assert content(s3, bucket, "k") == data
    flip_a_bit(blob_file(account.server, hashlib.sha256(data).hexdigest()), size // 2)
    with pytest.raises(FlexibleChecksumError):
        content(s3, bucket, "k")


@pytest.mark.parametrize("name", ["CRC32C", "CRC64NVME", "SHA512"])
def test_checksums_that_need_awscrt_are_compared_too(s3: Any, bucket: str, name: str) -> None:
    data = os.urandom(100_000)
    field = f"Checksum{name}"
    if name == "SHA512":  # boto3 passes it on, and does not make it
        digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
        put = s3.put_object(Bucket=bucket, Key="k", Body=data, **{field: digest})
    else:
        put = s3.put_object(Bucket=bucket, Key="k", Body=data, ChecksumAlgorithm=name)
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")[field] == put[field]
    assert content(s3, bucket, "k") == data
    with refused(400, "BadDigest"):
        s3.put_object(Bucket=bucket, Key="k", Body=data[1:], **{field: put[field]})


@pytest.mark.parametrize("account", ["http"], indirect=True)
def test_thousands_of_keys_are_listed_in_pages_and_deleted_a_thousand_at_once(s3: Any, bucket: str) -> None:
    keys = sorted(f"{number % 7}/{number:04d}" for number in range(1100))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=b""), keys))
    for operation in ("list_objects_v2", "list_objects"):
        pages = list(s3.get_paginator(operation).paginate(Bucket=bucket))
        assert [len(page["Contents"]) for page in pages] == [1000, 100]
        assert [one["Key"] for page in pages for one in page["Contents"]] == keys
    two = {"PageSize": 2}
    folded = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Delimiter="/", PaginationConfig=two)
    assert [one["Prefix"] for page in folded for one in page["CommonPrefixes"]] == [f"{n}/" for n in range(7)]
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, StartAfter=keys[-2])["Contents"]] == keys[-1:]
    s3_with_boto3.clear(s3, bucket)


def test_versions_are_kept_listed_read_and_removed(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"before")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    first, second = (s3.put_object(Bucket=bucket, Key="k", Body=body)["VersionId"] for body in (b"1", b"2"))
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"]
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="k")
    with refused(405, "MethodNotAllowed"):
        s3.get_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    listed = s3.list_object_versions(Bucket=bucket)
    assert [one["VersionId"] for one in listed["Versions"]] == [second, first, "null"]
    assert [one["VersionId"] for one in listed["DeleteMarkers"]] == [marker["VersionId"]]
    for version, body in ((first, b"1"), (second, b"2"), ("null", b"before")):
        assert content(s3, bucket, "k", VersionId=version) == body
    s3.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert content(s3, bucket, "k") == b"2"
    s3.copy_object(Bucket=bucket, Key="k", CopySource={"Bucket": bucket, "Key": "k", "VersionId": first})
    assert content(s3, bucket, "k") == b"1"
    s3.delete_object(Bucket=bucket, Key="k", VersionId=second)
    with refused(404, "NoSuchVersion"):
        s3.get_object(Bucket=bucket, Key="k", VersionId=second)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    s3.put_object(Bucket=bucket, Key="k", Body=b"after")
    assert content(s3, bucket, "k", VersionId="null") == b"after"
    with refused(409, "BucketNotEmpty"):
        s3.delete_bucket(Bucket=bucket)
    s3_with_boto3.clear(s3, bucket)


def test_an_upload_that_broke_off_is_listed_aborted_and_gone(account: Account, s3: Any, bucket: str) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 8 * MIB:
                raise OSError("the disk of the client broke")
            return super().read(size)

    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=os.urandom(5 * MIB))
    with pytest.raises(OSError, match="broke"):
        s3.upload_fileobj(Broken(os.urandom(20 * MIB)), bucket, "other")  # which aborts by itself
    assert [one["UploadId"] for one in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [upload]
    staged = account.server.data / "staging"
    assert [path for path in staged.rglob("*") if upload in path.name]
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    assert not [path for path in staged.rglob("*") if upload in path.name]
    s3.delete_bucket(Bucket=bucket)


@pytest.mark.parametrize("account", ["tls"], indirect=True)  # over http boto3 hashes first, and so reads twice
def test_a_body_that_cannot_be_read_twice_goes_in_chunks(s3: Any, bucket: str) -> None:

    class Once(io.RawIOBase):
        left = 3

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1, /) -> bytes:
            self.left -= 1
            return b"x" * 100_000 if self.left >= 0 else b""

    s3.put_object(Bucket=bucket, Key="k", Body=Once())
    assert content(s3, bucket, "k") == b"x" * 300_000


def test_the_transfer_client_of_awscrt_sends_and_fetches(account: Account, s3: Any, bucket: str) -> None:
    wrapper = BotocoreCRTCredentialsWrapper(boto3.Session().get_credentials())
    client = create_s3_crt_client(
        REGION, crt_credentials_provider=wrapper.to_crt_credentials_provider(), use_ssl=account.secure,
        verify=account.server.cafile, part_size=5 * MIB,
    )  # fmt: skip
    serializer = BotocoreCRTRequestSerializer(Session(), {"endpoint_url": account.server.url, "region_name": REGION})
    for size in (0, 1000, 30 * MIB):
        source = account.file("a", size)
        with CRTTransferManager(client, serializer) as manager:
            manager.upload(str(source), bucket, "k").result()
            manager.download(bucket, "k", str(account.home / "b")).result()
        assert (account.home / "b").read_bytes() == content(s3, bucket, "k") == source.read_bytes()
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"].endswith('-6"')
