"""What every step stands on: a folder of its own, the programs run in it, one server, and what earlier steps made."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from demo.image import Image

BIN: Final = Path(sys.executable).parent
LIMIT_SECONDS: Final = 120
START_SECONDS: Final = 30
# Whatever proxy this machine has, it does not know our loopback address.
fetch: Final = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
_OURS: Final = re.compile(r"(ENTREPOT|PROMINENCE|XDG|AWS)_|(HTTPS?|ALL|NO)_PROXY\Z", re.IGNORECASE)
_SAMPLE: Final = re.compile(r"(\w+)(?:\{([^}]*)\})? (\S+)\Z")


class Failed(Exception):
    """A step did not hold; the text says why."""


def need(holds: bool, why: str) -> None:
    """Nothing, if it holds. Raises: Failed."""
    if not holds:
        raise Failed(why)


def shown(size: float) -> str:
    """`97.0 MiB`."""
    return f"{size / (1 << 20):.1f} MiB"


def rate(size: float, seconds: float) -> str:
    """`210 MiB/s`."""
    return f"{size / (1 << 20) / seconds:.0f} MiB/s"


@dataclass(frozen=True, slots=True)
class Done:
    """A program that ended: its exit code, what it printed, and how long it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def last_words(self) -> str:
        """The end of what it said, for a message."""
        return (self.err or self.out).strip()[-400:]


class Running:
    """A program that was started and is waited for later."""

    def __init__(self, command: list[str], environ: Mapping[str, str], folder: Path) -> None:
        self._began = time.monotonic()
        self.process = subprocess.Popen(
            command, env=environ, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace",
        )  # fmt: skip

    def wait(self) -> Done:
        """Its end. Raises: Failed, if that takes too long; it is killed then."""
        try:
            out, err = self.process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"{self.process.args!r} took over {LIMIT_SECONDS} s") from None
        return Done(self.process.returncode, out, err, time.monotonic() - self._began)

    def kill(self) -> None:
        """End it now, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


class Server:
    """An `entrepot serve` with its data in one folder; it keeps its port when it is started again."""

    def __init__(self, data: Path, environ: Mapping[str, str]) -> None:
        self.data = data
        self.log = data.with_suffix(".log")
        self.url = ""
        self._environ = {**environ, "ENTREPOT_RESERVE_BYTES": str(64 << 20)}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> float:
        """Seconds until it answered. Raises: Failed."""
        began = time.monotonic()
        listen = self.url.removeprefix("http://") or "127.0.0.1:0"
        with self.log.open("a") as log:
            # a session of its own: Ctrl-C in the terminal is for the demo, which then stops it
            self._process = subprocess.Popen(
                [str(BIN / "entrepot"), "serve", "--data", str(self.data), "--listen", listen],
                env=self._environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
                start_new_session=True,
            )  # fmt: skip
        assert self._process.stdout
        self.url = self._process.stdout.readline().strip()
        need(bool(self.url), f"the server did not start: {self.log.read_text()[-600:]}")
        while not self._is_ready():
            need(time.monotonic() - began < START_SECONDS, "the server is not ready")
            time.sleep(0.02)
        return time.monotonic() - began

    def _is_ready(self) -> bool:
        try:
            with fetch(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit code after that signal."""
        assert self._process
        if self.is_running:
            self._process.send_signal(number)
        code = self._process.wait(60)
        if self._process.stdout:
            self._process.stdout.close()
        return code

    def counted(self, name: str, **labels: str) -> float:
        """The sum of a metric over all rows that have these labels, as `/metrics` says it."""
        with fetch(f"{self.url}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        total = 0.0
        for line in text.splitlines():
            found = _SAMPLE.match(line)
            if found and found[1] == name:
                here = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
                if labels.items() <= here.items():
                    total += float(found[3])
        return total

    def requests(self) -> list[dict[str, Any]]:
        """Every request its log tells of, over all starts."""
        lines = (line for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [record for record in map(json.loads, lines) if record.get("event") == "request"]

    def stored(self) -> dict[str, int]:
        """Files below `blobs/`, with the bytes each takes on disk."""
        folders = (folder for folder in (self.data / "blobs").iterdir() if folder.is_dir())
        return {file.name: file.stat().st_blocks * 512 for folder in folders for file in folder.iterdir()}

    def staged(self) -> list[str]:
        """What lies in `staging/`."""
        return os.listdir(self.data / "staging")


@dataclass
class Stage:
    """The folder, the server, and what the steps hand on."""

    folder: Path
    mib: int
    environ: dict[str, str] = field(default_factory=dict)
    children: list[Running] = field(default_factory=list)
    token: str = ""
    link: str = ""
    image: Image = field(init=False)
    server: Server = field(init=False)

    def __post_init__(self) -> None:
        """Programs see a home in the folder, and none of this user's settings, tokens and proxies."""
        kept = {name: value for name, value in os.environ.items() if not _OURS.match(name)}
        for name in ("home", "work", "tmp"):
            (self.folder / name).mkdir()
        self.environ = {
            **kept,
            "PATH": f"{BIN}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "ENTREPOT_CACHE": str(self.folder / "cache"),
            "ENTREPOT_CACHE_MIN_FREE_BYTES": str(64 << 20),
        }
        self.server = Server(self.folder / "server", self.environ)

    @property
    def work(self) -> Path:
        """Where the users of the demo keep their files."""
        return self.folder / "work"

    @property
    def admin_token(self) -> str:
        """What the first start of a server without a terminal leaves in its data folder."""
        return (self.server.data / "admin-token").read_text().strip()

    def as_user(self) -> dict[str, str]:
        """Variables with which both clients find the server."""
        return {
            "ENTREPOT_SERVER": self.server.url,
            "ENTREPOT_TOKEN": self.token,
            "PROMINENCE_URL": f"{self.server.url}/prominence/v1",
            "PROMINENCE_TOKEN": self.token,
        }

    def begin(self, *command: str, **variables: str) -> Running:
        """A program of the environment, started as the user."""
        path = str(BIN / command[0])
        running = Running([path, *command[1:]], {**self.environ, **self.as_user(), **variables}, self.work)
        self.children.append(running)
        return running

    def run(self, *command: str, **variables: str) -> Done:
        """As `begin`, and waited for."""
        return self.begin(*command, **variables).wait()

    def succeed(self, *command: str, **variables: str) -> Done:
        """As `run`. Raises: Failed, unless it exits 0."""
        done = self.run(*command, **variables)
        need(done.code == 0, f"`{' '.join(command)[:200]}` ended with exit {done.code}: {done.last_words}")
        return done

    def ask(self, path: str, body: object) -> Any:
        """The JSON answer to a POST as the user."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.server.url}{path}", json.dumps(body).encode(), headers)
        with fetch(request, timeout=30) as answer:
            return json.load(answer)

    def close(self) -> None:
        """No process of ours is left."""
        for child in self.children:
            child.kill()
        if self.server.is_running:
            self.server.stop(signal.SIGTERM)
