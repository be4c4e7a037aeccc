"""Remote workers and many hosts: work is lent to whoever has a worker, whatever gets lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from tests.sim.cluster import GENTLE_POST, ROUGH_POST, ClusterHost, ClusterWorld
from tests.sim.faulty_store import NO_FAULTS, Faults
from tests.sim.loop import SimLoop, simulate
from tests.sim.remote import RemoteStand

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.fakes.fake_cluster import PostFaults
    from tests.sim.conftest import OverSeeds

PARTITIONS = 8


def play(
    seed: int,
    trouble: Callable[[RemoteStand], Awaitable[None]] | None,
    *,
    hosts: int = 3,
    places: tuple[int | None, ...] = (0, 1),
    faults: Faults = NO_FAULTS,
    post: PostFaults = GENTLE_POST,
) -> Counter[str]:
    """Run clients on some hosts; `places` says to which of them workers connect."""

    async def main(loop: SimLoop) -> Counter[str]:
        stand = RemoteStand(loop, seed, faults=faults, post=post, partition_count=PARTITIONS)
        world = stand.world
        assert isinstance(world, ClusterWorld)
        for _ in range(hosts):
            await world.start_host()
        await world.until(world.is_balanced, poll_s=0.1)
        for place in places:
            stand.worker(host=place, answer=stand.moody() if trouble else None)
        await stand.play(12, trouble(stand) if trouble else None)
        seen = Counter(crash=world.crashes, disconnects=stand.log.disconnects, lost=world.post.lost)
        for host in world.hosts:
            host.thaw()
        await stand.close()
        if trouble is None:
            stand.check_runs(faults=0)
        return seen

    return simulate(seed, main)


async def host_trouble(stand: RemoteStand) -> None:
    """Kill hosts and start others."""
    while True:
        await asyncio.sleep(1 + 3 * stand.random.random())
        await stand.world.kill_host(stand.random.choice(stand.world.hosts))
        await asyncio.sleep(stand.random.choice((0, 1, 8)))
        await stand.world.start_host()


async def freezes(stand: RemoteStand) -> None:
    """Freeze hosts for up to three leases."""
    while True:
        await asyncio.sleep(stand.random.random())
        host = stand.random.choice(stand.world.hosts)
        assert isinstance(host, ClusterHost)
        host.freeze()
        await asyncio.sleep(stand.random.choice((0.5, 4, 11)))
        host.thaw()


async def worker_trouble(stand: RemoteStand) -> None:
    """Kill workers, cut their streams, start others elsewhere."""
    while True:
        await asyncio.sleep(stand.random.random())
        worker = stand.random.choice(stand.workers)
        if stand.random.random() < 0.5:
            worker.disconnect()
        else:
            await stand.kill_worker(worker)
            await asyncio.sleep(stand.random.choice((0, 0.5, 3)))
            stand.worker(host=stand.random.choice((None, 0, 1, 2)), answer=stand.moody())


def test_workers_at_one_host_serve_all(over_seeds: OverSeeds) -> None:
    def run(seed: int) -> Counter[str]:
        return play(seed, None, places=(0,))

    over_seeds(run, 4)


def test_answers_at_any_host(over_seeds: OverSeeds) -> None:
    """The answers of a worker do not come to the host that it gets its work from."""

    def run(seed: int) -> Counter[str]:
        return play(seed, None, places=(None, None))

    over_seeds(run, 4)


def test_p08_workers_come_and_go(over_seeds: OverSeeds) -> None:
    def run(seed: int) -> Counter[str]:
        return play(seed, worker_trouble, post=ROUGH_POST)

    over_seeds(run, 8, must_see=["disconnects", "lost"])


def test_p08_lender_and_borrower_die(over_seeds: OverSeeds) -> None:
    def run(seed: int) -> Counter[str]:
        return play(seed, host_trouble, places=(0, 1, None), post=ROUGH_POST)

    over_seeds(run, 8, must_see=["crash", "lost"])


def test_p08_hosts_that_pause(over_seeds: OverSeeds) -> None:
    def run(seed: int) -> Counter[str]:
        faults = Faults(delay=0.5, lose_reply=0.1, late=0.1)
        return play(seed, freezes, places=(0, 1, None), faults=faults)

    over_seeds(run, 6)
