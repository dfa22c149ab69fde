"""minio-py: its own V4 signatures, signed chunks over http, forms."""

from pathlib import Path

from tests.s3_accounts import Account, client_program

SCRIPT = Path(__file__).with_name("s3_with_minio.py")


def test_what_users_of_minio_py_do_holds(account: Account) -> None:
    python = client_program("python")
    done = account(python, SCRIPT, account.address, account.access, account.secret, str(account.secure), account.name())
    assert done.split() == "buckets objects files copies links versions removal".split()
