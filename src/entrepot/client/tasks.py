"""Runs flows in an event loop: each ask is awaited, then the flow goes on. The counterpart of `threads.py`."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar, cast

import httpx2
import stamina

from entrepot.client.connect import Trust, client_arguments
from entrepot.client.flow import Ask, Each, Flow, Pause, Reply, Request, Work
from entrepot.client.target import RETRY, Arrived, Pace, Target, connection_error, follows, pieces, retry_or_wait

T = TypeVar("T")


class Tasks:
    """One server, several connections, one event loop. `notice` as for `Threads`."""

    def __init__(self, target: Target, trust: Trust, pace: Pace, notice: Callable[[str], None] | None = None) -> None:
        self._target = target
        self._pace = pace
        self._notice = notice
        self._http = httpx2.AsyncClient(**client_arguments(trust))
        self._retry = stamina.AsyncRetryingCaller(**cast("dict[str, Any]", RETRY))

    async def close(self) -> None:
        """End all connections."""
        await self._http.aclose()

    async def run(self, flow: Flow[T]) -> T:
        """What `flow` gives. Raises: what it raises."""
        try:
            ask = next(flow)
            while True:
                try:
                    answer = await self._answer(ask)
                except Exception as error:
                    ask = flow.throw(error)
                else:
                    ask = flow.send(answer)
        except StopIteration as done:
            return cast("T", done.value)
        finally:
            flow.close()

    async def _answer(self, ask: Ask) -> object:
        match ask:
            case Request():
                return await self._retry(retry_or_wait(repeat=ask.repeat), self._send, ask)
            case Work(act):
                return await asyncio.to_thread(act)
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Each():
                await self._each(ask)
        return None

    async def _each(self, ask: Each) -> None:
        window: deque[asyncio.Task[object]] = deque()
        try:
            # None ends it: StopIteration cannot pass through a future
            while (flow := await asyncio.to_thread(next, ask.flows, None)) is not None:
                window.append(asyncio.create_task(self.run(flow)))
                if len(window) >= ask.at_once:
                    await self._take(ask, window)
            while window:
                await self._take(ask, window)
        finally:
            for task in window:
                task.cancel()
            await asyncio.gather(*window, return_exceptions=True)

    async def _take(self, ask: Each, window: "deque[asyncio.Task[object]]") -> None:
        result = await window[0]
        window.popleft()
        await asyncio.to_thread(ask.take, result)

    async def _send(self, request: Request) -> Reply:
        began = time.monotonic()
        arrived = Arrived(request, self._target.host)
        try:
            reply = await self._exchange(request, arrived)
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, UnicodeError) as error:
            arrived.take_back()
            self._note(request, type(error).__name__, began)
            raise connection_error(error, self._target.host) from error
        except BaseException as error:
            arrived.take_back()
            self._note(request, type(error).__name__, began)
            raise
        self._note(request, str(reply.status), began)
        return reply

    async def _exchange(self, request: Request, arrived: Arrived) -> Reply:
        arguments = cast("dict[str, Any]", self._target.arguments(request))
        content = None if request.body is None else self._outgoing(request, arrived)
        message = self._http.build_request(content=content, **arguments)
        response = await self._http.send(message, stream=True, follow_redirects=follows(request))
        try:
            async for piece in response.aiter_raw():
                await self._hold(len(piece))
                arrived.take(piece)
                if request.body is None:
                    arrived.count(len(piece))
        finally:
            await response.aclose()
        return arrived.reply(response.status_code, response.headers)

    async def _outgoing(self, request: Request, arrived: Arrived) -> AsyncIterator[bytes]:
        assert request.body is not None
        for piece in pieces(request.body):
            await self._hold(len(piece))
            yield piece
            arrived.count(len(piece))

    async def _hold(self, size: int) -> None:
        seconds = self._pace.wait_seconds(size)
        if seconds:
            await asyncio.sleep(seconds)

    def _note(self, request: Request, outcome: str, began: float) -> None:
        if self._notice:
            self._notice(f"{request.method} {request.name}: {outcome}, {(time.monotonic() - began) * 1000:.0f} ms")
