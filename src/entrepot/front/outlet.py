"""Where an answer is written: its head leaves with the first bytes of its body, in one packet."""

import asyncio
from collections.abc import Callable
from typing import Final

SMALL: Final = 64 << 10
"""Bytes that cost less to copy than to send on their own."""


class Outlet:
    """What uvicorn's cycle has for a transport. `leave` ends the connection behind the last answer."""

    __slots__ = ("_head", "_holding", "_leave", "_transport")

    def __init__(self, transport: asyncio.Transport, leave: Callable[[], None]) -> None:
        self._transport = transport
        self._leave = leave
        self._holding = False
        self._head = b""

    def hold(self) -> None:
        """What is written next is a head."""
        self._holding = True

    def write(self, data: bytes) -> None:
        """Send it, a head with what follows."""
        if self._holding:
            self._holding, self._head = False, data
            return
        if self._head and len(data) <= SMALL:
            data, self._head = self._head + data, b""
        self.flush()
        self._transport.write(data)

    def flush(self) -> None:
        """Send a head that nothing has followed yet."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def is_closing(self) -> bool:
        """As a transport's."""
        return self._transport.is_closing()

    def close(self) -> None:
        """The last answer is out."""
        self.flush()
        self._leave()
