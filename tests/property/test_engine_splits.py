"""How work is cut into turns, batches and lives of a process is not the author's business.

One plan of a workflow and of what happens to it is run on the real engine many times, each time
with other delays, batch sizes, evictions and restarts. The code must see the same facts in the same
order, and say the same in the end.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actorflow.actors import Limits
from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import ActivityContext, Registry, TaskFailedError, WorkflowContext
from actorflow.workflow.events import EventRaised, Status
from tests.sim.faulty_store import NO_FAULTS, Faults, FaultyStore
from tests.sim.host import World
from tests.sim.invariants import check_committed, check_quiet
from tests.sim.loop import SimClock, SimLoop, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actorflow.workflow.events import HistoryEvent


@dataclass(frozen=True)
class Plan:
    """What the workflow does, step by step, and the events that it is sent."""

    steps: tuple[str, ...]
    again: int = 0


def registry() -> Registry:
    app = Registry()

    @app.activity
    async def work(_: ActivityContext, number: int) -> int:
        await asyncio.sleep(0.01 * (number % 3))
        return number * 2

    @app.activity
    async def flaky(_: ActivityContext, number: int) -> int:
        raise ValueError(f"never {number}")

    @app.workflow
    async def child(ctx: WorkflowContext, number: int) -> int:
        return int(await ctx.call_activity("work", input=number)) + 1

    @app.workflow
    async def plan(ctx: WorkflowContext, what: Plan) -> list[object]:
        seen: list[object] = []
        for number, step in enumerate(what.steps):
            seen.append([step, await _STEPS[step](ctx, number)])
        if what.again:
            return ctx.continue_as_new(Plan(what.steps, what.again - 1))
        return seen

    return app


async def _flaky(ctx: WorkflowContext, number: int) -> object:
    try:
        return await ctx.call_activity("flaky", input=number)
    except TaskFailedError as error:
        return str(error)


async def _sleep(ctx: WorkflowContext, number: int) -> object:
    await ctx.create_timer(0.05 * (number + 1))
    return None


async def _both(ctx: WorkflowContext, number: int) -> object:
    return await ctx.when_all([ctx.call_activity("work", input=n) for n in (number, number + 1)])


async def _either(ctx: WorkflowContext, _: int) -> object:
    first = ctx.call_activity("work", input=3)
    return (await ctx.when_any([first, ctx.create_timer(5_000)])) is first


async def _show(ctx: WorkflowContext, number: int) -> object:
    ctx.set_custom_status(number)
    return ctx.uuid().version


async def _call(ctx: WorkflowContext, number: int) -> object:
    return await ctx.call_activity("work", input=number)


async def _child(ctx: WorkflowContext, number: int) -> object:
    return await ctx.call_child_workflow("child", input=number)


async def _event(ctx: WorkflowContext, _: int) -> object:
    return await ctx.wait_for_external_event("e")


_STEPS: dict[str, Callable[[WorkflowContext, int], Coroutine[Any, Any, object]]] = {
    "activity": _call,
    "flaky": _flaky,
    "timer": _sleep,
    "child": _child,
    "event": _event,
    "both": _both,
    "either": _either,
    "status": _show,
}


@dataclass(frozen=True)
class Conditions:
    """Everything that must not matter."""

    seed: int = 0
    batch_turns: int = 256
    chain_depth: int = 8
    evict: bool = False
    restarts: tuple[float, ...] = ()
    faults: Faults = NO_FAULTS


conditions = st.builds(
    Conditions,
    seed=st.integers(0, 2**16),
    batch_turns=st.sampled_from([1, 2, 3, 256]),
    chain_depth=st.sampled_from([0, 1, 8]),
    evict=st.booleans(),
    restarts=st.lists(st.floats(0.001, 0.4), max_size=4).map(tuple),
    faults=st.builds(
        Faults,
        lose_reply=st.sampled_from([0.0, 0.3]),
        delay=st.sampled_from([0.0, 0.5, 1.0]),
        delay_max_s=st.sampled_from([0.001, 0.1]),
        reads=st.sampled_from([0.0, 0.2]),
    ),
)

plans = st.builds(
    Plan,
    steps=st.lists(st.sampled_from(sorted(_STEPS)), min_size=1, max_size=6).map(tuple),
    again=st.integers(0, 2),
)


def run(plan: Plan, what: Conditions) -> tuple[str | None, list[str], str | None]:
    """Return output, the facts that the code saw, and the custom status."""

    async def main(loop: SimLoop) -> tuple[str | None, list[str], str | None]:
        memory = MemoryStore(clock=SimClock(loop))
        store = FaultyStore(memory, what.seed, what.faults)
        store.on_applied = lambda: check_committed(memory, cancels_timers=True)
        limits = Limits(batch_turns=what.batch_turns, chain_depth=what.chain_depth)
        world = World(loop, store, registry(), seed=what.seed, actor_limits=limits)
        await world.start_host()
        evictor = asyncio.ensure_future(_evict_always(world)) if what.evict else None
        restarter = asyncio.ensure_future(_restart(world, what.restarts))
        await world.ask(
            lambda engine: engine.start(
                "plan", input=json.dumps(asdict(plan)), instance_id="p", idempotency_key="k"
            )
        )
        for number in range(plan.steps.count("event") * (plan.again + 1)):
            await asyncio.sleep(0.03)
            await world.ask(
                lambda engine, n=number: engine.raise_event("p", "E", str(n), event_id=f"e{n}")  # type: ignore[misc]  # mypy sees no default
            )
        async with asyncio.timeout(1_000):
            end = await world.ask(lambda e: e.wait_for_completion("p", timeout_s=1_000))
            await restarter
        assert end.status is Status.COMPLETED, end.failure
        store.faults = NO_FAULTS
        history = await world.ask(lambda engine: engine.history("p"))
        if evictor is not None:
            evictor.cancel()
            await asyncio.gather(evictor, return_exceptions=True)
        await world.stop_hosts()
        await store.settle()
        check_quiet(memory)
        return end.output, [_fact(event) for event in history.events], end.custom_status

    return simulate(what.seed, main)


async def _evict_always(world: World) -> None:
    """Drop every actor from memory the moment that it is idle."""
    while True:
        await asyncio.sleep(0.001)
        for host in world.hosts:
            for partition in host.engine.actors._partitions:
                roster = partition.roster
                for activation in roster._activations.values():
                    activation.idle_since_s = -1e9
                partition.keep_house()


async def _restart(world: World, pauses: tuple[float, ...]) -> None:
    for pause_s in pauses:
        await asyncio.sleep(pause_s)
        await world.kill_host()
        await world.start_host()


def _fact(event: HistoryEvent) -> str:
    """Return what the code can tell of an event: not when it came."""
    text = f"{type(event).__name__} {event.event_id} {getattr(event, 'task_id', '')}"
    return text + (f" {event.input}" if isinstance(event, EventRaised) else "")


def _sequential(plan: Plan) -> bool:
    """Whether the facts follow from the plan alone. Activities that run side by side may end in any
    order, and an event may be early or late for its wait."""
    return not {"both", "event"} & set(plan.steps)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans, what=conditions)
def test_turns_batches_evictions_and_restarts_change_nothing(plan: Plan, what: Conditions) -> None:
    smooth, rough = run(plan, Conditions()), run(plan, what)
    assert rough[0] == smooth[0]
    assert rough[2] == smooth[2]
    if _sequential(plan):
        assert rough[1] == smooth[1]
