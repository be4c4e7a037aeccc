"""One instance in memory: its state, its code, and what a turn makes of a fact.

`take` is the heart: record the fact, give it to the code, record what the code asks for, and turn
each recorded request into an effect. Nothing here waits or does I/O; all of it is one turn.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from msgspec.structs import replace

from actorflow.actors import ActorId, ActorRecord, Effects, Reminder
from actorflow.actors.marks import conviction_in
from actorflow.workflow.actions import Action, CancelTimer, Complete, CreateDetached
from actorflow.workflow.errors import NonDeterminismError
from actorflow.workflow.events import (
    EventRaised,
    ExecutionCompleted,
    ExecutionStalled,
    ExecutionStarted,
    ExecutionTerminated,
    FailureDetails,
    HistoryEvent,
    Status,
    TurnStarted,
)
from actorflow.workflow.inbox import Inbox
from actorflow.workflow.outbound import (
    cancel_timer,
    carry_out,
    end_wait,
    report_end,
    start_detached,
    terminate_children,
)
from actorflow.workflow.propagation import Lineage, PropagatedHistory, propagated_of
from actorflow.workflow.records import (
    CUSTOM_STATUS,
    FAILURE,
    INPUT,
    OUTPUT,
    encode_failure,
    head_of,
    history_of,
    stripped,
    summary_of,
)
from actorflow.workflow.replay import WorkflowRun
from actorflow.workflow.requests import (
    ANYBODY,
    GO_ON,
    HERE,
    REMOTE,
    RUN,
    WORKER,
    ControlRequest,
    WorkerWanted,
    app_of,
    pack,
)
from actorflow.workflow.retention import RETENTION
from actorflow.workflow.seeding import forget_redo, redo_of, redone
from actorflow.workflow.state import InstanceState, state_before
from actorflow.workflow.turn import event_of, outlives_execution

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.workflow.host import ExecutionHost
    from actorflow.workflow.registry import WorkflowDefinition
    from actorflow.workflow.seeding import Redo

_log = logging.getLogger(__name__)

SCHEDULED_START = "start"
"""Name of the reminder that begins a scheduled start."""

GENERATIONS_PER_TURN = 20
"""Continue-as-new rounds in one turn; then others come first. Dapr's number."""


