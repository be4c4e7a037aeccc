"""P05 and P13: what breaks between a host and Redis is noticed, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cluster.stand import under_load

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

STALL_S = 5.5
"""Longer than a host waits for an answer."""


@pytest.mark.asyncio
async def test_replies_that_come_too_late_lose_and_double_nothing(tmp_path: Path) -> None:
    async with under_load(tmp_path, proxied=True) as stand:
        for number, proxy in enumerate(stand.site.proxies):
            await asyncio.sleep(0.5)
            proxy.down.clear()
            await asyncio.sleep(STALL_S)
            if number:
                proxy.cut()  # the answers never come; without it they come to nobody
            proxy.down.set()
            await stand.recover()


@pytest.mark.asyncio
async def test_half_open_connections_are_noticed(tmp_path: Path) -> None:
    async with under_load(tmp_path, proxied=True) as stand:
        for proxy in stand.site.proxies[:2]:
            await asyncio.sleep(0.5)
            proxy.silence()
            await stand.recover()
