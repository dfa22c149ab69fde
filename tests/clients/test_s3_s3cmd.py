"""s3cmd: V4 in headers, V2 in the URLs it signs, and questions about everything a bucket can have."""

import re
from collections.abc import Callable

import pytest

from tests.conftest import needs
from tests.s3_accounts import MIB, Account, client_program, digest_of

S3cmd = Callable[..., str]


@pytest.fixture
def s3cmd(account: Account) -> S3cmd:
    """The program; its home is set up as the lines in docs/s3.md do it."""
    program = client_program("s3cmd")
    lines = {
        "access_key": account.access, "secret_key": account.secret, "host_base": account.address,
        "host_bucket": account.address, "use_https": str(account.secure), "signurl_use_https": str(account.secure),
        "ca_certs_file": account.server.cafile or "",
    }  # fmt: skip
    (account.home / ".s3cfg").write_text("[default]\n" + "".join(f"{name} = {lines[name]}\n" for name in lines))

    def run(*words: str, fails: bool = False, stdin: bytes = b"") -> str:
        return (account.fails if fails else account)(program, "--no-progress", *words, stdin=stdin)

    return run


@pytest.fixture
def bucket(account: Account, s3cmd: S3cmd) -> str:
    """An empty bucket, as s3cmd names it."""
    found = f"s3://{account.name()}"
    s3cmd("mb", found)
    return found


def test_files_go_in_and_come_back(account: Account, s3cmd: S3cmd, bucket: str) -> None:
    for size in (0, 7, 12 * MIB):
        source = account.file("from", size)
        s3cmd("put", "from", f"{bucket}/größe Ω+&", "--multipart-chunk-size-mb=5", "--add-header=x-amz-meta-own: 1")
        s3cmd("get", f"{bucket}/größe Ω+&", "to", "--force")
        assert (account.home / "to").read_bytes() == source.read_bytes()
    shown = s3cmd("info", f"{bucket}/größe Ω+&")
    assert re.search(rf"File size: {12 * MIB}\n", shown)
    assert re.search(r"x-amz-meta-own: +1\n", shown)
    s3cmd("cp", f"{bucket}/größe Ω+&", f"{bucket}/copy")
    s3cmd("mv", f"{bucket}/copy", f"{bucket}/moved")
    assert re.findall(r"s3://.*", s3cmd("ls", bucket)) == [f"{bucket}/größe Ω+&", f"{bucket}/moved"]
    (account.home / "to").write_bytes(source.read_bytes()[: 5 * MIB])
    s3cmd("get", f"{bucket}/moved", "to", "--continue")
    assert digest_of(account.home / "to") == digest_of(source)
    link = s3cmd("signurl", f"{bucket}/moved", "+600").strip()
    assert account.run(needs("curl", "curl"), "-fsS", link).stdout == source.read_bytes()
    assert re.match(rf" *{24 * MIB} +2 objects", s3cmd("du", bucket))
    assert "BucketNotEmpty" in s3cmd("rb", bucket, fails=True)
    s3cmd("rb", "--recursive", "--force", bucket)
    assert s3cmd("ls") == ""


def test_a_second_sync_sends_nothing(account: Account, s3cmd: S3cmd, bucket: str) -> None:
    for number in range(12):
        account.file(f"tree/{number % 3}/größe {number}", 100 + number)
    assert s3cmd("sync", "tree/", f"{bucket}/t/").count("upload: ") == 12
    assert "upload: " not in s3cmd("sync", "tree/", f"{bucket}/t/")
    assert s3cmd("sync", f"{bucket}/t/", "copy/").count("download: ") == 12
    for path in (account.home / "tree").glob("*/*"):
        assert (account.home / "copy" / path.relative_to(account.home / "tree")).read_bytes() == path.read_bytes()
    (account.home / "tree" / "0" / "größe 0").unlink()
    assert s3cmd("sync", "tree/", f"{bucket}/t/", "--delete-removed").count("delete: ") == 1
    s3cmd("del", "--recursive", "--force", bucket)
    assert s3cmd("ls", "-r", bucket) == ""
    s3cmd("rb", bucket)


def test_streams_go_in_and_out_of_pipes(account: Account, s3cmd: S3cmd, bucket: str) -> None:
    s3cmd("put", "-", f"{bucket}/stream", stdin=b"streamed")
    assert s3cmd("get", f"{bucket}/stream", "-", "--quiet") == "streamed"


def test_a_bucket_and_an_object_are_described_and_shown_to_all(account: Account, s3cmd: S3cmd, bucket: str) -> None:
    account.file("a", 10)
    s3cmd("put", "a", f"{bucket}/a")
    assert "Location:  us-east-1" in s3cmd("info", bucket)
    url = f"{account.server.url}/{bucket.removeprefix('s3://')}/a"
    curl = (needs("curl", "curl"), "-s", "-o", "/dev/null", "-w", "%{http_code}", url)
    assert account(*curl) == "403"
    s3cmd("setacl", f"{bucket}/a", "--acl-public")
    assert "*anon*: READ" in s3cmd("info", f"{bucket}/a")
    assert account(*curl) == "200"
    s3cmd("setacl", f"{bucket}/a", "--acl-private")
    assert account(*curl) == "403"


def test_what_is_not_done_is_refused_by_name(s3cmd: S3cmd, bucket: str) -> None:
    assert "501 (NotImplemented)" in s3cmd("accesslog", bucket, fails=True)
    assert "does not exist" in s3cmd("get", f"{bucket}/none", "x", fails=True)
