"""Taking and giving up partitions: the steps from a lease to a partition at work, and back."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from actorflow.actors.door import PartitionState
from actorflow.actors.errors import ActorflowError, StoreUnavailableError
from actorflow.actors.ports import Held, Lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.actors.environment import Environment
    from actorflow.actors.partition import Partition

_log = logging.getLogger(__name__)

WINDOW_PAGE = 10_000
"""Reminders read from the store at once."""

WINDOW_RETRY_S = 1.0
"""Pause before the next window of reminders is asked for again."""

ACQUIRE_RETRY_S = 0.1
"""Pause before an acquisition is tried again."""

ACQUIRE_RETRY_MAX_S = 5.0
"""Longest such pause."""


class Owner:
    """Moves partitions of this host between owned and not owned.

    Tokens begin with the host's id, so that others can see whose lease they are waiting for.
    """

    def __init__(self, host: str, env: Environment) -> None:
        self._host = host
        self._store = env.store
        self._clock = env.clock
        self._ids = env.ids
        self._limits = env.limits
        self._outage = env.outage
        self._owned = env.host.partition_owned
        self._left = env.host.partition_left

    async def take(self, partition: Partition, *, ttl_ms: int) -> Held | None:
        """Acquire a partition, read what waits in it, and open it.

        Returns: None when it is at work here; `Held` when somebody else has it.

        Raises:
            StoreUnavailableError: not done; a lease that was taken all the same ends by itself.
        """
        token = f"{self._host}/{self._ids.uuid()}"
        acquired = await self._store.acquire(partition.index, token, ttl_ms=ttl_ms)
        if isinstance(acquired, Held) and host_of(acquired.owner) == self._host:
            # Left over from an earlier ownership, which is void: need not run out first.
            await self._store.release(Lease(partition.index, acquired.epoch, acquired.owner))
            acquired = await self._store.acquire(partition.index, token, ttl_ms=ttl_ms)
        if isinstance(acquired, Held):
            return acquired
        horizon_ms = self._horizon_ms()
        recovery = await self._store.recover(partition.index, horizon_ms=horizon_ms)
        partition.open(acquired, recovery, horizon_ms=horizon_ms)
        self._owned(partition.index, recovery.cursor)
        return None

    async def own(self, partition: Partition, *, ttl_ms: int) -> None:
        """Take a partition as the only host: wait until a lease that was left behind ends. Raises
        as `take`."""
        while (held := await self.take(partition, ttl_ms=ttl_ms)) is not None:
            _log.info("partition is held", extra={"owner": held.owner})
            await asyncio.sleep(held.left_ms / 1_000 + ACQUIRE_RETRY_S)  # noqa: TID251 -- its end is known

    async def own_again(
        self, partition: Partition, *, ttl_ms: int, wanted: Callable[[], bool]
    ) -> None:
        """Take a partition that was lost, as the only host; try until it works."""
        pause_s = ACQUIRE_RETRY_S
        while wanted():
            await asyncio.sleep(pause_s * (0.5 + self._ids.jitter()))  # noqa: TID251 -- back-off
            try:
                await self.own(partition, ttl_ms=ttl_ms)
            except StoreUnavailableError as error:
                self._outage.failed(error, partition)
            except Exception:  # noqa: BLE001 -- the supervisor of partitions: none stays down for good
                _log.critical("partition not acquired; will retry", exc_info=True)
            else:
                break
            pause_s = min(2 * pause_s, ACQUIRE_RETRY_MAX_S)
        self._outage.answered(partition)

    async def release_dead(self, partition: Partition, held: Held) -> None:
        """End the lease of an owner that is believed dead; if it lives, the fence stops it."""
        lease = Lease(partition.index, held.epoch, held.owner)
        await self._store.release(lease, dead=True)

    async def give_up(self, partition: Partition, reason: ActorflowError) -> None:
        """Close a drained partition and release its lease."""
        lease = partition.lease
        partition.close(reason)
        self._left(partition.index)
        try:
            await self._store.release(lease)
        except StoreUnavailableError as error:
            self._outage.failed(error)

    async def widen_window(self, partition: Partition) -> None:
        """Bring the next reminders of an owned partition from the store into memory."""
        while partition.state is not PartitionState.CLOSED:
            try:
                await self._widen(partition)
            except StoreUnavailableError:
                await asyncio.sleep(WINDOW_RETRY_S)  # noqa: TID251 -- back-off
            else:
                return

    async def _widen(self, partition: Partition) -> None:
        life, horizon_ms, limit = partition.life, self._horizon_ms(), WINDOW_PAGE
        from_ms = partition.widen_reminders(horizon_ms)
        while True:
            page = await self._store.due(
                partition.index, from_ms=from_ms, until_ms=horizon_ms, limit=limit
            )
            if life != partition.life:
                return
            partition.add_reminders(page, last=len(page) < limit)
            if len(page) < limit:
                return
            if page[-1].reminder.due_ms == from_ms:
                limit *= 2  # more reminders in one millisecond than fit a page
            from_ms = page[-1].reminder.due_ms

    def _horizon_ms(self) -> int:
        return int(self._clock.now_ns() / 1e6 + self._limits.reminder_window_s * 1e3)


def host_of(token: str) -> str:
    """Return the id of the host that a lease's token belongs to."""
    return token.partition("/")[0]
