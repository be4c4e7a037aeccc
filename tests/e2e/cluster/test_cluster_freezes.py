"""P03: a host stops in mid-step, loses its partitions, and goes on as if nothing had happened."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cluster.hosts import LEASE_S
from tests.e2e.cluster.stand import under_load

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

MORE = 20
"""Workflows that end after the last fault."""


@pytest.mark.asyncio
async def test_a_host_that_was_frozen_cannot_write_what_it_no_longer_owns(tmp_path: Path) -> None:
    async with under_load(tmp_path) as stand:
        for host in stand.site.hosts[:2]:
            await asyncio.sleep(1)
            host.freeze()
            await asyncio.gather(stand.recover(), asyncio.sleep(3 * LEASE_S))
            host.thaw()
            # It still believes that it owns its partitions, and is asked to write to all of them.
            await stand.probes.tick_all(host=host.url)
        await stand.until_finished(MORE)
    # By its renewal or by its first commit, whichever comes first.
    assert all("another owner" in host.log.read_text() for host in stand.site.hosts[:2])
