"""The standard workload: activity, timer, child, external event, activity; with a model of its end.

Activities write into a side log that belongs to the test and survives every crash: what really
happened, against which the engine's account is held.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from actorflow.workflow import ActivityContext, Registry, WorkflowContext

if TYPE_CHECKING:
    from actorflow.workflow.model import Instance
    from tests.sim.host import World
    from tests.sim.loop import SimLoop

DEADLINE_S = 600.0
"""Virtual time after which a client gives an instance up as hung."""


class Run(NamedTuple):
    """One execution of an activity's body. `host` tells processes apart."""

    instance_id: str
    action: str
    task_execution_id: str
    host: int
    began_s: float
    ended_s: float | None


@dataclass(slots=True)
class SideLog:
    """Every body that ran, and every fault that may make one run again."""

    runs: list[Run] = field(default_factory=list)
    open_runs: dict[int, Run] = field(default_factory=dict)
    most_at_once: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """Input of one ledger workflow."""

    account: str
    amount: int
    pause_s: float


def expected_output(order: Order, event: int) -> str:
    """Return what the workflow must say in the end: the pure model."""
    opened = order.amount + 1
    child = [opened * 2, opened * 2 + 3]
    return f"{order.account}:{opened}:{sum(child)}:{event}:{sum(child) + event}"


class Ledger:
    """The workload on one world. `registry` is what its hosts run. The clients begin over
    `spread_s`, all at once by default, and give an instance up after `deadline_s`."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.deadline_s = DEADLINE_S
        self.spread_s = 0.0
        self.side_log = SideLog()
        self.world: World | None = None
        self.acknowledged: dict[str, Order] = {}
        self.events: dict[str, list[tuple[str, int]]] = {}
        self.finished: dict[str, Instance] = {}
        self.registry = self._registry()

    def _registry(self) -> Registry:
        app = Registry()

        @app.activity
        async def post(ctx: ActivityContext, amount: int) -> int:
            return await self._body(ctx, "post", amount)

        @app.activity
        async def settle(ctx: ActivityContext, amount: int) -> int:
            return await self._body(ctx, "settle", amount)

        @app.workflow
        async def entries(ctx: WorkflowContext, amount: int) -> list[int]:
            first = await ctx.call_activity(post, input=amount * 2 - 1)
            second = await ctx.call_activity(post, input=amount * 2 + 2)
            return [first, second]

        @app.workflow
        async def ledger(ctx: WorkflowContext, order: Order) -> str:
            opened = await ctx.call_activity(post, input=order.amount)
            await ctx.create_timer(order.pause_s)
            total = sum(await ctx.call_child_workflow(entries, input=opened))
            event = await ctx.wait_for_external_event("approve", type=int)
            end = await ctx.call_activity(settle, input=total + event - 1)
            return f"{order.account}:{opened}:{total}:{event}:{end}"

        return app

    async def _body(self, ctx: ActivityContext, action: str, amount: int) -> int:
        log, crashes = self.side_log, self.world.crashes if self.world is not None else 0
        run = Run(ctx.instance_id, action, ctx.task_execution_id, crashes, self._loop.time(), None)
        key = len(log.runs)
        log.runs.append(run)
        log.open_runs[key] = run
        same = [r for r in log.open_runs.values() if r.task_execution_id == ctx.task_execution_id]
        log.most_at_once = max(log.most_at_once, len(same))
        try:
            await asyncio.sleep(0.01 + 0.1 * (amount % 5))
        finally:
            del log.open_runs[key]
            log.runs[key] = run._replace(ended_s=self._loop.time())
        return amount + 1

    async def client(self, world: World, number: int) -> None:
        """Start one workflow, raise its event early or late, and wait for its end."""
        instance_id = f"ledger-{number}"
        order = Order(f"acc-{number}", number, (number % 4) * 1.5)
        await world.ask(
            lambda engine: engine.start(
                "ledger",
                instance_id=instance_id,
                input=json.dumps(asdict(order)),
                idempotency_key=f"key-{number}",
            )
        )
        self.acknowledged[instance_id] = order
        await asyncio.sleep((number % 5) * 0.7)
        event_id, value = f"event-{number}", number * 10
        await world.ask(
            lambda engine: engine.raise_event(instance_id, "Approve", str(value), event_id=event_id)
        )
        self.events.setdefault(instance_id, []).append((event_id, value))
        async with asyncio.timeout(self.deadline_s):
            self.finished[instance_id] = await world.ask(
                lambda engine: engine.wait_for_completion(instance_id, timeout_s=self.deadline_s)
            )

    async def run_clients(self, world: World, count: int) -> None:
        """Run `count` clients at once, to their ends."""
        self.world = world
        async with asyncio.TaskGroup() as clients:
            for number in range(count):
                if self.spread_s:
                    await asyncio.sleep(self.spread_s / count)
                clients.create_task(self.client(world, number), name=f"client-{number}")
