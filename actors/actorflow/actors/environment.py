"""What every part of one runtime shares. Built once, by `ActorSystem`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from actorflow.actors.address import partition_of
from actorflow.actors.alone import Alone
from actorflow.actors.errors import StoreFullError, UnknownActorTypeError
from actorflow.actors.outage import Outage
from actorflow.actors.pulse import Pulse
from actorflow.actors.room import Room

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from actorflow.actors.actor import ActorServices, ActorTypes, WorkerType
    from actorflow.actors.address import ActorId
    from actorflow.actors.clock import Clock, IdSource
    from actorflow.actors.effects import Effects
    from actorflow.actors.errors import ActorflowError
    from actorflow.actors.letters import Letter
    from actorflow.actors.limits import Limits
    from actorflow.actors.message import Message
    from actorflow.actors.ports import PartitionStore, Summary


class Host(Protocol):
    """What a partition asks of the runtime that hosts it."""

    def post(self, partition: int, letter: Letter) -> None:
        """Send a letter to a partition, here or elsewhere; it may get lost."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a named task that the runtime keeps, and ends when it stops."""
        ...

    def post_to_host(self, host: str, letter: Letter) -> None:
        """Send a letter to another host; it may get lost."""
        ...

    def heard(self, topic: str, sender: str, payload: bytes) -> None:
        """Another host has sent a `HostLetter`."""
        ...

    def partition_owned(self, partition: int, cursor: str) -> None:
        """The partition is at work here now; its inbox was read up to `cursor`."""
        ...

    def partition_left(self, partition: int) -> None:
        """The partition was given up in good order."""
        ...

    def partition_lost(self, partition: int, error: Exception) -> None:
        """The partition dropped its memory because the store refused a commit."""
        ...

    def notice(self, actor: ActorId, summary: Summary | None) -> None:
        """A commit changed the summary of an actor (None: the actor was deleted)."""
        ...


@dataclass(slots=True)
class Counters:
    """Plain numbers since the start, for metrics and tests. Written on the event loop only."""

    turns: int = 0
    failed_turns: int = 0
    commits: int = 0
    commit_resends: int = 0
    commits_already: int = 0
    commits_fenced: int = 0
    commits_abandoned: int = 0
    activations: int = 0
    evictions: int = 0
    parked_messages: int = 0
    reminders_fired: int = 0
    overloads: int = 0
    link_gaps: int = 0
    link_duplicates: int = 0
    link_rewinds: int = 0
    link_resends: int = 0
    link_alarms: int = 0


@dataclass(frozen=True, slots=True)
class Environment:
    """Shared parts of one runtime."""

    loop: asyncio.AbstractEventLoop
    store: PartitionStore
    clock: Clock
    ids: IdSource
    limits: Limits
    actor_types: ActorTypes
    worker_types: dict[str, WorkerType]
    services: ActorServices
    host: Host
    counters: Counters
    watched: dict[ActorId, list[Any]]
    """Actors whose committed summaries somebody waits for; the values belong to the host."""

    partition_count: int = 1
    pulse: Pulse = field(default_factory=Pulse)
    """What others may see of the loop: who runs, and that it runs."""

    room: Room = field(default_factory=Room)
    """Whether the store takes new actors."""

    outage: Outage = field(default_factory=Outage)
    """Who hears of a store that does not answer."""

    alone: Alone = field(default_factory=Alone)
    """Who has the process for itself."""

    def is_seen(self) -> bool:
        """Whether the other hosts saw this one alive a moment ago: see `Pulse.is_seen`."""
        return self.pulse.is_seen(self.loop.time())

    def partition_of(self, actor: ActorId) -> int:
        """Return the partition that owns an actor."""
        return partition_of(actor, self.partition_count)

    def fault_in(self, effects: Effects, *, creates: bool) -> ActorflowError | None:
        """Return why a finished turn cannot be kept, if so.

        Args:
            creates: its actor does not exist yet.
        """
        if creates and self.room.reason and effects.writes() and not effects.delete:
            reason = self.room.reason_to_refuse(self.loop.time())
            if reason:
                return StoreFullError(reason, written=False)
        return None if effects.sends is None else self._unknown_target(effects.sends)

    def _unknown_target(self, sends: list[Message]) -> UnknownActorTypeError | None:
        """Return an error when a message is for a type that nobody registered."""
        for message in sends:
            name = message.target.type
            if name not in self.worker_types and name not in self.actor_types:
                return UnknownActorTypeError(name, sorted({*self.actor_types, *self.worker_types}))
        return None
