"""Servers for the tests of the Redis store: one of each kind a module, emptied for each test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from actorflow.actors.store.redis import RedisStore
from tests.servers import KINDS, Server


@pytest.fixture(scope="module", params=KINDS)
def any_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Redis, then Valkey."""
    with Server(request.param, tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.fixture(params=KINDS)
def synced_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server to kill. It syncs each write: with `everysec` it holds back what it acknowledged for
    up to two seconds while a sync is under way, and loses that when it is killed."""
    with Server(request.param, tmp_path, {"appendfsync": "always"}) as server:
        yield server


@pytest_asyncio.fixture
async def store(any_server: Server) -> AsyncIterator[RedisStore]:
    """An empty store of eight partitions."""
    any_server.do("FLUSHALL")
    store = RedisStore(any_server.url, partition_count=8)
    await store.open()
    yield store
    await store.close()
