"""Waiting for committed changes of an actor's summary."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
        self._waiter: asyncio.Future[Summary | None] | None = None
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
            self._waiter.set_result(summary)

    def fail(self, error: Exception) -> None:
        """End the wait with an error: the host stops."""
        self._error = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    async def next(self, timeout_s: float | None) -> Summary | None:
        """Wait for the next change. Raises TimeoutError; StoppingError when the host stops."""
        if self._error is not None:
            raise self._error
        if self._news:
            return self._news.pop()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._waiter
        finally:
            self._waiter = None
            self._news.clear()
