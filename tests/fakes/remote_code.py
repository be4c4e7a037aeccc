"""Workflow code as the official SDKs replay it: from past and new events of a turn follows what the
code asks for. Workflows are generators that yield what they wait for; `Replay` is one turn.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from actorflow.workflow.actions import (
    Action,
    Complete,
    CreateChild,
    CreateTimer,
    ScheduleTask,
)
from actorflow.workflow.events import (
    NEVER_NS,
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    EventRaised,
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    FailureDetails,
    HistoryEvent,
    Status,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
    TimerOrigin,
    TurnStarted,
)
from actorflow.workflow.requests import TurnDone

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    Code = Callable[["Ctx", Any], Generator["Wait", Any, Any]]


class CallFailedError(Exception):
    """An activity or a child failed, as workflow code sees it."""


class NonDeterminismError(AssertionError):
    """The history does not fit the code: the engine has mixed something up."""


class Wait:
    """Something that code can yield on."""

    def __init__(self) -> None:
        self.is_done = False
        self.value: Any = None
        self.failure: FailureDetails | None = None

    def end(self, value: Any = None, failure: FailureDetails | None = None) -> None:
        """It has come."""
        self.is_done, self.value, self.failure = True, value, failure


class All(Wait):
    """All of several waits; its value is the list of theirs."""

    def __init__(self, waits: Iterable[Wait]) -> None:
        super().__init__()
        self.waits = list(waits)

    def look(self) -> None:
        """See whether it has come."""
        if all(wait.is_done for wait in self.waits):
            failed = next((wait.failure for wait in self.waits if wait.failure), None)
            self.end([wait.value for wait in self.waits], failed)


class Any_(Wait):  # noqa: N801 -- `Any` is taken
    """The first of several waits; its value is that wait."""

    def __init__(self, waits: Iterable[Wait]) -> None:
        super().__init__()
        self.waits = list(waits)

    def look(self) -> None:
        """See whether it has come."""
        first = next((wait for wait in self.waits if wait.is_done), None)
        if first is not None:
            self.end(first)


class Ctx:
    """What workflow code gets."""

    def __init__(self, instance_id: str) -> None:
        self.instance_id = instance_id
        self.now_ns = 0
        self.custom_status: str | None = None
        self.patches: list[str] = []
        self.next_input: tuple[Any, bool] | None = None
        self.actions: dict[int, Action] = {}
        self.open: dict[int, Wait] = {}
        self.waits: defaultdict[str, deque[Wait]] = defaultdict(deque)
        self.buffered: defaultdict[str, deque[EventRaised]] = defaultdict(deque)
        self._last_id = 0

    def next_id(self) -> int:
        """Return the next action id."""
        self._last_id += 1
        return self._last_id

    def execution_id(self, id_: int) -> str:
        """Return a task execution id that is the same in each replay."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.instance_id}-{self.now_ns}-{id_}"))

    def call(
        self,
        name: str,
        value: Any = None,
        *,
        app_id: str = "",
        execution_id: str = "",
        propagation: str = "",
    ) -> Wait:
        """Call an activity."""
        id_ = self.next_id()
        wait = self.open[id_] = Wait()
        self.actions[id_] = ScheduleTask(
            id=id_,
            name=name,
            input=json.dumps(value),
            task_execution_id=execution_id or self.execution_id(id_),
            app_id=app_id,
            propagation=propagation,
        )
        return wait

    def child(
        self, name: str, value: Any = None, *, instance_id: str = "", app_id: str = ""
    ) -> Wait:
        """Call a child workflow."""
        id_ = self.next_id()
        wait = self.open[id_] = Wait()
        self.actions[id_] = CreateChild(
            id=id_, name=name, input=json.dumps(value), instance_id=instance_id, app_id=app_id
        )
        return wait

    def timer(self, delay_s: float, origin: TimerOrigin | None = None) -> Wait:
        """Set a timer."""
        id_ = self.next_id()
        wait = self.open[id_] = Wait()
        fire_at_ns = self.now_ns + round(delay_s * 1e9)
        self.actions[id_] = CreateTimer(
            id=id_, fire_at_ns=fire_at_ns, origin=origin or TimerOrigin()
        )
        return wait

    def event(self, name: str) -> Wait:
        """Wait for an event, without a time-out: the newest SDK records such a wait as a timer."""
        wait, key = Wait(), name.casefold()
        if self.buffered[key]:
            wait.end(json.loads(self.buffered[key].popleft().input or "null"))
            return wait
        id_ = self.next_id()
        self.actions[id_] = CreateTimer(
            id=id_, fire_at_ns=NEVER_NS, origin=TimerOrigin(kind="event", ref=name)
        )
        self.waits[key].append(wait)
        return wait

    def go_on(self, value: Any, *, keep_events: bool = True) -> None:
        """Continue as new when the code ends."""
        self.next_input = (value, keep_events)

    def is_patched(self, name: str) -> bool:
        """Say that the code has a patch."""
        if name not in self.patches:
            self.patches.append(name)
        return True


