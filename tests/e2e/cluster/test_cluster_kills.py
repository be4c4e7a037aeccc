"""P01 and P12: hosts are killed with -9 under load, and everything that was accepted ends once."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cluster.stand import Stand, under_load

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 8
LEAST = 150
MORE = 20
"""Workflows that end after the last fault."""


async def kill_again_and_again(stand: Stand, choose: random.Random) -> None:
    """Kill and restart a random host every other second, until some kills have hit a call."""
    async with asyncio.TaskGroup() as group:
        while stand.faults < KILLS or not stand.caller.unanswered:
            await asyncio.sleep(choose.uniform(1.0, 2.0))
            host = choose.choice(stand.site.hosts)
            await host.end(signal.SIGKILL)
            group.create_task(stand.recover())
            await host.start()


@pytest.mark.asyncio
async def test_what_was_accepted_ends_once_whatever_host_is_killed(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    async with under_load(tmp_path, clients=30) as stand:
        await kill_again_and_again(stand, random.Random(seed))
        await stand.until_accepted(LEAST)
        await stand.until_finished(MORE)
