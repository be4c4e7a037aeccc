"""Waiting for committed changes of an actor's summary."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from actorflow.actors.address import ActorId
    from actorflow.actors.ports import Summary


class Watch:
    """Sees each committed summary of one actor from the moment it is entered; the newest wins.

    A watch can miss changes while its partition moves: whoever waits should read the store after
    entering, and again every few seconds.
    """

    def __init__(self, actor: ActorId, watched: dict[ActorId, list[Watch]]) -> None:
        self._actor = actor
        self._watched = watched
        self._waiter: asyncio.Future[bool] | None = None
        self._news: list[Summary | None] = []
        self._error: Exception | None = None

    def __enter__(self) -> Watch:
        self._watched.setdefault(self._actor, []).append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        watches = self._watched[self._actor]
        watches.remove(self)
        if not watches:
            del self._watched[self._actor]

    def notice(self, summary: Summary | None) -> None:
        """Tell the watcher; None means that the actor was deleted."""
        self._news[:] = [summary]
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)

    def fail(self, error: Exception) -> None:
        """End the wait with an error: the host stops."""
        self._error = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    async def until(self, reached: Callable[[Summary], bool], timeout_s: float) -> None:
        """Wait for a change that `reached` accepts, or that deletes the actor, or for `timeout_s`.

        Raises:
            StoppingError: the host stops.
        """
        loop = asyncio.get_running_loop()
        while True:
            if self._error is not None:
                raise self._error
            while self._news:
                summary = self._news.pop()
                if summary is None or reached(summary):
                    return
            waiter = self._waiter = loop.create_future()
            timer = loop.call_later(timeout_s, self._time_out, waiter)
            try:
                if not await waiter:
                    return
            finally:
                timer.cancel()
                self._waiter = None

    @staticmethod
    def _time_out(waiter: asyncio.Future[bool]) -> None:
        if not waiter.done():
            waiter.set_result(False)
