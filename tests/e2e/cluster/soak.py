"""`python -m tests.e2e.cluster.soak`: break a cluster under load, fault after fault, for minutes.

Prints a line of resources and the findings of fsck each minute, and at the end a table: which
fault, how often, what clients saw, and how long it took until every partition accepted calls.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from tests.e2e.cluster.checks import fsck
from tests.e2e.cluster.clients import percentile
from tests.e2e.cluster.hosts import LEASE_S, Host
from tests.e2e.cluster.stand import Stand, under_load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.proxy import Proxy

PAUSE_S = 2.0
"""Quiet time between two faults."""

STALL_S = 4.0
STORE_PAUSE_MS = 3_000
FSCK_EVERY_S = 60.0
BASE_S = 10.0
"""Time without faults at the beginning and at the end, in which throughput is compared."""

STEADY_PART = 0.8


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
    """Check the store while hosts run, and say what they use."""
    report = await fsck(stand.site)
    processes = [psutil.Process(host.pid) for host in stand.site.hosts]
    rss_mi = [process.memory_info().rss >> 20 for process in processes]
    with stand.site.redis.client() as client:
        keys, redis_mi = client.dbsize(), client.info("memory")["used_memory"] >> 20
    say(
        f"fsck: {len(report.faults)} findings in {report.instances} instances, "
        f"{report.open_instances} open; hosts: RSS {rss_mi} MiB, fds "
        f"{[process.num_fds() for process in processes]}; Redis: {keys} keys, {redis_mi} MiB"
    )
    assert report.is_clean, report.findings[:20]


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
    await asyncio.sleep(2 * LEASE_S + 5)
    after = await throughput(stand)
    await watch(stand)
    say(f"workflows a second: {base:.1f} before the first fault, {after:.1f} after the last")
    show(table)
    assert after >= STEADY_PART * base


def show(table: dict[str, Seen]) -> None:
    """Print the fault table."""
    say("| fault | times | told to retry (503) | no answer | recovery p50 | p99 |")
    say("|---|---|---|---|---|---|")
    for name, seen in sorted(table.items()):
        times = [f"{percentile(seen.took_s, part):.1f} s" for part in (0.5, 0.99)]
        cells = [len(seen.took_s), seen.told_to_retry, seen.unanswered, *times]
        say(f"| {name} | {' | '.join(map(str, cells))} |")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def soak(arguments: argparse.Namespace, folder: Path) -> None:
    """Run it; any broken invariant is an AssertionError."""
    settings = {"appendfsync": "always"}  # what Redis itself loses is not our fault
    async with under_load(
        folder, hosts=arguments.hosts, clients=arguments.clients, proxied=True, settings=settings
    ) as stand:
        choose = random.Random(arguments.seed)
        await break_it(stand, 60 * arguments.minutes, arguments.away_seconds, choose)
    say("every invariant held")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--away-seconds", type=float, default=20.0, help="60 in long runs")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
    say(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory(prefix="actorflow-soak-") as folder:
        asyncio.run(soak(arguments, Path(folder)))


if __name__ == "__main__":
    main()
