"""The composition root of the workflow layer, and its raw-text API.

Payloads are texts, exactly as sent. The servers call this; Python programs use `WorkflowClient`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from actorflow.actors import (
    ERASE,
    ActorId,
    ActorRecord,
    ActorSystem,
    ActorType,
    WorkerType,
)
from actorflow.actors import Limits as ActorLimits
from actorflow.actors.clock import Clock, IdSource, SystemIds
from actorflow.actors.errors import CorruptError
from actorflow.actors.runtime import LEASE_TTL_MS
from actorflow.workflow.activity import ActivityRunner
from actorflow.workflow.dispatch import WorkerWaitingRoom
from actorflow.workflow.errors import (
    InstanceNotFoundError,
    InvalidRequestError,
    NotTerminalError,
)
from actorflow.workflow.events import Status
from actorflow.workflow.instance import InstanceActor
from actorflow.workflow.limits import DEFAULT_LIMITS, Limits, check_payload, message_bytes_max
from actorflow.workflow.model import (
    EngineStats,
    History,
    Instance,
    InstanceFilter,
    InstancePage,
    PurgeResult,
    WaitReason,
)
from actorflow.workflow.naming import check_name, check_workflow_name, instance_actor, known_actor
from actorflow.workflow.records import children_in, history_of, instance_of, listed_of, query_of
from actorflow.workflow.registry import Registry
from actorflow.workflow.requests import (
    ACTIVITY,
    INSTANCE,
    PURGE,
    RAISE,
    RESUME,
    SEED,
    START,
    SUSPEND,
    TERMINATE,
    WHY,
    WORKER,
    ControlRequest,
    PurgeRequest,
    RaiseRequest,
    StartRequest,
    pack,
)
from actorflow.workflow.rerun import seed_request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actorflow.actors import ActorServices, PartitionStore
    from actorflow.actors.cluster import Cluster
    from actorflow.workflow.registry import WorkflowDefinition

ACTIVITIES_AT_ONCE = 1_000
"""Activities that run at once in this process."""

ACTIVITY_THREADS = 32
"""Threads for `def` activities."""

REREAD_S = 5.0
"""A waiting client reads the store again this often, so that a lost notice cannot hang it."""

COMMIT_GRACE_S = 1.0
"""A stop always leaves the last commits this long, however long the activities took."""

PAGE_MAX = 1_000
"""Most instances in one page of `list`."""

_decode_reasons = msgspec.json.Decoder(tuple[WaitReason, ...]).decode


class WorkflowEngine:
    """Durable workflows over one store: `async with WorkflowEngine(store, registry) as engine`.

    Errors of every operation, besides those it names: `UnavailableError` (retry; the text says
    whether anything was done), `OverloadedError` (retry later), `CorruptError` (this instance's
    data cannot be read). An operation that changes something returns after its commit.

    Concurrency: one event loop; not thread-safe.
    """

    def __init__(  # noqa: PLR0913 -- keyword-only settings with defaults
        self,
        store: PartitionStore,
        registry: Registry | None = None,
        *,
        app_id: str = "default",
        clock: Clock | None = None,
        ids: IdSource | None = None,
        limits: Limits = DEFAULT_LIMITS,
        actor_limits: ActorLimits | None = None,
        activities_at_once: int = ACTIVITIES_AT_ONCE,
        activity_threads: int = ACTIVITY_THREADS,
        partition_count: int = 1,
        cluster: Cluster | None = None,
        lease_ttl_ms: int = LEASE_TTL_MS,
    ) -> None:
        self.app_id = app_id
        self._registry = registry or Registry()
        self._ids = ids or SystemIds()
        self.limits = limits
        self.host_id = self._ids.uuid()
        self._activities = ActivityRunner(
            self._registry,
            limits,
            now_ns=self.now_ns,
            concurrent=activities_at_once,
            threads=activity_threads,
        )
        self._waiting_room = WorkerWaitingRoom(self.host_id, has_workers=self.has_workers)
        self.actors = ActorSystem(
            store,
            [
                ActorType(INSTANCE, self._activate, with_log=True),
                WorkerType(ACTIVITY, self._activities.deliver),
                WorkerType(WORKER, self._waiting_room.deliver),
            ],
            clock=clock,
            ids=self._ids,
            limits=actor_limits or ActorLimits(payload_bytes=message_bytes_max(limits)),
            partition_count=partition_count,
            cluster=cluster,
            lease_ttl_ms=lease_ttl_ms,
        )
        self._clock = self.actors.clock
        self._is_clustered = cluster is not None

    # ---- life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> WorkflowEngine:
        await self.start_up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shut_down()

    async def start_up(self) -> None:
        """Open the store and take up everything that waits. Raises as `ActorSystem.start`."""
        await self.actors.start()

    async def shut_down(self, *, drain_s: float = 10.0) -> None:
        """Refuse new calls, let running activities finish for at most `drain_s`, commit, close.

        What does not finish runs again after the next start.
        """
        deadline_s = asyncio.get_running_loop().time() + drain_s
        self.actors.refuse_new()
        self._activities.begin_no_more()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline_s):
                await self._activities.wait_idle()
        await self._activities.stop()
        left_s = deadline_s - asyncio.get_running_loop().time()
        await self.actors.stop(drain_s=max(COMMIT_GRACE_S, left_s))

    # ---- ExecutionHost -------------------------------------------------------------------------

    @property
    def has_workers(self) -> bool:
        """Whether any code is registered in this process."""
        return bool(self._registry.workflow_names() or self._registry.activity_names())

    def definition(self, name: str) -> WorkflowDefinition | None:
        """See `execution.ExecutionHost`."""
        return self._registry.workflow_named(name)

    def name_of(self, workflow: Callable[..., object]) -> str:
        """Return the registered name of a workflow function. Raises RegistrationError."""
        return self._registry.workflow_of(workflow).name

    def new_id(self) -> str:
        """See `execution.ExecutionHost`."""
        return self._ids.uuid()

    def now_ns(self) -> int:
        """See `execution.ExecutionHost`."""
        return self._clock.now_ns()

    def _activate(
        self, actor_id: ActorId, record: ActorRecord | None, _: ActorServices
    ) -> InstanceActor:
        return InstanceActor(actor_id, record, self)

    # ---- starting and reading ------------------------------------------------------------------

    async def start(  # noqa: PLR0913 -- keyword-only options of one operation
        self,
        name: str,
        *,
        instance_id: str = "",
        input: str | None = None,
        scheduled_start_ns: int | None = None,
        idempotency_key: str = "",
        unique: bool = False,
        trace_parent: str | None = None,
    ) -> str:
        """Start an instance and return its id, once the start is durable.

        Args:
            instance_id: "" for a random UUID. An id whose instance has ended is used again.
            input: raw text, usually JSON; None is absent.
            scheduled_start_ns: not before this UTC time.
            idempotency_key: the same key with the same id, name and input is answered as the first.
            unique: refuse the id also when its instance has ended.

        Raises:
            InstanceExistsError: the id is taken by an instance that has not ended.
            IdempotencyConflictError: the key came with another name or input.
            InvalidRequestError: a name or id that cannot be used.
        """
        check_workflow_name(name)
        check_payload(input, f"input of workflow {name!r}", self.limits)
        actor = instance_actor(instance_id or self._ids.uuid())
        request = StartRequest(
            name,
            input,
            scheduled_start_ns,
            None,
            idempotency_key or self._repetition_id(),
            unique,
            trace_parent,
        )
        await self.actors.call(actor, START, pack(request), repeatable=True)
        return actor.key

    async def get(self, instance_id: str) -> Instance | None:
        """Return the instance as last committed, None when there is none."""
        record = await self._record(instance_id)
        return instance_of(record) if record is not None else None

    async def history(self, instance_id: str) -> History:
        """Return the committed history of the present execution. Raises InstanceNotFoundError."""
        record = await self._record(instance_id, with_log=True)
        if record is None:
            raise InstanceNotFoundError(instance_id)
        return History(
            instance_id=instance_id,
            execution_id=instance_of(record).execution_id,
            events=tuple(history_of(record)),
        )

    async def list(
        self,
        filter: InstanceFilter | None = None,
        *,
        limit: int = 100,
        after: str = "",
    ) -> InstancePage:
        """Return instances in order of id, without input, output and failure.

        Args:
            limit: 1 to 1,000.
            after: the `next_after` of the page before.
        """
        if not 1 <= limit <= PAGE_MAX:
            raise InvalidRequestError(f"limit is 1 to {PAGE_MAX:,}, found {limit:,}")
        # One more than asked for, to see whether there is more.
        query = query_of(filter or InstanceFilter(), limit=min(limit + 1, PAGE_MAX), after=after)
        records = await self.actors.find(query)
        page = records[:limit]
        return InstancePage(
            instances=tuple(listed_of(record) for record in page),
            # A page of the largest size cannot see further: the one after it may be empty.
            next_after=page[-1].actor.key if len(records) > min(limit, PAGE_MAX - 1) else None,
        )

    async def why(self, instance_id: str) -> Sequence[WaitReason]:
        """Return what an open instance waits for; empty when it has ended. One whose data cannot be
        read waits for its repair.

        Raises:
            InstanceNotFoundError: no such instance.
        """
        try:
            return _decode_reasons(await self._call(instance_id, WHY) or b"[]")
        except CorruptError as error:
            return [WaitReason(kind="parked", detail=str(error))]

    async def _record(self, instance_id: str, *, with_log: bool = False) -> ActorRecord | None:
        try:
            actor = instance_actor(instance_id)
        except InvalidRequestError:
            return None  # no instance can have such an id
        return (await self.actors.read([actor], with_log=with_log))[0]

    # ---- waiting -------------------------------------------------------------------------------

    async def wait_for_start(self, instance_id: str, *, timeout_s: float | None) -> Instance:
        """Wait until the instance is no longer PENDING.

        Raises:
            TimeoutError: not in time. InstanceNotFoundError: no such instance, or purged meanwhile.
        """
        return await self._wait(instance_id, lambda phase: phase != Status.PENDING, timeout_s)

    async def wait_for_completion(self, instance_id: str, *, timeout_s: float | None) -> Instance:
        """Wait until the instance has ended. Raises as `wait_for_start`."""
        return await self._wait(instance_id, lambda phase: phase in _ENDED, timeout_s)

    async def _wait(
        self, instance_id: str, reached: Callable[[str], bool], timeout_s: float | None
    ) -> Instance:
        actor = known_actor(instance_id)
        async with asyncio.timeout(timeout_s):
            with self.actors.watch(actor, lambda summary: reached(summary.phase)) as watch:
                if self._is_yet_to_reach(actor, reached):
                    await watch.wait(REREAD_S)
                while True:
                    record = (await self.actors.read([actor]))[0]
                    if record is None or record.summary is None:
                        raise InstanceNotFoundError(instance_id)
                    if reached(record.summary.phase):
                        return instance_of(record)
                    await watch.wait(REREAD_S)

    def _is_yet_to_reach(self, actor: ActorId, reached: Callable[[str], bool]) -> bool:
        """Whether the instance is live here and says so: what is committed is then no further."""
        live = self.actors.live(actor)
        execution = live.execution if isinstance(live, InstanceActor) else None
        return execution is not None and not reached(execution.status())

    # ---- operations ----------------------------------------------------------------------------

    async def raise_event(
        self,
        instance_id: str,
        name: str,
        input: str | None = None,
        *,
        event_id: str = "",
    ) -> None:
        """Raise an external event; kept until the code waits for it, dropped if the instance ended.

        Args:
            event_id: the sender's own id: a repetition with the same id is dropped (the last 1,000
                of
                an execution are remembered).

        Raises:
            InstanceNotFoundError, InstanceStalledError: see their texts.
        """
        check_name("event name", name)
        check_payload(input, f"payload of event {name!r}", self.limits)
        request = RaiseRequest(name, input, event_id or self._repetition_id())
        await self._call(instance_id, RAISE, pack(request))

    async def suspend(self, instance_id: str, reason: str | None = None) -> None:
        """Pause: what arrives is kept and applied in order at resume. Idempotent."""
        await self._call(instance_id, SUSPEND, pack(ControlRequest(reason)))

    async def resume(self, instance_id: str, reason: str | None = None) -> None:
        """Go on after `suspend`. Idempotent."""
        await self._call(instance_id, RESUME, pack(ControlRequest(reason)))

    async def terminate(
        self, instance_id: str, output: str | None = None, *, recursive: bool = True
    ) -> None:
        """End the instance as TERMINATED with `output`, and its children if `recursive`. Activities
        that run go on, their results are dropped. No effect on an instance that has ended."""
        check_payload(output, "output of a termination", self.limits)
        await self._call(instance_id, TERMINATE, pack(ControlRequest(output, recursive)))

    async def purge(
        self, instance_id: str, *, recursive: bool = True, force: bool = False
    ) -> PurgeResult:
        """Delete an instance that has ended, with all descendants if `recursive`, children first.

        Not atomic across instances; a purge that failed half way can be repeated.

        Args:
            force: delete also what has not ended, or cannot be read (then without descendants).

        Raises:
            InstanceNotFoundError: no such instance.
            NotTerminalError: it, or a descendant, has not ended; the text says which.
        """
        record = await self._record(instance_id, with_log=recursive)
        if record is None:
            raise InstanceNotFoundError(instance_id)
        try:
            if not force and not instance_of(record).status.is_terminal:
                raise NotTerminalError(instance_id)
            children = children_in(history_of(record)) if recursive else []
            deleted = sum([await self._purge_child(child, force=force) for child in children])
            with contextlib.suppress(InstanceNotFoundError):  # our own first try was heard
                await self._call(instance_id, PURGE, pack(PurgeRequest(force)))
        except CorruptError:
            if not force:
                raise
            await self._call(instance_id, ERASE)
            return PurgeResult(deleted_count=1)
        return PurgeResult(deleted_count=deleted + 1)

    async def _purge_child(self, instance_id: str, *, force: bool) -> int:
        try:
            return (await self.purge(instance_id, force=force)).deleted_count
        except InstanceNotFoundError:
            return 0  # gone already
        except NotTerminalError as error:
            raise NotTerminalError(
                instance_id, f"failed to purge child workflow: {error}"
            ) from error

    async def rerun(
        self,
        source_instance_id: str,
        event_id: int,
        *,
        new_instance_id: str = "",
        input: str | None = None,
        overwrite_input: bool = False,
    ) -> str:
        """Start a new instance from a copy of another one's history before the event, which then
        happens again. See `rerun.seed_request`.

        Raises:
            InstanceNotFoundError, NotTerminalError: of the source.
            HistoryEventNotFoundError: no such event, or one that cannot be run again.
            InstanceExistsError: the new id is taken.
            InvalidRequestError: see its text.
        """
        record = await self._record(source_instance_id, with_log=True)
        if record is None:
            raise InstanceNotFoundError(source_instance_id)
        new_id = new_instance_id or self._ids.uuid()
        request = seed_request(
            instance_of(record),
            history_of(record),
            event_id,
            new_instance_id=new_id,
            execution_id=self._ids.uuid(),
            input=input,
            overwrite_input=overwrite_input,
        )
        await self.actors.call(instance_actor(new_id), SEED, pack(request))
        return new_id

    async def _call(self, instance_id: str, method: str, payload: bytes = b"") -> bytes:
        actor = known_actor(instance_id)
        return await self.actors.call(actor, method, payload, repeatable=True)

    def _repetition_id(self) -> str:
        """Return an id by which a request that is sent to another host twice is known; "" where
        that cannot happen."""
        return self._ids.uuid() if self._is_clustered else ""

    # ---- what others may know ------------------------------------------------------------------

    def connected_workers(self) -> int:
        """Return the number of workers: this process counts 1 when it has any code."""
        return int(self.has_workers)

    async def wait_for_worker(self, timeout_s: float) -> bool:
        """Wait until a worker is connected, at most `timeout_s`; return whether one is."""
        if not self.has_workers:
            # Workers that connect later come with the gRPC server; until then none can.
            await asyncio.sleep(timeout_s)  # noqa: TID251 -- a wait with a bound is all there is to do
        return self.has_workers

    def problems(self) -> Sequence[str]:
        """Return why calls are refused now, readable; empty when all is well."""
        return self.actors.problems()

    def stats(self) -> EngineStats:
        """Return plain numbers; cheap."""
        counters = self.actors.counters
        return EngineStats(
            counters={name: getattr(counters, name) for name in counters.__slots__},
            gauges=self.actors.gauges(),
            running_activities=self._activities.running_count,
            waiting_activities=self._activities.waiting_count,
            instances_without_worker=self._waiting_room.held_count,
            connected_workers=self.connected_workers(),
        )


_ENDED = frozenset(status.value for status in Status if status.is_terminal)
