"""PURE. What must hold of one stored instance, rule by rule, and the cure of what does not.

First come rules about the record alone: readable, without gaps, its head that of its log. Then
those about the rows that bring an open instance on: each thing that it waits for has one. What can
be cured is collected as `Effects`, as if a turn of the instance had asked for it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.address import ActorId
from actorflow.actors.effects import Effects
from actorflow.actors.ports import Reminder
from actorflow.workflow.codec import decode_event
from actorflow.workflow.errors import HistoryCorruptError
from actorflow.workflow.events import (
    NEVER_NS,
    ChildCompleted,
    ChildFailed,
    ExecutionCompleted,
    ExecutionStarted,
    HistoryEvent,
    Status,
    TaskCompleted,
    TaskFailed,
    TimerFired,
)
from actorflow.workflow.fsck_history import history_faults
from actorflow.workflow.outbound import (
    carry_out,
    parent_ref,
    report_end,
    timer_name,
    timer_of,
)
from actorflow.workflow.records import (
    Head,
    as_before_details,
    head_of,
    history_of,
    inbox_of,
    instance_of,
    summary_of,
)
from actorflow.workflow.requests import DEFAULT_APP, WORKER_READY, app_of, instance_type
from actorflow.workflow.retention import RETENTION
from actorflow.workflow.state import InstanceState, state_before

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from actorflow.actors.ports import ActorRecord
    from actorflow.workflow.fsck_rows import Waiting
    from actorflow.workflow.state import OpenChild

SCHEDULED_START = "start"
"""Name of the reminder that begins a scheduled start."""


def name_of(actor: ActorId) -> str:
    """Return what people call an instance: its id, and its app unless that is the default one."""
    app_id = app_of(actor.type)
    return actor.key if app_id == DEFAULT_APP else f"{actor.key} (app {app_id})"


class Finding(NamedTuple):
    """Something that does not hold. `cure` is what a repair would do, "" where nothing can be done.

    A note is worth knowing and no fault. `subject` is an instance as `name_of` says, or a partition
    as text.
    """

    code: str
    subject: str
    detail: str
    cure: str = ""
    is_note: bool = False


@dataclass(slots=True)
class Examined:
    """One instance, decoded as far as it can be, with what was found in its record alone.

    `state` is None when something in the record cannot be read or is wrong in itself; the rules
    about rows are not applied then. `cure` collects what a repair would write.
    """

    record: ActorRecord
    cure: Effects
    findings: list[Finding] = field(default_factory=list)
    head: Head | None = None
    history: list[HistoryEvent] | None = None
    inbox: dict[int, HistoryEvent] = field(default_factory=dict)
    state: InstanceState | None = None

    @property
    def actor(self) -> ActorId:
        """The instance."""
        return self.record.actor

    @property
    def instance_id(self) -> str:
        """The instance's id."""
        return self.record.actor.key

    @property
    def pending_start(self) -> ExecutionStarted | None:
        """The start that no worker has seen yet."""
        return next((e for e in self.inbox.values() if isinstance(e, ExecutionStarted)), None)

    @property
    def is_open(self) -> bool:
        """Whether it is readable and has not ended."""
        return self.state is not None and self.state.terminal_status is None

    def add(self, code: str, detail: str, cure: str = "", *, is_note: bool = False) -> None:
        """Note a finding about this instance."""
        self.findings.append(Finding(code, name_of(self.actor), detail, cure, is_note))


# ---- the record alone ----------------------------------------------------------------------------


def examine(record: ActorRecord) -> Examined:
    """Apply the rules that need nothing but the record, log included."""
    cure = Effects(record.actor)
    cure.number = record.number
    seen = Examined(record, cure)
    if len(record.log) != record.log_length:
        seen.add("log", f"the log has {len(record.log)} entries, its length is {record.log_length}")
    if record.summary is None:
        seen.add("no-summary", "a half-made instance: it has no name, status and times")
        return seen
    _decode(seen)
    if seen.history is not None:
        for detail in history_faults(seen.history):
            seen.add("history", detail)
            seen.state = None  # nothing is to be concluded from it
        if seen.state is not None:
            _check_head(seen)
    return seen


def _decode(seen: Examined) -> None:
    record = seen.record
    try:
        seen.head = head_of(record)
    except HistoryCorruptError as error:
        seen.add("head", str(error), "write the head again from the log")
    try:
        seen.inbox = inbox_of(record)
    except (HistoryCorruptError, ValueError) as error:
        seen.add("unreadable", f"the inbox cannot be read: {error}")
        return
    for index, entry in enumerate(record.log):
        try:
            decode_event(entry)
        except HistoryCorruptError as error:
            seen.add("unreadable", f"event {index} of {record.log_length}: {error}")
            return
    try:
        instance_of(record)
        seen.history = history_of(record)
    except (HistoryCorruptError, ValueError) as error:
        if seen.head is not None:
            seen.add("unreadable", str(error))
            return
        seen.history = history_of(record)
    seen.state = InstanceState()
    for event in seen.history:
        seen.state.apply(event)