class Execution:
    """See the module docstring. Exists from the start of an instance until it is purged.

    `problem` says why the code cannot go on although it is registered here: it does not fit the
    history, a limit is reached, or it ends its hosts. `inbox` holds facts until the code can take
    them; with `continues`, the start among them is that of the next execution.
    """

    __slots__ = (
        "_host",
        "_instance_id",
        "app_id",
        "continues",
        "custom_status",
        "inbox",
        "lineage",
        "problem",
        "received",
        "redo",
        "run",
        "start_key",
        "state",
        "worker_wanted",
    )

    def __init__(self, actor: ActorId, host: ExecutionHost) -> None:
        self._instance_id = actor.key
        self.app_id = app_of(actor.type)
        self._host = host
        self.redo: Redo | None = None
        self.continues = False
        self.state = InstanceState()
        self.run: WorkflowRun | None = None
        self.inbox = Inbox()
        self.lineage: Lineage | None = None
        self.received: PropagatedHistory | None = None
        self.problem = ""
        self.start_key = ""
        self.worker_wanted = False
        self.custom_status: str | None = None

    @classmethod
    def from_record(cls, record: ActorRecord, host: ExecutionHost) -> Execution:
        """Rebuild from what is committed. Raises HistoryCorruptError."""
        self = cls(record.actor, host)
        self.problem = conviction_in(host.parked(record.actor))
        head = head_of(record)
        self.redo = redo_of(record)
        self.start_key = head.start_key
        self.worker_wanted = head.worker_wanted
        self.continues = record.summary is not None and record.summary.phase == Status.RUNNING
        self.received = propagated_of(record)
        history = history_of(record)
        for event in history:
            self.state.apply(event)
        self.inbox = Inbox(record)
        status = record.fields.get(CUSTOM_STATUS)
        self.custom_status = status.decode() if status is not None else None
        if self.state.is_remote:
            self.lineage = Lineage(history, self.received)
            self.problem = ""  # its code does not run here
        elif history and self.state.terminal_status is None and not self.problem:
            self.rebuild(history)
        return self

    def rebuild(self, history: list[HistoryEvent]) -> None:
        """Bring the code of this program, if it has any, to where the history ends."""
        definition = self._definition(self.state.name)
        if definition is None:
            return
        run = WorkflowRun(definition, self._instance_id, self._host.limits)
        try:
            run.replay(history)
        except NonDeterminismError as error:
            run.close()
            self.problem = str(error)
        else:
            self.run = run
            self.problem = self._host.limits.why_too_long(self.state.history_length)

    @property
    def present_id(self) -> str:
        """Execution id: of the start that waits, if one does."""
        start = self.inbox.start
        return start.execution_id if start is not None else self.state.execution_id

    @property
    def is_suspended(self) -> bool:
        """Whether the newest word on it was to suspend, facts in the inbox included."""
        waiting = self.inbox.suspends
        return self.state.suspended if waiting is None else waiting

    @property
    def is_stalled(self) -> bool:
        """Whether its code, here or elsewhere, cannot go on until something is repaired."""
        state = self.state
        return bool(
            self.problem or (state.stalled_reason and (state.is_remote or not state.started))
        )

    def status(self) -> Status:
        """Present status; PENDING while the start waits in the inbox, unless it goes on as new."""
        status = self.state.status
        return Status.RUNNING if status is Status.PENDING and self.continues else status

    # ---- facts ---------------------------------------------------------------------------------

    def take(self, effects: Effects, *facts: HistoryEvent) -> None:
        """Take new facts: run the code over them, or keep them until that is possible."""
        if self._is_runnable(facts):
            kept = self.inbox.take_all(effects, since_ns=self.state.updated_at_ns)
            self._run_over(effects, [*kept, *facts])
            if self.problem and self.state.terminal_status is None:
                self.want_worker(effects)  # nothing may come any more that would say so
        elif facts and self.state.is_remote and self.worker_wanted and not self.problem:
            self.keep(effects, facts)  # whoever was asked sees them too
            return  # and what a status query shows is as before
        else:
            self.keep(effects, facts)
            start = self.inbox.start
            if start is None or not self._is_early(start):  # else its reminder goes on
                self.want_worker(effects, stalled=not facts and self.is_stalled)
        self.store_summary(effects)

    def _is_early(self, start: ExecutionStarted) -> bool:
        return (start.scheduled_start_ns or 0) > self._host.now_ns()

    def _is_left_to_others(self, start: ExecutionStarted) -> bool:
        """Whether a start was left to remote workers, of whom none may be there just now."""
        return self.worker_wanted and self._host.definition(start.name) is None

    def _is_runnable(self, facts: tuple[HistoryEvent, ...]) -> bool:
        """Whether the code of this program can take facts now. Says in `problem` why one that it
        has begun cannot go on."""
        state, waiting = self.state, self.inbox.start
        if state.terminal_status is not None or (self.run is not None and not self.problem):
            return True
        if state.is_remote:
            return False
        starts = (fact for fact in facts if isinstance(fact, ExecutionStarted))
        start = waiting or next(starts, None)
        if start is not None and self._is_early(start):
            return False
        if waiting is not None and self._is_left_to_others(waiting):
            return False
        name = start.name if start is not None else state.name
        if not self._host.takes(self.app_id, name, has_begun=start is None):
            return False
        if start is None and not self.problem:
            self.problem = (
                f"workflow {state.name!r} is not registered here any more; register it again, or "
                "terminate the instance"
            )
        return not self.problem

    def want_worker(self, effects: Effects, *, stalled: bool | None = None) -> None:
        """Ask, durably and once, for somebody who can run this instance; by default one that
        connects from now on, if it has stalled."""
        state = self.state
        if self.problem and not state.stalled_reason:
            self.record(effects, self._stalled(self.problem))
        if self.worker_wanted or (state.is_remote and not self.inbox):
            return
        self.worker_wanted = True
        who = REMOTE if state.is_remote else HERE if state.started else ANYBODY
        is_stalled = self.is_stalled if stalled is None else stalled
        present = self.inbox.start or state
        wanted = WorkerWanted(
            self._host.host_id, present.name, is_stalled, self.app_id, present.execution_id, who
        )
        effects.send(ActorId(WORKER, self._instance_id), RUN, pack(wanted))

    def _stalled(self, problem: str) -> ExecutionStalled:
        _log.error(
            "instance stalled", extra={"instance_id": self._instance_id, "reason": problem[:500]}
        )
        return ExecutionStalled(at_ns=self.now_ns(), reason="code", description=problem)

    def keep(self, effects: Effects, facts: Iterable[HistoryEvent]) -> None:
        """Put facts behind those that wait for somebody who can run the code."""
        for fact in facts:
            if type(fact) is ExecutionStarted:
                self.store_input(effects, fact)
            self.inbox.put(effects, fact)

    def worker_ready(self, effects: Effects) -> None:
        """Somebody may be able to run the code now: try again."""
        self.worker_wanted = False
        if self.state.is_remote:
            self.take(effects)
            return
        if self.state.stalled_reason and not (self.problem or self.inbox) and self.run is not None:
            self.record(effects, TurnStarted(at_ns=self.now_ns()))  # ends the stall, as facts do
        self.take(effects)

    def _run_over(self, effects: Effects, facts: list[HistoryEvent]) -> None:
        generations = 0
        queue = deque(facts)
        while queue and self.state.terminal_status is None:
            following = self._step(effects, queue.popleft())
            if following is None:
                continue
            queue = deque([*following, *filter(outlives_execution, queue)])
            generations += 1
            if generations >= GENERATIONS_PER_TURN:
                self.keep(effects, queue)
                effects.send(effects.actor, GO_ON)
                return

    def _step(self, effects: Effects, fact: HistoryEvent) -> list[HistoryEvent] | None:
        """Take one fact. Returns the first facts of the next execution after continue-as-new."""
        if isinstance(fact, ExecutionStarted):
            self.store_input(effects, fact)
            if not self._begin(effects, fact):
                return None
        length_before = self.state.history_length
        self.record(effects, fact)
        run = self.run
        if run is None:
            return None
        following: list[HistoryEvent] | None = None
        for action in run.feed(fact):
            following = self.act(effects, action, fact.at_ns) or following
        if run.custom_status != self.custom_status:
            self.store_custom_status(effects, run.custom_status)
        self._mind_length(length_before)
        return following

    def _definition(self, name: str) -> WorkflowDefinition | None:
        return self._host.definition(name) if self._host.takes(self.app_id, name) else None

    def _begin(self, effects: Effects, start: ExecutionStarted) -> bool:
        definition = self._definition(start.name)
        if definition is not None:
            self.run = WorkflowRun(definition, self._instance_id, self._host.limits)
            return True
        self.record(effects, start)
        failure = FailureDetails(
            error_type="WorkflowNotRegistered",
            message=f"workflow {start.name!r} is not registered; register it with @app.workflow, "
            "or check the name in the start call",
            non_retriable=True,
        )
        self.end(effects, Status.FAILED, failure=failure)
        return False

    def _mind_length(self, length_before: int) -> None:
        """Warn of a long history once, when it grows past the mark; stall at the limit."""
        limits, length = self._host.limits, self.state.history_length
        if length_before < limits.history_events_warn <= length:
            ids = {"instance_id": self._instance_id, "workflow": self.state.name, "events": length}
            _log.warning("history is long; use continue-as-new", extra=ids)
        if self.state.terminal_status is None:
            self.problem = self.problem or limits.why_too_long(length)

    # ---- what the code asks for ----------------------------------------------------------------

    def act(self, effects: Effects, action: Action, at_ns: int) -> list[HistoryEvent] | None:
        """Record and do what the code asks for. Returns the first facts of the next execution after
        continue-as-new."""
        if type(action) is CancelTimer:
            cancel_timer(effects, self.state, action.timer_id)
            return None
        if type(action) is Complete and action.status is Status.CONTINUED_AS_NEW:
            return self.continue_as_new(effects, action, at_ns)
        event = event_of(action, self._instance_id, at_ns)
        if type(event) is ExecutionCompleted:
            self._end(effects, event)
        elif event is not None:
            recorded = event if self.redo is None else redone(self, effects, event)
            self.record(effects, recorded)
            carry_out(effects, self.state, recorded, self.lineage, self._host)
        if type(action) is CreateDetached:
            start_detached(effects, action)
        return None

    # ---- ends ----------------------------------------------------------------------------------

    def end(
        self,
        effects: Effects,
        status: Status,
        *,
        output: str | None = None,
        failure: FailureDetails | None = None,
    ) -> None:
        """End the execution without asking its code."""
        at_ns = self.now_ns()
        self._end(
            effects, ExecutionCompleted(at_ns=at_ns, status=status, result=output, failure=failure)
        )

    def terminate(self, effects: Effects, request: ControlRequest) -> None:
        """End the execution as TERMINATED, whatever its code does; children too if recursive."""
        for fact in self.inbox.take_all(effects):
            if isinstance(fact, ExecutionStarted):
                self.store_input(effects, fact)
            self.record(effects, fact)
        effects.cancel_reminder(SCHEDULED_START)
        children = list(self.state.open_children.values())
        self.record(
            effects,
            ExecutionTerminated(
                at_ns=self.now_ns(), output=request.text, recursive=request.recursive
            ),
        )
        self.end(effects, Status.TERMINATED, output=request.text)
        if request.recursive:
            terminate_children(effects, children, self.state.execution_id)
        self.store_summary(effects)

    def _end(self, effects: Effects, event: ExecutionCompleted) -> None:
        state = self.state
        self._cancel_all_timers(effects)
        forget_redo(self, effects)
        self.record(effects, event)
        if event.result is not None:
            effects.put_field(OUTPUT, event.result.encode())
        if event.failure is not None:
            effects.put_field(FAILURE, encode_failure(event.failure))
        self.close()
        self.inbox.take_all(effects)
        delete_ms = self._host.retention.due_ms(event.status, event.at_ns)
        if delete_ms is not None:
            effects.set_reminder(Reminder(RETENTION, delete_ms, 0, b""))
        if event.failure is not None:
            _log.info(
                "instance failed",
                extra={
                    "instance_id": self._instance_id,
                    "workflow": state.name,
                    "error": event.failure.error_type,
                },
            )
        if state.parent is not None:
            report_end(effects, state.parent, self._instance_id, event)
        effects.retire_actor()

    def continue_as_new(self, effects: Effects, end: Complete, at_ns: int) -> list[HistoryEvent]:
        """Replace the execution by the next one; whatever still arrives for the old one is late."""
        old = self.state
        self._cancel_all_timers(effects)
        forget_redo(self, effects)
        self.close()
        effects.reset_log()
        if self.lineage is not None:
            self.lineage.begin_again()
        self.state, self.continues = InstanceState(), True
        start = ExecutionStarted(
            at_ns=at_ns,
            name=old.name,
            instance_id=self._instance_id,
            execution_id=self._host.new_id(),
            input=end.result,
            parent=old.parent,
            generation=old.generation + 1,
        )
        carried = [replace(event, at_ns=at_ns) for event in end.carried_events]
        return [start, *carried]

    def _cancel_all_timers(self, effects: Effects) -> None:
        for timer_id in list(self.state.open_timers):
            cancel_timer(effects, self.state, timer_id)

    def close(self) -> None:
        """Let the live code go."""
        if self.run is not None:
            self.run.close()
            self.run = None

    # ---- storing -------------------------------------------------------------------------------

    def record(self, effects: Effects, event: HistoryEvent) -> None:
        """Append an event to the history and fold it into the state."""
        if type(event) is EventRaised:
            end_wait(effects, self.state, event.name)
        effects.append_log(stripped(event))
        if self.lineage is not None:
            self.lineage.history.append(event)
        self.state.apply(event)

    def store_input(self, effects: Effects, start: ExecutionStarted) -> None:
        """Keep the input of the start as a value of its own."""
        if start.input is None:
            effects.delete_field(INPUT)
        else:
            effects.put_field(INPUT, start.input.encode())

    def store_custom_status(self, effects: Effects, custom_status: str | None) -> None:
        """Replace the custom status."""
        self.custom_status = custom_status
        if custom_status is None:
            effects.delete_field(CUSTOM_STATUS)
        else:
            effects.put_field(CUSTOM_STATUS, custom_status.encode())

    def store_summary(self, effects: Effects) -> None:
        """Write what a status query shows."""
        shown = self._shown()
        effects.set_summary(
            summary_of(shown, start_key=self.start_key, worker_wanted=self.worker_wanted)
        )

    def _shown(self) -> InstanceState:
        start = self.inbox.start
        if start is None or self.state.started:
            return self.state
        shown = state_before(start, continues=self.continues)
        shown.stalled_reason = self.state.stalled_reason
        shown.stalled_description = self.state.stalled_description
        return shown

    def now_ns(self) -> int:
        """Return now, never before the newest fact: time does not run backwards in a history."""
        return max(self._host.now_ns(), self.state.updated_at_ns)
