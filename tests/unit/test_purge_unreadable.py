"""An instance whose data cannot be read can still be deleted, by force, and its id used again."""

import pytest

from actorflow.actors import ActorId
from actorflow.actors.errors import CorruptError
from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow import Registry, WorkflowClient, WorkflowContext, WorkflowEngine
from actorflow.workflow.errors import NotTerminalError

pytestmark = pytest.mark.asyncio

app = Registry()


@app.workflow
async def wait_for_it(ctx: WorkflowContext) -> str:
    return str(await ctx.wait_for_external_event("it"))


async def test_force_deletes_what_cannot_be_read() -> None:
    store = MemoryStore()
    async with WorkflowEngine(store, app) as engine:
        client = WorkflowClient(engine)
        await client.start(wait_for_it, instance_id="hurt")
        await client.start(wait_for_it, instance_id="well")
    snapshot = store.snapshot()
    stored = snapshot._partitions[0].actors[ActorId("workflow", "hurt")]
    stored.log[0] = b"1{"
    store.restore(snapshot)
    async with WorkflowEngine(store, app) as engine:
        client = WorkflowClient(engine)
        with pytest.raises(NotTerminalError):
            await engine.purge("hurt")
        with pytest.raises(CorruptError):
            await engine.raise_event("hurt", "it")
        assert (await engine.purge("hurt", force=True)).deleted_count == 1
        assert await engine.get("hurt") is None
        await client.start(wait_for_it, instance_id="hurt")
        await client.raise_event("hurt", "it", 1)
        assert await client.result("hurt") == "1"
        assert await engine.get("well") is not None
