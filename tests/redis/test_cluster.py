"""R07: slots that move under load, and how partitions lie in a cluster."""

import asyncio
from collections.abc import Iterator

import pytest
import pytest_asyncio

from actorflow.actors.store.redis import RedisStore
from actorflow.actors.store.redis.client import ClusterClient
from actorflow.actors.store.redis.keys import SLOTS, PartitionKeys, slot_of, tag_of
from tests.redis.layout import check_keys
from tests.redis.load import Writer, answers_of
from tests.servers import KINDS, Server, cluster

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module", params=KINDS)
def nodes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Server]]:
    with cluster(request.param, tmp_path_factory.mktemp("cluster"), 2) as servers:
        yield servers


@pytest_asyncio.fixture
async def moving(nodes: list[Server]) -> list[Server]:
    for server in nodes:
        server.do("FLUSHALL")
    return nodes


def migrate(source: Server, target: Server, slot: int) -> None:
    """Move one slot key by key, as resharding tools do."""
    source_id = source.do("CLUSTER", "MYID").decode()
    target_id = target.do("CLUSTER", "MYID").decode()
    target.do("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    while keys := source.do("CLUSTER", "GETKEYSINSLOT", slot, 1):
        source.do("MIGRATE", "127.0.0.1", target.port, keys[0], 0, 60_000)
    for server in (target, source):
        server.do("CLUSTER", "SETSLOT", slot, "NODE", target_id)


async def test_r07_slots_move_under_load(moving: list[Server]) -> None:
    # One address, and no word of a cluster: it is found out.
    store = RedisStore(moving[0].url, partition_count=8)
    await store.open()
    writers = [Writer(store, partition) for partition in range(8)]
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for writer in writers:
            group.create_task(writer.write_until(stop, at_least=50))
        for source, target in (moving, reversed(moving)):
            await asyncio.sleep(0.05)
            for keys in store.partitions[:3]:
                await asyncio.to_thread(migrate, source, target, keys.slot)
        stop.set()
    for writer in writers:
        await writer.check()
    client = store._client
    assert isinstance(client, ClusterClient)
    assert client._cluster.reinitialize_counter > 0, "nobody met a slot on its way"
    assert None not in answers_of(writers)
    assert sum(check_keys(server, store, root=False) for server in moving) == 1 + 8 * 4
    await store.close()


async def test_store_follows_slots_that_moved_while_it_was_idle(moving: list[Server]) -> None:
    store = RedisStore(moving[1].url, partition_count=4)
    await store.open()
    writer = Writer(store, 0)
    await writer.write(3)
    slot = store.partitions[0].slot
    await asyncio.to_thread(migrate, moving[0], moving[1], slot)
    await writer.write(3)
    await writer.check()
    await asyncio.to_thread(migrate, moving[1], moving[0], slot)
    await writer.check()
    await store.close()


@pytest.mark.parametrize("count", [1, 3, 16, 64, 1_024])
async def test_partitions_lie_evenly_over_the_slots(count: int) -> None:
    slots = [PartitionKeys("af", partition, count).slot for partition in range(count)]
    for partition, slot in enumerate(slots):
        assert partition * SLOTS // count <= slot < (partition + 1) * SLOTS // count


async def test_tags_never_change() -> None:
    """They are in the names of stored keys: a change would lose every partition."""
    assert [tag_of(partition, 64) for partition in (0, 1, 17, 63)] == PINNED
    assert tag_of(0, 1) == "0.0"
    assert slot_of(b"af:cluster") == 10_118


PINNED = ["0.178", "1.2", "17.139", "63.28"]
