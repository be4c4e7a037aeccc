"""Pausing what has not begun: said once, kept once."""

from datetime import UTC, datetime, timedelta

import pytest

from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import Registry, WorkflowClient, WorkflowContext, WorkflowEngine
from actorflow.workflow.naming import instance_actor

pytestmark = pytest.mark.asyncio

app = Registry()


@app.workflow
async def quick(ctx: WorkflowContext) -> str:
    return "done"


async def test_repeated_pauses_of_a_pending_instance_are_one_fact() -> None:
    async with WorkflowEngine(MemoryStore(), app) as engine:
        client = WorkflowClient(engine)
        later = datetime.now(UTC) + timedelta(hours=1)
        await client.start(quick, instance_id="later", start_at=later)
        for _ in range(5):
            await client.suspend("later")
        (record,) = await engine.actors.read([instance_actor("later")])
        assert record is not None
        assert sum(name.startswith("inbox:") for name in record.fields) == 2
        for _ in range(5):
            await client.resume("later")
        (record,) = await engine.actors.read([instance_actor("later")])
        assert record is not None
        assert sum(name.startswith("inbox:") for name in record.fields) == 3
