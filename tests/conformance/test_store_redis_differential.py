"""R02: the shipped scripts over dictionaries, on Redis and on Valkey answer as the memory store."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis.stateful import invariant

from actorflow.actors.clock import Clock
from actorflow.actors.store.redis import RedisStore
from actorflow.actors.store.redis.client import Client, open_client
from actorflow.actors.store.redis.url import parse_url
from tests.conformance.store_kit import picture_of
from tests.conformance.test_store_differential import ACTORS, Stores
from tests.fakes.lua_redis import LuaRedis
from tests.fakes.redis_clients import ClockClient
from tests.servers import KINDS, Server


class RedisStores(Stores):
    """Whatever is asked of the memory store is asked of each Redis store too."""

    servers: ClassVar[list[Server]] = []

    def __init__(self) -> None:
        super().__init__()
        self.others = [self.opened("redis://lua", LuaRedis(self.clock).client())]
        for server in self.servers:
            server.do("FLUSHALL")
            self.others.append(self.opened(server.url, timed_client(server, self.clock)))

    def opened(self, url: str, client: Client) -> RedisStore:
        store = RedisStore(url, partition_count=1, clock=self.clock, client=client)
        self.runner.run(store.open())
        return store

    def teardown(self) -> None:
        for store in self.others:
            self.runner.run(store.close())
        super().teardown()

    def both(self, method: str, *args: object, **options: object) -> Any:
        answer = super().both(method, *args, **options)
        for store in self.others:
            other = self.runner.run(getattr(store, method)(*args, **options))
            assert other == answer, f"{store}: {method}{args}{options}"
        return answer

    @invariant()
    def they_look_alike(self) -> None:
        memory = self.runner.run(picture_of(self.memory, ACTORS))
        for store in self.others:
            assert self.runner.run(picture_of(store, ACTORS)) == memory, store


def timed_client(server: Server, clock: Clock) -> Client:
    return ClockClient(open_client(parse_url(server.url), timeout_s=5), clock)


@pytest.fixture(scope="module", autouse=True)
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with ExitStack() as stack:
        for kind in KINDS:
            server = Server(kind, tmp_path_factory.mktemp(kind))
            RedisStores.servers.append(stack.enter_context(server))
        yield
        RedisStores.servers.clear()


TestRedisStores = RedisStores.TestCase
TestRedisStores.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
