"""What happened to each entry, one letter an event behind its size: counts that no crash can spoil."""

import os
from dataclasses import dataclass

from entrepot.cache.layout import is_digest_hex, spool_path
from entrepot.cache.root import Root


@dataclass(frozen=True, slots=True)
class Counts:
    """Gets by how they ended. `waits`: found after another process had filled it; `full`: no room.

    `bytes_saved`: the sizes of all hits and waits, which would have been downloads.
    """

    hits: int = 0
    misses: int = 0
    waits: int = 0
    repairs: int = 0
    full: int = 0
    bytes_saved: int = 0


def count_events(root: Root) -> Counts:
    """All events since the root was made. Raises: OSError."""
    letters, saved = dict.fromkeys(b"hmwrf", 0), 0
    for name in filter(is_digest_hex, os.listdir(f"{root.path}/spool")):
        with open(spool_path(root.path, name), "rb") as file:
            size, _, events = file.read().partition(b"\n")
        for letter in letters:
            letters[letter] += events.count(letter)
        saved += int(size or 0) * (events.count(b"h") + events.count(b"w"))
    hits, misses, waits, repairs, full = letters.values()
    return Counts(hits, misses, waits, repairs, full, saved)
