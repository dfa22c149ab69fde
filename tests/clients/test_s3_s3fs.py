"""s3fs under pandas, and Arrow's own client in C++."""

from pathlib import Path

from tests.s3_accounts import Account, client_program

SCRIPT = Path(__file__).with_name("s3_with_s3fs.py")


def test_what_analysts_do_holds(account: Account) -> None:
    done = account(client_program("python"), SCRIPT, account.name(), environ=account.aws_environ)
    assert done.split() == ["files", "frames", "arrow"]
