"""Where tests of lifecycles happen: one world, workflows that do odd things, a stubborn client."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from actorflow.actors import ActorId, Message
from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import ActivityContext, Registry, WorkflowContext
from actorflow.workflow.requests import INSTANCE, RESULT, pack_result
from tests.sim.faulty_store import NO_FAULTS, Faults, FaultyStore
from tests.sim.host import World
from tests.sim.invariants import (
    check_committed,
    check_ownership,
)
from tests.sim.loop import SimClock, SimLoop

if TYPE_CHECKING:
    from actorflow.workflow.events import (
        TaskCompleted,
    )
    from actorflow.workflow.model import Instance

LONG_S = 3_600.0


class Stand:
    """A world with a faulty memory store and a client that does not give up."""

    def __init__(
        self, loop: SimLoop, app: Registry, seed: int = 1, faults: Faults = NO_FAULTS
    ) -> None:
        self.memory = MemoryStore(clock=SimClock(loop))
        self.store = FaultyStore(self.memory, seed, faults)
        self.store.on_applied = lambda: check_committed(self.memory)
        self.world = World(loop, self.store, app, seed=seed)

    async def start(self, name: str, value: object = None, *, instance_id: str) -> None:
        await self.world.ask(
            lambda engine: engine.start(
                name, input=json.dumps(value), instance_id=instance_id, idempotency_key="start"
            )
        )

    async def raise_event(self, instance_id: str, name: str, value: object, event_id: str) -> None:
        await self.world.ask(
            lambda engine: engine.raise_event(
                instance_id, name, json.dumps(value), event_id=event_id
            )
        )

    async def end_of(self, instance_id: str) -> Instance:
        async with asyncio.timeout(LONG_S):
            return await self.world.ask(
                lambda engine: engine.wait_for_completion(instance_id, timeout_s=LONG_S)
            )

    async def restart(self) -> None:
        await self.world.kill_host()
        await self.world.start_host()

    def deliver_result(self, instance_id: str, execution_id: str, event: TaskCompleted) -> None:
        """Let a result arrive, as from a worker that is late or says it twice."""
        partition = self.world.engine.actors._partitions[0]
        target = ActorId(INSTANCE, instance_id)
        partition._sending.send(
            partition._batch, Message(target, RESULT, pack_result(execution_id, event)), 0
        )
        partition._batch.turns += 1
        partition._schedule_drain()

    async def close(self) -> None:
        self.store.faults = NO_FAULTS
        await self.world.stop_hosts()
        await self.store.settle()
        check_committed(self.memory)
        check_ownership(self.store.audit)


def counting_app() -> Registry:
    """Workflows that go on as new, take events, call children and slow activities."""
    app = Registry()
    _register_collect(app)

    @app.activity
    async def slow(_: ActivityContext, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @app.workflow
    async def rounds(ctx: WorkflowContext, left: int) -> str:
        if left:
            ctx.continue_as_new(left - 1)
        return ctx.instance_id

    @app.workflow
    async def parent(ctx: WorkflowContext, left: int) -> str:
        return str(await ctx.call_child_workflow("rounds", input=left, instance_id="the-child"))

    @app.workflow
    async def leaves_a_call(ctx: WorkflowContext, seconds: float) -> str:
        if seconds:
            ctx.call_activity("slow", input=seconds)
            await ctx.create_timer(0.1)
            ctx.continue_as_new(0)
        await ctx.call_activity("slow", input=5)
        return "end"

    @app.workflow
    async def naps(ctx: WorkflowContext, seconds: float) -> float:
        return float(await ctx.call_activity("slow", input=seconds))

    return app


def _register_collect(app: Registry) -> None:
    @app.workflow
    async def collect(ctx: WorkflowContext, state: dict[str, list[int]]) -> list[int]:
        """Take events, a few to an execution, until all have come."""
        for _ in range(3):
            got = await ctx.wait_for_external_event("n", type=int)
            state["got"].append(got)
            if len(state["got"]) == state["want"][0]:
                return state["got"]
        return ctx.continue_as_new(state)
