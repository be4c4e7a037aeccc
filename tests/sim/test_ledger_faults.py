"""The ledger under faults of the store and of the host: S02, S03, S07 and S08."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from actorflow.actors.store.memory import MemoryStore
from tests.sim.faulty_store import NO_FAULTS, Faults, FaultyStore
from tests.sim.host import World
from tests.sim.invariants import check_committed, check_ledger, check_ownership, check_quiet
from tests.sim.ledger import Ledger
from tests.sim.loop import SimClock, SimLoop, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.sim.conftest import OverSeeds

    Trouble = Callable[[World, random.Random], Coroutine[object, object, None]]


class Scene:
    """A world with the ledger in it, checked after every commit."""

    def __init__(self, loop: SimLoop, seed: int, faults: Faults = NO_FAULTS) -> None:
        self.inner = MemoryStore(clock=SimClock(loop))
        self.store = FaultyStore(self.inner, seed, faults)
        self.ledger = Ledger(loop)
        self.world = World(loop, self.store, self.ledger.registry, seed=seed)
        self.store.on_applied = lambda: check_committed(self.inner)
        self.random = random.Random(f"scene {seed}")

    async def play(self, clients: int, trouble: Trouble | None = None) -> None:
        """Run the clients while `trouble` does its worst; then heal, and check everything."""
        world = self.world
        meddler = None
        if trouble is not None:
            meddler = asyncio.get_running_loop().create_task(trouble(world, self.random))
        await self.ledger.run_clients(world, clients)
        if meddler is not None:
            meddler.cancel()
            with suppress(asyncio.CancelledError):
                await meddler
            for host in world.hosts:
                host.gate.thaw()
        self.store.faults = NO_FAULTS
        if not world.is_up:
            await world.kill_host()
            await world.start_host()
        await world.stop_hosts()
        await self.store.settle()

    def check(self, *, repeats: int = 0) -> None:
        """Check all that must hold in the end."""
        check_committed(self.inner)
        check_ownership(self.store.audit)
        check_quiet(self.inner)
        check_ledger(self.ledger, self.inner, faults=repeats)

    def seen(self) -> Counter[str]:
        """Return what happened, for the counters of what must be seen."""
        seen: Counter[str] = Counter()
        seen.update(self.store.audit.results)
        seen.update(self.store.audit.faults)
        seen.update(self.world.counters)
        seen["crash"] = self.world.crashes
        return seen


@pytest.mark.parametrize("apply_last", [False, True], ids=["before", "after"])
def test_s02_every_crash_point(apply_last: bool) -> None:
    """The host dies at its k-th call of the store, for each k, before or after its effect."""
    points = 0
    while _dies_once(points + 1, apply_last=apply_last):
        points += 1
    assert 10 < points < 100


def _dies_once(stop_at: int, *, apply_last: bool) -> bool:
    """Return whether the run was long enough to die at that call."""
    return simulate(stop_at, lambda loop: _die_once(loop, stop_at, apply_last=apply_last))


async def _die_once(loop: SimLoop, stop_at: int, *, apply_last: bool) -> bool:
    scene = Scene(loop, stop_at)
    host = await scene.world.start_host(stop_at=stop_at, apply_last=apply_last)

    async def restart(world: World, _: random.Random) -> None:
        await host.died.wait()
        await world.kill_host()
        await world.start_host()

    await scene.play(1, restart)
    scene.check(repeats=1)
    return host.died.is_set()


def test_s02_crashes_at_random_under_load(over_seeds: OverSeeds) -> None:
    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            scene = Scene(loop, seed, Faults(delay=0.5))
            await scene.world.start_host()
            await scene.play(8, _crash_again_and_again)
            scene.check(repeats=scene.world.crashes)
            return scene.seen()

        return simulate(seed, main)

    over_seeds(run, 150, must_see=["crash", "ok"])


async def _crash_again_and_again(world: World, choose: random.Random) -> None:
    for _ in range(choose.randrange(1, 6)):
        await asyncio.sleep(choose.random() * 4)
        await world.kill_host()
        await asyncio.sleep(choose.choice((0, 0.1, 20)))
        calls = choose.choice((0, 0, choose.randrange(1, 40)))
        host = await world.start_host(stop_at=calls, apply_last=choose.random() < 0.5)
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await host.died.wait()
    if not world.is_up:
        await world.kill_host()
        await world.start_host()


def test_s03_unknown_outcomes(over_seeds: OverSeeds) -> None:
    """Commits that are refused, lost, applied without an answer, or applied late."""

    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            faults = Faults(refuse=0.1, lose_request=0.1, lose_reply=0.3, late=0.1, delay=0.3)
            scene = Scene(loop, seed, faults)
            await scene.world.start_host()
            await scene.play(8)
            scene.check()
            return scene.seen()

        return simulate(seed, main)

    over_seeds(
        run,
        150,
        must_see=["already", "late already", "commit_resends", "commits_already", "lose_reply"],
    )


def test_s07_cancelled_requests(over_seeds: OverSeeds) -> None:
    """Clients that hang up at any moment, and ask again."""

    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            scene = Scene(loop, seed, Faults(lose_reply=0.1, delay=0.5))
            await scene.world.start_host()
            hung_up = 0

            async def hang_up(world: World, choose: random.Random) -> None:
                nonlocal hung_up
                while True:
                    await asyncio.sleep(choose.random() * 0.05)
                    for asked in list(world.asked):
                        if choose.random() < 0.3:
                            hung_up += asked.cancel()
                    if hung_up > 100:
                        return

            await scene.play(8, hang_up)
            scene.check()
            return scene.seen() + Counter(hung_up=hung_up)

        return simulate(seed, main)

    over_seeds(run, 60, must_see=["hung_up", "already"])


def test_s08_stalled_loop(over_seeds: OverSeeds) -> None:
    """Code that blocks the loop for longer than a lease: timers come late, and nothing else."""

    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            scene = Scene(loop, seed, Faults(delay=0.5))
            await scene.world.start_host()

            async def block(world: World, choose: random.Random) -> None:
                for _ in range(5):
                    await asyncio.sleep(choose.random())
                    world.loop.stall(choose.choice((1, 9, 11, 50)))

            await scene.play(8, block)
            scene.check()
            return scene.seen()

        return simulate(seed, main)

    over_seeds(run, 40)


def test_s08_frozen_owner(over_seeds: OverSeeds) -> None:
    """An owner that is silent for up to five leases, and comes back: one of two hosts may write."""

    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            scene = Scene(loop, seed, Faults(delay=0.5, lose_reply=0.1, late=0.1))
            world = scene.world
            await world.start_host()

            async def freeze(world: World, choose: random.Random) -> None:
                async with asyncio.TaskGroup() as group:
                    group.create_task(world.start_host())
                    for _ in range(8):
                        host = choose.choice(world.hosts)
                        host.gate.freeze()
                        await asyncio.sleep(choose.choice((1, 9, 11, 50)))
                        host.gate.thaw()
                        await asyncio.sleep(choose.choice((0, 1, 15)))

            await scene.play(8, freeze)
            scene.check(repeats=len({commit.epoch for commit in scene.store.audit.applied}))
            return scene.seen()

        return simulate(seed, main)

    over_seeds(run, 60, must_see=["fenced", "commits_fenced", "late fenced"])
