"""One live actor: its mailbox and where it stands."""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING

from actorflow.actors.errors import InvariantError

if TYPE_CHECKING:
    import asyncio

    from actorflow.actors.actor import ActorType, TurnActor
    from actorflow.actors.address import ActorId
    from actorflow.actors.effects import Effects
    from actorflow.actors.message import Message


class ActivationState(StrEnum):
    """Where an activation stands. Turns start only from READY, and one at a time."""

    LOADING = "loading"  # its record is being read
    IDLE = "idle"  # mailbox empty; may be evicted
    READY = "ready"  # in the partition's queue
    RUNNING = "running"  # inside a turn that awaits something
    BACKOFF = "backoff"  # its last turn failed; waits before it tries again
    STALE = "stale"  # to be read again, once its earlier turns are committed
    BROKEN = "broken"  # its stored data cannot be read


_NEXT: dict[ActivationState, frozenset[ActivationState]] = {
    ActivationState.LOADING: frozenset(
        {ActivationState.IDLE, ActivationState.READY, ActivationState.BROKEN}
    ),
    ActivationState.IDLE: frozenset({ActivationState.READY}),
    ActivationState.READY: frozenset(
        {ActivationState.RUNNING, ActivationState.IDLE, ActivationState.STALE}
    ),
    ActivationState.RUNNING: frozenset(
        {ActivationState.READY, ActivationState.IDLE, ActivationState.STALE}
    ),
    ActivationState.STALE: frozenset({ActivationState.LOADING, ActivationState.BACKOFF}),
    ActivationState.BACKOFF: frozenset({ActivationState.STALE, ActivationState.LOADING}),
    ActivationState.BROKEN: frozenset(),
}


class Activation:
    """The one live copy of an actor on its owner.

    `number` is 0 while nothing of the actor is stored. `last_seq` is the commit that holds its
    newest turn: the activation may leave memory only after that commit. `in_turn` is the message of
    a turn that awaits something, in `task`. A parked activation (IDLE)
    holds no queue and no task.
    """

    __slots__ = (
        "actor",
        "actor_id",
        "actor_type",
        "idle_since_s",
        "in_turn",
        "last_seq",
        "log_length",
        "mailbox",
        "mailbox_bytes",
        "number",
        "phase",
        "problem",
        "state",
        "task",
        "timers",
        "weight_bytes",
    )

    def __init__(self, actor_id: ActorId, actor_type: ActorType) -> None:
        self.actor_id = actor_id
        self.actor_type = actor_type
        self.actor: TurnActor | None = None
        self.number = 0
        self.phase = ""  # of its newest summary, committed or not; "" when it has none
        self.log_length = 0
        self.last_seq = 0
        self.state = ActivationState.LOADING
        self.mailbox: deque[Message] | None = None
        self.mailbox_bytes = 0
        self.weight_bytes = 0
        self.idle_since_s = 0.0
        self.task: asyncio.Task[None] | None = None
        self.in_turn: Message | None = None
        self.timers = 0
        self.problem: Exception | None = None

    def move(self, state: ActivationState) -> None:
        """Change state; a pair that the table does not list is a bug."""
        if state not in _NEXT[self.state]:
            raise InvariantError(f"{self.actor_id}: no way from {self.state} to {state}")
        self.state = state

    def enqueue(self, message: Message) -> None:
        """Append a message."""
        if self.mailbox is None:
            self.mailbox = deque()
        self.mailbox.append(message)
        self.mailbox_bytes += len(message.payload)

    def enqueue_first(self, message: Message) -> None:
        """Put a message back in front, so that the order of arrival is kept."""
        if self.mailbox is None:
            self.mailbox = deque()
        self.mailbox.appendleft(message)
        self.mailbox_bytes += len(message.payload)

    def dequeue(self) -> Message:
        """Take the oldest message; the queue itself goes with the last one."""
        mailbox = self.mailbox
        if mailbox is None:
            raise InvariantError(f"{self.actor_id}: a turn without a message")
        message = mailbox.popleft()
        self.mailbox_bytes -= len(message.payload)
        if not mailbox:
            self.mailbox = None
        return message

    def has(self, message: Message) -> bool:
        """Whether a message waits for its first turn, or is in it."""
        if self.in_turn is message:
            return True
        return message.attempt == 0 and self.mailbox is not None and message in self.mailbox

    def place(self, effects: Effects) -> None:
        """Tell finished effects which actor and which part of its log they are about."""
        effects.number = self.number
        if effects.delete:
            self.number = 0
            self.phase = ""
            self.log_length = 0
            return
        if effects.summary is not None:
            self.phase = effects.summary.phase
        if effects.log_reset:
            self.log_length = 0
        effects.log_start = self.log_length
        if effects.log is not None:
            self.log_length += len(effects.log)

    def live_actor(self) -> TurnActor:
        """Return the live object; only between a load and a drop there is one."""
        if self.actor is None:
            raise InvariantError(f"{self.actor_id}: a turn without a live actor")
        return self.actor

    def forget_actor(self) -> None:
        """Let the live object go; what is committed stays."""
        if self.actor is not None:
            self.actor.close()
            self.actor = None
