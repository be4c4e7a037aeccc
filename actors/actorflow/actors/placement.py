"""Spreads the partitions over the hosts: wanted owners, take, hand over.

Nobody decides for others. Each host computes who should own what, takes what is free or was left by
a dead host, and hands over what another one should have. Two hosts that disagree are harmless: the
fence in every commit decides.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.door import PartitionState
from actorflow.actors.errors import NotOwnerError, StoreUnavailableError
from actorflow.actors.letters import Offer
from actorflow.actors.owner import host_of
from actorflow.actors.rendezvous import wanted_owner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from actorflow.actors.environment import Host
    from actorflow.actors.errors import ActorflowError
    from actorflow.actors.outage import Outage
    from actorflow.actors.owner import Owner
    from actorflow.actors.partition import Partition
    from actorflow.actors.ports import Held
    from actorflow.actors.transport import Member

_log = logging.getLogger(__name__)

RETRY_S = 0.5
"""Pause after a move that failed."""

DEAD_AFTER_MS = 3_000
"""A host that was silent for this long counts as dead: its partitions may be taken early."""

STABLE_S = 2.0
"""Partitions leave a living host only when the members have been the same for this long."""

MOVES_AT_ONCE = 4
"""Partitions that one host takes or hands over at the same time."""

KEEP_S = 10.0
"""A partition that was just taken is not handed over again before this time."""

BEGIN_S = 3.0
"""What a host takes in its first moments it may hand over sooner: hosts that start together find
their shares together."""

DRAIN_S = 2.0
"""How long a hand-over waits for running turns."""

DRAIN_POLL_S = 0.002
"""Pause between looks whether a partition has drained."""


class _Holder(NamedTuple):
    """Who was found to own a partition that should be ours."""

    host: str
    since_s: float
    until_s: float


class Placement:
    """Keeps this host's share of the partitions: `look` whenever the members were heard of.

    `moves` counts what it took and handed over. `trouble` says why the last move failed, "" when it
    did not. `heard_at_s` is the loop's time of the last heartbeat that reached the store.
    """

    def __init__(
        self,
        host_id: str,
        partitions: Sequence[Partition],
        owner: Owner,
        host: Host,
        outage: Outage,
        *,
        ttl_ms: int,
    ) -> None:
        self._host_id = host_id
        self._outage = outage
        self._partitions = partitions
        self._owner = owner
        self._host = host
        self._ttl_ms = ttl_ms
        self._live: frozenset[str] = frozenset()
        self._dead: frozenset[str] = frozenset()
        self._stable_since_s = 0.0
        self._moving: dict[int, asyncio.Task[None]] = {}
        self._kept_until_s: dict[int, float] = {}
        self._began_s = 0.0
        self._holders: dict[int, _Holder] = {}
        self._offered: set[int] = set()
        self._stopping = False
        self._cut_off_until_s = 0.0
        self.heard_at_s = 0.0
        self.trouble = ""
        self.moves = 0
        self._told_moves = 0
        self.members: Sequence[Member] = ()

    def begin(self) -> None:
        """From now on members are heard of."""
        self.heard_at_s = self._began_s = self._now_s()

    def others(self) -> Sequence[str]:
        """Return the living hosts besides this one."""
        return sorted(self._live - {self._host_id})

    def look(self, members: Sequence[Member]) -> None:
        """Decide what to take and what to hand over, given the members as the store sees them."""
        now_s = self._now_s()
        live = frozenset(m.host for m in members if m.age_ms < DEAD_AFTER_MS)
        if self._host_id not in live:
            return  # the others do not see us: they will take what is ours
        if now_s - self.heard_at_s >= DEAD_AFTER_MS / 1_000:
            self._cut_off_until_s = now_s + DEAD_AFTER_MS / 1_000
        if now_s < self._cut_off_until_s:
            # Nobody may have reached the store: give those we knew time to be heard of again.
            live |= self._live & {m.host for m in members}
        self.heard_at_s = now_s
        self.members = members
        self._dead = frozenset(m.host for m in members) - live
        if live != self._live:
            self._live = live
            self._stable_since_s = now_s
            _log.info("members changed", extra={"hosts": len(live)})
        self._tell_moves()
        self._move_some()

    def offered(self, partition: Partition) -> None:
        """Another host has just given this partition up for us."""
        self._holders.pop(partition.index, None)
        # The other host may be about to leave, while we still count it: do not give it back.
        self._kept_until_s[partition.index] = self._now_s() + KEEP_S
        if partition.index in self._moving:
            self._offered.add(partition.index)  # it may have asked just before
        elif partition.state is PartitionState.CLOSED:
            self._move(partition, partial(self._take, partition))

    async def stop(self, reason: ActorflowError) -> None:
        """Take no more, and give up everything, each partition to whom it belongs then."""
        self._stopping = True
        takes = [
            task
            for index, task in self._moving.items()
            if self._partitions[index].state is PartitionState.CLOSED
        ]
        for task in takes:
            task.cancel()
        await asyncio.gather(*self._moving.values(), return_exceptions=True)
        heirs = self._live - {self._host_id}
        gate = asyncio.Semaphore(MOVES_AT_ONCE)

        async def leave(partition: Partition) -> None:
            async with gate:
                await self._give_up(partition, wanted_owner(partition.index, heirs), reason)

        mine = [p for p in self._partitions if p.state is not PartitionState.CLOSED]
        await asyncio.gather(*map(leave, mine))
        self._tell_moves()

    # ---- what to move --------------------------------------------------------------------------

    def _move_some(self) -> None:
        """Begin as many moves as may run at once."""
        now_s = self._now_s()
        for partition, wanted in self._wanted():
            if partition.index in self._moving:
                continue
            if len(self._moving) >= MOVES_AT_ONCE:
                return
            if partition.state is PartitionState.CLOSED:
                if wanted == self._host_id and self._may_take(partition.index, now_s):
                    self._move(partition, partial(self._take, partition))
            elif wanted != self._host_id and self._may_hand_over(partition.index, now_s):
                self._move(partition, partial(self._hand_over, partition, wanted))
        if not self._moving:
            self.trouble = ""  # there is nothing to take, or others have it

    def _wanted(self) -> Iterable[tuple[Partition, str]]:
        for partition in self._partitions:
            wanted = wanted_owner(partition.index, self._live)
            if wanted is not None:
                yield partition, wanted

    def _may_take(self, index: int, now_s: float) -> bool:
        """Whether to ask for a partition: not while a living host is known to hold it."""
        holder = self._holders.get(index)
        return holder is None or now_s >= holder.until_s or self._is_gone(holder, now_s)

    def _is_gone(self, holder: _Holder, now_s: float) -> bool:
        """Whether a holder is dead: silent for long, or never heard of for as long. One that we do
        not know may have come just now."""
        if holder.host in self._live:
            return holder.host == self._host_id
        return holder.host in self._dead or now_s - holder.since_s >= DEAD_AFTER_MS / 1_000

    def _may_hand_over(self, index: int, now_s: float) -> bool:
        if now_s - self._stable_since_s < STABLE_S:
            return False
        return now_s >= self._kept_until_s.get(index, 0.0)

    # ---- moves ---------------------------------------------------------------------------------

    def _move(self, partition: Partition, steps: Callable[[], Awaitable[None]]) -> None:
        if self._stopping or partition.index in self._moving:
            return
        task = self._host.spawn(self._moved(partition, steps), f"move-{partition.index}")
        self._moving[partition.index] = task

    async def _moved(self, partition: Partition, steps: Callable[[], Awaitable[None]]) -> None:
        try:
            await steps()
        except StoreUnavailableError as error:
            self.trouble = str(error)
            self._outage.failed(error)
            await asyncio.sleep(RETRY_S)  # noqa: TID251 -- back-off
        finally:
            self._moving.pop(partition.index, None)
            if partition.index in self._offered:
                self._offered.discard(partition.index)
                self._holders.pop(partition.index, None)
        self._move_some()

    def _tell_moves(self) -> None:
        """Log what moved since the last time: one line for many moves."""
        moves, self._told_moves = self.moves - self._told_moves, self.moves
        if moves:
            owned = sum(p.state is not PartitionState.CLOSED for p in self._partitions)
            _log.info("partitions moved", extra={"moves": moves, "owned": owned})

    async def _take(self, partition: Partition) -> None:
        index = partition.index
        held = await self._owner.take(partition, ttl_ms=self._ttl_ms)
        self.trouble = ""
        if held is not None and self._is_gone(self._note_holder(index, held), self._now_s()):
            await self._owner.release_dead(partition, held)
            held = await self._owner.take(partition, ttl_ms=self._ttl_ms)
        if held is not None:
            self._note_holder(index, held)
            return
        self._holders.pop(index, None)
        now_s = self._now_s()
        if now_s - self._began_s > BEGIN_S:
            self._kept_until_s[index] = now_s + KEEP_S
        self.moves += 1
        _log.debug("partition taken", extra={"partition": index})

    def _note_holder(self, index: int, held: Held) -> _Holder:
        now_s, host = self._now_s(), host_of(held.owner)
        known = self._holders.get(index)
        since_s = known.since_s if known is not None and known.host == host else now_s
        holder = _Holder(host, since_s, now_s + held.left_ms / 1_000)
        self._holders[index] = holder
        return holder

    async def _hand_over(self, partition: Partition, to: str) -> None:
        moved = NotOwnerError(f"partition {partition.index} moves to another host; retry")
        await self._give_up(partition, to, moved)

    async def _give_up(self, partition: Partition, to: str | None, reason: ActorflowError) -> None:
        """Finish what runs, let go, and tell the heir."""
        life = partition.life
        partition.drain()
        deadline_s = self._now_s() + DRAIN_S
        while not partition.is_quiet() and self._now_s() < deadline_s:  # noqa: ASYNC110 -- short
            await asyncio.sleep(DRAIN_POLL_S)  # noqa: TID251 -- bounded by DRAIN_S
        if life != partition.life:
            return  # lost meanwhile
        await self._owner.give_up(partition, reason)
        self.moves += 1
        if to is not None:
            self._host.post_to_host(to, Offer(partition.index))
        _log.debug("partition handed over", extra={"partition": partition.index, "to": to})

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()
