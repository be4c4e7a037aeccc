"""Owning a store without running it: for repairs, export and import.

All partitions are acquired as a host would, so that no host can run at the same time: while one
owns a partition this refuses, and a host that comes meanwhile fences this off. A single partition
may also be taken from its host for a moment.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Self

from actorflow.actors.address import partition_of
from actorflow.actors.errors import (
    ContentionError,
    FencedOutError,
    InvariantError,
    StoreUnavailableError,
)
from actorflow.actors.ports import Commit, CommitResult, Held, Lease

if TYPE_CHECKING:
    from types import TracebackType

    from actorflow.actors.address import ActorId
    from actorflow.actors.clock import IdSource
    from actorflow.actors.ports import Acquired, ActorWrite, MessageRow, PartitionStore

_log = logging.getLogger(__name__)

TTL_MS = 30_000
"""How long a partition stays taken when this process dies."""

BRIEFLY_MS = 2_000
"""The same, of one that was taken from a host: it asks again after this time."""

TAKE_ATTEMPTS = 5
"""How often a partition is taken from a host that is quicker to take it back."""

COMMIT_ATTEMPTS = 10
"""How often an unanswered commit is sent again before the caller is told."""

RETRY_S = 0.5
"""Pause before it."""


class StoreRunsError(ContentionError):
    """A host owns a partition. The text says what to do."""

    code = "STORE_RUNS"


class _Standing:
    """Where the commits of one partition stand."""

    __slots__ = ("lease", "next_actor_number", "next_message_id", "seq")

    def __init__(self, acquired: Acquired) -> None:
        self.lease = acquired.lease
        self.seq = acquired.seq
        self.next_actor_number = acquired.next_actor_number
        self.next_message_id = acquired.next_message_id


class OfflineStore:
    """`async with OfflineStore(store, partition_count, ids) as owned`: sole owner of everything.

    Args:
        store: open.
        only: own this partition alone, and take it from its host if it has one: that one finds
            itself fenced off, and has the partition back soon after the end.

    Raises, on entering:
        StoreRunsError: a partition has an owner; nothing stays taken.
        StoreUnavailableError: ask again.

    Concurrency: one caller at a time.
    """

    def __init__(
        self,
        store: PartitionStore,
        partition_count: int,
        ids: IdSource,
        *,
        only: int | None = None,
    ) -> None:
        self.store = store
        self.partition_count = partition_count
        self._ids = ids
        self._only = only
        self._ttl_ms = TTL_MS if only is None else BRIEFLY_MS
        self._standings: dict[int, _Standing] = {}
        self._renewal: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            if self._only is not None:
                self._standings[self._only] = _Standing(await self._taken(self._only))
            else:
                for partition in range(self.partition_count):
                    self._standings[partition] = _Standing(await self._acquired(partition))
        except BaseException:
            await self._release()
            raise
        self._renewal = asyncio.get_running_loop().create_task(self._renew(), name="offline-leases")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        await self._release()

    async def _acquired(self, partition: int) -> Acquired:
        token = f"offline/{self._ids.uuid()}"
        answer = await self.store.acquire(partition, token, ttl_ms=self._ttl_ms)
        if not isinstance(answer, Held):
            return answer
        raise StoreRunsError(
            f"partition {partition} is owned by host {answer.owner.partition('/')[0]}; stop all "
            f"hosts first (a lease that a dead one left ends in {answer.left_ms / 1e3:.0f} s)"
        )

    async def _taken(self, partition: int) -> Acquired:
        for _ in range(TAKE_ATTEMPTS):
            token = f"offline/{self._ids.uuid()}"
            answer = await self.store.acquire(partition, token, ttl_ms=self._ttl_ms)
            if not isinstance(answer, Held):
                return answer
            await self.store.release(Lease(partition, answer.epoch, answer.owner))
        raise StoreRunsError(
            f"partition {partition} is taken back by its host again and again; do it again"
        )

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_ms / 3_000)  # noqa: TID251 -- the rhythm of renewals
            for standing in self._standings.values():
                try:
                    await self.store.renew(standing.lease, ttl_ms=self._ttl_ms)
                except StoreUnavailableError as error:
                    _log.warning("lease not renewed", extra={"cause": str(error)})

    async def _release(self) -> None:
        for standing in self._standings.values():
            try:
                await self.store.release(standing.lease)
            except StoreUnavailableError as error:
                _log.warning("lease not released; it ends by itself", extra={"cause": str(error)})
        self._standings.clear()

    def partition_of(self, actor: ActorId) -> int:
        """Return the partition of an actor."""
        return partition_of(actor, self.partition_count)

    def next_actor_number(self, partition: int) -> int:
        """Return a number that no actor of the partition had."""
        standing = self._standings[partition]
        standing.next_actor_number += 1
        return standing.next_actor_number - 1

    def next_message_id(self, partition: int) -> int:
        """Return an id that no message of the partition had."""
        standing = self._standings[partition]
        standing.next_message_id += 1
        return standing.next_message_id - 1

    def peek(self, partition: int) -> tuple[int, int]:
        """Return the next actor number and the next message id, without taking them."""
        standing = self._standings[partition]
        return standing.next_actor_number, standing.next_message_id

    async def commit(
        self,
        partition: int,
        *,
        actors: tuple[ActorWrite, ...] = (),
        put_messages: tuple[MessageRow, ...] = (),
        delete_messages: tuple[int, ...] = (),
    ) -> None:
        """Write as one commit.

        Raises:
            FencedOutError: a host took the partition meanwhile; nothing was written.
            StoreUnavailableError: no answer for a long time; whether it was written is unknown.
            InvariantError: the store refuses the commit as malformed.
        """
        standing = self._standings[partition]
        commit = Commit(
            standing.lease,
            standing.seq,
            standing.seq + 1,
            self._ids.uuid(),
            actors=actors,
            put_messages=put_messages,
            delete_messages=delete_messages,
        )
        result = await self._committed(commit)
        if result in (CommitResult.OK, CommitResult.ALREADY):
            standing.seq = commit.seq
            return
        if result is CommitResult.BAD:
            raise InvariantError(f"partition {partition}: the store refuses a commit as malformed")
        raise FencedOutError(
            f"a host took partition {partition} meanwhile; "
            + ("do it again" if self._only is not None else "stop all hosts and do it again")
        )

    async def _committed(self, commit: Commit) -> CommitResult:
        for _ in range(COMMIT_ATTEMPTS - 1):
            try:
                return await self.store.commit(commit)
            except StoreUnavailableError as error:
                _log.warning("commit not answered; sent again", extra={"cause": str(error)})
                await asyncio.sleep(RETRY_S)  # noqa: TID251 -- bounded by COMMIT_ATTEMPTS
        return await self.store.commit(commit)


def partition_count_of(store: object) -> int:
    """Return the number of partitions of an open store; an embedded one has one."""
    count: int = getattr(store, "partition_count", 1)
    return count
