"""Spreads the partitions over the hosts: heartbeats, wanted owners, take, hand over.

Nobody decides for others. Each host computes who should own what, takes what is free or was left by
a dead host, and hands over what another one should have. Two hosts that disagree are harmless: the
fence in every commit decides.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from actorflow.actors.door import PartitionState
from actorflow.actors.errors import NotOwnerError, StoreUnavailableError
from actorflow.actors.letters import Offer
from actorflow.actors.owner import host_of
from actorflow.actors.rendezvous import wanted_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from actorflow.actors.environment import Host
    from actorflow.actors.owner import Owner
    from actorflow.actors.partition import Partition
    from actorflow.actors.transport import Member, Membership

_log = logging.getLogger(__name__)

TICK_S = 0.5
"""Pause between two looks at the members."""

DEAD_AFTER_MS = 3_000
"""A host that was silent for this long counts as dead: its partitions may be taken early."""

STABLE_S = 2.0
"""Partitions change hosts only when the members have been the same for this long."""

MOVES_AT_ONCE = 4
"""Partitions that one host takes or hands over at the same time."""

KEEP_S = 10.0
"""A partition that was just taken is not handed over again before this time."""

DRAIN_S = 2.0
"""How long a hand-over waits for running turns."""


class Placement:
    """Runs as one task of the host until it is cancelled. See the module docstring."""

    def __init__(  # noqa: PLR0913 -- the parts it moves
        self,
        host_id: str,
        partitions: Sequence[Partition],
        owner: Owner,
        membership: Membership,
        host: Host,
        *,
        info: Callable[[], bytes],
        ttl_ms: int,
    ) -> None:
        self._host_id = host_id
        self._partitions = partitions
        self._owner = owner
        self._membership = membership
        self._host = host
        self._info = info
        self._ttl_ms = ttl_ms
        self._live: frozenset[str] = frozenset()
        self._stable_since_s = -STABLE_S
        self._moving: set[int] = set()
        self._taken_at_s: dict[int, float] = {}
        self.members: Sequence[Member] = ()

    async def run(self) -> None:
        """Keep this host's share of the partitions."""
        while True:
            try:
                self.look(await self._membership.beat(self._host_id, self._info()))
            except StoreUnavailableError as error:
                _log.warning("heartbeat not sent", extra={"cause": str(error)})
            await asyncio.sleep(TICK_S)  # noqa: TID251 -- the rhythm of heartbeats

    def look(self, members: Sequence[Member]) -> None:
        """Decide what to take and what to hand over, given the members as the store sees them."""
        now_s = self._now_s()
        self.members = members
        live = frozenset(m.host for m in members if m.age_ms < DEAD_AFTER_MS) | {self._host_id}
        if live != self._live:
            self._live = live
            self._stable_since_s = now_s if live - {self._host_id} else now_s - STABLE_S
            _log.info("members changed", extra={"hosts": len(live)})
        if now_s - self._stable_since_s < STABLE_S:
            return
        for partition in self._partitions:
            if len(self._moving) >= MOVES_AT_ONCE:
                return
            if partition.index not in self._moving:
                self._consider(partition, wanted_owner(partition.index, live), now_s)

    def offered(self, partition: Partition) -> None:
        """Another host has just given this partition up for us."""
        if partition.state is PartitionState.CLOSED and partition.index not in self._moving:
            self._move(partition, self._take(partition))

    def _consider(self, partition: Partition, wanted: str | None, now_s: float) -> None:
        mine = partition.state is not PartitionState.CLOSED
        if wanted == self._host_id and not mine:
            self._move(partition, self._take(partition))
        elif mine and wanted is not None and wanted != self._host_id:
            taken_at_s = self._taken_at_s.get(partition.index, -KEEP_S)
            if now_s - taken_at_s >= KEEP_S:
                self._move(partition, self._hand_over(partition, wanted))

    def _move(self, partition: Partition, steps: Coroutine[object, object, None]) -> None:
        self._moving.add(partition.index)
        self._host.spawn(self._moved(partition, steps), f"move-{partition.index}")

    async def _moved(self, partition: Partition, steps: Coroutine[object, object, None]) -> None:
        try:
            await steps
        except StoreUnavailableError as error:
            _log.warning("move not done", extra={"partition": partition.index, "cause": str(error)})
        finally:
            self._moving.discard(partition.index)

    async def _take(self, partition: Partition) -> None:
        held = await self._owner.take(partition, ttl_ms=self._ttl_ms)
        if held is not None and host_of(held.owner) not in self._live:
            await self._owner.release_dead(partition, held)
            held = await self._owner.take(partition, ttl_ms=self._ttl_ms)
        if held is None:
            self._taken_at_s[partition.index] = self._now_s()
            _log.info("partition taken", extra={"partition": partition.index})

    async def _hand_over(self, partition: Partition, to: str) -> None:
        partition.drain()
        deadline_s = self._now_s() + DRAIN_S
        while not partition.is_quiet() and self._now_s() < deadline_s:  # noqa: ASYNC110 -- short
            await asyncio.sleep(0.005)  # noqa: TID251 -- bounded by DRAIN_S
        moved = NotOwnerError(f"partition {partition.index} moves to another host; retry")
        await self._owner.give_up(partition, moved)
        self._host.post_to_host(to, Offer(partition.index))
        _log.info("partition handed over", extra={"partition": partition.index, "to": to})

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()
