"""How often somebody may do something: counted here, in memory, for each key apart."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final
from weakref import WeakValueDictionary

from entrepot.errors import TooOften

MAX_KEYS: Final = 10_000


class Rate:
    """At most `limit` counted events in `seconds`, for each key."""

    def __init__(self, limit: int, seconds: float, what: str) -> None:
        self._limit, self._seconds, self._what = limit, seconds, what
        self._times: OrderedDict[Hashable, list[float]] = OrderedDict()

    def check(self, key: Hashable) -> None:
        """Nothing, if there is room for one more. Raises: TooOften, saying when there will be."""
        since = time.monotonic() - self._seconds
        recent = [at for at in self._times.get(key, ()) if at > since]
        if key in self._times:
            self._times[key] = recent
        if len(recent) >= self._limit:
            raise TooOften(f"too many {self._what}", retry_after_seconds=int(recent[0] - since) + 1)

    def count(self, key: Hashable) -> None:
        """One more happened; keys that were quiet longest are forgotten."""
        self._times.setdefault(key, []).append(time.monotonic())
        self._times.move_to_end(key)
        while len(self._times) > MAX_KEYS:
            self._times.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """Begin to count anew."""
        self._times.pop(key, None)


class Turns:
    """One lock for each key that is in use."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    def of(self, key: Hashable) -> asyncio.Lock:
        """The lock of that key."""
        return self._locks.setdefault(key, asyncio.Lock())
