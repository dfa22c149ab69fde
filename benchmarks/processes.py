"""What processes use, read from /proc; and C programs, compiled when they are needed."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parent / "native"


def children_of() -> dict[int, list[int]]:
    """Ids of the children of each process."""
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            found.setdefault(parent, []).append(int(entry.name))
    return found


def tree(pid: int) -> list[int]:
    """The process and all below it."""
    children, found = children_of(), [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU (utime + stime) of these processes so far, all threads; from their CPU clocks, which do not round to 10 ms.

    Source: clock_getcpuclockid(3), whose id of another process's clock is (~pid << 3) | 2.
    """
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def memory_bytes(pid: int, field: str = "VmRSS") -> int:
    """Resident memory now; `VmHWM`: its peak since the last `forget_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) << 10
    raise LookupError(field)


def forget_peak(pid: int) -> None:
    """The peak of resident memory is counted anew. Source: proc(5), clear_refs."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> None:
    """End a process we started, and wait for it."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
    if process.stdout:
        process.stdout.close()


@dataclass(frozen=True, slots=True)
class Program:
    """One program of native/, compiled into a temporary folder."""

    path: Path

    @classmethod
    def compile(cls, name: str, folder: Path) -> "Program":
        """Raises: CalledProcessError; FileNotFoundError without gcc."""
        path = folder / name
        if not path.exists():
            command = ["gcc", "-O2", "-pthread", "-o", str(path), str(SOURCES / f"{name}.c"), "-lcrypto"]
            subprocess.run(command, check=True)
        return cls(path)

    def run(self, *words: str) -> str:
        """What it prints. Raises: CalledProcessError."""
        return subprocess.run([self.path, *words], check=True, stdout=subprocess.PIPE, text=True).stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        """It runs; its stdout is a pipe."""
        return subprocess.Popen([self.path, *words], stdout=subprocess.PIPE, text=True)


def spent_by(command: list[str], environ: dict[str, str] | None = None) -> tuple[float, str]:
    """CPU seconds of one run of a command, and what it printed. Raises: RuntimeError if it fails."""
    reading, writing = os.pipe()
    process = os.posix_spawn(
        command[0], command, environ or dict(os.environ), file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)]
    )
    os.close(writing)
    with os.fdopen(reading) as output:
        text = output.read()
    _, status, usage = os.wait4(process, 0)
    if status:
        raise RuntimeError(f"{command[0]} ended with status {status}")
    return usage.ru_utime + usage.ru_stime, text


def program_path(name: str) -> str | None:
    """Where a program lies, the administrator's included; None if it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
