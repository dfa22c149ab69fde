"""curl: URLs and forms that somebody signed for it, buckets open to all, and its own signatures."""

import base64
import hashlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients import s3_with_boto3
from tests.conftest import needs
from tests.s3_accounts import MIB, Account, boto3_of

Curl = Callable[..., str]


@pytest.fixture
def curl(account: Account) -> Curl:
    """The program; what it prints ends with the status."""
    program = needs("curl", "curl")

    def run(*words: str | Path, stdin: bytes = b"") -> str:
        return account(program, "-sS", "-w", "%{http_code}", *words, stdin=stdin)

    return run


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_signed_urls_take_and_give_files(account: Account, curl: Curl, bucket: str, version: str) -> None:
    signer = boto3_of(account, signature_version=version)
    source = account.file("from", 3 * MIB)
    where = {"Bucket": bucket, "Key": "dir/größe Ω+&"}
    put, get = (signer.generate_presigned_url(f"{verb}_object", where) for verb in ("put", "get"))
    assert curl("-T", "from", put) == "200"
    assert curl("-o", "to", get) == "200"
    assert (account.home / "to").read_bytes() == source.read_bytes()
    assert curl("-T", "-", put, stdin=b"in chunks") == "200"
    assert curl(get) == "in chunks200"
    assert curl("-r", "3-", get) == "chunks206"
    assert "content-length: 9\n" in curl("-I", get).lower().replace("\r", "")
    (account.home / "to").write_bytes(b"in ")
    assert curl("-C", "-", "-o", "to", get) == "206"
    assert (account.home / "to").read_bytes() == b"in chunks"
    assert curl("-o", "no", get.replace("Expires=", "Expires=1")).endswith("403")
    over = signer.generate_presigned_url("get_object", where, ExpiresIn=1)
    time.sleep(2.1)
    assert "<Code>AccessDenied</Code>" in curl(over)


def test_a_form_takes_what_its_policy_allows(account: Account, curl: Curl, s3: Any, bucket: str) -> None:
    conditions = [["content-length-range", 1, 1000], {"success_action_status": "201"}]
    fields = {"success_action_status": "201"}
    form = s3.generate_presigned_post(bucket, "in/${filename}", fields, conditions)
    words = [word for name, text in form["fields"].items() for word in ("-F", f"{name}={text}")]
    for size, status in ((1000, "201"), (1001, "400")):
        account.file("größe.bin", size)
        said = curl(*words, "-F", "file=@größe.bin", form["url"])
        assert said.endswith(status)
    assert "<Code>EntityTooLarge</Code>" in said
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["in/größe.bin"]
    assert curl("-F", "key=in/x", "-F", "file=@größe.bin", form["url"]).endswith("403")


def test_a_public_bucket_is_read_by_all_and_written_by_none(account: Account, curl: Curl, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="dir/größe <1>", Body=b"open", ContentType="text/plain")
    url = f"{account.server.url}/{bucket}"
    assert "<Code>AccessDenied</Code>" in curl(f"{url}/dir/gr%C3%B6%C3%9Fe%20%3C1%3E")
    account.open_to_all(bucket)
    assert curl(f"{url}/dir/gr%C3%B6%C3%9Fe%20%3C1%3E") == "open200"
    assert "<Key>dir/größe &lt;1&gt;</Key>" in curl(f"{url}?prefix=dir/")
    assert "<CommonPrefixes><Prefix>dir/</Prefix></CommonPrefixes>" in curl(f"{url}?list-type=2&delimiter=/")
    page = curl("-H", "Accept: text/html,*/*;q=0.8", url)
    (link,) = re.findall(r'<a href="(/[^"]*)">dir/größe &lt;1&gt;</a>', page)
    assert curl(account.server.url + link) == "open200"
    assert "<Code>NoSuchKey</Code>" in curl(f"{url}/none")
    for words in (("-T", "-"), ("-X", "DELETE"), ("-X", "POST", "-F", "key=x", "-F", "file=x")):
        assert curl(*words, f"{url}/x" if words[1] != "POST" else url, stdin=b"x").endswith("403")
    assert s3_with_boto3.content(s3, bucket, "dir/größe <1>") == b"open"


def test_every_answer_with_bytes_names_their_sha256(account: Account, curl: Curl, s3: Any, bucket: str) -> None:
    source = account.file("from", 12 * MIB)
    s3.upload_file(str(source), bucket, "k")
    digest = base64.b64encode(hashlib.sha256(source.read_bytes()).digest()).decode()
    get = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"})
    for words, status in ((("-I",), "200"), (("-r", "0-9"), "206")):
        said = curl("-D", "-", "-o", "/dev/null", *words, get)
        assert f"repr-digest: sha-256=:{digest}:" in said.lower().replace(digest.lower(), digest)
        assert said.endswith(status)
    shown = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k", "ChecksumMode": "ENABLED"})
    said = curl("-D", "-", "-o", "/dev/null", shown)
    assert f"x-amz-checksum-sha256: {digest}\r\n" in said
    assert re.search(r"x-amz-checksum-crc32: \S+-2\r\n", said)


def test_curl_signs_by_itself(account: Account, curl: Curl, bucket: str) -> None:
    mine = [
        "--user", f"{account.access}:{account.secret}", "--aws-sigv4", "aws:amz:us-east-1:s3",
        "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD",
    ]  # fmt: skip
    source = account.file("from", 100_000)
    url = f"{account.server.url}/{bucket}/k"
    assert curl(*mine, "-T", "from", url) == "200"
    assert curl(*mine, "-o", "to", url) == "200"
    assert (account.home / "to").read_bytes() == source.read_bytes()
    assert curl(*mine, "-X", "DELETE", url) == "204"
