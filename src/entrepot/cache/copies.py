"""A verified private copy of a blob, for who finds no room in the cache or wants a file of their own."""

import hashlib
import os
import time
from collections.abc import Callable

from entrepot.cache.entry import PIECE_BYTES
from entrepot.cache.parts import Part
from entrepot.cache.source import Source
from entrepot.cache.transfer import Transfer
from entrepot.cache.wording import shown_digest
from entrepot.cache.writing import temporary_beside, write_all
from entrepot.errors import DigestMismatch


def copy_blob(descriptor: int, digest_hex: str, target: str) -> None:
    """The open blob under the name `target`, which appears whole or not at all. Raises: DigestMismatch; OSError."""
    part = temporary_beside(os.path.abspath(target))
    copy = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        if _copy(descriptor, copy) != digest_hex:
            raise DigestMismatch(
                f"{shown_digest(digest_hex)} was changed while it was copied", advice="entrepot cache verify"
            )
        os.rename(part, target)
    except BaseException:
        os.unlink(part)
        raise
    finally:
        os.close(copy)


def download_copy(source: Source, digest_hex: str, target: str, pause: Callable[[float], None] = time.sleep) -> None:
    """The blob under the name `target`, past the cache; it appears whole or not at all. Raises: as `Transfer.run`."""
    beside = temporary_beside(os.path.abspath(target))
    part = Transfer(source, digest_hex, lambda size: Part.create(beside, size), pause).run()
    try:
        os.rename(part.path, target)
    except BaseException:
        part.drop()
        raise
    part.close()


def _copy(descriptor: int, copy: int) -> str:
    digest, buffer, offset = hashlib.sha256(), memoryview(bytearray(PIECE_BYTES)), 0
    while count := os.preadv(descriptor, [buffer], offset):
        write_all(copy, buffer[:count])
        digest.update(buffer[:count])
        offset += count
    return digest.hexdigest()
