"""The ledger on three hosts and eight partitions: S01, S08, S09, S10 and S11.

Replay one run: `pytest tests/sim -k NAME --seed SEED`; more runs: `--seeds FACTOR`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from actorflow.actors.errors import ContentionError, UnavailableError
from actorflow.actors.placement import KEEP_S
from actorflow.workflow import Registry, WorkflowContext
from actorflow.workflow.errors import InstanceNotFoundError
from actorflow.workflow.events import Status
from tests.sim.cluster import GENTLE_POST, ROUGH_POST, ClusterScene
from tests.sim.faulty_store import NO_FAULTS, Faults
from tests.sim.invariants import check_ownership, check_quiet, stored_instances
from tests.sim.loop import SimLoop, simulate

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from tests.fakes.fake_cluster import PostFaults
    from tests.sim.cluster import ClusterWorld, Trouble
    from tests.sim.conftest import OverSeeds

ROUGH_STORE = Faults(
    refuse=0.03, lose_request=0.03, lose_reply=0.05, late=0.03, delay=0.5, delay_max_s=0.02
)


STARTS_MAX = 3
"""How often a partition may move while the first hosts find their shares."""


def play(
    seed: int,
    trouble: Trouble | None,
    *,
    clients: int = 10,
    hosts: int = 3,
    faults: Faults = NO_FAULTS,
    post: PostFaults = GENTLE_POST,
    check_each: int = 5,
    skews_s: Iterable[float] = (),
) -> Counter[str]:
    """Run the ledger in a cluster with trouble; check everything."""

    async def main(loop: SimLoop) -> Counter[str]:
        scene = ClusterScene(loop, seed, faults=faults, post=post, check_each=check_each)
        skews = iter(skews_s)
        scene.world.skew_s = lambda: next(skews, 0.0)
        await scene.start(hosts)
        await scene.play(clients, trouble)
        scene.check()
        return scene.seen()

    return simulate(seed, main)


async def crashes(world: ClusterWorld, choose: random.Random) -> None:
    """Kill a host, or all of them, and start others."""
    for _ in range(3):
        await asyncio.sleep(choose.random() * 3)
        for host in list(world.hosts) if choose.random() < 0.1 else world.hosts[:1]:
            await world.kill_host(host)
        await asyncio.sleep(choose.choice((0, 1, 8)))
        await world.start_host()


async def pauses(world: ClusterWorld, choose: random.Random) -> None:
    """Freeze a host for up to three leases, again and again."""
    for _ in range(6):
        await asyncio.sleep(choose.random())
        if world.hosts:
            host = choose.choice(world.hosts)
            host.freeze()
            await asyncio.sleep(choose.choice((0.5, 4, 11, 30)))
            host.thaw()


async def crashes_and_pauses(world: ClusterWorld, choose: random.Random) -> None:
    """Both at once."""
    async with asyncio.TaskGroup() as group:
        group.create_task(crashes(world, choose))
        group.create_task(pauses(world, choose))


def test_s01_crashes_pauses_and_a_rough_post(over_seeds: OverSeeds) -> None:
    def run(seed: int) -> Counter[str]:
        return play(seed, crashes_and_pauses, faults=ROUGH_STORE, post=ROUGH_POST)

    over_seeds(
        run,
        20,
        must_see=[
            "crash",
            "letters lost",
            "link_duplicates",
            "link_rewinds",
            "link_resends",
            "commits_fenced",
            "commits_already",
            "commits_abandoned",
        ],
    )


def test_s01_fifty_workflows(over_seeds: OverSeeds) -> None:
    def run(seed: int) -> Counter[str]:
        return play(seed, crashes_and_pauses, clients=50, post=ROUGH_POST, check_each=40)

    over_seeds(run, 3, must_see=["crash", "commits_fenced"])


def test_s08_hosts_that_pause(over_seeds: OverSeeds) -> None:
    def run(seed: int) -> Counter[str]:
        return play(seed, pauses, faults=Faults(delay=0.5, lose_reply=0.1, late=0.1))

    over_seeds(run, 10, must_see=["fenced", "commits_fenced"])


def test_s08_the_loop_of_all_hosts_stalls(over_seeds: OverSeeds) -> None:
    """All hosts come back at once, each with a lease that has ended."""

    async def stall(world: ClusterWorld, choose: random.Random) -> None:
        for _ in range(4):
            await asyncio.sleep(choose.random())
            world.loop.stall(choose.choice((1, 4, 11, 50)))

    over_seeds(lambda seed: play(seed, stall), 10)


def test_s09_clocks_that_lie(over_seeds: OverSeeds) -> None:
    """Hosts an hour wrong, clocks that jump, a store whose clock goes back: neither who owns what
    nor what comes out depends on them; timers wait as long as the store's clock went back."""

    async def jumps(world: ClusterWorld, choose: random.Random) -> None:
        for _ in range(5):
            await asyncio.sleep(choose.random())
            choose.choice(world.hosts).clock.skew_s += choose.choice((-30, 3, 600))
            world.store_clock.skew_s -= choose.choice((0, 0, 30))
            if choose.random() < 0.3:
                await world.kill_host(choose.choice(world.hosts))
                await world.start_host()

    def run(seed: int) -> Counter[str]:
        skews_s = itertools.cycle((3_600, 0, -3_600))
        return play(seed, jumps, clients=8, check_each=1, skews_s=skews_s)

    over_seeds(run, 10, must_see=["crash"])


