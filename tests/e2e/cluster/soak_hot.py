"""L3: one hot actor, then one hot partition, and what their neighbours notice of it.

Clients without a pause send events to one instance, then start instances of one partition.
Meanwhile every partition takes an event now and then: the time until it is accepted is printed.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from actorflow.actors.address import ActorId, partition_of
from actorflow.workflow.requests import INSTANCE
from tests.e2e.cluster.checks import check_logs, check_quiet
from tests.e2e.cluster.clients import Caller, Probes, percentile
from tests.e2e.cluster.hosts import LEASE_S, PARTITIONS, site
from tests.e2e.cluster.say import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable
    from pathlib import Path

PROBE_EVERY_S = 0.1
HOT = "hot"
NOTICED_MAX_S = 1.0
"""The slowest hundredth of the calls to neighbours must not take longer."""


class Heat:
    """Clients that call without a pause until told to stop; `calls` were accepted."""

    def __init__(self, caller: Caller, clients: int) -> None:
        self._caller = caller
        self._clients = clients
        self._numbers = itertools.count()
        self.calls = 0

    async def event(self) -> None:
        """Send an event to the hot instance."""
        await self._caller.raise_event(HOT, "tick", None, f"hot-{next(self._numbers)}")

    async def start(self) -> None:
        """Start an instance in the partition of the hot one."""
        await self._caller.start("entries", self._neighbour(), 1)

    def _neighbour(self) -> str:
        partition = partition_of(ActorId(INSTANCE, HOT), PARTITIONS)
        for number in self._numbers:
            name = f"warm-{number}"
            if partition_of(ActorId(INSTANCE, name), PARTITIONS) == partition:
                return name
        raise AssertionError("numbers do not end")

    async def burn(self, call: Callable[[], Awaitable[None]], enough: asyncio.Event) -> None:
        """Run all clients."""

        async def one() -> None:
            while not enough.is_set():
                await call()
                self.calls += 1

        await asyncio.gather(*(one() for _ in range(self._clients)))


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--seconds", type=float, default=20.0, help="of each part (default 20)")
    parser.add_argument("--hosts", type=int, default=3, help="server processes (default 3)")
    parser.add_argument("--clients", type=int, default=32, help="that make it hot (default 32)")


async def run(arguments: argparse.Namespace, folder: Path) -> None:
    """Run it; neighbours that wait for too long are an AssertionError."""
    async with (
        site(folder, arguments.hosts) as place,
        Caller(place) as caller,
        Caller(place) as prober,
    ):
        probes = Probes(prober)
        await probes.start()
        await caller.start("probe", HOT)
        await asyncio.sleep(2 * LEASE_S)
        say("| load | calls/s | others' p50 | p99 | most |")
        say("|---|---|---|---|---|")
        slowest_s = 0.0
        heat = Heat(caller, arguments.clients)
        for name, call in (
            ("none", None),
            ("hot actor", heat.event),
            ("hot partition", heat.start),
        ):
            before, enough = heat.calls, asyncio.Event()
            burning = asyncio.create_task(heat.burn(call, enough)) if call is not None else None
            watching = asyncio.create_task(probes.watch(enough, PROBE_EVERY_S))
            await asyncio.sleep(arguments.seconds)
            enough.set()
            took_s = await watching
            if burning is not None:
                await burning
            times = [percentile(took_s, part) for part in (0.5, 0.99, 1)]
            slowest_s = max(slowest_s, times[1])
            shown = " | ".join(f"{one * 1e3:.0f} ms" for one in times)
            say(f"| {name} | {(heat.calls - before) / arguments.seconds:.0f} | {shown} |")
        await probes.stop()
        await caller.ask("POST", f"v1.0/workflows/dapr/{HOT}/terminate", {})
        await check_quiet(place)
        check_logs(place)
        assert slowest_s < NOTICED_MAX_S, f"neighbours waited for {slowest_s:.2f} s"
