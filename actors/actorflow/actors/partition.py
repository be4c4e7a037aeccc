"""The owner's half of one partition: turns run in memory, one commit at a time makes them durable.

    admit -> mailbox -> turn -> open batch -> commit -> release

Everything up to the batch is memory of this process and may be dropped at any moment; everything that
others can see happens in `_released`, after the store has answered. If the store refuses a commit
(fenced, or its sequence is not ours), the whole memory of the partition is dropped and read again:
there is no partial rollback. The rules are in ARCHITECTURE.md, "The commit rule".

Concurrency: all methods run on the event loop of the runtime; none is thread-safe.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from enum import StrEnum
from typing import TYPE_CHECKING

from actorflow.actors.activation import Activation, ActivationState
from actorflow.actors.batch import Batch
from actorflow.actors.committer import Committer
from actorflow.actors.delivery import WorkDelivery
from actorflow.actors.effects import Effects
from actorflow.actors.errors import (
    ActorflowError,
    CorruptError,
    NotOwnerError,
    OverloadedError,
    StoppingError,
    StoreUnavailableError,
)
from actorflow.actors.failures import TurnFailures
from actorflow.actors.limits import ACTIVATION_OVERHEAD_BYTES
from actorflow.actors.loader import Loader
from actorflow.actors.message import Message, message_of_row
from actorflow.actors.reminders import Armed, ReminderIndex, next_occurrence

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Iterable

    from actorflow.actors.actor import TurnActor
    from actorflow.actors.address import ActorId
    from actorflow.actors.environment import Environment
    from actorflow.actors.ports import Acquired, ActorRecord, DueReminder, Lease, Recovery, Reminder

TURNS_PER_VISIT = 32
"""Turns that an actor with a full mailbox runs before the next actor is served."""

REMIND = "actorflow.remind"
"""Method name of the message that a due reminder sends to its actor."""


class PartitionState(StrEnum):
    """What the partition does with calls."""

    CLOSED = "closed"  # not owned: refuses
    OPEN = "open"
    DRAINING = "draining"  # finishes what it has, refuses calls from outside


class Partition:
    """See the module docstring. `life` counts ownerships: what began in an earlier one is void."""

    def __init__(self, index: int, env: Environment) -> None:
        self.index = index
        self.state = PartitionState.CLOSED
        self.life = 0
        self._env = env
        self._limits = env.limits
        self._activations: OrderedDict[ActorId, Activation] = OrderedDict()
        self._ready: deque[Activation] = deque()
        self._completed: deque[tuple[Message, list[tuple[ActorId, str, bytes]]]] = deque()
        self._delivering: set[int] = set()
        self._drain_scheduled = False
        self._long_turns = 0
        self._next_number = 1
        self._next_message_id = 1
        self._queued_bytes = 0
        self._live_bytes = 0
        self._batch = Batch(1)
        self._reminders = ReminderIndex(env.loop, env.clock, self._remind)
        self._committer = Committer(index, env, released=self._released, lost=self._lost)
        self._failures = TurnFailures(env, self._reload)
        self._loader = Loader(
            env.store,
            index,
            spawn=env.host.spawn,
            loaded=self._loaded,
            trouble=self._committer.wait_out_trouble,
        )

    # ---- ownership -----------------------------------------------------------------------------

    def open(self, acquired: Acquired, recovery: Recovery, *, horizon_ms: int) -> None:
        """Begin to own: take over the counters and everything that waits."""
        self.life += 1
        self._next_number = acquired.next_actor_number
        self._next_message_id = acquired.next_message_id
        self._batch = Batch(acquired.seq + 1)
        self._committer.start(acquired)
        self.state = PartitionState.OPEN
        self.widen_reminders(horizon_ms)
        self.add_reminders(recovery.reminders, last=True)
        for row in recovery.messages:
            if not row.parked:
                self._deliver(message_of_row(row))

    def widen_reminders(self, horizon_ms: int) -> int:
        """From now on keep reminders due before `horizon_ms`; `add_reminders` brings the stored ones.

        Returns: the horizon until now.
        """
        return self._reminders.widen(horizon_ms)

    def add_reminders(self, due: Iterable[DueReminder], *, last: bool) -> None:
        """Arm stored reminders of the widened window; `last` says that these were all."""
        self._reminders.add(due, last=last)

    def drain(self) -> None:
        """Refuse calls from outside from now on; what was accepted goes on."""
        if self.state is PartitionState.OPEN:
            self.state = PartitionState.DRAINING

    def is_quiet(self) -> bool:
        """Whether no turn runs or waits and everything is committed."""
        return (
            not self._ready
            and not self._completed
            and not self._batch.turns
            and self._committer.in_flight is None
            and not self._long_turns
        )

    def close(self, error: ActorflowError) -> None:
        """Stop owning: drop all memory; whoever waits gets `error`. The store is not touched."""
        self.life += 1
        self.state = PartitionState.CLOSED
        self._committer.stop()
        self._loader.stop()
        self._failures.stop()
        self._reminders.clear()
        for batch in (self._committer.in_flight, self._batch):
            if batch is not None:
                batch.refuse_all(error)
        for activation in list(self._activations.values()):
            self._drop(activation, error)
        self._activations.clear()
        self._ready.clear()
        self._completed.clear()
        self._delivering.clear()
        self._long_turns = 0
        self._queued_bytes = 0
        self._live_bytes = 0

    def _lost(self, error: ActorflowError) -> None:
        """The store refused a commit: nothing in memory can be trusted any more."""
        self.close(error)
        self._env.host.partition_lost(self.index, error)

    def _drop(self, activation: Activation, error: ActorflowError) -> None:
        if activation.task is not None:
            activation.task.cancel()
            activation.task = None
        while activation.mailbox is not None:
            activation.dequeue().refuse(error)
        activation.forget_actor()

    # ---- messages in ---------------------------------------------------------------------------

    def admit(self, message: Message) -> None:
        """Take a call from outside, or refuse it at the door with nothing kept.

        Raises:
            NotOwnerError, StoppingError, StoreUnavailableError: see their texts.
            OverloadedError: the actor's mailbox or the partition is full.
        """
        self._check_door(message.target)
        self.enqueue(message)

    def _check_door(self, target: ActorId) -> None:
        if self.state is not PartitionState.OPEN:
            if self.state is PartitionState.DRAINING:
                raise StoppingError("the host is stopping and takes no new calls; retry elsewhere")
            raise NotOwnerError(f"partition {self.index} is not served here now; retry")
        if self._committer.trouble:
            raise StoreUnavailableError(
                f"the store does not take commits now: {self._committer.trouble}", written=False
            )
        limits = self._limits
        activation = self._activations.get(target)
        if activation is not None and activation.mailbox is not None:
            if len(activation.mailbox) >= limits.mailbox_messages:
                self._overloaded(f"the mailbox of {target}", limits.mailbox_messages)
            if activation.mailbox_bytes >= limits.mailbox_bytes:
                self._overloaded(f"the mailbox (bytes) of {target}", limits.mailbox_bytes)
        if self._queued_bytes + self._batch.size_bytes >= limits.partition_bytes:
            self._overloaded(f"partition {self.index} (bytes)", limits.partition_bytes)

    def _overloaded(self, queue: str, limit: int) -> None:
        self._env.counters.overloads += 1
        raise OverloadedError(queue, limit)

    def enqueue(self, message: Message) -> None:
        """Put a message into its actor's mailbox, activating the actor if need be."""
        activation = self._activations.get(message.target)
        if activation is None:
            actor_type = self._env.actor_types[message.target.type]
            activation = Activation(message.target, actor_type)
            self._activations[message.target] = activation
            self._loader.want(activation)
        elif activation.state is ActivationState.BROKEN:
            self._set_aside(activation, message)
            return
        activation.enqueue(message)
        self._queued_bytes += len(message.payload)
        if activation.state is ActivationState.IDLE:
            self._make_ready(activation)

    def _deliver(self, message: Message) -> None:
        """Hand over a message whose row is committed."""
        worker = self._env.worker_types.get(message.target.type)
        if worker is None:
            message.depth = 0
            self.enqueue(message)
            return
        self._delivering.add(message.id)
        worker.deliver(WorkDelivery(self, message, self.life))

    def accept(self, message: Message) -> None:
        """Take a durable message from outside; its reply slot is answered when it is stored.

        Raises: as `admit`.
        """
        self._check_door(message.target)
        self._send(message, 0)
        self._batch.turns += 1
        self._batch.size_bytes += len(message.payload)
        receipt = Message(message.target, message.method, reply=message.reply)
        message.reply = None
        self._batch.answers.append((receipt, b"", None))
        self._schedule_drain()

    def set_timer(
        self, actor: ActorId, method: str, payload: bytes, delay_s: float
    ) -> asyncio.TimerHandle:
        """Send a live actor a volatile message after `delay_s`; see `actor.ActorServices`."""
        life = self.life
        activation = self._activations[actor]
        activation.timers += 1

        def fire() -> None:
            if life == self.life and self._activations.get(actor) is activation:
                activation.timers -= 1
                self.enqueue(Message(actor, method, payload))

        return self._env.loop.call_later(delay_s, fire)

    def timer_cancelled(self, actor: ActorId) -> None:
        """A timer that had not fired was cancelled: it no longer keeps the actor in memory."""
        activation = self._activations.get(actor)
        if activation is not None and activation.timers:
            activation.timers -= 1

    def complete_delivery(
        self, message: Message, sends: list[tuple[ActorId, str, bytes]], life: int
    ) -> None:
        """A worker type has done with a durable message. See `actor.Delivery.complete`."""
        if life == self.life and message.id in self._delivering:
            self._delivering.discard(message.id)
            self._completed.append((message, sends))
            self._schedule_drain()

    def _remind(self, armed: Armed) -> None:
        self._env.counters.reminders_fired += 1
        message = Message(armed.actor, REMIND, armed.reminder.payload)
        message.reminder = armed.reminder
        self.enqueue(message)

    # ---- activation and eviction ---------------------------------------------------------------

    def _loaded(self, activation: Activation, record: ActorRecord | CorruptError | None) -> None:
        if self._activations.get(activation.actor_id) is not activation:
            return
        try:
            if isinstance(record, CorruptError):
                raise record
            activation.actor = activation.actor_type.activate(
                activation.actor_id, record, self._env.services
            )
        except Exception as error:  # noqa: BLE001 -- one actor's bad data must not hurt the others
            self._break(activation, error)
            return
        self._env.counters.activations += 1
        activation.number = record.number if record is not None else 0
        activation.log_length = record.log_length if record is not None else 0
        self._weigh(activation, activation.actor)
        if activation.mailbox is not None:
            self._make_ready(activation)
        else:
            self._make_idle(activation)

    def _break(self, activation: Activation, error: Exception) -> None:
        activation.move(ActivationState.BROKEN)
        activation.problem = self._failures.broken(activation.actor_id, error)
        while activation.mailbox is not None:
            self._set_aside(activation, self._take(activation))

    def _set_aside(self, activation: Activation, message: Message) -> None:
        """A message for an actor that cannot be activated: refuse it, or keep it as a parked row."""
        problem = activation.problem or CorruptError(f"{activation.actor_id} cannot be activated")
        message.refuse(problem)
        if message.id:
            self._park(message, str(problem))

    def _reload(self, activation: Activation) -> None:
        if self._activations.get(activation.actor_id) is activation:
            activation.move(ActivationState.LOADING)
            self._loader.want(activation)

    def _make_ready(self, activation: Activation) -> None:
        activation.move(ActivationState.READY)
        self._ready.append(activation)
        self._schedule_drain()

    def _make_idle(self, activation: Activation) -> None:
        activation.move(ActivationState.IDLE)
        activation.idle_since_s = self._env.loop.time()
        self._activations.move_to_end(activation.actor_id)

    def _weigh(self, activation: Activation, actor: TurnActor) -> None:
        weight_bytes = ACTIVATION_OVERHEAD_BYTES + actor.weight_bytes
        self._live_bytes += weight_bytes - activation.weight_bytes
        activation.weight_bytes = weight_bytes

    def evict_idle(self) -> int:
        """Drop actors that were idle too long, and the longest idle ones above the memory budget.

        Returns: how many. An actor whose newest turn is not committed stays, whatever the budget.
        """
        idle_before_s = self._env.loop.time() - self._limits.idle_ttl_s
        evicted: list[Activation] = []
        for activation in self._activations.values():
            if activation.state not in (ActivationState.IDLE, ActivationState.BROKEN):
                continue
            over_budget = self._live_bytes > self._limits.memory_budget_bytes
            if activation.idle_since_s > idle_before_s and not over_budget:
                break
            if activation.last_seq <= self._committer.committed_seq and not activation.timers:
                self._live_bytes -= activation.weight_bytes
                evicted.append(activation)
        for activation in evicted:
            self._evict(activation)
        return len(evicted)

    def _evict(self, activation: Activation) -> None:
        del self._activations[activation.actor_id]
        activation.forget_actor()
        self._env.counters.evictions += 1

    def _retire(self, actor: ActorId, committed_seq: int) -> None:
        activation = self._activations.get(actor)
        if (
            activation is not None
            and activation.state is ActivationState.IDLE
            and activation.last_seq <= committed_seq
            and not activation.timers
        ):
            self._live_bytes -= activation.weight_bytes
            self._evict(activation)

    # ---- turns ---------------------------------------------------------------------------------

    def _schedule_drain(self) -> None:
        if not self._drain_scheduled:
            self._drain_scheduled = True
            self._env.loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Run what is ready into the open batch, up to its caps; commit it if none is in flight."""
        self._drain_scheduled = False
        if self.state is PartitionState.CLOSED:
            return
        batch, ready, completed = self._batch, self._ready, self._completed
        turns, size_bytes = self._limits.batch_turns, self._limits.batch_bytes
        while not batch.is_full(turns, size_bytes):
            if ready:
                self._visit(ready.popleft())
            elif completed:
                self._complete(*completed.popleft())
            else:
                break
        if batch.turns and self._committer.in_flight is None:
            self._batch = Batch(batch.seq + 1)
            self._committer.submit(batch)
            if ready or completed:
                self._schedule_drain()

    def _take(self, activation: Activation) -> Message:
        message = activation.dequeue()
        self._queued_bytes -= len(message.payload)
        return message

    def _visit(self, activation: Activation) -> None:
        """Run a few turns of one actor, then let others come first."""
        for _ in range(TURNS_PER_VISIT):
            self._turn(activation)
            if activation.mailbox is None or activation.state is not ActivationState.READY:
                break
        self._rest(activation)

    def _turn(self, activation: Activation) -> None:
        """Give the oldest message to the actor."""
        message = self._take(activation)
        reminder = message.reminder
        if reminder is not None and not self._reminders.is_armed(activation.number, reminder):
            return  # cancelled or replaced after it fired
        effects = Effects(activation.actor_id)
        actor = activation.live_actor()
        self._env.counters.turns += 1
        try:
            answer = actor.receive(effects, message)
        except Exception as error:  # noqa: BLE001 -- the turn loop: a raising turn is dropped whole
            self._turn_failed(activation, message, error)
            return
        if type(answer) is bytes:
            self._turn_ended(activation, message, effects, answer)
        else:
            activation.move(ActivationState.RUNNING)
            self._long_turns += 1
            activation.task = self._env.host.spawn(
                self._long_turn(activation, message, effects, answer),  # type: ignore[arg-type]  # not bytes, so awaitable
                f"turn-{activation.actor_id}",
            )

    async def _long_turn(
        self,
        activation: Activation,
        message: Message,
        effects: Effects,
        answer: Awaitable[bytes],
    ) -> None:
        life = self.life
        try:
            result = await answer
        except Exception as error:  # noqa: BLE001 -- the turn loop: a raising turn is dropped whole
            if life == self.life:
                self._long_turns -= 1
                activation.task = None
                self._turn_failed(activation, message, error)
            return
        if life == self.life:
            self._long_turns -= 1
            activation.task = None
            self._turn_ended(activation, message, effects, result)
            self._rest(activation)
            self._schedule_drain()

    def _turn_ended(
        self, activation: Activation, message: Message, effects: Effects, answer: bytes
    ) -> None:
        """Fold a finished turn into the open batch. This is the whole of what a turn can do."""
        problem = effects.rejection
        if problem is not None:
            effects = Effects(activation.actor_id)
        elif effects.sends is not None and (unknown := self._env.unknown_target(effects.sends)):
            self._turn_failed(activation, message, unknown)
            return
        batch = self._batch
        changed = message.id != 0
        if message.id:
            batch.consume(message.id)
        if message.reminder is not None:
            self._consume_reminder(message.reminder, effects)
        if effects.writes() and self._number(activation, effects):
            self._forget_cancelled(effects)
            batch.fold(effects)
            changed = True
        if effects.sends is not None:
            for sent in effects.sends:
                self._send(sent, message.depth + 1)
            changed = True
        if changed:
            batch.turns += 1
            activation.last_seq = batch.seq
        if message.reply is not None:
            self._answer(activation, message, answer, problem)

    def _number(self, activation: Activation, effects: Effects) -> bool:
        """Fill in what only the partition knows; False when there is nothing to delete."""
        if activation.number == 0:
            if effects.delete:
                return False
            activation.number = self._next_number
            self._next_number += 1
            effects.create = True
        effects.number = activation.number
        if effects.delete:
            activation.number = 0
            activation.log_length = 0
            return True
        if effects.log_reset:
            activation.log_length = 0
        effects.log_start = activation.log_length
        if effects.log is not None:
            activation.log_length += len(effects.log)
        return True

    def _consume_reminder(self, reminder: Reminder, effects: Effects) -> None:
        """A reminder that fired is gone, or due again, unless its own turn says otherwise."""
        if effects.delete or (effects.reminders is not None and reminder.name in effects.reminders):
            return
        if reminder.period_ms:
            now_ms = self._env.clock.now_ns() // 1_000_000
            effects.set_reminder(next_occurrence(reminder, now_ms))
        else:
            effects.cancel_reminder(reminder.name)

    def _forget_cancelled(self, effects: Effects) -> None:
        """What this turn cancels or replaces must not fire any more; what it sets waits for the
        commit."""
        in_flight = self._committer.in_flight
        if effects.delete:
            self._reminders.disarm_all(effects.number)
            if in_flight is not None:
                in_flight.forget_armed(effects.number)
        elif effects.reminders is not None:
            for name in effects.reminders:
                self._reminders.disarm(effects.number, name)
                if in_flight is not None:
                    in_flight.forget_armed(effects.number, name)

    def _send(self, message: Message, depth: int) -> None:
        message.id = self._next_message_id
        self._next_message_id += 1
        message.depth = depth
        batch = self._batch
        batch.send(message)
        durable_first = message.target.type in self._env.worker_types
        if durable_first or depth > self._limits.chain_depth or message.target in batch.deferred:
            # INVARIANT: once one message for a target waits for the commit, later ones do too:
            # order between a sender and a receiver.
            batch.deferred.add(message.target)
            batch.deliveries.append(message)
        else:
            self.enqueue(message)

    def _complete(self, message: Message, sends: list[tuple[ActorId, str, bytes]]) -> None:
        self._batch.consume(message.id)
        self._batch.turns += 1
        for target, method, payload in sends:
            self._batch.size_bytes += len(payload)
            self._send(Message(target, method, payload, sender=message.target), 1)

    def _answer(
        self, activation: Activation, message: Message, answer: bytes, problem: Exception | None
    ) -> None:
        """Answer once everything that the answer may rest on is committed."""
        if message.early_reply or activation.last_seq <= self._committer.committed_seq:
            message.settle(answer, problem)
            return
        in_flight = self._committer.in_flight
        holder = self._batch
        if in_flight is not None and activation.last_seq == in_flight.seq:
            holder = in_flight
        holder.answers.append((message, answer, problem))

    def _rest(self, activation: Activation) -> None:
        """After a turn: back into the queue, or idle. A turn that goes on or has failed decides later."""
        if activation.state is ActivationState.RUNNING and activation.task is None:
            activation.move(ActivationState.READY)
        if activation.state is not ActivationState.READY:
            return
        self._weigh(activation, activation.live_actor())
        if activation.mailbox is not None:
            self._ready.append(activation)
        else:
            self._make_idle(activation)

    def _turn_failed(self, activation: Activation, message: Message, error: Exception) -> None:
        """Drop the turn and the live object; try a durable message again, later, then park it."""
        self._env.counters.failed_turns += 1
        activation.forget_actor()
        activation.move(ActivationState.STALE)
        verdict = self._failures.judge(activation.actor_id, message, error)
        message.refuse(verdict.answer)
        if verdict.park:
            self._park(message, verdict.reason)
            activation.last_seq = self._batch.seq
        elif message.id or message.reminder is not None:
            activation.enqueue_first(message)
            self._queued_bytes += len(message.payload)
        self._failures.reload_after_commit(activation, verdict.pause_s)
        self._failures.committed(self._committer.committed_seq)

    def _park(self, message: Message, reason: str) -> None:
        self._env.counters.parked_messages += 1
        self._batch.park(message, reason)
        self._batch.turns += 1
        self._schedule_drain()

    # ---- release -------------------------------------------------------------------------------

    def _released(self, batch: Batch) -> None:
        """The batch is committed: now, and only now, let the world see it."""
        for (number, _), (actor, reminder) in batch.armed.items():
            self._reminders.arm(actor, number, reminder)
        for message, answer, problem in batch.answers:
            message.settle(answer, problem)
        for message in batch.deliveries:
            self._deliver(message)
        watched = self._env.watched
        if watched:
            for actor, summary in batch.notices:
                if actor in watched:
                    self._env.host.notice(actor, summary)
        for actor in batch.retired:
            self._retire(actor, batch.seq)
        self._failures.committed(batch.seq)
        self._schedule_drain()

    # ---- what others may know ------------------------------------------------------------------

    @property
    def lease(self) -> Lease:
        """The present ownership, or the last one."""
        return self._committer.lease

    def time(self) -> float:
        """Monotonic seconds of the runtime's loop."""
        return self._env.loop.time()

    @property
    def trouble(self) -> str:
        """Why the store does not take commits now; "" when it does."""
        return self._committer.trouble

    def gauges(self) -> dict[str, int]:
        """Present sizes, for metrics."""
        return {
            "live_actors": len(self._activations),
            "live_bytes": self._live_bytes,
            "ready_actors": len(self._ready),
            "queued_bytes": self._queued_bytes,
            "armed_reminders": self._reminders.count,
            "pending_deliveries": len(self._delivering),
        }
