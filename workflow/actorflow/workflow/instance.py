"""The workflow instance actor: the single writer of one instance.

It takes messages (start, event, result of an activity, timer ...), refuses what cannot be, and
turns the rest into facts for its `Execution`. State, history, timers and messages of one turn
commit together. A result that belongs to another execution, or to nothing that is open, is consumed
and dropped: it is late.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from actorflow.actors import REMIND, ActorId, Reminder
from actorflow.actors.address import checked_actor_id
from actorflow.actors.errors import InvalidActorIdError, LimitExceededError, UsageError
from actorflow.actors.marks import CONVICTION, conviction_in
from actorflow.workflow.codec import decode_event
from actorflow.workflow.errors import (
    ChildrenUncheckedError,
    IdempotencyConflictError,
    InstanceEndsHostError,
    InstanceExistsError,
    InstanceNotFoundError,
    InstanceStalledError,
    InvalidRequestError,
    NotTerminalError,
)
from actorflow.workflow.events import (
    ChildCompleted,
    ChildFailed,
    EventRaised,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    FailureDetails,
    TaskCompleted,
    TaskFailed,
    TimerFired,
)
from actorflow.workflow.execution import SCHEDULED_START, Execution
from actorflow.workflow.outbound import report, report_end_again, timer_of
from actorflow.workflow.propagation import PROPAGATED, encode_propagated
from actorflow.workflow.records import CUSTOM_STATUS, EVENT_IDS, FAILURE, OUTPUT
from actorflow.workflow.remote import take_turn
from actorflow.workflow.requests import (
    GO_ON,
    PURGE,
    RAISE,
    RESULT,
    RESUME,
    SEED,
    START,
    SUSPEND,
    TERMINATE,
    TURN,
    WHY,
    WORKER,
    WORKER_READY,
    ControlRequest,
    PurgeRequest,
    RaiseRequest,
    SeedRequest,
    StartRequest,
    TurnDone,
    unpack,
    unpack_result,
)
from actorflow.workflow.retention import RETENTION
from actorflow.workflow.seeding import Redo, seed
from actorflow.workflow.seen_events import SeenEvents, seen_events_of
from actorflow.workflow.why import reasons_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.actors import ActorRecord, Effects, Message
    from actorflow.workflow.host import ExecutionHost

NOTHING = b""


class InstanceActor:
    """Implements `actors.TurnActor`. `execution` is None while there is no such instance."""

    __slots__ = ("_actor_id", "_host", "_seen", "execution")

    def __init__(self, actor_id: ActorId, record: ActorRecord | None, host: ExecutionHost) -> None:
        self._actor_id = actor_id
        self._host = host
        self.execution = Execution.from_record(record, host) if record is not None else None
        self._seen: SeenEvents | None = None
        if record is not None and self.execution is not None:
            self._seen = seen_events_of(record, self.execution.inbox)

    @property
    def weight_bytes(self) -> int:
        """See `actors.TurnActor`."""
        execution = self.execution
        if execution is None:
            return 0
        return 1_024 + len(execution.state.input or "") + len(execution.state.output or "")

    def close(self) -> None:
        """See `actors.TurnActor`."""
        if self.execution is not None:
            self.execution.close()

    def receive(self, effects: Effects, message: Message) -> bytes:
        """See `actors.TurnActor`. One message, one turn."""
        answer = _HANDLERS[message.method](self, effects, message)
        if effects.log_reset and self._seen is not None:
            effects.put_field(EVENT_IDS, self._seen.to_bytes())  # the log remembers them no more
        return answer

    # ---- start ---------------------------------------------------------------------------------

    def start(self, effects: Effects, message: Message) -> bytes:
        """Create the instance, or replace one that has ended."""
        request = unpack(StartRequest, message.payload)
        old = self.execution
        key = _start_key(request)
        if old is not None and _is_repeated(old, request, key):
            if request.parent is not None:
                report_end_again(effects, old.state)
            return NOTHING
        if (refusal := self._refusal(old, request)) is not None:
            self._refuse_start(effects, request, refusal)
            return NOTHING
        if request.parent is None and (overload := self._host.overload()) is not None:
            effects.reject(overload)
            return NOTHING
        new = Execution(self._actor_id, self._host)
        new.start_key = key
        generation = 1
        if old is not None:
            generation = old.state.generation + 1
            old.close()
            effects.reset_log()
            effects.cancel_reminder(RETENTION)
            for name in (OUTPUT, FAILURE, CUSTOM_STATUS, EVENT_IDS, PROPAGATED):
                effects.delete_field(name)
        self.execution = new
        self._seen = None
        if request.propagated is not None:
            new.received = request.propagated
            effects.put_field(PROPAGATED, encode_propagated(request.propagated))
        scheduled_ns = request.scheduled_start_ns
        if scheduled_ns is not None and scheduled_ns > self._host.now_ns():
            due_ms = -(-scheduled_ns // 1_000_000)
            effects.set_reminder(Reminder(SCHEDULED_START, due_ms, 0, NOTHING))
        new.take(
            effects,
            ExecutionStarted(
                at_ns=self._host.now_ns(),
                name=request.name,
                instance_id=self._actor_id.key,
                execution_id=self._host.new_id(),
                input=request.input,
                parent=request.parent,
                scheduled_start_ns=scheduled_ns,
                generation=generation,
                version=request.version,
                tags=request.tags,
                trace_parent=request.trace_parent,
                trace_state=request.trace_state,
            ),
        )
        return NOTHING

    def _refusal(self, old: Execution | None, request: StartRequest) -> UsageError | None:
        """Say why a start cannot be; None when it can."""
        depth, depth_max = _depth(request), self._host.limits.child_depth_max
        if depth > depth_max:
            limit = "the depth of child workflows below their root (child_depth_max)"
            return LimitExceededError(limit, depth_max, depth)
        try:  # the id of a child has passed no door yet
            checked_actor_id(*self._actor_id)
        except InvalidActorIdError as error:
            return InvalidRequestError(str(error).replace("actor key", "instance id"))
        refusal = self._conflict(old, request) if old is not None else None
        if refusal is None and (reason := conviction_in(self._host.parked(self._actor_id))):
            refusal = InstanceEndsHostError(self._actor_id.key, reason)
        return refusal

    def _conflict(self, old: Execution, request: StartRequest) -> UsageError | None:
        instance_id = self._actor_id.key
        if request.idempotency_key and old.start_key.startswith(_key_hash(request) + ":"):
            return IdempotencyConflictError(
                f"the idempotency key was used to start {instance_id!r} with another name or input"
            )
        if request.unique:
            return InstanceExistsError(
                instance_id,
                f"a workflow with ID '{instance_id}' already exists and the create enforces "
                "instance ID uniqueness",
            )
        if not old.status().is_terminal:
            return InstanceExistsError(instance_id)
        if old.state.children_seen and not request.children_ended and request.parent is None:
            return ChildrenUncheckedError(instance_id)
        return None

    def _refuse_start(self, effects: Effects, request: StartRequest, refusal: UsageError) -> None:
        if request.parent is None:
            effects.reject(refusal)
            return
        exists = isinstance(refusal, InstanceExistsError)
        failure = FailureDetails(
            error_type="WorkflowInstanceAlreadyExists" if exists else type(refusal).__name__,
            message=str(refusal),
            non_retriable=True,
        )
        failed = ChildFailed(
            at_ns=self._host.now_ns(), task_id=request.parent.task_id, failure=failure
        )
        report(effects, request.parent, failed)

    # ---- operations ----------------------------------------------------------------------------

    def _existing(self, effects: Effects) -> Execution | None:
        if self.execution is None:
            effects.reject(InstanceNotFoundError(self._actor_id.key))
        return self.execution

    def raise_event(self, effects: Effects, message: Message) -> bytes:
        """Take an external event."""
        execution = self._existing(effects)
        if execution is None or execution.status().is_terminal:
            return NOTHING
        if execution.is_stalled and message.reply is not None:
            execution.take(effects)  # so that the stall is on record
            effects.answer_error(InstanceStalledError(self._actor_id.key))
            return NOTHING
        count, count_max = len(execution.inbox), self._host.limits.history_events_max
        if count >= count_max and message.reply is not None:
            limit = "the number of facts that wait until the code can run (history_events_max)"
            effects.reject(LimitExceededError(limit, count_max, count + 1))
            return NOTHING
        request = unpack(RaiseRequest, message.payload)
        if self._is_new_event(request.event_id):
            execution.take(
                effects,
                EventRaised(
                    at_ns=self._fact_ns(execution),
                    name=request.name,
                    input=request.input,
                    dedup_id=request.event_id,
                ),
            )
        return NOTHING

    def _is_new_event(self, event_id: str) -> bool:
        if self._seen is None:
            if not event_id:
                return True
            self._seen = SeenEvents()
        return self._seen.take(event_id)

    def suspend(self, effects: Effects, message: Message) -> bytes:
        """Keep facts from the code from now on."""
        execution = self._existing(effects)
        if execution is None or execution.status().is_terminal or execution.is_suspended:
            return NOTHING
        reason = unpack(ControlRequest, message.payload).text
        execution.take(effects, ExecutionSuspended(at_ns=self._fact_ns(execution), reason=reason))
        return NOTHING

    def resume(self, effects: Effects, message: Message) -> bytes:
        """Give the kept facts to the code."""
        execution = self._existing(effects)
        if execution is None or execution.status().is_terminal:
            return NOTHING
        if execution.is_suspended:
            reason = unpack(ControlRequest, message.payload).text
            execution.take(effects, ExecutionResumed(at_ns=self._fact_ns(execution), reason=reason))
        return NOTHING

    def terminate(self, effects: Effects, message: Message) -> bytes:
        """End the execution, whatever its code does."""
        execution = self._existing(effects)
        if execution is None or execution.status().is_terminal:
            return NOTHING
        request = unpack(ControlRequest, message.payload)
        parent_id = request.parent_execution_id
        if parent_id:
            start = execution.inbox.start
            parent = start.parent if start is not None else execution.state.parent
            if parent is None or parent.execution_id != parent_id:
                return NOTHING
        execution.terminate(effects, request)
        return NOTHING

    def purge(self, effects: Effects, message: Message) -> bytes:
        """Delete the instance."""
        execution = self._existing(effects)
        if execution is None:
            return NOTHING
        request = unpack(PurgeRequest, message.payload)
        if not request.force and not execution.status().is_terminal:
            effects.reject(NotTerminalError(self._actor_id.key))
            return NOTHING
        self._delete(execution, effects)
        return NOTHING

    def _delete(self, execution: Execution, effects: Effects) -> None:
        execution.close()
        self.execution = None
        self._seen = None
        effects.delete_actor()
        effects.retire_actor()

    def seed(self, effects: Effects, message: Message) -> bytes:
        """Create the instance from a copied history (rerun)."""
        if self.execution is not None:
            instance_id = self._actor_id.key
            effects.reject(
                InstanceExistsError(
                    instance_id, f"workflow '{instance_id}' has already been created"
                )
            )
            return NOTHING
        request = unpack(SeedRequest, message.payload)
        redo = Redo(
            request.event_id,
            request.rerun_of,
            request.overwrite_input,
            request.input,
            request.child_instance_id,
        )
        self.execution = Execution(self._actor_id, self._host)
        self.execution.problem = conviction_in(self._host.parked(self._actor_id))
        seed(
            self.execution,
            effects,
            [decode_event(record) for record in request.history],
            [decode_event(record) for record in request.facts],
            redo,
            self._host,
        )
        return NOTHING

    def why(self, effects: Effects, _: Message) -> bytes:
        """Say what the instance waits for."""
        execution = self._existing(effects)
        if execution is None:
            return NOTHING
        return msgspec.json.encode(reasons_of(execution, self._actor_id, self._host))

    # ---- results and wake-ups ------------------------------------------------------------------

    def result(self, effects: Effects, message: Message) -> bytes:
        """Take the result of an activity or a child, unless it is late."""
        execution = self.execution
        if execution is None:
            return NOTHING
        execution_id, event = unpack_result(message.payload)
        state = execution.state
        if execution_id != state.execution_id or state.terminal_status is not None:
            return NOTHING
        match event:
            case TaskCompleted() | TaskFailed():
                is_open = event.task_id in state.open_tasks
            case ChildCompleted() | ChildFailed():
                is_open = event.task_id in state.open_children
            case _:
                is_open = False
        if is_open:
            if event.at_ns < state.updated_at_ns:
                event = replace(event, at_ns=state.updated_at_ns)
            execution.take(effects, event)
        return NOTHING

    def remind(self, effects: Effects, message: Message) -> bytes:
        """A durable timer is due, the scheduled start, or the deletion of an ended instance."""
        execution = self.execution
        if execution is None or message.reminder is None:
            return NOTHING
        if message.reminder.name == RETENTION:
            if execution.status().is_terminal:
                self._delete(execution, effects)
            return NOTHING
        timer = timer_of(message.reminder.name)
        if timer is None:
            execution.take(effects)  # the scheduled start
            return NOTHING
        generation, timer_id = timer
        state = execution.state
        if generation == state.generation and timer_id in state.open_timers:
            fired = TimerFired(
                at_ns=self._fact_ns(execution),
                timer_id=timer_id,
                fire_at_ns=state.open_timers[timer_id].fire_at_ns,
            )
            execution.take(effects, fired)
        return NOTHING

    def convicted(self, effects: Effects, _: Message) -> bytes:
        """Hosts ended while this instance ran: show that its code is not run any more, or go on
        since it is again."""
        execution = self.execution
        if execution is None or execution.status().is_terminal:
            return NOTHING
        if execution.problem:
            execution.take(effects)
        else:
            execution.worker_ready(effects)
        return NOTHING

    def go_on(self, effects: Effects, _: Message) -> bytes:
        """Continue what was broken off to let others come first."""
        if self.execution is not None and self.execution.inbox:
            self.execution.take(effects)
        return NOTHING

    def worker_ready(self, effects: Effects, message: Message) -> bytes:
        """Somebody may be able to run the code now. The payload is the execution that asked for
        one, empty from releases that did not say."""
        execution = self.execution
        asked = message.payload.decode()
        if execution is not None and asked in ("", execution.present_id):
            execution.worker_ready(effects)
        return NOTHING

    def turn(self, effects: Effects, message: Message) -> bytes:
        """A remote worker has done a turn."""
        if self.execution is None:
            return NOTHING
        done = unpack(TurnDone, message.payload)
        is_asked_for = message.sender is not None and message.sender.type == WORKER
        take_turn(self.execution, effects, done, self._host.limits, is_asked_for=is_asked_for)
        return NOTHING

    def _fact_ns(self, execution: Execution) -> int:
        return max(self._host.now_ns(), execution.state.updated_at_ns)


_HANDLERS: dict[str, Callable[[InstanceActor, Effects, Message], bytes]] = {
    START: InstanceActor.start,
    RAISE: InstanceActor.raise_event,
    SUSPEND: InstanceActor.suspend,
    RESUME: InstanceActor.resume,
    TERMINATE: InstanceActor.terminate,
    PURGE: InstanceActor.purge,
    SEED: InstanceActor.seed,
    WHY: InstanceActor.why,
    RESULT: InstanceActor.result,
    REMIND: InstanceActor.remind,
    CONVICTION: InstanceActor.convicted,
    GO_ON: InstanceActor.go_on,
    WORKER_READY: InstanceActor.worker_ready,
    TURN: InstanceActor.turn,
}


def _is_repeated(old: Execution, request: StartRequest, key: str) -> bool:
    """Whether a start has been taken before: a child's, or one with this idempotency key."""
    if key and old.start_key == key:
        return True
    old_parent = old.state.parent or (old.inbox.start and old.inbox.start.parent)
    return request.parent is not None and request.parent == old_parent


def _depth(request: StartRequest) -> int:
    return request.parent.depth if request.parent is not None else 0


def _key_hash(request: StartRequest) -> str:
    return sha256(request.idempotency_key.encode()).hexdigest()[:32]


def _start_key(request: StartRequest) -> str:
    """Return hashes of the idempotency key and of what it stands for; "" without a key."""
    if not request.idempotency_key:
        return ""
    body = f"{request.name}\n{request.input}\n{request.scheduled_start_ns}"
    return f"{_key_hash(request)}:{sha256(body.encode()).hexdigest()[:32]}"
