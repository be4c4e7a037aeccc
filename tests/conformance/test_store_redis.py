"""The store kit on Redis: in memory, on real servers, and on a small cluster."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from actorflow.actors.ports import (
    Commit,
    CommitResult,
    EntryId,
    LinkEntry,
    LinkMark,
    PartitionStore,
)
from actorflow.actors.store.memory import MemoryStore
from actorflow.actors.store.redis import RedisStore
from actorflow.actors.store.redis.client import Client, open_client
from actorflow.actors.store.redis.url import parse_url
from tests.conformance.store_kit import (
    AUDIT,
    ORDER,
    Owner,
    OwnershipKit,
    SteppedClock,
    picture_of,
)
from tests.conformance.store_kit_reads import ReadKit
from tests.conformance.store_kit_writes import WriteKit
from tests.fakes.lua_redis import LuaRedis
from tests.fakes.redis_clients import ClockClient, fakeredis_client
from tests.servers import Server, cluster


async def opened(url: str, clock: SteppedClock, partition_count: int = 1) -> RedisStore:
    client = open_client(parse_url(url), timeout_s=5)
    store = RedisStore(
        url, partition_count=partition_count, clock=clock, client=ClockClient(client, clock)
    )
    await store.open()
    return store


@pytest.mark.asyncio
class TestFakeRedis(OwnershipKit, WriteKit, ReadKit):
    """The shipped scripts in fakeredis."""

    @pytest_asyncio.fixture
    async def store(self, clock: SteppedClock) -> AsyncIterator[PartitionStore]:
        client = fakeredis_client(clock)
        store = RedisStore("redis://fake", partition_count=1, clock=clock, client=client)
        await store.open()
        yield store
        await store.close()


@pytest.mark.asyncio
class TestLua(OwnershipKit, WriteKit, ReadKit):
    """The shipped scripts over dictionaries, which also see that every touched key is declared."""

    @pytest_asyncio.fixture
    async def store(self, clock: SteppedClock) -> AsyncIterator[PartitionStore]:
        client = LuaRedis(clock).client()
        store = RedisStore("redis://lua", partition_count=1, clock=clock, client=client)
        await store.open()
        yield store
        await store.close()


class ServerKit(OwnershipKit, WriteKit, ReadKit):
    """A real server, emptied before each test."""

    @pytest_asyncio.fixture
    async def store(self, clock: SteppedClock, server: Server) -> AsyncIterator[PartitionStore]:
        server.do("FLUSHALL")
        store = await opened(server.url, clock)
        yield store
        await store.close()


@pytest.mark.asyncio
class TestRedis(ServerKit):
    """The oldest Redis that is supported."""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
        with Server("redis", tmp_path_factory.mktemp("redis")) as server:
            yield server


@pytest.mark.asyncio
class TestValkey(ServerKit):
    """The newest Valkey."""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
        with Server("valkey", tmp_path_factory.mktemp("valkey")) as server:
            yield server


@pytest.mark.asyncio
class TestCluster(OwnershipKit, WriteKit, ReadKit):
    """Three nodes, five partitions, of which the kit uses the first."""

    @pytest.fixture(scope="class")
    @classmethod
    def servers(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
        with cluster("redis", tmp_path_factory.mktemp("cluster"), 3) as servers:
            yield servers

    @pytest_asyncio.fixture
    async def store(
        self, clock: SteppedClock, servers: list[Server]
    ) -> AsyncIterator[PartitionStore]:
        for server in servers:
            server.do("FLUSHALL")
        seeds = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        store = await opened(f"redis+cluster://{seeds}", clock, 5)
        yield store
        await store.close()


@pytest.mark.asyncio
class TestLinks:
    """What a store of several partitions keeps of links."""

    @pytest.fixture(params=["lua", "fakeredis"])
    def client(self, request: pytest.FixtureRequest) -> Client:
        clock = SteppedClock()
        if request.param == "lua":
            return LuaRedis(clock).client()
        return fakeredis_client(clock)

    async def test_links_are_kept_and_trimmed_as_in_memory(self, client: Client) -> None:
        redis = RedisStore("redis://x", partition_count=4, client=client)
        memory = MemoryStore(clock=SteppedClock())
        await redis.open()
        pictures = []
        for store in (memory, redis):
            owner = await Owner.of(store, partition=2)
            for commit in link_commits(owner):
                assert await store.commit(commit) is CommitResult.OK
            pictures.append(await picture_of(store, [], 2))
        assert pictures[0] == pictures[1]
        assert [entry.id for entry in pictures[1].recovery.outbox] == [(9, 12), (5, 2), (9, 1)]


def link_commits(owner: Owner) -> list[Commit]:
    """Two commits; the second trims what the first put."""

    def entry(destination: int, epoch: int, n: int) -> LinkEntry:
        return LinkEntry(
            destination=destination,
            id=EntryId(epoch, n),
            lineage=2**32 - 1,
            prev=EntryId(epoch, n - 1),
            target=ORDER,
            method="add",
            payload=b"\x00p",
            sender=AUDIT,
        )

    first = owner.build()._replace(
        put_outbox=(
            entry(1, 9, 2),
            entry(3, 9, 1),
            entry(1, 5, 3),
            entry(1, 9, 12),
            entry(3, 5, 2),
        ),
        put_marks=(LinkMark(3, EntryId(7, 1), 5), LinkMark(0, EntryId(7, 2), 2**32 - 1)),
        cursor="5-0",
    )
    owner.seq += 1
    second = owner.build()._replace(
        trim_outbox=((1, EntryId(9, 2)), (0, EntryId(99, 99))),
        put_marks=(LinkMark(3, EntryId(7, 9), 5),),
    )
    return [first, second]
