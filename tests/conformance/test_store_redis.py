"""The store kit on Redis: in memory, on real servers, and on a small cluster."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from actorflow.actors.ports import PartitionStore
from actorflow.actors.store.redis import RedisStore
from actorflow.actors.store.redis.client import RedisClient
from actorflow.actors.store.redis.routes import routes_to
from actorflow.actors.store.redis.url import parse_url
from tests.conformance.store_kit import OwnershipKit, SteppedClock
from tests.conformance.store_kit_reads import ReadKit
from tests.conformance.store_kit_writes import WriteKit
from tests.fakes.redis_clients import ClockClient, fakeredis_client
from tests.servers import Server, cluster


async def opened(url: str, clock: SteppedClock, partition_count: int = 1) -> RedisStore:
    location = parse_url(url)
    client = RedisClient(routes_to(location), location.account, timeout_s=5)
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
        client = ClockClient(fakeredis_client(), clock)
        store = RedisStore("redis://fake", partition_count=1, clock=clock, client=client)
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
