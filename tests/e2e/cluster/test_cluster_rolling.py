"""P07: all hosts are restarted one after the other under load, and no call fails; and one host that
comes and goes every second moves few partitions."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cluster.clients import percentile
from tests.e2e.cluster.hosts import PARTITIONS
from tests.e2e.cluster.patience import patience
from tests.e2e.cluster.stand import under_load

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(110)]

GAP_S = 1.0
FLAPS = 6
FLAP_S = 0.5


@pytest.mark.asyncio
async def test_no_call_fails_while_all_hosts_are_restarted(tmp_path: Path) -> None:
    async with under_load(tmp_path, clients=10, keep_alive=False) as stand:
        enough = asyncio.Event()
        watch = asyncio.create_task(stand.probes.watch(enough, every_s=0.2))
        for host in stand.site.hosts:
            await asyncio.sleep(1)
            stand.faults += 1
            assert await host.end(signal.SIGTERM) == 0
            await host.start()
        await asyncio.sleep(3)
        enough.set()
        took_s = await watch
        p99_s, most_s = percentile(took_s, 0.99), max(took_s)
        sys.stdout.write(f"{len(took_s)} calls: p99 {p99_s:.3f} s, most {most_s:.3f} s\n")
    # A refused connection is what a load balancer sees when it tries the next host.
    assert stand.caller.unanswered.keys() <= {"ClientConnectorError"}
    assert stand.caller.statuses.keys() <= {200, 202, 503}
    assert p99_s < GAP_S * patience()


@pytest.mark.asyncio
async def test_a_host_that_flaps_moves_few_partitions(tmp_path: Path) -> None:
    async with under_load(tmp_path, clients=10, keep_alive=False) as stand:
        await asyncio.sleep(5)  # all have their shares
        flapping = stand.site.hosts[0]
        for _ in range(FLAPS):
            stand.faults += 1
            assert await flapping.end(signal.SIGTERM) == 0
            await asyncio.sleep(FLAP_S)
            await flapping.start()
            await asyncio.sleep(FLAP_S)
        await asyncio.sleep(3)
    assert stand.caller.unanswered.keys() <= {"ClientConnectorError"}
    assert stand.caller.statuses.keys() <= {200, 202, 503}
    # Each is taken when the cluster begins, again when shares are found, and given up once; for
    # the rest of the time the flapping host is never there for long enough to get any.
    assert stand.logged["acquired"] <= 4 * PARTITIONS
