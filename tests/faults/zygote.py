"""Servers by the dozen: one process imports entrepot once, every server is a fork of it, with its own pid and end."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.running import RunningServer

FORKING = """
import json, os, random, sys
import entrepot.cli.serve, entrepot.lifetime, entrepot.catalog.sqlite, alembic.command, uvloop, asyncio
from entrepot import failpoints
from entrepot.cli import main
os.environ.pop("ENTREPOT_FAILPOINT", None)

def child(wish):
    os.environ.update(wish["environ"])
    for number, path in ((0, os.devnull), (1, wish["out"]), (2, wish["log"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    for module in [module for name, module in sys.modules.items() if name.startswith("entrepot.")]:
        for value in vars(module).values():
            if isinstance(value, random.Random):
                value.seed()  # what a process of its own would draw is not what its sisters draw
    failpoints.arm(os.environ.get("ENTREPOT_FAILPOINT", ""))
    sys.argv[1:] = wish["argv"]
    code = 1
    try:
        code = main() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(code)

for line in iter(sys.stdin.readline, ""):
    wish = json.loads(line)
    if "argv" in wish:
        pid = os.fork()
        if pid == 0:
            child(wish)
        answer = pid
    else:
        pid, status = os.waitpid(wish["pid"], os.WNOHANG)
        answer = os.waitstatus_to_exitcode(status) if pid else None
    print(json.dumps(answer), flush=True)
"""


class Forked:
    """A forked server, as far as a test needs a process."""

    stdout = None

    def __init__(self, zygote: "Zygote", pid: int) -> None:
        self._zygote = zygote
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, once it has ended; below zero the signal it died of."""
        if self.returncode is None:
            self.returncode = self._zygote.tell({"pid": self.pid})
        return self.returncode

    def wait(self, timeout: float = 20) -> int:
        """The exit code. Raises: TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("entrepot serve", timeout)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        """To this server alone, if it lives."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Zygote:
    """The process all servers are forked from."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._servers: list[Forked] = []

    def tell(self, wish: Mapping[str, object]) -> Any:
        """The answer to one wish."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, data: Path, environ: Mapping[str, str]) -> RunningServer:
        """A server that answers; `<data>.log` is its log. Raises: RuntimeError if it ends before that."""
        out, log = data.with_suffix(".out"), data.with_suffix(".log")
        out.unlink(missing_ok=True)
        own = {"ENTREPOT_RESERVE_BYTES": str(64 << 20), **environ}
        argv = ["serve", "--data", str(data), "--listen", "127.0.0.1:0"]
        process = Forked(self, self.tell({"argv": argv, "environ": own, "out": str(out), "log": str(log)}))
        self._servers.append(process)
        url = ""
        while not url.endswith("\n"):
            code = process.poll()
            url = out.read_text() if out.exists() else ""
            if code is not None and not url:
                raise RuntimeError(f"the server did not start: {code}")
            time.sleep(0.005)
        token = data / "admin-token"
        return RunningServer(process, url.strip(), data, log, None, token.read_text().strip())  # type: ignore[arg-type]

    def close(self) -> None:
        """End it, and every server a failed test left behind."""
        for server in self._servers:
            server.send_signal(9)
            server.wait()
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(20)
