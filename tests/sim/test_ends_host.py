"""P09: activities that end the process they run in, and innocent ones beside them."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import ActivityContext, Registry, WorkflowContext
from actorflow.workflow.events import Status, TaskFailed
from actorflow.workflow.limits import DEFAULT_LIMITS
from tests.sim.host import World
from tests.sim.loop import SimClock, SimLoop, simulate

if TYPE_CHECKING:
    from actorflow.workflow.model import Instance

SEEDS = range(6)

RESTART_S = 1.0
"""Pause of whoever starts a host that ended."""


class Site:
    """One host at a time, started again whenever it ends; activities that end it."""

    def __init__(self, loop: SimLoop, seed: int) -> None:
        self.loop = loop
        self.app = Registry()
        self.began: list[str] = []
        self._register()
        store = MemoryStore(clock=SimClock(loop))
        self.world = World(loop, store, self.app, seed=seed, limits=DEFAULT_LIMITS)
        self._supervisor: asyncio.Task[None] | None = None

    def _register(self) -> None:
        app = self.app

        @app.activity
        async def ends(ctx: ActivityContext, after_s: float) -> None:
            self.began.append(ctx.instance_id)
            await asyncio.sleep(after_s)
            while not self.world.hosts or self.world.host.died.is_set():  # noqa: ASYNC110 -- it starts
                await asyncio.sleep(0.001)
            self.world.host.died.set()
            await asyncio.sleep(3_600)

        @app.activity
        async def rests(ctx: ActivityContext, for_s: float) -> float:
            self.began.append(ctx.instance_id)
            await asyncio.sleep(for_s)
            return for_s

        @app.workflow
        async def poison(ctx: WorkflowContext, after_s: float) -> None:
            await ctx.call_activity(ends, input=after_s)

        @app.workflow
        async def innocent(ctx: WorkflowContext, steps_s: list[float]) -> float:
            return sum([await ctx.call_activity(rests, input=step_s) for step_s in steps_s])

    async def __aenter__(self) -> Site:
        await self.world.start_host()
        self._supervisor = asyncio.ensure_future(self._supervise())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._supervisor is not None
        self._supervisor.cancel()
        await asyncio.gather(self._supervisor, return_exceptions=True)
        await self.world.stop_hosts()

    async def _supervise(self) -> None:
        while True:
            await self.world.host.died.wait()
            await self.world.kill_host()
            await asyncio.sleep(RESTART_S)
            await self.world.start_host()

    async def start(self, name: str, argument: object, instance_id: str) -> str:
        text = str(argument)
        return await self.world.ask(
            lambda engine: engine.start(
                name, instance_id=instance_id, input=text, idempotency_key=instance_id
            )
        )

    async def end_of(self, instance_id: str, within_s: float = 600) -> Instance:
        deadline_s = self.loop.time() + within_s
        while self.loop.time() < deadline_s:
            found = await self.world.ask(lambda engine: engine.get(instance_id))
            if found is not None and found.status.is_terminal:
                return found
            await asyncio.sleep(0.5)
        raise AssertionError(f"{instance_id} has not ended")

    async def convicted(self, instance_id: str, within_s: float = 600) -> None:
        assert (await self.end_of(instance_id, within_s)).status is Status.FAILED
        history = await self.world.ask(lambda engine: engine.history(instance_id))
        (failed,) = [event for event in history.events if isinstance(event, TaskFailed)]
        assert failed.failure.error_type == "ActivityEndsHost"
        assert failed.failure.non_retriable
        assert "os._exit" in failed.failure.message


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("after_s", [0.0, 0.4, 5.0])
@pytest.mark.parametrize(("beside", "hosts"), [(0, 3), (1, 3), (10, 4)])
def test_an_activity_that_ends_its_host_is_found_out(
    seed: int, after_s: float, beside: int, hosts: int
) -> None:
    async def main(loop: SimLoop) -> None:
        async with Site(loop, seed) as site:
            others = [
                await site.start("innocent", [0.1] * 20, f"short-{number}")
                for number in range(beside)
            ]
            await site.start("poison", after_s, "poison")
            await site.convicted("poison")
            crashes = site.world.crashes
            assert 3 <= crashes <= hosts
            assert site.began.count("poison") == crashes
            for other in others:
                assert (await site.end_of(other)).status is Status.COMPLETED
            assert site.world.crashes == crashes

    simulate(seed, main)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_goes_on_for_long_beside_it_costs_one_more_host(seed: int) -> None:
    async def main(loop: SimLoop) -> None:
        async with Site(loop, seed) as site:
            others = [await site.start("innocent", [60.0], f"long-{n}") for n in range(3)]
            await site.start("poison", 0.5, "poison")
            others += [await site.start("innocent", [60.0], f"late-{n}") for n in range(3)]
            await site.convicted("poison")
            assert site.world.crashes in (4, 5)
            for other in others:
                assert (await site.end_of(other)).status is Status.COMPLETED

    simulate(seed, main)


@pytest.mark.parametrize("seed", SEEDS)
def test_many_of_them_are_found_out_one_after_the_other(seed: int) -> None:
    async def main(loop: SimLoop) -> None:
        async with Site(loop, seed) as site:
            others = [await site.start("innocent", [3.0] * 3, f"in-{n}") for n in range(5)]
            ids = [await site.start("poison", 0.2, f"poison-{number}") for number in range(5)]
            for instance_id in ids:
                await site.convicted(instance_id)
            assert site.world.crashes <= 2 * len(ids) + 2
            for other in others:
                assert (await site.end_of(other)).status is Status.COMPLETED

    simulate(seed, main)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_that_takes_its_time_is_found_out_later(seed: int) -> None:
    async def main(loop: SimLoop) -> None:
        async with Site(loop, seed) as site:
            await site.start("poison", 25.0, "slow")
            other = await site.start("innocent", [70.0], "other")
            await site.convicted("slow", within_s=1_000)
            assert site.began.count("slow") in (4, 5, 6)
            assert (await site.end_of(other)).status is Status.COMPLETED

    simulate(seed, main)


@pytest.mark.parametrize("seed", SEEDS)
def test_hosts_that_are_killed_again_and_again_fail_nobody(seed: int) -> None:
    async def main(loop: SimLoop) -> None:
        choose = random.Random(seed)
        async with Site(loop, seed) as site:
            others = [await site.start("innocent", [0.05] * 100, f"in-{n}") for n in range(20)]
            for _ in range(60):
                while not site.world.hosts or site.world.host.died.is_set():  # noqa: ASYNC110 -- it starts
                    await asyncio.sleep(0.01)
                await asyncio.sleep(choose.random())
                site.world.host.died.set()
            for other in others:
                assert (await site.end_of(other)).status is Status.COMPLETED
            assert site.world.crashes == 60

    simulate(seed, main)


def test_rolling_restarts_are_no_reason_to_suspect_anybody() -> None:
    async def main(loop: SimLoop) -> None:
        async with Site(loop, 1) as site:
            await site.start("innocent", [40.0], "long")
            for _ in range(8):
                await asyncio.sleep(2)
                await site.world.stop_hosts()
                await site.world.start_host()
            assert site.world.crashes == 0
            assert (await site.end_of("long")).status is Status.COMPLETED
            assert site.began == ["long"] * 9

    simulate(1, main)