def _check_head(seen: Examined) -> None:
    """The summary is the fold of the log; what the log does not say is taken over from it."""
    shown, summary = _shown(seen), seen.record.summary
    if shown is None or summary is None or (not seen.history and seen.pending_start is None):
        seen.add("empty", "it has neither a history nor a start that waits")
        return
    head = seen.head
    expected = summary_of(
        shown,
        start_key=head.start_key if head is not None else "",
        worker_wanted=head.worker_wanted if head is not None else False,
    )
    if summary in (expected, as_before_details(expected)):
        return
    seen.cure.set_summary(expected)
    if head is not None:
        names = [n for n in summary._fields if getattr(summary, n) != getattr(expected, n)]
        details = ", ".join(names)
        if head.history_length != shown.history_length:
            details += f"; it counts {head.history_length} events, the log {shown.history_length}"
        seen.add("head", f"not what the log says: {details}", "write the head again from the log")


def _shown(seen: Examined) -> InstanceState | None:
    start, summary = seen.pending_start, seen.record.summary
    if seen.state is None or summary is None:
        return None
    if start is None or seen.state.started:
        return seen.state
    shown = state_before(start, continues=summary.phase == Status.RUNNING)
    shown.stalled_reason = seen.state.stalled_reason
    shown.stalled_description = seen.state.stalled_description
    return shown


# ---- what brings it on ---------------------------------------------------------------------------


class Child(NamedTuple):
    """What a parent's rules need of a child: its record without log, its head decoded."""

    record: ActorRecord
    head: Head

    @property
    def has_ended(self) -> bool:
        """Whether the child has ended."""
        return self.record.summary is not None and Status(self.record.summary.phase).is_terminal


def check_rows(
    seen: Examined,
    waiting: Waiting,
    children: Mapping[ActorId, Child | None],
    *,
    open_ids: frozenset[int] | None = None,
) -> None:
    """Apply I7 and I9: each thing that the instance waits for has a row that brings it on, and no
    row is left of what is over.

    Args:
        children: by actor, at least all open children of the instance; None where there is none.
        open_ids: the actions that the code itself still waits for, if the code was at hand: a timer
            that was cancelled is recorded nowhere else.
    """
    if seen.state is None:
        return
    reminders = waiting.reminders.get(seen.actor, {})
    _check_reminders(seen, reminders)
    if not seen.is_open:
        return
    known = len(seen.findings)
    awake = [
        *_check_tasks(seen, waiting),
        *_check_children(seen, waiting, children),
        *_check_timers(seen, reminders, open_ids),
        *_check_inbox(seen, waiting, reminders),
    ]
    is_explained = len(seen.findings) > known
    if any(awake) or is_explained or seen.state.suspended or seen.state.stalled_reason:
        return
    if waiting.to_instance[seen.actor] or waiting.workers[seen.actor]:
        return
    if not _arm_lost_timers(seen, reminders):
        seen.add("stuck", "it is open, and nothing that is stored will ever bring it on")


def _event(seen: Examined, action_id: int) -> HistoryEvent:
    return next(event for event in seen.history or () if event.event_id == action_id)


def _answered(seen: Examined) -> Counter[int]:
    """Count the results that the instance has, and that wait for its code."""
    ids: Counter[int] = Counter()
    for fact in seen.inbox.values():
        if isinstance(fact, TaskCompleted | TaskFailed | ChildCompleted | ChildFailed):
            ids[fact.task_id] += 1
        elif isinstance(fact, TimerFired):
            ids[fact.timer_id] += 1
    return ids


def _check_tasks(seen: Examined, waiting: Waiting) -> Iterator[bool]:
    state, answered = seen.state, _answered(seen)
    for task_id, task in (state.open_tasks if state is not None else {}).items():
        name = (seen.actor, state.execution_id if state is not None else "", task_id)
        rows = waiting.work[name] + waiting.results[name] + answered[task_id]
        yield bool(rows)
        if rows == 0 and state is not None:
            carry_out(seen.cure, state, _event(seen, task_id))
            seen.add(
                "activity",
                f"activity {task_id} ({task.name}) is open, and no message will run it",
                "send its message again",
            )
        elif rows > 1:
            seen.add("activity", f"activity {task_id} ({task.name}) has {rows} messages")


def _check_children(
    seen: Examined, waiting: Waiting, children: Mapping[ActorId, Child | None]
) -> Iterator[bool]:
    state, answered = seen.state, _answered(seen)
    for task_id, child in (state.open_children if state is not None else {}).items():
        name = (seen.actor, state.execution_id if state else "", task_id)
        if waiting.results[name] or answered[task_id]:
            yield True
        elif state is not None:
            found = _check_child(seen, state, task_id, child, waiting, children)
            yield found is None
            if found is not None:
                seen.add("child", *found)


