"""P09: activities that end the process they run in, and innocent ones beside them."""

from __future__ import annotations

import asyncio
import random

import pytest

from actorflow.workflow import ActivityContext, WorkflowContext  # noqa: TC001 -- read at run time
from actorflow.workflow.events import Status, TaskFailed
from tests.sim.loop import SimLoop, simulate
from tests.sim.site import Site

SEEDS = range(6)


class Guilty(Site):
    """With activities that end their host."""

    def _register(self) -> None:
        super()._register()
        app = self.app

        @app.activity
        async def ends(ctx: ActivityContext, after_s: float) -> None:
            self.began.append(ctx.instance_id)
            await asyncio.sleep(after_s)
            await self.kill()
            await asyncio.sleep(3_600)

        @app.workflow
        async def poison(ctx: WorkflowContext, after_s: float) -> None:
            await ctx.call_activity(ends, input=after_s)

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
        async with Guilty(loop, seed) as site:
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
        async with Guilty(loop, seed) as site:
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
        async with Guilty(loop, seed) as site:
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
        async with Guilty(loop, seed) as site:
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
        async with Guilty(loop, seed) as site:
            others = [await site.start("innocent", [0.05] * 100, f"in-{n}") for n in range(20)]
            for _ in range(60):
                while not site.world.hosts or site.world.host.died.is_set():  # noqa: ASYNC110 -- it starts
                    await asyncio.sleep(0.01)
                await asyncio.sleep(choose.random())
                await site.kill()
            for other in others:
                assert (await site.end_of(other)).status is Status.COMPLETED
            assert site.world.crashes == 60

    simulate(seed, main)


def test_rolling_restarts_are_no_reason_to_suspect_anybody() -> None:
    async def main(loop: SimLoop) -> None:
        async with Guilty(loop, 1) as site:
            await site.start("innocent", [40.0], "long")
            for _ in range(8):
                await asyncio.sleep(2)
                await site.world.stop_hosts()
                await site.world.start_host()
            assert site.world.crashes == 0
            assert (await site.end_of("long")).status is Status.COMPLETED
            assert site.began == ["long"] * 9

    simulate(1, main)
