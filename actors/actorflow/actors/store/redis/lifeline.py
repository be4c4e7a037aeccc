"""Heartbeat and leases over connections of their own. Implements `transport.Lifeline`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.actors.errors import UsageError
from actorflow.actors.lease import DEAD
from actorflow.actors.store.redis.keys import slot_of
from actorflow.actors.store.redis.post import FORGET_MS
from actorflow.actors.store.redis.script import BEAT, RELEASE
from actorflow.actors.transport import Member

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.actors.ports import Lease
    from actorflow.actors.store.redis.client import RedisClient
    from actorflow.actors.store.redis.store import RedisStore


class RedisLifeline:
    """One a host, over the Redis of a `RedisStore` that is open.

    Concurrency: one event loop, which need not be that of the store.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._client: RedisClient | None = None

    async def open(self) -> None:
        """See `Lifeline.open`."""
        self._client = self._store.another_client()

    async def close(self) -> None:
        """See `Lifeline.close`."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def time_ns(self) -> int | None:
        """See `Lifeline.time_ns`: the clock of the server that keeps the members."""
        ((seconds, micros),) = await self._open_client().ask(self._members_slot, ("TIME",))
        return int(seconds) * 1_000_000_000 + int(micros) * 1_000

    async def beat(self, host: str, info: bytes) -> Sequence[Member]:
        """See `Membership.beat`."""
        data = BEAT.call((self._store.members_key,), (host, info, FORGET_MS))
        reply = await self._open_client().run(self._members_slot, BEAT, data)
        return [
            Member(reply[i].decode(), int(reply[i + 1]), reply[i + 2])
            for i in range(0, len(reply), 3)
        ]

    async def leave(self, host: str) -> None:
        """See `Membership.leave`."""
        command = ("HDEL", self._store.members_key, host)
        await self._open_client().ask(self._members_slot, command)

    async def renew(self, lease: Lease, *, ttl_ms: int) -> bool:
        """See `Lifeline.renew`."""
        return await self._store.renew_over(self._open_client(), lease, ttl_ms=ttl_ms)

    async def release(self, lease: Lease) -> None:
        """See `keeper.Lifeline`."""
        keys = self._store.partitions[lease.partition]
        data = RELEASE.call((keys.meta,), (lease.epoch, lease.token, DEAD))
        await self._open_client().run(keys.slot, RELEASE, data)

    @property
    def _members_slot(self) -> int:
        return slot_of(self._store.members_key.encode())

    def _open_client(self) -> RedisClient:
        if self._client is None:
            raise UsageError("the lifeline is not open; the keeper opens it")
        return self._client
