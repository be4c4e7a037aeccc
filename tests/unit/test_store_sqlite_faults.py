"""SQLite fails: what the caller is told, and that nothing is half done."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import pytest_asyncio

from actorflow.actors.errors import CorruptError, StoreUnavailableError, UsageError
from actorflow.actors.ports import ActorWrite, CommitResult
from actorflow.actors.store.sqlite import Durability, SqliteStore
from actorflow.actors.store.sqlite import reader as reader_module
from tests.conformance.store_kit import (
    AUDIT,
    ORDER,
    TTL_MS,
    Owner,
    SteppedClock,
    picture_of,
    summary,
)
from tests.fakes.faulty_sqlite import Faults, sqlite_error


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest_asyncio.fixture(params=["local", "fsync"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, faults: Faults
) -> AsyncIterator[SqliteStore]:
    durability: Durability = request.param
    store = SqliteStore(
        tmp_path / "actors.db",
        durability=durability,
        clock=SteppedClock(),
        connection_factory=faults.connection_class(),
    )
    await store.open()
    yield store
    await store.close()


async def half(owner: Owner) -> None:
    """Leave something to compare with."""
    await owner.create(ORDER, summary=summary(), log_append=(b"1",))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (sqlite3.SQLITE_FULL, "disk is full"),
        (sqlite3.SQLITE_IOERR_WRITE, "disk does not answer"),
        (sqlite3.SQLITE_BUSY, "another program holds a lock"),
        (sqlite3.SQLITE_READONLY, "read-only"),
        (sqlite3.SQLITE_NOMEM, "no memory"),
        (sqlite3.SQLITE_INTERNAL, "SQLite gave up"),
    ],
)
@pytest.mark.parametrize(
    "statement", ["BEGIN", "UPDATE actor", "INSERT INTO log", "UPDATE partition"]
)
async def test_failure_before_commit_is_not_written(
    store: SqliteStore, faults: Faults, statement: str, code: int, cause: str
) -> None:
    owner = await Owner.of(store)
    await half(owner)
    before = await picture_of(store, [ORDER])
    commit = owner.build(ActorWrite(ORDER, 1, summary=summary(), log_start=1, log_append=(b"2",)))
    faults.before[statement] = sqlite_error(code)
    with pytest.raises(StoreUnavailableError, match=cause) as caught:
        await store.commit(commit)
    assert caught.value.written is False
    assert await picture_of(store, [ORDER]) == before
    assert await store.commit(commit) is CommitResult.OK


@pytest.mark.asyncio
async def test_first_commit_of_an_owner_that_cannot_read_the_row_is_not_written(
    store: SqliteStore, faults: Faults
) -> None:
    """Later ones compare it as they change it."""
    owner = await Owner.of(store)
    commit = owner.build(ActorWrite(ORDER, 1, create=True))
    faults.before["SELECT epoch"] = sqlite_error(sqlite3.SQLITE_IOERR_READ)
    with pytest.raises(StoreUnavailableError, match="disk does not answer") as caught:
        await store.commit(commit)
    assert caught.value.written is False
    assert await store.load(0, [ORDER], with_log=True) == [None]
    assert await store.commit(commit) is CommitResult.OK


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("column", "value", "result"),
    [
        ("epoch", 1, CommitResult.FENCED),
        ("token", "t-9", CommitResult.FENCED),
        ("token", None, CommitResult.FENCED),
        ("seq", 7, CommitResult.SEQ),
        ("commit_id", "t-1:2", CommitResult.ALREADY),
        ("commit_id", "another", CommitResult.OK),
        ("next_actor_number", 3, CommitResult.BAD),
        ("next_message_id", 2, CommitResult.BAD),
    ],
)
async def test_row_that_changed_behind_the_owner_decides(
    store: SqliteStore, faults: Faults, column: str, value: object, result: CommitResult
) -> None:
    owner = await Owner.of(store)
    await owner.create(ORDER)
    commit = owner.build(ActorWrite(AUDIT, 2, create=True), put=(owner.message(),))
    (connection,) = faults.connections
    connection.execute(f"UPDATE partition SET {column} = ?", (value,))
    assert await store.commit(commit) is result
    (record,) = await store.load(0, [AUDIT], with_log=True)
    assert (record is not None) is (result is CommitResult.OK)
    changed = connection.execute(f"SELECT {column} FROM partition").fetchone()[0]
    assert result is CommitResult.OK or changed == value


@pytest.mark.asyncio
async def test_owner_that_was_fenced_out_hears_that_before_what_is_wrong(
    store: SqliteStore,
) -> None:
    owner = await Owner.of(store)
    await owner.create(ORDER)
    malformed = owner.build()._replace(commit_id="\ud800")
    assert await store.commit(malformed) is CommitResult.BAD
    await store.release(owner.lease)
    assert await store.commit(malformed) is CommitResult.FENCED


@pytest.mark.asyncio
async def test_failed_commit_that_was_not_applied_is_sent_again(
    store: SqliteStore, faults: Faults
) -> None:
    owner = await Owner.of(store)
    commit = owner.build(ActorWrite(ORDER, 1, create=True))
    faults.before["COMMIT"] = sqlite_error(sqlite3.SQLITE_IOERR)
    with pytest.raises(StoreUnavailableError) as caught:
        await store.commit(commit)
    assert caught.value.written is None
    assert await store.load(0, [ORDER], with_log=True) == [None]
    assert await store.commit(commit) is CommitResult.OK


@pytest.mark.asyncio
async def test_failed_commit_that_was_applied_is_already(
    store: SqliteStore, faults: Faults
) -> None:
    owner = await Owner.of(store)
    commit = owner.build(ActorWrite(ORDER, 1, create=True))
    faults.after["COMMIT"] = sqlite_error(sqlite3.SQLITE_IOERR)
    with pytest.raises(StoreUnavailableError) as caught:
        await store.commit(commit)
    assert caught.value.written is None
    assert await store.commit(commit) is CommitResult.ALREADY


@pytest.mark.asyncio
async def test_connection_that_cannot_roll_back_is_replaced(
    store: SqliteStore, faults: Faults, tmp_path: Path
) -> None:
    owner = await Owner.of(store)
    await half(owner)
    commit = owner.build(ActorWrite(ORDER, 1, log_start=1, log_append=(b"2",)))
    faults.before["UPDATE partition"] = sqlite_error(sqlite3.SQLITE_IOERR)
    faults.before["ROLLBACK"] = sqlite_error(sqlite3.SQLITE_IOERR)
    with pytest.raises(StoreUnavailableError):
        await store.commit(commit)
    log_path = tmp_path / "actors.db-wal"
    log_inode = log_path.stat().st_ino
    assert await store.commit(commit) is CommitResult.OK
    assert len(faults.connections) == 2
    assert log_path.stat().st_ino == log_inode  # which the checkpointer has open
    (record,) = await store.load(0, [ORDER], with_log=True)
    assert record is not None
    assert record.log == (b"1", b"2")


@pytest.mark.asyncio
async def test_damaged_file_is_corrupt(store: SqliteStore, faults: Faults) -> None:
    owner = await Owner.of(store)
    faults.before["UPDATE partition"] = sqlite_error(sqlite3.SQLITE_CORRUPT, "malformed")
    with pytest.raises(CorruptError, match="damaged"):
        await store.commit(owner.build())
    await owner.write()


@pytest.mark.asyncio
async def test_ownership_survives_a_failure(store: SqliteStore, faults: Faults) -> None:
    faults.before["COMMIT"] = sqlite_error(sqlite3.SQLITE_FULL)
    with pytest.raises(StoreUnavailableError):
        await store.acquire(0, "t-1", ttl_ms=TTL_MS)
    owner = await Owner.of(store, "t-2")
    faults.before["BEGIN"] = sqlite_error(sqlite3.SQLITE_FULL)
    with pytest.raises(StoreUnavailableError):
        await store.release(owner.lease)
    await owner.write()


@pytest.mark.asyncio
async def test_full_file_loses_nothing_and_goes_on(store: SqliteStore, faults: Faults) -> None:
    owner = await Owner.of(store)
    await owner.create(ORDER)
    (connection,) = faults.connections
    connection.execute("PRAGMA max_page_count = 60")
    entries = 0
    while True:
        commit = owner.build(
            ActorWrite(ORDER, 1, log_start=entries, log_append=(bytes(3_000),) * 3)
        )
        with suppress(StoreUnavailableError):
            await owner.send(commit)
            entries += 3
            continue
        break
    assert entries > 0
    for _ in range(3):
        with pytest.raises(StoreUnavailableError, match="disk is full") as caught:
            await store.commit(commit)
        assert caught.value.written is False
    (record,) = await store.load(0, [ORDER], with_log=False)
    assert record is not None
    assert record.log_length == entries
    connection.execute("PRAGMA max_page_count = 10000")
    await owner.send(commit)
    (record,) = await store.load(0, [ORDER], with_log=True)
    assert record is not None
    assert len(record.log) == entries + 3


@pytest.mark.asyncio
async def test_lock_of_another_program_is_reported_at_once(
    store: SqliteStore, tmp_path: Path
) -> None:
    owner = await Owner.of(store)
    commit = owner.build(ActorWrite(ORDER, 1, create=True))
    with closing(sqlite3.connect(tmp_path / "actors.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(4):
            with pytest.raises(StoreUnavailableError, match="another program") as caught:
                await store.commit(commit)
            assert caught.value.written is False
            assert await store.load(0, [ORDER], with_log=True) == [None]
        other.execute("ROLLBACK")
    assert await store.commit(commit) is CommitResult.OK


@pytest.mark.asyncio
class TestSlowCommit:
    """A COMMIT that waits for the disk."""

    @pytest_asyncio.fixture
    async def store(self, tmp_path: Path, faults: Faults) -> AsyncIterator[SqliteStore]:
        store = SqliteStore(
            tmp_path / "actors.db",
            durability="fsync",
            clock=SteppedClock(),
            connection_factory=faults.connection_class(),
        )
        await store.open()
        yield store
        await store.close()

    @pytest_asyncio.fixture
    async def owner(self, store: SqliteStore) -> Owner:
        return await Owner.of(store)

    @pytest.fixture
    def gate(self, owner: Owner, faults: Faults) -> threading.Event:
        """Hold the next COMMIT."""
        faults.gates["COMMIT"] = threading.Event()
        return faults.gates["COMMIT"]

    async def test_reads_go_on_and_see_committed_data_only(
        self, store: SqliteStore, owner: Owner, faults: Faults, gate: threading.Event
    ) -> None:
        commit = asyncio.create_task(store.commit(owner.build(ActorWrite(ORDER, 1, create=True))))
        assert await asyncio.to_thread(faults.reached.wait, 10)
        assert await store.load(0, [ORDER], with_log=True) == [None]
        assert await store.renew(owner.lease, ttl_ms=TTL_MS)
        assert not commit.done()
        gate.set()
        assert await commit is CommitResult.OK
        (record,) = await store.load(0, [ORDER], with_log=True)
        assert record is not None

    async def test_cancelled_commit_goes_on_and_its_resend_is_already(
        self, store: SqliteStore, owner: Owner, faults: Faults, gate: threading.Event
    ) -> None:
        commit = owner.build(ActorWrite(ORDER, 1, create=True))
        first = asyncio.create_task(store.commit(commit))
        assert await asyncio.to_thread(faults.reached.wait, 10)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        resend = asyncio.create_task(store.commit(commit))
        await asyncio.sleep(0)
        assert not resend.done()
        gate.set()
        assert await resend is CommitResult.ALREADY

    async def test_cancelled_commit_that_fails_leaves_no_trace(
        self, store: SqliteStore, owner: Owner, faults: Faults, gate: threading.Event
    ) -> None:
        commit = owner.build(ActorWrite(ORDER, 1, create=True))
        faults.before["COMMIT"] = sqlite_error(sqlite3.SQLITE_FULL)
        first = asyncio.create_task(store.commit(commit))
        assert await asyncio.to_thread(faults.reached.wait, 10)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.set()
        assert await store.commit(commit) is CommitResult.OK

    async def test_closing_finishes_the_commit_in_flight(
        self, store: SqliteStore, owner: Owner, faults: Faults, gate: threading.Event
    ) -> None:
        commit = asyncio.create_task(store.commit(owner.build(ActorWrite(ORDER, 1, create=True))))
        assert await asyncio.to_thread(faults.reached.wait, 10)
        late = asyncio.create_task(store.commit(owner.build()))
        await asyncio.sleep(0)
        closing_task = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        gate.set()
        await closing_task
        assert await commit is CommitResult.OK
        with pytest.raises(StoreUnavailableError, match="not open"):
            await late
        await store.open()
        (record,) = await store.load(0, [ORDER], with_log=True)
        assert record is not None


@pytest.mark.asyncio
async def test_closed_store_says_so_and_opens_again(store: SqliteStore) -> None:
    owner = await Owner.of(store)
    await half(owner)
    with pytest.raises(UsageError, match="open already"):
        await store.open()
    await store.close()
    await store.close()
    for call in (
        store.commit(owner.build()),
        store.load(0, [ORDER], with_log=False),
        store.renew(owner.lease, ttl_ms=1),
        store.acquire(0, "t-1", ttl_ms=1),
    ):
        with pytest.raises(StoreUnavailableError, match="not open") as caught:
            await call
        assert caught.value.written is False
    assert not [t for t in threading.enumerate() if t.name.startswith("actorflow-")]
    await store.open()
    await owner.write()


@pytest.mark.asyncio
async def test_there_is_one_partition(store: SqliteStore) -> None:
    with pytest.raises(UsageError, match="no partition 1"):
        await store.acquire(1, "t-1", ttl_ms=TTL_MS)
    with pytest.raises(UsageError, match="no partition 7"):
        await store.recover(7, horizon_ms=0)
    owner = await Owner.of(store)
    owner.lease = owner.lease._replace(partition=1)
    assert await store.commit(owner.build()) is CommitResult.FENCED
    assert not await store.renew(owner.lease, ttl_ms=TTL_MS)


@pytest.mark.asyncio
async def test_long_read_moves_to_a_thread_and_answers_the_same(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await Owner.of(store)
    await owner.create(ORDER, log_append=tuple(b"%d" % i for i in range(500)))
    for step in range(1, 20):
        await owner.write(ActorWrite(ORDER, 1, log_start=500 * step, log_append=(b"x",) * 500))
    seen: list[str] = []

    def count(connection: sqlite3.Connection) -> int:
        seen.append(threading.current_thread().name)
        (number,) = connection.execute(
            "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
            " SELECT count(*) FROM n"
        ).fetchone()
        return int(number)

    parts = store._parts
    assert parts is not None
    assert await parts.reader.read(count) == 500
    here = threading.current_thread().name
    assert seen == [here]
    short = await picture_of(store, [ORDER])
    monkeypatch.setattr(reader_module, "LOOP_STEPS_MAX", 1)
    assert await parts.reader.read(count) == 500
    assert seen[1] == here
    assert seen[2].startswith("actorflow-reader")
    assert await picture_of(store, [ORDER]) == short
