"""A cluster under load, to which a test does something and which is examined afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.e2e.cluster.audit import ServerLog
from tests.e2e.cluster.checks import Asked, check_all, check_instances
from tests.e2e.cluster.clients import (
    ATTEMPT_S,
    GIVE_UP_S,
    STARTS_PER_S,
    Caller,
    Load,
    Probes,
    percentile,
)
from tests.e2e.cluster.hosts import Site, site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@dataclass(slots=True)
class Stand:
    """`faults` counts what may have made activities run again; `took_s` the times to recover;
    `asked` the activities of instances that are purged already; `logged`, in the end, what the log
    of the server counts."""

    site: Site
    caller: Caller
    load: Load
    probes: Probes
    log: ServerLog
    faults: int = 0
    asked: dict[str, Asked] = field(default_factory=dict)
    logged: Counter[str] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)

    async def recover(self) -> None:
        """Wait until all partitions accept calls again after one more fault."""
        self.faults += 1
        self.took_s.append(await self.probes.time_to_accept_s())

    async def check_and_purge_ended(self) -> int:
        """Check the instances that have ended and purge them. Returns how many."""
        ended = self.load.take_ended()
        self.asked |= await check_instances(self.site, ended)
        await self.caller.purge(ended)
        return len(ended)

    async def until_accepted(self, count: int) -> None:
        """Wait until so many workflows were accepted."""
        while len(self.load.accepted) < count:  # noqa: ASYNC110 -- a number tells nobody
            await asyncio.sleep(0.1)

    async def until_finished(self, count: int) -> None:
        """Wait until so many more workflows have ended: work goes on."""
        loop = asyncio.get_running_loop()
        began_s, end = loop.time(), self.load.finished + count
        while self.load.finished < end:  # noqa: ASYNC110 -- a number tells nobody
            await asyncio.sleep(0.1)
        sys.stdout.write(f"{count} more workflows in {loop.time() - began_s:.1f} s\n")

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
    keep_alive: bool = True,
    give_up_s: float = GIVE_UP_S,
    attempt_s: float = ATTEMPT_S,
    starts_per_s: float = STARTS_PER_S,
    loses_tails: bool = False,
    **where: Any,
) -> AsyncIterator[Stand]:
    """Run hosts and clients; at the end everything that was accepted is checked.

    Args:
        keep_alive: whether clients use a connection again.
        give_up_s: see `Caller`.
        attempt_s: see `Caller`.
        starts_per_s: see `Load`.
        loses_tails: whether the store is replaced by one that has not got its newest writes; no log
            has all commits then.
        where: see `site`.
    """
    async with (
        site(folder, hosts, **where) as place,
        Caller(place, keep_alive=keep_alive, give_up_s=give_up_s, attempt_s=attempt_s) as caller,
    ):
        load = Load(caller, starts_per_s=starts_per_s, loses_tails=loses_tails)
        with contextlib.closing(ServerLog(place.redis)) as log:
            stand = Stand(place, caller, load, Probes(caller), log)
            async with _at_work(stand, clients):
                yield stand
            stand.logged = await check_all(
                place,
                load.accepted,
                faults=stand.faults,
                asked=stand.asked,
                log=None if loses_tails else log,
                alarms=loses_tails,
                attempts=caller.unanswered.total(),
            )
        sys.stdout.write(f"log of the server: {dict(stand.logged)}\n")


@contextlib.asynccontextmanager
async def _at_work(stand: Stand, clients: int) -> AsyncIterator[None]:
    """Let clients work until the caller has done its worst, and their calls to the end."""
    await stand.probes.start()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(stand.load.client())
        yield
        stand.load.enough.set()
    sys.stdout.write(stand.report())
    assert stand.caller.without_retry_after == 0
    await stand.probes.stop()
