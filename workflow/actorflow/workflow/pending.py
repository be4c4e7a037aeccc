"""PURE. What one execution has asked for and still waits for: between author code and facts.

The context puts requests in, as actions; the run puts facts in, which settle tasks. Nothing here
runs author code, so that every method leaves it consistent.
"""

from collections import deque
from hashlib import sha1

from actorflow.actors.errors import LimitExceededError, PayloadError
from actorflow.actors.values import from_payload
from actorflow.workflow.actions import (
    Action,
    CancelTimer,
    CreateChild,
    CreateDetached,
    CreateTimer,
    ScheduleTask,
    SendEvent,
)
from actorflow.workflow.errors import ChildFailedError, TaskFailedError
from actorflow.workflow.events import (
    ChildCompleted,
    ChildFailed,
    EventRaised,
    FailureDetails,
    TaskCompleted,
    TaskFailed,
    TimerFired,
    TimerOrigin,
)
from actorflow.workflow.limits import Limits
from actorflow.workflow.naming import instance_actor
from actorflow.workflow.retry import RetryPolicy, is_retriable, next_delay_ns
from actorflow.workflow.task import (
    CallTask,
    DurableTask,
    EventTask,
    Group,
    Retry,
    TimedTask,
    TimerTask,
)
from actorflow.workflow.turn import child_instance_id

_ID_NAMESPACE = bytes.fromhex("6f0d2a57c1c65b0f9f3e9a2b1c7d4e80")

_PLAIN_TIMER = TimerOrigin()


