"""Runs activities in this process: their messages are durable before they run, and run at least
once."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from actorflow.actors import ActorId
from actorflow.actors.errors import ActorflowError
from actorflow.actors.values import from_payload, to_payload
from actorflow.workflow.context import ActivityContext
from actorflow.workflow.events import FailureDetails, HistoryEvent, TaskCompleted, TaskFailed
from actorflow.workflow.failure import failure_from
from actorflow.workflow.requests import RESULT, pack, pack_result
from actorflow.workflow.suspects import Suspects

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actorflow.actors import Delivery
    from actorflow.actors.completion import DeliveryKey, Sends
    from actorflow.workflow.limits import Limits
    from actorflow.workflow.registry import ActivityDefinition, Registry
    from actorflow.workflow.requests import WorkItem
    from actorflow.workflow.trial import Trial

_log = logging.getLogger(__name__)

THREAD_PREFIX = "actorflow-activity"


class ActivityRunner:
    """The worker of this process for activities.

    At most `concurrent` run at once, the others wait in order; `def` activities run on at most
    `threads` threads. A result that comes when the partition has moved goes to its next owner.

    Concurrency: everything but the activities themselves runs on the event loop.
    """

    def __init__(
        self,
        registry: Registry,
        limits: Limits,
        *,
        now_ns: Callable[[], int],
        forward: Callable[[DeliveryKey, Sends], Coroutine[Any, Any, bool]],
        concurrent: int,
        threads: int,
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._now_ns = now_ns
        self._forward = forward
        self._concurrent = concurrent
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[Delivery, WorkItem, Trial | None]] = deque()
        self._suspects = Suspects(self, limits.lost_hosts_max)
        self._tasks: dict[Delivery, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._stopping = False

    @property
    def running_count(self) -> int:
        """Activities that run now."""
        return len(self._tasks)

    @property
    def waiting_count(self) -> int:
        """Activities that wait for a free place."""
        return len(self._waiting) + len(self._suspects)

    def take(self, delivery: Delivery, item: WorkItem) -> None:
        """Run an activity, now or when there is a free place."""
        if delivery.abandoned or item.trial is not None:
            self._suspects.take(delivery, item)
        else:
            self.begin(delivery, item, None)

    def begin_no_more(self) -> None:
        """Let what runs finish, and begin nothing: it runs after the next start."""
        self._closed = True
        self._suspects.close()

    async def stop(self) -> None:
        """Cancel what runs: it runs again after the next start, and so does what comes now. Threads
        finish by themselves; nobody hears of their results."""
        self._closed = self._stopping = True
        self._waiting.clear()
        await self._suspects.stop()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()  # also those that were cancelled before they began
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def wait_idle(self) -> None:
        """Wait until nothing runs."""
        while self._tasks:
            await asyncio.wait(set(self._tasks.values()))

    # ---- what suspects ask for (see `suspects.Runner`) -----------------------------------------

    def begin(self, delivery: Delivery, item: WorkItem, trial: Trial | None) -> None:
        """Run an activity, now or when there is a free place; first note the marks, if any."""
        if self._is_full():
            self._waiting.append((delivery, item, trial))
        else:
            self.start(delivery, item, trial)

    def start(self, delivery: Delivery, item: WorkItem, trial: Trial | None) -> asyncio.Task[None]:
        """Run an activity now."""
        if (loop := self._loop) is None:  # asking for it costs a system call
            loop = self._loop = asyncio.get_running_loop()
        task = self._tasks[delivery] = loop.create_task(
            self._run(delivery, item, trial), name=f"activity {item.name} of {item.instance_id}"
        )
        if trial is not None:
            self._suspects.note(task)
        return task

    def running(self) -> set[asyncio.Task[None]]:
        """Return what runs now."""
        return set(self._tasks.values())

    def go_on(self) -> None:
        """Begin what waits, as far as there are free places."""
        while self._waiting and not self._is_full():
            self.start(*self._waiting.popleft())

    def refuse(self, delivery: Delivery, item: WorkItem, failure: FailureDetails) -> None:
        """Give an activity this result without running it."""
        payload = pack_result(item.execution_id, self._failed(item, failure))
        delivery.complete([(ActorId(item.asker_type, item.instance_id), RESULT, payload)])

    def _is_full(self) -> bool:
        return self._closed or self._suspects.has_one or len(self._tasks) >= self._concurrent

    # ---- running -------------------------------------------------------------------------------

    async def _run(self, delivery: Delivery, item: WorkItem, trial: Trial | None) -> None:
        try:
            if trial is not None and not await _noted(delivery, item, trial):
                return
            event = await self._outcome(item)
            # What a stop does to an activity is not its result: it runs again.
            if not self._stopping:
                payload = pack_result(item.execution_id, event)
                await self._end(
                    delivery, (ActorId(item.asker_type, item.instance_id), RESULT, payload)
                )
        finally:
            # Here, and not in a callback of the task: that would cost another round of the loop.
            del self._tasks[delivery]
            if self._waiting and not self._is_full():
                self.start(*self._waiting.popleft())

    async def _end(self, delivery: Delivery, result: tuple[ActorId, str, bytes]) -> None:
        if not delivery.is_void:
            delivery.complete([result])
            return
        try:
            await self._forward(delivery.key, [result])
        except ActorflowError as error:
            extra = {"instance_id": result[0].key, "cause": str(error)}
            _log.warning("result lost with its partition; the activity runs again", extra=extra)

    async def _outcome(self, item: WorkItem) -> HistoryEvent:
        definition = self._registry.activity_named(item.name)
        if definition is None:
            return self._failed(item, _not_registered(item.name, self._registry))
        try:
            result = await self._call(definition, item)
            text = to_payload(result, what=f"result of activity {item.name!r}")
        except (KeyboardInterrupt, GeneratorExit):
            raise  # the host's: on the loop nobody can tell who raised them
        except BaseException as error:  # author code: it is the result
            if self._stopping and isinstance(error, asyncio.CancelledError):
                raise
            return self._failed(item, failure_from(error, skip_frames=2, limits=self._limits))
        if (
            text is not None
            and len(text) > self._limits.payload_bytes_max // 4
            and (len(text.encode()) > self._limits.payload_bytes_max)
        ):
            return self._failed(item, _too_large(item.name, self._limits.payload_bytes_max))
        return TaskCompleted(
            at_ns=self._now_ns(),
            task_id=item.task_id,
            result=text,
            task_execution_id=item.task_execution_id,
        )

    def _call(self, definition: ActivityDefinition, item: WorkItem) -> Coroutine[Any, Any, object]:
        context = ActivityContext(
            instance_id=item.instance_id,
            workflow_name=item.workflow_name,
            task_id=item.task_id,
            task_execution_id=item.task_execution_id,
            activity_name=item.name,
            attempt=item.attempt,
        )
        arguments: tuple[object, ...] = (context,)
        if definition.takes_input and not (not item.input and definition.has_default_input):
            what = f"input of activity {item.name!r}"
            arguments = (context, from_payload(item.input, definition.input_type, what=what))
        if definition.is_async:
            return definition.function(*arguments)  # type: ignore[no-any-return]  # is_async says so
        return self._in_thread(functools.partial(definition.function, *arguments))

    async def _in_thread(self, call: Callable[[], object]) -> object:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=THREAD_PREFIX)
        return await asyncio.get_running_loop().run_in_executor(self._pool, _call_in_thread, call)

    def _failed(self, item: WorkItem, failure: FailureDetails) -> TaskFailed:
        return TaskFailed(
            at_ns=self._now_ns(),
            task_id=item.task_id,
            failure=failure,
            task_execution_id=item.task_execution_id,
        )


async def _noted(delivery: Delivery, item: WorkItem, trial: Trial) -> bool:
    """Store the marks of an activity that runs now; False when somebody else has it."""
    return await delivery.amend(pack(msgspec.structs.replace(item, trial=trial)))


def _call_in_thread(call: Callable[[], object]) -> object:
    try:
        return call()
    except (StopIteration, KeyboardInterrupt, GeneratorExit) as error:
        # A future cannot hold the first; on the loop, the others would end the process.
        raise RuntimeError(f"the activity raised {type(error).__name__}") from error


def _not_registered(name: str, registry: Registry) -> FailureDetails:
    known = ", ".join(registry.activity_names()) or "none"
    return FailureDetails(
        error_type="ActivityNotRegistered",
        message=f"activity {name!r} is not registered; registered activities: {known}",
        non_retriable=True,
    )


def _too_large(name: str, limit: int) -> FailureDetails:
    return FailureDetails(
        error_type="PayloadTooLarge",
        message=f"the result of activity {name!r} is larger than {limit:,} bytes; store it "
        "elsewhere and return a reference",
        non_retriable=True,
    )
