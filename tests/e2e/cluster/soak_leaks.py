"""L5: a steady load without faults, and whether anything grows that should not.

After a while to warm up, memory, open files, threads and the keys of Redis are noted every few
seconds; what has ended is checked and purged. From ten minutes on, growth beyond its bound is an
error; before that the table is only printed.
"""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING

import psutil

from tests.e2e.cluster.say import say
from tests.e2e.cluster.stand import Stand, under_load

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

EVERY_S = 5.0
PURGE_EVERY = 4
"""Ended instances are purged at every so many looks."""

JUDGED_MINUTES = 10.0
GROWTH_MAX = 0.01
"""Part of its size by which nothing may grow in ten minutes."""

SLACK = 5.0
"""MiB, files or threads that come and go."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--minutes", type=float, default=15.0, help="after it (default 15)")
    parser.add_argument("--warm-up", type=float, default=3.0, help="minutes before (default 3)")
    parser.add_argument("--hosts", type=int, default=2, help="server processes (default 2)")
    parser.add_argument(
        "--starts-per-second", type=float, default=15.0, help="of all clients (default 15)"
    )


async def run(arguments: argparse.Namespace, folder: Path) -> None:
    """Run it; what grows without end is an AssertionError."""
    async with under_load(
        folder, hosts=arguments.hosts, starts_per_s=arguments.starts_per_second
    ) as stand:
        stand.faults += 1  # hosts find their shares: a move repeats what runs in the partition
        await look_for(stand, 60 * arguments.warm_up)
        samples = await look_for(stand, 60 * arguments.minutes)
        grown = show(samples, arguments.minutes)
    say("every invariant held")
    if arguments.minutes >= JUDGED_MINUTES:
        assert not grown, f"grow: {grown}"


async def look_for(stand: Stand, seconds: float) -> dict[str, list[float]]:
    """Note sizes again and again."""
    samples: dict[str, list[float]] = {}
    end_s = asyncio.get_running_loop().time() + seconds
    looks = 0
    while asyncio.get_running_loop().time() < end_s:
        await asyncio.sleep(EVERY_S)
        looks += 1
        if looks % PURGE_EVERY == 0:
            await stand.check_and_purge_ended()
            await asyncio.to_thread(stand.log.catch_up)
        for name, size in sizes(stand).items():
            samples.setdefault(name, []).append(size)
    return samples


def sizes(stand: Stand) -> dict[str, float]:
    """Return what hosts and Redis hold at this moment."""
    found: dict[str, float] = {}
    for host in stand.site.hosts:
        process = psutil.Process(host.pid)
        found[f"{host.name} RSS MiB"] = process.memory_info().rss / 2**20
        found[f"{host.name} files"] = process.num_fds()
        found[f"{host.name} threads"] = process.num_threads()
    with stand.site.redis.client() as client:
        found["Redis keys"] = client.dbsize()
        found["Redis MiB"] = client.info("memory")["used_memory"] / 2**20
    return found


def show(samples: dict[str, list[float]], minutes: float) -> list[str]:
    """Print the table. Returns what has grown too much: the last third against the first."""
    grown = []
    say("| what | at first | in the end | growth in 10 min |")
    say("|---|---|---|---|")
    for name, values in samples.items():
        third = max(1, len(values) // 3)
        first, last = statistics.median(values[:third]), statistics.median(values[-third:])
        growth = (last - first) / max(first, 1.0) * 10 / max(minutes * 2 / 3, 0.1)
        say(f"| {name} | {first:.1f} | {last:.1f} | {growth:+.1%} |")
        if growth > GROWTH_MAX and last - first > SLACK:
            grown.append(name)
    return grown