def test_s10_hosts_come_and_go_every_two_seconds(over_seeds: OverSeeds) -> None:
    def run(seed: int) -> Counter[str]:
        left_with: Counter[int] = Counter()

        async def come_and_go(world: ClusterWorld, choose: random.Random) -> None:
            while True:
                await asyncio.sleep(2)
                if len(world.hosts) > 1 and choose.random() < 0.5:
                    leaving = choose.choice(world.hosts)
                    left_with.update(leaving.owned)
                    await world.stop_host(leaving)
                elif len(world.hosts) < 6:
                    await world.start_host()

        async def main(loop: SimLoop) -> Counter[str]:
            scene = ClusterScene(loop, seed, check_each=5)
            await scene.start(3)
            began_s = loop.time()
            scene.ledger.spread_s = 30.0
            await scene.play(20, come_and_go)
            scene.check()
            # Who stops gives its partitions up, each to one heir; else each is kept for a while.
            by_time = (loop.time() - began_s) // KEEP_S + 1
            for index, epochs in scene.epochs().items():
                assert len(epochs) <= STARTS_MAX + left_with[index] + by_time, (index, epochs)
            return scene.seen()

        return simulate(seed, main)

    over_seeds(run, 10, must_see=["link_rewinds"])


def test_s12_children_elsewhere_complete_across_continue_as_new(over_seeds: OverSeeds) -> None:
    """Parent and child live in different partitions, and hosts die meanwhile."""
    app = Registry()

    @app.workflow
    async def rounds(ctx: WorkflowContext, left: int) -> str:
        if left:
            await ctx.create_timer(0.2)
            ctx.continue_as_new(left - 1)
        return ctx.instance_id

    @app.workflow
    async def parent(ctx: WorkflowContext, children: int) -> int:
        calls = [ctx.call_child_workflow(rounds, input=20) for _ in range(children)]
        return len(set(await ctx.when_all(calls)))

    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            scene = ClusterScene(loop, seed, post=ROUGH_POST, check_each=5)
            world = scene.world
            world.registry = app
            await scene.start(3)
            await world.ask(lambda engine: engine.start("parent", instance_id="p", input="10"))
            meddler = asyncio.ensure_future(crashes(world, scene.random))
            ended = await world.ask(lambda e: e.wait_for_completion("p", timeout_s=600))
            assert ended.output == "10"
            await meddler
            await scene.heal()
            check_ownership(scene.store.audit)
            check_quiet(scene.inner)
            return scene.seen()

        return simulate(seed, main)

    over_seeds(run, 8, must_see=["crash", "letters lost"])


