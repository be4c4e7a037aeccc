"""Limits on what runs at once: exact on one host, and in a cluster while nobody comes or goes."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import ActivityContext, Registry, WorkflowContext, WorkflowEngine
from actorflow.workflow.permits import Concurrency
from actorflow.workflow.workitem import ActivityItem
from tests.sim.cluster import ClusterWorld
from tests.sim.faulty_store import NO_FAULTS, FaultyStore
from tests.sim.loop import SimClock, SimLoop, simulate
from tests.sim.remote import RemoteStand

SLOW, FAST = "slow", "fast"
EACH = 12


class Watched:
    """An app whose activities count how many of them run at once."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.ran: Counter[str] = Counter()
        self.registry = Registry()
        self.registry.activity(name=SLOW)(self.slow)
        self.registry.activity(name=FAST)(self.fast)
        self.registry.workflow(name="fan")(_fan)

    async def slow(self, _: ActivityContext) -> None:
        await self._run(SLOW)

    async def fast(self, _: ActivityContext) -> None:
        await self._run(FAST)

    async def _run(self, name: str) -> None:
        self.running[name] += 1
        self.most[name] = max(self.most[name], self.running[name])
        self.most["all"] = max(self.most["all"], self.running.total())
        await asyncio.sleep(1)
        self.running[name] -= 1
        self.ran[name] += 1


async def _fan(ctx: WorkflowContext) -> None:
    await ctx.when_all([ctx.call_activity(name) for name in (SLOW, FAST) for _ in range(EACH)])


@pytest.mark.parametrize(
    ("limits", "slow", "overall"),
    [
        (Concurrency(), EACH, 2 * EACH),
        (Concurrency(activities_by_name={SLOW: 2}), 2, EACH + 2),
        (Concurrency(activities=5), 5, 5),
        (Concurrency(activities=5, activities_by_name={SLOW: 1}), 1, 5),
        (Concurrency(host_activities=3), 3, 3),
    ],
)
def test_one_host_keeps_them_exactly(limits: Concurrency, slow: int, overall: int) -> None:
    watched = Watched()

    async def main(loop: SimLoop) -> None:
        clock = SimClock(loop)
        store = MemoryStore(clock=clock)
        engine = WorkflowEngine(store, watched.registry, clock=clock, concurrency=limits)
        async with engine:
            await engine.start("fan", instance_id="fan")
            await engine.wait_for_completion("fan", timeout_s=100)

    simulate(1, main)
    assert watched.most[SLOW] == slow
    assert watched.most["all"] == overall
    assert watched.ran == {SLOW: EACH, FAST: EACH}


@pytest.mark.parametrize("seed", range(4))
def test_a_cluster_shares_them(seed: int) -> None:
    watched = Watched()

    async def main(loop: SimLoop) -> None:
        store = FaultyStore(MemoryStore(clock=SimClock(loop)), seed, NO_FAULTS)
        world = ClusterWorld(loop, store, watched.registry, seed=seed)
        world.concurrency = Concurrency(activities=6, activities_by_name={SLOW: 2})
        for _ in range(3):
            await world.start_host()
        await world.until(world.is_balanced, poll_s=0.1)
        engine = world.hosts[0].engine
        for number in range(3):
            await engine.start("fan", instance_id=f"fan-{number}")
        for number in range(3):
            await engine.wait_for_completion(f"fan-{number}", timeout_s=300)
        await world.stop_hosts()

    simulate(seed, main)
    assert watched.most[SLOW] == 2
    assert watched.most["all"] == 6
    assert watched.ran == {SLOW: 3 * EACH, FAST: 3 * EACH}


def test_a_permit_of_a_dead_host_comes_free() -> None:
    watched = Watched()

    async def main(loop: SimLoop) -> None:
        store = FaultyStore(MemoryStore(clock=SimClock(loop)), 1, NO_FAULTS)
        world = ClusterWorld(loop, store, watched.registry, seed=1)
        world.concurrency = Concurrency(activities=1)
        for _ in range(3):
            await world.start_host()
        await world.until(world.is_balanced, poll_s=0.1)
        for number in range(6):
            await world.hosts[0].engine.start("fan", instance_id=f"fan-{number}")
        await world.until(lambda: watched.running.total() == 1)
        victim = next(host for host in world.hosts if host.engine._activities.running_count)
        await world.kill_host(victim)
        watched.running.clear()
        for number in range(6):
            await world.hosts[0].engine.wait_for_completion(f"fan-{number}", timeout_s=900)
        await world.stop_hosts()

    simulate(1, main)
    assert watched.ran.total() >= 6 * 2 * EACH


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("limits", "most"),
    [
        (Concurrency(), 9),
        (Concurrency(activities=5), 5),
        (Concurrency(activities=5, activities_by_name={"double": 2}), 2),
        (Concurrency(turns=1, activities=3), 3),
    ],
    ids=["none", "all", "by name", "turns too"],
)
def test_remote_workers_of_several_hosts_share_them(
    seed: int, limits: Concurrency, most: int
) -> None:
    """The workers are connected to two of three hosts: the third lends all its work."""
    running: Counter[str] = Counter()
    seen: Counter[str] = Counter()

    async def double(value: int) -> int:
        running["double"] += 1
        seen["most"] = max(seen["most"], running["double"])
        await asyncio.sleep(1)
        running["double"] -= 1
        return value * 2

    async def main(loop: SimLoop) -> None:
        stand = RemoteStand(loop, seed, partition_count=16)
        assert isinstance(stand.world, ClusterWorld)
        stand.world.concurrency = limits
        for _ in range(3):
            await stand.world.start_host()
        await stand.world.until(stand.world.is_balanced, poll_s=0.1)
        workers = [stand.worker(host=n, activities={"double": double}) for n in (0, 2)]
        await asyncio.sleep(10)
        for number in range(4):
            await stand.start("fan", 9, f"fan-{number}")
        for number in range(4):
            assert (await stand.end_of(f"fan-{number}")).output == "72"
        done = [sum(isinstance(i, ActivityItem) for i in worker.items) for worker in workers]
        assert sum(done) == 4 * 9
        assert min(done) > 0
        await stand.close()

    simulate(seed, main)
    assert seen["most"] >= most if limits == Concurrency() else seen["most"] == most
