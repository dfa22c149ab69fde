"""awscli 1: `aws s3` as people and scripts use it, `aws s3api` where that cannot."""

import json
import os
import re

import pytest

from tests.clients.s3_with_boto3 import KEYS
from tests.counting import metered
from tests.s3_accounts import MIB, Account, blob_file, client_program, digest_of, flip_a_bit


@pytest.fixture
def aws(account: Account) -> str:
    """The program; its home is set up as the lines in docs/s3.md do it."""
    folder = account.home / ".aws"
    folder.mkdir()
    trust = f"ca_bundle = {account.server.cafile}\n" if account.secure else ""
    (folder / "config").write_text(f"[default]\nregion = us-east-1\nendpoint_url = {account.server.url}\n{trust}")
    keys = f"aws_access_key_id = {account.access}\naws_secret_access_key = {account.secret}\n"
    (folder / "credentials").write_text(f"[default]\n{keys}")
    return client_program("aws")


@pytest.fixture
def bucket(account: Account, aws: str) -> str:
    """An empty bucket."""
    name = account.name()
    assert account(aws, "s3", "mb", f"s3://{name}") == f"make_bucket: {name}\n"
    return name


def test_files_go_in_and_come_back(account: Account, aws: str, bucket: str) -> None:
    for size in (0, 7, 30_000_000):
        source = account.file("from", size)
        account(aws, "s3", "cp", source, f"s3://{bucket}/dir/{size}", "--no-progress")
        account(aws, "s3", "cp", f"s3://{bucket}/dir/{size}", "to", "--no-progress")
        assert (account.home / "to").read_bytes() == source.read_bytes()
    listed = account(aws, "s3", "ls", f"s3://{bucket}", "--recursive", "--summarize")
    assert re.findall(r" (\d+) (dir/\d+)\n", listed) == [("0", "dir/0"), ("30000000", "dir/30000000"), ("7", "dir/7")]
    assert "Total Objects: 3\n   Total Size: 30000007" in listed
    assert account(aws, "s3", "ls", f"s3://{bucket}").split() == ["PRE", "dir/"]
    account(aws, "s3", "cp", f"s3://{bucket}/dir/30000000", f"s3://{bucket}/copy", "--no-progress")
    account(aws, "s3", "mv", f"s3://{bucket}/copy", f"s3://{bucket}/moved", "--no-progress")
    account(aws, "s3", "cp", f"s3://{bucket}/moved", "to", "--no-progress")
    assert (account.home / "to").read_bytes() == source.read_bytes()
    assert "BucketNotEmpty" in account.fails(aws, "s3", "rb", f"s3://{bucket}")
    account(aws, "s3", "rb", f"s3://{bucket}", "--force")
    assert account(aws, "s3", "ls") == ""


def test_a_second_sync_sends_nothing(account: Account, aws: str, bucket: str) -> None:
    for number in range(12):
        account.file(f"tree/{number % 3}/größe {number}", number * 1000)
    up = ("s3", "sync", "tree", f"s3://{bucket}/tree", "--no-progress")
    assert account(aws, *up).count("upload: ") == 12
    assert account(aws, *up) == ""
    down = ("s3", "sync", f"s3://{bucket}/tree", "copy", "--no-progress")
    assert account(aws, *down).count("download: ") == 12
    assert account(aws, *down) == ""
    sent = {path.relative_to(account.home / "tree"): path.read_bytes() for path in (account.home / "tree").glob("*/*")}
    came = {path.relative_to(account.home / "copy"): path.read_bytes() for path in (account.home / "copy").glob("*/*")}
    assert sent == came
    (account.home / "tree" / "0" / "größe 0").unlink()
    assert account(aws, *up, "--delete").count("delete: ") == 1
    account(aws, "s3", "rm", f"s3://{bucket}", "--recursive")
    assert account(aws, "s3", "ls", f"s3://{bucket}", "--recursive", "--summarize").split()[-4:-3] == ["0"]


def test_streams_go_in_and_out_of_pipes(account: Account, aws: str, bucket: str) -> None:
    data = os.urandom(9 * MIB)
    account(aws, "s3", "cp", "-", f"s3://{bucket}/stream", stdin=data)
    assert account.run(aws, "s3", "cp", f"s3://{bucket}/stream", "-").stdout == data


@pytest.mark.parametrize("account", ["http"], indirect=True)
def test_single_operations_say_what_happened(account: Account, aws: str, bucket: str) -> None:
    api = (aws, "s3api")
    source = account.file("a", 100_000)
    key = KEYS[3]
    where = ("--bucket", bucket, "--key", key)
    put = json.loads(account(*api, "put-object", *where, "--body", source, "--checksum-algorithm", "SHA256"))
    shown = json.loads(account(*api, "head-object", *where, "--checksum-mode", "ENABLED"))
    assert shown["ChecksumSHA256"] == put["ChecksumSHA256"]
    account(*api, "get-object", *where, "--range", "bytes=5-9", "part")
    assert (account.home / "part").read_bytes() == source.read_bytes()[5:10]
    assert "PreconditionFailed" in account.fails(*api, "put-object", *where, "--body", source, "--if-none-match", "*")
    assert "BadDigest" in account.fails(
        *api, "put-object", *where, "--body", source, "--content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="
    )
    listed = json.loads(account(*api, "list-objects-v2", "--bucket", bucket))
    assert [(one["Key"], one["Size"]) for one in listed["Contents"]] == [(key, 100_000)]
    assert "NoSuchKey" in account.fails(*api, "get-object", "--bucket", bucket, "--key", "missing", "x")


@pytest.mark.parametrize("account", ["tls"], indirect=True)
def test_a_file_that_is_damaged_on_the_disk_is_not_taken(account: Account, aws: str, bucket: str) -> None:
    source = account.file("from", 12 * MIB)
    account(aws, "s3", "cp", source, f"s3://{bucket}/k", "--no-progress")
    flip_a_bit(blob_file(account.server, digest_of(source)), 9 * MIB)
    said = account.fails(aws, "s3api", "get-object", "--bucket", bucket, "--key", "k", "to")
    assert "did not match calculated checksum" in said


@pytest.mark.parametrize("account", ["http"], indirect=True)
def test_bytes_that_are_here_do_not_cross_the_wire_again(account: Account, aws: str, bucket: str) -> None:
    source = account.file("from", 20_000_000)
    with metered(account.server.url) as meter:
        for key, expected in (("one", 20_000_000), ("two", 0), ("one", 0)):
            meter.reset()
            account(
                aws,
                "s3",
                "cp",
                source,
                f"s3://{bucket}/{key}",
                "--no-progress",
                environ={"AWS_ENDPOINT_URL_S3": meter.url},
            )
            puts = [body for method, body in meter.requests if method == "PUT"]
            assert (len(puts), sum(puts)) == (3, expected)
    account(aws, "s3", "cp", f"s3://{bucket}/two", "to", "--no-progress")
    assert (account.home / "to").read_bytes() == source.read_bytes()
