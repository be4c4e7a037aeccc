"""What `cluster_status` sees is what was committed, and looking changes nothing."""

from pathlib import Path

import pytest

from actorflow.actors import ActorId
from actorflow.actors.ports import (
    Acquired,
    Commit,
    CommitResult,
    EntryId,
    Lease,
    LinkEntry,
    LinkMark,
    MessageRow,
)
from actorflow.actors.store.redis import RedisStore
from actorflow.actors.store.redis import status as status_module
from actorflow.actors.store.redis.errors import StoreLostError
from actorflow.actors.store.redis.post import RedisPost
from actorflow.actors.store.redis.status import cluster_status
from tests.servers import Server, cluster

pytestmark = pytest.mark.asyncio

TARGET = ActorId("T", "a")


async def owned(store: RedisStore, partition: int) -> Acquired:
    got = await store.acquire(partition, f"host-{partition}/1", ttl_ms=60_000)
    assert isinstance(got, Acquired)
    return got


def commit_of(got: Acquired, **members: object) -> Commit:
    number = got.seq + 1
    return Commit(got.lease, got.seq, number, f"{got.lease}-{number}", **members)  # type: ignore[arg-type]  # the test's own


def entries(count: int) -> tuple[LinkEntry, ...]:
    return tuple(
        LinkEntry(1, EntryId(1, n), 7, EntryId(1, n - 1), TARGET, "m", b"p")
        for n in range(1, count + 1)
    )


async def test_owners_leases_and_what_waits(store: RedisStore, any_server: Server) -> None:
    before = await cluster_status(store)
    assert before.cluster_id == store.cluster_id
    assert [p.owner for p in before.partitions] == [""] * 8
    assert {p.lease_left_ms for p in before.partitions} == {0}

    zero, one = await owned(store, 0), await owned(store, 1)
    rows = tuple(MessageRow(n, TARGET, "m", b"") for n in range(1, 4))
    assert await store.commit(commit_of(zero, put_messages=rows)) is CommitResult.OK
    written = commit_of(
        zero._replace(seq=1), park_messages=((2, "Boom: no"),), put_outbox=entries(3)
    )
    assert await store.commit(written) is CommitResult.OK
    marked = commit_of(one, put_marks=(LinkMark(0, EntryId(1, 2), 7),))
    assert await store.commit(marked) is CommitResult.OK

    found = await cluster_status(store)
    first, second, third, *_ = found.partitions
    assert (first.owner, first.epoch, first.seq) == ("host-0/1", zero.lease.epoch, 2)
    assert 50_000 < first.lease_left_ms <= 60_000
    assert (first.messages, first.parked, first.outbox) == (3, 1, 1)
    assert (second.outbox, second.seq) == (0, 1)
    assert third.owner == ""
    assert abs(first.epoch - found.now_ms) < 60_000, "an epoch tells when it began"
    content = any_server.do("DEBUG", "DIGEST")
    await cluster_status(store)
    assert any_server.do("DEBUG", "DIGEST") == content


async def test_letters_count_until_a_commit_notes_them(
    store: RedisStore, any_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_module, "UNREAD_MAX", 4)
    post = RedisPost(store)
    await post.open("h", lambda error: pytest.fail(str(error)))
    try:
        await post.send([(2, b"one"), (2, b"two"), (2, b"three")])
        got = await owned(store, 2)
        assert (await cluster_status(store)).partitions[2].unread == 3
        inbox = store.partitions[2].inbox
        ids = [row[0].decode() for row in any_server.do("XRANGE", inbox, "-", "+")]
        assert await store.commit(commit_of(got, cursor=ids[1])) is CommitResult.OK
        assert (await cluster_status(store)).partitions[2].unread == 1
        await post.send([(2, b"more")] * 9)
        assert (await cluster_status(store)).partitions[2].unread == 4, "counted so far"
        await post.beat("h", b"what it says")
        found = await cluster_status(store)
        assert [(m.host, m.info) for m in found.members] == [("h", b"what it says")]
        assert found.members[0].age_ms < 20_000
    finally:
        await post.close()


async def test_a_lease_that_ended_has_nothing_left(store: RedisStore) -> None:
    got = await store.acquire(0, "h/1", ttl_ms=1)
    assert isinstance(got, Acquired)
    while (found := (await cluster_status(store)).partitions[0]).lease_left_ms:
        pass
    assert found.owner == "h/1"
    await store.release(Lease(0, got.lease.epoch, "h/1"))
    assert (await cluster_status(store)).partitions[0].owner == ""


async def test_it_says_what_is_wrong(store: RedisStore, any_server: Server) -> None:
    any_server.do("DEL", store.partitions[3].meta)
    with pytest.raises(StoreLostError):
        await cluster_status(store)
    any_server.do("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreLostError):  # reading goes on in a full Redis
            await cluster_status(store)
    finally:
        any_server.do("CONFIG", "SET", "maxmemory", "0")


async def test_a_redis_cluster_is_looked_at_as_one(tmp_path: Path) -> None:
    with cluster("redis", tmp_path) as servers:
        store = RedisStore(f"redis+cluster://127.0.0.1:{servers[0].port}", partition_count=8)
        await store.open()
        try:
            for partition in range(8):
                await owned(store, partition)
            found = await cluster_status(store)
        finally:
            await store.close()
    assert [p.owner for p in found.partitions] == [f"host-{n}/1" for n in range(8)]
