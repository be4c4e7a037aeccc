"""Failures that users of durable workflows have met elsewhere, and must not meet here."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from actorflow.actors.errors import LimitExceededError
from actorflow.workflow import Registry, WorkflowClient, WorkflowContext
from actorflow.workflow.errors import InstanceExistsError
from actorflow.workflow.events import (
    Status,
    TimerCreated,
)
from actorflow.workflow.limits import Limits
from tests.sim.faulty_store import Faults
from tests.sim.invariants import (
    check_quiet,
    stored_instances,
    stored_messages,
    stored_reminders,
)
from tests.sim.loop import SimLoop, simulate
from tests.sim.stand import Stand, counting_app

if TYPE_CHECKING:
    from tests.sim.conftest import OverSeeds
    from tests.sim.host import Host


def test_child_with_an_id_in_use() -> None:
    app = counting_app()

    @app.workflow
    async def impatient(ctx: WorkflowContext) -> str:
        await ctx.call_child_workflow("naps", input=1, instance_id="taken")
        return "unreachable"

    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, app)
        await stand.world.start_host()
        await stand.start("naps", 100, instance_id="taken")
        await stand.start("impatient", instance_id="p")
        async with asyncio.timeout(10):
            instance = await stand.end_of("p")
        assert instance.status is Status.FAILED
        assert instance.failure is not None
        assert "taken" in instance.failure.message
        assert instance.failure.inner is not None
        assert instance.failure.inner.error_type == "WorkflowInstanceAlreadyExists"
        assert (await stand.end_of("taken")).status is Status.COMPLETED
        await stand.close()

    simulate(1, main)


def test_an_id_is_free_again_when_the_old_child_has_ended() -> None:
    app = counting_app()

    @app.workflow
    async def short(ctx: WorkflowContext) -> str:
        child = ctx.call_child_workflow("naps", input=100, instance_id="old-child")
        timer = ctx.create_timer(1)
        winner = await ctx.when_any([child, timer])
        if winner is timer:
            return "left"
        return str(await child)

    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, app)
        await stand.world.start_host()
        engine = stand.world.engine
        await engine.start("short", instance_id="p")
        assert json.loads((await stand.end_of("p")).output or "") == "left"
        with pytest.raises(InstanceExistsError, match="child workflow 'old-child'"):
            await engine.start("short", instance_id="p")
        await stand.end_of("old-child")
        await engine.start("short", instance_id="p")
        assert json.loads((await stand.end_of("p")).output or "") == "left"
        await asyncio.sleep(200)  # until its second child has ended too
        await stand.close()
        ended = [stored.state.status for stored in stored_instances(stand.memory)]
        assert ended == [Status.COMPLETED, Status.COMPLETED]

    simulate(1, main)


def test_same_event_awaited_a_thousand_times_leaves_no_timer() -> None:
    app = Registry()

    @app.workflow
    async def listener(ctx: WorkflowContext, count: int) -> int:
        for _ in range(count):
            await ctx.wait_for_external_event("tick", timeout=3_600)
        await ctx.wait_for_external_event("end", timeout=7_200)
        return count

    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, app)
        stand.store.on_applied = None
        await stand.world.start_host()
        await stand.start("listener", 1_000, instance_id="l")
        for number in range(1_000):
            await stand.raise_event("l", "tick", number, f"tick-{number}")
        await asyncio.sleep(1)
        assert len(stored_reminders(stand.memory)) == 1
        for _ in range(2):
            (reason,) = await stand.world.engine.why("l")
            assert (reason.kind, reason.detail) == ("event", "end")
            await stand.restart()
        await stand.raise_event("l", "end", None, "end")
        instance = await stand.end_of("l")
        assert instance.status is Status.COMPLETED
        created = [
            event
            for event in (await stand.world.engine.history("l")).events
            if isinstance(event, TimerCreated)
        ]
        assert len(created) == 1_001
        await stand.close()
        check_quiet(stand.memory)

    simulate(1, main)


def test_terminate_a_parent_with_many_children_under_load(over_seeds: OverSeeds) -> None:
    app = counting_app()

    @app.workflow
    async def family(ctx: WorkflowContext, size: int) -> None:
        await ctx.when_all(
            [ctx.call_child_workflow("naps", input=50, instance_id=f"kid-{n}") for n in range(size)]
        )

    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            stand = Stand(loop, app, seed, Faults(delay=0.3, lose_reply=0.1))
            stand.store.on_applied = None
            await stand.world.start_host()
            await stand.start("family", 100, instance_id="p")
            await asyncio.sleep(seed % 20 * 0.05)
            await stand.world.ask(lambda engine: engine.terminate("p"))
            if seed % 2:
                await stand.restart()
            assert (await stand.end_of("p")).status is Status.TERMINATED
            await asyncio.sleep(100)
            seen = Counter[str](
                stored.state.status.value for stored in stored_instances(stand.memory)
            )
            assert set(seen) == {Status.TERMINATED.value}
            await stand.close()
            check_quiet(stand.memory)
            return seen

        return simulate(seed, main)

    over_seeds(run, 10, must_see=["TERMINATED"])


@pytest.mark.parametrize(
    "instance_id",
    [
        "a|b||c",
        "user@host",
        "ünïcödé-☃-🎉",
        "x" * 1_000,
        "with space",
        "a/b?c#d%20",
        "'; drop",
        ".",
    ],
)
def test_ids_of_any_kind(instance_id: str) -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, counting_app())
        await stand.world.start_host()
        engine = stand.world.engine
        await stand.start("collect", {"got": [], "want": [1]}, instance_id=instance_id)
        await engine.suspend(instance_id, "wait")
        await engine.resume(instance_id)
        assert [reason.kind for reason in await engine.why(instance_id)] == ["event"]
        (listed,) = (await engine.list()).instances
        assert listed.instance_id == instance_id
        await stand.raise_event(instance_id, "n", 1, "e")
        assert (await stand.end_of(instance_id)).status is Status.COMPLETED
        assert len((await engine.history(instance_id)).events) > 2
        new_id = await engine.start("naps", instance_id=instance_id + "2", input="100")
        await engine.terminate(new_id)
        assert (await engine.purge(instance_id)).deleted_count == 1
        assert await engine.get(instance_id) is None
        await stand.close()

    simulate(1, main)


def test_slow_instance_does_not_delay_the_timers_of_others() -> None:
    app = counting_app()

    @app.workflow
    async def tick(ctx: WorkflowContext, due_s: float) -> float:
        began = ctx.now()
        await ctx.create_timer(due_s)
        return (ctx.now() - began).total_seconds() - due_s

    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, app)
        stand.store.on_applied = None
        await stand.world.start_host()
        await stand.start("naps", 60, instance_id="slow")
        await stand.start("rounds", 2_000, instance_id="busy")
        for number in range(100):
            await stand.start("tick", 1 + number / 100, instance_id=f"t-{number}")
        for number in range(100):
            late_s = json.loads((await stand.end_of(f"t-{number}")).output or "")
            assert 0 <= late_s < 0.1
        await stand.end_of("slow")
        await stand.close()

    simulate(1, main)


def test_two_thousand_rounds_in_flat_memory() -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, counting_app())
        stand.store.on_applied = None
        await stand.world.start_host()
        await stand.start("rounds", 2_000, instance_id="r")
        sizes = []
        while (await stand.world.engine.get("r")).status is not Status.COMPLETED:  # type: ignore[union-attr]  # it exists
            await asyncio.sleep(0.0005)
            ((stored),) = stored_instances(stand.memory)
            sizes.append(
                sum(map(len, stored.record.fields.values())) + sum(map(len, stored.record.log))
            )
        instance = await stand.world.engine.get("r")
        assert instance is not None
        assert instance.generation == 2_001
        assert max(sizes) < 4_096
        assert stored_messages(stand.memory) == []
        assert len(asyncio.all_tasks()) < 10
        await stand.close()

    simulate(1, main)


def test_unregistered_names_fail_at_once_and_say_so() -> None:
    async def main(loop: SimLoop) -> None:
        app = counting_app()

        @app.workflow
        async def calls(ctx: WorkflowContext, name: str) -> object:
            return await ctx.call_activity(name)

        stand = Stand(loop, app)
        await stand.world.start_host()
        await stand.start("no_such_workflow", instance_id="w")
        await stand.start("calls", "no_such_activity", instance_id="a")
        began_s = loop.time()
        for instance_id, name in (("w", "no_such_workflow"), ("a", "no_such_activity")):
            instance = await stand.end_of(instance_id)
            assert instance.status is Status.FAILED
            assert instance.failure is not None
            assert name in instance.failure.message
            assert "not registered" in instance.failure.message
        assert loop.time() - began_s < 1
        await stand.close()

    simulate(1, main)


def test_everything_but_progress_works_with_no_worker() -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, Registry())
        await stand.world.start_host()
        engine = stand.world.engine
        await stand.start("collect", {"got": [], "want": [2]}, instance_id="c")
        await stand.start("collect", {"got": [], "want": [2]}, instance_id="d")
        await stand.raise_event("c", "n", 1, "e1")
        await stand.raise_event("c", "n", 2, "e2")
        assert [i.status for i in (await engine.list()).instances] == [Status.PENDING] * 2
        assert (await engine.history("c")).events == ()
        assert [reason.kind for reason in await engine.why("c")] == ["worker"]
        await engine.terminate("d")
        assert (await engine.get("d")).status is Status.TERMINATED  # type: ignore[union-attr]  # it exists
        assert (await engine.purge("d")).deleted_count == 1
        stand.world.registry = counting_app()
        await stand.restart()
        assert json.loads((await stand.end_of("c")).output or "") == [1, 2]
        await stand.close()
        check_quiet(stand.memory)

    simulate(1, main)


def test_events_that_wait_for_a_worker_are_bounded() -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, Registry())
        stand.world.limits = Limits(history_events_max=5)
        await stand.world.start_host()
        engine = stand.world.engine
        await stand.start("collect", {"got": [], "want": [4]}, instance_id="c")
        for number in range(4):
            await engine.raise_event("c", "n", str(number))
        with pytest.raises(LimitExceededError, match="history_events_max"):
            await engine.raise_event("c", "n", "4")
        stand.world.registry, stand.world.limits = counting_app(), Limits()
        await stand.restart()
        assert json.loads((await stand.end_of("c")).output or "") == [0, 1, 2, 3]
        await stand.close()

    simulate(1, main)


def test_crash_between_the_result_and_the_timer_that_follows() -> None:
    """One commit holds both, so there is no moment between; S02 tries every other one."""

    async def main(loop: SimLoop) -> None:
        app = counting_app()

        @app.workflow
        async def then_timer(ctx: WorkflowContext) -> str:
            await ctx.call_activity("slow", input=0.1)
            await ctx.create_timer(5)
            return "end"

        for stop_at in range(1, 15):
            stand = Stand(loop, app)
            host = await stand.world.start_host()
            await stand.start("then_timer", instance_id="t")
            host.gate._stop_at = host.gate.calls + stop_at

            async def restart(stand: Stand = stand, host: Host = host) -> None:
                await host.died.wait()
                await stand.restart()

            meddler = asyncio.ensure_future(restart())
            assert json.loads((await stand.end_of("t")).output or "") == "end"
            if not meddler.cancel():
                await meddler
            await stand.close()

    simulate(1, main)


def test_client_and_engine_agree_on_results() -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, counting_app())
        await stand.world.start_host()
        client = WorkflowClient(stand.world.engine)
        assert await client.run("naps", 0.5) == 0.5
        await stand.close()

    simulate(1, main)


@pytest.mark.parametrize("count", [5, 999, 1_000, 1_001])
def test_pages_of_any_allowed_size_show_every_instance_once(count: int) -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, Registry())
        stand.store.on_applied = None
        await stand.world.start_host()
        for number in range(count):
            await stand.start("waits", instance_id=f"i-{number:05}")
        for limit in (999, 1_000):
            seen: list[str] = []
            after: str | None = ""
            while after is not None:
                page = await stand.world.engine.list(limit=limit, after=after)
                seen += [instance.instance_id for instance in page.instances]
                after = page.next_after
            assert seen == [f"i-{number:05}" for number in range(count)]
        await stand.close()

    simulate(1, main)
