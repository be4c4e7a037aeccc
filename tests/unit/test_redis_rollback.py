"""The alarm `store_rollback`: raised when acknowledged commits are gone, and at no other time.

Answers come in another order than they were given: commits and renewals go over several
connections, and some of them from a thread of their own.
"""

import asyncio
import logging
from typing import Any

import pytest
import pytest_asyncio

from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.ports import Acquired, Commit, CommitResult
from actorflow.actors.store.redis import RedisStore
from actorflow.actors.store.redis.client import Client, Lane
from actorflow.actors.store.redis.script import Command, Script
from tests.conformance.store_kit import SteppedClock
from tests.fakes.lua_redis import LuaRedis

pytestmark = pytest.mark.asyncio

TTL_MS = 10_000
ALARM = "store_rollback"


class LateClient:
    """Passes everything on; answers of the scripts in `late` come when `release` is set.

    `replicas` is how many a commit reaches, as WAIT says.
    """

    def __init__(self, inner: Client) -> None:
        self._inner = inner
        self.late: set[str] = set()
        self.answered = asyncio.Event()
        self.release = asyncio.Event()
        self.replicas = 1

    async def run(
        self, slot: int, script: Script, command: Command, *, lane: Lane = "reads"
    ) -> Any:
        reply = await self._inner.run(slot, script, command, lane=lane)
        if script.name in self.late:
            self.answered.set()
            await self.release.wait()
        return reply

    async def run_replicated(
        self, slot: int, script: Script, command: Command, *, replicas: int, wait_ms: int
    ) -> Any:
        reply = await self.run(slot, script, command, lane="commits")
        if self.replicas < replicas:
            raise StoreUnavailableError("too few replicas", written=None)
        return reply

    async def ask(self, slot: int, *commands: Command) -> list[Any]:
        return await self._inner.ask(slot, *commands)

    async def close(self) -> None:
        await self._inner.close()


@pytest.fixture
def server() -> LuaRedis:
    return LuaRedis(SteppedClock())


@pytest.fixture
def client(server: LuaRedis) -> LateClient:
    return LateClient(server.client())


@pytest_asyncio.fixture
async def store(client: LateClient) -> RedisStore:
    return await opened(client)


async def opened(client: Client, **settings: Any) -> RedisStore:
    store = RedisStore("redis://lua", partition_count=2, client=client, **settings)
    await store.open()
    return store


async def acquire(store: RedisStore, token: str = "host/one") -> Acquired:
    answer = await store.acquire(0, token, ttl_ms=TTL_MS)
    assert isinstance(answer, Acquired)
    return answer


def commit_after(acquired: Acquired, seq: int) -> Commit:
    return Commit(acquired.lease, seq, seq + 1, f"{acquired.lease.token}:{seq + 1}")


def put_back(server: LuaRedis, store: RedisStore, seq: int) -> None:
    """Lose all commits after this one."""
    server.execute(None, [b"HSET", store.partitions[0].meta.encode(), b"seq", b"%d" % seq])


async def test_an_older_answer_that_comes_late_is_no_alarm(
    store: RedisStore, client: LateClient, caplog: pytest.LogCaptureFixture
) -> None:
    acquired = await acquire(store)
    client.late = {"renew"}
    renewal = asyncio.create_task(store.renew(acquired.lease, ttl_ms=TTL_MS))
    await client.answered.wait()
    assert await store.commit(commit_after(acquired, 0)) is CommitResult.OK
    client.release.set()
    assert await renewal
    assert ALARM not in caplog.text
    assert await store.renew(acquired.lease, ttl_ms=TTL_MS)
    assert ALARM not in caplog.text


async def test_what_was_acknowledged_before_the_question_is_missed(
    store: RedisStore, server: LuaRedis, caplog: pytest.LogCaptureFixture
) -> None:
    acquired = await acquire(store)
    for seq in range(3):
        assert await store.commit(commit_after(acquired, seq)) is CommitResult.OK
    put_back(server, store, 2)
    assert not await store.renew(acquired.lease, ttl_ms=TTL_MS)
    assert "partition 0 is at commit 2, after 3 was acknowledged" in caplog.text
    caplog.clear()
    assert (await acquire(store)).seq == 2
    assert ALARM not in caplog.text, "one loss, one alarm"