def _check_child(
    seen: Examined,
    state: InstanceState,
    task_id: int,
    child: OpenChild,
    waiting: Waiting,
    children: Mapping[ActorId, Child | None],
) -> tuple[str, str] | None:
    actor = child_actor(seen, child)
    parent = parent_ref(state, task_id, app_of(seen.actor.type) if child.app_id else "")
    if (actor, parent) in waiting.starts:
        return None
    text = f"child {task_id} ({name_of(actor)})"
    living = children.get(actor)
    if living is None or living.head.parent != parent:
        carry_out(seen.cure, state, _event(seen, task_id))
        why = "does not exist" if living is None else "is an instance of somebody else"
        return f"{text} is open here, but {why}", "send its start again"
    if not living.has_ended:
        return None
    report_end(seen.cure, parent, child.instance_id, _end_of(living))
    return f"{text} has ended, and no message tells so", "send its end again"


def child_actor(seen: Examined, child: OpenChild) -> ActorId:
    """Return the actor of a child, which may be of another app."""
    kind = instance_type(child.app_id) if child.app_id else seen.actor.type
    return ActorId(kind, child.instance_id)


def _end_of(child: Child) -> ExecutionCompleted:
    instance = instance_of(child.record)
    return ExecutionCompleted(
        at_ns=instance.completed_at_ns or instance.updated_at_ns,
        status=instance.status,
        result=instance.output,
        failure=instance.failure,
    )


def _check_timers(
    seen: Examined, reminders: Mapping[str, Reminder], open_ids: frozenset[int] | None
) -> Iterator[bool]:
    """A timer without a reminder may have been cancelled, which is recorded nowhere: only the code
    knows. Without it, it is a fault when nothing else brings the instance on; see `check_rows`.
    Remote workers cancel none."""
    state, answered = seen.state, _answered(seen)
    if state is not None and state.is_remote:
        open_ids = frozenset(state.open_timers)
    for timer_id, timer in (state.open_timers if state is not None else {}).items():
        if answered[timer_id]:
            yield True
        elif timer.fire_at_ns >= NEVER_NS:
            yield open_ids is None or timer_id in open_ids
        elif timer_name(state.generation if state else 0, timer_id) in reminders:
            yield True
        elif open_ids is not None and timer_id in open_ids and state is not None:
            carry_out(seen.cure, state, _event(seen, timer_id))
            seen.add("timer", f"timer {timer_id} is open and has no reminder", "set its reminder")
        elif open_ids is None:
            yield timer.origin.kind == "event"


def _arm_lost_timers(seen: Examined, reminders: Mapping[str, Reminder]) -> bool:
    """The last resort of an instance that nothing brings on: the timers that it may wait for.

    One that was cancelled does no harm when it fires.
    """
    state = seen.state
    if state is None:
        return False
    lost = [
        timer_id
        for timer_id, timer in state.open_timers.items()
        if timer.fire_at_ns < NEVER_NS and timer_name(state.generation, timer_id) not in reminders
    ]
    for timer_id in lost:
        carry_out(seen.cure, state, _event(seen, timer_id))
    if lost:
        seen.add(
            "timer",
            f"it waits for nothing but timer {', '.join(map(str, lost))}, without a reminder",
            "set its reminder",
        )
    return bool(lost)


def _check_inbox(
    seen: Examined, waiting: Waiting, reminders: Mapping[str, Reminder]
) -> Iterator[bool]:
    actor, wanted = seen.actor, seen.head is not None and seen.head.worker_wanted
    if not seen.inbox and not wanted:
        return
    if waiting.workers[actor] or waiting.wakers[actor] or SCHEDULED_START in reminders:
        yield True
        return
    if not seen.inbox and seen.state is not None and not seen.state.stalled_reason:
        return  # whatever comes next asks for a worker again, or finds one
    what = f"{len(seen.inbox)} facts wait" if seen.inbox else "it waits for its code"
    start = seen.pending_start
    if start is not None and start.scheduled_start_ns is not None:
        due_ms = -(-start.scheduled_start_ns // 1_000_000)
        seen.cure.set_reminder(Reminder(SCHEDULED_START, due_ms, 0, b""))
        seen.add("inbox", "a scheduled start has no reminder", "set its reminder")
        return
    seen.cure.send(actor, WORKER_READY)
    seen.add("inbox", f"{what}, and no message will look again", "send a message that looks again")


def _check_reminders(seen: Examined, reminders: Mapping[str, Reminder]) -> None:
    state = seen.state
    for name in reminders:
        if name == RETENTION and not seen.is_open:
            continue
        timer = timer_of(name) if name not in (SCHEDULED_START, RETENTION) else None
        if seen.is_open and state is not None:
            if timer is not None and timer[0] == state.generation and timer[1] in state.open_timers:
                continue
            if name == SCHEDULED_START and seen.pending_start is not None:
                continue
        seen.cure.cancel_reminder(name)
        seen.add("reminder", f"reminder {name} belongs to nothing that is open", "delete it")
