"""I12: soon after the last fault a cluster does as much as before; and what is slow or away for a
minute holds up nobody else, or everybody only for as long as it is away.

Replay one run: `pytest tests/sim -k NAME --seed SEED`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from actorflow.actors.cluster import CUT_OFF_S
from tests.sim.cluster import LEASE_TTL_MS, ROUGH_POST, ClusterScene
from tests.sim.faulty_store import Faults
from tests.sim.loop import SimLoop, simulate
from tests.sim.test_cluster_ledger import crashes, pauses

if TYPE_CHECKING:
    import random
    from collections import Counter
    from collections.abc import Callable, Coroutine

    from tests.sim.cluster import ClusterWorld, Trouble
    from tests.sim.conftest import OverSeeds

CLIENTS = 10
WINDOW_S = 15.0
"""Virtual time over which throughput is measured."""

STEADY_PART = 0.8
HEALED_S = 2 * LEASE_TTL_MS / 1_000 + 5
AWAY_S = 60.0
CHECK_EACH = 500


class Rate:
    """Clients that run one ledger workflow after the other."""

    def __init__(self, scene: ClusterScene) -> None:
        self._scene = scene
        self._next = 0
        self._finished = 0
        self.enough = False

    async def client(self) -> None:
        while not self.enough:
            number, self._next = self._next, self._next + 1
            await self._scene.ledger.client(self._scene.world, number)
            self._finished += 1

    async def per_s(self) -> float:
        """Return how many end in a second."""
        before = self._finished
        await asyncio.sleep(WINDOW_S)
        return (self._finished - before) / WINDOW_S


async def under_load(
    scene: ClusterScene, main: Callable[[Rate], Coroutine[object, object, None]]
) -> Counter[str]:
    """Run `main` beside clients that never stop; then check everything."""
    await scene.start(3)
    scene.ledger.world = scene.world
    rate = Rate(scene)
    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(rate.client())
        await asyncio.sleep(WINDOW_S)
        await main(rate)
        rate.enough = True
    await scene.heal()
    scene.check()
    return scene.seen()


def steady_after(seed: int, trouble: Trouble) -> Counter[str]:
    """Compare throughput before and after trouble."""

    async def main(loop: SimLoop) -> Counter[str]:
        scene = ClusterScene(loop, seed, check_each=CHECK_EACH)

        async def compare(rate: Rate) -> None:
            base = await rate.per_s()
            scene.world.post.faults = ROUGH_POST
            await trouble(scene.world, scene.random)
            await scene.end_faults(hosts=3)
            await asyncio.sleep(HEALED_S)
            after = await rate.per_s()
            assert after >= STEADY_PART * base, (base, after)

        return await under_load(scene, compare)

    return simulate(seed, main)


async def stalls(world: ClusterWorld, choose: random.Random) -> None:
    """No host does anything for up to five leases: their loops are blocked all at once."""
    for _ in range(5):
        await asyncio.sleep(choose.random())
        world.loop.stall(choose.choice((0.1, 0.4, 1.1, 5)) * LEASE_TTL_MS / 1_000)


async def comings_and_goings(world: ClusterWorld, choose: random.Random) -> None:
    """Every two seconds a host comes or leaves."""
    for _ in range(8):
        await asyncio.sleep(2)
        if len(world.hosts) > 1 and choose.random() < 0.5:
            await world.stop_host(choose.choice(world.hosts))
        else:
            await world.start_host()


@pytest.mark.parametrize("trouble", [crashes, pauses, stalls, comings_and_goings])
def test_i12_throughput_comes_back_after_the_last_fault(
    over_seeds: OverSeeds, trouble: Trouble
) -> None:
    over_seeds(lambda seed: steady_after(seed, trouble), 3, must_see=["letters lost"])


def test_the_store_is_away_for_a_minute_and_nobody_is_started_again(
    over_seeds: OverSeeds,
) -> None:
    """Nothing gets to the store, or from it, or by way of it. Hosts say so, and go on by
    themselves."""

    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            scene = ClusterScene(loop, seed, check_each=CHECK_EACH)
            hosts = []

            async def go_away(rate: Rate) -> None:
                base = await rate.per_s()
                hosts.extend(scene.world.hosts)
                scene.store.faults = Faults(lose_reply=0.5)
                await asyncio.sleep(0.2)
                scene.store.faults = Faults(away=True)
                for host in hosts:
                    host.transport.cut = host.membership.cut = True
                await asyncio.sleep(AWAY_S)
                assert all(host.engine.problems() for host in hosts)
                await scene.end_faults(hosts=3)
                await asyncio.sleep(HEALED_S)
                assert scene.world.hosts == hosts
                assert [host.engine.problems() for host in hosts] == [[], [], []]
                after = await rate.per_s()
                assert after >= STEADY_PART * base, (base, after)

            return await under_load(scene, go_away)

        return simulate(seed, main)

    assert AWAY_S > 2 * CUT_OFF_S
    over_seeds(run, 3, must_see=["commits_already", "commit_resends"])
