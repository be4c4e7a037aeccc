"""Where the activities of a wide fan-out live, whose workers are remote."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from actorflow.actors.address import ActorId, partition_of
from actorflow.workflow.events import Status
from actorflow.workflow.requests import INSTANCE
from tests.fakes.remote_code import All
from tests.sim.cluster import ClusterWorld
from tests.sim.loop import SimLoop, simulate
from tests.sim.remote import RemoteStand

if TYPE_CHECKING:
    from tests.fakes.remote_code import Ctx
    from tests.sim.remote import Code

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


def early(ctx: Ctx, width: int) -> Code:
    """A fan-out that is open while two activities run one after the other."""
    naps = [ctx.call("nap", 5) for _ in range(width)]
    yield ctx.call("double", 1)
    yield ctx.call("double", 2)
    yield All(naps)


def test_a_lone_host_keeps_at_home_what_a_rerun_repeats() -> None:
    async def main(loop: SimLoop) -> None:
        stand = await _stand(loop, hosts=1)
        stand.worker(host=0, workflows={"early": early})
        await stand.start("early", WIDTH, "early-1")
        await stand.end_of("early-1")
        before = len(stand.store.audit.applied)
        await stand.world.ask(
            lambda engine: engine.rerun("early-1", WIDTH + 2, new_instance_id="again")
        )
        assert (await stand.end_of("again")).status is Status.COMPLETED
        home = partition_of(ActorId(INSTANCE, "again"), PARTITIONS)
        away = partition_of(ActorId(INSTANCE, "early-1"), PARTITIONS)
        assert {one.partition for one in stand.store.audit.applied[before:]} <= {home, away}
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
