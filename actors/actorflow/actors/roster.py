"""The live actors of one partition: who is in memory, who is ready, who may leave."""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from actorflow.actors.activation import Activation, ActivationState
from actorflow.actors.errors import (
    ActorflowError,
    CorruptError,
    EndsHostError,
    UnknownActorTypeError,
    UsageError,
)
from actorflow.actors.failures import TurnFailures
from actorflow.actors.limits import ACTIVATION_OVERHEAD_BYTES
from actorflow.actors.loader import Loader
from actorflow.actors.marks import CONVICTION, conviction_in
from actorflow.actors.message import Message
from actorflow.actors.ports import ActorRecord

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from actorflow.actors.actor import TurnActor
    from actorflow.actors.address import ActorId
    from actorflow.actors.committer import Committer
    from actorflow.actors.environment import Environment

_log = logging.getLogger(__name__)


ERASE = "actorflow.erase"
"""Method by which an actor that cannot be activated is deleted with all its data. Any other actor
does not know it."""


class Roster:
    """Activates actors on their first message and lets them go when they are idle.

    `ready` holds the activations with work, each once. `wake` is called when it is no longer empty,
    `park` with a durable message that can reach nobody. Actors are kept in order of their last use.
    `enter` is where messages come in: `enqueue`, unless a cautious partition takes them first.
    """

    def __init__(
        self,
        partition: int,
        env: Environment,
        *,
        wake: Callable[[], None],
        park: Callable[[Message, str], None],
        erase: Callable[[Activation, Message], None],
        committer: Committer,
    ) -> None:
        self._env = env
        self._committer = committer
        self._wake = wake
        self._park = park
        self._erase = erase
        self._activations: OrderedDict[ActorId, Activation] = OrderedDict()
        self.enter: Callable[[Message], None] = self.enqueue
        self.ready: deque[Activation] = deque()
        self.failures = TurnFailures(env, self._reload)
        self._loader = Loader(
            env.store,
            partition,
            spawn=env.host.spawn,
            loaded=self._loaded,
            trouble=committer.wait_out_trouble,
            answered=committer.read_answered,
        )
        self._unknown_types: set[str] = set()
        self.parked: dict[ActorId, list[tuple[str, str]]] = {}
        """Method of each message that is delivered no more, and why, by the actor it is for."""
        self.queued_bytes = 0
        self.live_bytes = 0
        self.running = 0

    def __len__(self) -> int:
        return len(self._activations)

    def find(self, actor: ActorId) -> Activation | None:
        """Return the activation of an actor, if it is in memory."""
        return self._activations.get(actor)

    def live(self, actor: ActorId, *, settled: bool = False) -> TurnActor | None:
        """Return the live object of an actor; None when it is not in memory, or not yet.

        Args:
            settled: it must be in no turn, and its newest one committed.
        """
        activation = self._activations.get(actor)
        if activation is None:
            return None
        if settled and (
            activation.state is ActivationState.RUNNING
            or activation.last_seq > self._committer.committed_seq
        ):
            return None
        return activation.actor

    def clear(self, error: ActorflowError) -> None:
        """Drop everybody; whoever waits for an answer gets `error`."""
        self._loader.stop()
        self.failures.stop()
        for activation in self._activations.values():
            if activation.task is not None and activation.in_turn is not None:
                activation.task.cancel()
                activation.in_turn.refuse(error)
                activation.task = activation.in_turn = None
            while activation.mailbox is not None:
                activation.dequeue().refuse(error)
            activation.forget_actor()
        self._activations.clear()
        self.parked.clear()
        self.ready.clear()
        self.queued_bytes = self.live_bytes = self.running = 0

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call back on the runtime's loop after `delay_s` seconds."""
        return self._env.loop.call_later(delay_s, callback)

    # ---- mailboxes -----------------------------------------------------------------------------

    def enqueue(self, message: Message) -> None:
        """Put a message into its actor's mailbox, activating the actor if need be."""
        activation = self._activations.get(message.target)
        if activation is None:
            actor_type = self._env.actor_types.named(message.target.type)
            if actor_type is None:
                self._keep_for_later(message)
                return
            activation = Activation(message.target, actor_type)
            self._activations[message.target] = activation
            if message.is_new:
                self._loaded(activation, None)
            else:
                self._loader.want(activation)
        if activation.state is ActivationState.BROKEN:
            self._set_aside(activation, message)
            return
        activation.enqueue(message)
        self.queued_bytes += len(message.payload)
        if activation.state is ActivationState.IDLE:
            self._make_ready(activation)

    def _keep_for_later(self, message: Message) -> None:
        """A stored message or reminder of a type that this program does not have (any more): its
        row stays, and is delivered when a program that has the type owns the partition."""
        name = message.target.type
        message.refuse(UnknownActorTypeError(name, sorted(self._env.actor_types)))
        if name not in self._unknown_types:
            self._unknown_types.add(name)
            _log.error("messages wait for an unregistered actor type", extra={"actor_type": name})

    def take(self, activation: Activation) -> Message:
        """Take the oldest message of an activation, whose turn begins now."""
        self._env.pulse.doing = activation.actor_id
        message = activation.dequeue()
        self.queued_bytes -= len(message.payload)
        return message

    def put_back(self, activation: Activation, message: Message) -> None:
        """Return a message to the front of the mailbox: its turn failed."""
        activation.enqueue_first(message)
        self.queued_bytes += len(message.payload)

    def set_timer(self, actor: ActorId, method: str, payload: bytes, delay_s: float) -> ActorTimer:
        """Send a live actor a volatile message after `delay_s`; see `actor.ActorServices`."""
        activation = self._activations.get(actor)
        if activation is None:
            raise UsageError(f"{actor} is not active; set timers only inside its turns")
        return ActorTimer(self, activation, Message(actor, method, payload), delay_s)

    # ---- between turns -------------------------------------------------------------------------

    def begin_long_turn(
        self,
        activation: Activation,
        message: Message,
        task: asyncio.Task[None],
        answer: object,
    ) -> None:
        """The turn awaits `answer`: no other may start until it has ended."""
        activation.move(ActivationState.RUNNING)
        activation.task = task
        activation.in_turn = message
        self.running += 1
        if isinstance(answer, Coroutine):  # cancelled before it began, it would complain
            task.add_done_callback(lambda _: answer.close())

    def end_long_turn(self, activation: Activation) -> None:
        """The awaited part is over."""
        activation.task = activation.in_turn = None
        self.running -= 1

    def rest_on(self, caller: ActorId | None, seq: int) -> None:
        """What a running turn does and answers rests on a turn in commit `seq` from now on."""
        activation = self._activations.get(caller) if caller is not None else None
        if activation is not None:
            activation.last_seq = max(activation.last_seq, seq)

    def rest(self, activation: Activation) -> None:
        """After a turn: back into the queue, or idle. A turn that goes on or failed decides
        later."""
        if activation.state is ActivationState.RUNNING and activation.task is None:
            activation.move(ActivationState.READY)
        if activation.state is not ActivationState.READY:
            return
        self._weigh(activation)
        if activation.mailbox is not None:
            self.ready.append(activation)
        else:
            self._make_idle(activation)

    def discard(self, activation: Activation, pause_s: float, committed_seq: int) -> None:
        """Drop the live object after a failed turn; read it again once its turns are committed."""
        activation.forget_actor()
        self.failures.reload_after_commit(activation, pause_s)
        self.failures.committed(committed_seq)

    # ---- activation ----------------------------------------------------------------------------

    def _loaded(self, activation: Activation, record: ActorRecord | CorruptError | None) -> None:
        if self._activations.get(activation.actor_id) is not activation:
            return
        activation.number = record.number if isinstance(record, ActorRecord) else 0
        summary = record.summary if isinstance(record, ActorRecord) else None
        activation.phase = summary.phase if summary is not None else ""
        if isinstance(record, CorruptError):
            self._break(activation, record)
            return
        if (conviction := self._conviction(activation)) is not None:
            self._break(activation, conviction)
            return
        try:
            activation.actor = activation.actor_type.activate(
                activation.actor_id, record, self._env.services
            )
        except Exception as error:  # noqa: BLE001 -- one actor's bad data must not hurt the others
            self._break(activation, error)
            return
        self._env.counters.activations += 1
        activation.log_length = record.log_length if record is not None else 0
        if activation.mailbox is not None:
            self._weigh(activation)
            self._make_ready(activation)
        else:
            self._make_idle(activation)

    def _break(self, activation: Activation, error: Exception) -> None:
        activation.move(ActivationState.BROKEN)
        activation.idle_since_s = self._env.loop.time()
        activation.problem = self.failures.broken(activation.actor_id, error)
        while activation.mailbox is not None:
            self._set_aside(activation, self.take(activation))
        self._wake()  # a cautious partition waits for the end of each message

    def _conviction(self, activation: Activation) -> EndsHostError | None:
        """Return why an actor is out of service, if so: one that runs without its code is when that
        did not help."""
        actor = activation.actor_id
        parked = self.parked.get(actor, ())
        count = sum(method == CONVICTION for method, _ in parked)
        if count > activation.actor_type.needs_no_code:
            return EndsHostError(actor.key, conviction_in(parked))
        return None

    def _set_aside(self, activation: Activation, message: Message) -> None:
        """A message for an actor that cannot be activated: refuse it, or keep it as a parked
        row."""
        if message.method == ERASE:
            del self._activations[activation.actor_id]
            self._erase(activation, message)
            return
        problem = activation.problem or CorruptError(f"{activation.actor_id} cannot be activated")
        message.refuse(problem)
        if message.id:
            self._park(message, str(problem))

    def note_parked(self, target: ActorId, method: str, reason: str) -> None:
        """Remember a message that is delivered no more, for those who ask."""
        self.parked.setdefault(target, []).append((method, reason))

    def _reload(self, activation: Activation) -> None:
        if self._activations.get(activation.actor_id) is activation:
            activation.move(ActivationState.LOADING)
            self._loader.want(activation)

    def _make_ready(self, activation: Activation) -> None:
        activation.move(ActivationState.READY)
        self.ready.append(activation)
        self._wake()

    def _make_idle(self, activation: Activation) -> None:
        activation.move(ActivationState.IDLE)
        activation.idle_since_s = self._env.loop.time()
        self._activations.move_to_end(activation.actor_id)

    # ---- leaving memory ------------------------------------------------------------------------

    def _weigh(self, activation: Activation) -> None:
        weight_bytes = ACTIVATION_OVERHEAD_BYTES + activation.live_actor().weight_bytes
        self.live_bytes += weight_bytes - activation.weight_bytes
        activation.weight_bytes = weight_bytes

    def evict_idle(self, committed_seq: int) -> int:
        """Drop actors that were idle too long, and the longest idle ones above the memory budget.

        Returns: how many. An actor whose newest turn is not committed stays, whatever the budget.
        """
        limits = self._env.limits
        idle_before_s = self._env.loop.time() - limits.idle_ttl_s
        evicted: list[Activation] = []
        for activation in self._activations.values():
            if activation.state not in (ActivationState.IDLE, ActivationState.BROKEN):
                continue
            over_budget = self.live_bytes > limits.memory_budget_bytes
            if activation.idle_since_s > idle_before_s and not over_budget:
                break
            if activation.last_seq <= committed_seq and not activation.timers:
                self.live_bytes -= activation.weight_bytes
                activation.weight_bytes = 0
                evicted.append(activation)
        for activation in evicted:
            self._evict(activation)
        return len(evicted)

    def retire(self, actor: ActorId, committed_seq: int) -> None:
        """Let an actor go that said it has nothing more to do, unless it has."""
        activation = self._activations.get(actor)
        if (
            activation is not None
            and activation.state is ActivationState.IDLE
            and activation.last_seq <= committed_seq
            and not activation.timers
        ):
            self._evict(activation)

    def _evict(self, activation: Activation) -> None:
        del self._activations[activation.actor_id]
        self.live_bytes -= activation.weight_bytes
        activation.forget_actor()
        self._env.counters.evictions += 1


class ActorTimer:
    """A pending volatile timer of one activation. Implements `actor.TimerHandle`."""

    __slots__ = ("_activation", "_handle", "_message", "_roster")

    def __init__(
        self, roster: Roster, activation: Activation, message: Message, delay_s: float
    ) -> None:
        self._roster = roster
        self._activation = activation
        self._message: Message | None = message
        self._handle = roster.call_later(delay_s, self._fire)
        activation.timers += 1

    def cancel(self) -> None:
        """Stop the timer; harmless when it has fired."""
        if self._message is not None:
            self._message = None
            self._handle.cancel()
            self._activation.timers -= 1

    def _fire(self) -> None:
        message, self._message = self._message, None
        self._activation.timers -= 1
        if message is not None and self._roster.find(message.target) is self._activation:
            self._roster.enter(message)
