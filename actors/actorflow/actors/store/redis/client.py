"""Runs scripts and commands through redis-py, on one server or in a cluster.

A call whose answer did not come is not sent again from here; a script that a server does not know
is loaded, and then sent again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from redis.asyncio import RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from actorflow.actors.errors import StoreUnavailableError
from actorflow.actors.store.redis.connections import connect
from actorflow.actors.store.redis.errors import failure, refusal, unanswered
from actorflow.actors.store.redis.pipeline import PipelineLane

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from redis.asyncio import Redis
    from redis.asyncio.cluster import ClusterNode

    from actorflow.actors.store.redis.connections import Network
    from actorflow.actors.store.redis.script import Command, Script
    from actorflow.actors.store.redis.url import Location

Reply: TypeAlias = Any
"""bytes, int, None, or a list of such; within this module also an exception."""

Lane: TypeAlias = Literal["commits", "reads"]
"""Calls of different lanes do not wait for each other: reads may have long answers."""

PIPELINES_MAX: dict[Lane, int] = {"commits": 1, "reads": 2}
"""Pipelines that are under way at once; what comes meanwhile leaves together. Commits are short,
and cost half as much together; reads need not wait for one long answer."""

CALLS_MAX = 128
"""Calls that are under way at once in a Redis Cluster, each on a connection of its own."""


class Client(Protocol):
    """What the store asks of the network. Tests have servers in memory.

    Errors of every call: `StoreUnavailableError`, and `CorruptError` for a script that failed after
    its checks. Concurrency: one event loop. A caller that is cancelled does not hear how its call
    ends; no other caller is touched.
    """

    async def run(
        self, slot: int, script: Script, command: Command, *, lane: Lane = "reads"
    ) -> Reply:
        """Run the call of a script and return its answer, which is no error."""
        ...

    async def run_replicated(
        self, slot: int, script: Script, command: Command, *, replicas: int, wait_ms: int
    ) -> Reply:
        """Run a script and return its answer once so many replicas have it.

        Raises:
            StoreUnavailableError: also when too few replicas answered in time; `written` is None,
                since a fail-over may now lose it.
        """
        ...

    async def ask(self, slot: int, *commands: Command) -> list[Reply]:
        """Run commands without a script and return their answers, none of them an error."""
        ...

    async def close(self) -> None:
        """Finish what is under way and close all connections."""
        ...


class RedisClient:
    """`Client` over redis-py: what one server and a cluster share."""

    def __init__(self, redis: Network, place: str) -> None:
        self._redis = redis
        self._place = f"Redis at {place}"

    async def primaries(self) -> list[str]:
        """Return the addresses of all servers that hold data. Raises StoreUnavailableError."""
        raise NotImplementedError

    async def ask_at(self, place: str, *commands: Command) -> list[Reply]:
        """Run commands at one of `primaries`; errors stand among the answers."""
        raise NotImplementedError

    async def run(
        self, slot: int, script: Script, command: Command, *, lane: Lane = "reads"
    ) -> Reply:
        """See `Client`."""
        (reply,) = await self._send(slot, (command,), lane)
        if isinstance(reply, NoScriptError):
            await self._load(script)
            (reply,) = await self._send(slot, (command,), lane)
        return self._checked(reply)

    async def run_replicated(
        self, slot: int, script: Script, command: Command, *, replicas: int, wait_ms: int
    ) -> Reply:
        """See `Client`."""
        commands = (command, ("WAIT", replicas, wait_ms))
        reply, reached = await self._send_alone(slot, commands)
        if isinstance(reply, NoScriptError):
            await self._load(script)
            reply, reached = await self._send_alone(slot, commands)
        self._checked(reply)
        if isinstance(reached, Exception):
            # The script did run: a primary that is demoted frees who waits for its replicas.
            raise unanswered("WAIT", str(reached))
        if reached < replicas:
            raise StoreUnavailableError(
                f"{reached} of {replicas} replicas answered within {wait_ms} ms", written=None
            )
        return reply

    async def ask(self, slot: int, *commands: Command) -> list[Reply]:
        """See `Client`."""
        return [self._checked(reply) for reply in await self._send(slot, commands, "reads")]

    async def block(self, slot: int, command: Command) -> Reply:
        """Run a command that may wait long for its answer, on a connection of its own.

        A caller that is cancelled costs that connection, and nothing else.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """See `Client`."""
        await self._redis.aclose()

    def _send(self, slot: int, commands: Sequence[Command], lane: Lane) -> Awaitable[list[Reply]]:
        """Send the commands in order and return their answers, errors among them."""
        raise NotImplementedError

    def _send_alone(self, slot: int, commands: Sequence[Command]) -> Awaitable[list[Reply]]:
        """As `_send`, over one connection that nobody else uses meanwhile."""
        raise NotImplementedError

    async def _load(self, script: Script) -> None:
        """Make the script known to every primary."""
        raise NotImplementedError

    def _checked(self, reply: Reply) -> Reply:
        if not isinstance(reply, Exception):
            return reply
        if isinstance(reply, ResponseError):
            raise refusal(reply, self._place)
        raise failure(reply, self._place) from reply


