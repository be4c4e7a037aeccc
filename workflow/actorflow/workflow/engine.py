"""The composition root of the workflow layer, and its raw-text API.

Payloads are texts, exactly as sent. The servers call this; Python programs use `WorkflowClient`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from msgspec.structs import replace

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
from actorflow.workflow.apps import APP_TYPE
from actorflow.workflow.dispatch import Dispatcher
from actorflow.workflow.errors import (
    ChildrenUncheckedError,
    InstanceNotFoundError,
    NotTerminalError,
)
from actorflow.workflow.family import Family, family_of
from actorflow.workflow.fitting import fits_activity, fits_wanted
from actorflow.workflow.instance import InstanceActor
from actorflow.workflow.limits import DEFAULT_LIMITS, Limits, check_payload, limits_of_actors
from actorflow.workflow.model import EngineStats, PurgeResult
from actorflow.workflow.naming import check_name, check_workflow_name, instance_actor
from actorflow.workflow.new_ids import NewIds
from actorflow.workflow.orphans import Orphans
from actorflow.workflow.overload import PENDING_BYTES_MAX, Backlog
from actorflow.workflow.permits import UNLIMITED, Concurrency, Permits
from actorflow.workflow.reading import InstanceReader
from actorflow.workflow.records import history_of, instance_of
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
    WORKER,
    ControlRequest,
    PurgeRequest,
    RaiseRequest,
    StartRequest,
    app_of,
    pack,
)
from actorflow.workflow.rerun import seed_request
from actorflow.workflow.retention import KEEP_FOREVER, RetentionPolicy
from actorflow.workflow.workers import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from actorflow.actors import ActorServices, Delivery, PartitionStore
    from actorflow.actors.cluster import Cluster
    from actorflow.actors.completion import DeliveryKey
    from actorflow.actors.errors import OverloadedError
    from actorflow.workflow.registry import WorkflowDefinition

ACTIVITIES_AT_ONCE = 1_000
"""Activities that run at once in this process."""

ACTIVITY_THREADS = 32
"""Threads for `def` activities."""

COMMIT_GRACE_S = 1.0
"""A stop always leaves the last commits this long, however long the activities took."""


class WorkflowEngine(InstanceReader):
    """Durable workflows over one store: `async with WorkflowEngine(store, registry) as engine`.

    Args:
        remote_workers: whether some can connect to this host; to the others of a cluster they
            always can. Then a name that `registry` lacks waits for one; else it fails.

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
        pending_bytes_max: int = PENDING_BYTES_MAX,
        activity_threads: int = ACTIVITY_THREADS,
        partition_count: int = 1,
        cluster: Cluster | None = None,
        lease_ttl_ms: int = LEASE_TTL_MS,
        retention: RetentionPolicy = KEEP_FOREVER,
        concurrency: Concurrency = UNLIMITED,
        remote_workers: bool = False,
    ) -> None:
        self.app_id = app_id
        self.retention = retention
        self._registry = registry or Registry()
        self._ids = ids or SystemIds()
        self.limits = limits
        self.host_id = self._ids.uuid()
        self.actors = ActorSystem(
            store,
            self._actor_types(),
            clock=clock,
            ids=self._ids,
            limits=actor_limits or limits_of_actors(store, limits),
            partition_count=partition_count,
            cluster=cluster,
            lease_ttl_ms=lease_ttl_ms,
        )
        self.now_ns: Callable[[], int] = self.actors.clock.now_ns  # see `host.ExecutionHost`
        self._activities = ActivityRunner(
            self._registry,
            limits,
            now_ns=self.now_ns,
            forward=self.actors.complete,
            concurrent=min(activities_at_once, concurrency.host_activities or activities_at_once),
            threads=activity_threads,
        )
        self._permits = Permits(self.actors, concurrency)
        self.workers = WorkerPool(
            self.actors, self._permits, concurrency, app_id=app_id, now_ns=self.now_ns
        )
        self._dispatcher = Dispatcher(
            self.host_id,
            app_id,
            self._registry,
            self._activities,
            self.workers,
            self._permits,
            is_open=remote_workers or cluster is not None,
        )
        self._backlog = Backlog(self.actors.gauges, self.now_ns, pending_bytes_max)
        self._new_ids = NewIds(self.actors, self._ids.uuid, self.now_ns)

    def _actor_types(self) -> list[ActorType | WorkerType]:
        return [
            ActorType(INSTANCE, self._activate, with_log=True, is_family=True, needs_no_code=True),
            APP_TYPE,
            WorkerType(ACTIVITY, self._deliver_activity, self._completed, fits_activity),
            WorkerType(WORKER, self._deliver_wanted, self._completed, fits_wanted),
        ]

    # ---- life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> WorkflowEngine:
        await self.start_up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shut_down()

    async def start_up(self) -> None:
        """Open the store and take up everything that waits. Raises as `ActorSystem.start`."""
        await self.actors.start()
        self.workers.start()
        Orphans(self.actors, self._dispatcher.waiting).start()
        self.workers.apps.note_soon(self.app_id)

    async def shut_down(self, *, drain_s: float = 10.0) -> None:
        """Refuse new calls, let running activities finish for at most `drain_s`, commit, close.

        What does not finish runs again after the next start.
        """
        deadline_s = asyncio.get_running_loop().time() + drain_s
        self.actors.refuse_new()
        self.workers.close_streams()
        self._activities.begin_no_more()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline_s):
                await self._activities.wait_idle()
        await self._activities.stop()
        left_s = deadline_s - asyncio.get_running_loop().time()
        await self.actors.stop(drain_s=max(COMMIT_GRACE_S, left_s))

    # ---- ExecutionHost -------------------------------------------------------------------------

    @property
    def has_others(self) -> bool:
        """See `host.ExecutionHost`."""
        return bool(self.actors.other_hosts())

    def takes(self, app_id: str, name: str, *, has_begun: bool = False) -> bool:
        """See `host.ExecutionHost`."""
        return self._dispatcher.takes_workflow(app_id, name, has_begun=has_begun)

    def definition(self, name: str) -> WorkflowDefinition | None:
        """See `host.ExecutionHost`."""
        return self._registry.workflow_named(name)

    def name_of(self, workflow: Callable[..., object]) -> str:
        """Return the registered name of a workflow function. Raises RegistrationError."""
        return self._registry.workflow_of(workflow).name

    def why_waiting(self, app_id: str, instance_id: str, task_id: int, name: str) -> str:
        """See `host.ExecutionHost`."""
        return self._dispatcher.why_waiting(app_id, instance_id, task_id, name)

    def new_id(self) -> str:
        """See `host.ExecutionHost`."""
        return self._ids.uuid()

    def parked(self, actor: ActorId) -> Sequence[tuple[str, str]]:
        """See `host.ExecutionHost`."""
        return self.actors.parked(actor)

    def overload(self) -> OverloadedError | None:
        """See `host.ExecutionHost`."""
        refusal = self._backlog.refusal()
        self.actors.counters.overloads += refusal is not None
        return refusal

    def _activate(
        self, actor_id: ActorId, record: ActorRecord | None, _: ActorServices
    ) -> InstanceActor:
        return InstanceActor(actor_id, record, self)

    # The dispatcher is built after the actor system that delivers to it.

    def _deliver_activity(self, delivery: Delivery) -> None:
        self._dispatcher.deliver_activity(delivery)

    def _deliver_wanted(self, delivery: Delivery) -> None:
        self._dispatcher.deliver_wanted(delivery)

    def _completed(self, key: DeliveryKey) -> None:
        self._permits.leave(key)
        self._dispatcher.completed(key)
        self.workers.completed(key)

    # ---- starting ------------------------------------------------------------------------------

    async def start(  # noqa: PLR0913 -- keyword-only options of one operation
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
        """Start an instance and return its id, once the start is durable.

        Args:
            instance_id: "" for a random UUID. An id whose instance has ended is used again.
            input: raw text, usually JSON; None is absent.
            scheduled_start_ns: not before this UTC time.
            idempotency_key: the same key with the same id, name and input is answered as the first.
            unique: refuse the id also when its instance has ended.
            app_id: of the workers that are to run it; "" is this engine's own.

        Raises:
            InstanceExistsError: the id is taken by an instance that has not ended, or a child of
                which has not.
            IdempotencyConflictError: the key came with another name or input.
            InvalidRequestError: a name or id that cannot be used.
        """
        check_workflow_name(name)
        check_payload(input, f"input of workflow {name!r}", self.limits)
        actor = instance_actor(instance_id or self._new_ids.instance(), app_id or self.app_id)
        request = StartRequest(
            name,
            input,
            scheduled_start_ns,
            None,
            idempotency_key or self._new_ids.request(),
            unique,
            trace_parent,
            trace_state,
            version,
            dict(tags or {}),
        )
        await self.workers.apps.note(app_id or self.app_id)
        try:
            data, is_new = pack(request), not instance_id
            await self.actors.call(actor, START, data, repeatable=True, is_new=is_new)
        except ChildrenUncheckedError:
            await self._check_children_ended(actor)
            again = pack(replace(request, children_ended=True))
            await self.actors.call(actor, START, again, repeatable=True)
        return actor.key

    # ---- operations ----------------------------------------------------------------------------

    async def raise_event(
        self,
        instance_id: str,
        name: str,
        input: str | None = None,
        *,
        event_id: str = "",
        app_id: str = "",
    ) -> None:
        """Raise an external event; kept until the code waits for it, dropped if the instance ended.

        Args:
            event_id: the sender's own id: a repetition with the same id is dropped (the last 1,000
                of an execution are remembered).

        Raises:
            InstanceNotFoundError, InstanceStalledError: see their texts.
        """
        check_name("event name", name)
        check_payload(input, f"payload of event {name!r}", self.limits)
        request = RaiseRequest(name, input, event_id or self._new_ids.request())
        await self._call(instance_id, RAISE, pack(request), app_id=app_id)

    async def suspend(
        self, instance_id: str, reason: str | None = None, *, app_id: str = ""
    ) -> None:
        """Pause: what arrives is kept and applied in order at resume. Idempotent."""
        await self._call(instance_id, SUSPEND, pack(ControlRequest(reason)), app_id=app_id)

    async def resume(
        self, instance_id: str, reason: str | None = None, *, app_id: str = ""
    ) -> None:
        """Go on after `suspend`. Idempotent."""
        await self._call(instance_id, RESUME, pack(ControlRequest(reason)), app_id=app_id)

    async def terminate(
        self,
        instance_id: str,
        output: str | None = None,
        *,
        recursive: bool = True,
        app_id: str = "",
    ) -> None:
        """End the instance as TERMINATED with `output`, and its children if `recursive`. Activities
        that run go on, their results are dropped. No effect on an instance that has ended."""
        check_payload(output, "output of a termination", self.limits)
        request = ControlRequest(output, recursive)
        await self._call(instance_id, TERMINATE, pack(request), app_id=app_id)

    async def purge(
        self,
        instance_id: str,
        *,
        recursive: bool = True,
        force: bool = False,
        app_id: str = "",
    ) -> PurgeResult:
        """Delete an instance that has ended, with all descendants if `recursive`, children first.

        Not atomic across instances; a purge that failed half way can be repeated.

        Args:
            force: delete also what has not ended, or cannot be read (then without descendants).

        Raises:
            InstanceNotFoundError: no such instance.
            NotTerminalError: it, or a descendant, has not ended; the text says which.
        """
        record = await self._record(instance_id, app_id, with_log=recursive)
        if record is None:
            raise InstanceNotFoundError(instance_id)
        return PurgeResult(
            deleted_count=await self._purge(record, recursive=recursive, force=force)
        )

    async def _purge(self, record: ActorRecord, *, recursive: bool, force: bool) -> int:
        instance_id, app_id = record.actor.key, app_of(record.actor.type)
        deleted = 1
        try:
            if not force and not instance_of(record).status.is_terminal:
                raise NotTerminalError(instance_id)
            family = family_of(record) if recursive else Family("", ())
            for child in family.children:
                deleted += await self._purge_child(child, family, force=force)
            with contextlib.suppress(InstanceNotFoundError):  # our own first try was heard
                await self._call(instance_id, PURGE, pack(PurgeRequest(force)), app_id=app_id)
        except CorruptError:
            if not force:
                raise
            await self._call(instance_id, ERASE, app_id=app_id)
        return deleted

    async def _purge_child(self, child: ActorId, family: Family, *, force: bool) -> int:
        (record,) = await self.actors.read([child], with_log=True)
        if record is None or not family.has(record):
            return 0  # gone already, or never born: another one has the id
        try:
            return await self._purge(record, recursive=True, force=force)
        except NotTerminalError as error:
            raise NotTerminalError(child.key, f"failed to purge child workflow: {error}") from error

    async def rerun(  # noqa: PLR0913 -- keyword-only options of one operation
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
        """Start a new instance from a copy of another one's history before the event, which then
        happens again. See `rerun.seed_request`.

        Raises:
            InstanceNotFoundError, NotTerminalError: of the source.
            HistoryEventNotFoundError: no such event, or one that cannot be run again.
            InstanceExistsError: the new id is taken.
            InvalidRequestError: see its text.
        """
        record = await self._record(source_instance_id, app_id, with_log=True)
        if record is None:
            raise InstanceNotFoundError(source_instance_id)
        new_id = new_instance_id or self._new_ids.instance()
        request = seed_request(
            instance_of(record),
            history_of(record),
            event_id,
            new_instance_id=new_id,
            execution_id=self._ids.uuid(),
            input=input,
            overwrite_input=overwrite_input,
            new_child_instance_id=new_child_instance_id,
        )
        actor = instance_actor(new_id, app_id or self.app_id)
        await self.workers.apps.note(app_id or self.app_id)
        await self.actors.call(actor, SEED, pack(request))
        return new_id

    # ---- what others may know ------------------------------------------------------------------

    def knows_app(self, app_id: str) -> bool:
        """Whether instances of the app can be asked for: it is this engine's own, or another host
        is of it or has a worker of it."""
        return app_id == self.app_id or self.workers.knows(app_id)

    def connected_workers(self) -> int:
        """Return the number of workers of this engine's app at this host: those connected, and one
        for the code of this process if there is any."""
        return int(self._dispatcher.has_code) + self.workers.stream_count(self.app_id)

    async def wait_for_worker(self, timeout_s: float) -> bool:
        """Wait until a worker is connected to any host, at most `timeout_s`; return whether one
        is."""
        if self._dispatcher.has_code:
            return True
        return await self.workers.wait_for_stream(self.app_id, timeout_s)

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
            instances_without_worker=self._dispatcher.held_count + self.workers.waiting_count,
            connected_workers=self.connected_workers(),
        )
