"""S09: hosts whose clocks are hours apart. Timers follow the store's clock: none fires early, none
waits for a host to be right, each fires once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from actorflow.actors.clock import StoreClock
from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import WorkflowContext  # noqa: TC001 -- read at run time
from actorflow.workflow.events import TimerCreated, TimerFired
from actorflow.workflow.registry import Registry
from tests.sim.cluster import ClusterWorld
from tests.sim.faulty_store import Faults, FaultyStore
from tests.sim.invariants import check_history, check_ownership, check_timers
from tests.sim.loop import START_NS, SimClock, SimLoop, simulate

if TYPE_CHECKING:
    from tests.sim.conftest import OverSeeds

HOUR_S = 3_600.0
PAUSE_S = 20.0
LATE_MAX_S = 5.0
"""A host that dies takes its timers with it for four seconds."""

INSTANCES = 12


def test_the_stores_clock_is_what_it_said_and_the_time_since() -> None:
    steady_ns = 5_000
    loop = SimLoop(1)
    own = SimClock(loop, skew_s=HOUR_S)
    clock = StoreClock(own, lambda: steady_ns)
    assert clock.now_ns() == START_NS + int(HOUR_S * 1e9), "until the store has said anything"
    clock.told(1_000_000)
    steady_ns += 77
    own.skew_s = -HOUR_S
    assert clock.now_ns() == 1_000_077
    clock.told(900_000)
    assert clock.now_ns() == 900_000
    loop.close()


def sleepers() -> Registry:
    app = Registry()

    @app.workflow
    async def sleeper(ctx: WorkflowContext, pause_s: float) -> None:
        await ctx.create_timer(pause_s)

    return app


class Slept:
    """Instances that sleep, started and watched on hosts whose clocks are wrong."""

    def __init__(self, loop: SimLoop, seed: int) -> None:
        self.store_clock = SimClock(loop)
        self.inner = MemoryStore(clock=self.store_clock)
        store = FaultyStore(self.inner, seed, Faults(delay=1.0, delay_max_s=0.002))
        self.world = ClusterWorld(loop, store, sleepers(), seed=seed)
        self.world.store_clock = self.store_clock
        self.audit = store.audit
        self.woke_s: dict[str, float] = {}

    async def start(self) -> None:
        for skew_s in (HOUR_S, -HOUR_S, 0.0):
            self.world.skew_s = lambda skew_s=skew_s: skew_s  # type: ignore[misc]  # bound early
            await self.world.start_host()
        await self.world.until(self.world.is_balanced, poll_s=0.1)

    async def sleep(self, number: int) -> None:
        """Start one sleeper and note for how long, by the store's clock, it has slept."""
        instance_id = f"s-{number}"
        began_ns = self.store_clock.now_ns()
        await self.world.ask(
            lambda engine: engine.start("sleeper", instance_id=instance_id, input=f"{PAUSE_S}")
        )
        await self.world.ask(
            lambda engine: engine.wait_for_completion(instance_id, timeout_s=10 * HOUR_S)
        )
        self.woke_s[instance_id] = (self.store_clock.now_ns() - began_ns) / 1e9

    async def check(self) -> Counter[str]:
        seen: Counter[str] = Counter()
        for instance_id in self.woke_s:
            history = await self.world.ask(lambda engine, i=instance_id: engine.history(i))  # type: ignore[misc]  # bound early
            check_history(history.events)
            check_timers(history.events)
            kinds = Counter(type(event) for event in history.events)
            assert kinds[TimerCreated] == kinds[TimerFired] == 1
            seen["timer"] += 1
        await self.world.stop_hosts()
        check_ownership(self.audit)
        return seen


def test_s09_timers_fire_by_the_stores_clock_whoever_sets_and_fires_them(
    over_seeds: OverSeeds,
) -> None:
    """Each host dies once, so that many timers are fired by another than the one that set them."""

    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            slept = Slept(loop, seed)
            await slept.start()
            async with asyncio.TaskGroup() as group:
                for number in range(INSTANCES):
                    group.create_task(slept.sleep(number))
                await asyncio.sleep(PAUSE_S / 4)
                set_by = [host.clock.skew_s for host in slept.world.hosts]
                for host in list(slept.world.hosts)[:2]:
                    host.clock.skew_s += 600  # it is set anew, and says so to nobody
                    await slept.world.kill_host(host)
                    await slept.world.start_host()
                    await asyncio.sleep(1)
                assert sorted(set_by) == [-HOUR_S, 0.0, HOUR_S]
            assert len(slept.woke_s) == INSTANCES
            for instance_id, woke_s in slept.woke_s.items():
                assert woke_s + 0.001 >= PAUSE_S, (instance_id, woke_s)
                assert woke_s < PAUSE_S + LATE_MAX_S, (instance_id, woke_s)
            return await slept.check()

        return simulate(seed, main)

    over_seeds(run, 10, must_see=["timer"])


def test_s09_a_store_clock_that_goes_back_makes_timers_late_and_never_early(
    over_seeds: OverSeeds,
) -> None:
    back_s = 30.0

    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            slept = Slept(loop, seed)
            await slept.start()
            began_s = loop.time()
            async with asyncio.TaskGroup() as group:
                for number in range(INSTANCES):
                    group.create_task(slept.sleep(number))
                await asyncio.sleep(PAUSE_S / 2)
                slept.store_clock.skew_s -= back_s
            took_s = loop.time() - began_s
            assert PAUSE_S + back_s - 0.001 <= took_s < PAUSE_S + back_s + LATE_MAX_S
            return await slept.check()

        return simulate(seed, main)

    over_seeds(run, 5, must_see=["timer"])
