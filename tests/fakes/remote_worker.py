"""A remote worker that replays as the official SDKs do: from past and new events of a turn it works
out what the code asks for. Workflows are generators that yield what they wait for.

`Replay` is one turn; `RemoteWorker` reads a stream, does what it is given and answers. What it does
to the answers (twice, late, never) is up to whoever makes it.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter, defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from actorflow.actors.errors import ActorflowError
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
from actorflow.workflow.workitem import ActivityItem, TurnItem, token_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable

    from actorflow.workflow import WorkflowEngine
    from actorflow.workflow.streams import WorkerStream

    Code = Callable[["Ctx", Any], Generator["Wait", Any, Any]]
    Activity = Callable[[Any], Awaitable[Any]]
    Answer = Callable[[], Awaitable[bool]]

ANSWER_PAUSE_S = 0.2
"""Pause of a worker before it sends an answer again that was not taken."""

ANSWER_TRIES_MAX = 150
"""Half a minute, as long as the newest SDK tries."""

PROCESS_PAUSE_S = 0.05
"""Pause of a worker before it connects again."""


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
        self, name: str, value: Any = None, *, app_id: str = "", execution_id: str = ""
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


@dataclass(slots=True)
class WorkLog:
    """What really ran, by execution and task id; survives workers and hosts."""

    runs: Counter[str] = field(default_factory=Counter)
    open_runs: Counter[str] = field(default_factory=Counter)
    twice_at_once: set[str] = field(default_factory=set)
    turns: int = 0
    disconnects: int = 0

    def begin(self, name: str) -> None:
        """An activity begins."""
        self.runs[name] += 1
        self.open_runs[name] += 1
        if self.open_runs[name] > 1:
            self.twice_at_once.add(name)

    def end(self, name: str) -> None:
        """It ends, or its worker does."""
        self.open_runs[name] -= 1


class RemoteWorker:
    """One process of an application: reads a stream of some host, works and answers.

    Args:
        reach: returns the engine to connect or answer to, now; None while nobody is there.
        sends_tokens: False for an SDK that does not send tokens back.
        answer: how answers are sent; it gets a function that sends one and may call it as often
            as it likes.

    What it runs goes on when the stream ends, as in the SDKs; `kill` ends all at once.
    """

    def __init__(
        self,
        reach: Callable[[], WorkflowEngine | None],
        *,
        app_id: str = "default",
        workflows: dict[str, Code] | None = None,
        activities: dict[str, Activity] | None = None,
        log: WorkLog | None = None,
        sends_tokens: bool = True,
        items_max: int = 100,
        answer: Callable[[Answer], Awaitable[None]] | None = None,
    ) -> None:
        self._reach = reach
        self.app_id = app_id
        self.workflows = workflows or {}
        self.activities = activities or {}
        self.log = log or WorkLog()
        self._sends_tokens = sends_tokens
        self._items_max = items_max
        self._answer = answer or _once
        self._tasks: set[asyncio.Task[None]] = set()
        self._reader: asyncio.Task[None] | None = None
        self.stream: WorkerStream | None = None
        self.items: list[TurnItem | ActivityItem] = []
        self.errors: list[BaseException] = []
        self.answered: list[bool] = []

    def start(self) -> None:
        """Connect, and again whenever the stream ends."""
        self._reader = asyncio.get_running_loop().create_task(self._keep_reading(), name="worker")

    async def kill(self) -> None:
        """End as `kill -9` does."""
        tasks = [*self._tasks, *([self._reader] if self._reader is not None else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reader = None
        self.disconnect()

    def disconnect(self) -> None:
        """The stream breaks; the process lives on and connects again."""
        if self.stream is not None:
            self.log.disconnects += bool(self.stream.given)
            self.stream.close()
            self.stream = None

    async def _keep_reading(self) -> None:
        while True:
            engine = self._reach()
            if engine is not None:
                with suppress(ActorflowError):  # the host stops
                    await self._read(engine)
            await asyncio.sleep(PROCESS_PAUSE_S)

    async def _read(self, engine: WorkflowEngine) -> None:
        stream = self.stream = engine.workers.connect(self.app_id, items_max=self._items_max)
        try:
            while (item := await stream.next()) is not None:
                self.items.append(item)
                self._spawn(self._do(item))
        finally:
            stream.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work, name="work")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)

    async def _do(self, item: TurnItem | ActivityItem) -> None:
        token = token_text(item.token) if self._sends_tokens else ""
        if isinstance(item, TurnItem):
            self.log.turns += 1
            done = self.turn(item)
            await self._send(
                lambda engine: engine.workers.finish_turn(
                    self.app_id, item.instance_id, token, done
                )
            )
            return
        event = await self._run_activity(item)
        request = item.request
        await self._send(
            lambda engine: engine.workers.finish_activity(
                request.instance_id, request.task_id, token, event
            )
        )

    def turn(self, item: TurnItem) -> TurnDone:
        """Return the answer to a turn."""
        events = (*item.past_events, *item.new_events)
        start = next(event for event in events if isinstance(event, ExecutionStarted))
        replay = Replay(self.workflows.get(start.name), item.instance_id)
        return replay.run(item.past_events, item.new_events)

    async def _run_activity(self, item: ActivityItem) -> Callable[[str], HistoryEvent]:
        request = item.request
        activity = self.activities[request.name]
        at_ns = 0
        name = f"{request.execution_id}/{request.task_id}"
        self.log.begin(name)
        try:
            result = await activity(json.loads(request.input or "null"))
        except CallFailedError as error:
            failure = FailureDetails(error_type="CallFailed", message=str(error))
            return lambda id_: TaskFailed(
                at_ns=at_ns, task_id=request.task_id, failure=failure, task_execution_id=id_
            )
        finally:
            self.log.end(name)
        return lambda id_: TaskCompleted(
            at_ns=at_ns,
            task_id=request.task_id,
            result=json.dumps(result),
            task_execution_id=id_,
        )

    async def _send(self, call: Callable[[WorkflowEngine], Awaitable[bool]]) -> None:
        async def send() -> bool:
            for _ in range(ANSWER_TRIES_MAX):
                engine = self._reach()
                if engine is not None:
                    try:
                        was_first = await call(engine)
                    except ActorflowError:
                        pass
                    else:
                        self.answered.append(was_first)
                        return was_first
                await asyncio.sleep(ANSWER_PAUSE_S)
            return False

        await self._answer(send)


async def _once(send: Answer) -> None:
    await send()


async def once(send: Answer) -> None:
    """Answer as a healthy worker does."""
    await send()


async def twice(send: Answer) -> None:
    """Answer, and then once more."""
    await send()
    await send()


def late(delay_s: float) -> Callable[[Answer], Awaitable[None]]:
    """Answer after a while."""

    async def answer(send: Answer) -> None:
        await asyncio.sleep(delay_s)
        await send()

    return answer


async def never(_: Answer) -> None:
    """Lose the answer."""
