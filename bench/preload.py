"""Fills a store with copies of an instance, without running them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec

from actorflow.actors.address import ActorId, partition_of
from actorflow.actors.ports import Acquired, ActorWrite, Commit, CommitResult
from actorflow.actors.store.memory import MemoryStore
from actorflow.workflow.codec import decode_event, encode_event
from actorflow.workflow.engine import WorkflowEngine
from actorflow.workflow.events import ExecutionStarted
from actorflow.workflow.requests import INSTANCE
from bench.workflows import app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.actors.ports import ActorRecord, PartitionStore

GROUP = 500
"""Instances in one commit to a store of one partition; a commit to one of many has fewer."""

GROUP_OF_MANY = 64


async def preload(
    store: PartitionStore, copied: ActorRecord, count: int, partition_count: int = 1
) -> list[str]:
    """Write `count` copies of an instance under random ids; the store is closed again.

    Returns: the ids.
    """
    chance = random.Random(1)
    ids = [f"{chance.getrandbits(128):032x}" for _ in range(count)]
    by_partition: dict[int, list[ActorId]] = {}
    for one in ids:
        actor = ActorId(INSTANCE, one)
        by_partition.setdefault(partition_of(actor, partition_count), []).append(actor)
    await store.open()
    for partition, actors in by_partition.items():
        await _fill(
            store, partition, copied, actors, GROUP if partition_count == 1 else GROUP_OF_MANY
        )
    await store.close()
    return ids


async def _fill(
    store: PartitionStore,
    partition: int,
    copied: ActorRecord,
    actors: Sequence[ActorId],
    group: int,
) -> None:
    acquired = await store.acquire(partition, "preload", ttl_ms=60_000)
    assert isinstance(acquired, Acquired)
    for n, first in enumerate(range(0, len(actors), group)):
        writes = [
            ActorWrite(
                actor,
                number,
                create=True,
                summary=copied.summary,
                put_fields=tuple(copied.fields.items()),
                log_append=_log_for(actor, copied),
            )
            for number, actor in enumerate(actors[first : first + group], first + 1)
        ]
        seq = acquired.seq + n
        commit = Commit(acquired.lease, seq, seq + 1, f"preload-{partition}-{n}", tuple(writes))
        assert await store.commit(commit) is CommitResult.OK
    await store.release(acquired.lease)


def _log_for(actor: ActorId, copied: ActorRecord) -> tuple[bytes, ...]:
    """Return the history under another id."""
    first = decode_event(copied.log[0])
    assert isinstance(first, ExecutionStarted), "a history begins with its start"
    return (encode_event(msgspec.structs.replace(first, instance_id=actor.key)), *copied.log[1:])


async def finished_hello() -> ActorRecord:
    """Return a `hello` that has ended."""
    return await _lived("hello", '"World"', to_the_end=True)


async def parked_listener() -> ActorRecord:
    """Return a `listener` that waits for its first event."""
    return await _lived("listener", '""', to_the_end=False)


async def _lived(name: str, text: str, *, to_the_end: bool) -> ActorRecord:
    store = MemoryStore()
    async with WorkflowEngine(store, app) as engine:
        instance_id = await engine.start(name, input=text)
        if to_the_end:
            await engine.wait_for_completion(instance_id, timeout_s=10)
    record = (await store.load(0, [ActorId(INSTANCE, instance_id)], with_log=True))[0]
    assert record is not None
    return record
