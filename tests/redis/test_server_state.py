"""R08 to R11: a server that is full, alone, rolled back, or empty."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from actorflow.actors.address import ActorId
from actorflow.actors.errors import StoreUnavailableError, UsageError
from actorflow.actors.ports import Acquired, ActorWrite, CommitResult, MessageRow
from actorflow.actors.store.redis import RedisStore, StoreLostError, StoreRefusedError
from tests.conformance.store_kit import Owner, summary
from tests.proxy import Proxy
from tests.redis.load import TTL_MS, Writer
from tests.servers import KINDS, Server

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server whose settings the test may spoil."""
    with Server(request.param, tmp_path / "server") as server:
        yield server


@pytest_asyncio.fixture
async def store(server: Server) -> AsyncIterator[RedisStore]:
    store = RedisStore(server.url, partition_count=2)
    await store.open()
    yield store
    await store.close()


class TestMemory:
    """R08."""

    async def test_r08_full_server_refuses_creations_and_lets_work_end(
        self, server: Server, store: RedisStore
    ) -> None:
        owner = await Owner.of(store)
        actor = ActorId("Order", "o-1")
        number = await owner.create(actor, summary=summary(), log_append=(b"1",))
        message = owner.message()
        await owner.write(put=(message,))
        server.do("CONFIG", "SET", "maxmemory", "1")
        start = owner.build(ActorWrite(ActorId("Order", "o-2"), owner.number(), create=True))
        with pytest.raises(StoreUnavailableError, match="no memory left") as caught:
            await store.commit(start)
        assert caught.value.written is False
        done = ActorWrite(
            actor, number, summary=summary(phase="DONE"), log_start=1, log_append=(b"2",)
        )
        await owner.write(done, delete=(message.id,))
        assert await store.renew(owner.lease, ttl_ms=TTL_MS)
        await owner.write(ActorWrite(actor, number, delete=True))
        assert await store.load(0, [actor], with_log=True) == [None]
        server.do("CONFIG", "SET", "maxmemory", "0")
        await owner.create(actor)

    async def test_r08_server_that_evicts_is_refused(self, server: Server) -> None:
        server.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        store = RedisStore(server.url)
        with pytest.raises(StoreRefusedError, match="maxmemory-policy noeviction"):
            await store.open()


