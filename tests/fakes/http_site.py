"""A fake engine behind real HTTP, for tests of the edge."""

import asyncio
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from actorflow.server.app import HttpServer
from actorflow.server.config import Settings
from actorflow.server.http.listener import EdgeLimits
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.raw_http import Reply, send


class Site:
    """A served fake engine, with the pending instance `i-1`."""

    def __init__(self, engine: FakeEngine, server: HttpServer) -> None:
        self.engine = engine
        self.server = server
        self.url = server.urls[0]
        self.writers: list[asyncio.StreamWriter] = []

    async def send(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Send one request on a connection of its own."""
        return await send(self.url, method, target, body, headers)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection that is closed at the end of the test."""
        parts = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        self.writers.append(writer)
        return reader, writer


class Sites:
    """Serves as many sites as a test wants, and closes them in the end."""

    def __init__(self) -> None:
        self._served: list[Site] = []

    async def serve(self, *, limits: EdgeLimits | None = None, **settings: Any) -> Site:
        """Serve with these settings on a free port."""
        engine = FakeEngine()
        await engine.start("order", instance_id="i-1", input="1")
        server = HttpServer(
            engine, Settings(http_port=0, **settings), limits=limits or EdgeLimits()
        )
        await server.start_up()
        self._served.append(Site(engine, server))
        return self._served[-1]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for site in self._served:
            for writer in site.writers:
                writer.close()
            await site.server.shut_down(drain_s=0.1)
