"""The id of an ended instance is free again when all its descendants have ended too."""

from __future__ import annotations

import asyncio

import pytest

from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import Registry, WorkflowContext, WorkflowEngine
from actorflow.workflow.errors import InstanceExistsError
from actorflow.workflow.events import Status

app = Registry()


@app.workflow
async def parent(ctx: WorkflowContext, depth: int) -> None:
    if depth:
        await ctx.call_child_workflow("parent", input=depth - 1, instance_id=f"level-{depth - 1}")
    await ctx.wait_for_external_event("go")


async def _tree(engine: WorkflowEngine) -> None:
    await engine.start("parent", instance_id="level-2", input="2")
    async with asyncio.timeout(120):
        while await engine.get("level-0") is None:  # noqa: ASYNC110 -- nobody tells of a birth
            await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_a_grandchild_that_lives_holds_the_id() -> None:
    async with WorkflowEngine(MemoryStore(), app) as engine:
        await _tree(engine)
        await engine.terminate("level-1", recursive=False)
        await engine.terminate("level-2", recursive=False)
        with pytest.raises(InstanceExistsError, match="child workflow 'level-0': orchestration"):
            await engine.start("parent", instance_id="level-2", input="0")
        await engine.terminate("level-0")
        await engine.start("parent", instance_id="level-2", input="0")
        found = await engine.wait_for_start("level-2", timeout_s=120)
        assert found.status is Status.RUNNING
        assert found.generation == 2


@pytest.mark.asyncio
async def test_purged_children_hold_nothing() -> None:
    async with WorkflowEngine(MemoryStore(), app) as engine:
        await _tree(engine)
        await engine.terminate("level-2")
        for level in (1, 0):
            await engine.wait_for_completion(f"level-{level}", timeout_s=120)
            await engine.purge(f"level-{level}", recursive=False)
        await engine.start("parent", instance_id="level-2", input="0")