class TestRefusals:
    """R09: what the server may not do just now is not done, and done later."""

    async def test_r09_too_few_replicas(self, server: Server, store: RedisStore) -> None:
        writer = Writer(store, 0)
        await writer.write(2)
        server.do("CONFIG", "SET", "min-replicas-to-write", "1")
        commit = writer.next_commit()
        with pytest.raises(StoreUnavailableError, match="min-replicas-to-write") as caught:
            await store.commit(commit)
        assert caught.value.written is False
        server.do("CONFIG", "SET", "min-replicas-to-write", "0")
        assert await store.commit(commit) is CommitResult.OK
        writer.done += 1
        await writer.check()

    async def test_r09_disk_that_cannot_be_written(self, server: Server, store: RedisStore) -> None:
        writer = Writer(store, 0)
        await writer.write(2)
        server.do("CONFIG", "SET", "appendonly", "no")
        server.do("CONFIG", "SET", "save", "3600 1")
        broken = server.directory / "dump.rdb"
        broken.unlink(missing_ok=True)
        broken.mkdir()  # nothing can be renamed to the name of a directory
        (broken / "file").touch()
        server.do("BGSAVE")
        commit = writer.next_commit()
        await server.reaches(lambda server: "err" in _persistence(server)["rdb_last_bgsave_status"])
        with pytest.raises(StoreUnavailableError, match="cannot write to its disk") as caught:
            await store.commit(commit)
        assert caught.value.written is False
        server.do("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
        assert await store.commit(commit) is CommitResult.OK

    async def test_busy_server(self, server: Server, store: RedisStore) -> None:
        server.do("CONFIG", "SET", "busy-reply-threshold", "50")
        writer = Writer(store, 0)
        await writer.write(2)
        long = asyncio.create_task(asyncio.to_thread(_ignoring_kill, server, "while true do end"))
        await _until_refused(writer, "busy with a long script")
        server.do("SCRIPT", "KILL")
        await long
        await writer.write(1)
        await writer.check()


class TestReplicas:
    """R10 and the level `replicated`."""

    @pytest.fixture
    def primary(self, server: Server) -> Server:
        for name, value in (("repl-timeout", "60"), ("repl-ping-replica-period", "1")):
            server.do("CONFIG", "SET", name, value)
        return server

    async def test_r10_promoted_replica_that_missed_the_tail(
        self, primary: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Stalls the replica, commits more, kills the primary, promotes the replica."""
        async with Proxy(primary.port) as link:
            with Server(primary.kind, tmp_path / "replica") as replica:
                async with Proxy(primary.port) as front:
                    store = RedisStore(f"redis://127.0.0.1:{front.port}", partition_count=2)
                    await store.open()
                    await asyncio.to_thread(replica.do, "REPLICAOF", "127.0.0.1", link.port)
                    writer, other = Writer(store, 0), Writer(store, 1, "other")
                    await writer.write(20)
                    await other.write(1)
                    await replica.reaches(lambda server: _seqs(server, store) == [20, 1])
                    link.down.clear()
                    await writer.write(5)
                    lost_epoch = (await writer.acquire()).lease.epoch
                    await writer.write(1)
                    primary.kill()
                    replica.do("REPLICAOF", "NO", "ONE")
                    front._target_port = replica.port  # the address now leads to the new primary
                    old = writer.next_commit()
                    assert await writer.send(old) is CommitResult.FENCED
                    acquired = await writer.acquire()
                    # A token and a clock-based epoch that no lost owner had; commits that are gone.
                    assert acquired.lease.epoch > lost_epoch
                    assert acquired.seq == 20
                    assert "store_rollback" in caplog.text
                    assert await store.commit(old) is CommitResult.FENCED
                    await writer.write(3)
                    await writer.check()
                    await other.write(1)
                    await other.check()
                    await store.close()

    async def test_same_owner_hears_seq_from_a_store_that_went_back(
        self, primary: Server, tmp_path: Path
    ) -> None:
        async with Proxy(primary.port) as link:
            with Server(primary.kind, tmp_path / "replica") as replica:
                async with Proxy(primary.port) as front:
                    store = RedisStore(f"redis://127.0.0.1:{front.port}", partition_count=2)
                    await store.open()
                    await asyncio.to_thread(replica.do, "REPLICAOF", "127.0.0.1", link.port)
                    writer = Writer(store, 0)
                    await writer.write(3)
                    await replica.reaches(lambda server: _seqs(server, store)[0] == 3)
                    link.down.clear()
                    await writer.write(2)
                    primary.kill()
                    replica.do("REPLICAOF", "NO", "ONE")
                    front._target_port = replica.port
                    assert await writer.send(writer.next_commit()) is CommitResult.SEQ
                    await store.close()

    async def test_a_commit_that_no_replica_had_is_lost_without_an_alarm(
        self, primary: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nobody was told of it: its owner keeps its lease and sends it again."""
        async with Proxy(primary.port) as link:
            with Server(primary.kind, tmp_path / "replica") as replica:
                async with Proxy(primary.port) as front:
                    await asyncio.to_thread(replica.do, "REPLICAOF", "127.0.0.1", link.port)
                    primary.do("CONFIG", "SET", "min-replicas-to-write", "1")
                    primary.do("CONFIG", "SET", "min-replicas-max-lag", "300")
                    await primary.reaches(Server.has_good_replica)
                    url = f"redis://127.0.0.1:{front.port}"
                    store = RedisStore(url, partition_count=2, durability="replicated")
                    await store.open()
                    writer = Writer(store, 0)
                    await writer.write(3)
                    assert writer.acquired is not None
                    lease = writer.acquired.lease
                    link.down.clear()
                    with pytest.raises(StoreUnavailableError, match="0 of 1 replicas"):
                        await store.commit(writer.next_commit())
                    assert _seqs(primary, store)[0] == 4
                    assert await store.renew(lease, ttl_ms=TTL_MS)
                    primary.kill()
                    replica.do("REPLICAOF", "NO", "ONE")
                    front._target_port = replica.port
                    while True:
                        try:
                            kept = await store.renew(lease, ttl_ms=TTL_MS)
                            break
                        except StoreUnavailableError:
                            await asyncio.sleep(0.05)
                    assert kept
                    assert _seqs(replica, store)[0] == 3
                    assert "store_rollback" not in caplog.text
                    await store.close()

    async def test_replicated_commit_waits_for_its_replica(
        self, primary: Server, tmp_path: Path
    ) -> None:
        """P14 at the level of the store: what was answered is on the replica."""
        async with Proxy(primary.port) as link:
            with Server(primary.kind, tmp_path / "replica") as replica:
                await asyncio.to_thread(replica.do, "REPLICAOF", "127.0.0.1", link.port)
                await replica.reaches(lambda server: server.do("ROLE")[3] == b"connected")
                store = RedisStore(primary.url, partition_count=2, durability="replicated")
                with pytest.raises(StoreRefusedError, match="min-replicas-to-write"):
                    await store.open()
                primary.do("CONFIG", "SET", "min-replicas-to-write", "1")
                await primary.reaches(Server.has_good_replica)
                await store.open()
                writer = Writer(store, 0)
                await writer.write(10)
                link.up.clear()  # the replica's acknowledgements do not arrive
                commit = writer.next_commit()
                for _ in range(2):
                    with pytest.raises(StoreUnavailableError, match="0 of 1 replicas") as caught:
                        await store.commit(commit)
                    assert caught.value.written is None
                link.up.set()
                assert await writer.send(commit) is CommitResult.ALREADY
                writer.done += 1
                primary.kill()
                replica.do("REPLICAOF", "NO", "ONE")
                promoted = RedisStore(replica.url, cluster_id=store.cluster_id)
                await promoted.open()
                writer.store = promoted
                await writer.check()
                await promoted.close()
                await store.close()

    async def test_replica_is_not_a_primary(self, primary: Server, tmp_path: Path) -> None:
        with Server(primary.kind, tmp_path / "replica") as replica:
            replica.do("REPLICAOF", "127.0.0.1", primary.port)
            with pytest.raises(StoreRefusedError, match="address of the primary"):
                await RedisStore(replica.url).open()

    async def test_demoted_primary_refuses(self, primary: Server, tmp_path: Path) -> None:
        with Server(primary.kind, tmp_path / "other") as other:
            store = RedisStore(primary.url, partition_count=1)
            await store.open()
            writer = Writer(store, 0)
            await writer.write(2)
            primary.do("REPLICAOF", "127.0.0.1", other.port)
            await _until_refused(writer, "replica|loading")
            await store.close()


class TestLoss:
    """R11: an empty Redis is never taken for a new one by who knows better."""

    async def test_r11_flushed_server(self, server: Server, store: RedisStore) -> None:
        writer = Writer(store, 0)
        await writer.write(3)
        server.do("FLUSHALL")
        assert await store.commit(writer.next_commit()) is CommitResult.FENCED
        for _ in range(2):
            with pytest.raises(StoreLostError, match="lost its data"):
                await store.acquire(0, "t", ttl_ms=TTL_MS)
        await store.close()
        with pytest.raises(StoreLostError, match="lost its data"):
            await store.open()
        assert server.do("DBSIZE") == 0

    async def test_r11_fresh_directory(self, server: Server, tmp_path: Path) -> None:
        store = RedisStore(server.url, partition_count=2)
        await store.open()
        server.kill()
        server.directory = tmp_path / "fresh"
        server.start()
        with pytest.raises(StoreLostError):
            await Writer(store, 0).acquire_once()
        known = RedisStore(server.url, cluster_id=store.cluster_id)
        with pytest.raises(StoreLostError, match=store.cluster_id):
            await known.open()
        careful = RedisStore(server.url, found=False)
        with pytest.raises(UsageError, match="no cluster was founded"):
            await careful.open()
        await store.close()

    async def test_other_cluster_in_the_place_of_ours(
        self, server: Server, store: RedisStore
    ) -> None:
        server.do("FLUSHALL")
        other = RedisStore(server.url, partition_count=2)
        await other.open()
        with pytest.raises(StoreLostError, match=other.cluster_id):
            await store.acquire(0, "t", ttl_ms=TTL_MS)
        await other.close()

    async def test_lost_meta_is_not_created_again(self, server: Server, store: RedisStore) -> None:
        server.do("DEL", store.partitions[1].meta)
        with pytest.raises(StoreLostError):
            await store.acquire(1, "t", ttl_ms=TTL_MS)
        assert isinstance(await store.acquire(0, "t", ttl_ms=TTL_MS), Acquired)
        with pytest.raises(StoreLostError):
            await RedisStore(server.url).open()

    async def test_lost_root_is_not_founded_again(self, server: Server, store: RedisStore) -> None:
        server.do("DEL", "af:cluster")
        with pytest.raises(StoreLostError, match="lost the root"):
            await RedisStore(server.url, partition_count=2).open()

    async def test_founding_goes_on_where_it_was_interrupted(self, server: Server) -> None:
        first = RedisStore(server.url, partition_count=4)
        await first.open()
        server.do("HSET", "af:cluster", "state", "creating")
        server.do("DEL", first.partitions[3].meta)
        second = RedisStore(server.url)
        await second.open()
        assert (second.cluster_id, second.partition_count) == (first.cluster_id, 4)
        await second.acquire(3, "t", ttl_ms=TTL_MS)
        await first.close()
        await second.close()

    async def test_number_of_partitions_is_kept(self, server: Server, store: RedisStore) -> None:
        with pytest.raises(UsageError, match="founded with 2 partitions"):
            await RedisStore(server.url, partition_count=3).open()

    async def test_newer_format_is_refused(self, server: Server, store: RedisStore) -> None:
        server.do("HSET", "af:cluster", "format", "2")
        with pytest.raises(Exception, match="format level 2"):
            await RedisStore(server.url).open()

    async def test_namespaces_do_not_meet(self, server: Server, store: RedisStore) -> None:
        other = RedisStore(f"{server.url}?namespace=shop", partition_count=1)
        await other.open()
        assert other.cluster_id != store.cluster_id
        owner = await Owner.of(other)
        await owner.write(put=(MessageRow(1, ActorId("a", "b"), "m", b""),))
        assert (await store.recover(0, horizon_ms=0)).messages == ()
        await other.close()


def _seqs(server: Server, store: RedisStore) -> list[int]:
    return [int(server.do("HGET", keys.meta, "seq") or 0) for keys in store.partitions]


def _persistence(server: Server) -> dict[str, str]:
    with server.client() as client:
        info: dict[str, str] = client.info("persistence")
    return info


def _ignoring_kill(server: Server, script: str) -> None:
    with server.client() as client, pytest.raises(Exception, match="killed"):
        client.eval(script, 0)


async def _until_refused(writer: Writer, why: str) -> None:
    while True:
        try:
            await writer.store.commit(writer.next_commit())
        except StoreUnavailableError as error:
            refused = error
            break
        writer.done += 1
        await asyncio.sleep(0.005)
    assert refused.written is False
    assert re.search(why, str(refused))
