"""What `fsck` makes of summaries as older releases wrote them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from actorflow.actors import ActorId
from actorflow.workflow import Registry, WorkflowContext
from actorflow.workflow.fsck import Fsck
from actorflow.workflow.records import as_before_details
from actorflow.workflow.requests import INSTANCE
from tests.sim.loop import SimLoop, simulate
from tests.sim.stand import Stand

if TYPE_CHECKING:
    from actorflow.actors.store.memory import MemoryStore


def findings(store: MemoryStore) -> int:
    return len(asyncio.run(Fsck(store, 1, is_live=False).check()).findings)


def test_heads_without_version_tags_and_begin_are_clean() -> None:
    """Nothing is lost, and nothing is to be done."""
    app = Registry()

    @app.workflow
    async def waits(ctx: WorkflowContext) -> None:
        await ctx.wait_for_external_event("go")

    stores: list[MemoryStore] = []

    async def main(loop: SimLoop) -> None:
        stand = Stand(loop, app)
        await stand.world.start_host()
        await stand.world.ask(
            lambda engine: engine.start("waits", instance_id="i", version="2", tags={"a": "b"})
        )
        await asyncio.sleep(1)
        await stand.world.stop_hosts()
        stores.append(stand.memory)

    simulate(1, main)
    (store,) = stores
    stored = store._partitions[0].actors[ActorId(INSTANCE, "i")]
    assert stored.summary is not None
    older = as_before_details(stored.summary)
    assert older != stored.summary
    stored.summary = older
    assert findings(store) == 0
    stored.summary = older._replace(phase="COMPLETED")
    assert findings(store) == 1
