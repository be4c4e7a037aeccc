"""PURE. The state of an instance as the fold of its history: ids and names, never events."""

from collections.abc import Callable
from typing import Any, NamedTuple

from actorflow.workflow.events import (
    NEVER_NS,
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStalled,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    FailureDetails,
    HistoryEvent,
    ParentRef,
    Status,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
    TimerOrigin,
    TurnStarted,
)
from actorflow.workflow.model import WaitReason


class OpenTask(NamedTuple):
    """An activity without a result yet. `attempt` counts from 1."""

    name: str
    since_ns: int
    attempt: int = 1
    task_execution_id: str = ""
    app_id: str = ""


class OpenTimer(NamedTuple):
    """A timer that has not fired. `fire_at_ns` is NEVER_NS for a wait without a time-out."""

    fire_at_ns: int
    origin: TimerOrigin
    since_ns: int


class OpenChild(NamedTuple):
    """A child workflow that has not ended, as far as this instance knows."""

    instance_id: str
    name: str
    since_ns: int
    app_id: str = ""


class InstanceState:
    """What the events so far say about one execution.

    Empty before the first event. Mappings are by action id. `children_seen` are the instance ids of
    all children ever asked for, in order. `terminate_recursive` is None until termination was
    asked for. `stalled_reason` is "" while nothing is wrong. `is_remote` says that a remote worker
    took the first turn, at `started_at_ns`; `patches` is what its code has said of itself so far.

    A cancelled timer is recorded nowhere: tell `cancel_timer`, or it is shown until it would fire.
    """

    __slots__ = (
        "_attempts",
        "children_seen",
        "completed_at_ns",
        "created_at_ns",
        "execution_id",
        "failure",
        "generation",
        "history_length",
        "input",
        "instance_id",
        "is_remote",
        "last_action_id",
        "name",
        "open_children",
        "open_tasks",
        "open_timers",
        "output",
        "parent",
        "patches",
        "scheduled_start_ns",
        "stalled_description",
        "stalled_reason",
        "started",
        "started_at_ns",
        "suspended",
        "tags",
        "terminal_status",
        "terminate_recursive",
        "trace_parent",
        "trace_state",
        "updated_at_ns",
        "version",
    )

    def __init__(self) -> None:
        self.name = ""
        self.instance_id = ""
        self.execution_id = ""
        self.generation = 1
        self.version: str | None = None
        self.trace_parent: str | None = None
        self.trace_state: str | None = None
        self.is_remote = False
        self.patches: tuple[str, ...] = ()
        self.input: str | None = None
        self.output: str | None = None
        self.failure: FailureDetails | None = None
        self.parent: ParentRef | None = None
        self.scheduled_start_ns: int | None = None
        self.created_at_ns = 0
        self.updated_at_ns = 0
        self.completed_at_ns: int | None = None
        self.open_tasks: dict[int, OpenTask] = {}
        self.open_timers: dict[int, OpenTimer] = {}
        self.open_children: dict[int, OpenChild] = {}
        self.children_seen: list[str] = []
        self.history_length = 0
        self.last_action_id = -1  # some SDKs count from 0
        self.started = False
        self.started_at_ns: int | None = None
        self.tags: dict[str, str] = {}
        self.suspended = False
        self.terminate_recursive: bool | None = None
        self.stalled_reason = ""
        self.stalled_description = ""
        self.terminal_status: Status | None = None
        self._attempts: dict[str, int] | None = None  # of calls that are or were tried again

    @property
    def status(self) -> Status:
        """Runtime status: the end if there is one, else stalled, suspended, running, pending."""
        if self.terminal_status is not None:
            return self.terminal_status
        if self.stalled_reason:
            return Status.STALLED
        if self.suspended:
            return Status.SUSPENDED
        return Status.RUNNING if self.started else Status.PENDING

    @property
    def terminate_requested(self) -> bool:
        """Whether somebody asked to end the execution."""
        return self.terminate_recursive is not None

    def apply(self, event: HistoryEvent) -> None:
        """Fold one event in. One that refers to nothing open changes no more than the length."""
        self.history_length += 1
        if event.at_ns > self.updated_at_ns:  # noqa: PLR1730 -- max() costs more than all the rest
            self.updated_at_ns = event.at_ns
        if event.event_id > self.last_action_id:  # noqa: PLR1730 -- as above
            self.last_action_id = event.event_id
        kind = type(event)
        if self.stalled_reason and kind is not ExecutionStalled:
            self.stalled_reason = self.stalled_description = ""  # it went on
        folder = _FOLDERS.get(kind)
        if folder is not None:
            folder(self, event)

    def cancel_timer(self, timer_id: int) -> None:
        """Forget a timer that the code has cancelled."""
        self.open_timers.pop(timer_id, None)

    def event_wait(self, name: str) -> int | None:
        """Return the timer of the oldest wait for an event of this name, in any case of letters."""
        key = name.casefold()
        for timer_id, timer in self.open_timers.items():
            if timer.origin.kind == "event" and timer.origin.ref.casefold() == key:
                return timer_id
        return None

    def attempts_of(self, ref: str) -> int:
        """Return the number of the present attempt of a call: task execution or child id."""
        return self._attempts.get(ref, 1) if self._attempts is not None else 1

    def count_attempt(self, ref: str) -> None:
        """Note that a call is going to be tried again."""
        if self._attempts is None:
            self._attempts = {}
        self._attempts[ref] = self._attempts.get(ref, 1) + 1

    def forget_attempts(self, ref: str) -> None:
        """Note that a call has succeeded."""
        if self._attempts is not None:
            self._attempts.pop(ref, None)