async def test_a_late_answer_still_shows_what_is_missing(
    store: RedisStore, client: LateClient, server: LuaRedis, caplog: pytest.LogCaptureFixture
) -> None:
    acquired = await acquire(store)
    for seq in range(2):
        assert await store.commit(commit_after(acquired, seq)) is CommitResult.OK
    put_back(server, store, 1)
    client.late = {"renew"}
    renewal = asyncio.create_task(store.renew(acquired.lease, ttl_ms=TTL_MS))
    await client.answered.wait()
    client.release.set()
    assert not await renewal
    assert ALARM in caplog.text


async def test_a_commit_that_hears_of_a_loss_alarms(
    store: RedisStore, server: LuaRedis, caplog: pytest.LogCaptureFixture
) -> None:
    acquired = await acquire(store)
    for seq in range(3):
        assert await store.commit(commit_after(acquired, seq)) is CommitResult.OK
    put_back(server, store, 1)
    assert await store.commit(commit_after(acquired, 3)) is CommitResult.SEQ
    assert "partition 0 is at commit 1, after 3 was acknowledged" in caplog.text


async def test_the_next_owner_hears_of_a_loss_of_what_it_has_read(
    store: RedisStore, server: LuaRedis, caplog: pytest.LogCaptureFixture
) -> None:
    other = await opened(server.client())
    first = await acquire(store)
    for seq in range(3):
        assert await store.commit(commit_after(first, seq)) is CommitResult.OK
    await store.release(first.lease)
    second = await acquire(other, "other/one")
    assert second.seq == 3
    put_back(server, store, 2)
    assert not await other.renew(second.lease, ttl_ms=TTL_MS)
    assert ALARM in caplog.text


async def test_ownership_that_comes_and_goes_is_no_alarm(
    store: RedisStore, server: LuaRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """What is asked before a hand-over and answered long after it tells nothing of the store."""
    caplog.set_level(logging.WARNING)
    other = await opened(server.client())
    for _ in range(3):
        mine = await acquire(store)
        assert await store.commit(commit_after(mine, mine.seq)) is CommitResult.OK
        await store.release(mine.lease)
        theirs = await acquire(other, "other/one")
        assert await other.commit(commit_after(theirs, theirs.seq)) is CommitResult.OK
        assert not await store.renew(mine.lease, ttl_ms=TTL_MS)
        assert await store.commit(commit_after(mine, theirs.seq)) is CommitResult.FENCED
        await other.release(theirs.lease)
    assert caplog.text == ""


class TestReplicated:
    """What no replica has is not acknowledged: a fail-over that loses it loses nothing."""

    async def test_a_commit_without_replicas_is_not_counted(
        self, client: LateClient, server: LuaRedis, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = await opened(client, durability="replicated")
        acquired = await acquire(store)
        assert await store.commit(commit_after(acquired, 0)) is CommitResult.OK
        client.replicas = 0
        commit = commit_after(acquired, 1)
        with pytest.raises(StoreUnavailableError):
            await store.commit(commit)
        assert await store.renew(acquired.lease, ttl_ms=TTL_MS)  # the primary has it
        meta = store.partitions[0].meta.encode()
        server.execute(None, [b"HSET", meta, b"seq", b"1", b"last", b"host/one:1"])
        assert await store.renew(acquired.lease, ttl_ms=TTL_MS)
        client.replicas = 1
        assert await store.commit(commit) is CommitResult.OK
        assert ALARM not in caplog.text

    async def test_a_repeated_commit_counts_once_replicas_have_it(
        self, client: LateClient, server: LuaRedis, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = await opened(client, durability="replicated")
        acquired = await acquire(store)
        client.replicas = 0
        commit = commit_after(acquired, 0)
        with pytest.raises(StoreUnavailableError):
            await store.commit(commit)
        client.replicas = 1
        assert await store.commit(commit) is CommitResult.ALREADY
        put_back(server, store, 0)
        assert not await store.renew(acquired.lease, ttl_ms=TTL_MS)
        assert "partition 0 is at commit 0, after 1 was acknowledged" in caplog.text

    async def test_an_owner_begins_with_what_replicas_have(self, client: LateClient) -> None:
        """Else it would act on commits of the owner before it that a fail-over may still lose."""
        store = await opened(client, durability="replicated")
        client.replicas = 0
        with pytest.raises(StoreUnavailableError, match="too few replicas"):
            await store.acquire(0, "host/one", ttl_ms=TTL_MS)
        client.replicas = 1
        assert (await acquire(store)).seq == 0
