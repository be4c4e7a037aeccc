"""Does a COMMIT belong on the event loop or on a thread? The measurement behind docs/adr/0003.

Turns of `turn_us` of Python fill the next batch while the last commit is out, as in the engine.
`python -m bench.overlap_sqlite`; one JSON line a case.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from actorflow.actors.ports import Acquired, Commit, CommitResult
from actorflow.actors.store.sqlite import SqliteStore
from actorflow.actors.store.sqlite import store as store_module
from bench.floor_sqlite import synthetic_commits

if TYPE_CHECKING:
    from actorflow.actors.store.sqlite import Durability


def turn(turn_us: int) -> None:
    """Keep the interpreter busy."""
    end_s = time.perf_counter() + turn_us * 1e-6
    while time.perf_counter() < end_s:
        pass


async def overlap(
    directory: Path, durability: Durability, commits: list[Commit], prepared: int, turn_us: int
) -> dict[str, float]:
    """Commit batch after batch, with turns in between, and return the figures."""
    store = SqliteStore(directory / "overlap.db", durability=durability)
    await store.open()
    acquired = await store.acquire(0, "overlap", ttl_ms=60_000)
    assert isinstance(acquired, Acquired)
    spent_s: list[float] = []

    async def commit_one(commit: Commit) -> None:
        begun_s = time.perf_counter()
        assert await store.commit(commit._replace(lease=acquired.lease)) is CommitResult.OK
        spent_s.append(time.perf_counter() - begun_s)

    for commit in commits[:prepared]:
        await commit_one(commit)
    spent_s.clear()
    begun_s, out = time.perf_counter(), None
    for commit in commits[prepared:]:
        for _ in commit.actors:
            turn(turn_us)
            await asyncio.sleep(0)
        if out is not None:
            await out
        out = asyncio.create_task(commit_one(commit))
    if out is not None:
        await out
    wall_s = time.perf_counter() - begun_s
    await store.close()
    spent_s.sort()
    return {
        "turns_per_s": round(sum(len(c.actors) for c in commits[prepared:]) / wall_s),
        "commit_p50_ms": round(spent_s[len(spent_s) // 2] * 1e3, 2),
        "commit_p99_ms": round(spent_s[len(spent_s) * 99 // 100] * 1e3, 2),
    }


def main() -> None:
    """Measure all cases, in turns, and print them."""
    places: list[tuple[str, Durability, int]] = [
        ("loop", "local", 1 << 30),
        ("thread", "local", -1),
        ("thread", "fsync", -1),
    ]
    for batch in (1, 8, 64, 256):
        commits, prepared = synthetic_commits(
            actors=1_000, turns=min(6_400, batch * 800), batch=batch, recent=1_000
        )
        for turn_us in (5, 40):
            for place, durability, rows_max in places:
                store_module.INLINE_ROWS_MAX = rows_max
                with tempfile.TemporaryDirectory() as directory:
                    figures = asyncio.run(
                        overlap(Path(directory), durability, commits, prepared, turn_us)
                    )
                case = {"commit_on": place, "durability": durability, "batch": batch}
                print(json.dumps({**case, "turn_us": turn_us, **figures}), flush=True)


if __name__ == "__main__":
    main()
