"""A working engine without durability, replay or time: instances in a dict, moved by the test.

It keeps the promises of `EngineApi` as far as the wire can see them. The wire kit of
`tests/conformance` runs against it and against the real engine, so it cannot drift unnoticed.
"""

import asyncio
import builtins
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from actorflow.actors.address import checked_actor_id
from actorflow.workflow.errors import (
    HistoryEventNotFoundError,
    IdempotencyConflictError,
    InstanceExistsError,
    InstanceNotFoundError,
    InstanceStalledError,
    NotTerminalError,
)
from actorflow.workflow.events import (
    EventRaised,
    ExecutionStarted,
    FailureDetails,
    HistoryEvent,
    Status,
    TaskScheduled,
)
from actorflow.workflow.model import (
    History,
    Instance,
    InstanceFilter,
    InstancePage,
    PurgeResult,
    WaitReason,
)

EVERYTHING = InstanceFilter()
BASE_NS = 1_700_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class FakeStats:
    """What `stats` returns."""

    counters: dict[str, int]
    gauges: dict[str, int]
    connected_workers: int


class FakeEngine:
    """Implements `EngineApi`. `fail_next` makes the next call raise."""

    app_id = "default"  # a test may set another

    def __init__(self) -> None:
        self.instances: dict[str, Instance] = {}
        self.histories: dict[str, list[HistoryEvent]] = {}
        self.keys: dict[str, tuple[str, object]] = {}
        self.workers = 1
        self.trouble: list[str] = []
        self.fail_next: Exception | None = None
        self.calls: list[tuple[object, ...]] = []
        self.clock_ns = BASE_NS
        self._changed = asyncio.Condition()

    # What a test does to the world.

    async def move(self, instance_id: str, status: Status, **changes: object) -> None:
        """Bring an instance into a status."""
        self.clock_ns += 1_000
        values = {"status": status, "updated_at_ns": self.clock_ns, **changes}
        self.instances[instance_id] = replace(self.instances[instance_id], **values)
        async with self._changed:
            self._changed.notify_all()

    async def connect_worker(self) -> None:
        """Let a worker appear."""
        self.workers += 1
        async with self._changed:
            self._changed.notify_all()

    # EngineApi

    async def start(
        self,
        name: str,
        *,
        instance_id: str = "",
        input: str | None = None,
        scheduled_start_ns: int | None = None,
        idempotency_key: str = "",
        unique: bool = False,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        trace_parent: str | None = None,
        trace_state: str | None = None,
        app_id: str = "",
    ) -> str:
        self._enter("start", name, instance_id, trace_parent, trace_state)
        request = (name, instance_id, input, scheduled_start_ns)
        if idempotency_key in self.keys:
            known_id, known = self.keys[idempotency_key]
            if known != request:
                raise IdempotencyConflictError("the same key came with another request")
            return known_id
        instance_id = instance_id or str(uuid.uuid4())
        old = self.instances.get(self._known(instance_id))
        if old is not None and (unique or not old.status.is_terminal):
            raise InstanceExistsError(instance_id)
        if idempotency_key:
            self.keys[idempotency_key] = (instance_id, request)
        self._create(instance_id, name, input, scheduled_start_ns)
        return instance_id

    async def get(self, instance_id: str, *, app_id: str = "") -> Instance | None:
        self._enter("get", instance_id)
        return self.instances.get(self._known(instance_id))

    async def wait_for_start(
        self,
        instance_id: str,
        *,
        timeout_s: float | None,
        may_appear: bool = False,
        app_id: str = "",
    ) -> Instance:
        self._enter("wait_for_start", instance_id)
        if not may_appear:
            self._one(instance_id)
        return await self._wait(
            instance_id, lambda item: item.status is not Status.PENDING, timeout_s
        )

    async def wait_for_completion(
        self,
        instance_id: str,
        *,
        timeout_s: float | None,
        may_appear: bool = False,
        app_id: str = "",
    ) -> Instance:
        self._enter("wait_for_completion", instance_id)
        if not may_appear:
            self._one(instance_id)
        return await self._wait(instance_id, lambda item: item.status.is_terminal, timeout_s)

    async def raise_event(
        self,
        instance_id: str,
        name: str,
        input: str | None = None,
        *,
        event_id: str = "",
        app_id: str = "",
    ) -> None:
        self._enter("raise_event", instance_id, name, input, event_id)
        instance = self._one(instance_id)
        if instance.status is Status.STALLED:
            raise InstanceStalledError(instance_id)
        events = self.histories[instance_id]
        known = {event.dedup_id for event in events if isinstance(event, EventRaised)}
        if not instance.status.is_terminal and (not event_id or event_id not in known):
            events.append(EventRaised(name=name, input=input, dedup_id=event_id))

    async def suspend(
        self, instance_id: str, reason: str | None = None, *, app_id: str = ""
    ) -> None:
        self._enter("suspend", instance_id, reason)
        if self._one(instance_id).status is Status.RUNNING:
            await self.move(instance_id, Status.SUSPENDED)

    async def resume(
        self, instance_id: str, reason: str | None = None, *, app_id: str = ""
    ) -> None:
        self._enter("resume", instance_id, reason)
        if self._one(instance_id).status is Status.SUSPENDED:
            await self.move(instance_id, Status.RUNNING)

    async def terminate(
        self,
        instance_id: str,
        output: str | None = None,
        *,
        recursive: bool = True,
        app_id: str = "",
    ) -> None:
        self._enter("terminate", instance_id, output, recursive)
        if not self._one(instance_id).status.is_terminal:
            await self.move(instance_id, Status.TERMINATED, output=output)

    async def purge(
        self,
        instance_id: str,
        *,
        recursive: bool = True,
        force: bool = False,
        app_id: str = "",
    ) -> PurgeResult:
        self._enter("purge", instance_id, recursive, force)
        if not self._one(instance_id).status.is_terminal and not force:
            raise NotTerminalError(instance_id)
        del self.instances[instance_id], self.histories[instance_id]
        return PurgeResult(deleted_count=1)

    async def list(
        self,
        filter: InstanceFilter = EVERYTHING,
        *,
        limit: int = 100,
        after: str = "",
        app_id: str = "",
    ) -> InstancePage:
        self._enter("list", filter, limit, after)
        found = [
            replace(item, input=None, output=None)
            for key, item in sorted(self.instances.items())
            if key > after and _matches(filter, item)
        ]
        more = len(found) > limit
        page = tuple(found[:limit])
        return InstancePage(instances=page, next_after=page[-1].instance_id if more else None)

    async def history(self, instance_id: str, *, app_id: str = "") -> History:
        self._enter("history", instance_id)
        item = self._one(instance_id)
        return History(
            instance_id=instance_id,
            execution_id=item.execution_id,
            events=tuple(self.histories[instance_id]),
        )

    async def rerun(
        self,
        source_instance_id: str,
        event_id: int,
        *,
        new_instance_id: str = "",
        input: str | None = None,
        overwrite_input: bool = False,
        new_child_instance_id: str = "",
        app_id: str = "",
    ) -> str:
        self._enter("rerun", source_instance_id, event_id, new_instance_id, input, overwrite_input)
        source = self._one(source_instance_id)
        if not source.status.is_terminal:
            raise NotTerminalError(source_instance_id, "is not in a terminal state")
        known = {
            event.event_id
            for event in self.histories[source_instance_id]
            if isinstance(event, TaskScheduled)
        }
        if event_id not in known:
            raise HistoryEventNotFoundError(f"does not have history event with ID '{event_id}'")
        return await self.start(source.name, instance_id=new_instance_id, unique=True)

    async def why(self, instance_id: str, *, app_id: str = "") -> builtins.list[WaitReason]:
        self._enter("why", instance_id)
        if self._one(instance_id).status.is_terminal:
            return []
        return [WaitReason(kind="event", detail="approve", since_ns=BASE_NS, attempt=1)]

    def knows_app(self, app_id: str) -> bool:
        return app_id == self.app_id

    def connected_workers(self) -> int:
        return self.workers

    async def wait_for_worker(self, timeout_s: float) -> bool:
        async def appeared() -> None:
            async with self._changed:
                await self._changed.wait_for(lambda: self.workers > 0)

        try:
            await asyncio.wait_for(appeared(), timeout_s)
        except TimeoutError:
            return False
        return True

    def problems(self) -> builtins.list[str]:
        return self.trouble

    def stats(self) -> FakeStats:
        return FakeStats(
            counters={"turns": 7},
            gauges={"live_actors": len(self.instances)},
            connected_workers=self.workers,
        )

    # Inside.

    def _enter(self, *call: object) -> None:
        self.calls.append(call)
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error

    def _known(self, instance_id: str) -> str:
        return checked_actor_id("workflow", instance_id).key

    def _one(self, instance_id: str) -> Instance:
        item = self.instances.get(self._known(instance_id))
        if item is None:
            raise InstanceNotFoundError(instance_id)
        return item

    def _create(
        self, instance_id: str, name: str, input: str | None, scheduled_start_ns: int | None
    ) -> None:
        self.clock_ns += 1_000_000
        execution_id = f"execution-{self.clock_ns}"
        item = Instance(
            instance_id=instance_id,
            name=name,
            status=Status.PENDING,
            execution_id=execution_id,
            created_at_ns=self.clock_ns,
            updated_at_ns=self.clock_ns,
            input=input,
            scheduled_start_ns=scheduled_start_ns,
            history_length=2,
        )
        self.instances[instance_id] = item
        self.histories[instance_id] = [
            ExecutionStarted(
                name=name,
                instance_id=instance_id,
                execution_id=execution_id,
                input=input,
                at_ns=self.clock_ns,
            ),
            TaskScheduled(name="notify", input='"hello"', event_id=0, at_ns=self.clock_ns),
        ]

    async def _wait(
        self, instance_id: str, done: Callable[[Instance], bool], timeout_s: float | None
    ) -> Instance:
        async def reached() -> None:
            async with self._changed:
                await self._changed.wait_for(
                    lambda: instance_id in self.instances and done(self.instances[instance_id])
                )

        await asyncio.wait_for(reached(), timeout_s)
        return self._one(instance_id)


def failure(
    message: str = "no stock", stack: str = "", error_type: str = "StockError"
) -> FailureDetails:
    """Return failure details as an activity would leave them."""
    return FailureDetails(error_type=error_type, message=message, stack=stack)


def _matches(filter: InstanceFilter, item: Instance) -> bool:
    return (
        (not filter.statuses or item.status in filter.statuses)
        and (not filter.name or item.name == filter.name)
        and item.instance_id.startswith(filter.id_prefix)
        and (filter.created_from_ns is None or item.created_at_ns >= filter.created_from_ns)
        and (filter.created_to_ns is None or item.created_at_ns < filter.created_to_ns)
    )
