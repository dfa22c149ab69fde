"""rclone of Debian, and of PyPI: two SDKs of AWS."""

import json
import re
import subprocess
import time

import pytest

from tests.conftest import needs
from tests.s3_accounts import MIB, Account, blob_file, client_program, digest_of, flip_a_bit

FILES = {
    "plain": 1, "empty": 0, "dir/two words": 100, "dir/größe-Ω-画像": 5000, "a+b&c=d;e,f'g%20.x": 10, 'quo"te<&>': 11,
    "~*!()": 12, "x?versionId=1#frag": 13, "dir/deep/er/large": 12 * MIB,
}  # fmt: skip


@pytest.fixture(params=["debian", "pypi"])
def rclone(request: pytest.FixtureRequest, account: Account) -> str:
    """The program; its remote `e:` is this account, as the lines in docs/s3.md set it up."""
    program = needs("/usr/bin/rclone", "rclone") if request.param == "debian" else client_program("rclone")
    config = account.home / ".config" / "rclone" / "rclone.conf"
    config.parent.mkdir(parents=True)
    lines = {
        "type": "s3", "provider": "Other", "endpoint": account.server.url, "access_key_id": account.access,
        "secret_access_key": account.secret,
    }  # fmt: skip
    config.write_text("[e]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items()))
    return program


@pytest.fixture
def bucket(account: Account, rclone: str) -> str:
    """An empty bucket, as rclone names it."""
    found = f"e:{account.name()}"
    account(rclone, "mkdir", found)
    return found


def test_a_tree_goes_in_and_comes_back_once(account: Account, rclone: str, bucket: str) -> None:
    for name, size in FILES.items():
        account.file(f"tree/{name}", size)
    in_parts = ("--s3-chunk-size", "5M", "--s3-upload-cutoff", "5M")
    account(rclone, "copy", "tree", f"{bucket}/tree", *in_parts)
    account(rclone, "check", "tree", f"{bucket}/tree", "--download")
    for command in (("copy", "tree", f"{bucket}/tree"), ("sync", f"{bucket}/tree", "tree")):
        assert "There was nothing to transfer" in account.run(rclone, *command, "-v").stderr.decode()
    listed = json.loads(account(rclone, "lsjson", "-R", "--files-only", "--hash", f"{bucket}/tree"))
    assert {one["Path"]: one["Size"] for one in listed} == FILES
    assert all(len(one["Hashes"]["md5"]) == 32 for one in listed)
    account(rclone, "sync", f"{bucket}/tree", "copy")
    assert all((account.home / "copy" / n).read_bytes() == (account.home / "tree" / n).read_bytes() for n in FILES)
    (account.home / "tree" / "plain").unlink()
    account(rclone, "sync", "tree", f"{bucket}/tree", "--s3-list-version", "2")
    assert "plain" not in account(rclone, "lsf", f"{bucket}/tree")
    account(rclone, "delete", f"{bucket}/tree/dir")
    assert account(rclone, "size", bucket, "--json").startswith('{"count":5,')
    account(rclone, "purge", bucket)
    assert account(rclone, "lsd", "e:") == ""


def test_names_are_copied_moved_and_read_in_ranges(account: Account, rclone: str, bucket: str) -> None:
    source = account.file("a", 6 * MIB)
    account(rclone, "copyto", source, f"{bucket}/größe Ω")
    account(rclone, "copyto", f"{bucket}/größe Ω", f"{bucket}/copy", "--s3-copy-cutoff", "5M")
    account(rclone, "moveto", f"{bucket}/copy", f"{bucket}/moved")
    assert set(account(rclone, "lsf", bucket).split("\n")) == {"größe Ω", "moved", ""}
    part = account.run(rclone, "cat", f"{bucket}/moved", "--offset", "1000", "--count", "5000").stdout
    assert part == source.read_bytes()[1000:6000]
    assert account(rclone, "touch", f"{bucket}/moved", "-t", "2001-02-03T04:05:06") == ""
    assert "2001-02-03 04:05:06" in account(rclone, "lsl", f"{bucket}/moved")
    link = account(rclone, "link", f"{bucket}/moved", "--expire", "1h")
    assert account.run(needs("curl", "curl"), "-fsS", link.strip()).stdout == source.read_bytes()


def test_a_pipe_goes_in_whatever_its_length(account: Account, rclone: str, bucket: str) -> None:
    for size in (0, 10, 200_000, 12 * MIB):
        data = account.file("a", size).read_bytes()
        account(rclone, "rcat", f"{bucket}/stream", "--s3-chunk-size", "5M", stdin=data)
        assert account.run(rclone, "cat", f"{bucket}/stream").stdout == data


def test_an_upload_that_was_killed_is_listed_and_cleaned(account: Account, rclone: str, bucket: str) -> None:
    command = [rclone, "rcat", f"{bucket}/never", "--s3-chunk-size", "5M"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=account.home, env=account.environ) as running:
        assert running.stdin
        running.stdin.write(bytes(11 * MIB))
        running.stdin.flush()
        deadline = time.monotonic() + 20
        while not (found := _open_uploads(account, rclone, bucket)) and time.monotonic() < deadline:
            time.sleep(0.2)
        running.kill()
    assert [one["Key"] for one in found] == ["never"]
    account(rclone, "backend", "cleanup", bucket, "-o", "max-age=0s")
    assert _open_uploads(account, rclone, bucket) == []
    account(rclone, "rmdir", bucket)


def _open_uploads(account: Account, rclone: str, bucket: str) -> list[dict[str, str]]:
    listed = json.loads(account(rclone, "backend", "list-multipart-uploads", bucket))
    return [one for uploads in listed.values() for one in uploads or ()]


@pytest.mark.parametrize("size", [100_000, 12 * MIB], ids=["whole", "in parts"])
def test_a_file_that_is_damaged_on_the_disk_is_not_taken(account: Account, rclone: str, bucket: str, size: int) -> None:
    source = account.file("a", size)
    account(rclone, "copyto", source, f"{bucket}/k", "--s3-upload-cutoff", "5M")
    flip_a_bit(blob_file(account.server, digest_of(source)), size // 2)
    said = account.fails(rclone, "copyto", f"{bucket}/k", "b", "--retries", "1", "--low-level-retries", "1")
    assert re.search("corrupted on transfer|checksum", said)
    assert not (account.home / "b").exists()


@pytest.mark.slow
def test_thousands_of_files_go_in_are_listed_and_go(account: Account, rclone: str, bucket: str) -> None:
    for number in range(2500):
        account.file(f"tree/{number % 50}/{number}", 10)
    account(rclone, "copy", "tree", bucket)
    assert "There was nothing to transfer" in account.run(rclone, "sync", "tree", bucket, "-v").stderr.decode()
    assert len(account(rclone, "lsf", "-R", "--files-only", bucket).split()) == 2500
    assert len(account(rclone, "lsf", bucket).split()) == 50
    account(rclone, "purge", bucket)
