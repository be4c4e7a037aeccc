"""S17 and S18: months of sleep in a moment, and the same run from the same seed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from actorflow.actors import runtime
from actorflow.workflow import Registry, WorkflowContext
from actorflow.workflow.events import Status
from tests.sim.invariants import check_quiet
from tests.sim.loop import SimLoop, simulate
from tests.sim.stand import Stand
from tests.sim.trace import trace

if TYPE_CHECKING:
    import pytest

DAY_S = 86_400.0


def sleeping_app() -> Registry:
    app = Registry()

    @app.workflow
    async def sleep_days(ctx: WorkflowContext, days: float) -> float:
        began = ctx.now()
        await ctx.create_timer(days * DAY_S)
        return (ctx.now() - began).total_seconds() - days * DAY_S

    @app.workflow
    async def daily(ctx: WorkflowContext, left: int) -> str:
        if left == 0:
            return "done"
        await ctx.create_timer(DAY_S)
        return ctx.continue_as_new(left - 1)

    return app


def test_s17_hundred_virtual_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers fire on the day, idle instances cost no memory, and nothing is left in the end."""
    monkeypatch.setattr(runtime, "HOUSEKEEPING_S", 60.0)

    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, sleeping_app())
        stand.store.on_applied = None
        await stand.world.start_host()
        for number in range(100):
            await stand.start("sleep_days", 99 * (number + 1) / 100, instance_id=f"s-{number}")
        for number in range(5):
            await stand.start("daily", 99, instance_id=f"d-{number}")
        for day in range(1, 100):
            await asyncio.sleep(DAY_S)
            gauges = stand.world.engine.stats().gauges
            assert gauges["live_actors"] <= 10
            assert gauges["armed_reminders"] <= 10
            assert len(asyncio.all_tasks()) < 10
            if day % 33 == 0:
                await stand.restart()
        await asyncio.sleep(DAY_S)
        for number in range(100):
            instance = await stand.end_of(f"s-{number}")
            assert 0 <= json.loads(instance.output or "") < 60
        for number in range(5):
            instance = await stand.end_of(f"d-{number}")
            assert instance.status is Status.COMPLETED
            assert instance.generation == 100
        await stand.close()
        check_quiet(stand.memory)

    simulate(1, main)


def test_s17_a_store_that_fails_when_the_next_timers_are_due_loses_none() -> None:
    """The store is away for a minute whenever the engine looks for the next window."""

    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, sleeping_app())
        await stand.world.start_host()
        for minutes in range(1, 40):
            await stand.start("sleep_days", minutes / 1_440, instance_id=f"s-{minutes}")

        async def trouble() -> None:
            for _ in range(20):
                await asyncio.sleep(145)
                stand.store.faults = stand.store.faults.__class__(reads=0.9)
                await asyncio.sleep(10)
                stand.store.faults = stand.store.faults.__class__()

        async with asyncio.TaskGroup() as group:
            group.create_task(trouble())
            for minutes in range(1, 40):
                instance = await stand.end_of(f"s-{minutes}")
                assert json.loads(instance.output or "") < 30
        await stand.close()
        check_quiet(stand.memory)

    simulate(1, main)


def test_s18_same_seed_same_run() -> None:
    assert [trace(seed) for seed in range(5)] == [trace(seed) for seed in range(5)]


def test_s18_same_run_in_every_process() -> None:
    root = Path(__file__).parents[2]
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.sim.trace", "20"],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
        )
        for hash_seed in ("1", "2")
    ]
    outputs = [run.communicate(timeout=280)[0].decode() for run in runs]
    assert outputs[0].count("\n") == 20
    assert outputs[0] == outputs[1]
