"""restic of Debian: a repository in a bucket, from its first file to its last."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.s3_accounts import MIB, Account, flip_a_bit

Restic = Callable[..., str]


@pytest.fixture
def restic(account: Account) -> Restic:
    """The program on a new repository."""
    program = needs("restic", "restic")
    environ = {
        "RESTIC_REPOSITORY": f"s3:{account.server.url}/{account.name()}", "RESTIC_PASSWORD": "kept well",
        "AWS_ACCESS_KEY_ID": account.access, "AWS_SECRET_ACCESS_KEY": account.secret,
    }  # fmt: skip
    trust = ("--cacert", account.server.cafile) if account.server.cafile else ()

    def run(*words: str, fails: bool = False, stdin: bytes = b"") -> str:
        act = account.fails if fails else account
        return act(program, *trust, *words, stdin=stdin, environ=environ)

    run("init")
    return run


def test_a_folder_is_backed_up_checked_restored_and_pruned(account: Account, restic: Restic) -> None:
    source = account.file("tree/large", 30 * MIB)
    for number in range(50):
        account.file(f"tree/{number % 5}/größe {number}", number * 100)
    assert "51 new" in restic("backup", "tree")
    account.file("tree/more", 5000)
    assert "1 new,     0 changed,    51 unmodified" in restic("backup", "tree")
    assert "2 snapshots" in restic("snapshots")
    assert "no errors were found" in restic("check", "--read-data")
    restic("restore", "latest", "--target", "out")
    files = [path.relative_to(account.home) for path in account.home.glob("tree/**/*") if path.is_file()]
    assert len(files) == 52
    assert all((account.home / "out" / name).read_bytes() == (account.home / name).read_bytes() for name in files)
    source.unlink()
    restic("backup", "tree")
    assert "removed, running prune" in restic("forget", "--keep-last", "1", "--prune")
    assert "no errors were found" in restic("check")
    restic("backup", "--stdin", "--stdin-filename", "x", stdin=b"streamed")
    assert restic("dump", "latest", "/x") == "streamed"


def test_a_pack_that_is_damaged_on_the_disk_is_found(account: Account, restic: Restic) -> None:
    account.file("tree/large", 20 * MIB)
    before = set(_files(account))
    restic("backup", "tree")
    pack = max(set(_files(account)) - before, key=lambda path: path.stat().st_size)
    flip_a_bit(pack, 5 * MIB)
    assert "error" in restic("check", "--read-data", fails=True)


def _files(account: Account) -> list[Path]:
    return list((account.server.data / "blobs").glob("??/*"))
