"""What users do with boto3, each as a function of a client and an empty bucket.

Imported by test_s3_boto3.py, and run by it as a script in the clients' environment, where there is no awscrt: then
`s3_with_boto3.py BUCKET` does all of them, and prints the name of each that held.
"""

import base64
import hashlib
import io
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

MIB = 2**20
KEYS = (
    "plain", "two words", "größe-Ω-画像-🧪", "a+b&c=d;e,f'g%.x", 'quo"te<&>', "a//b", "./x", "trailing/", "%2F%41",
    "~*!()", "x?versionId=1#frag", "é" * 512,
)  # fmt: skip


def new_client(**options: Any) -> Any:
    """A client set up by the environment alone, or by options of `Config` too."""
    return boto3.Session().client("s3", config=Config(**{"retries": {"max_attempts": 1}, **options}))


@contextmanager
def refused(status: int, code: str) -> Iterator[None]:
    """A block that must end in this error."""
    found: tuple[int, str] | None = None
    try:
        yield
    except ClientError as error:
        found = error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
    assert found == (status, code), f"{found}, not {code}"


def content(s3: Any, bucket: str, key: str, **more: Any) -> bytes:
    """The bytes of an object, read as users do."""
    body: bytes = s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()
    return body


def whole_objects(s3: Any, bucket: str) -> None:
    """Put, look, read, delete: small, empty, with metadata."""
    for data in (b"", b"small", os.urandom(70_000)):
        put = s3.put_object(
            Bucket=bucket, Key="k", Body=data, ContentType="text/x-own", CacheControl="no-cache",
            Metadata={"Owner-Name": "someone", "two": "2"},
        )  # fmt: skip
        assert put["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
        head = s3.head_object(Bucket=bucket, Key="k")
        assert (head["ContentLength"], head["ETag"]) == (len(data), put["ETag"])
        assert (head["ContentType"], head["CacheControl"]) == ("text/x-own", "no-cache")
        assert head["Metadata"] == {"owner-name": "someone", "two": "2"}
        assert content(s3, bucket, "k") == data
    s3.delete_object(Bucket=bucket, Key="k")
    with refused(404, "404"):
        s3.head_object(Bucket=bucket, Key="k")
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="k")
    s3.delete_object(Bucket=bucket, Key="k")


def large_files(s3: Any, bucket: str) -> None:
    """The managed transfer in parts of 8 MiB, in threads; a stream whose length nobody knows."""
    data = os.urandom(20 * MIB + 17)
    s3.upload_fileobj(io.BytesIO(data), bucket, "large")
    assert s3.head_object(Bucket=bucket, Key="large")["ETag"].endswith('-3"')
    found = io.BytesIO()
    s3.download_fileobj(bucket, "large", found)
    assert found.getvalue() == data
    reader, writer = os.pipe()
    with ThreadPoolExecutor(1) as pool, open(reader, "rb") as stream:
        pool.submit(lambda: _pour(writer, data[: 9 * MIB]))
        s3.upload_fileobj(stream, bucket, "stream")
    assert content(s3, bucket, "stream") == data[: 9 * MIB]


def _pour(descriptor: int, data: bytes) -> None:
    with open(descriptor, "wb") as pipe:
        pipe.write(data)


def any_key(s3: Any, bucket: str) -> None:
    """Keys are taken literally, in paths, lists, copies and mass deletes."""
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert all(content(s3, bucket, key) == key.encode() for key in KEYS)
    listed = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == sorted(KEYS, key=str.encode)
    assert [one["Key"] for one in s3.list_objects(Bucket=bucket)["Contents"]] == listed
    for key in KEYS:
        s3.copy_object(Bucket=bucket, Key=f"copy/{key}"[:400], CopySource={"Bucket": bucket, "Key": key})
    folded = s3.list_objects_v2(Bucket=bucket, Prefix="copy/", Delimiter="/")
    assert folded["KeyCount"] == len(folded.get("Contents", ())) + len(folded["CommonPrefixes"])
    assert {"Prefix": "copy/a/"} in folded["CommonPrefixes"]
    every = [{"Key": one["Key"]} for one in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [*every, {"Key": "never there"}]})
    assert ("Errors" in done, len(done["Deleted"])) == (False, 2 * len(KEYS) + 1)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def copies(s3: Any, bucket: str) -> None:
    """Copy with and without new metadata, onto itself, in parts, and conditions on the source."""
    data = os.urandom(12 * MIB)
    etag = s3.put_object(Bucket=bucket, Key="from", Body=data, Metadata={"a": "1"}, ContentType="text/a")["ETag"]
    source = {"Bucket": bucket, "Key": "from"}
    assert s3.copy_object(Bucket=bucket, Key="to", CopySource=source)["CopyObjectResult"]["ETag"] == etag
    head = s3.head_object(Bucket=bucket, Key="to")
    assert (head["Metadata"], head["ContentType"]) == ({"a": "1"}, "text/a")
    with refused(400, "InvalidRequest"):
        s3.copy_object(Bucket=bucket, Key="from", CopySource=source)
    s3.copy_object(
        Bucket=bucket, Key="from", CopySource=source, MetadataDirective="REPLACE", Metadata={"b": "2"}
    )  # fmt: skip
    assert s3.head_object(Bucket=bucket, Key="from")["Metadata"] == {"b": "2"}
    with refused(412, "PreconditionFailed"):
        s3.copy_object(Bucket=bucket, Key="no", CopySource=source, CopySourceIfMatch='"0"')
    with refused(404, "NoSuchKey"):
        s3.copy_object(Bucket=bucket, Key="no", CopySource={"Bucket": bucket, "Key": "missing"})
    in_parts = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    s3.copy(source, bucket, "in parts", Config=in_parts)
    assert s3.head_object(Bucket=bucket, Key="in parts")["ETag"].endswith('-3"')
    assert content(s3, bucket, "in parts") == content(s3, bucket, "to") == data


