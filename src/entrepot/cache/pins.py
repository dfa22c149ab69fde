"""Pins: names that keep a blob from eviction, for ever or until a time. The folder is the register."""

import math
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from entrepot.cache.layout import is_digest_hex, pin_path
from entrepot.cache.root import Root
from entrepot.cache.writing import create_file


@dataclass(frozen=True, slots=True)
class Pin:
    """Who keeps which blob; `until` in seconds since the epoch, 0 for ever."""

    digest_hex: str
    until: int
    uid: int

    def holds(self, now: float) -> bool:
        """True unless its time is over."""
        return not self.until or now < self.until


def list_pins(root: Root, now: float | None = None) -> dict[str, tuple[Pin, ...]]:
    """All pins that hold at `now` (default: the present), by digest. Raises: OSError."""
    moment = time.time() if now is None else now
    found: dict[str, tuple[Pin, ...]] = {}
    for pin in _read(os.listdir(f"{root.path}/pins")):
        if pin.holds(moment):
            found[pin.digest_hex] = (*found.get(pin.digest_hex, ()), pin)
    return found


def set_pin(root: Root, digest_hex: str, seconds: float | None) -> Pin:
    """This user's one pin of the blob, for so long, None for ever; what they had before goes. Raises: OSError."""
    pin = _from_now(digest_hex, seconds)
    create_file(_path(root, pin), root.file_mode)
    _unlink(root, (old for old in _mine(root, digest_hex) if old != pin))
    return pin


def hold(root: Root, digest_hex: str, seconds: float) -> Pin:
    """As `set_pin`, but a longer pin of this user stays. Raises: OSError."""
    mine = [pin for pin in _mine(root, digest_hex) if not pin.until or pin.until >= time.time() + seconds]
    return mine[0] if mine else set_pin(root, digest_hex, seconds)


def _from_now(digest_hex: str, seconds: float | None) -> Pin:
    return Pin(digest_hex, 0 if seconds is None else math.ceil(time.time() + seconds), os.geteuid())


def _mine(root: Root, digest_hex: str) -> list[Pin]:
    return [pin for pin in list_pins(root).get(digest_hex, ()) if pin.uid == os.geteuid()]


def remove_pins(root: Root, digest_hex: str) -> int:
    """The number of pins removed: this user's, and anybody's for the owner of the cache. Raises: OSError."""
    me = os.geteuid()
    pins = [pin for pin in list_pins(root, 0).get(digest_hex, ()) if pin.uid == me or root.rules.owner == me]
    _unlink(root, pins)
    return len(pins)


def drop_ended_pins(root: Root) -> None:
    """Remove what no longer holds anything. Raises: OSError."""
    now = time.time()
    _unlink(root, (pin for pin in _read(os.listdir(f"{root.path}/pins")) if not pin.holds(now)))


def _read(names: Iterable[str]) -> Iterable[Pin]:
    for name in names:
        fields = name.split(".")
        if len(fields) == 3 and is_digest_hex(fields[0]) and fields[1].isdigit() and fields[2].isdigit():
            yield Pin(fields[0], int(fields[1]), int(fields[2]))


def _unlink(root: Root, pins: Iterable[Pin]) -> None:
    for pin in pins:
        with suppress(FileNotFoundError):
            os.unlink(_path(root, pin))


def _path(root: Root, pin: Pin) -> str:
    return pin_path(root.path, pin.digest_hex, pin.until, pin.uid)
