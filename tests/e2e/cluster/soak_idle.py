"""L4: many instances that wait for an event, and what they cost while nothing happens.

They are started by one engine, then hosts take over: their memory and processor time at rest, the
memory of Redis, and how long it takes to wake one that no host has in memory.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import psutil

from actorflow.actors.errors import ContentionError, UnavailableError
from actorflow.actors.store.redis import RedisStore
from actorflow.workflow import WorkflowEngine
from actorflow.workflow.errors import InstanceExistsError
from tests.e2e.cluster.app import app
from tests.e2e.cluster.clients import Caller, percentile
from tests.e2e.cluster.hosts import LEASE_S, PARTITIONS, Site, site
from tests.e2e.cluster.say import say
from tests.servers import Server

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

AT_ONCE = 256
REST_S = 10.0
RETRY_S = 0.5


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--instances", type=int, default=20_000, help="that wait (default 20000; 1000000 takes GiB)"
    )
    parser.add_argument("--hosts", type=int, default=2, help="server processes (default 2)")
    parser.add_argument("--wake", type=int, default=500, help="of them to wake up (default 500)")


async def run(arguments: argparse.Namespace, folder: Path) -> None:
    """Run it and print what was measured."""
    server = Server("redis", folder / "redis")
    await asyncio.to_thread(server.start)
    try:
        await fill(server, arguments.instances)
        async with site(folder, arguments.hosts, redis=server) as place, Caller(place) as caller:
            await asyncio.sleep(2 * LEASE_S)
            await rest(place, arguments.instances)
            await wake(caller, arguments.instances, arguments.wake)
    finally:
        server.kill()


async def fill(server: Server, count: int) -> None:
    """Start so many instances that wait for an event."""
    began_s, numbers = time.monotonic(), iter(range(count))
    store = RedisStore(server.url, partition_count=PARTITIONS)
    async with WorkflowEngine(store, app, partition_count=PARTITIONS) as engine:

        async def some() -> None:
            for number in numbers:
                await started(engine, f"idle-{number}")

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    took_s = time.monotonic() - began_s
    with server.client() as client:
        used_bytes = client.info("memory")["used_memory"]
    say(f"{count:,} instances started in {took_s:.0f} s: {count / took_s:,.0f} a second")
    say(f"Redis: {used_bytes >> 20} MiB, {used_bytes / count:,.0f} bytes an instance")


async def started(engine: WorkflowEngine, instance_id: str) -> None:
    """Start one; the store may be slow on a busy machine, and the first attempt have worked."""
    while True:
        try:
            await engine.start("parked", instance_id=instance_id)
        except InstanceExistsError:
            return
        except (UnavailableError, ContentionError):
            await asyncio.sleep(RETRY_S)
        else:
            return


async def rest(place: Site, count: int) -> None:
    """Show what hosts and Redis use while nothing happens."""
    processes = {host.name: psutil.Process(host.pid) for host in place.hosts}
    processes["redis"] = psutil.Process(place.redis.pid)
    before = {name: sum(p.cpu_times()[:2]) for name, p in processes.items()}
    await asyncio.sleep(REST_S)
    for name, process in processes.items():
        cpu = (sum(process.cpu_times()[:2]) - before[name]) / REST_S
        say(f"{name}: {cpu:.1%} of a core, RSS {process.memory_info().rss >> 20} MiB at {count:,}")


async def wake(caller: Caller, count: int, some: int) -> None:
    """Wake some, one after the other, each for the first time."""
    loop = asyncio.get_running_loop()
    took_s = []
    for number in random.sample(range(count), min(some, count)):
        began_s = loop.time()
        await caller.raise_event(f"idle-{number}", "go", 1, f"go-{number}")
        took_s.append(loop.time() - began_s)
    shown = ", ".join(f"{percentile(took_s, part) * 1e3:.1f} ms" for part in (0.5, 0.99))
    say(f"an event until it is accepted, the instance not in memory: p50, p99 {shown}")