def ranges_and_conditions(s3: Any, bucket: str) -> None:
    """Parts of objects, and requests that only count if something holds."""
    data = os.urandom(100_000)
    etag = s3.put_object(Bucket=bucket, Key="k", Body=data)["ETag"]
    for asked, expected in (("bytes=0-9", data[:10]), ("bytes=99990-", data[99990:]), ("bytes=-7", data[-7:])):
        answer = s3.get_object(Bucket=bucket, Key="k", Range=asked)
        assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Body"].read()) == (206, expected)
    with refused(416, "InvalidRange"):
        s3.get_object(Bucket=bucket, Key="k", Range="bytes=100000-")
    assert content(s3, bucket, "k", IfMatch=etag) == data
    with refused(412, "PreconditionFailed"):
        s3.get_object(Bucket=bucket, Key="k", IfMatch='"0"')
    with refused(304, "304"):
        s3.get_object(Bucket=bucket, Key="k", IfNoneMatch=etag)
    with refused(412, "PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"other", IfNoneMatch="*")
    s3.put_object(Bucket=bucket, Key="new", Body=b"first", IfNoneMatch="*")
    with refused(412, "PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"other", IfMatch='"0"')
    with refused(404, "NoSuchKey"):
        s3.put_object(Bucket=bucket, Key="missing", Body=b"other", IfMatch=etag)
    s3.put_object(Bucket=bucket, Key="k", Body=b"other", IfMatch=etag)
    assert content(s3, bucket, "k") == b"other"
    assert s3.get_object(Bucket=bucket, Key="k", ResponseContentType="text/q")["ContentType"] == "text/q"


def checksums(s3: Any, bucket: str) -> None:
    """Every checksum that goes along is compared, kept, and shown; a false one leaves nothing."""
    data = os.urandom(200_000)
    for name in ("CRC32", "SHA1", "SHA256"):
        field = f"Checksum{name}"
        put = s3.put_object(Bucket=bucket, Key=name, Body=data, ChecksumAlgorithm=name)
        head = s3.head_object(Bucket=bucket, Key=name, ChecksumMode="ENABLED")
        assert put[field] == head[field]
        assert content(s3, bucket, name) == data
        wrong = base64.b64encode(bytes(len(base64.b64decode(put[field])))).decode()
        with refused(400, "BadDigest"):
            s3.put_object(Bucket=bucket, Key="wrong", Body=data, **{field: wrong})
    s3.put_object(Bucket=bucket, Key="md5", Body=data, ContentMD5=_md5(data))
    with refused(400, "BadDigest"):
        s3.put_object(Bucket=bucket, Key="wrong", Body=data, ContentMD5=_md5(b"other"))
    with refused(400, "InvalidDigest"):
        s3.put_object(Bucket=bucket, Key="wrong", Body=data, ContentMD5="none")
    with refused(404, "404"):
        s3.head_object(Bucket=bucket, Key="wrong")


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def parts_by_hand(s3: Any, bucket: str) -> None:
    """A multipart upload of one's own: listed, completed twice, read by part; another one given up."""
    data = os.urandom(5 * MIB), os.urandom(1000)
    where = {"Bucket": bucket, "Key": "k"}
    upload = s3.create_multipart_upload(**where, ChecksumAlgorithm="SHA256", Metadata={"a": "1"})["UploadId"]
    sent = []
    for number, part in ((7, data[1]), (3, data[0])):
        done = s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=part, ChecksumAlgorithm="SHA256")
        sent.append({"PartNumber": number, "ETag": done["ETag"], "ChecksumSHA256": done["ChecksumSHA256"]})
    listed = s3.list_parts(**where, UploadId=upload)["Parts"]
    assert [(one["PartNumber"], one["Size"]) for one in listed] == [(3, 5 * MIB), (7, 1000)]
    assert [one["UploadId"] for one in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [upload]
    with refused(400, "InvalidPartOrder"):
        s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": sent})
    for _ in range(2):
        done = s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": sent[::-1]})
        assert (done["ETag"][-3:], done["ChecksumSHA256"][-2:], done["ChecksumType"]) == ('-2"', "-2", "COMPOSITE")
    assert content(s3, bucket, "k") == b"".join(data)
    second = s3.get_object(**where, PartNumber=2)
    assert (second["PartsCount"], second["Body"].read()) == (2, data[1])
    told = s3.get_object_attributes(**where, ObjectAttributes=["ObjectParts", "ObjectSize", "Checksum", "ETag"])
    assert [part["Size"] for part in told["ObjectParts"]["Parts"]] == [5 * MIB, 1000]
    given_up = s3.create_multipart_upload(Bucket=bucket, Key="never")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="never", UploadId=given_up, PartNumber=1, Body=data[0])
    s3.abort_multipart_upload(Bucket=bucket, Key="never", UploadId=given_up)
    with refused(404, "NoSuchUpload"):
        s3.list_parts(Bucket=bucket, Key="never", UploadId=given_up)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def signed_urls(s3: Any, bucket: str) -> None:
    """URLs and forms handed to somebody without a key, by V4 and by V2 signatures."""
    for version in ("s3v4", "s3"):
        signer = new_client(signature_version=version)
        for key in ("k", "a b/é+&?"):
            put = signer.generate_presigned_url("put_object", {"Bucket": bucket, "Key": key, "ContentType": "text/u"})
            assert opened(put, "PUT", b"by url", {"Content-Type": "text/u"})[0] == 200
            assert opened(put, "PUT", b"by url", {"Content-Type": "text/other"})[0] == 403
            wish = {"Bucket": bucket, "Key": key, "ResponseContentDisposition": 'attachment; filename="x y"'}
            get = signer.generate_presigned_url("get_object", wish)
            assert opened(get) == (200, b"by url")
            assert opened(f"{get}0")[0] == 403
            gone = signer.generate_presigned_url("delete_object", {"Bucket": bucket, "Key": key})
            assert opened(gone, "DELETE")[0] == 204
        _form(s3, signer, bucket)


def _form(s3: Any, signer: Any, bucket: str) -> None:
    conditions = [["content-length-range", 1, 100], ["starts-with", "$Content-Type", "text/"]]
    form = signer.generate_presigned_post(bucket, "form/${filename}", {"Content-Type": "text/f"}, conditions)
    for data, status in ((b"x" * 100, 204), (b"x" * 101, 400), (b"", 400)):
        assert posted(form["url"], form["fields"], data)[0] == status
    assert content(s3, bucket, "form/name.txt") == b"x" * 100
    assert posted(form["url"], form["fields"] | {"Content-Type": "image/f"}, b"x")[0] == 403


def opened(url: str, method: str = "GET", data: bytes | None = None, headers: Any = None) -> tuple[int, bytes]:
    """Status and body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers or {}, method=method)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def posted(url: str, fields: dict[str, str], data: bytes) -> tuple[int, bytes]:
    """Status and body of a form with a file `name.txt` at its end."""
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()]
    head = "".join(parts) + '--b\r\nContent-Disposition: form-data; name="file"; filename="name.txt"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    return opened(url, "POST", head.encode() + data + b"\r\n--b--\r\n", kind)


SCENARIOS: tuple[Callable[[Any, str], None], ...] = (
    whole_objects, large_files, any_key, copies, ranges_and_conditions, checksums, parts_by_hand, signed_urls,
)  # fmt: skip


def clear(s3: Any, bucket: str) -> None:
    """Remove all that is in a bucket, and the bucket."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        rows = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        every = [{"Key": row["Key"], "VersionId": row["VersionId"]} for row in rows]
        if every:
            done = s3.delete_objects(Bucket=bucket, Delete={"Objects": every, "Quiet": True})
            assert "Errors" not in done, done["Errors"]
    s3.delete_bucket(Bucket=bucket)


def main(prefix: str) -> None:
    """All of them, each in a bucket of its own."""
    s3 = new_client()
    for number, scenario in enumerate(SCENARIOS):
        bucket = f"{prefix}-{number}"
        s3.create_bucket(Bucket=bucket)
        scenario(s3, bucket)
        clear(s3, bucket)
        print(scenario.__name__, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