class PartitionPast:
    """Keeps the last commits of each partition, and takes some of them back."""

    def __init__(self, scene: ClusterScene) -> None:
        self._scene = scene
        self._past: dict[int, list[object]] = {}
        check = scene.store.on_applied
        self._check = check if check is not None else lambda: None
        scene.store.on_applied = self._remember

    def _remember(self) -> None:
        index = self._scene.store.audit.applied[-1].partition
        past = self._past.setdefault(index, [])
        past.append(self._scene.inner._partitions[index].copy())
        del past[:-4]

    def lose(self, index: int, commits: int) -> None:
        """One partition forgets its newest commits, ownership included."""
        past = self._past.get(index, [])
        if len(past) > 1:
            del past[max(1, len(past) - commits) :]
            self._scene.inner._partitions[index] = past[-1].copy()  # type: ignore[attr-defined]  # a partition
            self._scene.store.audit.rolled_back += 1


def test_s05_partitions_lose_their_newest_commits(over_seeds: OverSeeds) -> None:
    """What was lost is done again or missed by its client, who asks again; nobody hangs."""

    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            scene = ClusterScene(loop, seed)
            past = PartitionPast(scene)
            await scene.start(3)

            async def client(number: int) -> None:
                for _ in range(5):  # its start, or its event, may be among what was lost
                    with suppress(InstanceNotFoundError, TimeoutError):
                        async with asyncio.timeout(60):
                            await scene.ledger.client(scene.world, number)
                            return
                raise AssertionError(f"ledger-{number} hangs")

            async def forget() -> None:
                for _ in range(8):
                    await asyncio.sleep(scene.random.random())
                    past.lose(scene.random.randrange(8), scene.random.randrange(1, 4))

            async with asyncio.TaskGroup() as group:
                group.create_task(forget())
                for number in range(8):
                    group.create_task(client(number))
            await asyncio.sleep(60)
            for number in range(8):  # an event may have been lost since
                await scene.ledger.client(scene.world, number)
            stored = list(stored_instances(scene.inner))
            assert [s.instance_id for s in stored if s.state.terminal_status is None] == []
            await scene.heal()
            return scene.seen()

        return simulate(seed, main)

    over_seeds(run, 12, must_see=["link_rewinds", "link_alarms", "seq"])


@pytest.mark.parametrize("recursive", [True, False], ids=["tree", "root"])
def test_s11_terminated_trees_leave_no_orphan(over_seeds: OverSeeds, recursive: bool) -> None:
    """Terminate, suspend and resume trees while hosts die: when the root has ended, all have."""
    app = Registry()

    @app.workflow
    async def leaf(ctx: WorkflowContext, _: int) -> str:
        return await ctx.wait_for_external_event("never", type=str)

    @app.workflow
    async def branch(ctx: WorkflowContext, width: int) -> list[str]:
        return await ctx.when_all([ctx.call_child_workflow(leaf, input=n) for n in range(width)])

    @app.workflow
    async def root(ctx: WorkflowContext, width: int) -> list[list[str]]:
        calls = [ctx.call_child_workflow(branch, input=width) for _ in range(width)]
        return await ctx.when_all(calls)

    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            scene = ClusterScene(loop, seed, post=ROUGH_POST, check_each=5)
            world = scene.world
            world.registry = app
            await scene.start(3)
            await world.ask(lambda engine: engine.start("root", instance_id="tree", input="3"))
            await asyncio.sleep(scene.random.random() * 0.1)
            meddler = asyncio.ensure_future(crashes(world, scene.random))
            await world.ask(lambda engine: engine.suspend("tree"))
            await world.ask(lambda engine: engine.resume("tree"))
            await world.ask(lambda engine: engine.terminate("tree", recursive=recursive))
            await meddler
            await asyncio.sleep(30)
            statuses = {s.instance_id: s.state.status for s in stored_instances(scene.inner)}
            assert statuses["tree"] is Status.TERMINATED
            if recursive:
                assert set(statuses.values()) == {Status.TERMINATED}, statuses
                deleted = await world.ask(lambda engine: engine.purge("tree"))
                assert deleted.deleted_count <= len(statuses)
                assert list(stored_instances(scene.inner)) == []
            else:
                for instance_id in statuses:
                    await _end(world, instance_id)
            await scene.heal()
            check_ownership(scene.store.audit)
            return scene.seen()

        return simulate(seed, main)

    over_seeds(run, 8, must_see=["crash"])


async def _end(world: ClusterWorld, instance_id: str) -> None:
    with suppress(InstanceNotFoundError, UnavailableError, ContentionError):
        await world.ask(lambda engine: engine.terminate(instance_id))
