"""Runs turns one at a time, each with a mark in the store, where hosts were lost again and again.

A turn whose code ends its process is tried again by each new owner, and takes everybody along. So
an owner that comes after two that were lost is cautious: nobody is even read from the store before
a mark says that it is about to run. What was there when the host came up is tried first, while
nothing else is being tried in this process and activities wait; what was marked before comes before
all others. The rules about marks are in `marks.py`, the numbers in docs/adr/0011.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING

from actorflow.actors.marks import (
    CONVICTION,
    MARK,
    NEW,
    REASON_OF_MARK,
    WAITED,
    Marks,
    is_void,
    mark_of,
    marks_in,
    reason_of_conviction,
)
from actorflow.actors.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actorflow.actors.address import ActorId
    from actorflow.actors.environment import Environment
    from actorflow.actors.errors import ActorflowError
    from actorflow.actors.ports import Acquired, MessageRow
    from actorflow.actors.roster import Roster

_log = logging.getLogger(__name__)

CAUTIOUS_FROM = 2
"""Owners in a row that were lost, after which the next one is cautious."""

CAUTION_S = 5.0
"""How long it is, at least. What was there when it began is tried however long that takes."""

ALONE_S = 10.0
"""A turn that awaits something, and whose host lives, is let go after so long."""

HELD_BYTES = 512
"""What a message that waits costs besides its payload, about."""


class Caution:
    """The caution of one partition. `under_way` are the turns that are being tried.

    Args:
        keep: stores a message that is not delivered, with a reason, in the next commit.
        drop: deletes a stored message in the next commit, and answers another one, if given, then.

    Concurrency: on the event loop. While it is cautious it takes what comes in before the roster.
    """

    def __init__(
        self,
        index: int,
        env: Environment,
        roster: Roster,
        *,
        keep: Callable[[Message, str], None],
        drop: Callable[[int, Message | None], None],
    ) -> None:
        self._index = index
        self._env = env
        self._roster = roster
        self._keep = keep
        self._drop = drop
        self._task: asyncio.Task[None] | None = None
        self._marks: dict[ActorId, Marks] = {}
        self._known: deque[Message] = deque()
        self._queue: deque[Message] = deque()
        self._more = asyncio.Event()
        self._recovered_end = self._began_ms = self._recovered = 0
        self._ends_s = 0.0
        self.under_way: list[_Trial] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits here or is being tried."""
        return not (self._known or self._queue or self.under_way)

    # ---- ownership -----------------------------------------------------------------------------

    def open(self, acquired: Acquired, rows: Sequence[MessageRow]) -> list[MessageRow]:
        """Begin an ownership. Returns the rows whose messages are to be delivered."""
        for row in rows:
            if is_void(row):
                self._drop(row.id, None)
                if row.method == CONVICTION:
                    self._tell(row.target)
            elif row.parked and row.method != MARK:
                self._roster.note_parked(row.target, row.method, row.parked)
        self._marks = marks_in(rows)
        if not acquired.abandoned:
            self.forget_marks()
        elif self._marks or acquired.abandoned >= CAUTIOUS_FROM:
            self._begin(acquired)
        return [row for row in rows if not row.parked and not is_void(row)]

    def forget_marks(self) -> None:
        """The host ends in good order, or has lived for long enough: nobody is suspect any more."""
        for known in self._marks.values():
            self._drop_marks(known)
        self._marks.clear()

    def clear(self, error: ActorflowError) -> None:
        """End the ownership; whoever waits here gets `error`."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        for trial in self.under_way:
            trial.expiry.cancel()
        self.under_way.clear()
        for message in (*self._known, *self._queue):
            message.refuse(error)
        self._known.clear()
        self._queue.clear()
        self._marks.clear()
        self._env.alone.turns -= self._recovered
        self._recovered = 0
        self._roster.enter = self._roster.enqueue

    def _begin(self, acquired: Acquired) -> None:
        extra = {"partition": self._index, "lost_hosts": acquired.abandoned}
        _log.warning("hosts were lost one after the other; turns run one at a time", extra=extra)
        self._recovered_end = acquired.next_message_id
        self._began_ms = self._env.clock.now_ns() // 1_000_000
        self._ends_s = self._env.loop.time() + CAUTION_S
        self._roster.enter = self.take
        self._env.alone.partition_came(self._env.loop.time())
        self._task = self._env.host.spawn(self._try_all(), f"caution-{self._index}")
        lost_hosts_max = self._env.limits.lost_hosts_max
        for actor, known in list(self._marks.items()):
            if known.lost >= lost_hosts_max:
                del self._marks[actor]
                self._convict(actor, known)

    def _convict(self, actor: ActorId, known: Marks) -> None:
        reason = reason_of_conviction(actor, known.lost)
        extra = {"actor": str(actor), "lost_hosts": known.lost}
        _log.error("actor ends its hosts; it is not run again", extra=extra)
        self._env.counters.parked_messages += 1
        self._drop_marks(known)
        self._keep(Message(actor, CONVICTION), reason)
        self._roster.note_parked(actor, CONVICTION, reason)
        self._tell(actor)

    def _tell(self, actor: ActorId) -> None:
        """Let an actor that can do without its code show that it is not run, or is again."""
        actor_type = self._env.actor_types.named(actor.type)
        if actor_type is not None and actor_type.needs_no_code:
            self._roster.enter(Message(actor, CONVICTION))

    def _drop_marks(self, known: Marks) -> None:
        for row_id in known.ids:
            self._drop(row_id, None)

    # ---- what waits ----------------------------------------------------------------------------

    def take(self, message: Message) -> None:
        """Take a message before the roster does."""
        self._roster.queued_bytes += len(message.payload) + HELD_BYTES
        if self._is_recovered(message):
            self._recovered += 1
            self._env.alone.turns += 1
        queue = self._known if message.target in self._marks else self._queue
        queue.append(message)
        self._more.set()

    def _is_recovered(self, message: Message) -> bool:
        """Whether it was there when the last host was lost."""
        if message.reminder is not None:
            return message.reminder.due_ms <= self._began_ms
        return 0 < message.id < self._recovered_end

    async def _next(self) -> Message | None:
        """Wait for the next message to be tried; None when caution is over."""
        while True:
            left_s = self._ends_s - self._env.loop.time()
            if self._known:
                return self._known.popleft()
            if self._queue and (left_s > 0 or self._recovered):
                return self._queue.popleft()
            if left_s <= 0:
                return None
            self._more.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._more.wait()

    # ---- trials --------------------------------------------------------------------------------

    async def _try_all(self) -> None:
        while (message := await self._next()) is not None:
            known = self._marks.pop(message.target, None)
            if known is None and not self._is_recovered(message):
                await self._try(message, NEW)
                continue
            async with self._env.alone:
                await self._try(message, known or WAITED)
            if self._is_recovered(message):
                self._recovered -= 1
                self._env.alone.turns -= 1
        self._roster.enter = self._roster.enqueue
        while self._queue:
            self._pass_on(self._queue.popleft())
        self.forget_marks()

    async def _try(self, message: Message, known: Marks) -> None:
        """Let the roster have a message once it is marked, and wait for the end of its turn: that
        of one which was marked before is to be stored, too, since nobody else is tried meanwhile.
        One that awaits something, and was never marked, goes on beside the others."""
        is_alone = bool(known.ids)
        most = self._env.limits.lost_hosts_max - (0 if is_alone else 1)
        trial = _Trial(message, mark_of(message.target, min(known.lost + 1, most)), is_alone)
        self._drop_marks(known)
        self._keep(trial.mark, REASON_OF_MARK)
        await trial.is_marked.wait()
        trial.expiry = self._env.loop.call_later(ALONE_S, self._end, trial)
        self.under_way.append(trial)
        self._pass_on(message)
        self.look()
        await trial.is_over.wait()
        if is_alone:
            await trial.is_unmarked.wait()

    def _pass_on(self, message: Message) -> None:
        self._roster.queued_bytes -= len(message.payload) + HELD_BYTES
        self._roster.enqueue(message)

    def look(self) -> None:
        """Turns have run: those that are over lose their mark in the commit that holds them."""
        for trial in list(self.under_way):
            activation = self._roster.find(trial.message.target)
            if activation is None or not activation.has(trial.message):
                self._end(trial)
            elif activation.in_turn is trial.message and not trial.is_alone:
                trial.is_over.set()

    def _end(self, trial: _Trial) -> None:
        """The turn is over, or has run for long and its host lives."""
        trial.expiry.cancel()
        self.under_way.remove(trial)
        mark = trial.mark
        self._drop(mark.id, Message(mark.target, mark.method, reply=trial.is_unmarked))
        trial.is_over.set()


class _Told(asyncio.Event):
    """A reply slot that says only that a commit is stored."""

    def done(self) -> bool:
        return False

    def set_result(self, _: bytes, /) -> None:
        self.set()

    def set_exception(self, _: BaseException, /) -> None:
        """Stay silent: the partition is lost, and nobody waits."""


class _Trial:
    """A message whose turn is tried, and the mark that stands for it."""

    __slots__ = (
        "expiry",
        "is_alone",
        "is_marked",
        "is_over",
        "is_unmarked",
        "mark",
        "message",
    )

    def __init__(self, message: Message, mark: Message, is_alone: bool) -> None:
        self.message = message
        self.mark = mark
        self.is_alone = is_alone
        self.is_marked, self.is_over, self.is_unmarked = _Told(), asyncio.Event(), _Told()
        self.expiry: asyncio.TimerHandle
        mark.reply = self.is_marked