class ServerClient(RedisClient):
    """One server, or the primary that Sentinel names.

    Args:
        timeout_s: silence after which a connection is dropped. redis-py's own time-outs cost as
            much as a small call, so `redis` has none.
    """

    def __init__(self, redis: Redis, place: str, *, timeout_s: float) -> None:
        super().__init__(redis, place)
        self._server = redis
        self._address = place
        self._timeout_s = timeout_s
        self._lanes = {lane: self._lane(pipelines) for lane, pipelines in PIPELINES_MAX.items()}

    def _lane(self, pipelines_max: int) -> PipelineLane:
        return PipelineLane(
            self._server.connection_pool,
            self._place,
            timeout_s=self._timeout_s,
            pipelines_max=pipelines_max,
            doubt=self._doubt,
        )

    async def primaries(self) -> list[str]:
        """See `RedisClient`."""
        return [self._address]

    async def ask_at(self, place: str, *commands: Command) -> list[Reply]:
        """See `RedisClient`."""
        return await self._lanes["reads"].send(commands)

    async def close(self) -> None:
        """See `Client`."""
        for lane in self._lanes.values():
            await lane.finish()
        await super().close()
        pool = self._server.connection_pool
        if isinstance(pool, SentinelConnectionPool):
            for sentinel in pool.sentinel_manager.sentinels:
                await sentinel.aclose()

    async def block(self, slot: int, command: Command) -> Reply:
        """See `RedisClient`."""
        try:
            reply = await self._lanes["reads"].block(command)
        except (RedisError, OSError) as error:
            raise failure(error, self._place) from error
        if isinstance(reply, ResponseError):
            raise failure(reply, self._place) from reply
        return reply

    def _send(self, slot: int, commands: Sequence[Command], lane: Lane) -> Awaitable[list[Reply]]:
        return self._lanes[lane].send(commands)

    def _send_alone(self, slot: int, commands: Sequence[Command]) -> Awaitable[list[Reply]]:
        return self._lanes["commits"].send(commands, alone=True)

    def _doubt(self) -> None:
        for lane in self._lanes.values():
            lane.reconnect()

    async def _load(self, script: Script) -> None:
        (loaded,) = await self._lanes["reads"].send([("SCRIPT", "LOAD", script.text)])
        self._checked(loaded)


class ClusterClient(RedisClient):
    """A Redis Cluster. redis-py follows slots that move, and learns the map anew when a node was
    lost."""

    def __init__(self, redis: RedisCluster, place: str) -> None:
        super().__init__(redis, place)
        self._cluster = redis
        self._free = asyncio.Semaphore(CALLS_MAX)

    async def primaries(self) -> list[str]:
        """See `RedisClient`."""
        await self._learn()
        return [node.name for node in self._cluster.get_primaries()]

    async def ask_at(self, place: str, *commands: Command) -> list[Reply]:
        """See `RedisClient`."""
        node = self._cluster.get_node(node_name=place)
        assert node is not None
        return [await self._call(node, command) for command in commands]

    async def close(self) -> None:
        """See `Client`."""
        await super().close()
        # redis-py closes nothing while it is about to learn the map anew.
        await self._cluster.nodes_manager.aclose()
        await self._cluster.nodes_manager.aclose("startup_nodes")

    async def block(self, slot: int, command: Command) -> Reply:
        """See `RedisClient`."""
        return self._checked(await self._call(await self._node_of(slot), command))

    async def _send(self, slot: int, commands: Sequence[Command], lane: Lane) -> list[Reply]:
        async with self._free:
            node = await self._node_of(slot)
            return [await self._call(node, command) for command in commands]

    async def _send_alone(self, slot: int, commands: Sequence[Command]) -> list[Reply]:
        node = await self._node_of(slot)
        pipeline = self._cluster.pipeline()
        for command in commands:
            pipeline.execute_command(*command, target_nodes=node)
        try:
            # A script that is sent elsewhere leaves its WAIT behind, which then waits for nothing.
            return await pipeline.execute(raise_on_error=False, allow_redirections=False)
        except (RedisError, RedisClusterException) as error:
            raise failure(error, self._place, single=False) from error

    async def _load(self, script: Script) -> None:
        try:
            await self._cluster.script_load(script.text)
        except (RedisError, RedisClusterException) as error:
            raise failure(error, self._place) from error

    async def _call(self, node: ClusterNode, command: Command) -> Reply:
        try:
            return await self._cluster.execute_command(*command, target_nodes=node)
        except ResponseError as error:
            return error
        except (RedisError, RedisClusterException) as error:
            raise failure(error, self._place) from error

    async def _node_of(self, slot: int) -> ClusterNode:
        await self._learn()
        try:
            return self._cluster.nodes_manager.get_node_from_slot(slot)
        except RedisClusterException as error:
            raise failure(error, self._place) from error

    async def _learn(self) -> None:
        """Learn the map of slots, unless it is known and no node was lost since."""
        try:
            await self._cluster.initialize()
        except (RedisError, RedisClusterException, OSError) as error:
            raise failure(error, self._place) from error


def open_client(location: Location, *, timeout_s: float, in_cluster: bool = False) -> RedisClient:
    """Return a client that connects when it is used. Arguments as of `connect`."""
    redis = connect(location, timeout_s=timeout_s, in_cluster=in_cluster)
    place = ", ".join(map(str, location.addresses))
    if isinstance(redis, RedisCluster):
        return ClusterClient(redis, place)
    return ServerClient(redis, place, timeout_s=timeout_s)
