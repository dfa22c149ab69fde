"""Flows: what is asked of a server and of this machine, in order, as generators without any I/O in them.

A flow yields asks and receives their answers, so one text serves `Client`, which does each ask, and `AsyncClient`,
which awaits it. A refused ask is raised inside the flow.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `url` is a path of the server, sent with the token; an absolute one is itself the right: no token.

    `name` stands for it in messages and logs, which must hold no secret. `repeat`: it may be sent again when nobody
    knows whether it arrived. `moved` is told of body bytes as they pass, a negative number when they must go again.
    """

    method: str
    url: str
    name: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Buffer | None = None
    repeat: bool = True
    anonymous: bool = False
    moved: Callable[[int], None] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A status below 400, headers by their lower-case name, and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytearray


@dataclass(frozen=True, slots=True)
class Work:
    """Something slow on this machine: reading, hashing, writing. Done in a thread where others must not wait."""

    act: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Each:
    """Run `flows`, `at_once` of them side by side, begun in order; `take` gets each result, in the same order.

    No more than `at_once` are ever begun and not taken, which bounds the memory. Both `next(flows)` and `take` are
    work on this machine, and are never called twice at once.
    """

    flows: "Iterator[Flow[Any]]"
    at_once: int
    take: Callable[[Any], None]


Ask = Request | Work | Pause | Each
Flow = Generator[Ask, Any, T]


def send(request: Request) -> Flow[Reply]:
    """The answer to one request. Raises: EntrepotError, for a status of 400 and more or none at all."""
    reply: Reply = yield request
    return reply


def work(act: Callable[[], T]) -> Flow[T]:
    """What `act` gives."""
    result: T = yield Work(act)
    return result


def pause(seconds: float) -> Flow[None]:
    """Nothing, later."""
    yield Pause(seconds)


def each(flows: "Iterator[Flow[T]]", at_once: int, take: Callable[[T], None]) -> Flow[None]:
    """All of them, as `Each`."""
    yield Each(flows, at_once, take)
