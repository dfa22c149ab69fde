"""How far a transfer is, on stderr: bars on a terminal, a line now and then in a pipe, JSON for programs."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from entrepot.cache.wording import shown_size
from entrepot.cli.session import Session, wants_color
from entrepot.client.progress import Progress, Watcher, nobody

if TYPE_CHECKING:
    from rich.progress import TaskID

LINE_SECONDS: Final = 30.0
_JSON_SECONDS: Final = 1.0
_BAR_SECONDS: Final = 0.05


@contextmanager
def watching(session: Session) -> Iterator[Watcher]:
    """Something to tell of progress, as the settings want it shown."""
    wish = session.settings.text("progress") or "auto"
    if session.is_quiet or wish == "none":
        yield nobody
    elif wish == "json":
        with _lines(_json_line, _JSON_SECONDS) as watcher:
            yield watcher
    elif wish == "auto" and sys.stderr.isatty() and not session.settings.is_on("json"):
        with _bars(color=wants_color(session)) as watcher:
            yield watcher
    else:
        with _lines(_plain_line, LINE_SECONDS) as watcher:
            yield watcher


class Lines:
    """A line at the start, every so often, and one at the end."""

    def __init__(self, line: Callable[[Progress, float], str], seconds: float) -> None:
        self._line = line
        self._seconds = seconds
        self._lock = threading.Lock()
        self._began = self._printed_at = time.monotonic()
        self._phase = ""
        self._latest: Progress | None = None
        self._printed: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        """Note it, and print it if it is time."""
        with self._lock:
            now = time.monotonic()
            is_first = self._latest is None
            if progress.phase != self._phase:
                self._phase, self._began = progress.phase, now
            self._latest = progress
            if is_first or now - self._printed_at >= self._seconds:
                self._print(now)

    def end(self) -> None:
        """The last line."""
        with self._lock:
            if self._latest is not None and self._latest != self._printed:
                self._print(time.monotonic())

    def _print(self, now: float) -> None:
        assert self._latest is not None
        self._printed_at, self._printed = now, self._latest
        print(self._line(self._latest, now - self._began), file=sys.stderr, flush=True)


@contextmanager
def _lines(line: Callable[[Progress, float], str], seconds: float) -> Iterator[Watcher]:
    lines = Lines(line, seconds)
    try:
        yield lines
    finally:
        lines.end()


def eta_seconds(progress: Progress, elapsed: float) -> int | None:
    """Seconds until this phase is done, at the rate so far; None if nobody can say."""
    moved = progress.done - progress.saved
    if progress.total is None or moved <= 0 or elapsed <= 0:
        return None
    return round((progress.total - progress.done) * elapsed / moved)


def _plain_line(progress: Progress, elapsed: float) -> str:
    total = f" of {shown_size(progress.total)}" if progress.total is not None else ""
    saved = f", {shown_size(progress.saved)} already there" if progress.saved else ""
    return f"{progress.phase} {shown_size(progress.done)}{total}{saved}"


def _json_line(progress: Progress, elapsed: float) -> str:
    said = {"type": "progress", "phase": progress.phase, "done": progress.done, "total": progress.total}
    return json.dumps({**said, "eta_seconds": eta_seconds(progress, elapsed)})


@contextmanager
def _bars(*, color: bool) -> Iterator[Watcher]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import (
        Progress as Bars,
    )

    columns = (
        TextColumn("  {task.description:8}"),
        BarColumn(24),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[saved]}"),
    )
    console = Console(stderr=True, no_color=not color)
    with Bars(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}
        shown_at = 0.0

        def watch(progress: Progress) -> None:
            nonlocal shown_at
            if progress.phase not in tasks:
                tasks[progress.phase] = bars.add_task(progress.phase, total=progress.total, saved="")
            elif time.monotonic() - shown_at < _BAR_SECONDS and progress.done != progress.total:
                return
            shown_at = time.monotonic()
            saved = f"{shown_size(progress.saved)} already there" if progress.saved else ""
            bars.update(tasks[progress.phase], completed=progress.done, total=progress.total, saved=saved)

        yield watch
