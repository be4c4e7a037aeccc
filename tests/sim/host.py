"""Engines that can be killed at any moment, and clients that outlive them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from actorflow.actors.errors import ContentionError, UnavailableError
from actorflow.workflow import WorkflowEngine
from actorflow.workflow.limits import DEFAULT_LIMITS, Limits
from tests.sim.faulty_store import Gate
from tests.sim.loop import SimClock, SimIds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from actorflow.actors import Limits as ActorLimits
    from actorflow.actors.ports import PartitionStore
    from actorflow.workflow import Registry
    from tests.sim.loop import SimLoop

T = TypeVar("T")

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
        self.engine = WorkflowEngine(
            self.gate,
            world.registry,
            clock=world.clock,
            ids=world.ids,
            limits=world.limits,
            actor_limits=world.actor_limits,
        )

    async def start(self) -> None:
        """Start the engine; returns also when the host died on the way."""
        await self._while_alive(self.engine.start_up())

    async def kill(self) -> None:
        """Drop everything at once, as `kill -9` does: nothing drains, nothing more is written."""
        self.gate.shut()
        self.died.set()
        system = self.engine.actors
        error = HostDiedError("the connection was reset")
        system._stopping = system._stopped = True
        for watches in list(system._watched.values()):
            for watch in watches:
                watch.fail(error)
        for partition in system._partitions:
            partition.close(error)
        runner = self.engine._activities
        runner._waiting.clear()
        tasks = [*system._tasks, *runner._tasks]
        await _cancelled(*tasks)

    async def stop(self) -> None:
        """Stop gracefully, unless the host dies on the way."""
        await self._while_alive(self.engine.shut_down())
        if self.died.is_set():
            await self.kill()

    async def _while_alive(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        death = asyncio.ensure_future(self.died.wait())
        await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
        failed = task.done() and not task.cancelled() and task.exception()
        await _cancelled(task, death)
        if failed:
            raise failed


class World:
    """A store, one host at a time unless a test wants more, and what is the same for all of them.

    `audit_seen` tells counters of all hosts so far, summed.
    """

    def __init__(
        self,
        loop: SimLoop,
        store: PartitionStore,
        registry: Registry,
        *,
        seed: int,
        limits: Limits = DEFAULT_LIMITS,
        actor_limits: ActorLimits | None = None,
    ) -> None:
        self.loop = loop
        self.store = store
        self.registry = registry
        self.limits = limits
        self.actor_limits = actor_limits
        self.clock = SimClock(loop)
        self.ids = SimIds(seed)
        self.host: Host | None = None
        self.crashes = 0
        self.counters: dict[str, int] = {}

    async def start_host(self, *, stop_at: int = 0, apply_last: bool = False) -> Host:
        """Start a host and make it the one that clients talk to."""
        host = Host(self, stop_at=stop_at, apply_last=apply_last)
        await host.start()
        self.host = host
        return host

    async def kill_host(self) -> None:
        """Kill the present host; clients find nobody until the next `start_host`."""
        host, self.host = self.host, None
        if host is not None:
            self.crashes += 1
            await host.kill()
            self._count(host)

    async def stop_host(self) -> None:
        """Stop the present host gracefully."""
        host, self.host = self.host, None
        if host is not None:
            await host.stop()
            self._count(host)

    @property
    def is_up(self) -> bool:
        """Whether clients reach anybody."""
        return self.host is not None and not self.host.died.is_set()

    async def ask(self, call: Callable[[WorkflowEngine], Awaitable[T]]) -> T:
        """Make a client's call, again and again until there is an answer other than "retry"."""
        while True:
            try:
                return await self._ask_once(call)
            except (UnavailableError, ContentionError):
                await asyncio.sleep(CLIENT_PAUSE_S * (0.5 + self.ids.jitter()))

    async def _ask_once(self, call: Callable[[WorkflowEngine], Awaitable[T]]) -> T:
        """Make a call that ends, like a connection, when the host at the other end dies."""
        host = self.host
        if host is None or host.died.is_set():
            raise HostDiedError("connection refused")
        asked = asyncio.ensure_future(call(host.engine))
        death = asyncio.ensure_future(host.died.wait())
        try:
            await asyncio.wait({asked, death}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise HostDiedError("connection reset")
            return asked.result()
        finally:
            await _cancelled(asked, death)

    def _count(self, host: Host) -> None:
        counters = host.engine.actors.counters
        for name in counters.__slots__:
            self.counters[name] = self.counters.get(name, 0) + getattr(counters, name)


async def _cancelled(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