class Pending:
    """Actions asked for in this step, and tasks by the id of the action that will settle them.

    Members that most executions never need are None until they do: thousands of these are parked
    in memory.
    """

    __slots__ = (
        "_buffer",
        "_left",
        "_next_id",
        "_raised_count",
        "_task_family",
        "_waiters",
        "actions",
        "custom_status",
        "execution_id",
        "instance_id",
        "is_closed",
        "is_replaying",
        "limits",
        "next_input",
        "now_ns",
        "open",
    )

    def __init__(self, instance_id: str, limits: Limits) -> None:
        self.instance_id = instance_id
        self.execution_id = ""
        self.limits = limits
        self.now_ns = 0
        self.is_replaying = False
        self.is_closed = False
        self.custom_status: str | None = None
        self.next_input: NextInput | None = None
        self.actions: list[Action] | None = None
        self.open: dict[int, DurableTask[object]] = {}
        self._next_id = 0
        self._waiters: dict[str, deque[EventTask[object]]] | None = None
        self._buffer: dict[str, deque[tuple[int, EventRaised]]] | None = None
        self._raised_count = 0
        self._task_family = ""
        self._left: list[Group[object]] | None = None

    # Requests of the code.

    def next_id(self) -> int:
        """Return the next action id of this execution, from 1."""
        self._next_id += 1
        return self._next_id

    def stable_id(self, purpose: str, number: int) -> str:
        """Return a UUID (version 5) that is the same in every replay of this execution."""
        name = f"{self.execution_id}/{purpose}/{number}"
        digest = sha1(_ID_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
        variant = "89ab"[int(digest[16], 16) & 3]
        return (
            f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"
        )

    def _task_id(self, number: int) -> str:
        """Return a UUID of the same kind; those of one execution count in their last group."""
        if not self._task_family:
            self._task_family = self.stable_id("task", 0)[:24]
        return f"{self._task_family}{number:012x}"

    def call_activity(
        self, task: CallTask[object], input_text: str | None, policy: RetryPolicy | None
    ) -> None:
        """Ask for the first attempt of an activity."""
        self._check_step()
        task.ref = self._task_id(self._next_id + 1)
        if policy is not None:
            task.retry = Retry(policy, self.now_ns, input_text)
        self._attempt(task, input_text)

    def call_child(
        self,
        task: CallTask[object],
        input_text: str | None,
        instance_id: str | None,
        policy: RetryPolicy | None,
    ) -> None:
        """Ask for the first attempt of a child workflow."""
        self._check_step()
        # Resolved here, not when it is recorded: a retry has another action id, yet the same child.
        child_id = instance_id or child_instance_id(self.instance_id, self._next_id + 1)
        task.ref = instance_actor(child_id).key
        if policy is not None:
            task.retry = Retry(policy, self.now_ns, input_text)
        self._attempt(task, input_text)

    def set_deadline(self, task: CallTask[object], due_ns: int) -> None:
        """End the call with a TimeoutError unless it is settled in time."""
        task.deadline_id = self._timer(task, due_ns, TimerOrigin(ref=task.ref))

    def create_timer(self, task: TimerTask) -> None:
        """Ask for a durable timer."""
        self._check_step()
        task.timer_id = self._timer(task, task.fire_at_ns, _PLAIN_TIMER)

    def wait_event(self, task: EventTask[object]) -> None:
        """Settle the task with the oldest event of its name, or wait for the next one."""
        self._check_step()
        if not self._take_buffered(task):
            self._enlist(task)

    def send_event(self, instance_id: str, name: str, input_text: str | None) -> None:
        """Ask for an event on another instance."""
        self._check_step()
        self._ask(
            SendEvent(id=self.next_id(), instance_id=instance_id, name=name, input=input_text)
        )

    def start_detached(
        self,
        name: str,
        input_text: str | None,
        instance_id: str | None,
        scheduled_start_ns: int | None,
    ) -> str:
        """Ask for an independent instance; return its id."""
        self._check_step()
        action_id = self.next_id()
        instance_id = instance_actor(instance_id or self.stable_id("detached", action_id)).key
        self._ask(
            CreateDetached(
                id=action_id,
                name=name,
                instance_id=instance_id,
                input=input_text,
                scheduled_start_ns=scheduled_start_ns,
            )
        )
        return instance_id

    def take_actions(self) -> list[Action]:
        """Return what was asked for since the last call."""
        actions, self.actions = self.actions, None
        return actions if actions is not None else []

    def close(self) -> None:
        """From now on nothing that the code asks for is heard, nor what it logs."""
        self.is_closed = True
        self.is_replaying = True

    def forget_tasks(self) -> None:
        """Drop all tasks, which point back here: memory is then free without a collection."""
        self.open.clear()
        self._waiters = self._left = None

    # Facts.

    def task_completed(self, fact: TaskCompleted) -> None:
        """Settle an activity; a result that nobody waits for is ignored."""
        task = self._running_call(fact.task_id, is_child=False, ref=fact.task_execution_id)
        if task is not None:
            self._settle_call(task, fact.result)

    def child_completed(self, fact: ChildCompleted) -> None:
        """Settle a child workflow; a result that nobody waits for is ignored."""
        task = self._running_call(fact.task_id, is_child=True, ref="")
        if task is not None:
            self._settle_call(task, fact.result)

    def task_failed(self, fact: TaskFailed) -> None:
        """Try the activity again after a delay, or settle it with its failure."""
        task = self._running_call(fact.task_id, is_child=False, ref=fact.task_execution_id)
        if task is not None and not self._retry(task, fact.failure):
            self._end_call(task)
            text = f"activity {task.name!r} failed: {_text(fact.failure)}"
            task.settle_error(TaskFailedError(text, fact.failure))

    def child_failed(self, fact: ChildFailed) -> None:
        """Start the child again after a delay, or settle it with its failure."""
        task = self._running_call(fact.task_id, is_child=True, ref="")
        if task is not None and not self._retry(task, fact.failure):
            self._end_call(task)
            text = f"child workflow {task.name!r} ({task.ref}) failed: {_text(fact.failure)}"
            task.settle_error(ChildFailedError(text, fact.failure))

    def timer_fired(self, fact: TimerFired) -> None:
        """Settle a timer, time out a wait or a call, or begin the next attempt."""
        task = self.open.get(fact.timer_id)
        if isinstance(task, CallTask):
            self._call_timer_fired(task, fact.timer_id)
            return
        self.open.pop(fact.timer_id, None)
        if isinstance(task, TimerTask):
            task.settle(None)
        elif isinstance(task, EventTask):
            self._strike(task)
            task.timer_id = 0
            task.settle_error(TimeoutError(f"no event {task.name!r} came in time"))

    def event_raised(self, fact: EventRaised) -> None:
        """Give the event to the oldest wait for its name, or keep it for the next one."""
        key = fact.name.casefold()
        waiters = self._waiters.get(key) if self._waiters is not None else None
        if waiters:
            task = waiters[0]
            self._strike(task)
            self._drop_timer(task)
            _settle_event(task, fact)
            return
        if self._buffer is None:
            self._buffer = {}
        self._raised_count += 1
        self._buffer.setdefault(key, deque()).append((self._raised_count, fact))

    def buffered_events(self) -> tuple[EventRaised, ...]:
        """Return the events that no wait has taken, in order of arrival."""
        if self._buffer is None:
            return ()
        numbered = [entry for queue in self._buffer.values() for entry in queue]
        numbered.sort(key=lambda entry: entry[0])
        return tuple(fact for _, fact in numbered)

    # Tasks that nobody waits for any more (TaskOwner).

    def left_behind(self, group: Group[object]) -> None:
        """Remember to look at the group's members when the code waits again."""
        if self._left is None:
            self._left = []
        self._left.append(group)

    def release_left_behind(self, awaited: DurableTask[object]) -> None:
        """Release what combinations left behind and the code does not wait for now.

        Done when the code waits, not when the combination is settled: a loop that races the same
        event against a new timer each time would otherwise record a new wait each time.
        """
        groups, self._left = self._left, None
        if groups is None:
            return
        awaited_now: set[int] = set()
        _collect(awaited, awaited_now)
        for group in groups:
            _release_unless(group, awaited_now)

    def release(self, task: TimedTask[object]) -> None:
        """Cancel the timer of a task, and take it from the queue of its event."""
        if isinstance(task, EventTask):
            self._strike(task)
        self._drop_timer(task)

    def rearm(self, task: TimedTask[object]) -> None:
        """Wait again: for a time, with a new timer; for an event, behind the waits of today."""
        self.claim(task)
        if task.settled:
            return
        if isinstance(task, EventTask):
            self._enlist(task)
        else:
            task.timer_id = self._timer(task, task.fire_at_ns, _PLAIN_TIMER)

    def claim(self, task: TimedTask[object]) -> None:
        """Settle a released task whose event is kept or whose time has come."""
        if isinstance(task, EventTask) and self._take_buffered(task):
            return
        if task.fire_at_ns > self.now_ns:
            return
        if isinstance(task, EventTask):
            task.settle_error(TimeoutError(f"no event {task.name!r} came in time"))
        else:
            task.settle(None)

    def abandon(self, task: CallTask[object]) -> None:
        """Ignore what the call will bring, and cancel its timers."""
        self._end_call(task)

    # Inner parts.

    def _check_step(self) -> None:
        if self.actions is not None and len(self.actions) >= self.limits.actions_per_step_max:
            raise LimitExceededError(
                "the number of actions that a workflow asks for before it waits "
                "(actions_per_step_max)",
                self.limits.actions_per_step_max,
                len(self.actions) + 1,
            )

    def _ask(self, action: Action) -> None:
        if self.is_closed:
            return  # code that is being closed asks in its `finally`; nobody may hear it
        if self.actions is None:
            self.actions = [action]
        else:
            self.actions.append(action)

    def _timer(self, task: DurableTask[object], fire_at_ns: int, origin: TimerOrigin) -> int:
        timer_id = self.next_id()
        self.open[timer_id] = task
        self._ask(CreateTimer(id=timer_id, fire_at_ns=fire_at_ns, origin=origin))
        return timer_id

    def _drop_timer(self, task: TimedTask[object]) -> None:
        self._cancel_timer(task.timer_id)
        task.timer_id = 0

    def _cancel_timer(self, timer_id: int) -> None:
        if self.open.pop(timer_id, None) is not None:
            self._ask(CancelTimer(timer_id=timer_id))

    def _attempt(self, task: CallTask[object], input_text: str | None) -> None:
        action_id = self.next_id()
        task.call_id = action_id
        self.open[action_id] = task
        if task.is_child:
            self._ask(
                CreateChild(id=action_id, name=task.name, instance_id=task.ref, input=input_text)
            )
        else:
            self._ask(
                ScheduleTask(
                    id=action_id, name=task.name, input=input_text, task_execution_id=task.ref
                )
            )

    def _running_call(self, call_id: int, *, is_child: bool, ref: str) -> CallTask[object] | None:
        task = self.open.get(call_id)
        if not isinstance(task, CallTask) or task.call_id != call_id or task.is_child != is_child:
            return None
        if ref and ref != task.ref:
            return None  # of an execution that had this id before
        return task

    def _settle_call(self, task: CallTask[object], result: str | None) -> None:
        self._end_call(task)
        kind = "child workflow" if task.is_child else "activity"
        try:
            value = from_payload(result, task.output_type, what=f"result of {kind} {task.name!r}")
        except PayloadError as error:
            task.settle_error(error)
        else:
            task.settle(value)

    def _end_call(self, task: CallTask[object]) -> None:
        self.open.pop(task.call_id, None)
        task.call_id = 0
        if task.retry is not None:
            self._cancel_timer(task.retry.timer_id)
        self._cancel_timer(task.deadline_id)

    def _retry(self, task: CallTask[object], failure: FailureDetails) -> bool:
        retry = task.retry
        if retry is None or not is_retriable(retry.policy, failure):
            return False
        elapsed_ns = self.now_ns - retry.first_at_ns
        delay_ns = next_delay_ns(retry.policy, attempt=retry.attempt, elapsed_ns=elapsed_ns)
        if delay_ns is None:
            return False
        self.open.pop(task.call_id, None)
        task.call_id = 0
        kind = "child_retry" if task.is_child else "activity_retry"
        origin = TimerOrigin(kind=kind, ref=task.ref)
        retry.timer_id = self._timer(task, self.now_ns + delay_ns, origin)
        return True

    def _call_timer_fired(self, task: CallTask[object], timer_id: int) -> None:
        retry = task.retry
        if retry is not None and timer_id == retry.timer_id:
            del self.open[timer_id]
            retry.timer_id = 0
            retry.attempt += 1
            self._attempt(task, retry.input)
        elif timer_id == task.deadline_id:
            del self.open[timer_id]
            self._end_call(task)
            task.settle_error(TimeoutError(f"activity {task.name!r} brought no result in time"))

    def _enlist(self, task: EventTask[object]) -> None:
        if self._waiters is None:
            self._waiters = {}
        self._waiters.setdefault(task.name.casefold(), deque()).append(task)
        origin = TimerOrigin(kind="event", ref=task.name)
        task.timer_id = self._timer(task, task.fire_at_ns, origin)

    def _strike(self, task: EventTask[object]) -> None:
        """Take the task from the queue of its event."""
        waiters = self._waiters
        key = task.name.casefold()
        if waiters is None or key not in waiters:
            return
        queue = waiters[key]
        if task in queue:
            queue.remove(task)
        if not queue:
            del waiters[key]

    def _take_buffered(self, task: EventTask[object]) -> bool:
        buffer = self._buffer
        key = task.name.casefold()
        if buffer is None or key not in buffer:
            return False
        queue = buffer[key]
        _, fact = queue.popleft()
        if not queue:
            del buffer[key]
        _settle_event(task, fact)
        return True


class NextInput:
    """What continue-as-new was called with."""

    __slots__ = ("input", "save_events")

    def __init__(self, input_text: str | None, save_events: bool) -> None:
        self.input = input_text
        self.save_events = save_events


def _settle_event(task: EventTask[object], fact: EventRaised) -> None:
    try:
        value = from_payload(fact.input, task.event_type, what=f"event {task.name!r}")
    except PayloadError as error:
        task.settle_error(error)
    else:
        task.settle(value)


def _collect(task: DurableTask[object], found: set[int]) -> None:
    found.add(id(task))
    if isinstance(task, Group):
        for member in task.members:
            _collect(member, found)


def _release_unless(task: DurableTask[object], kept: set[int]) -> None:
    if task.settled and not isinstance(task, Group):
        return
    if isinstance(task, Group):
        for member in task.members:
            _release_unless(member, kept)
    elif id(task) not in kept:
        task.release()


def _text(failure: FailureDetails) -> str:
    return f"{failure.error_type}: {failure.message}"
