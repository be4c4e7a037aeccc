"""Where the activities of a wide fan-out live, whose workers are remote."""

from __future__ import annotations

import asyncio

from actorflow.actors.address import ActorId, partition_of
from actorflow.workflow.requests import INSTANCE
from tests.sim.cluster import ClusterWorld
from tests.sim.loop import SimLoop, simulate
from tests.sim.remote import RemoteStand

PARTITIONS = 8
WIDTH = 40
SUM = WIDTH * (WIDTH - 1)


async def _stand(loop: SimLoop, *, hosts: int) -> RemoteStand:
    stand = RemoteStand(loop, partition_count=PARTITIONS)
    assert isinstance(stand.world, ClusterWorld)
    for _ in range(hosts):
        await stand.world.start_host()
    await stand.world.until(stand.world.is_balanced, poll_s=0.1)
    return stand


async def _partitions(stand: RemoteStand) -> set[int]:
    """Run a fan-out to its end; return where something was committed for it."""
    before = len(stand.store.audit.applied)
    await stand.start("fan", WIDTH, "fan-1")
    assert (await stand.end_of("fan-1")).output == str(SUM)
    return {commit.partition for commit in stand.store.audit.applied[before:]}


def test_a_lone_host_keeps_a_fan_out_at_home() -> None:
    async def main(loop: SimLoop) -> None:
        stand = await _stand(loop, hosts=1)
        stand.worker(host=0)
        assert await _partitions(stand) == {partition_of(ActorId(INSTANCE, "fan-1"), PARTITIONS)}
        await stand.close()

    simulate(1, main)


def test_several_hosts_share_a_fan_out() -> None:
    async def main(loop: SimLoop) -> None:
        stand = await _stand(loop, hosts=2)
        for host in (0, 1):
            stand.worker(host=host)
        assert len(await _partitions(stand)) > PARTITIONS // 2
        assert all(worker.items for worker in stand.workers)
        await stand.close()

    simulate(1, main)


def test_a_host_that_joins_is_lent_what_waits() -> None:
    """The lone host has one slow worker; that of the newcomer takes a part of the same fan-out."""

    async def main(loop: SimLoop) -> None:
        stand = await _stand(loop, hosts=1)
        assert isinstance(stand.world, ClusterWorld)
        first = stand.worker(host=0, items_max=2)
        await stand.start("fan", WIDTH, "fan-1")
        await stand.world.until(lambda: len(first.items) > 2, poll_s=0.1)
        await stand.world.start_host()
        second = stand.worker(host=1)
        assert (await stand.end_of("fan-1")).output == str(SUM)
        assert len(second.items) > WIDTH // 2
        await stand.close()

    simulate(1, main)


def test_a_fan_out_at_home_survives_its_host() -> None:
    async def main(loop: SimLoop) -> None:
        stand = await _stand(loop, hosts=1)
        stand.worker()
        await stand.start("fan", WIDTH, "fan-1")
        await asyncio.sleep(0.1)  # some of its activities have ended
        await stand.world.kill_host(stand.world.hosts[0])
        await stand.world.start_host()
        assert (await stand.end_of("fan-1")).output == str(SUM)
        await stand.close()

    simulate(1, main)
