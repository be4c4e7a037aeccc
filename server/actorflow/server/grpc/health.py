"""The health service of gRPC, for probes of orchestrators and load balancers."""

import asyncio
from typing import Any

from actorflow.server.grpc import messages as pb
from actorflow.server.grpc.gate import Rpc, RpcCall, RpcStream
from actorflow.server.grpc.status import Code, RpcError
from actorflow.server.http.waits import InterruptedWaitError, Waits
from actorflow.server.metadata import ProcessMetadata

WATCH_S = 1.0
"""How often a watched state is looked at, in seconds."""

SERVING = 1
NOT_SERVING = 2
SERVICE_UNKNOWN = 3


class HealthService:
    """`Check` needs no token, as probes have none; `Watch`, which is held open, does."""

    def __init__(self, metadata: ProcessMetadata, waits: Waits) -> None:
        self._metadata = metadata
        self._waits = waits

    def rpcs(self) -> list[Rpc]:
        """Return the methods."""
        return [
            Rpc(f"/{pb.HEALTH}/Check", pb.HealthCheckRequest, self.check, is_public=True),
            Rpc(f"/{pb.HEALTH}/Watch", pb.HealthCheckRequest, self.watch, is_stream=True),
        ]

    async def check(self, request: Any, _: RpcCall) -> Any:
        """Say whether a service, or with "" the process, can serve calls now."""
        status = self._status(request.service)
        if status == SERVICE_UNKNOWN:
            raise RpcError(Code.NOT_FOUND, f"no service {request.service[:100]!r} is served here")
        return pb.HealthCheckResponse(status=status)

    async def watch(self, request: Any, call: RpcStream) -> None:
        """Say it now, and again whenever it has changed, until the server stops."""
        shown = None
        while True:
            status = self._status(request.service)
            if status != shown:
                shown = status
                await call.write(pb.HealthCheckResponse(status=status).SerializeToString())
            if self._waits.is_stopping:
                return
            try:
                await self._waits.until_stop(asyncio.sleep(WATCH_S))
            except InterruptedWaitError:
                continue

    def _status(self, service: str) -> int:
        if service not in ("", pb.TASK_HUB, pb.DAPR):
            return SERVICE_UNKNOWN
        return NOT_SERVING if self._metadata.problems() else SERVING