def retrying(ctx: Ctx, name: str, value: Any, *, times: int, delay_s: float) -> Any:
    """Call an activity until it succeeds; `yield from` this."""
    id_ = ctx.execution_id(10_000 + ctx._last_id)
    for left in range(times - 1, -1, -1):
        try:
            return (yield ctx.call(name, value, execution_id=id_))
        except CallFailedError:
            if not left:
                raise
        yield ctx.timer(delay_s, TimerOrigin(kind="activity_retry", ref=id_))
    return None


class Replay:
    """One turn: `run` returns what the worker answers."""

    def __init__(self, code: Code | None, instance_id: str) -> None:
        self.ctx = Ctx(instance_id)
        self._code = code
        self._run: Generator[Wait, Any, Any] | None = None
        self._at: Wait | None = None
        self._end: Complete | None = None
        self._suspended = False
        self._kept: list[HistoryEvent] = []

    def run(self, past: Iterable[HistoryEvent], new: Iterable[HistoryEvent]) -> TurnDone:
        """Replay and go on."""
        for event in (*past, *new):
            self._take(event)
        ctx = self.ctx
        actions = [action for _, action in sorted(ctx.actions.items())]
        if self._end is not None:
            if ctx.next_input is not None and ctx.next_input[1]:
                # Those too that came behind what ended the code.
                carried = [event for name in ctx.buffered.values() for event in name]
                self._end = replace(self._end, carried_events=tuple(carried))
            actions = [self._end]
        return TurnDone(
            "",
            0,
            0,
            0,
            tuple(actions),
            ctx.custom_status,
            None,
            tuple(ctx.patches),
        )

    def _take(self, event: HistoryEvent) -> None:
        if self._suspended and not isinstance(event, ExecutionResumed | ExecutionTerminated):
            self._kept.append(event)
            return
        match event:
            case TurnStarted():
                self.ctx.now_ns = event.at_ns
            case ExecutionStarted():
                if self._code is None:
                    failure = FailureDetails(error_type="NotRegistered", message=event.name)
                    self._complete(Status.FAILED, failure=failure)
                    return
                self._run = self._code(self.ctx, json.loads(event.input or "null"))
                self._advance()
            case TaskScheduled() | ChildCreated() | TimerCreated():
                self._confirm(event)
            case TaskCompleted() | ChildCompleted():
                self._answer(event.task_id, json.loads(event.result or "null"), None)
            case TaskFailed() | ChildFailed():
                self._answer(event.task_id, None, event.failure)
            case TimerFired():
                self._answer(event.timer_id, None, None)
            case _:
                self._take_control(event)

    def _take_control(self, event: HistoryEvent) -> None:
        match event:
            case EventRaised():
                waits = self.ctx.waits[event.name.casefold()]
                if waits:
                    waits.popleft().end(json.loads(event.input or "null"))
                    self._advance()
                else:
                    self.ctx.buffered[event.name.casefold()].append(event)
            case ExecutionSuspended():
                self._suspended = True
            case ExecutionResumed():
                self._suspended = False
                kept, self._kept = self._kept, []
                for old in kept:
                    self._take(old)
            case ExecutionTerminated():
                self._complete(Status.TERMINATED, result=event.output)

    def _confirm(self, event: TaskScheduled | ChildCreated | TimerCreated) -> None:
        kinds: dict[type, type[ScheduleTask | CreateChild | CreateTimer]] = {
            TaskScheduled: ScheduleTask,
            ChildCreated: CreateChild,
            TimerCreated: CreateTimer,
        }
        action = self.ctx.actions.pop(event.event_id, None)
        if not isinstance(action, kinds[type(event)]):
            raise NonDeterminismError(f"{event} does not fit {action}")
        if not isinstance(event, TimerCreated) and getattr(action, "name", "") != event.name:
            raise NonDeterminismError(f"{event} does not fit {action}")

    def _answer(self, id_: int, value: Any, failure: FailureDetails | None) -> None:
        wait = self.ctx.open.pop(id_, None)
        if wait is not None:
            wait.end(value, failure)
            self._advance()

    def _advance(self) -> None:
        run = self._run
        while run is not None and self._end is None:
            at = self._at
            if isinstance(at, All | Any_):
                at.look()
            if at is not None and not at.is_done:
                return
            try:
                if at is None:
                    self._at = next(run)
                elif at.failure is not None:
                    self._at = run.throw(CallFailedError(at.failure.message))
                else:
                    self._at = run.send(at.value)
            except StopIteration as end:
                self._finish(end.value)
            except CallFailedError as error:
                failure = FailureDetails(error_type="CallFailed", message=str(error))
                self._complete(Status.FAILED, failure=failure)

    def _finish(self, value: Any) -> None:
        ctx = self.ctx
        if ctx.next_input is None:
            self._complete(Status.COMPLETED, result=json.dumps(value))
            return
        self._complete(Status.CONTINUED_AS_NEW, result=json.dumps(ctx.next_input[0]))

    def _complete(
        self,
        status: Status,
        *,
        result: str | None = None,
        failure: FailureDetails | None = None,
    ) -> None:
        self._end = Complete(id=self.ctx.next_id(), status=status, result=result, failure=failure)
