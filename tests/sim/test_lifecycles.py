"""Ends and new beginnings: S12, S13 and S15 of the fault plan."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from actorflow.workflow import Registry, WorkflowContext
from actorflow.workflow.errors import InstanceExistsError, InstanceNotFoundError, NotTerminalError
from actorflow.workflow.events import (
    ChildCompleted,
    EventRaised,
    Status,
    TaskCompleted,
)
from tests.sim.faulty_store import NO_FAULTS, Faults
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


@pytest.mark.parametrize("crash", [False, True], ids=["smooth", "crashing"])
def test_s12_thousand_events_during_continue_as_new(crash: bool) -> None:
    """Users 5: none lost, none doubled, in order; the sender repeats what it is unsure of."""

    async def main(loop: SimLoop) -> None:
        faults = Faults(lose_reply=0.1, lose_request=0.05, delay=0.5) if crash else NO_FAULTS
        stand = Stand(loop, counting_app(), 3, faults)
        stand.store.on_applied = None
        await stand.world.start_host()
        await stand.start("collect", {"got": [], "want": [1_000]}, instance_id="c")

        async def send() -> None:
            for number in range(1_000):
                await stand.raise_event("c", "N", number, f"event-{number}")
                if crash and number % 90 == 89:
                    await stand.raise_event("c", "N", number, f"event-{number}")
                    await stand.restart()
                    await stand.raise_event("c", "N", number, f"event-{number}")

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            instance = await stand.end_of("c")
        assert json.loads(instance.output or "") == list(range(1_000))
        assert instance.generation > 300
        await stand.close()

    simulate(3, main)


def test_s12_event_sent_again_after_continue_as_new_and_restart() -> None:
    """The engine remembers event ids of an instance, not only of its present execution."""

    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, counting_app())
        await stand.world.start_host()
        await stand.start("collect", {"got": [], "want": [5]}, instance_id="c")
        for number in range(4):
            await stand.raise_event("c", "n", number, f"event-{number}")
        await asyncio.sleep(1)
        await stand.restart()
        for number in range(5):
            await stand.raise_event("c", "n", number, f"event-{number}")
        instance = await stand.end_of("c")
        assert json.loads(instance.output or "") == [0, 1, 2, 3, 4]
        await stand.close()

    simulate(1, main)


def test_s12_event_sent_again_while_no_worker_has_seen_it() -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, Registry())
        await stand.world.start_host()
        await stand.start("collect", {"got": [], "want": [2]}, instance_id="c")
        await stand.raise_event("c", "n", 0, "event-0")
        await stand.restart()
        await stand.raise_event("c", "n", 0, "event-0")
        stand.world.registry = counting_app()
        await stand.restart()
        await stand.raise_event("c", "n", 1, "event-1")
        assert json.loads((await stand.end_of("c")).output or "") == [0, 1]
        await stand.close()

    simulate(1, main)


def test_s12_child_completes_across_continue_as_new() -> None:
    """Users 6: the parent sees the end of a child that went on as new, 50 times."""

    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, counting_app())
        await stand.world.start_host()
        await stand.start("parent", 50, instance_id="p")
        assert json.loads((await stand.end_of("p")).output or "") == "the-child"
        history = (await stand.world.engine.history("p")).events
        assert sum(isinstance(event, ChildCompleted) for event in history) == 1
        await stand.close()
        check_quiet(stand.memory)

    simulate(1, main)


def test_s12_late_result_of_the_execution_before_is_dropped(over_seeds: OverSeeds) -> None:
    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            stand = Stand(loop, counting_app(), seed, Faults(delay=0.5))
            await stand.world.start_host()
            await stand.start("leaves_a_call", 3, instance_id="l")
            if seed % 2:
                await asyncio.sleep(1)
                await stand.restart()
            instance = await stand.end_of("l")
            assert json.loads(instance.output or "") == "end"
            results = [
                event
                for event in (await stand.world.engine.history("l")).events
                if isinstance(event, TaskCompleted)
            ]
            assert [json.loads(event.result or "") for event in results] == [5]
            await stand.close()
            check_quiet(stand.memory)
            return Counter(generations=instance.generation - 1)

        return simulate(seed, main)

    over_seeds(run, 10, must_see=["generations"])


def test_s12_facts_that_waited_for_a_worker_do_not_reach_the_next_execution() -> None:
    """A timer fired while nobody could run the code, behind an event that makes it continue as new:
    the next execution has a timer with the same number."""
    app = counting_app()

    @app.workflow
    async def race(ctx: WorkflowContext, again: bool) -> str:
        if again:
            first = ctx.create_timer(60)
            await ctx.when_any([first, ctx.wait_for_external_event("go")])
            ctx.continue_as_new(False)
        began = ctx.now()
        await ctx.create_timer(1_000)
        return str((ctx.now() - began).total_seconds() >= 1_000)

    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, app)
        await stand.world.start_host()
        await stand.start("race", True, instance_id="r")
        stand.world.registry = Registry()
        await stand.restart()
        await stand.raise_event("r", "go", 1, "e1")
        await asyncio.sleep(100)
        stand.world.registry = app
        await stand.restart()
        assert json.loads((await stand.end_of("r")).output or "") == "True"
        await stand.close()

    simulate(1, main)


def test_s12_id_reuse_while_a_result_of_the_old_instance_is_on_its_way() -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, counting_app())
        await stand.world.start_host()
        await stand.start("naps", 5, instance_id="n")
        old = await stand.world.engine.get("n")
        assert old is not None
        await stand.world.engine.terminate("n")
        await stand.world.engine.start("naps", input="7", instance_id="n")
        new = await stand.end_of("n")
        assert new.execution_id != old.execution_id
        assert json.loads(new.output or "") == 7
        with pytest.raises(InstanceExistsError):
            await stand.world.engine.start("naps", input="7", instance_id="n", unique=True)
        await stand.close()
        check_quiet(stand.memory)

    simulate(1, main)


def test_s12_status_never_goes_back_to_pending() -> None:
    """I10, and users 16: who reads all the time sees a status at each moment, and never PENDING
    again after RUNNING, however often the instance goes on as new."""

    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, counting_app())
        await stand.world.start_host()
        seen: list[tuple[str, int]] = []

        def look() -> None:
            for stored in stored_instances(stand.memory):
                summary = stored.record.summary
                assert summary is not None
                seen.append((summary.phase, stored.state.generation))

        stand.store.on_applied = look
        await stand.start("rounds", 2_000, instance_id="r")
        await stand.end_of("r")
        phases = [phase for phase, _ in seen]
        assert Status.PENDING.value not in phases[1:], phases
        assert phases[-1] == Status.COMPLETED.value
        assert len(phases) >= 4
        await stand.close()

    simulate(1, main)


def test_s12_late_result_after_a_rerun_goes_to_neither() -> None:
    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, counting_app())
        await stand.world.start_host()
        engine = stand.world.engine
        await stand.start("naps", 5, instance_id="n")
        await asyncio.sleep(1)
        await engine.terminate("n")
        await engine.rerun("n", 1, new_instance_id="again")
        instance = await stand.end_of("again")
        assert json.loads(instance.output or "") == 5
        results = [
            event
            for event in (await engine.history("again")).events
            if isinstance(event, TaskCompleted)
        ]
        assert len(results) == 1
        await stand.close()
        check_quiet(stand.memory)

    simulate(1, main)


# ---- S13 -----------------------------------------------------------------------------------------


def test_s13_duplicate_and_strange_completions_are_dropped() -> None:
    """Users 4: a result said twice, before it was asked for, or of nobody: no effect, no spin."""

    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, counting_app())
        await stand.world.start_host()
        await stand.start("naps", 2, instance_id="n")
        await asyncio.sleep(0.5)
        instance = await stand.world.engine.get("n")
        assert instance is not None
        for task_id in (1, 1, 2, 77):
            result = TaskCompleted(at_ns=0, task_id=task_id, result=str(task_id))
            stand.deliver_result("n", instance.execution_id, result)
            stand.deliver_result("n", "another-execution", result)
            stand.deliver_result("nobody", instance.execution_id, result)
        end = await stand.end_of("n")
        assert json.loads(end.output or "") == 1
        await asyncio.sleep(5)
        commits = len(stand.store.audit.applied)
        await asyncio.sleep(60)
        assert len(stand.store.audit.applied) == commits
        await stand.close()
        check_quiet(stand.memory)

    simulate(1, main)


def test_s13_timer_and_event_race(over_seeds: OverSeeds) -> None:
    """The event comes at about the time-out: one of them wins, the other leaves nothing behind."""
    app = Registry()

    @app.workflow
    async def race(ctx: WorkflowContext) -> str:
        try:
            return str(await ctx.wait_for_external_event("go", timeout=1.0, type=str))
        except TimeoutError:
            return "late"

    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            stand = Stand(loop, app, seed, Faults(delay=0.5, delay_max_s=0.01))
            await stand.world.start_host()
            await stand.start("race", instance_id="r")
            await asyncio.sleep(0.98 + 0.002 * (seed % 20))
            await stand.raise_event("r", "go", "in time", "e")
            output = json.loads((await stand.end_of("r")).output or "")
            history = (await stand.world.engine.history("r")).events
            raised = sum(isinstance(event, EventRaised) for event in history)
            assert raised == (output == "in time")
            await stand.close()
            check_quiet(stand.memory)
            return Counter([output])

        return simulate(seed, main)

    over_seeds(run, 60, must_see=["late", "in time"])


# ---- S15 -----------------------------------------------------------------------------------------


def test_s15_purge_at_every_moment(over_seeds: OverSeeds) -> None:
    """Users 15: a forced purge while a result is in flight leaves nothing, and nothing retries."""

    def run(seed: int) -> Counter[str]:
        async def main(loop: SimLoop) -> Counter[str]:
            stand = Stand(loop, counting_app(), seed, Faults(delay=0.3))
            stand.store.on_applied = None  # the purge leaves children that nobody asked to end
            await stand.world.start_host()
            await stand.start("naps", 0.2, instance_id="n")
            await stand.start("parent", 60, instance_id="p")
            await asyncio.sleep(seed % 40 * 0.01)
            seen = Counter[str]()
            for instance_id in ("n", "p"):
                running = False
                try:
                    await stand.world.engine.purge(instance_id)
                except NotTerminalError:
                    running = True
                    await stand.world.engine.purge(instance_id, force=True)
                with pytest.raises(InstanceNotFoundError):
                    await stand.world.engine.purge(instance_id)
                seen["running" if running else "ended"] += 1
            await asyncio.sleep(86_400)
            commits = len(stand.store.audit.applied)
            await asyncio.sleep(86_400)
            assert len(stand.store.audit.applied) == commits
            left = {stored.instance_id for stored in stored_instances(stand.memory)}
            assert left <= {"the-child"}
            assert stored_messages(stand.memory) == []
            assert stored_reminders(stand.memory) == []
            await stand.close()
            return seen

        return simulate(seed, main)

    over_seeds(run, 20, must_see=["running", "ended"])
