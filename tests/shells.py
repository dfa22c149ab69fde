"""The installed `entrepot` as a user runs it: a folder, an environment, commands."""

import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SCRIPT = str(Path(sys.executable).with_name("entrepot"))


def _heed_interrupts() -> None:
    """As at a terminal, also where the tests themselves run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Shell:
    """A folder with nothing but this user's token, and the program in it."""

    folder: Path
    environ: dict[str, str]

    def begin(self, *words: str) -> "subprocess.Popen[bytes]":
        """A command that runs."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [SCRIPT, *words], stdout=pipe, stderr=pipe, cwd=self.folder, env=self.environ, preexec_fn=_heed_interrupts
        )

    def run(self, *words: str, stdin: bytes = b"", **environ: str) -> "subprocess.CompletedProcess[bytes]":
        """A command that has ended, in any way."""
        return subprocess.run(
            [SCRIPT, *words],
            input=stdin,
            capture_output=True,
            cwd=self.folder,
            env={**self.environ, **environ},
            timeout=90,
        )

    def __call__(self, *words: str, stdin: bytes = b"") -> str:
        """The stdout of a command that must succeed."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, (words, done)
        return done.stdout.decode()

    def fails(self, code: int, *words: str, stdin: bytes = b"", **environ: str) -> str:
        """The stderr of a command that must fail like this, with nothing on stdout."""
        done = self.run(*words, stdin=stdin, **environ)
        assert done.returncode == code, (words, done)
        assert done.stdout == b""
        return done.stderr.decode()

    def file(self, name: str, content: bytes) -> str:
        """The digest of a new file in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return f"sha256:{hashlib.sha256(content).hexdigest()}"


def shell_in(folder: Path, **environ: str) -> Shell:
    """A shell whose home and working folder are new ones in `folder`."""
    (folder / "home").mkdir(parents=True)
    (folder / "work").mkdir()
    kept = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONWARNINGS": "error"}
    return Shell(folder / "work", {**kept, "HOME": str(folder / "home"), **environ})
