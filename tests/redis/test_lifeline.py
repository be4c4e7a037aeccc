"""The lifeline on a real server: on an event loop that is not the store's, beside a blocked one."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from actorflow.actors.keeper import LOOK_S, InThread, Keeper
from actorflow.actors.lease import DEAD
from actorflow.actors.ports import Acquired, Commit, CommitResult, Held, Lease
from actorflow.actors.pulse import SILENT_TTLS, Pulse
from actorflow.actors.store.redis import RedisStore
from actorflow.actors.store.redis.lifeline import RedisLifeline
from actorflow.actors.transport import Member
from tests.servers import Server

TTL_MS = 2_000
SHORT_S = SILENT_TTLS * TTL_MS / 1e3 - 2.0
"""A loop that is blocked for less keeps its leases for sure."""

POLL_S = 0.05


async def acquired(store: RedisStore, partition: int) -> Lease:
    answer = await store.acquire(partition, "host/token", ttl_ms=TTL_MS)
    assert isinstance(answer, Acquired)
    return answer.lease


class Listener:
    """Implements `keeper.Ears`."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.lost: list[Lease] = []

    def heard(self, members: Sequence[Member]) -> None:
        self.members = list(members)

    def unheard(self, error: Exception) -> None:
        raise error

    def lease_lost(self, lease: Lease, error: Exception) -> None:
        self.lost.append(lease)


@pytest.mark.asyncio
async def test_members_time_and_leases(any_server: Server, store: RedisStore) -> None:
    line = RedisLifeline(store)
    await line.open()
    members = await line.beat("one", b"says")
    assert [(member.host, member.info) for member in members] == [("one", b"says")]
    before_ns, store_ns, after_ns = time.time_ns(), await line.time_ns(), time.time_ns()
    assert store_ns is not None
    assert before_ns - 1_000_000_000 < store_ns < after_ns + 1_000_000_000
    lease = await acquired(store, 3)
    assert await line.renew(lease, ttl_ms=60_000)
    held = await store.acquire(3, "another", ttl_ms=TTL_MS)
    assert isinstance(held, Held)
    assert held.left_ms > TTL_MS
    await line.release(lease)
    assert not await line.renew(lease, ttl_ms=TTL_MS)
    await line.leave("one")
    assert [member.host for member in await line.beat("two", b"")] == ["two"]
    await line.close()


@pytest.mark.asyncio
async def test_a_store_that_lost_commits_is_noticed(
    any_server: Server, store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    line = RedisLifeline(store)
    await line.open()
    lease = await acquired(store, 3)
    for seq in range(1, 8):
        commit = Commit(lease, seq - 1, seq, f"{lease.token}:{seq}")
        assert await store.commit(commit) is CommitResult.OK
    assert await line.renew(lease, ttl_ms=TTL_MS)
    assert "store_rollback" not in caplog.text
    any_server.do("HSET", store.partitions[3].meta, "seq", "5")
    assert not await line.renew(lease, ttl_ms=TTL_MS)
    assert "store_rollback: partition 3 is at commit 5, after 7" in caplog.text
    await line.close()


@pytest.mark.asyncio
async def test_a_blocked_loop_keeps_its_lease_and_a_silent_one_does_not(
    any_server: Server, store: RedisStore
) -> None:
    ears, pulse = Listener(), Pulse()
    lease = await acquired(store, 3)
    pulse.leases = (lease,)
    home = InThread(lambda: RedisLifeline(store))
    keeper = Keeper("host", pulse, ears, ttl_ms=TTL_MS, info=b"", clock=None)
    home.start(keeper, lambda work, name: pytest.fail(f"{name}: {work}"))
    while not ears.members:
        pulse.beats += 1
        await asyncio.sleep(POLL_S)
    meta = store.partitions[3].meta
    while blocked_until_the_lease_would_have_ended(any_server, meta) > SHORT_S:
        pulse.beats += 1  # the machine has made far more of it: once more
        await asyncio.sleep(2 * LOOK_S)
    assert any_server.do("HGET", meta, "owner") == b"host/token"
    pulse.beats += 1
    await asyncio.sleep(2 * LOOK_S)
    assert ears.lost == []
    while any_server.do("HGET", meta, "owner") != DEAD.encode():
        time.sleep(POLL_S)  # noqa: ASYNC251 -- this is the fault
    assert any_server.do("HLEN", store.members_key) == 0
    while not ears.lost:  # noqa: ASYNC110 -- a list tells nobody
        await asyncio.sleep(POLL_S)
    assert ears.lost == [lease]
    await home.stop()


def blocked_until_the_lease_would_have_ended(server: Server, meta: str) -> float:
    """Block this thread until the lease that there is now has ended if nobody renews it. Returns
    how many seconds that took."""
    began_s = time.monotonic()
    until_ms = int(server.do("HGET", meta, "until"))
    seconds = 0
    while seconds * 1_000 <= until_ms:
        time.sleep(POLL_S)
        seconds, _ = server.do("TIME")
    return time.monotonic() - began_s
