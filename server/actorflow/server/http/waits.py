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
    """The server stops, or the client has gone; nobody needs the result any more."""


class Waits:
    """Every held-back answer of one door; all doors of a process stop at once."""

    def __init__(self, most: int = WAITS_MAX, *, stop: asyncio.Event | None = None) -> None:
        self._count = 0
        self._most = most
        self._stop_event = stop or asyncio.Event()

    def beside(self, most: int) -> "Waits":
        """Return waits with a number of their own, which end with these."""
        return Waits(most, stop=self._stop_event)

    @property
    def is_stopping(self) -> bool:
        """True once `stop` was called."""
        return self._stop_event.is_set()

    @property
    def count(self) -> int:
        """How many answers are held back."""
        return self._count

    def stop(self) -> None:
        """End all waits, and refuse what comes from now on."""
        self._stop_event.set()

    def check_running(self) -> None:
        """Raise WireError 503 once the server is stopping."""
        if self._stop_event.is_set():
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
        self, work: Coroutine[Any, Any, T], gone: "asyncio.Future[Any] | None" = None
    ) -> T:
        """As `until`; `gone` is done when the client has gone, None when that cancels the caller.

        Raises as `until`.
        """
        if self._count >= self._most:
            work.close()
            raise OverloadedError("the queue of held-back answers", self._most)
        self._count += 1
        task = asyncio.create_task(work, name="wait")
        stop = asyncio.create_task(self._stop_event.wait(), name="wait-stop")
        ends: set[asyncio.Future[Any]] = {task, stop}
        if gone is not None:
            ends.add(gone)
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise InterruptedWaitError
        finally:
            self._count -= 1
            stop.cancel()
            task.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)
