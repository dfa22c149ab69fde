"""oras-py: files as artifacts, in one request and in chunks, and whole OCI layouts."""

from pathlib import Path

import pytest

from tests.images import digest_of, image, two_platforms, write_layout
from tests.oci_accounts import new_password_user, new_repository, new_token, registry_of
from tests.s3_accounts import MIB, Account, client_program
from tests.sifs import sif

SCRIPT = Path(__file__).with_name("oci_with_oras.py")
STEPS = "artifacts folders chunks sif subjects layouts tags".split()


@pytest.mark.parametrize("proof", ["secret", "password", "token"])
def test_what_users_of_oras_py_do_holds(registry_account: Account, proof: str) -> None:
    account, repository = registry_account, new_repository(registry_account)
    person = (account.access, account.secret) if proof == "secret" else new_password_user(account)
    name, secret = ("anything", new_token(account, person[0])) if proof == "token" else person
    content = sif(payload=bytes(MIB), labels={"a": "b"})
    (account.home / "x.sif").write_bytes(content)
    whole, many = image("oras"), two_platforms("oras")
    write_layout(account.home / "layout", {"one": whole, "many": many})
    words = (account.address, name, secret, account.server.cafile or "", repository)
    assert account(client_program("python"), SCRIPT, *words).split() == STEPS
    registry = registry_of(account)
    registry.holds(f"{repository}/layouts", whole, "one")
    registry.holds(f"{repository}/layouts", many, "many")
    assert registry.done(200, "GET", f"/v2/{repository}/sif/blobs/{digest_of(content)}").body == content
