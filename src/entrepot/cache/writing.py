"""How files and folders come into a root: with the right mode whatever the umask, and never half."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from entrepot.errors import Denied, EntrepotError, LimitReached

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def temporary_beside(path: str) -> str:
    """A new name in the folder of `path`; it begins with a dot, so no listing takes it for an entry."""
    return f"{os.path.dirname(path)}/.{os.urandom(9).hex()}"


def create_file(path: str, mode: int, content: bytes = b"") -> None:
    """The file, unless it is there; others see it only with its mode and content. Raises: OSError."""
    with _temporary(path, mode, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, mode))  # no links on this file system


def replace_file(path: str, mode: int, content: bytes) -> None:
    """The file with this content, in one step. Not synced: what is written so can be made again. Raises: OSError."""
    with _temporary(path, mode, content) as temporary:
        os.rename(temporary, path)


@contextmanager
def _temporary(path: str, mode: int, content: bytes) -> Iterator[str]:
    temporary = temporary_beside(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(descriptor, content)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def make_folder(path: str, mode: int) -> None:
    """The folder, unless it is there; others see it only with its mode. Raises: OSError."""
    if os.path.isdir(path):
        return
    temporary = temporary_beside(path)
    os.mkdir(temporary, 0o700)
    os.chmod(temporary, mode)
    try:
        os.rename(temporary, path)
    except OSError:
        os.rmdir(temporary)
        if not os.path.isdir(path):
            raise


def write_all(descriptor: int, piece: bytes | memoryview) -> None:
    """All bytes of `piece`, at the descriptor's place. Raises: OSError."""
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_folder(path: str) -> None:
    """Return when the names in this folder would survive a power cut. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Inside, what the disk refuses is raised as LimitReached, Denied or EntrepotError, without a path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in NO_ROOM:
            raise LimitReached(
                "no room on the disk of the node cache", why=reason, advice="entrepot cache prune, or get -O FILE"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise Denied(
                "the node cache may not be written", why=reason, advice="set ENTREPOT_CACHE to a folder of yours"
            ) from error
        raise EntrepotError("the node cache cannot be used", why=reason, advice="entrepot doctor") from error
