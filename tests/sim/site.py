"""One host at a time, started again whenever it ends."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import ActivityContext, Registry, WorkflowContext
from actorflow.workflow.limits import DEFAULT_LIMITS
from tests.sim.host import World
from tests.sim.loop import SimClock

if TYPE_CHECKING:
    from typing import Self

    from actorflow.workflow.model import Instance
    from tests.sim.loop import SimLoop

RESTART_S = 1.0
"""Pause of whoever starts a host that ended."""


class Site:
    """A world that is looked after, and innocent workflows: `innocent` takes the seconds of its
    activities. Tests register guilty ones in `app`. Each call of the store takes `call_s`."""

    def __init__(self, loop: SimLoop, seed: int, *, call_s: float = 0.0) -> None:
        self.loop = loop
        self.app = Registry()
        self.began: list[str] = []
        self._register()
        self.memory = MemoryStore(clock=SimClock(loop))
        self.world = World(loop, self.memory, self.app, seed=seed, limits=DEFAULT_LIMITS)
        self.world.call_s = call_s
        self._supervisor: asyncio.Task[None] | None = None

    def _register(self) -> None:
        app = self.app

        @app.activity
        async def rests(ctx: ActivityContext, for_s: float) -> float:
            self.began.append(ctx.instance_id)
            await asyncio.sleep(for_s)
            return for_s

        @app.workflow
        async def innocent(ctx: WorkflowContext, steps_s: list[float]) -> float:
            return sum([await ctx.call_activity(rests, input=step_s) for step_s in steps_s])

    async def __aenter__(self) -> Self:
        await self.world.start_host()
        self._supervisor = asyncio.ensure_future(self._supervise())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._supervisor is not None
        self._supervisor.cancel()
        await asyncio.gather(self._supervisor, return_exceptions=True)
        await self.world.stop_hosts()

    async def _supervise(self) -> None:
        while True:
            await self.world.host.died.wait()
            await self.world.kill_host()
            await asyncio.sleep(RESTART_S)
            await self.world.start_host()

    async def kill(self) -> None:
        """End the host, or the next one when there is none."""
        while not self.world.hosts or self.world.host.died.is_set():  # noqa: ASYNC110 -- it starts
            await asyncio.sleep(0.001)
        self.world.host.end()

    async def start(self, name: str, argument: object, instance_id: str) -> str:
        """Start a workflow as a client that does not give up."""
        return await self.world.ask(
            lambda engine: engine.start(
                name,
                instance_id=instance_id,
                input=json.dumps(argument),
                idempotency_key=instance_id,
            )
        )

    async def end_of(self, instance_id: str, within_s: float = 600) -> Instance:
        """Wait for the end of an instance."""
        deadline_s = self.loop.time() + within_s
        while self.loop.time() < deadline_s:
            found = await self.world.ask(lambda engine: engine.get(instance_id))
            if found is not None and found.status.is_terminal:
                return found
            await asyncio.sleep(0.5)
        raise AssertionError(f"{instance_id} has not ended")
