"""L1: faults of every kind under load, one after the other, for as long as one likes.

Each minute fsck checks the store while hosts run, and what has ended is checked and purged. In the
end all invariants are checked, and a table is printed: which fault, how often, what clients saw and
how long it took until every partition accepted calls.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import psutil

from tests.e2e.cluster.checks import fsck
from tests.e2e.cluster.clients import GIVE_UP_S, percentile
from tests.e2e.cluster.hosts import LEASE_S, Host
from tests.e2e.cluster.say import say
from tests.e2e.cluster.stand import Stand, under_load

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.proxy import Proxy
    from tests.servers import Server

PAUSE_S = 2.0
"""Quiet time between two faults."""

STEADY_PART = 0.8
STEADY_S = 2 * LEASE_S + 5
"""I12: so long after the last fault so much is done of what was done before the first."""

STALL_S = 4.0
STORE_PAUSE_MS = 3_000
FSCK_EVERY_S = 60.0
BASE_S = 10.0
"""Time without faults at the beginning and at the end, in which throughput is compared."""


async def _nothing() -> None:
    pass


class Fault(NamedTuple):
    """What is done, for how long, and how it is undone. Recovery counts from the injection, or,
    when nobody can work before that, from the healing."""

    name: str
    inject: Callable[[], Awaitable[object]]
    heal: Callable[[], Awaitable[object]] = _nothing
    lasts_s: float = 0.0
    from_heal: bool = False


@dataclass(slots=True)
class Seen:
    """What clients saw of one kind of fault. The counts are of attempts that they repeated."""

    took_s: list[float] = field(default_factory=list)
    told_to_retry: int = 0
    unanswered: int = 0


def faults_of(stand: Stand, host: Host, proxy: Proxy, away_s: float) -> list[Fault]:
    """Return one fault of each kind; those of hosts hit this host, which has this proxy."""
    redis = stand.site.redis

    async def freeze() -> None:
        host.freeze()

    async def thaw() -> None:
        host.thaw()

    async def stall() -> None:
        proxy.down.clear()

    async def give_up() -> None:
        proxy.cut()
        proxy.down.set()

    async def cut() -> None:
        proxy.cut()

    async def silence() -> None:
        proxy.silence()

    async def pause() -> None:
        await asyncio.to_thread(redis.do, "CLIENT", "PAUSE", STORE_PAUSE_MS, "ALL")

    async def kill() -> None:
        await asyncio.to_thread(redis.kill)

    async def start() -> None:
        await asyncio.to_thread(redis.start)

    return [
        Fault("host killed (-9), started again", lambda: host.end(signal.SIGKILL), host.start),
        Fault(
            "host stopped (SIGTERM), started again", lambda: host.end(signal.SIGTERM), host.start
        ),
        Fault("host frozen for three leases", freeze, thaw, 3 * LEASE_S),
        Fault("connections of a host to Redis cut", cut),
        Fault("answers of Redis to a host stalled, then cut", stall, give_up, STALL_S),
        Fault("connections of a host half-open", silence),
        Fault("Redis killed (-9), started again", kill, start, 0, from_heal=True),
        Fault(f"Redis paused for {STORE_PAUSE_MS / 1e3:g} s", pause),
        Fault(f"Redis away for {away_s:g} s", kill, start, away_s, from_heal=True),
    ]


async def strike(stand: Stand, fault: Fault, seen: Seen) -> None:
    """Do one fault, wait until all partitions accept calls, and note what it cost."""
    caller = stand.caller
    told, unanswered = caller.statuses[503], sum(caller.unanswered.values())
    await fault.inject()
    async with asyncio.TaskGroup() as group:
        if not fault.from_heal:
            group.create_task(stand.recover())
        await asyncio.sleep(fault.lasts_s)
        await fault.heal()
        if fault.from_heal:
            group.create_task(stand.recover())
    seen.took_s.append(stand.took_s[-1])
    seen.told_to_retry += caller.statuses[503] - told
    seen.unanswered += sum(caller.unanswered.values()) - unanswered


async def watch(stand: Stand) -> None:
    """Check the store while hosts run, check and purge what has ended, and say what hosts use."""
    checked = await stand.check_and_purge_ended()
    report = await fsck(stand.site)
    processes = [psutil.Process(host.pid) for host in stand.site.hosts]
    rss_mi = [process.memory_info().rss >> 20 for process in processes]
    with stand.site.redis.client() as client:
        keys, redis_mi = client.dbsize(), client.info("memory")["used_memory"] >> 20
    say(
        f"{time.strftime('%H:%M:%S')} {checked} ended as they should; fsck: {len(report.faults)} "
        f"findings in {report.instances} instances, {report.open_instances} open; hosts: RSS "
        f"{rss_mi} MiB, fds "
        f"{[process.num_fds() for process in processes]}; Redis: {keys} keys, {redis_mi} MiB"
    )
    assert report.is_clean, report.findings[:20]
    # A log of half an hour would take Redis long to read when it starts again.
    await asyncio.to_thread(stand.log.catch_up)
    await asyncio.to_thread(stand.site.redis.do, "BGREWRITEAOF")
    await stand.site.redis.reaches(_has_condensed)  # its helper process holds the port


def _has_condensed(server: Server) -> bool:
    with server.client() as client:
        info = client.info("persistence")
    return not (info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"])


async def throughput(stand: Stand) -> float:
    """Return how many workflows end in a second when nothing breaks."""
    began = stand.load.finished
    await asyncio.sleep(BASE_S)
    return (stand.load.finished - began) / BASE_S


async def break_it(stand: Stand, seconds: float, away_s: float, choose: random.Random) -> None:
    """Strike with all kinds in random order, again and again, until the time is over."""
    loop = asyncio.get_running_loop()
    table: dict[str, Seen] = defaultdict(Seen)
    await asyncio.sleep(LEASE_S)
    base = await throughput(stand)
    end_s, next_fsck_s = loop.time() + seconds, loop.time() + FSCK_EVERY_S
    while loop.time() < end_s:
        number = choose.randrange(len(stand.site.hosts))
        kinds = faults_of(stand, stand.site.hosts[number], stand.site.proxies[number], away_s)
        least = min(len(table[kind.name].took_s) for kind in kinds)
        fault = choose.choice([k for k in kinds if len(table[k.name].took_s) == least])
        await strike(stand, fault, table[fault.name])
        await asyncio.sleep(PAUSE_S)
        if loop.time() >= next_fsck_s:
            next_fsck_s = loop.time() + FSCK_EVERY_S
            await watch(stand)
    await asyncio.sleep(STEADY_S)
    after = await throughput(stand)
    await watch(stand)
    say(f"workflows a second: {base:.1f} before the first fault, {after:.1f} after the last")
    show(table)
    assert after >= STEADY_PART * base


def show(table: dict[str, Seen]) -> None:
    """Print the fault table. The counts are of attempts; each call was repeated until it was
    accepted, and none was refused."""
    say("| fault | times | told to retry (503) | no answer | recovery p50 | p99 | most |")
    say("|---|---|---|---|---|---|---|")
    for name, seen in sorted(table.items()):
        times = [f"{percentile(seen.took_s, part):.1f} s" for part in (0.5, 0.99, 1)]
        cells = [len(seen.took_s), seen.told_to_retry, seen.unanswered, *times]
        say(f"| {name} | {' | '.join(map(str, cells))} |")


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default 5)")
    parser.add_argument("--hosts", type=int, default=4, help="server processes (default 4)")
    parser.add_argument("--clients", type=int, default=20, help="clients at once (default 20)")
    parser.add_argument(
        "--starts-per-second", type=float, default=10.0, help="of all clients (default 10)"
    )
    parser.add_argument(
        "--away-seconds", type=float, default=20.0, help="how long Redis is away (default 20)"
    )
    parser.add_argument("--seed", type=int, default=None, help="of the order of the faults")


async def run(arguments: argparse.Namespace, folder: Path) -> None:
    """Run it; any broken invariant is an AssertionError."""
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    say(f"seed {seed}")
    async with under_load(
        folder,
        hosts=arguments.hosts,
        clients=arguments.clients,
        starts_per_s=arguments.starts_per_second,
        give_up_s=arguments.away_seconds + GIVE_UP_S,
        proxied=True,
        settings={"appendfsync": "always"},  # what Redis itself loses is not our fault
    ) as stand:
        await break_it(stand, 60 * arguments.minutes, arguments.away_seconds, random.Random(seed))
    say("every invariant held")
