"""Who owns which partition of a cluster in Redis, as its store says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from actorflow.actors.owner import host_of
from actorflow.actors.rendezvous import wanted_owner

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from actorflow.actors.store.redis.keys import PartitionKeys

SETTLE_S = 60.0
"""Longest that hosts may take to share the partitions."""

POLL_S = 0.05


async def owners(port: int, partitions: Sequence[PartitionKeys]) -> list[str]:
    """Return the host of each partition; "" for one that is free."""
    async with Redis(port=port) as client:
        pipe = client.pipeline(transaction=False)
        for keys in partitions:
            pipe.hget(keys.meta, "owner")
        return [host_of((owner or b"").decode()) for owner in await pipe.execute()]


async def settled(port: int, partitions: Sequence[PartitionKeys], hosts: Set[str]) -> None:
    """Return when each partition has the owner that it should have among these hosts."""
    wanted = [wanted_owner(number, hosts) for number in range(len(partitions))]
    async with asyncio.timeout(SETTLE_S):
        while await owners(port, partitions) != wanted:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(POLL_S)
