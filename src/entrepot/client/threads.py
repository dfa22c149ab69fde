"""Runs flows in threads: each ask is done, then the flow goes on."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar, cast

import httpx2
import stamina

from entrepot.client.connect import Trust, client_arguments
from entrepot.client.flow import Ask, Each, Flow, Pause, Reply, Request, Work
from entrepot.client.target import RETRY, Arrived, Pace, Target, connection_error, follows, pieces, retry_or_wait
from entrepot.errors import EntrepotError

T = TypeVar("T")


class Threads:
    """One server, several connections. `notice` gets a line for each request, without secrets."""

    def __init__(self, target: Target, trust: Trust, pace: Pace, notice: Callable[[str], None] | None = None) -> None:
        self._target = target
        self._pace = pace
        self._notice = notice
        self._http = httpx2.Client(**client_arguments(trust))
        self._retry = stamina.RetryingCaller(**cast("dict[str, Any]", RETRY))
        self._closed = threading.Event()

    def close(self) -> None:
        """End all connections; what still runs in other threads fails soon."""
        self._closed.set()
        self._http.close()

    def run(self, flow: Flow[T]) -> T:
        """What `flow` gives. Raises: what it raises."""
        try:
            ask = next(flow)
            while True:
                try:
                    answer = self._answer(ask)
                except Exception as error:
                    ask = flow.throw(error)
                else:
                    ask = flow.send(answer)
        except StopIteration as done:
            return cast("T", done.value)
        finally:
            flow.close()

    def _answer(self, ask: Ask) -> object:
        match ask:
            case Request():
                return self._retry(retry_or_wait(repeat=ask.repeat), self._send, ask)
            case Work(act):
                return act()
            case Pause(seconds):
                time.sleep(seconds)
            case Each():
                self._each(ask)
        return None

    def _each(self, ask: Each) -> None:
        if ask.at_once == 1:
            for flow in ask.flows:
                ask.take(self.run(flow))
            return
        pool = ThreadPoolExecutor(ask.at_once, thread_name_prefix="entrepot")
        window: deque[Future[object]] = deque()
        try:
            for flow in ask.flows:
                window.append(pool.submit(self.run, flow))
                if len(window) >= ask.at_once:
                    ask.take(window.popleft().result())
            while window:
                ask.take(window.popleft().result())
        finally:
            # after an error or Ctrl-C nobody waits for the others: they only fill memory of their own
            pool.shutdown(wait=False, cancel_futures=True)

    def _send(self, request: Request) -> Reply:
        began = time.monotonic()
        arrived = Arrived(request, self._target.host)
        self._hold(0)
        try:
            reply = self._exchange(request, arrived)
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

    def _exchange(self, request: Request, arrived: Arrived) -> Reply:
        arguments = cast("dict[str, Any]", self._target.arguments(request))
        content = None if request.body is None else self._outgoing(request, arrived)
        message = self._http.build_request(content=content, **arguments)
        response = self._http.send(message, stream=True, follow_redirects=follows(request))
        try:
            for piece in response.iter_raw():
                self._hold(len(piece))
                arrived.take(piece)
                if request.body is None:
                    arrived.count(len(piece))
        finally:
            response.close()
        return arrived.reply(response.status_code, response.headers)

    def _outgoing(self, request: Request, arrived: Arrived) -> Iterator[bytes]:
        assert request.body is not None
        for piece in pieces(request.body):
            self._hold(len(piece))
            yield piece
            arrived.count(len(piece))

    def _hold(self, size: int) -> None:
        if self._closed.is_set():
            raise EntrepotError("interrupted", advice="the same command continues where it stopped")
        seconds = self._pace.wait_seconds(size)
        if seconds:
            time.sleep(seconds)

    def _note(self, request: Request, outcome: str, began: float) -> None:
        if self._notice:
            self._notice(f"{request.method} {request.name}: {outcome}, {(time.monotonic() - began) * 1000:.0f} ms")
