"""The floor below a figure: the bare store, or Redis' bare script, given the batches of the run.

`RecordingStore` keeps the commits of a run; `floor_of` applies them to a fresh store of the same
kind and says how many turns a second the store alone does. What an engine adds is the rest.
"""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from actorflow.actors.ports import Acquired, Commit, CommitResult
from actorflow.actors.store.redis import RedisStore
from bench.bare_redis import ScriptCalls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

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
    from bench.redis_server import RedisServer

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Commit).decode


PARTITIONS_AT_ONCE = 1_024
"""Most partitions that a store can have, and so commits under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What the bare store did with a list of commits."""

    turns: int
    commits: int
    turns_per_s: float
    cpu_us_per_turn: float
    commit_p50_ms: float
    commit_p99_ms: float
    server_us_per_turn: float = 0.0


class RecordingStore:
    """A `PartitionStore` that passes everything on and keeps the commits that were applied.

    They are kept as bytes, so that the run's garbage collector has no more to look at. `spent_s` is
    the processor time of keeping them: subtract it. What it does to caches and memory cannot be
    subtracted. `on_commit` is called after each. `inner` is the store behind.
    """

    def __init__(
        self, inner: PartitionStore, *, on_commit: Callable[[Commit], None] | None = None
    ) -> None:
        self.inner = inner
        self._on_commit = on_commit
        self.records: list[bytes] = []
        self.spent_s = 0.0

    def commits(self) -> list[Commit]:
        """Return what was recorded, in order."""
        return decoded(self.records)

    async def open(self) -> None:
        """Open the store behind."""
        await self.inner.open()

    async def close(self) -> None:
        """Close the store behind."""
        await self.inner.close()

    async def acquire(self, partition: int, token: str, *, ttl_ms: int) -> Acquired | Held:
        """Pass on."""
        return await self.inner.acquire(partition, token, ttl_ms=ttl_ms)

    async def renew(self, lease: Lease, *, ttl_ms: int) -> bool:
        """Pass on."""
        return await self.inner.renew(lease, ttl_ms=ttl_ms)

    async def release(self, lease: Lease, *, dead: bool = False) -> None:
        """Pass on."""
        await self.inner.release(lease, dead=dead)

    async def commit(self, commit: Commit) -> CommitResult:
        """Pass on, and keep what was applied."""
        result = await self.inner.commit(commit)
        if result is CommitResult.OK:
            begun_s = time.thread_time()
            self.records.append(_encode(commit))
            if self._on_commit is not None:
                self._on_commit(commit)
            self.spent_s += time.thread_time() - begun_s
        return result

    async def recover(self, partition: int, *, horizon_ms: int) -> Recovery:
        """Pass on."""
        return await self.inner.recover(partition, horizon_ms=horizon_ms)

    async def due(
        self, partition: int, *, from_ms: int, until_ms: int, limit: int
    ) -> Sequence[DueReminder]:
        """Pass on."""
        return await self.inner.due(partition, from_ms=from_ms, until_ms=until_ms, limit=limit)

    async def load(
        self, partition: int, actors: Sequence[ActorId], *, with_log: bool
    ) -> list[ActorRecord | None]:
        """Pass on."""
        return await self.inner.load(partition, actors, with_log=with_log)

    async def find(self, query: Query) -> list[ActorRecord]:
        """Pass on."""
        return await self.inner.find(query)


def decoded(records: Sequence[bytes]) -> list[Commit]:
    """Return recorded commits."""
    return [_decode(record) for record in records]


async def floor_of(
    commits: Sequence[Commit],
    store: PartitionStore,
    *,
    turns: int,
    skip: int = 0,
    at_once: int = PARTITIONS_AT_ONCE,
    server: RedisServer | None = None,
) -> Floor:
    """Apply commits to a fresh store and measure: partitions at once, each one's own in order.

    On Redis these are the script calls alone, see `bare_redis`; elsewhere it is the bare store.

    Args:
        commits: all commits of one run from an empty store on, in order for each partition.
        store: empty and not open; of the run's kind, on the run's disk. It is closed again.
        turns: finished turns in `commits[skip:]`.
        skip: how many of the first commits prepare the store and are not measured.
        at_once: commits under way at most, as in the run.
        server: the Redis of the store.
    """
    await store.open()
    try:
        prepared, measured = await _for_new_owner(store, commits, skip)
        before = _applying(store, prepared, at_once, server)
        during = _applying(store, measured, at_once, server)
        await before()
        gc.collect()
        wall_s, cpu_s, server_s = time.perf_counter(), time.process_time(), _cpu_s(server)
        spent_s = await during()
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        server_s = _cpu_s(server) - server_s
    finally:
        await store.close()
    spent_s.sort()
    return Floor(
        turns=turns,
        commits=len(commits) - skip,
        turns_per_s=round(turns / wall_s),
        cpu_us_per_turn=round(cpu_s / turns * 1e6, 1),
        commit_p50_ms=round(spent_s[len(spent_s) // 2] * 1e3, 3),
        commit_p99_ms=round(spent_s[len(spent_s) * 99 // 100] * 1e3, 3),
        server_us_per_turn=round(server_s / turns * 1e6, 1),
    )


async def _for_new_owner(
    store: PartitionStore, commits: Sequence[Commit], skip: int
) -> tuple[list[list[Commit]], list[list[Commit]]]:
    """Acquire every partition; return its commits as its new owner sends them: what prepares, and
    what is measured."""
    prepared: dict[int, list[Commit]] = {}
    measured: dict[int, list[Commit]] = {}
    next_seq: dict[int, tuple[Lease, int]] = {}
    for n, commit in enumerate(commits):
        partition = commit.lease.partition
        if partition not in next_seq:
            acquired = await store.acquire(partition, "floor", ttl_ms=60_000)
            assert isinstance(acquired, Acquired)
            next_seq[partition] = acquired.lease, acquired.seq
        lease, seq = next_seq[partition]
        next_seq[partition] = lease, seq + 1
        chain = (prepared if n < skip else measured).setdefault(partition, [])
        chain.append(commit._replace(lease=lease, prev_seq=seq, seq=seq + 1))
    return list(prepared.values()), list(measured.values())


def _applying(
    store: PartitionStore,
    chains: Sequence[Sequence[Commit]],
    at_once: int,
    server: RedisServer | None,
) -> Callable[[], Awaitable[list[float]]]:
    """Prepare to apply the commits of many partitions. Returns: what does it, and then says how
    long each commit took in seconds, or each pipeline of them."""
    if isinstance(store, RedisStore) and server is not None:
        calls = ScriptCalls(store, chains, at_once)
        return partial(calls.make, server.port)
    return partial(_apply_all, store, chains, at_once)


async def _apply_all(
    store: PartitionStore, chains: Sequence[Sequence[Commit]], at_once: int
) -> list[float]:
    gate = asyncio.Semaphore(at_once)
    spent_s: list[float] = []
    await asyncio.gather(*(_apply(store, chain, gate, spent_s) for chain in chains))
    return spent_s


def _cpu_s(server: RedisServer | None) -> float:
    return server.cpu_s() if server is not None else 0.0


async def _apply(
    store: PartitionStore,
    chain: Sequence[Commit],
    gate: asyncio.Semaphore,
    spent_s: list[float],
) -> None:
    for commit in chain:
        async with gate:
            begun_s = time.perf_counter()
            result = await store.commit(commit)
            spent_s.append(time.perf_counter() - begun_s)
        assert result is CommitResult.OK, f"{result} for commit {commit.seq}"
