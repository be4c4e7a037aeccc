"""A cluster under load, to which a test does something and which is examined afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.e2e.cluster.checks import check_all
from tests.e2e.cluster.clients import Caller, Load, Probes, percentile
from tests.e2e.cluster.hosts import Site, site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@dataclass(slots=True)
class Stand:
    """`faults` counts what may have made activities run again; `took_s` the times to recover."""

    site: Site
    caller: Caller
    load: Load
    probes: Probes
    faults: int = 0
    took_s: list[float] = field(default_factory=list)

    async def recover(self) -> None:
        """Wait until all partitions accept calls again after one more fault."""
        self.faults += 1
        self.took_s.append(await self.probes.time_to_accept_s())

    async def until_accepted(self, count: int) -> None:
        """Wait until so many workflows were accepted."""
        while len(self.load.accepted) < count:  # noqa: ASYNC110 -- a number tells nobody
            await asyncio.sleep(0.1)

    def report(self) -> str:
        return (
            f"{len(self.load.accepted)} workflows; time to recover: "
            f"p50 {percentile(self.took_s, 0.5):.1f} s, most {percentile(self.took_s, 1):.1f} s; "
            f"{dict(self.caller.statuses)}, {dict(self.caller.unanswered)}\n"
        )


@contextlib.asynccontextmanager
async def under_load(
    folder: Path,
    *,
    hosts: int = 3,
    clients: int = 20,
    proxied: bool = False,
    settings: dict[str, str] | None = None,
    keep_alive: bool = True,
) -> AsyncIterator[Stand]:
    """Run hosts and clients; at the end everything that was accepted is checked.

    Args:
        keep_alive: whether clients use a connection again.
        proxied, settings: see `site`.
    """
    async with (
        site(folder, hosts, proxied=proxied, settings=settings) as place,
        Caller(place, keep_alive=keep_alive) as caller,
    ):
        stand = Stand(place, caller, Load(caller), Probes(caller))
        await stand.probes.start()
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(stand.load.client())
            yield stand
            stand.load.enough.set()
        sys.stdout.write(stand.report())
        assert caller.without_retry_after == 0
        await stand.probes.stop()
        await check_all(place, stand.load.accepted, faults=stand.faults)
