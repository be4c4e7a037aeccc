"""Engines that can be killed at any moment, and clients that outlive them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from actorflow.actors.errors import ContentionError, StoreUnavailableError, UnavailableError
from actorflow.workflow import WorkflowEngine
from actorflow.workflow.limits import Limits
from tests.sim.faulty_store import Gate
from tests.sim.loop import SimClock, SimIds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from actorflow.actors import ActorSystem
    from actorflow.actors import Limits as ActorLimits
    from actorflow.actors.ports import PartitionStore
    from actorflow.workflow import Registry
    from tests.sim.loop import SimLoop

T = TypeVar("T")

CONVICTING_NOBODY = Limits(lost_hosts_max=1_000)
"""Kills that are timed by the calls of the store hit the same work again and again, and are not to
be blamed on it."""

CLIENT_PAUSE_S = 0.2
"""Pause of a client before it tries again."""


class HostDiedError(UnavailableError):
    """What a client sees when the process at the other end is gone."""


class Host:
    """One engine on its own view of a shared store: one process, from start to kill.

    Args:
        stop_at, apply_last: see `Gate`.
    """

    def __init__(
        self,
        world: World,
        *,
        stop_at: int = 0,
        apply_last: bool = False,
    ) -> None:
        self.died = asyncio.Event()
        self.gate = Gate(world.store, stop_at=stop_at, apply_last=apply_last, died=self.died.set)
        self.gate.delay_s = world.call_s
        self.engine = WorkflowEngine(
            self.gate,
            world.registry,
            clock=world.clock,
            ids=world.ids,
            limits=world.limits,
            actor_limits=world.actor_limits,
            remote_workers=world.remote_workers,
        )

    def end(self) -> None:
        """End at once, as code does that calls `os._exit`: whatever goes on reaches nobody."""
        self.gate.shut()
        self.died.set()

    async def start(self) -> None:
        """Start the engine; returns also when the host died on the way."""
        await self._while_alive(self.engine.start_up())

    async def kill(self) -> None:
        """Drop everything at once, as `kill -9` does: nothing drains, nothing more is written."""
        self.gate.shut()
        self.died.set()
        self.engine.workers.stop()
        runner = self.engine._activities
        runner._waiting.clear()
        runner._suspects.close()
        tasks = [*runner._tasks.values()]
        if runner._suspects._task is not None:
            tasks.append(runner._suspects._task)
        await kill_actors(
            self.engine.actors, HostDiedError("the connection was reset"), tasks=tasks
        )

    async def stop(self) -> None:
        """Stop gracefully, unless the host dies on the way."""
        await self._while_alive(self.engine.shut_down())
        if self.died.is_set():
            await self.kill()

    async def _while_alive(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        death = asyncio.ensure_future(self.died.wait())
        try:
            await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            await _cancelled(task, death)


class World:
    """A store, hosts on it, and clients that reach one of them and try again.

    `host` is the newest living host, `newest` may be on its way still. `counters` sums those of the
    hosts that are gone. Each call of the store takes `call_s`.
    """

    def __init__(
        self,
        loop: SimLoop,
        store: PartitionStore,
        registry: Registry,
        *,
        seed: int,
        limits: Limits = CONVICTING_NOBODY,
        actor_limits: ActorLimits | None = None,
        remote_workers: bool = False,
    ) -> None:
        self.loop = loop
        self.store = store
        self.remote_workers = remote_workers
        self.registry = registry
        self.limits = limits
        self.actor_limits = actor_limits
        self.clock = SimClock(loop)
        self.ids = SimIds(seed)
        self.call_s = 0.0
        self.hosts: list[Host] = []
        self.newest: Host | None = None
        self.crashes = 0
        self.counters: Counter[str] = Counter()
        self.asked: set[asyncio.Future[Any]] = set()
        self._choose = random.Random(f"clients {seed}")

    @property
    def host(self) -> Host:
        """The newest living host."""
        return self.hosts[-1]

    @property
    def engine(self) -> WorkflowEngine:
        """The engine of the newest living host."""
        return self.host.engine

    @property
    def is_up(self) -> bool:
        """Whether clients reach anybody."""
        return any(not host.died.is_set() for host in self.hosts)

    async def start_host(self, *, stop_at: int = 0, apply_last: bool = False) -> Host:
        """Start one more host."""
        while True:
            host = self.newest = Host(self, stop_at=stop_at, apply_last=apply_last)
            try:
                await host.start()
            except StoreUnavailableError:
                await host.kill()  # whoever supervises the process starts it again
            except BaseException:
                await host.kill()
                raise
            else:
                break
        self.hosts.append(host)
        return host

    async def kill_host(self, host: Host | None = None) -> None:
        """Kill a host, by default the newest. Harmless when there is none."""
        if host is None and not self.hosts:
            return
        host = host or self.hosts[-1]
        self.hosts.remove(host)
        self.crashes += 1
        await host.kill()
        self._count(host)

    async def stop_hosts(self) -> None:
        """Stop all hosts gracefully."""
        while self.hosts:
            host = self.hosts.pop()
            await host.stop()
            self._count(host)

    async def ask(self, call: Callable[[WorkflowEngine], Awaitable[T]]) -> T:
        """Make a client's call, again and again until there is an answer other than "retry"."""
        while True:
            try:
                return await self._ask_once(call)
            except (UnavailableError, ContentionError):
                await asyncio.sleep(CLIENT_PAUSE_S * (0.5 + self._choose.random()))

    async def _ask_once(self, call: Callable[[WorkflowEngine], Awaitable[T]]) -> T:
        """Make a call that ends, like a connection, when the host at the other end dies."""
        hosts = [host for host in self.hosts if not host.died.is_set()]
        if not hosts:
            raise HostDiedError("connection refused")
        host = self._choose.choice(hosts)
        asked = asyncio.ensure_future(call(host.engine))
        death = asyncio.ensure_future(host.died.wait())
        self.asked.add(asked)
        try:
            await asyncio.wait({asked, death}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done() or asked.cancelled():
                raise HostDiedError("connection reset")
            return asked.result()
        finally:
            self.asked.discard(asked)
            await _cancelled(asked, death)

    def _count(self, host: Host) -> None:
        counters = host.engine.actors.counters
        self.counters.update({name: getattr(counters, name) for name in counters.__slots__})


async def kill_actors(
    system: ActorSystem, error: HostDiedError, *, tasks: Iterable[asyncio.Task[Any]] = ()
) -> None:
    """Drop all that a system has in memory, and cancel these tasks too; whoever waits for it gets
    `error`."""
    system._stopping = system._stopped = True
    for watches in list(system._watched.values()):
        for watch in watches:
            watch.fail(error)
    for partition in system._partitions:
        partition.close(error)
    await _cancelled(*system._tasks, *tasks)


async def _cancelled(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
