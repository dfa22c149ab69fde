"""The data folder: made once, held by one server; its mark and its epoch tell whether the catalog is the one for it."""

import fcntl
import os
import resource
from typing import Final

from entrepot.errors import UsageError

_NETWORK: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "lustre", "ceph", "glusterfs", "beegfs"}


def prepare(path: str, *, force_network_disk: bool = False) -> None:
    """The folder, 0700; everything made from now on is ours alone, and as many files may be open as the system allows.

    Raises: UsageError if it cannot be made or written, or is on a network file system.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    try:
        os.makedirs(path, 0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--data {path} cannot be made", why=error.strerror or "") from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise UsageError(f"--data {path} cannot be used", why="this user may not write there")
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


def read_mark(path: str) -> str | None:
    """What `blobs/STORE` says: which store these bytes belong to; None if they are of no store yet."""
    try:
        with open(os.path.join(path, "blobs", "STORE")) as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def write_mark(path: str, mark: str) -> None:
    """Say which store these bytes belong to."""
    _replace(os.path.join(path, "blobs", "STORE"), mark)


def read_epoch(path: str) -> int:
    """The number in `blobs/EPOCH`; 0 if there is none yet."""
    try:
        with open(os.path.join(path, "blobs", "EPOCH")) as file:
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return 0


def write_epoch(path: str, epoch: int) -> None:
    """Replace the number."""
    _replace(os.path.join(path, "blobs", "EPOCH"), str(epoch))


def _replace(final: str, text: str) -> None:
    """A file that holds the old text or the new one, whatever happens."""
    with open(final + ".new", "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(final + ".new", final)
