"""A host that does not know yet that another one has taken its partitions."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from actorflow.actors.address import ActorId
from actorflow.actors.errors import ActorflowError, UnavailableError
from actorflow.workflow.events import Status
from actorflow.workflow.requests import INSTANCE
from tests.sim.cluster import ClusterHost, ClusterWorld
from tests.sim.loop import SimLoop, simulate
from tests.sim.remote import RemoteStand

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.sim.conftest import OverSeeds

PARTITIONS = 8
INSTANCE_ID = ActorId(INSTANCE, "i")


async def _until_served(call: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await call()
            except UnavailableError:
                await asyncio.sleep(0.1)
            else:
                return


def _owners(world: ClusterWorld) -> list[ClusterHost]:
    return [host for host in world.hosts if host.engine.actors.is_here(INSTANCE_ID)]


def test_it_confirms_no_call_from_what_it_remembers(over_seeds: OverSeeds) -> None:
    """What it remembers says that there is nothing to do; what is stored says otherwise."""

    async def main(loop: SimLoop, seed: int) -> Counter[str]:
        stand = RemoteStand(loop, seed, partition_count=PARTITIONS)
        world = stand.world
        assert isinstance(world, ClusterWorld)
        for _ in range(2):
            await world.start_host()
        await world.until(world.is_balanced, poll_s=0.1)
        for host in (0, 1):
            stand.worker(host=host)
        await stand.start("approval", 5, "i")
        await asyncio.sleep(1)
        (old,) = _owners(world)
        await old.engine.resume("i")  # nothing to do, and so it says at once
        (new,) = (host for host in world.hosts if host is not old)
        old.freeze()
        await world.until(lambda: new in _owners(world), poll_s=0.1)
        assert old in _owners(world)
        await _until_served(lambda: new.engine.suspend("i"))
        asked = asyncio.ensure_future(old.engine.resume("i"))
        await asyncio.wait((asked,), timeout=stand.random.choice((0.1, 5, 30)))
        old.thaw()
        told: object = "ok"
        try:
            await asked
        except (ActorflowError, TimeoutError) as error:
            told = error
        instance = await new.engine.get("i")
        assert instance is not None
        assert told != "ok" or instance.status is not Status.SUSPENDED
        await stand.close(quiet=False)
        return Counter(done=told == "ok", refused=told != "ok")

    over_seeds(lambda seed: simulate(seed, lambda loop: main(loop, seed)), 6, must_see=["refused"])
