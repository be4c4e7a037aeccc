"""A remote worker: reads a stream, does what it is given, and answers. What it does to the answers
(twice, late, never) is up to whoever makes it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from actorflow.actors.errors import ActorflowError
from actorflow.workflow.events import (
    ExecutionStarted,
    FailureDetails,
    HistoryEvent,
    TaskCompleted,
    TaskFailed,
)
from actorflow.workflow.workitem import ActivityItem, TurnItem, token_text
from tests.fakes.remote_code import CallFailedError, Replay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow.workflow import WorkflowEngine
    from actorflow.workflow.requests import TurnDone
    from actorflow.workflow.streams import WorkerStream
    from tests.fakes.remote_code import Code

    Activity = Callable[[Any], Awaitable[Any]]
    Answer = Callable[[], Awaitable[bool]]

ANSWER_PAUSE_S = 0.2
"""Pause of a worker before it sends an answer again that was not taken."""

ANSWER_TRIES_MAX = 150
"""Half a minute, as long as the newest SDK tries."""

PROCESS_PAUSE_S = 0.05
"""Pause of a worker before it connects again."""


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
        look: is shown each item.

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
        look: Callable[[TurnItem | ActivityItem], None] = lambda _: None,
    ) -> None:
        self._reach = reach
        self.app_id = app_id
        self.workflows = workflows or {}
        self.activities = activities or {}
        self.log = log or WorkLog()
        self._sends_tokens = sends_tokens
        self._items_max = items_max
        self._answer = answer or once
        self._look = look
        self._tasks: dict[asyncio.Task[None], None] = {}  # in order, as a seed must replay
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
                self._look(item)
                self.items.append(item)
                self._spawn(self._do(item))
        finally:
            stream.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work, name="work")
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
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
