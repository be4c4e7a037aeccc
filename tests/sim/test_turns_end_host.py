"""P09: code of workflows that ends the process in the middle of a turn, and innocent ones."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from actorflow.workflow import ActivityContext, InstanceStalledError, WorkflowContext
from actorflow.workflow.events import Status
from actorflow.workflow.fsck import Fsck
from actorflow.workflow.offline import OfflineStore
from tests.sim.loop import SimIds, SimLoop, simulate
from tests.sim.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.workflow.model import Instance

SEEDS = range(6)


class Guilty(Site):
    """With workflows whose code ends the process, until it is mended."""

    def __init__(self, loop: SimLoop, seed: int, *, call_s: float = 0.002) -> None:
        self.is_mended = False
        self.ended: list[str] = []
        super().__init__(loop, seed, call_s=call_s)

    def _register(self) -> None:
        super()._register()
        app = self.app

        @app.workflow
        async def at_start(ctx: WorkflowContext, _: object) -> str:
            return self.exit(ctx)

        @app.workflow
        async def after_activity(ctx: WorkflowContext, for_s: float) -> str:
            await ctx.call_activity("rests", input=for_s)
            return self.exit(ctx)

        @app.workflow
        async def after_timer(ctx: WorkflowContext, for_s: float) -> str:
            await ctx.create_timer(for_s)
            return self.exit(ctx)

        @app.workflow
        async def after_event(ctx: WorkflowContext, _: object) -> str:
            await ctx.wait_for_external_event("go")
            return self.exit(ctx)

        self._register_others()

    def _register_others(self) -> None:
        app = self.app

        @app.workflow
        async def in_replay(ctx: WorkflowContext, _: object) -> str:
            if ctx.is_replaying:
                self.exit(ctx)
            await ctx.wait_for_external_event("go")
            return "went on"

        @app.activity
        async def ends(_: ActivityContext, after_s: float) -> None:
            await asyncio.sleep(after_s)
            await self.kill()
            await asyncio.sleep(3_600)

        @app.workflow
        async def by_activity(ctx: WorkflowContext, after_s: float) -> None:
            await ctx.call_activity(ends, input=after_s)

        @app.workflow
        async def parent(ctx: WorkflowContext, _: object) -> str:
            try:
                return str(await ctx.call_child_workflow("at_start", instance_id="child"))
            except Exception as error:  # noqa: BLE001 -- what it is, is what is looked at
                return str(error)

    def exit(self, ctx: WorkflowContext) -> str:
        """End the process, as `os._exit` does."""
        if not self.is_mended:
            self.ended.append(ctx.instance_id)
            assert self.world.newest is not None
            self.world.newest.end()
        return "mended"

    async def until(self, instance_id: str, fits: Callable[[Instance], bool]) -> Instance:
        """Wait for an instance, however many hosts it takes."""
        async with asyncio.timeout(600):
            while True:
                found = await self.world.ask(lambda engine: engine.get(instance_id))
                if found is not None and fits(found):
                    return found
                await asyncio.sleep(0.2)

    async def stalled(self, instance_id: str) -> Instance:
        """Wait until an instance is convicted."""
        found = await self.until(instance_id, lambda one: one.status is Status.STALLED)
        assert "hosts were lost while workflow" in found.stalled_reason
        return found

    async def mend(self) -> None:
        """Stop, deploy better code, let everybody run again."""
        assert self._supervisor is not None
        self._supervisor.cancel()
        await asyncio.gather(self._supervisor, return_exceptions=True)
        await self.world.stop_hosts()
        self.is_mended = True
        async with OfflineStore(self.memory, 1, SimIds("fsck")) as owned:
            check = Fsck(self.memory, 1)
            report = await check.check()
            assert {finding.code for finding in report.findings} == {"parked"}
            await check.repair(report, owned, unpark=True)
            assert (await check.check()).findings == []
        await self.world.start_host()
        self._supervisor = asyncio.ensure_future(self._supervise())


async def innocents(site: Site, count: int) -> list[str]:
    """Start workflows that have a dozen activities each, and so as many turns."""
    return [await site.start("innocent", [0.3] * 12, f"in-{n}") for n in range(count)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("beside", [0, 1, 10])
@pytest.mark.parametrize("name", ["after_activity", "after_timer"])
def test_a_turn_that_ends_its_host_is_found_out(seed: int, name: str, beside: int) -> None:
    async def main(loop: SimLoop) -> None:
        async with Guilty(loop, seed) as site:
            others = await innocents(site, beside)
            await site.start(name, 0.5, "poison")
            await site.stalled("poison")
            assert site.world.crashes == len(site.ended) == 4
            (parked, *_) = await site.world.ask(lambda engine: engine.why("poison"))
            assert "os._exit" in parked.detail
            with pytest.raises(InstanceStalledError):
                await site.world.ask(lambda engine: engine.raise_event("poison", "e"))
            for other in others:
                assert (await site.end_of(other)).status is Status.COMPLETED
            await asyncio.sleep(60)
            assert site.world.crashes == 4
            await site.mend()
            assert (await site.end_of("poison")).output == '"mended"'
            assert site.world.crashes == 4

    simulate(seed, main)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_start_that_a_client_tries_again_and_again_is_refused_in_the_end(seed: int) -> None:
    async def main(loop: SimLoop) -> None:
        async with Guilty(loop, seed) as site:
            others = await innocents(site, 5)
            with pytest.raises(InstanceStalledError, match=r"hosts were lost .* --unpark"):
                await site.start("at_start", None, "poison")
            assert site.world.crashes == 5
            assert await site.world.ask(lambda engine: engine.get("poison")) is None
            for other in others:
                assert (await site.end_of(other)).status is Status.COMPLETED
            await site.mend()
            await site.start("at_start", None, "poison")
            assert (await site.end_of("poison")).output == '"mended"'
            assert site.world.crashes == 5

    simulate(seed, main)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_child_that_ends_its_host_at_its_start_fails(seed: int) -> None:
    async def main(loop: SimLoop) -> None:
        async with Guilty(loop, seed) as site:
            others = await innocents(site, 5)
            await site.start("parent", None, "parent")
            ended = await site.end_of("parent")
            assert "hosts were lost while workflow/child ran" in (ended.output or "")
            assert site.world.crashes <= 5
            for other in others:
                assert (await site.end_of(other)).status is Status.COMPLETED

    simulate(seed, main)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_scheduled_start_that_ends_its_host_stalls(seed: int) -> None:
    async def main(loop: SimLoop) -> None:
        async with Guilty(loop, seed) as site:
            others = await innocents(site, 5)
            at_ns = site.world.clock.now_ns() + 1_000_000_000
            await site.world.ask(
                lambda engine: engine.start(
                    "at_start", instance_id="poison", idempotency_key="k", scheduled_start_ns=at_ns
                )
            )
            await site.stalled("poison")
            assert site.world.crashes == 4
            for other in others:
                assert (await site.end_of(other)).status is Status.COMPLETED
            await site.mend()
            assert (await site.end_of("poison")).output == '"mended"'

    simulate(seed, main)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["after_event", "in_replay"])
def test_an_event_that_ends_its_host_is_refused_in_the_end(seed: int, name: str) -> None:
    async def main(loop: SimLoop) -> None:
        async with Guilty(loop, seed) as site:
            others = await innocents(site, 5)
            await site.start(name, None, "poison")
            await site.kill()  # so that the code is replayed
            await asyncio.sleep(30)
            before = site.world.crashes
            with pytest.raises(InstanceStalledError):
                await site.world.ask(
                    lambda engine: engine.raise_event("poison", "go", event_id="once")
                )
            await site.stalled("poison")
            assert site.world.crashes - before <= 5
            for other in others:
                assert (await site.end_of(other)).status is Status.COMPLETED
            await site.world.ask(lambda engine: engine.terminate("poison"))
            assert (await site.end_of("poison")).status is Status.TERMINATED

    simulate(seed, main)


@pytest.mark.parametrize("seed", SEEDS)
def test_many_of_them_are_found_out(seed: int) -> None:
    async def main(loop: SimLoop) -> None:
        async with Guilty(loop, seed) as site:
            others = await innocents(site, 5)
            ids = [await site.start("after_timer", 0.5, f"poison-{n}") for n in range(5)]
            for instance_id in ids:
                await site.stalled(instance_id)
            assert site.world.crashes <= 2 * len(ids) + 2
            for other in others:
                assert (await site.end_of(other)).status is Status.COMPLETED

    simulate(seed, main)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_turn_is_blamed_for_an_activity_and_no_activity_for_a_turn(seed: int) -> None:
    async def main(loop: SimLoop) -> None:
        async with Guilty(loop, seed) as site:
            others = await innocents(site, 5)
            others += [await site.start("innocent", [20.0], f"long-{n}") for n in range(2)]
            await site.start("after_timer", 0.5, "turn")
            await site.start("by_activity", 0.5, "activity")
            await site.stalled("turn")
            ended = await site.end_of("activity")
            assert "ActivityEndsHost" in str(ended.failure)
            for other in others:
                assert (await site.end_of(other)).status is Status.COMPLETED

    simulate(seed, main)


@pytest.mark.parametrize("seed", SEEDS)
def test_hosts_that_are_killed_again_and_again_convict_nobody(seed: int) -> None:
    async def main(loop: SimLoop) -> None:
        choose = random.Random(seed)
        async with Guilty(loop, seed, call_s=0.003) as site:
            others = [await site.start("innocent", [0.05] * 40, f"in-{n}") for n in range(20)]
            for _ in range(60):
                while not site.world.hosts or site.world.host.died.is_set():  # noqa: ASYNC110 -- it starts
                    await asyncio.sleep(0.01)
                await asyncio.sleep(choose.expovariate(0.5))
                await site.kill()
            for other in others:
                assert (await site.end_of(other)).status is Status.COMPLETED
            assert site.world.crashes == 60

    simulate(seed, main)