def state_before(start: ExecutionStarted, *, continues: bool) -> InstanceState:
    """Return what is to be seen of an execution whose start no worker has seen yet.

    Args:
        continues: it follows another execution of the same instance, and so is running.
    """
    state = InstanceState()
    state.apply(start)
    state.started = continues
    state.history_length = 0
    return state


def waits(
    state: InstanceState, note: Callable[[int, OpenTask], str] = lambda _id, _task: ""
) -> list[WaitReason]:
    """Return what an open instance waits for, its own state first, then by age.

    Args:
        note: says of an open activity why nobody runs it; "" when somebody does.

    Empty when the instance has ended, and while it waits for nothing but a worker.
    """
    if state.terminal_status is not None:
        return []
    reasons = []
    if state.stalled_reason:
        detail = ": ".join(filter(None, (state.stalled_reason, state.stalled_description)))
        reasons.append(WaitReason(kind="stalled", detail=detail))
    if state.suspended:
        reasons.append(WaitReason(kind="suspended", detail="facts are kept until it is resumed"))
    waiting = [_task_reason(task, note(id_, task)) for id_, task in state.open_tasks.items()]
    waiting += [_child_reason(state, child) for child in state.open_children.values()]
    waiting += [_timer_reason(state, timer) for timer in state.open_timers.values()]
    waiting.sort(key=lambda reason: reason.since_ns or 0)
    return reasons + waiting


def _task_reason(task: OpenTask, note: str) -> WaitReason:
    detail = f"{task.name}: {note}" if note else task.name
    return WaitReason(kind="activity", detail=detail, since_ns=task.since_ns, attempt=task.attempt)


def _child_reason(state: InstanceState, child: OpenChild) -> WaitReason:
    return WaitReason(
        kind="child",
        detail=f"{child.name} ({child.instance_id})",
        since_ns=child.since_ns,
        attempt=state.attempts_of(child.instance_id),
    )


def _timer_reason(state: InstanceState, timer: OpenTimer) -> WaitReason:
    due_ns = None if timer.fire_at_ns >= NEVER_NS else timer.fire_at_ns
    attempt = None
    match timer.origin.kind:
        case "event":
            kind, detail = "event", timer.origin.ref
        case "activity_retry" | "child_retry":
            kind, detail = "retry", timer.origin.ref
            attempt = state.attempts_of(timer.origin.ref)
        case _:
            kind, detail = "timer", "time-out of a call" if timer.origin.ref else "timer"
    return WaitReason(
        kind=kind, detail=detail, since_ns=timer.since_ns, due_ns=due_ns, attempt=attempt
    )


