"""Who starts an instance without an id gets one of the host that was asked, unless it is busy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from actorflow.actors import cluster
from actorflow.actors.address import ActorId, partition_of
from actorflow.actors.errors import UnavailableError
from actorflow.actors.ports import CommitResult
from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import ActivityContext, Registry, WorkflowContext
from actorflow.workflow.new_ids import IN_HAND_MAX, LOOK_AGAIN_NS
from tests.sim.cluster import ClusterHost, ClusterWorld
from tests.sim.faulty_store import NO_FAULTS, FaultyStore
from tests.sim.loop import SimClock, SimLoop, simulate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

T = TypeVar("T")

HOSTS = 3
PARTITIONS = 24

app = Registry()


@app.activity
async def nap(_: ActivityContext, seconds: float) -> None:
    await asyncio.sleep(seconds)


@app.workflow
async def sleeper(ctx: WorkflowContext, seconds: float) -> None:
    await ctx.call_activity(nap, input=seconds)


@app.workflow
async def family(ctx: WorkflowContext, children: int) -> None:
    await ctx.when_all([ctx.call_child_workflow(sleeper, input=0.01) for _ in range(children)])


def play(seed: int, main: Callable[[ClusterWorld], Awaitable[T]]) -> T:
    """Run `main` in a settled cluster."""

    async def run(loop: SimLoop) -> T:
        clock = SimClock(loop)
        store = FaultyStore(MemoryStore(clock=clock), seed, NO_FAULTS)
        world = ClusterWorld(loop, store, app, seed=seed, partition_count=PARTITIONS)
        world.store_clock = clock
        for _ in range(HOSTS):
            await world.start_host()
        await world.until(world.is_balanced, poll_s=0.1)
        found = await main(world)
        await world.until(world.is_settled, poll_s=0.05)
        await world.stop_hosts()
        return found

    return simulate(seed, run)


def lose_what_is_applied(store: FaultyStore, host: ClusterHost) -> None:
    """Let the host lose the partition of its next commit before it hears that it was applied."""

    def lose() -> None:
        index = store.audit.applied[-1].partition
        if index in host.owned:
            store.on_applied = None
            partition = host.engine.actors._partitions[index]
            partition.lose(UnavailableError("the lease is lost"))

    store.on_applied = lose


@app.workflow
async def echo(_: WorkflowContext, number: int) -> int:
    return number


def partition(instance_id: str) -> int:
    return partition_of(ActorId("workflow", instance_id), PARTITIONS)


async def run_some(host: ClusterHost, count: int) -> list[str]:
    """Run workflows one after the other, started and awaited on one host."""
    ids = []
    for _ in range(count):
        ids.append(await host.engine.start("sleeper", input="0.01"))
        await host.engine.wait_for_completion(ids[-1], timeout_s=60)
    return ids


def test_the_host_that_is_asked_serves_what_it_starts() -> None:
    async def main(world: ClusterWorld) -> None:
        for host in world.hosts:
            ids = await run_some(host, 20)
            assert {partition(one) for one in ids} <= set(host.owned)
            again = await host.engine.rerun(ids[0], 1)
            assert partition(again) in host.owned
            await host.engine.wait_for_completion(again, timeout_s=60)

    play(1, main)


def test_a_start_whose_fate_is_unknown_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read of an instance that is new; its second try must look for the first. It comes
    late enough here for the host to have its partition again."""
    monkeypatch.setattr(cluster, "MOVED_PAUSE_S", 10.0)

    async def main(world: ClusterWorld) -> None:
        host = world.hosts[0]
        store = world.store
        assert isinstance(store, FaultyStore)
        await host.engine.start("echo", input="0")  # from now on the app is known
        for number in range(10):
            lose_what_is_applied(store, host)
            instance_id = await host.engine.start("echo", input=str(number))
            assert store.on_applied is None
            ended = await host.engine.wait_for_completion(instance_id, timeout_s=None)
            assert ended.output == str(number)
        assert host.engine.actors.counters.commits_abandoned == 10
        assert store.audit.results[CommitResult.BAD.value] == 0

    play(5, main)


def test_a_busy_host_lets_others_have_some() -> None:
    async def main(world: ClusterWorld) -> None:
        host = world.hosts[0]
        many = [await host.engine.start("sleeper", input="30") for _ in range(2 * IN_HAND_MAX)]
        await asyncio.sleep(2 * LOOK_AGAIN_NS / 1e9)
        more = [await host.engine.start("sleeper", input="0.01") for _ in range(60)]
        elsewhere = [one for one in more if partition(one) not in host.owned]
        assert len(elsewhere) > 20
        for one in (*many, *more):
            await host.engine.wait_for_completion(one, timeout_s=300)
        idle = await run_some(host, 20)
        assert {partition(one) for one in idle} <= set(host.owned)

    play(2, main)


def test_children_spread_wherever_their_parent_is() -> None:
    async def main(world: ClusterWorld) -> None:
        host = world.hosts[0]
        parent = await host.engine.start("family", input="60")
        assert partition(parent) in host.owned
        await host.engine.wait_for_completion(parent, timeout_s=60)
        page = await host.engine.list(limit=100)
        children = [one.instance_id for one in page.instances if one.instance_id != parent]
        assert len(children) == 60
        for other in world.hosts:
            assert sum(partition(one) in other.owned for one in children) > 5

    play(3, main)


def test_a_host_that_gives_its_partitions_away_still_starts() -> None:
    async def main(world: ClusterWorld) -> None:
        leaving, asked = world.hosts[0], world.hosts[1]
        stop = asyncio.create_task(world.stop_host(leaving), name="stop")
        ids = await run_some(asked, 50)
        await stop
        await world.until(world.is_balanced, poll_s=0.1)
        assert len(set(ids)) == 50

    play(4, main)
