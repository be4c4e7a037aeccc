"""The store kit on the memory store, and what only that store can do."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from actorflow.actors.ports import (
    Acquired,
    ActorWrite,
    CommitResult,
    PartitionStore,
    Query,
    Recovery,
)
from actorflow.actors.store.memory import MemoryStore
from tests.conformance.store_kit import (
    ORDER,
    TTL_MS,
    Owner,
    OwnershipKit,
    SteppedClock,
    picture_of,
    wake,
)
from tests.conformance.store_kit_reads import ReadKit
from tests.conformance.store_kit_writes import WriteKit


@pytest.mark.asyncio
class TestMemoryStore(OwnershipKit, WriteKit, ReadKit):
    """Every sentence of the ports."""

    @pytest_asyncio.fixture
    async def store(self, clock: SteppedClock) -> AsyncIterator[PartitionStore]:
        store = MemoryStore(clock=clock)
        await store.open()
        yield store
        await store.close()


@pytest.mark.asyncio
class TestMany:
    """Partitions are independent of each other."""

    async def test_partitions_have_their_own_owner_order_and_data(self) -> None:
        store = MemoryStore(clock=SteppedClock())
        first, second = await Owner.of(store, "t-1", 0), await Owner.of(store, "t-2", 7)
        await first.create(ORDER, put_reminders=(wake("r", 1),))
        await first.write(put=(first.message(),))
        assert await store.load(7, [ORDER], with_log=True) == [None]
        assert await store.recover(7, horizon_ms=9) == Recovery((), ())
        await second.write()
        assert (first.seq, second.seq) == (2, 1)

    async def test_find_joins_partitions_in_order(self) -> None:
        store = MemoryStore(clock=SteppedClock())
        for index, partition in enumerate((2, 0, 1, 2)):
            owner = await Owner.of(store, partition=partition)
            await owner.create(ORDER._replace(key=f"k{3 - index}"))
        found = await store.find(Query("Order", 3))
        assert [record.actor.key for record in found] == ["k0", "k1", "k2"]


@pytest.mark.asyncio
class TestSnapshot:
    """A store that lost its tail."""

    async def test_restored_store_is_what_it_was(self) -> None:
        store = MemoryStore(clock=SteppedClock())
        owner = await Owner.of(store)
        number = await owner.create(ORDER, put_fields=(("a", b"1"),), log_append=(b"1",))
        kept, picture = store.snapshot(), await picture_of(store, [ORDER])
        lost = owner.build(put=(owner.message(),))
        for _ in range(2):
            await owner.send(lost)
            later = owner.build()
            await owner.send(later)
            assert await picture_of(store, [ORDER]) != picture
            store.restore(kept)
            assert await picture_of(store, [ORDER]) == picture
            assert await store.commit(later) is CommitResult.SEQ
            owner.seq = lost.prev_seq
        again = await store.acquire(0, "t-1", ttl_ms=TTL_MS)
        assert isinstance(again, Acquired)
        assert again[1:4] == (1, number + 1, 1)

    async def test_snapshot_shares_nothing_with_the_store(self) -> None:
        store = MemoryStore(clock=SteppedClock())
        owner = await Owner.of(store)
        number = await owner.create(ORDER, put_fields=(("a", b"1"),), log_append=(b"1",))
        kept, picture = store.snapshot(), await picture_of(store, [ORDER])
        (record,) = await store.load(0, [ORDER], with_log=True)
        assert record is not None
        record.fields["a"] = b"changed by the reader"
        await owner.write(ActorWrite(ORDER, number, log_reset=True, put_fields=(("a", b"2"),)))
        store.restore(kept)
        assert await picture_of(store, [ORDER]) == picture
