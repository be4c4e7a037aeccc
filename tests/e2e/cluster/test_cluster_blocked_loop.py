"""P04: code of a user blocks the event loop of a host: for a while it costs nothing but patience,
for too long it costs the host its partitions, and others go on with them."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cluster.hosts import LEASE_S, PARTITIONS
from tests.e2e.cluster.stand import Stand, under_load

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.cluster.hosts import Host, Site

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(110)]

SETTLED_S = 4.0
"""Without a move for so long, partitions are where they belong."""

SILENT_S = 3 * LEASE_S
"""A loop that was blocked for this long loses its partitions."""

BLOCKED_S = 7 * LEASE_S
"""Leaves callers whose first attempts end with their time-out some more, also on a busy machine."""


async def block_one(stand: Stand, pause_s: float) -> Host:
    """Let an activity block the loop of whichever host runs it; return that host. Clients leave it
    out, as a load balancer does with a host that does not answer."""
    held = stand.site.side_log.with_suffix(".log.held")
    await stand.caller.start("holder", "holder", pause_s)
    async with asyncio.timeout(10):
        while not held.exists() or not held.read_text():  # noqa: ASYNC110 -- another process
            await asyncio.sleep(0.02)
    (host,) = [host for host in stand.site.hosts if host.pid == int(held.read_text())]
    host.is_frozen = True
    return host


def epochs(site: Site) -> dict[bytes, bytes]:
    """Return the present ownership of each partition, by the key of its meta."""
    with site.redis.client() as client:
        metas = sorted(client.scan_iter(match="*:meta", count=1_000))
        found = {meta: client.hget(meta, "epoch") for meta in metas}
    assert len(found) == PARTITIONS
    return found


async def settled(site: Site) -> dict[bytes, bytes]:
    """Wait until partitions move no more."""
    last = await asyncio.to_thread(epochs, site)
    async with asyncio.timeout(60):
        while True:
            await asyncio.sleep(SETTLED_S)
            now = await asyncio.to_thread(epochs, site)
            if now == last:
                return now
            last = now


@pytest.mark.asyncio
async def test_a_loop_that_is_blocked_for_long_loses_its_partitions_to_others(
    tmp_path: Path,
) -> None:
    async with under_load(tmp_path) as stand:
        before = await settled(stand.site)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        host = await block_one(stand, BLOCKED_S)
        await stand.recover()  # while it is still blocked
        took_s = loop.time() - began_s
        after = await asyncio.to_thread(epochs, stand.site)
        await asyncio.sleep(max(0.0, BLOCKED_S - took_s))
        host.is_frozen = False
        await stand.probes.tick_all(host=host.url)  # it passes calls on, or has its share again
        await stand.caller.until_status("holder", "COMPLETED")
    sys.stdout.write(f"all partitions at work {took_s:.1f} s after the loop was blocked\n")
    assert SILENT_S - 1 < took_s < BLOCKED_S
    assert any(after[meta] != before[meta] for meta in before), "nothing has moved"
    log = host.log.read_text()
    assert "event loop is blocked" in log
    assert 'stack="hold (' in log
    assert "partitions are given up" in log
    others = [other.log.read_text() for other in stand.site.hosts if other is not host]
    assert not any("given up" in text for text in others)


@pytest.mark.asyncio
async def test_a_loop_that_is_blocked_for_less_than_three_leases_keeps_its_partitions(
    tmp_path: Path,
) -> None:
    async with under_load(tmp_path, clients=5) as stand:
        before = await settled(stand.site)
        host = await block_one(stand, SILENT_S - 1)
        await asyncio.sleep(SILENT_S)
        host.is_frozen = False
        await stand.recover()
        await stand.caller.until_status("holder", "COMPLETED")
        assert await asyncio.to_thread(epochs, stand.site) == before
    log = host.log.read_text()
    assert "event loop is blocked" in log
    assert "another owner" not in log
    assert "given up" not in log
