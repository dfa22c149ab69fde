"""The blob is not here: one process gets it, the others wait for that one and then find it."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from entrepot.cache.entry import event, name_blob, reopen, stamp
from entrepot.cache.hit import open_verified
from entrepot.cache.layout import lock_name
from entrepot.cache.locks import Lock, take
from entrepot.cache.parts import Part, list_parts, resume
from entrepot.cache.room import reserve
from entrepot.cache.root import Root
from entrepot.cache.source import Source
from entrepot.cache.transfer import Transfer
from entrepot.cache.wording import shown_digest, shown_size
from entrepot.cache.writing import disk_errors
from entrepot.errors import NotFound, Unavailable
from entrepot.failpoints import failpoint


@dataclass(frozen=True, slots=True)
class Filling:
    """How entries of one root are filled: `say` gets a line for people, `pause` waits between tries."""

    root: Root
    say: Callable[[str], None]
    pause: Callable[[float], None] = time.sleep

    def open(self, digest_hex: str, source: Source | None, *, rehash: bool = False) -> int:
        """A descriptor of the verified blob, downloaded if it is not here. `source` None: never.

        Raises: NotFound; DigestMismatch; LimitReached; Unavailable; Denied; Refused; UsageError.
        """
        with disk_errors():
            lock, waited = take(self.root, lock_name(digest_hex), lambda: self.say(self._progress(digest_hex)))
            with lock:
                descriptor = reopen(self.root, digest_hex, rehash=rehash)
                if descriptor is not None:
                    event(self.root, digest_hex, b"w" if waited else b"h", os.fstat(descriptor).st_size)
                    return descriptor
                if source is None:
                    raise NotFound(
                        f"{shown_digest(digest_hex)} is not in the node cache", advice="run it without --offline"
                    )
                self._fill(digest_hex, source, lock)
                return self._filled(digest_hex)

    def _fill(self, digest_hex: str, source: Source, lock: Lock) -> None:
        transfer = Transfer(source, digest_hex, lambda size: reserve(self.root, digest_hex, size), self.pause)
        part = transfer.run(resume(self.root, digest_hex))
        try:
            if not lock.is_held():
                raise Unavailable("the lock of this entry was lost", why="this process slept for a minute")
            self._enter(digest_hex, part)
        except BaseException:
            part.drop()
            raise
        event(self.root, digest_hex, b"m", part.size)

    def _enter(self, digest_hex: str, part: Part) -> None:
        os.fsync(part.descriptor)
        failpoint("cache.filled")
        os.fchmod(part.descriptor, 0o444)
        name_blob(self.root, digest_hex, part.path)
        failpoint("cache.renamed")
        stamp(self.root, digest_hex, os.fstat(part.descriptor))
        part.close()

    def _filled(self, digest_hex: str) -> int:
        descriptor = open_verified(self.root.path, self.root.rules, digest_hex)
        if descriptor is None:
            raise Unavailable(
                "the blob was changed while it was entered", why="another process writes in this cache", advice="again"
            )
        return descriptor

    def _progress(self, digest_hex: str) -> str:
        for name, size, status in list_parts(self.root):
            if name == digest_hex:
                done = f"{shown_size(status.st_size)} of {shown_size(size)}"
                return f"waiting for the process that downloads {shown_digest(digest_hex)}: {done}"
        return f"waiting for the process that checks {shown_digest(digest_hex)}"
