"""The due index of one partition: a window of reminders in memory, the rest in the store.

One heap behind one timer of the event loop. An entry is only a hint: `_current` says what is armed,
so that replacing or cancelling a reminder never searches the heap.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from actorflow.actors.address import ActorId
    from actorflow.actors.batch import Batch
    from actorflow.actors.clock import Clock
    from actorflow.actors.effects import Effects
    from actorflow.actors.ports import DueReminder, Reminder


class Armed(NamedTuple):
    """One armed reminder."""

    actor: ActorId
    number: int
    reminder: Reminder


def next_occurrence(reminder: Reminder, now_ms: int) -> Reminder:
    """Return the next firing of a periodic reminder: missed periods are skipped, not made up
    for."""
    missed = max(0, now_ms - reminder.due_ms) // reminder.period_ms
    return reminder._replace(due_ms=reminder.due_ms + (missed + 1) * reminder.period_ms)


def consume(reminder: Reminder, effects: Effects, now_ms: int) -> None:
    """A reminder that fired is gone, or due again, unless its own turn says otherwise."""
    if effects.delete or (effects.reminders is not None and reminder.name in effects.reminders):
        return
    if reminder.period_ms:
        effects.set_reminder(next_occurrence(reminder, now_ms))
    else:
        effects.cancel_reminder(reminder.name)


class ReminderIndex:
    """Calls `fire` with each reminder once it is due: never before, and after a clock jump at once.

    Reminders due at or after the horizon are ignored when armed: they are in the store, and the
    partition reads the next window in time.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        fire: Callable[[Armed], None],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._fire = fire
        self._heap: list[tuple[int, int, str]] = []  # due_ms, number, name
        self._current: dict[int, dict[str, Armed]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._handle_due_ms = 0
        self._horizon_ms = 0
        self._complete_ms = 0  # all stored reminders due before it are in memory
        self._touched: set[tuple[int, str | None]] | None = None
        self.count = 0

    def widen(self, horizon_ms: int) -> int:
        """Keep what is armed from now on up to `horizon_ms`; return from when on rows are missing.

        Until the last `add`, changes are noted: a row read meanwhile may be older than memory. When
        reading fails half way, widen again.
        """
        self._horizon_ms = horizon_ms
        self._touched = set()
        return self._complete_ms

    def add(self, due: Iterable[DueReminder], *, last: bool) -> None:
        """Arm stored reminders of the widened window that were not changed meanwhile."""
        touched = self._touched or set()
        for entry in due:
            number = entry.number
            if (number, entry.reminder.name) not in touched and (number, None) not in touched:
                self._keep(Armed(entry.actor, entry.number, entry.reminder))
        if last:
            self._touched = None
            self._complete_ms = self._horizon_ms

    def arm(self, actor: ActorId, number: int, reminder: Reminder) -> None:
        """Set or replace a reminder whose row is committed."""
        self._touch(number, reminder.name)
        if reminder.due_ms >= self._horizon_ms:
            self.disarm(number, reminder.name)
            return
        self._keep(Armed(actor, number, reminder))

    def _keep(self, armed: Armed) -> None:
        number, reminder = armed.number, armed.reminder
        by_name = self._current.setdefault(number, {})
        if reminder.name not in by_name:
            self.count += 1
        by_name[reminder.name] = armed
        heapq.heappush(self._heap, (reminder.due_ms, number, reminder.name))
        if self._handle is None or reminder.due_ms < self._handle_due_ms:
            self._schedule()

    def disarm(self, number: int, name: str) -> None:
        """Forget one reminder; harmless when it is not armed."""
        self._touch(number, name)
        by_name = self._current.get(number)
        if by_name is not None and by_name.pop(name, None) is not None:
            self.count -= 1
            if not by_name:
                del self._current[number]

    def disarm_all(self, number: int) -> None:
        """Forget every reminder of an actor that was deleted."""
        self._touch(number, None)
        self.count -= len(self._current.pop(number, ()))

    def is_armed(self, number: int, reminder: Reminder) -> bool:
        """Whether exactly this reminder is still wanted."""
        armed = self._current.get(number, {}).get(reminder.name)
        return armed is not None and armed.reminder == reminder

    def forget(self, effects: Effects, in_flight: Batch | None) -> None:
        """What a finished turn cancels or replaces must not fire any more, not even when the commit
        that sets it is still out; what the turn itself sets waits for its own commit."""
        number = effects.number
        if effects.delete:
            self.disarm_all(number)
            if in_flight is not None:
                in_flight.forget_armed(number)
        elif effects.reminders is not None:
            for name in effects.reminders:
                self.disarm(number, name)
                if in_flight is not None:
                    in_flight.forget_armed(number, name)

    def look(self) -> None:
        """Aim again: the clock may have jumped since the timer was set."""
        self._schedule()

    def clear(self) -> None:
        """Forget everything and stop the timer."""
        self._heap.clear()
        self._current.clear()
        self.count = 0
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _touch(self, number: int, name: str | None) -> None:
        if self._touched is not None:
            self._touched.add((number, name))

    def _schedule(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if not self._heap:
            return
        self._handle_due_ms = self._heap[0][0]
        wait_ms = self._handle_due_ms - self._clock.now_ns() / 1e6
        self._handle = self._loop.call_later(max(0.0, wait_ms / 1e3), self._wake)

    def _wake(self) -> None:
        self._handle = None
        now_ms = self._clock.now_ns() // 1_000_000
        while self._heap and self._heap[0][0] <= now_ms:
            due_ms, number, name = heapq.heappop(self._heap)
            armed = self._current.get(number, {}).get(name)
            if armed is not None and armed.reminder.due_ms == due_ms:
                # It stays in `_current` until its turn commits: a failed turn can ask for it again.
                self._fire(armed)
        self._schedule()
