"""How an answer's bytes are put together on their way to the transport."""

import asyncio

import pytest

from entrepot.front.outlet import SMALL, Outlet


class Written(asyncio.Transport):
    """A transport that remembers each write, and how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return False


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def outlet(written: Written) -> Outlet:
    return Outlet(written, lambda: written.write(b"left"))


def test_a_head_leaves_with_the_first_of_its_body(outlet: Outlet, written: Written) -> None:
    for _ in range(2):
        outlet.hold()
        for data in (b"head ", b"body", b"more"):
            outlet.write(data)
    assert written.writes == [b"head body", b"more"] * 2


def test_what_is_large_is_not_copied_behind_its_head(outlet: Outlet, written: Written) -> None:
    outlet.hold()
    outlet.write(b"head")
    outlet.write(bytes(SMALL + 1))
    assert written.writes == [b"head", bytes(SMALL + 1)]


def test_a_head_without_a_body_leaves_when_it_is_told_to_or_at_the_end(outlet: Outlet, written: Written) -> None:
    outlet.hold()
    outlet.write(b"one")
    assert written.writes == []
    outlet.flush()
    outlet.flush()
    outlet.hold()
    outlet.write(b"two")
    outlet.close()
    assert written.writes == [b"one", b"two", b"left"]


def test_what_is_no_head_is_not_held(outlet: Outlet, written: Written) -> None:
    outlet.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert written.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]
