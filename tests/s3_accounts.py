"""What S3 clients are given: a project and a key of their own on a running server, and a home with nothing else."""

import hashlib
import os
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from tests.conftest import needs
from tests.running import RunningServer

CLIENTS = Path(__file__).resolve().parents[1] / ".venv-clients" / "bin"
REGION = "us-east-1"
MIB = 2**20


def client_program(name: str) -> str:
    """Path of a program that `python3 dev test` puts into the clients' environment; missing, as `needs`."""
    return needs(str(CLIENTS / name), "it with `python3 dev test`")


@dataclass(frozen=True)
class Account:
    """A maintainer of a project with nothing in it, and the folder its programs run in."""

    server: RunningServer
    project: str
    access: str
    secret: str
    home: Path

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return urlsplit(self.server.url).netloc

    @property
    def secure(self) -> bool:
        """Whether it is reached over TLS."""
        return self.server.cafile is not None

    @property
    def environ(self) -> dict[str, str]:
        """A home, and the certificate to trust where programs in Go, curl and Python's ssl look for it."""
        found = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}
        cafile = self.server.cafile
        return found | ({"SSL_CERT_FILE": cafile, "CURL_CA_BUNDLE": cafile} if cafile else {})

    @property
    def aws_environ(self) -> dict[str, str]:
        """What a user of AWS's own programs has set."""
        found = self.environ | {
            "AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_S3": self.server.url,
        }  # fmt: skip
        return found | ({"AWS_CA_BUNDLE": self.server.cafile} if self.server.cafile else {})

    def run(
        self, *words: str | Path, stdin: bytes = b"", environ: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[bytes]":
        """A program that has ended, in any way."""
        return subprocess.run(
            words, input=stdin, capture_output=True, cwd=self.home, env={**self.environ, **(environ or {})},
            timeout=120, check=False,
        )  # fmt: skip

    def __call__(self, *words: str | Path, stdin: bytes = b"", environ: Mapping[str, str] | None = None) -> str:
        """The stdout of a program that must succeed."""
        done = self.run(*words, stdin=stdin, environ=environ)
        said = (done.stdout[-2000:] + done.stderr[-4000:]).decode(errors="replace")
        assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{said}"
        return done.stdout.decode()

    def fails(self, *words: str | Path, stdin: bytes = b"", environ: Mapping[str, str] | None = None) -> str:
        """All that a program says that must fail."""
        done = self.run(*words, stdin=stdin, environ=environ)
        assert done.returncode != 0, (words, done)
        return (done.stdout + done.stderr).decode()

    def file(self, name: str, size: int) -> Path:
        """A new file of random bytes in the home."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        return path

    def name(self, word: str = "bucket") -> str:
        """A bucket name that no other test uses."""
        return f"{word}-{secrets.token_hex(4)}"

    def open_to_all(self, bucket: str) -> None:
        """Make a bucket public, as its maintainer."""
        token = self.server.tokens["s3-user"]
        self.server.call("PUT", f"/buckets/{self.project}:{bucket}", {"public": True}, token=token)


def new_account(server: RunningServer, home: Path) -> Account:
    """An account on that server."""
    server.user("s3-user")
    project = f"s3-{secrets.token_hex(4)}"
    server.call("POST", "/projects", {"name": project})
    server.call("PUT", "/roles", {"principal": "s3-user", "project": project, "role": "maintainer"})
    key = server.call("POST", "/keys", {"principal": "s3-user", "project": project})
    return Account(server, project, key["access"], key["secret"], home)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def blob_file(server: RunningServer, sha256: str) -> Path:
    """The file that holds those bytes."""
    (found,) = (server.data / "blobs" / sha256[:2]).glob(f"{sha256}.*")
    return found


def flip_a_bit(path: Path, offset: int) -> None:
    """Damage that changes no length and no time: what a disk does."""
    times = path.stat()
    mode = times.st_mode & 0o777
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
    path.chmod(mode)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def boto3_of(account: Account, **config: Any) -> Any:
    """A boto3 client of an account, in this process."""
    session = boto3.Session(account.access, account.secret, region_name=REGION)
    found = Config(retries={"max_attempts": 1}, **config)
    return session.client("s3", endpoint_url=account.server.url, verify=account.server.cafile, config=found)
