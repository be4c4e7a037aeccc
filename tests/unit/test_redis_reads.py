"""What is read in pieces comes back whole: searches over partitions, long logs, many rows."""

import random

import pytest
import pytest_asyncio

from actorflow.actors.address import ActorId
from actorflow.actors.errors import CorruptError
from actorflow.actors.ports import ActorWrite, Query, Summary
from actorflow.actors.store.redis import RedisStore, script
from actorflow.actors.store.redis.client import Lane
from actorflow.actors.store.redis.reads import LOG_PIECE
from tests.conformance.store_kit import ORDER, Owner, SteppedClock, wake
from tests.conformance.store_kit_reads import all_pages
from tests.fakes.lua_redis import LuaRedis
from tests.fakes.redis_clients import LocalClient

pytestmark = pytest.mark.asyncio

PARTITIONS = 5


@pytest.fixture
def server() -> LuaRedis:
    return LuaRedis(SteppedClock())


@pytest.fixture
def client(server: LuaRedis) -> LocalClient:
    return server.client()


@pytest_asyncio.fixture
async def store(client: LocalClient) -> RedisStore:
    store = RedisStore("redis://lua", partition_count=PARTITIONS, client=client)
    await store.open()
    return store


async def fill(store: RedisStore, count: int) -> dict[str, Summary]:
    """Spread actors unevenly over the partitions."""
    chance = random.Random(7)
    owners = [await Owner.of(store, partition=partition) for partition in range(PARTITIONS)]
    summaries = {
        f"k{i:04}": Summary(
            chance.choice(["a", "b"]), chance.choice(["X", "Y", "Z"]), chance.randrange(100), 0, b""
        )
        for i in range(count)
    }
    writes: list[list[ActorWrite]] = [[] for _ in owners]
    for key, summary in summaries.items():
        partition = min(chance.randrange(PARTITIONS), chance.randrange(PARTITIONS))
        number = owners[partition].number()
        writes[partition].append(
            ActorWrite(ActorId("Order", key), number, create=True, summary=summary)
        )
    for owner, part in zip(owners, writes, strict=True):
        await owner.write(*part)
    return summaries


@pytest.mark.parametrize("limit", [1, 7, 100, 1_000])
async def test_search_merges_partitions_and_phases(store: RedisStore, limit: int) -> None:
    summaries = await fill(store, 400)
    assert await all_pages(store, Query("Order", limit)) == sorted(summaries)
    found = await all_pages(store, Query("Order", limit, phases=("Z", "X")))
    assert found == [key for key, summary in summaries.items() if summary.phase in "XZ"]
    query = Query("Order", limit, phases=("Y",), label="a", created_from_ms=20, key_prefix="k0")
    assert await all_pages(store, query) == [
        key
        for key, (label, phase, created_ms, _, _) in summaries.items()
        if phase == "Y" and label == "a" and created_ms >= 20
    ]


async def test_search_reads_little_more_than_it_returns(
    store: RedisStore, server: LuaRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, 3_000)
    read: list[int] = []
    execute = server.execute

    def counted(one: script.Script | None, command: list[bytes]) -> object:
        if one is script.SUMMARIES:
            read.append(int(command[2]) // 2)
        return execute(one, command)

    monkeypatch.setattr(store, "_client", LocalClient(counted))
    assert len(await store.find(Query("Order", 100))) == 100
    assert sum(read) < 300


async def test_times_beyond_doubles_are_compared_exactly(store: RedisStore) -> None:
    owner = await Owner.of(store)
    for i in range(3):
        await owner.create(ActorId("Order", f"k{i}"), summary=Summary("", "", 2**62 + i, 0, b""))
    found = await store.find(Query("Order", 9, created_from_ms=2**62 + 1, created_to_ms=2**62 + 2))
    assert [record.actor.key for record in found] == ["k1"]


async def test_due_times_beyond_doubles_are_compared_exactly(store: RedisStore) -> None:
    owner = await Owner.of(store)
    await owner.create(ORDER, put_reminders=tuple(wake(f"r{i}", 2**62 + 9 - i) for i in range(10)))
    found = await store.due(0, from_ms=2**62 + 3, until_ms=2**62 + 6, limit=10)
    assert [one.reminder.due_ms - 2**62 for one in found] == [3, 4, 5]


async def test_long_logs_and_many_rows(store: RedisStore) -> None:
    owner = await Owner.of(store)
    log = tuple(b"%d" % i for i in range(2 * LOG_PIECE + 3))
    number = await owner.create(
        ORDER, log_append=log, put_reminders=tuple(wake(f"r{i:04}", i) for i in range(1_203))
    )
    await owner.write(put=tuple(owner.message(b"m") for _ in range(1_203)))
    (record,) = await store.load(0, [ORDER], with_log=True)
    assert record is not None
    assert (record.number, record.log) == (number, log)
    recovery = await store.recover(0, horizon_ms=1_202)
    assert [row.id for row in recovery.messages] == list(range(1, 1_204))
    assert [due.reminder.due_ms for due in recovery.reminders] == list(range(1_202))
    assert len(await store.due(0, from_ms=0, until_ms=5_000, limit=1_100)) == 1_100


@pytest.mark.parametrize("gone", [False, True])
async def test_log_that_changes_while_it_is_read_is_read_again(
    store: RedisStore, server: LuaRedis, monkeypatch: pytest.MonkeyPatch, *, gone: bool
) -> None:
    owner = await Owner.of(store)
    number = await owner.create(ORDER, log_append=(b"old",) * (LOG_PIECE + 1))
    new = (b"new",) * (LOG_PIECE + 2)
    if gone:
        change = owner.build(ActorWrite(ORDER, number, delete=True))
    else:
        change = owner.build(ActorWrite(ORDER, number, log_reset=True, log_append=new))
    other = RedisStore("redis://lua", client=server.client())
    await other.open()

    class Interrupted(LocalClient):
        """Lets the owner commit before the second piece is read."""

        done = False

        async def run(
            self, slot: int, one: script.Script, command: script.Command, *, lane: Lane = "reads"
        ) -> object:
            if one is script.TAIL and not self.done:
                self.done = True
                await other.commit(change)
            return await super().run(slot, one, command, lane=lane)

    monkeypatch.setattr(store, "_client", Interrupted(server.execute))
    (record,) = await store.load(0, [ORDER], with_log=True)
    assert (record and record.log) == (None if gone else new)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [("state", b"u", b"x"), ("state", b"n", b"x"), ("messages", b"1", b"x"), ("marks", b"1", b"x")],
)
async def test_damaged_rows_are_corrupt_and_kept(
    store: RedisStore, server: LuaRedis, name: str, field: bytes, value: bytes
) -> None:
    owner = await Owner.of(store)
    await owner.create(ORDER, summary=Summary("", "", 0, 0, b""))
    keys = store.partitions[0]
    key = keys.pair(ORDER)[0] if name == "state" else getattr(keys, name)
    server.execute(None, [b"HSET", key.encode(), field, value])
    read = store.load(0, [ORDER], with_log=True) if name == "state" else recovered(store)
    with pytest.raises(CorruptError):
        await read
    assert server.execute(None, [b"HGET", key.encode(), field]) == value


async def recovered(store: RedisStore) -> object:
    return await store.recover(0, horizon_ms=0)
