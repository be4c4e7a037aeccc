"""The floor below every figure on SQLite: the bare store, given the same batches.

`floor_of` replays commits of a real run, recorded by `RecordingStore`, into a fresh file and
says how many turns a second the store alone does. Run as a script it measures synthetic batches.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import sqlite3
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from actorflow.actors.address import ActorId
from actorflow.actors.clock import SystemClock
from actorflow.actors.ports import (
    Acquired,
    ActorWrite,
    Commit,
    CommitResult,
    Lease,
    MessageRow,
    Summary,
)
from actorflow.actors.store.sqlite import Durability, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.actors.ports import (
        ActorRecord,
        DueReminder,
        Held,
        PartitionStore,
        Query,
        Recovery,
    )


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
    """A `PartitionStore` that passes everything on and keeps the commits that were applied."""

    def __init__(self, inner: PartitionStore) -> None:
        self._inner = inner
        self.commits: list[Commit] = []

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
            self.commits.append(commit)
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
    commits: Sequence[Commit],
    *,
    turns: int,
    durability: Durability,
    directory: Path,
    skip: int = 0,
) -> Floor:
    """Apply commits to a fresh file in `directory` and measure.

    Args:
        commits: all commits of one run from an empty store on, in order.
        turns: finished turns in `commits[skip:]`.
        durability: as the run had it.
        directory: where the file goes; on the same disk as the run's.
        skip: how many of the first commits prepare the store and are not measured.
    """
    store = SqliteStore(directory / "floor.db", durability=durability, clock=SystemClock())
    await store.open()
    try:
        acquired = await store.acquire(0, "floor", ttl_ms=60_000)
        assert isinstance(acquired, Acquired)
        fresh = [
            replace(
                commit, lease=acquired.lease, prev_seq=acquired.seq + n, seq=acquired.seq + n + 1
            )
            for n, commit in enumerate(commits)
        ]
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


async def _apply(store: SqliteStore, commit: Commit) -> None:
    result = await store.commit(commit)
    assert result is CommitResult.OK, f"{result} for commit {commit.seq}"


def synthetic_commits(
    *, actors: int, turns: int, batch: int, recent: int
) -> tuple[list[Commit], int]:
    """Make commits of `batch` turns over `actors` actors, and say how many of them only prepare.

    A turn writes a summary with a head of 200 B and two log entries of 200 B, consumes one message
    and sends one. Actors are drawn from the `recent` youngest ones.
    """
    chance = random.Random(1)
    head, entry = chance.randbytes(200), chance.randbytes(200)
    keys = [f"{chance.getrandbits(128):032x}" for _ in range(actors + 1)]
    lengths = [0] * (actors + 1)
    commits: list[Commit] = []
    message_id = 0

    def add(numbers: list[int], *, create: bool) -> None:
        nonlocal message_id
        writes = []
        for number in numbers:
            writes.append(
                ActorWrite(
                    ActorId("WF", keys[number]),
                    number,
                    create=create,
                    summary=Summary("Order", "RUNNING", 1, message_id, head),
                    log_start=lengths[number],
                    log_append=(entry, entry),
                )
            )
            lengths[number] += 2
        consumed = range(message_id - batch + 1, message_id + 1) if not create else ()
        sent = range(message_id + 1, message_id + batch + 1) if not create or not message_id else ()
        commits.append(
            Commit(
                Lease(0, 0, ""),
                len(commits),
                len(commits) + 1,
                f"{len(commits):036d}",
                tuple(writes),
                tuple(
                    MessageRow(i, ActorId("WF", keys[1]), "task_done", entry, ActorId("A", keys[1]))
                    for i in sent
                ),
                tuple(consumed),
            )
        )
        message_id += len(sent)

    for first in range(1, actors + 1, 500):
        add(list(range(first, min(first + 500, actors + 1))), create=True)
    prepared = len(commits)
    youngest = range(max(1, actors - recent + 1), actors + 1)
    for _ in range(turns // batch):
        add(chance.sample(youngest, batch), create=False)
    return commits, prepared


def main() -> None:
    """Measure synthetic batches; one JSON line each."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--turns", type=int, default=20_000)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--actors", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--durability", nargs="+", default=["local", "fsync"])
    parser.add_argument("--directory", type=Path, default=None)
    chosen = parser.parse_args()
    for actors in chosen.actors:
        for recent in sorted({1_000, actors}):
            for batch in chosen.batch:
                turns = min(chosen.turns, 2_000 * batch)
                commits, skip = synthetic_commits(
                    actors=actors, turns=turns, batch=batch, recent=recent
                )
                for durability in chosen.durability:
                    with tempfile.TemporaryDirectory(dir=chosen.directory) as directory:
                        floor = asyncio.run(
                            floor_of(
                                commits,
                                turns=turns // batch * batch,
                                durability=durability,
                                directory=Path(directory),
                                skip=skip,
                            )
                        )
                    line = {
                        "case": "floor-sqlite",
                        "durability": durability,
                        "actors": actors,
                        "drawn_from": recent,
                        "batch": batch,
                        **{name: getattr(floor, name) for name in floor.__slots__},
                        "sqlite": sqlite3.sqlite_version,
                        "python": platform.python_version(),
                        "machine": platform.machine(),
                    }
                    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
