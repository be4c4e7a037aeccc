"""The bare SQLite store with synthetic batches: what one commit costs, by size and fill.

`python -m bench.floor_sqlite --help`. Scenarios use `bench.floor` and the batches of their own run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import sqlite3
import tempfile
from pathlib import Path

from actorflow.actors.address import ActorId
from actorflow.actors.ports import ActorWrite, Commit, Lease, MessageRow, Summary
from actorflow.actors.store.sqlite import SqliteStore, schema
from bench.floor import floor_of


def synthetic_commits(
    *, actors: int, turns: int, batch: int, recent: int, entry_bytes: int = 200
) -> tuple[list[Commit], int]:
    """Make commits of `batch` turns over `actors` actors, and say how many of them only prepare.

    A turn writes a summary with a head of 200 B and two log entries of `entry_bytes`, consumes one
    message and sends one of that size. Actors are drawn from the `recent` youngest ones.
    """
    chance = random.Random(1)
    head, entry = chance.randbytes(200), chance.randbytes(entry_bytes)
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
    parser.add_argument("--page-bytes", type=int, default=schema.PAGE_BYTES)
    parser.add_argument("--entry-bytes", type=int, default=200)
    chosen = parser.parse_args()
    schema.PAGE_BYTES = chosen.page_bytes
    for actors in chosen.actors:
        for recent in sorted({1_000, actors}):
            for batch in chosen.batch:
                turns = min(chosen.turns, 2_000 * batch)
                commits, skip = synthetic_commits(
                    actors=actors,
                    turns=turns,
                    batch=batch,
                    recent=recent,
                    entry_bytes=chosen.entry_bytes,
                )
                for durability in chosen.durability:
                    with tempfile.TemporaryDirectory(dir=chosen.directory) as directory:
                        floor = asyncio.run(
                            floor_of(
                                commits,
                                SqliteStore(Path(directory) / "floor.db", durability=durability),
                                turns=turns // batch * batch,
                                skip=skip,
                            )
                        )
                    line = {
                        "case": "floor-sqlite",
                        "durability": durability,
                        "actors": actors,
                        "drawn_from": recent,
                        "batch": batch,
                        "page_bytes": chosen.page_bytes,
                        "entry_bytes": chosen.entry_bytes,
                        **{name: getattr(floor, name) for name in floor.__slots__},
                        "sqlite": sqlite3.sqlite_version,
                        "python": platform.python_version(),
                        "machine": platform.machine(),
                    }
                    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