def _turn_started(state: InstanceState, event: TurnStarted) -> None:
    if not state.started:
        state.is_remote = True
        state.started_at_ns = event.at_ns
    state.patches += event.patches


def _started(state: InstanceState, event: ExecutionStarted) -> None:
    state.started = True
    state.name = event.name
    state.instance_id = event.instance_id
    state.execution_id = event.execution_id
    state.generation = event.generation
    state.version = event.version
    state.tags = event.tags
    state.trace_parent = event.trace_parent
    state.trace_state = event.trace_state
    state.input = event.input
    state.parent = event.parent
    state.scheduled_start_ns = event.scheduled_start_ns
    state.created_at_ns = event.at_ns


def _completed(state: InstanceState, event: ExecutionCompleted) -> None:
    state.terminal_status = event.status
    state.output = event.result
    state.failure = event.failure
    state.completed_at_ns = event.at_ns
    state.open_tasks = {}
    state.open_timers = {}
    state.open_children = {}
    state._attempts = None  # noqa: SLF001 -- folders are the class's own, kept in a table


def _terminated(state: InstanceState, event: ExecutionTerminated) -> None:
    state.terminate_recursive = event.recursive or bool(state.terminate_recursive)


def _suspended(state: InstanceState, _: ExecutionSuspended) -> None:
    state.suspended = True


def _resumed(state: InstanceState, _: ExecutionResumed) -> None:
    state.suspended = False


def _stalled(state: InstanceState, event: ExecutionStalled) -> None:
    state.stalled_reason = event.reason or "stalled"
    state.stalled_description = event.description


def _task_scheduled(state: InstanceState, event: TaskScheduled) -> None:
    ref = event.task_execution_id
    attempt = state.attempts_of(ref)
    state.open_tasks[event.event_id] = OpenTask(event.name, event.at_ns, attempt, ref, event.app_id)


def _task_completed(state: InstanceState, event: TaskCompleted) -> None:
    task = state.open_tasks.pop(event.task_id, None)
    if task is not None:
        state.forget_attempts(task.task_execution_id)


def _task_failed(state: InstanceState, event: TaskFailed) -> None:
    state.open_tasks.pop(event.task_id, None)


def _child_created(state: InstanceState, event: ChildCreated) -> None:
    state.open_children[event.event_id] = OpenChild(
        event.instance_id, event.name, event.at_ns, event.app_id
    )
    # A retry asks for the same id again.
    if state.attempts_of(event.instance_id) == 1:
        state.children_seen.append(event.instance_id)


def _child_completed(state: InstanceState, event: ChildCompleted) -> None:
    child = state.open_children.pop(event.task_id, None)
    if child is not None:
        state.forget_attempts(child.instance_id)


def _child_failed(state: InstanceState, event: ChildFailed) -> None:
    state.open_children.pop(event.task_id, None)


def _timer_created(state: InstanceState, event: TimerCreated) -> None:
    state.open_timers[event.event_id] = OpenTimer(event.fire_at_ns, event.origin, event.at_ns)
    if event.origin.kind in ("activity_retry", "child_retry"):
        state.count_attempt(event.origin.ref)


def _timer_fired(state: InstanceState, event: TimerFired) -> None:
    state.open_timers.pop(event.timer_id, None)


def _event_raised(state: InstanceState, event: EventRaised) -> None:
    """The oldest wait for the name is over: its guard timer will not fire."""
    timer_id = state.event_wait(event.name)
    if timer_id is not None:
        del state.open_timers[timer_id]


_FOLDERS: dict[type, Callable[[InstanceState, Any], None]] = {
    TurnStarted: _turn_started,
    ExecutionStarted: _started,
    ExecutionCompleted: _completed,
    ExecutionTerminated: _terminated,
    ExecutionSuspended: _suspended,
    ExecutionResumed: _resumed,
    ExecutionStalled: _stalled,
    TaskScheduled: _task_scheduled,
    TaskCompleted: _task_completed,
    TaskFailed: _task_failed,
    ChildCreated: _child_created,
    ChildCompleted: _child_completed,
    ChildFailed: _child_failed,
    TimerCreated: _timer_created,
    TimerFired: _timer_fired,
    EventRaised: _event_raised,
}
