"""What can be an actor: the two kinds of actor types, and what the runtime offers to them.

Application authors subclass `actorflow.actors.Actor` (see `author.py`); what stands here is the
narrower form that engines built on the runtime use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow.actors.address import ActorId
    from actorflow.actors.alone import Alone
    from actorflow.actors.clock import Clock, IdSource
    from actorflow.actors.completion import DeliveryKey, Sends
    from actorflow.actors.effects import Effects
    from actorflow.actors.limits import Limits
    from actorflow.actors.message import Message
    from actorflow.actors.ports import ActorRecord


class TurnActor(Protocol):
    """A live actor. Turns of one actor never overlap."""

    @property
    def weight_bytes(self) -> int:
        """Approximate payload bytes held in memory, for the memory budget."""
        ...

    def receive(self, effects: Effects, message: Message) -> bytes | Awaitable[bytes]:
        """Handle one message: change memory, say in `effects` what to store and send, return the
        answer.

        Either returns the answer, or an awaitable when the turn must wait for something. When it
        raises, the effects are dropped, and the actor object too: it is built again from what is
        committed. `effects.reject` answers with an error and keeps the object.
        """
        ...

    def close(self) -> None:
        """Called once when the object leaves memory, for whatever reason."""
        ...


class Delivery(Protocol):
    """One durable message given to a worker type. It comes again until `complete` has committed."""

    @property
    def message(self) -> Message:
        """The message, as it was sent."""
        ...

    @property
    def key(self) -> DeliveryKey:
        """What it is known by on all hosts, see `ActorSystem.complete`; another one after
        `amend`."""
        ...

    @property
    def is_void(self) -> bool:
        """Whether the partition was lost or handed over since: its next owner delivers it too."""
        ...

    @property
    def abandoned(self) -> int:
        """`Acquired.abandoned` of this ownership, when the message was there before it; else 0.
        Above 0, whoever had the message last may be what has ended its host."""
        ...

    @property
    def alone(self) -> Alone:
        """Held by whatever has the process for itself, to find out whether it ends its host."""
        ...

    def complete(self, sends: Sends) -> None:
        """Consume the message and send these, atomically. Ignored when void: then
        `ActorSystem.complete` reaches the next owner."""
        ...

    async def amend(self, payload: bytes) -> bool:
        """Replace the payload of the stored message. The delivery goes on, with another id.

        Returns: True when it is committed, False when the delivery is void or at its end.
        Concurrency: `complete` may be called meanwhile, `amend` may not.
        """
        ...


class ActorServices(Protocol):
    """What the runtime offers to a live actor besides the effects of its turn."""

    @property
    def clock(self) -> Clock:
        """The time source."""
        ...

    @property
    def ids(self) -> IdSource:
        """The source of random values."""
        ...

    @property
    def limits(self) -> Limits:
        """The bounds of this runtime."""
        ...

    async def call_from(
        self, caller: Message, target: ActorId, method: str, payload: bytes, *, timeout_s: float
    ) -> bytes:
        """Call another actor from inside the turn that handles `caller`.

        Raises:
            CallCycleError: the target already waits for this answer.
            ActorCallError: the method raised there.
            UnavailableError: no answer in time.
        """
        ...

    def set_timer(self, actor: ActorId, method: str, payload: bytes, delay_s: float) -> TimerHandle:
        """Send the actor a volatile message after `delay_s` seconds: lost with the process. While
        one is pending the actor is not evicted."""
        ...


class TimerHandle(Protocol):
    """A pending volatile timer."""

    def cancel(self) -> None:
        """Stop it; harmless when it has fired."""
        ...


@dataclass(frozen=True, slots=True)
class ActorType:
    """Actors with state: activated on the first message, one turn at a time.

    `activate` builds the live object from what is committed (None: nothing is). It may raise
    CorruptError: the actor is then out of service, its data is kept, others go on. `with_log` asks
    for the log in the record. A family serves also all types called `<name>@<anything>`.

    An actor that ended its hosts (see `caution.py`) is out of service, too, unless its type
    `needs_no_code`: `activate` then gives it an object that runs no code of authors, when it finds
    a conviction among what is parked. It hears of it by a message, `marks.CONVICTION`.
    """

    name: str
    activate: Callable[[ActorId, ActorRecord | None, ActorServices], TurnActor]
    with_log: bool = False
    is_family: bool = False
    needs_no_code: bool = False


@dataclass(frozen=True, slots=True)
class WorkerType:
    """Stateless workers whose messages are durable before they run.

    `deliver` gets every message after the commit that stored it, in order, many at once, and again
    after a crash, until its delivery is completed. `completed` hears that somebody has
    completed one. `fits` says whether this can follow from a message: `ActorSystem.complete` may be
    called with what others say. None may block or raise.
    """

    name: str
    deliver: Callable[[Delivery], None]
    completed: Callable[[DeliveryKey], None] = lambda _: None
    fits: Callable[[Message, Sends], bool] = lambda _, __: True


class ActorTypes(dict[str, ActorType]):
    """The actor types of a program, by name; a family stands for every name that it serves."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.named(name) is not None

    def named(self, name: str) -> ActorType | None:
        """Return the type that serves a name."""
        found = self.get(name)
        if found is None:
            family = self.get(name.partition("@")[0])
            found = family if family is not None and family.is_family else None
        return found
