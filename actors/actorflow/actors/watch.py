"""Waiting for committed changes of an actor's summary."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from actorflow.actors.address import ActorId
    from actorflow.actors.ports import Summary


Look: TypeAlias = "Callable[[Summary], object]"


def no_look(_: Summary) -> None:
    """See nothing."""


class Watch:
    """Sees each committed summary of one actor from the moment it is entered.

    Summaries with one of `phases` are waited for; the waiting task sleeps through all others. A
    watch can miss changes while its partition moves: whoever waits should read the store after
    entering, and again every few seconds. The owner on another host is asked when a wait begins, so
    that who need not wait costs nothing there.

    Args:
        look: is shown a summary that is waited for as soon as it is committed. What it returns is
            in `seen`, until the next one.
    """

    def __init__(
        self,
        actor: ActorId,
        phases: frozenset[str],
        watched: dict[ActorId, list[Watch]],
        ask_owner: Callable[[ActorId, frozenset[str]], None] | None = None,
        look: Look = no_look,
    ) -> None:
        self.seen: object = None
        self._look = look
        self._actor = actor
        self._phases = phases
        self._watched = watched
        self._ask_owner = ask_owner
        self._waiter: asyncio.Future[None] | None = None
        self._is_due = False
        self._has_asked = False
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

    def ask(self) -> None:
        """Ask the owner on another host to tell of changes, for some seconds."""
        if self._ask_owner is not None:
            self._has_asked = True
            self._ask_owner(self._actor, self._phases)

    def notice(self, summary: Summary | None) -> None:
        """Tell the watcher; None means that the actor was deleted, or that nobody knows."""
        if summary is None:
            self.seen = None
            self._is_due = True
            self._wake()
        elif summary.phase in self._phases:
            self.seen = self._look(summary)
            self._has_asked = False  # an owner tells of it once
            self._is_due = True
            self._wake()

    def fail(self, error: Exception) -> None:
        """End the wait with an error: the host stops."""
        self._error = error
        self._wake()

    async def wait(self, timeout_s: float) -> None:
        """Wait for a change that was asked for, or that deletes the actor, or for `timeout_s`.

        A change since the last wait counts.

        Raises:
            StoppingError: the host stops.
        """
        if not self._is_due and self._error is None:
            if not self._has_asked:
                self.ask()
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(timeout_s, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        if not self._is_due:
            self.ask()  # it may have another owner now
        self._is_due = False
        if self._error is not None:
            raise self._error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
