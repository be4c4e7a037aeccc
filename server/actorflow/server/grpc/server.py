"""The gRPC server of one process: its ports, its limits, its start and its stop."""

import asyncio
import errno
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from actorflow.server.config import Settings
from actorflow.server.grpc.gate import Gate
from actorflow.server.grpc.health import HealthService
from actorflow.server.grpc.sidecar import SidecarService
from actorflow.server.grpc.task_hub import TaskHubService
from actorflow.server.grpc.workers import WorkerService
from actorflow.server.grpc_address import address_of, addresses_of
from actorflow.server.http.edge import Edge
from actorflow.server.processes import reserve_port
from actorflow.workflow.engine import WorkflowEngine

CALLS_MAX = 8_000
"""Calls at a time; more are refused with RESOURCE_EXHAUSTED. Streams of work, as many as
`workers.STREAMS_MAX`, and long polls leave room for others."""

WAITS_MAX = 2_000
"""Long polls at a time."""

STREAMS_PER_CONNECTION_MAX = 1_000
METADATA_MAX_BYTES = 8 * 1_024
ANSWERS_S = 0.02
"""How often a stop looks whether the workers have answered."""

STOP_S = 1.0
"""How long a stop waits for running calls once nothing is left that they could wait for."""

_OPTIONS: tuple[tuple[str, int], ...] = (
    # SDKs ping every 30 s, also without a call; more often than every 5 s ends the connection.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A peer that is frozen is found out in 15 s. Without the third of these it would take a minute.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    # Without any call, as the sidecar does. No limit on the age: it would cut streams of work.
    ("grpc.max_connection_idle_ms", 180_000),
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION_MAX),
    # From 1,000 calls on that arrive at once, the core would throw some away as CANCELLED.
    ("grpc.server.max_pending_requests", CALLS_MAX),
    ("grpc.server.max_pending_requests_hard_limit", 2 * CALLS_MAX),
    ("grpc.max_metadata_size", METADATA_MAX_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * METADATA_MAX_BYTES),
)


class GrpcServer:
    """Serves `engine` on the gRPC addresses of `settings`. `async with`, or start and stop it.

    What both doors share (waits, metadata, metrics) is the HTTP server's `edge`. The engine must be
    started before and shut down after.
    """

    def __init__(
        self,
        engine: WorkflowEngine,
        settings: Settings,
        edge: Edge,
        *,
        request_shutdown: Callable[[bool], None] = lambda force: None,
    ) -> None:
        self._settings = settings
        self._edge = edge
        self.waits = edge.waits.beside(WAITS_MAX)
        task_hub = TaskHubService(engine, settings, self.waits)
        sidecar = SidecarService(engine, settings, self.waits, edge.metadata, request_shutdown)
        self._workers = WorkerService(engine.workers, settings, self.waits, now_ns=engine.now_ns)
        health = HealthService(edge.metadata, self.waits)
        rpcs = [*task_hub.rpcs(), *self._workers.rpcs(), *sidecar.rpcs(), *health.rpcs()]
        self.gate = Gate(rpcs, settings, edge.metrics)
        self._server: Any = None
        self.port = 0

    @property
    def addresses(self) -> list[str]:
        """Host and port of every open socket, such as `127.0.0.1:50001`."""
        return addresses_of(self._settings, self.port)

    async def start_up(self) -> None:
        """Open the ports.

        With several addresses and port 0, all take the port that the first one was given.

        Raises:
            OSError: a port is taken or an address is not this machine's; nothing stays open.
        """
        assert self._server is None, "started twice"
        options = (
            *_OPTIONS,
            ("grpc.max_receive_message_length", self.gate.read_max_bytes),
            ("grpc.max_send_message_length", self.gate.message_max_bytes),
            # Without it a second server on the port would fail silently: half of the calls each.
            ("grpc.so_reuseport", int(self._settings.processes > 1)),
        )
        server = grpc.aio.server(
            handlers=[self.gate], options=options, maximum_concurrent_rpcs=CALLS_MAX
        )
        self.port = self._settings.grpc_port
        for host in self._settings.grpc_hosts:
            self.port = self._bind(server, host, self.port)
        await server.start()
        self._server = server

    def _bind(self, server: Any, host: str, port: int) -> int:
        try:
            bound: int = server.add_insecure_port(address_of(host, port))
        except RuntimeError:
            bound = 0
        if not bound:
            # grpc does not say why; the system does.
            reserve_port([host], port).close()
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        return bound

    async def shut_down(self, *, drain_s: float | None = None) -> None:
        """Say that nothing is served any more, end streams and long polls, let other calls finish.

        Workers may answer what they have until then; what they answer later counts after the next
        start.

        Args:
            drain_s: how long running calls may take; default `settings.graceful_shutdown_s`.
        """
        server, self._server = self._server, None
        if server is None:
            return
        most_s = self._settings.graceful_shutdown_s if drain_s is None else drain_s
        loop = asyncio.get_running_loop()
        end_s = loop.time() + most_s
        self._edge.stop()
        self._workers.close_streams()
        await asyncio.sleep(0)  # long polls write their answer
        while self._workers.unanswered_count and loop.time() < end_s:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(ANSWERS_S)
        await server.stop(max(0.0, min(STOP_S, end_s - loop.time())))

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
