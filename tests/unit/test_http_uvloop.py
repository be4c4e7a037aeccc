"""The edge on uvloop, whose transports are its own: limits, large bodies, held-back answers."""

import asyncio

import uvloop

from actorflow.server.http.listener import EdgeLimits
from actorflow.workflow.events import Status
from tests.fakes.http_site import Site, Sites
from tests.fakes.raw_http import read_reply

GET_ONE = "/v1.0/workflows/dapr/i-1"
WAIT = "/actorflow/v1/instances/i-1/wait?timeout=60s"


async def _hold(site: Site) -> asyncio.StreamReader:
    reader, writer = await site.connect()
    before = len(site.engine.calls)
    writer.write(f"GET {WAIT} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    async with asyncio.timeout(60):
        while len(site.engine.calls) == before:  # noqa: ASYNC110 -- a list has no event
            await asyncio.sleep(0.001)
    return reader


async def _check() -> None:
    async with Sites() as sites:
        site = await sites.serve(limits=EdgeLimits(connections=2, header_s=1.0))
        silent, _ = await site.connect()
        assert await silent.read() == b""
        body = b"x" * 3_000_000
        assert (await site.send("POST", "/v1.0/workflows/dapr/order/start", body)).status == 202
        held = [await _hold(site) for _ in range(2)]
        refused = await site.send("GET", GET_ONE)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        await site.engine.move("i-1", Status.COMPLETED)
        for reader in held:
            assert (await read_reply(reader)).json["completed"] is True
        assert (await site.send("GET", GET_ONE)).status == 200


def test_edge_works_on_uvloop() -> None:
    uvloop.run(_check())
