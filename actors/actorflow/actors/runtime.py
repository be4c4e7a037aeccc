"""The composition root of the actors layer: one `ActorSystem` a process."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from actorflow.actors.actor import ActorType, ActorTypes, TurnActor, WorkerType
from actorflow.actors.address import ActorId, checked_actor_id, partition_of
from actorflow.actors.announcer import news_of, tell_senders
from actorflow.actors.asking import ask
from actorflow.actors.author import Actor, authored_type, type_name
from actorflow.actors.clock import Clock, IdSource, StoreClock, SystemClock, SystemIds
from actorflow.actors.cluster import Cluster, ClusterHost, RemoteCall
from actorflow.actors.completion import COMPLETE, DeliveryKey, Sends, was_consumed
from actorflow.actors.door import PartitionState
from actorflow.actors.environment import Counters, Environment
from actorflow.actors.errors import (
    CallCycleError,
    LimitExceededError,
    StoppingError,
    UnknownActorTypeError,
    UsageError,
)
from actorflow.actors.letters import HostLetter, LinkAck, LinkBatch
from actorflow.actors.limits import Limits, limits_for
from actorflow.actors.message import Message
from actorflow.actors.outage import Outage
from actorflow.actors.owner import Owner
from actorflow.actors.partition import Partition
from actorflow.actors.reference import ActorRef
from actorflow.actors.watch import Look, Watch, no_look

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from actorflow.actors.letters import Letter
    from actorflow.actors.ports import ActorRecord, PartitionStore, Query, Summary
    from actorflow.actors.roster import ActorTimer

_log = logging.getLogger(__name__)

LEASE_TTL_MS = 10_000
"""How long an owner that falls silent keeps its partitions."""

HOUSEKEEPING_S = 5.0
"""Pause between looks for idle actors and for the next window of reminders."""

NOT_STARTED = "the actor system is not started; use `async with` or `start()`"

DRAIN_POLL_S = 0.005
"""Pause between looks whether everything has drained."""


class ActorSystem:
    """Runs actors over one store: `async with ActorSystem(store, [Counter]) as system`.

    Args:
        store: opened by `start`, closed by `stop`.
        types: subclasses of `Actor`, and `ActorType` or `WorkerType` of engines.
        partition_count: the number of partitions that the store was created with; 1 when embedded.
        cluster: set for a host among others; without it, this host owns all partitions.

    Concurrency: one event loop; nothing here is thread-safe.
    """

    def __init__(  # noqa: PLR0913 -- keyword-only settings with defaults
        self,
        store: PartitionStore,
        types: Iterable[type[Actor] | ActorType | WorkerType],
        *,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        limits: Limits | None = None,
        partition_count: int = 1,
        cluster: Cluster | None = None,
        lease_ttl_ms: int = LEASE_TTL_MS,
    ) -> None:
        self._store = store
        self._clock = clock or (StoreClock() if cluster is not None else SystemClock())
        self._ids = ids or SystemIds()
        self.limits = limits or limits_for(store)
        self._partition_count = partition_count
        self._cluster_parts = cluster
        self._lease_ttl_ms = lease_ttl_ms
        self._cluster: ClusterHost | None = None
        self._owner: Owner | None = None
        self.host_id = self._ids.uuid()
        self._actor_types, self._worker_types = _sorted_types(types)
        self._partitions: list[Partition] = []
        self._tasks: dict[asyncio.Task[None], None] = {}  # ended in order, as a seed must replay
        self._watched: dict[ActorId, list[Watch]] = {}
        self._listeners: dict[str, Callable[[str, bytes], None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = self._stopped = False
        self.counters = Counters()
        self._outage = Outage()

    # ---- life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> ActorSystem:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the store, acquire the partitions and take up what waits.

        Raises:
            StoreInUseError, StoreUnavailableError, CorruptError: as `PartitionStore.open`.
        """
        self._loop = asyncio.get_running_loop()
        await self._store.open()
        env = Environment(
            loop=self._loop,
            store=self._store,
            clock=self._clock,
            ids=self._ids,
            limits=self.limits,
            actor_types=self._actor_types,
            worker_types=self._worker_types,
            services=self,
            host=self,
            counters=self.counters,
            watched=self._watched,
            partition_count=self._partition_count,
            outage=self._outage,
        )
        try:
            self._partitions = [Partition(i, env) for i in range(self._partition_count)]
            await self._begin_to_own(env)
        except BaseException:
            await self._store.close()
            raise
        self.spawn(self._keep_house(), "housekeeping")

    async def stop(self, *, drain_s: float = 10.0) -> None:
        """Refuse new calls, finish running turns for at most `drain_s`, commit, release, close."""
        if self._stopped or self._loop is None:
            return
        self._stopped = True
        stopping = self.refuse_new()
        if self._cluster is not None:
            await self._cluster.leave()
        else:
            await self._drain(drain_s, stopping)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._outage.close()
        await self._store.close()

    async def _drain(self, drain_s: float, stopping: StoppingError) -> None:
        try:
            async with asyncio.timeout(drain_s):
                while not all(p.is_quiet() for p in self._partitions):  # noqa: ASYNC110 -- once, at the end
                    await asyncio.sleep(DRAIN_POLL_S)
        except TimeoutError:
            _log.warning("drain took too long; unfinished work runs again after the next start")
        for partition in self._partitions:
            if partition.state is not PartitionState.CLOSED:
                await self._the_owner().give_up(partition, stopping)

    def refuse_new(self) -> StoppingError:
        """First part of `stop`: take no new calls here, end all waits; what was accepted goes on,
        and so does what other hosts send."""
        stopping = StoppingError("the host is stopping; retry")
        if not self._stopping:
            self._stopping = True
            for watches in self._watched.values():
                for watch in watches:
                    watch.fail(stopping)
            for partition in self._partitions if self._cluster is None else ():
                partition.drain()
        return stopping

    async def _begin_to_own(self, env: Environment) -> None:
        self._owner, ttl_ms = Owner(self.host_id, env), self._lease_ttl_ms
        if self._cluster_parts is not None:
            self._cluster = ClusterHost(
                self.host_id, self._cluster_parts, env, self._partitions, self._owner, ttl_ms=ttl_ms
            )
            await self._cluster.start()
            return
        for partition in self._partitions:
            await self._owner.own(partition, ttl_ms=ttl_ms)

    async def _keep_house(self) -> None:
        until_window_s = self.limits.reminder_window_s / 2
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            for partition in self._partitions:
                partition.keep_house()
            until_window_s -= HOUSEKEEPING_S
            if until_window_s <= 0:
                until_window_s = self.limits.reminder_window_s / 2
                for partition in self._partitions:
                    await self._the_owner().widen_window(partition)

    def _the_owner(self) -> Owner:
        if self._owner is None:
            raise UsageError(NOT_STARTED)
        return self._owner

    # ---- calls ---------------------------------------------------------------------------------

    async def call(
        self,
        actor: ActorId,
        method: str,
        payload: bytes = b"",
        *,
        timeout_s: float | None = None,
        repeatable: bool = False,
        is_new: bool = False,
    ) -> bytes:
        """Call an actor and wait for its answer, which is given after the commit of its turn.

        Args:
            timeout_s: seconds; the default is `Limits.call_timeout_s`. The turn may still happen.
            repeatable: the actor recognises a repetition, so a call to another host may be made
                again when nobody can say what became of it.
            is_new: the caller has just made the key, at random: nothing of the actor can be stored.

        Raises:
            UnknownActorTypeError, LimitExceededError: the call cannot work.
            ActorCallError: the method raised; its effects were dropped.
            UnavailableError: nobody can say, or nothing was done; the text tells. May be retried.
        """
        partition = self._partition_for(actor, payload)
        wait_s = self.limits.call_timeout_s if timeout_s is None else timeout_s
        if self._cluster is not None:
            call = RemoteCall(actor, method, payload, repeatable=repeatable, is_new=is_new)
            return await self._cluster.call(partition, call, wait_s)
        return await ask(partition.admit, Message(actor, method, payload, is_new=is_new), wait_s)

    async def send(self, actor: ActorId, method: str, payload: bytes = b"") -> None:
        """Send a message without waiting for its turn; returns when it is durable. Raises as
        `call`."""
        partition = self._partition_for(actor, payload)
        wait_s = self.limits.call_timeout_s
        if self._cluster is not None:
            call = RemoteCall(actor, method, payload, durable=True)
            await self._cluster.call(partition, call, wait_s)
        else:
            await ask(partition.accept, Message(actor, method, payload), wait_s)

    async def complete(self, key: DeliveryKey, sends: Sends) -> bool:
        """End the delivery of a durable message to a worker type, whichever host owns it now.

        Args:
            sends: what follows from it, committed together with its consumption.

        Returns: whether this call consumed the message; False when that was done before.

        Raises:
            UnavailableError: nobody can say; the same call again does no harm.
            UnfitCompletionError: see `WorkerType.fits`.
        """
        partition, wait_s = self._home(key.target), self.limits.call_timeout_s
        if self._cluster is not None:
            call = RemoteCall(key.target, COMPLETE, repeatable=True, ends=(key, sends))
            return was_consumed(await self._cluster.call(partition, call, wait_s), key)
        message = Message(key.target, COMPLETE, ends=(key, sends))
        return was_consumed(await ask(partition.admit, message, wait_s), key)

    def listen(self, topic: str, hear: Callable[[str, bytes], None]) -> None:
        """From now on give `hear` the sender and payload of each host letter of this topic."""
        self._listeners[topic] = hear

    def tell_host(self, host: str, topic: str, payload: bytes) -> None:
        """Send another host a letter; it may get lost."""
        self.post_to_host(host, HostLetter(topic, self.host_id, payload))

    @property
    def is_clustered(self) -> bool:
        """Whether there can be other hosts."""
        return self._cluster_parts is not None

    def other_hosts(self) -> Sequence[str]:
        """Return the living hosts besides this one, as last heard; empty when it is alone."""
        return self._cluster.placement.others() if self._cluster is not None else ()

    def actor(self, kind: type[Actor] | str, key: str) -> ActorRef:
        """Return a reference by which Python values can be sent to an author's actor.

        Raises:
            InvalidActorIdError: the key cannot be used.
        """
        name = kind if isinstance(kind, str) else type_name(kind)
        return ActorRef(self, checked_actor_id(name, key))

    async def read(
        self, actors: Sequence[ActorId], *, with_log: bool = False
    ) -> list[ActorRecord | None]:
        """Read committed data in the order asked for, activating nobody.

        Raises StoreUnavailableError: ask again.
        """
        if self._partition_count == 1:
            return await self._store.load(0, actors, with_log=with_log)
        found: dict[ActorId, ActorRecord | None] = {}
        by_partition: dict[int, list[ActorId]] = {}
        for actor in actors:
            by_partition.setdefault(partition_of(actor, self._partition_count), []).append(actor)
        for index, mine in by_partition.items():
            records = await self._store.load(index, mine, with_log=with_log)
            found.update(zip(mine, records, strict=True))
        return [found[actor] for actor in actors]

    async def find(self, query: Query) -> list[ActorRecord]:
        """Search actors by their summaries. Raises StoreUnavailableError."""
        return await self._store.find(query)

    def is_here(self, actor: ActorId) -> bool:
        """Whether this host serves the actor now: a call to it goes to no other host."""
        return bool(self._partitions) and self._home(actor).state is PartitionState.OPEN

    def _home(self, actor: ActorId) -> Partition:
        return self._partitions[partition_of(actor, self._partition_count)]

    def live(self, actor: ActorId, *, settled: bool = False) -> TurnActor | None:
        """Return the live object of an actor, to look at; see `Roster.live`."""
        return self._home(actor).roster.live(actor, settled=settled)

    def parked(self, actor: ActorId) -> Sequence[tuple[str, str]]:
        """Return method and reason of the parked messages for an actor that is owned here."""
        return tuple(self._home(actor).roster.parked.get(actor, ()))

    def watch(self, actor: ActorId, phases: frozenset[str], look: Look = no_look) -> Watch:
        """Return a context manager that waits for a committed summary with one of these phases."""
        ask_owner = self._cluster.ask_for_notices if self._cluster is not None else None
        return Watch(actor, phases, self._watched, ask_owner, look)

    def _partition_for(
        self, actor: ActorId, payload: bytes, *, from_turn: bool = False
    ) -> Partition:
        if self._stopping and not (from_turn and self._cluster is not None):
            raise StoppingError("the host is stopping and takes no new calls")
        if not self._partitions:
            raise UsageError(NOT_STARTED)
        if actor.type not in self._actor_types:
            raise UnknownActorTypeError(actor.type, sorted(self._actor_types))
        checked_actor_id(*actor)  # a store that refused it would refuse the work of others with it
        if len(payload) > self.limits.payload_bytes:
            raise LimitExceededError("a payload (bytes)", self.limits.payload_bytes, len(payload))
        return self._home(actor)

    # ---- ActorServices -------------------------------------------------------------------------

    @property
    def clock(self) -> Clock:
        """The time source of this system."""
        return self._clock

    @property
    def ids(self) -> IdSource:
        """The source of random values of this system."""
        return self._ids

    async def call_from(
        self, caller: Message, target: ActorId, method: str, payload: bytes, *, timeout_s: float
    ) -> bytes:
        """See `actor.ActorServices.call_from`."""
        chain = (*caller.chain, caller.target)
        if target in chain:
            raise CallCycleError((*chain, target))
        if len(chain) > self.limits.call_depth:
            raise LimitExceededError(
                "a chain of calls (actors)", self.limits.call_depth, len(chain)
            )
        partition = self._partition_for(target, payload, from_turn=True)
        home = partition_of(caller.target, self._partition_count)
        if self._cluster is not None and home != partition.index:
            call = RemoteCall(target, method, payload, sender=caller.target, chain=chain)
            return await self._cluster.call(partition, call, timeout_s)
        message = Message(
            target,
            method,
            payload,
            sender=caller.target,
            # Inside a partition the caller's own turn commits later than the answer's, so it may
            # rest on it; from another partition it may not.
            early_reply=home == partition.index,
            chain=chain,
        )
        return await ask(partition.admit_internal, message, timeout_s)

    def set_timer(self, actor: ActorId, method: str, payload: bytes, delay_s: float) -> ActorTimer:
        """See `actor.ActorServices.set_timer`."""
        return self._home(actor).roster.set_timer(actor, method, payload, delay_s)

    # ---- Host ----------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """See `environment.Host.spawn`."""
        loop = self._loop or asyncio.get_running_loop()  # asking for it costs a system call
        task = loop.create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("task died", extra={"task": task.get_name()}, exc_info=error)

    def post(self, partition: int, letter: Letter) -> None:
        """See `environment.Host.post`."""
        receiver = self._partitions[partition]
        if self._cluster is not None and receiver.state is not PartitionState.OPEN:
            self._cluster.exchange.post(partition, letter)
        elif self._loop is not None:
            self._loop.call_soon(self._hand_over, receiver, letter)

    def _hand_over(self, partition: Partition, letter: Letter) -> None:
        if isinstance(letter, LinkBatch):
            partition.receive_link(letter)
        elif isinstance(letter, LinkAck):
            partition.receive_ack(letter)

    def post_to_host(self, host: str, letter: Letter) -> None:
        """See `environment.Host.post_to_host`."""
        if self._cluster is not None:
            self._cluster.exchange.post(host, letter)

    def heard(self, topic: str, sender: str, payload: bytes) -> None:
        """See `environment.Host.heard`."""
        if (hear := self._listeners.get(topic)) is not None:
            hear(sender, payload)

    def partition_owned(self, partition: int, cursor: str) -> None:
        """See `environment.Host.partition_owned`."""
        if self._cluster is not None:
            self._cluster.owned(partition, cursor)
        else:
            tell_senders(self._partitions, news_of(self._partitions[partition]))

    def partition_left(self, partition: int) -> None:
        """See `environment.Host.partition_left`."""
        if self._cluster is not None:
            self._cluster.left(partition)

    def partition_lost(self, partition: int, error: Exception) -> None:
        """See `environment.Host.partition_lost`."""
        self._outage.partition_lost(partition, error)
        if self._cluster is not None:
            self._cluster.left(partition)
        elif not self._stopping:
            again = self._the_owner().own_again(
                self._partitions[partition],
                ttl_ms=self._lease_ttl_ms,
                wanted=lambda: not self._stopping,
            )
            self.spawn(again, f"acquire-{partition}")

    def notice(self, actor: ActorId, summary: Summary | None) -> None:
        """See `environment.Host.notice`."""
        for watch in tuple(self._watched.get(actor, ())):  # those of other hosts leave when told
            watch.notice(summary)

    # ---- what others may know ------------------------------------------------------------------

    def problems(self) -> list[str]:
        """Return why calls are refused now, readable; empty when all is well."""
        found = ["the host is stopping"] if self._stopping else []
        if self._cluster is not None:
            found += self._cluster.problems()
        for partition in self._partitions:
            if partition.trouble:
                found.append(f"the store does not take commits: {partition.trouble}")
            elif partition.state is PartitionState.CLOSED and not (self._cluster or self._stopping):
                found.append(f"partition {partition.index} is not owned")
        return found

    def gauges(self) -> dict[str, int]:
        """Return present sizes, summed over partitions."""
        held = [p for p in self._partitions if p.state is not PartitionState.CLOSED]
        sizes = [p.gauges() for p in held or self._partitions[:1]]  # what is closed holds nothing
        return {name: sum([size[name] for size in sizes]) for name in sizes[0]} if sizes else {}


def _sorted_types(
    types: Iterable[type[Actor] | ActorType | WorkerType],
) -> tuple[ActorTypes, dict[str, WorkerType]]:
    actors = ActorTypes()
    workers: dict[str, WorkerType] = {}
    for entry in types:
        known = entry if isinstance(entry, ActorType | WorkerType) else authored_type(entry)
        if known.name in actors or known.name in workers:
            raise UsageError(f"two actor types are called {known.name!r}; rename one")
        if isinstance(known, ActorType):
            actors[known.name] = known
        else:
            workers[known.name] = known
    return actors, workers
