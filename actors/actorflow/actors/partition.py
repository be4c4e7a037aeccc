"""The owner's half of one partition: turns run in memory, one commit at a time makes them durable.

    admit -> mailbox -> turn -> open batch -> commit -> release

Everything up to the batch is memory of this process and may be dropped at any moment; everything
that others can see happens in `_released`, after the store has answered. If the store refuses a
commit (fenced, or its sequence is not ours), the whole memory of the partition is dropped and read
again: there is no partial rollback. The rules are in ARCHITECTURE.md, "The commit rule".

Concurrency: all methods run on the event loop of the runtime; none is thread-safe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.actors.activation import Activation, ActivationState
from actorflow.actors.batch import Batch
from actorflow.actors.caution import Caution
from actorflow.actors.committer import Committer
from actorflow.actors.completion import COMPLETE, CONSUMED, Sends
from actorflow.actors.delivery import Deliveries
from actorflow.actors.door import Door, PartitionState
from actorflow.actors.effects import Effects
from actorflow.actors.failures import own_cancellation_raised
from actorflow.actors.links import Links
from actorflow.actors.message import Message, message_of_row
from actorflow.actors.reminders import Armed, ReminderIndex, consume
from actorflow.actors.roster import Roster
from actorflow.actors.sending import Sending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from actorflow.actors.address import ActorId
    from actorflow.actors.environment import Environment
    from actorflow.actors.errors import ActorflowError
    from actorflow.actors.letters import LinkAck, LinkBatch
    from actorflow.actors.ports import Acquired, DueReminder, Lease, LinkMark, Recovery

TURNS_PER_VISIT = 32
"""Turns that an actor with a full mailbox runs before the next actor is served."""

REMIND = "actorflow.remind"
"""Method name of the message that a due reminder sends to its actor."""


class Partition:
    """See the module docstring. `life` counts ownerships: what began in an earlier one is void.
    `roster` holds the live actors."""

    def __init__(self, index: int, env: Environment) -> None:
        self.index = index
        self.state = PartitionState.CLOSED
        self.life = 0
        self._env = env
        self._limits = env.limits
        self._deliveries = Deliveries(self._schedule_drain, env.alone)
        self._drain_scheduled = False
        self._next_number = 1
        self._batch = Batch(1)
        self._reminders = ReminderIndex(env.loop, env.clock, self._remind)
        self._links = Links(index, env, self._schedule_drain)
        self._door = Door(index, env)
        self._committer = Committer(index, env, released=self._released, lost=self.lose)
        self.roster = Roster(
            index,
            env,
            wake=self._schedule_drain,
            park=self._park,
            erase=self._erase,
            committer=self._committer,
        )
        self._sending = Sending(index, env, self._links, self._committer, self.roster)
        self._caution = Caution(index, env, self.roster, keep=self._keep, drop=self._drop)

    # ---- ownership -----------------------------------------------------------------------------

    def open(self, acquired: Acquired, recovery: Recovery, *, horizon_ms: int) -> None:
        """Begin to own: take over the counters and everything that waits."""
        self.life += 1
        self._next_number = acquired.next_actor_number
        self._sending.begin(acquired.next_message_id)
        self._batch = Batch(acquired.seq + 1)
        self._committer.start(acquired)
        self._deliveries.open(acquired)
        self.state = PartitionState.OPEN
        self._links.open(acquired.lease, recovery)
        self.widen_reminders(horizon_ms)
        self.add_reminders(recovery.reminders, last=True)
        for row in self._caution.open(acquired, recovery.messages):
            self._deliver(message_of_row(row))

    def widen_reminders(self, horizon_ms: int) -> int:
        """Keep reminders due before `horizon_ms`, which `add_reminders` brings; return the horizon
        until now."""
        return self._reminders.widen(horizon_ms)

    def add_reminders(self, due: Iterable[DueReminder], *, last: bool) -> None:
        """Arm stored reminders of the widened window; `last` says that these were all."""
        self._reminders.add(due, last=last)

    def drain(self) -> None:
        """Refuse calls from outside from now on; what was accepted goes on."""
        if self.state is PartitionState.OPEN:
            self.state = PartitionState.DRAINING
            self._caution.forget_marks()
            if self._batch.cursor:
                self._commit_soon()

    def is_quiet(self) -> bool:
        """Whether no turn runs or waits and everything is committed."""
        return (
            not self.roster.ready
            and not self.roster.running
            and self._caution.is_idle
            and not self._deliveries.ended
            and not self._batch.turns
            and self._committer.in_flight is None
        )

    def close(self, error: ActorflowError) -> None:
        """Stop owning: drop all memory; whoever waits gets `error`. The store is not touched."""
        self.life += 1
        self.state = PartitionState.CLOSED
        self._committer.stop(error)
        self._reminders.clear()
        self._batch.refuse_all(error)
        self._caution.clear(error)
        self.roster.clear(error)
        self._links.clear()
        self._deliveries.clear()

    def keep_house(self) -> int:
        """Every few seconds: see to clock jumps, and to idle actors as in `Roster.evict_idle`."""
        self._reminders.look()
        return self.roster.evict_idle(self._committer.committed_seq)

    def lose(self, error: ActorflowError) -> None:
        """The store refused a commit, or the lease: nothing in memory can be trusted any more."""
        self.close(error)
        self._env.host.partition_lost(self.index, error)

    # ---- messages in ---------------------------------------------------------------------------

    def admit(self, message: Message) -> None:
        """Take a call from outside, or refuse it at the door with nothing kept.

        Raises:
            NotOwnerError, StoppingError, StoreUnavailableError: see their texts.
            OverloadedError: the actor's mailbox or the partition is full.
        """
        if message.method == COMPLETE and self.state is not PartitionState.CLOSED:
            # The bounds of the door are not for what relieves the partition.
            self._deliveries.admit(message)
            return
        self._check_door(message.target)
        self.roster.enter(message)

    def admit_internal(self, message: Message) -> None:
        """Take a call from a turn that runs here: it was admitted as a part of that turn."""
        self.roster.enqueue(message)

    def _check_door(self, target: ActorId) -> None:
        waiting_bytes = self.roster.queued_bytes + self._batch.size_bytes
        self._door.check(
            target, self.state, self._committer.trouble, self.roster.find(target), waiting_bytes
        )

    def _deliver(self, message: Message) -> None:
        """Hand over a message whose row is committed."""
        message.depth = 0
        worker = self._env.worker_types.get(message.target.type)
        if worker is None:
            self.roster.enter(message)
            return
        self._deliveries.give(message, worker)

    def accept(self, message: Message) -> None:
        """Take a durable message from outside; its reply slot is answered when it is stored.

        Raises: as `admit`.
        """
        self._check_door(message.target)
        self._sending.send(self._batch, message, 0)
        self._batch.turns += 1
        self._batch.size_bytes += len(message.payload)
        receipt = Message(message.target, message.method, reply=message.reply)
        message.reply = None
        self._batch.answers.append((receipt, b"", None))
        self._schedule_drain()

    def read_up_to(self, cursor: str) -> None:
        """Letters up to this place of the inbox are read; the next commit notes it."""
        self._batch.cursor = cursor

    def receive_link(self, letter: LinkBatch) -> None:
        """Take messages of another partition, each once; they are durable with the next commit, or
        with a later one when that has its share of letters."""
        if self.state is PartitionState.CLOSED:
            return
        for entry in self._links.accept(letter, self._batch):
            self._batch.turns = self._batch.turns or 1
            message = Message(entry.target, entry.method, entry.payload, sender=entry.sender)
            self._sending.send_here(self._batch, message, 1)
        self._schedule_drain()

    def receive_ack(self, letter: LinkAck) -> None:
        """Another partition says how far it has stored what this one sent."""
        if self.state is not PartitionState.CLOSED:
            self._links.acknowledged(letter)

    def tick(self) -> None:
        """About once a second: look after the links, and after what was read without effect."""
        if self.state is not PartitionState.CLOSED:
            self._links.tick()
            if self._batch.cursor:
                self._commit_soon()

    def verify(self) -> bool:
        """See `Committer.is_proven`. Returns whether a commit comes, which renews the lease."""
        if not self._committer.is_proven:
            self._commit_soon()
        return not self._committer.is_proven

    def _commit_soon(self) -> None:
        self._batch.turns = self._batch.turns or 1
        self._schedule_drain()

    def _remind(self, armed: Armed) -> None:
        self._env.counters.reminders_fired += 1
        message = Message(armed.actor, REMIND, armed.reminder.payload)
        message.reminder = armed.reminder
        self.roster.enter(message)

    # ---- turns ---------------------------------------------------------------------------------

    def _schedule_drain(self) -> None:
        if not self._drain_scheduled:
            self._drain_scheduled = True
            self._env.loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Run what is ready into the open batch, up to its caps; commit it if none is in flight."""
        if self.state is PartitionState.CLOSED:
            self._drain_scheduled = False
            return
        batch, ready, completed = self._batch, self.roster.ready, self._deliveries.ended
        turns, size_bytes = self._limits.batch_turns, self._limits.batch_bytes
        try:
            while (ready or completed) and not batch.is_full(turns, size_bytes):
                if ready:
                    self._visit(ready.popleft())
                else:
                    self._complete(*completed.popleft())
        except BaseException:
            self._env.loop.call_soon(self._drain)  # nobody behind it is to wait for ever
            raise
        finally:
            self._drain_scheduled = False  # what called meanwhile was seen to by the same loop
        if self._caution.under_way:
            self._caution.look()
        if self._committer.in_flight is None and (batch.turns or self._links.has_trims):
            self._links.before_commit(batch)
            self._batch = Batch(batch.seq + 1)
            self._committer.submit(batch)
            for letter in self._links.take_held():
                self.receive_link(letter)
            if ready or completed:
                self._schedule_drain()

    def _visit(self, activation: Activation) -> None:
        """Run a few turns of one actor, then let others come first."""
        began_s = self._env.loop.time()
        for _ in range(TURNS_PER_VISIT):
            self._turn(activation)
            if activation.mailbox is None or activation.state is not ActivationState.READY:
                break
        self.roster.failures.check_pace(activation.actor_id, began_s)
        self.roster.rest(activation)

    def _turn(self, activation: Activation) -> None:
        """Give the oldest message to the actor."""
        message = self.roster.take(activation)
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
            work = self._long_turn(activation, message, effects, answer)  # type: ignore[arg-type]  # not bytes, so awaitable
            task = self._env.host.spawn(work, f"turn-{activation.actor_id}")
            self.roster.begin_long_turn(activation, message, task, answer)

    async def _long_turn(
        self,
        activation: Activation,
        message: Message,
        effects: Effects,
        answer: Awaitable[bytes],
    ) -> None:
        life = self.life
        try:
            result = await own_cancellation_raised(answer, lambda: life != self.life)
        except Exception as error:  # noqa: BLE001 -- the turn loop: a raising turn is dropped whole
            if life == self.life:
                self.roster.end_long_turn(activation)
                self._turn_failed(activation, message, error)
            return
        if life == self.life:
            self.roster.end_long_turn(activation)
            self._turn_ended(activation, message, effects, result)
            self.roster.rest(activation)
            self._schedule_drain()

    def _turn_ended(
        self, activation: Activation, message: Message, effects: Effects, answer: bytes
    ) -> None:
        """Fold a finished turn into the open batch. This is the whole of what a turn can do."""
        problem = effects.rejection
        if problem is not None and not effects.keep:
            effects = Effects(activation.actor_id)
        elif fault := self._env.fault_in(effects, creates=activation.number == 0):
            self._turn_failed(activation, message, fault)
            return
        batch = self._batch
        changed = message.id != 0
        if message.id:
            batch.consume(message.id)
        if message.reminder is not None:
            consume(message.reminder, effects, self._env.clock.now_ns() // 1_000_000)
        if effects.writes() and self._number(activation, effects):
            self._reminders.forget(effects, self._committer.in_flight)
            batch.fold(effects)
            changed = True
        if effects.sends is not None:
            for sent in effects.sends:
                self._sending.send(batch, sent, message.depth + 1)
            changed = True
        if changed:
            batch.turns += 1
            activation.last_seq = batch.seq
        if message.reply is not None:
            self._answer(activation, message, answer, problem)

    def _number(self, activation: Activation, effects: Effects) -> bool:
        """Fill in numbers and log positions; False when there is nothing to delete."""
        if activation.number == 0:
            if effects.delete:
                return False
            activation.number = self._next_number
            self._next_number += 1
            effects.create = True
        activation.place(effects)
        return True

    def _complete(self, message: Message, sender: ActorId | None, sends: Sends) -> None:
        batch = self._batch
        batch.consume(message.id)
        batch.turns += 1
        if message.reply is not None:
            batch.answers.append((message, CONSUMED, None))
        for target, method, payload in sends:
            batch.size_bytes += len(payload)
            sent = Message(target, method, payload, sender=sender)
            self._sending.send(batch, sent, message.depth + 1)

    def _answer(
        self, activation: Activation, message: Message, answer: bytes, problem: Exception | None
    ) -> None:
        """Answer once everything that the answer may rest on is committed. One that rests on what
        was committed before is true while this host is the owner; if others may have taken the
        partition, the next commit finds out."""
        if message.early_reply:
            self.roster.rest_on(message.sender, activation.last_seq)
        is_committed = activation.last_seq <= self._committer.committed_seq
        if message.early_reply or (is_committed and self._env.is_seen()):
            message.settle(answer, problem)
            return
        in_flight = self._committer.in_flight
        holder = self._batch
        if in_flight is not None and activation.last_seq == in_flight.seq:
            holder = in_flight
        holder.answers.append((message, answer, problem))
        if is_committed:
            self._commit_soon()

    def _turn_failed(self, activation: Activation, message: Message, error: Exception) -> None:
        """Drop the turn and the live object; try a durable message again, later, then park it."""
        self._env.counters.failed_turns += 1
        activation.move(ActivationState.STALE)
        verdict = self.roster.failures.judge(activation.actor_id, message, error)
        message.refuse(verdict.answer)
        if verdict.park:
            self._park(message, verdict.reason)
            activation.last_seq = self._batch.seq
        elif verdict.aside:
            self.roster.failures.call_later(verdict.pause_s, lambda: self.roster.enter(message))
        elif message.id or message.reminder is not None:
            self.roster.put_back(activation, message)
        pause_s = 0.0 if verdict.aside else verdict.pause_s
        self.roster.discard(activation, pause_s, self._committer.committed_seq)

    def _erase(self, activation: Activation, message: Message) -> None:
        """Delete what is stored of an actor that cannot be activated."""
        effects = Effects(activation.actor_id)
        effects.delete_actor()
        activation.place(effects)
        if effects.number:
            self._batch.fold(effects)
        if message.id:
            self._batch.consume(message.id)
        self._batch.turns += 1
        self._batch.answers.append((message, b"", None))
        self._schedule_drain()

    def _park(self, message: Message, reason: str) -> None:
        self._env.counters.parked_messages += 1
        self._batch.park(message, reason)
        self.roster.note_parked(message.target, message.method, reason)
        self._batch.turns += 1
        self._schedule_drain()

    def _keep(self, message: Message, reason: str) -> None:
        self._sending.keep(self._batch, message, reason)
        self._commit_soon()

    def _drop(self, row_id: int, then: Message | None) -> None:
        self._batch.consume(row_id)
        if then is not None:
            self._batch.answers.append((then, b"", None))
        self._commit_soon()

    # ---- release -------------------------------------------------------------------------------

    def _released(self, batch: Batch) -> None:
        """The batch is committed: now, and only now, let the world see it."""
        for (number, _), (actor, reminder) in batch.armed.items():
            self._reminders.arm(actor, number, reminder)
        for message, answer, problem in batch.answers:
            message.settle(answer, problem)
        for message in batch.deliveries:
            self._deliver(message)
        if batch.outbox or batch.marks:
            self._links.released(batch)
        watched = self._env.watched
        if watched:
            for actor, summary in batch.notices:
                if actor in watched:
                    self._env.host.notice(actor, summary)
        for actor in batch.retired:
            self.roster.retire(actor, batch.seq)
        self.roster.failures.committed(batch.seq)
        waits = self.roster.ready or self._deliveries.ended
        if waits or self._batch.turns or self._links.has_trims:
            self._schedule_drain()

    # ---- what others may know ------------------------------------------------------------------

    @property
    def link_marks(self) -> tuple[LinkMark, ...] | None:
        """How far this owner has what others sent; None before the first commit of all times."""
        return self._links.marks() if self._committer.committed_seq else None

    @property
    def lease(self) -> Lease:
        """The present ownership, or the last one."""
        return self._committer.lease

    @property
    def trouble(self) -> str:
        """Why the store does not take commits now; "" when it does."""
        return self._committer.trouble

    def gauges(self) -> dict[str, int]:
        """Present sizes, for metrics."""
        return {
            "live_actors": len(self.roster),
            "live_bytes": self.roster.live_bytes,
            "ready_actors": len(self.roster.ready),
            "queued_bytes": self.roster.queued_bytes,
            "armed_reminders": self._reminders.count,
            "pending_deliveries": len(self._deliveries),
            "pending_bytes": self._deliveries.open_bytes,
            "pending_outbox": self._links.pending_count(),
        }
