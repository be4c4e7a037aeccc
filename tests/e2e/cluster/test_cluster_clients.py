"""P02 and P13 between clients and hosts: what breaks there makes no call happen twice."""

from __future__ import annotations

import asyncio
import random
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cluster.checks import check_logs, check_quiet, read_side_log
from tests.e2e.cluster.clients import Caller
from tests.e2e.cluster.hosts import site
from tests.e2e.cluster.stand import under_load

if TYPE_CHECKING:
    from pathlib import Path

    from tests.proxy import Proxy

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

STARTS = 500
UNANSWERED = STARTS / 10
"""So many starts, and so many attempts that got no answer, at least."""

AT_ONCE = 20
CUT_BYTES_MAX = 2_000
"""A connection is cut after at most so many bytes: every few requests."""


async def cut_again_and_again(fronts: list[Proxy], choose: random.Random) -> None:
    """Cut all connections of each proxy at a random byte, in both directions."""
    while True:
        for front in fronts:
            if front.cut_after_bytes is None:
                front.cut_after_bytes = choose.randrange(1, CUT_BYTES_MAX)
        await asyncio.sleep(0.005)


@pytest.mark.asyncio
async def test_five_hundred_starts_through_connections_that_are_cut_run_once(
    tmp_path: Path,
) -> None:
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    async with site(tmp_path, fronted=True) as place, Caller(place) as caller:
        fronts = [host.front for host in place.hosts if host.front is not None]
        cutting = asyncio.create_task(cut_again_and_again(fronts, random.Random(seed)))
        started = 0

        async def client() -> None:
            nonlocal started
            while started < STARTS or caller.unanswered.total() < UNANSWERED:
                number, started = started, started + 1
                await caller.start("entries", f"once-{number}", number)

        await asyncio.gather(*(client() for _ in range(AT_ONCE)))
        cutting.cancel()
        for front in fronts:
            front.cut_after_bytes = None
        await check_quiet(place)
        check_logs(place)
        path = "actorflow/v1/instances?status=COMPLETED&limit=1000"
        assert len((await caller.ask("GET", path))["instances"]) == started
    cuts = sum(front.cuts for front in fronts)
    sys.stdout.write(f"{cuts} cuts, {caller.unanswered.total()} attempts without an answer\n")
    # Each asks for two activities. No host ran one twice; another may have, since partitions move
    # while the hosts find their shares.
    runs = read_side_log(place.side_log)
    assert len(runs) == 2 * started
    assert all(len({run.pid for run in found}) == len(found) for found in runs.values())


@pytest.mark.asyncio
async def test_half_open_connections_of_clients_harm_nobody(tmp_path: Path) -> None:
    async with under_load(tmp_path, fronted=True) as stand:
        for host in stand.site.hosts[:2]:
            await asyncio.sleep(0.5)
            assert host.front is not None
            host.front.silence()
            await stand.recover()
