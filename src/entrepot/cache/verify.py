"""Hash what is here again. Gets go on meanwhile: the entry is locked only to write down what was found."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from entrepot.cache.entry import hash_file, look, open_patiently, repair, restamp, stamp
from entrepot.cache.layout import blob_path, lock_name
from entrepot.cache.locks import take
from entrepot.cache.root import Root


@dataclass(frozen=True, slots=True)
class Verdict:
    """One blob, its size, and whether it was right; a wrong one is gone."""

    digest_hex: str
    size: int
    is_right: bool


def verify_blobs(root: Root, digests: Iterable[str], bytes_per_second: float | None = None) -> Iterator[Verdict]:
    """A verdict for each of these that is here, as soon as it is known. Raises: OSError."""
    slow_down = pace(bytes_per_second) if bytes_per_second else None
    for digest_hex in digests:
        verdict = _verify(root, digest_hex, slow_down)
        if verdict:
            yield verdict


def pace(bytes_per_second: float, pause: Callable[[float], None] = time.sleep) -> Callable[[int], None]:
    """A function that, told of each piece, waits so long that the rate is kept."""
    began, done = time.monotonic(), 0

    def piece_done(size: int) -> None:
        nonlocal done
        done += size
        ahead = done / bytes_per_second - (time.monotonic() - began)
        if ahead > 0:
            pause(ahead)

    return piece_done


def _verify(root: Root, digest_hex: str, slow_down: Callable[[int], None] | None) -> Verdict | None:
    path = blob_path(root.path, digest_hex)
    if not os.path.lexists(path):
        return None
    size = os.lstat(path).st_size
    descriptor = open_patiently(path)
    if descriptor is None:
        with take(root, lock_name(digest_hex))[0]:
            return Verdict(digest_hex, size, restamp(root, digest_hex))
    try:
        before = os.fstat(descriptor)
        right = root.rules.trusts(before) and hash_file(descriptor, slow_down) == digest_hex
        return _settle(root, digest_hex, before, right)
    finally:
        os.close(descriptor)


def _settle(root: Root, digest_hex: str, before: os.stat_result, right: bool) -> Verdict | None:
    with take(root, lock_name(digest_hex))[0]:
        try:
            now = os.lstat(blob_path(root.path, digest_hex))
        except FileNotFoundError:
            return None
        if look(now) != look(before):  # changed or replaced while it was read: once more, and nobody else now
            right = restamp(root, digest_hex)
        elif right:
            stamp(root, digest_hex, now)
        else:
            repair(root, digest_hex)
        return Verdict(digest_hex, now.st_size, right)
