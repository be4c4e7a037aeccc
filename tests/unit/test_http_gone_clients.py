"""A client that goes takes its call with it: nobody else would hear of what it does."""

import asyncio
from typing import Any

import pytest

from tests.fakes.http_site import Sites

pytestmark = pytest.mark.asyncio


async def test_a_call_ends_with_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise an attempt that was given up, and repeated elsewhere, could come late: after the
    instance has ended and was purged, it would begin anew."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def start(*_: Any, **__: Any) -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "late"

    async with Sites() as sites:
        site = await sites.serve()
        monkeypatch.setattr(site.engine, "start", start)
        _, writer = await site.connect()
        writer.write(
            b"POST /v1.0/workflows/dapr/order/start?instanceID=i HTTP/1.1\r\n"
            b"Host: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
        )
        async with asyncio.timeout(120):
            await began.wait()
            assert not ended.is_set()
            writer.close()
            await ended.wait()
