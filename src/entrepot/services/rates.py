"""How often somebody may do something: counted here, in memory, for each key apart."""

import asyncio
import ipaddress
import math
import time
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from entrepot.errors import TooOften
from entrepot.model import Clock

MAX_KEYS: Final = 10_000


@dataclass(slots=True)
class _Seen:
    """What is known of one key: its last events, and until when it is refused, for how long."""

    times: deque[float]
    refused_until: float = 0.0
    pause_seconds: float = 0.0


class Rate:
    """At most `limit` counted events in `seconds`, for each key.

    Who reaches it is refused until the first of them is that old. With a `longest_pause_seconds` it is refused for
    `seconds`, then counts anew, and each further time is refused twice as long, up to that.
    """

    def __init__(
        self,
        limit: int,
        seconds: float,
        what: str,
        *,
        longest_pause_seconds: float = 0.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._limit, self._seconds, self._what = limit, seconds, what
        self._longest_pause_seconds, self._clock = longest_pause_seconds, clock
        self._seen: OrderedDict[Hashable, _Seen] = OrderedDict()

    def check(self, key: Hashable) -> None:
        """Nothing, if there is room for one more. Raises: TooOften, saying when there will be."""
        seen = self._seen.get(key)
        seconds = seen.refused_until - self._clock() if seen else 0.0
        if seconds > 0:
            raise TooOften(f"too many {self._what}", retry_after_seconds=math.ceil(seconds))

    def count(self, key: Hashable) -> None:
        """One more happened; keys that were quiet longest are forgotten."""
        now = self._clock()
        seen = self._seen.setdefault(key, _Seen(deque(maxlen=self._limit)))
        self._seen.move_to_end(key)
        seen.times.append(now)
        if len(seen.times) == self._limit and seen.times[0] + self._seconds > now:
            self._refuse(seen, now)
        while len(self._seen) > MAX_KEYS:
            self._seen.popitem(last=False)

    def _refuse(self, seen: _Seen, now: float) -> None:
        if not self._longest_pause_seconds:
            seen.refused_until = seen.times[0] + self._seconds
            return
        seen.pause_seconds = min(2 * seen.pause_seconds or self._seconds, self._longest_pause_seconds)
        seen.refused_until = now + seen.pause_seconds
        seen.times.clear()

    def forget(self, key: Hashable) -> None:
        """Begin to count anew."""
        self._seen.pop(key, None)


def site(address: str) -> str:
    """Who counts as one: an IPv4 address, also as IPv6 writes it; of IPv6 the /64, all of which one customer has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    return str(found.ipv4_mapped or ipaddress.IPv6Network((found.packed[:8] + bytes(8), 64)))


class Turns:
    """One lock for each key that is in use."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    def of(self, key: Hashable) -> asyncio.Lock:
        """The lock of that key."""
        return self._locks.setdefault(key, asyncio.Lock())
