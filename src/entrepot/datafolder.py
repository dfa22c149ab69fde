"""The data folder: made once, held by one server, and its epoch, which tells a restored catalog from a current one."""

import fcntl
import os
import resource
from typing import Final

from entrepot.errors import UsageError

_NETWORK: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "lustre", "ceph", "glusterfs", "beegfs"}


def prepare(path: str, *, force_network_disk: bool = False) -> None:
    """The folder, 0700; everything made from now on is ours alone. Raises: UsageError for a network file system."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.makedirs(path, 0o700, exist_ok=True)
    kind = file_system(path)
    if kind in _NETWORK and not force_network_disk:
        raise UsageError(
            f"the data folder is on {kind}", why="SQLite and its locks are not safe there",
            advice="use a local disk, or PostgreSQL and --force-network-disk",
        )  # fmt: skip


def file_system(path: str) -> str:
    """The type of the file system `path` lies on; empty if the kernel does not say."""
    best, kind = "", ""
    try:
        with open("/proc/self/mounts") as mounts:
            for line in mounts:
                _, where, found = line.split()[:3]
                where = where.encode().decode("unicode_escape")
                inside = os.path.realpath(path) == where or os.path.realpath(path).startswith(where.rstrip("/") + "/")
                if inside and len(where) >= len(best):
                    best, kind = where, found
    except OSError:
        return ""
    return kind


def lock(path: str) -> int:
    """A descriptor that holds the folder for as long as it is open. Raises: UsageError if another server has it."""
    descriptor = os.open(os.path.join(path, "LOCK"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError("another server uses this data folder", advice="stop it, or give another --data") from None
    return descriptor


def read_epoch(path: str) -> int:
    """The number in `blobs/EPOCH`; 0 if there is none yet."""
    try:
        with open(os.path.join(path, "blobs", "EPOCH")) as file:
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return 0


def write_epoch(path: str, epoch: int) -> None:
    """Replace the number, safely."""
    final = os.path.join(path, "blobs", "EPOCH")
    with open(final + ".new", "w") as file:
        file.write(str(epoch))
        file.flush()
        os.fsync(file.fileno())
    os.rename(final + ".new", final)
