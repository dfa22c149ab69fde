"""Named points where a test can kill the process, make it fail or wait.

`ENTREPOT_FAILPOINT=name[@n]:kill|errno=EIO|sleep=0.25[,…]`: at the n-th pass (1 if left out) of `name` the process
gets SIGKILL, the call raises that OSError, or it waits. An unknown name stops the start. Unset, a point costs one
truth test of an empty dict.
"""

import errno
import os
import signal
import time
from typing import Final

NAMES: Final = frozenset(
    """
    upload.reserved upload.staged upload.written upload.synced upload.progressed
    blob.verified blob.synced blob.renamed blob.folder_synced blob.loser_unlinking blob.reading
    catalog.committing catalog.committed answer.sending name.deleted
    gc.marked gc.unlinking gc.unlinked gc.forgotten sweep.unlinking scrub.quarantined
    quota.released lease.taken epoch.raised checkpoint.starting drain.started job.claimed job.finished
    lifecycle.removing cache.filled cache.renamed
    """.split()
)

_armed: dict[str, list[tuple[int, str]]] = {}
_passes: dict[str, int] = {}


def arm(text: str) -> None:
    """Set the points named in `text`; an empty text disarms all. Raises: ValueError for an unknown name or act."""
    _armed.clear()
    _passes.clear()
    for item in filter(None, text.split(",")):
        where, _, act = item.partition(":")
        name, _, count = where.partition("@")
        if name not in NAMES or not (
            act == "kill" or (act.startswith("errno=") and hasattr(errno, act[6:])) or act.startswith("sleep=")
        ):
            raise ValueError(f"ENTREPOT_FAILPOINT: cannot read {item!r}")
        _armed.setdefault(name, []).append((int(count or 1), act))


def failpoint(name: str) -> None:
    """Do what the environment armed for `name`, if anything."""
    if _armed and name in _armed:
        _pass(name)


def _pass(name: str) -> None:
    _passes[name] = _passes.get(name, 0) + 1
    for count, act in _armed[name]:
        if count != _passes[name]:
            continue
        if act == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif act.startswith("sleep="):
            time.sleep(float(act[6:]))
        else:
            number: int = getattr(errno, act[6:])
            raise OSError(number, os.strerror(number))


arm(os.environ.get("ENTREPOT_FAILPOINT", ""))
