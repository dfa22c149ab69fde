"""Where a bucket and its bytes can be found: in the path, in the host, under a digest; and what a copy costs."""

import hashlib
import io
import os
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.clients.s3_with_boto3 import KEYS, clear, content, opened, refused
from tests.running import running_server
from tests.s3_accounts import MIB, Account, boto3_of, new_account


def test_a_bucket_may_stand_in_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo

    def names(host: Any, *rest: Any, **options: Any) -> Any:
        return look_up("127.0.0.1" if str(host).endswith("s3.test") else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", names)  # the DNS that an operator sets up
    with running_server(tmp_path / "data", environ={"ENTREPOT_S3_HOSTS": "s3.test"}) as server:
        account = new_account(server, tmp_path)
        server.url = server.url.replace("127.0.0.1", "s3.test")
        for version in ("s3v4", "s3"):
            with closing(boto3_of(account, s3={"addressing_style": "virtual"})) as s3:
                s3.create_bucket(Bucket="in-host")
                for key in KEYS[:6]:
                    s3.put_object(Bucket="in-host", Key=key, Body=key.encode())
                    assert content(s3, "in-host", key) == key.encode()
                s3.upload_fileobj(io.BytesIO(bytes(9 * MIB)), "in-host", "in-host/large")
                assert s3.head_object(Bucket="in-host", Key="in-host/large")["ContentLength"] == 9 * MIB
                style = {"addressing_style": "virtual"}
                with closing(boto3_of(account, s3=style, signature_version=version)) as signer:
                    url = signer.generate_presigned_url("get_object", {"Bucket": "in-host", "Key": KEYS[3]})
                assert url.startswith("http://in-host.s3.test:")
                assert opened(url) == (200, KEYS[3].encode())
                clear(s3, "in-host")


def test_bytes_are_found_by_their_digest(s3: Any, bucket: str) -> None:
    data = os.urandom(3 * MIB)
    digest = hashlib.sha256(data).hexdigest()
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket="sha256", Key=digest)
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    assert content(s3, "sha256", digest) == data
    assert content(s3, "sha256", digest, Range="bytes=5-9") == data[5:10]
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": "sha256", "Key": digest})
    assert content(s3, bucket, "copy") == data
    with refused(405, "MethodNotAllowed"):
        s3.put_object(Bucket="sha256", Key=digest, Body=data)


def test_copies_and_the_same_bytes_again_take_no_room(account: Account, s3: Any, bucket: str) -> None:
    data = os.urandom(12 * MIB)
    s3.upload_fileobj(io.BytesIO(data), bucket, "k")
    before = _used(account)
    for number in range(5):
        s3.copy_object(Bucket=bucket, Key=f"copy{number}", CopySource={"Bucket": bucket, "Key": "k"})
    s3.copy({"Bucket": bucket, "Key": "k"}, bucket, "by parts")
    s3.put_object(Bucket=bucket, Key="again", Body=data)
    s3.upload_fileobj(io.BytesIO(data), bucket, "again in parts")
    assert _used(account) == before


def _used(account: Account) -> int:
    return sum(path.stat().st_size for path in (account.server.data / "blobs").glob("??/*"))
