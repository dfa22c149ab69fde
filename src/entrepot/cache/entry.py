"""One entry under its exclusive lock: open it, hash it again, stamp it, name it, remove it."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress

from entrepot.cache.hit import OPEN_FLAGS, note, open_verified
from entrepot.cache.layout import blob_path, spool_path, stamp_path, use_path
from entrepot.cache.root import Root
from entrepot.cache.writing import create_file, make_folder, replace_file, sync_folder
from entrepot.errors import Unavailable

PIECE_BYTES = 2**20


def reopen(root: Root, digest_hex: str, *, rehash: bool = False) -> int | None:
    """A descriptor of the right bytes, hashed first if there is no good stamp or if asked; None if they are not here.

    What is there and wrong, or could be changed by others, is removed and counted as a repair. Raises: OSError.
    """
    if not rehash:
        descriptor = open_verified(root.path, root.rules, digest_hex)
        if descriptor is not None:
            return descriptor
    if not restamp(root, digest_hex):
        return None
    return open_verified(root.path, root.rules, digest_hex)


def restamp(root: Root, digest_hex: str) -> bool:
    """True if the blob is here and right, and stamped anew. What is wrong is removed. Raises: OSError."""
    path = blob_path(root.path, digest_hex)
    if not os.path.lexists(path):
        return False
    descriptor = open_patiently(path)
    if descriptor is None:
        repair(root, digest_hex)
        return False
    try:
        if is_right(root, digest_hex, descriptor):
            stamp(root, digest_hex, os.fstat(descriptor))
            return True
    finally:
        os.close(descriptor)
    repair(root, digest_hex)
    return False


def is_right(root: Root, digest_hex: str, descriptor: int) -> bool:
    """True if nobody untrusted can change this file and it hashes to its name, unchanged meanwhile. Raises: OSError."""
    before = os.fstat(descriptor)
    if not root.rules.trusts(before):
        return False
    if before.st_mode & 0o222 and before.st_uid == os.geteuid():
        os.fchmod(descriptor, 0o444)  # a power cut came between rename and chmod
        before = os.fstat(descriptor)
    return hash_file(descriptor) == digest_hex and look(os.fstat(descriptor)) == look(before)


def look(status: os.stat_result) -> tuple[int, int, int, int]:
    """What changes with any write, chmod, link or rename: inode, size, mtime, ctime."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def hash_file(descriptor: int, piece_done: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a whole open file, in hex; `piece_done` gets the bytes of each piece. Raises: OSError."""
    digest, buffer, offset = hashlib.sha256(), memoryview(bytearray(PIECE_BYTES)), 0
    while count := os.preadv(descriptor, [buffer], offset):
        digest.update(buffer[:count])
        offset += count
        if piece_done:
            piece_done(count)
    return digest.hexdigest()


def open_patiently(path: str) -> int | None:
    """A descriptor of the file at `path`; None for a link, or anything that cannot be opened so.

    Raises: Unavailable, while another process tests for a second long whether it is open.
    """
    for _ in range(100):
        try:
            return os.open(path, OPEN_FLAGS)
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            return None
    raise Unavailable("a blob of the node cache is busy", advice="run the same command again")


def stamp(root: Root, digest_hex: str, status: os.stat_result) -> None:
    """Say that the file that looks like `status` was hashed just now, and touch its use. Raises: OSError."""
    use = use_path(root.path, digest_hex)
    create_file(use, root.file_mode)
    os.utime(use)
    fields = (*look(status), int(os.stat(use).st_mtime))
    replace_file(stamp_path(root.path, digest_hex), root.file_mode, " ".join(map(str, fields)).encode())


def name_blob(root: Root, digest_hex: str, path: str) -> None:
    """Give the file at `path`, verified and synced, its place among the blobs, and sync the folder. Raises: OSError."""
    blob = blob_path(root.path, digest_hex)
    folder = os.path.dirname(blob)
    if not os.path.isdir(folder):
        make_folder(folder, root.folder_mode)
        sync_folder(os.path.dirname(folder))
    os.rename(path, blob)
    sync_folder(folder)


def repair(root: Root, digest_hex: str) -> None:
    """Remove a wrong blob, and count it. Raises: OSError."""
    remove(root, digest_hex)
    event(root, digest_hex, b"r")


def remove(root: Root, digest_hex: str) -> None:
    """Remove stamp, blob and use, in this order, so that no stamp ever lacks its blob. Raises: OSError."""
    blob = blob_path(root.path, digest_hex)
    for path in (stamp_path(root.path, digest_hex), blob, use_path(root.path, digest_hex)):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            shutil.rmtree(path)


def event(root: Root, digest_hex: str, letter: bytes, size: int = 0) -> None:
    """Count one event of an entry of that size: m miss, h hit, w wait, r repair, f full."""
    with suppress(OSError):
        create_file(spool_path(root.path, digest_hex), root.file_mode, b"%d\n" % size)
    note(root.path, digest_hex, letter)
