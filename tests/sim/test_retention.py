"""Ended instances are deleted when their time is up, restarts or not."""

from __future__ import annotations

import asyncio
import json

import pytest

from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import Registry, WorkflowContext, WorkflowEngine
from actorflow.workflow.events import Status
from actorflow.workflow.retention import RetentionPolicy
from tests.sim.invariants import stored_instances, stored_reminders
from tests.sim.loop import SimClock, SimLoop, simulate

HOUR_S = 3_600.0

app = Registry()


@app.workflow
async def ends(ctx: WorkflowContext, how: str) -> str:
    if how == "fail":
        raise ValueError(how)
    if how == "wait":
        await ctx.wait_for_external_event("never")
    return how


async def _run(engine: WorkflowEngine, how: str) -> None:
    await engine.start("ends", instance_id=how, input=json.dumps(how))
    if how == "wait":
        await engine.terminate(how)
    await engine.wait_for_completion(how, timeout_s=10)


def _kept(store: MemoryStore) -> set[str]:
    return {stored.instance_id for stored in stored_instances(store)}


def test_each_status_has_its_own_time_and_the_special_one_wins() -> None:
    policy = RetentionPolicy(any_terminal_s=2 * HOUR_S, failed_s=0.0, completed_s=HOUR_S)

    async def main(loop: SimLoop) -> None:
        store = MemoryStore(clock=SimClock(loop))
        clock = SimClock(loop)
        async with WorkflowEngine(store, app, clock=clock, retention=policy) as engine:
            for how in ("ok", "fail", "wait"):
                await _run(engine, how)
            await asyncio.sleep(1)
            assert _kept(store) == {"ok", "wait"}
        async with WorkflowEngine(store, app, clock=clock, retention=policy):
            await asyncio.sleep(HOUR_S)
            assert _kept(store) == {"wait"}
            await asyncio.sleep(HOUR_S)
            assert not _kept(store)
            assert not stored_reminders(store)

    simulate(1, main)


def test_an_id_that_is_used_again_is_not_deleted_with_its_former_user() -> None:
    policy = RetentionPolicy(any_terminal_s=HOUR_S)

    async def main(loop: SimLoop) -> None:
        store = MemoryStore(clock=SimClock(loop))
        clock = SimClock(loop)
        async with WorkflowEngine(store, app, clock=clock, retention=policy) as engine:
            await _run(engine, "ok")
            await asyncio.sleep(HOUR_S - 60)
            await engine.start("ends", instance_id="ok", input='"wait"')
            await asyncio.sleep(2 * HOUR_S)
            found = await engine.get("ok")
            assert found is not None
            assert found.status is Status.RUNNING

    simulate(1, main)


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.TERMINATED])
def test_without_a_policy_all_is_kept(status: Status) -> None:
    assert RetentionPolicy().due_ms(status, 1) is None
