"""Answers that are held back: bounded in number, ended by a stop or by the client's going away."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from actorflow.actors.errors import OverloadedError
from actorflow.server.errors import runtime_closed
from actorflow.server.http.call import Call
from actorflow.server.http.listener import EdgeProtocol

WAITS_MAX = 500
"""Held-back answers of HTTP at a time: half of the connections, so that other calls always get
through."""

T = TypeVar("T")


class InterruptedWaitError(Exception):
    """The server stops, the client has gone, or it took too long: the result is not waited for."""


class _Stop:
    """Whether a process stops, and what is to be interrupted then."""

    __slots__ = ("is_set", "waiting")

    def __init__(self) -> None:
        self.is_set = False
        self.waiting: set[_Wait] = set()


class _Wait:
    """A task that waits, and can be told to give up: by its cancellation, since a task of its own
    for each wait, and one that looks out for the stop, would cost more than all the rest."""

    __slots__ = ("_task", "is_interrupted")

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self.is_interrupted = False

    def interrupt(self, _: object = None) -> None:
        """Give up; harmless at the end."""
        if self._task is not None and not self.is_interrupted:
            self.is_interrupted = True
            self._task.cancel()

    def end(self) -> bool:
        """The wait is over; return whether this object, and nobody else, has cancelled it."""
        task, self._task = self._task, None
        return self.is_interrupted and task is not None and task.uncancel() == 0


class Waits:
    """Every held-back answer of one door; all doors of a process stop at once."""

    def __init__(self, most: int = WAITS_MAX, *, stop: _Stop | None = None) -> None:
        self._count = 0
        self._most = most
        self._stop = stop or _Stop()

    def beside(self, most: int) -> "Waits":
        """Return waits with a number of their own, which end with these."""
        return Waits(most, stop=self._stop)

    @property
    def is_stopping(self) -> bool:
        """True once `stop` was called."""
        return self._stop.is_set

    @property
    def count(self) -> int:
        """How many answers are held back."""
        return self._count

    def stop(self) -> None:
        """End all waits, and refuse what comes from now on."""
        self._stop.is_set = True
        for wait in tuple(self._stop.waiting):
            wait.interrupt()

    def check_running(self) -> None:
        """Raise WireError 503 once the server is stopping."""
        if self._stop.is_set:
            raise runtime_closed()

    async def until(self, call: Call, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`, or give it up when the server stops or the client goes.

        Raises:
            InterruptedWaitError: given up; `work` was cancelled.
            OverloadedError: too many others are waiting; `work` was not begun.
        """
        protocol = call.request.protocol
        gone = protocol.gone() if isinstance(protocol, EdgeProtocol) else None
        return await self.until_stop(work, gone)

    async def until_stop(
        self,
        work: Coroutine[Any, Any, T],
        gone: "asyncio.Future[Any] | None" = None,
        *,
        timeout_s: float | None = None,
    ) -> T:
        """As `until`.

        Args:
            gone: done when the client has gone; None when that cancels the caller.
            timeout_s: `work` is given up after this time, too. The same error says so, and it
                costs less than `asyncio.timeout`.

        Raises as `until`.
        """
        if self._count >= self._most:
            work.close()
            raise OverloadedError("the queue of held-back answers", self._most)
        self._count += 1
        wait = _Wait()
        self._stop.waiting.add(wait)
        if self._stop.is_set:
            asyncio.get_running_loop().call_soon(wait.interrupt)  # what need not wait is answered
        if gone is not None:
            gone.add_done_callback(wait.interrupt)
        timer = None
        if timeout_s is not None:
            timer = asyncio.get_running_loop().call_later(timeout_s, wait.interrupt)
        try:
            return await work
        except asyncio.CancelledError:
            if wait.end():
                raise InterruptedWaitError from None
            raise
        finally:
            self._count -= 1
            self._stop.waiting.discard(wait)
            if gone is not None:
                gone.remove_done_callback(wait.interrupt)
            if timer is not None:
                timer.cancel()
            wait.end()
