"""P06, and a store that is away: Redis dies, pauses or is gone, and hosts go on by themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cluster.stand import under_load

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

AWAY_S = 12.0
"""Longer than three leases, and than a host waits for an answer."""

MORE = 20
"""Workflows that end after the last fault."""

SYNCED = {"appendfsync": "always"}
"""With `everysec` Redis loses up to two seconds when it is killed, which is another test's row."""


@pytest.mark.asyncio
async def test_hosts_go_on_after_redis_was_killed_and_paused(tmp_path: Path) -> None:
    async with under_load(tmp_path, settings=SYNCED) as stand:
        redis = stand.site.redis
        for _ in range(3):
            await asyncio.sleep(1.5)
            await asyncio.to_thread(redis.kill)
            await asyncio.to_thread(redis.start)
            await stand.recover()
        await asyncio.sleep(1)
        await asyncio.to_thread(redis.do, "CLIENT", "PAUSE", 5_000, "ALL")
        await stand.recover()
        await stand.until_finished(MORE)


@pytest.mark.asyncio
async def test_hosts_go_on_without_a_restart_after_the_store_was_away(tmp_path: Path) -> None:
    async with under_load(tmp_path, settings=SYNCED) as stand:
        redis = stand.site.redis
        await asyncio.sleep(1)
        await asyncio.to_thread(redis.kill)
        await asyncio.sleep(AWAY_S)
        # Until somebody is told to come back later.
        while not stand.caller.statuses[503]:  # noqa: ASYNC110 -- a number tells nobody
            await asyncio.sleep(0.1)
        await asyncio.to_thread(redis.start)
        await stand.recover()
        await stand.until_finished(MORE)
    assert all(host.starts == 1 for host in stand.site.hosts)
