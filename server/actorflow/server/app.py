"""The HTTP server of one process: the engine's API on its ports, with a start and a stop."""

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from aiohttp import web

from actorflow.server.config import Settings
from actorflow.server.http.api import EngineApi
from actorflow.server.http.edge import Edge
from actorflow.server.http.listener import DEFAULT_LIMITS, EdgeLimits, EdgeServer

LINGER_S = 0.2
"""How long connections stay open after the ports were closed: requests that are on their way there
are answered and not cut off."""


class HttpServer:
    """Serves `engine` on the addresses of `settings`. Use it as `async with`, or start and stop it.

    `request_shutdown` is called for `POST /v1.0/shutdown`, with True when the caller wants the
    process to end at once with exit code 1; it must not block. The engine must be started before
    and shut down after the HTTP server.
    """

    def __init__(
        self,
        engine: EngineApi,
        settings: Settings,
        *,
        request_shutdown: Callable[[bool], None] = lambda force: None,
        limits: EdgeLimits = DEFAULT_LIMITS,
    ) -> None:
        self.edge = Edge(engine, settings, request_shutdown)
        self._settings = settings
        self._limits = limits
        self._runner: web.ServerRunner | None = None

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every open socket; what port 0 became."""
        assert self._runner is not None, "not started"
        return [(address[0], address[1]) for address in self._runner.addresses]

    @property
    def urls(self) -> list[str]:
        """The base URL of every open socket, such as `http://127.0.0.1:3500`."""
        return [url for host, port in self.addresses for url in urls_of([host], port)]

    async def start_up(self) -> None:
        """Open the ports.

        With several addresses and port 0, all take the port that the first one was given.

        Raises:
            OSError: a port is taken or an address is not this machine's; nothing stays open.
        """
        assert self._runner is None, "started twice"
        server = EdgeServer(self.edge, self._settings, self._limits)
        runner = web.ServerRunner(server, shutdown_timeout=self._settings.graceful_shutdown_s)
        await runner.setup()
        self._runner = runner
        port = self._settings.http_port
        try:
            for address in self._settings.listen_addresses:
                site = web.TCPSite(
                    runner,
                    address,
                    port,
                    backlog=self._limits.connections,
                    reuse_port=self._settings.processes > 1,
                )
                await site.start()
                port = port or self.addresses[0][1]
        except OSError:
            await self.shut_down(drain_s=0)
            raise

    async def shut_down(self, *, drain_s: float | None = None) -> None:
        """Stop taking requests, end the long polls, let the others finish, close the ports.

        Args:
            drain_s: how long running requests may take; default `settings.graceful_shutdown_s`.
        """
        runner, self._runner = self._runner, None
        if runner is None:
            return
        self.edge.stop()
        linger_s = LINGER_S if drain_s is None else min(LINGER_S, drain_s)
        # The ports last: who has connected by then is heard. Also, long polls write their answer.
        await asyncio.sleep(0)
        for site in list(runner.sites):
            await site.stop()
        await asyncio.sleep(linger_s)
        if drain_s is not None:
            # No public way to say it late.
            runner._shutdown_timeout = drain_s - linger_s  # noqa: SLF001
        await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start_up()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.shut_down()


def urls_of(addresses: Iterable[str], port: int) -> list[str]:
    """Return the base URLs of a port on several addresses."""
    return [
        f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}" for host in addresses
    ]
