"""A limit on how much of something runs at once."""

import asyncio

from entrepot.errors import Busy


class Gate:
    """Lets `places` through at a time; who waits longer than `patience_seconds` is turned away with Busy."""

    def __init__(self, places: int, what: str, patience_seconds: float = 2.0) -> None:
        self._free = asyncio.Semaphore(places)
        self._what = what
        self._patience_seconds = patience_seconds

    async def __aenter__(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise Busy(f"too many {self._what} at once") from None

    async def __aexit__(self, *_: object) -> None:
        self._free.release()
