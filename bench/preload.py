"""Fills a store with finished instances, without running them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from actorflow.actors.address import ActorId
from actorflow.actors.ports import Acquired, ActorWrite, Commit, CommitResult
from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow.engine import WorkflowEngine
from actorflow.workflow.requests import INSTANCE
from bench.workflows import app

if TYPE_CHECKING:
    from actorflow.actors.ports import ActorRecord, PartitionStore

GROUP = 500
"""Instances in one commit."""


async def preload(store: PartitionStore, count: int) -> None:
    """Write `count` copies of a finished `hello`, under random ids; the store is closed again."""
    finished = await _finished_hello()
    chance = random.Random(1)
    await store.open()
    acquired = await store.acquire(0, "preload", ttl_ms=60_000)
    assert isinstance(acquired, Acquired)
    for n, first in enumerate(range(1, count + 1, GROUP)):
        writes = [
            ActorWrite(
                ActorId(INSTANCE, f"{chance.getrandbits(128):032x}"),
                number,
                create=True,
                summary=finished.summary,
                put_fields=tuple(finished.fields.items()),
                log_append=finished.log,
            )
            for number in range(first, min(first + GROUP, count + 1))
        ]
        seq = acquired.seq + n
        commit = Commit(acquired.lease, seq, seq + 1, f"preload-{n}", tuple(writes))
        assert await store.commit(commit) is CommitResult.OK
    await store.release(acquired.lease)
    await store.close()


async def _finished_hello() -> ActorRecord:
    store = MemoryStore()
    async with WorkflowEngine(store, app) as engine:
        instance_id = await engine.start("hello", input='"World"')
        await engine.wait_for_completion(instance_id, timeout_s=10)
    record = (await store.load(0, [ActorId(INSTANCE, instance_id)], with_log=True))[0]
    assert record is not None
    return record
