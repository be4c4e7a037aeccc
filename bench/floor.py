"""The floor below a figure: the bare store, given the very batches of the run.

`RecordingStore` keeps the commits of a run; `floor_of` applies them to a fresh store of the same
kind and says how many turns a second the store alone does. What an engine adds is the rest.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from actorflow.actors.ports import Acquired, Commit, CommitResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actorflow.actors.address import ActorId
    from actorflow.actors.ports import (
        ActorRecord,
        DueReminder,
        Held,
        Lease,
        PartitionStore,
        Query,
        Recovery,
    )

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Commit).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What the bare store did with a list of commits."""

    turns: int
    commits: int
    turns_per_s: float
    cpu_us_per_turn: float
    commit_p50_ms: float
    commit_p99_ms: float


class RecordingStore:
    """A `PartitionStore` that passes everything on and keeps the commits that were applied.

    They are kept as bytes, so that the run's garbage collector has no more to look at. `spent_s` is
    the processor time of keeping them: subtract it. `on_commit` is called after each.
    """

    def __init__(
        self, inner: PartitionStore, *, on_commit: Callable[[Commit], None] | None = None
    ) -> None:
        self._inner = inner
        self._on_commit = on_commit
        self.records: list[bytes] = []
        self.spent_s = 0.0

    def commits(self) -> list[Commit]:
        """Return what was recorded, in order."""
        return [_decode(record) for record in self.records]

    async def open(self) -> None:
        """Open the store behind."""
        await self._inner.open()

    async def close(self) -> None:
        """Close the store behind."""
        await self._inner.close()

    async def acquire(self, partition: int, token: str, *, ttl_ms: int) -> Acquired | Held:
        """Pass on."""
        return await self._inner.acquire(partition, token, ttl_ms=ttl_ms)

    async def renew(self, lease: Lease, *, ttl_ms: int) -> bool:
        """Pass on."""
        return await self._inner.renew(lease, ttl_ms=ttl_ms)

    async def release(self, lease: Lease) -> None:
        """Pass on."""
        await self._inner.release(lease)

    async def commit(self, commit: Commit) -> CommitResult:
        """Pass on, and keep what was applied."""
        result = await self._inner.commit(commit)
        if result is CommitResult.OK:
            begun_s = time.perf_counter()
            self.records.append(_encode(commit))
            if self._on_commit is not None:
                self._on_commit(commit)
            self.spent_s += time.perf_counter() - begun_s
        return result

    async def recover(self, partition: int, *, horizon_ms: int) -> Recovery:
        """Pass on."""
        return await self._inner.recover(partition, horizon_ms=horizon_ms)

    async def due(
        self, partition: int, *, from_ms: int, until_ms: int, limit: int
    ) -> Sequence[DueReminder]:
        """Pass on."""
        return await self._inner.due(partition, from_ms=from_ms, until_ms=until_ms, limit=limit)

    async def load(
        self, partition: int, actors: Sequence[ActorId], *, with_log: bool
    ) -> list[ActorRecord | None]:
        """Pass on."""
        return await self._inner.load(partition, actors, with_log=with_log)

    async def find(self, query: Query) -> list[ActorRecord]:
        """Pass on."""
        return await self._inner.find(query)


async def floor_of(
    commits: Sequence[Commit], store: PartitionStore, *, turns: int, skip: int = 0
) -> Floor:
    """Apply commits to a fresh store and measure.

    Args:
        commits: all commits of one run from an empty store on, in order.
        store: empty and not open; of the run's kind, on the run's disk. It is closed again.
        turns: finished turns in `commits[skip:]`.
        skip: how many of the first commits prepare the store and are not measured.
    """
    await store.open()
    try:
        acquired = await store.acquire(0, "floor", ttl_ms=60_000)
        assert isinstance(acquired, Acquired)
        fresh = [_moved(commit, acquired, n) for n, commit in enumerate(commits)]
        for commit in fresh[:skip]:
            await _apply(store, commit)
        spent_s: list[float] = []
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for commit in fresh[skip:]:
            begun_s = time.perf_counter()
            await _apply(store, commit)
            spent_s.append(time.perf_counter() - begun_s)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    finally:
        await store.close()
    spent_s.sort()
    return Floor(
        turns=turns,
        commits=len(spent_s),
        turns_per_s=round(turns / wall_s),
        cpu_us_per_turn=round(cpu_s / turns * 1e6, 1),
        commit_p50_ms=round(spent_s[len(spent_s) // 2] * 1e3, 3),
        commit_p99_ms=round(spent_s[len(spent_s) * 99 // 100] * 1e3, 3),
    )


def _moved(commit: Commit, acquired: Acquired, n: int) -> Commit:
    """Return the commit as the floor's owner would send it."""
    return Commit(
        acquired.lease,
        acquired.seq + n,
        acquired.seq + n + 1,
        commit.commit_id,
        commit.actors,
        commit.put_messages,
        commit.delete_messages,
        commit.park_messages,
    )


async def _apply(store: PartitionStore, commit: Commit) -> None:
    result = await store.commit(commit)
    assert result is CommitResult.OK, f"{result} for commit {commit.seq}"
