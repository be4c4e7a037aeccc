"""The store kit on SQLite, at both durability levels, and across closing and opening."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from actorflow.actors.ports import ActorWrite, CommitResult, PartitionStore
from actorflow.actors.store.sqlite import SqliteStore
from tests.conformance.store_kit import (
    AUDIT,
    ORDER,
    Owner,
    OwnershipKit,
    SteppedClock,
    picture_of,
    summary,
    wake,
)
from tests.conformance.store_kit_reads import ReadKit
from tests.conformance.store_kit_writes import WriteKit


@pytest.mark.asyncio
class TestLocal(OwnershipKit, WriteKit, ReadKit):
    """COMMIT on the loop."""

    @pytest_asyncio.fixture
    async def store(self, clock: SteppedClock, tmp_path: Path) -> AsyncIterator[PartitionStore]:
        store = SqliteStore(tmp_path / "actors.db", clock=clock)
        await store.open()
        yield store
        await store.close()


@pytest.mark.asyncio
class TestFsync(OwnershipKit, WriteKit):
    """COMMIT on the thread. Reads are the same."""

    @pytest_asyncio.fixture
    async def store(self, clock: SteppedClock, tmp_path: Path) -> AsyncIterator[PartitionStore]:
        store = SqliteStore(tmp_path / "actors.db", durability="fsync", clock=clock)
        await store.open()
        yield store
        await store.close()


@pytest.mark.asyncio
async def test_everything_is_there_after_closing(tmp_path: Path) -> None:
    path, clock = tmp_path / "actors.db", SteppedClock()
    store = SqliteStore(path, clock=clock)
    await store.open()
    owner = await Owner.of(store)
    await owner.create(
        ORDER,
        summary=summary(),
        put_fields=(("a", b"1"),),
        log_append=(b"1",),
        put_reminders=(wake("r", 5),),
    )
    last = owner.build(ActorWrite(AUDIT, owner.number(), create=True), put=(owner.message(b"m"),))
    await owner.send(last)
    picture = await picture_of(store, [ORDER, AUDIT])
    await store.close()
    again = SqliteStore(path, clock=clock)
    await again.open()
    assert await picture_of(again, [ORDER, AUDIT]) == picture
    assert await again.commit(last) is CommitResult.ALREADY
    # The lease of a process that is gone does not hold up the next one.
    new = await Owner.of(again, "t-2")
    assert (new.seq, new.next_number, new.next_message) == (2, 3, 2)
    assert await again.commit(last) is CommitResult.FENCED
    await again.close()
