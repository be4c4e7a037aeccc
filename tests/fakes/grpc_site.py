"""The real engine behind real gRPC in this process, and a raw client, for tests of the edge."""

import asyncio
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from actorflow.actors.store.memory import MemoryStore
from actorflow.server.config import Settings
from actorflow.server.grpc import messages as pb
from actorflow.server.grpc.server import GrpcServer
from actorflow.server.grpc.stubs import load
from actorflow.server.http.edge import Edge
from actorflow.workflow.engine import WorkflowEngine
from actorflow.workflow.registry import Registry

_DAPR_ANSWERS = {
    "StartWorkflow": pb.StartWorkflowResponse,
    "GetWorkflow": pb.GetWorkflowResponse,
    "GetMetadata": pb.GetMetadataResponse,
}
_HEALTH_ANSWERS = {"Check": pb.HealthCheckResponse, "Watch": pb.HealthCheckResponse}


def path_of(method: str) -> str:
    """Return the path of a method; one without a service is of the task hub."""
    return f"/{method}" if "/" in method else f"/{pb.TASK_HUB}/{method}"


def answer_of(method: str) -> Any:
    """Return the class of a method's answer."""
    service, _, name = path_of(method)[1:].partition("/")
    if service == pb.TASK_HUB:
        return load().message(load().service(service).methods_by_name[name].output_type.full_name)
    if service == pb.DAPR:
        return _DAPR_ANSWERS.get(name.removesuffix("Alpha1").removesuffix("Beta1"), pb.Empty)
    return _HEALTH_ANSWERS.get(name, pb.Empty)


class Client:
    """A raw client; requests are messages or bytes. `agent` is what it calls itself."""

    def __init__(self, address: str, *metadata: tuple[str, str], agent: str = "") -> None:
        options = (
            ("grpc.primary_user_agent", agent),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            # A connection of its own, which not all channels to one address share.
            ("grpc.use_local_subchannel_pool", 1),
        )
        self.channel = grpc.aio.insecure_channel(address, options=options)
        self.metadata = metadata

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.channel.close()

    async def call(
        self,
        method: str,
        request: Any = b"",
        *,
        metadata: tuple[tuple[str, str], ...] = (),
        timeout_s: float = 30,
    ) -> Any:
        """Call a method. Raises grpc.aio.AioRpcError."""
        rpc = self.channel.unary_unary(
            path_of(method),
            request_serializer=_bytes,
            response_deserializer=answer_of(method).FromString,
        )
        return await rpc(request, metadata=(*self.metadata, *metadata), timeout=timeout_s)

    async def refusal(self, method: str, request: Any = b"", **options: Any) -> tuple[str, str]:
        """Call a method that must fail; return the name of its code and its text."""
        try:
            answer = await self.call(method, request, **options)
        except grpc.aio.AioRpcError as err:
            return err.code().name, err.details() or ""
        raise AssertionError(f"{method} succeeded: {answer}")

    def stream(
        self, method: str, request: Any = b"", *, metadata: tuple[tuple[str, str], ...] = ()
    ) -> Any:
        """Open a stream of answers."""
        rpc = self.channel.unary_stream(
            path_of(method),
            request_serializer=_bytes,
            response_deserializer=answer_of(method).FromString,
        )
        return rpc(request, metadata=(*self.metadata, *metadata))


def _bytes(request: Any) -> bytes:
    data: bytes = request if isinstance(request, bytes) else request.SerializeToString()
    return data


class GrpcSite(Client):
    """An engine on a store in memory, served on a free port."""

    def __init__(self, engine: WorkflowEngine, server: GrpcServer, edge: Edge) -> None:
        super().__init__(server.addresses[0])
        self.engine = engine
        self.server = server
        self.edge = edge
        self.shutdowns: list[bool] = []

    @classmethod
    async def open(
        cls, registry: Registry | None = None, *, store: MemoryStore | None = None, **settings: Any
    ) -> Self:
        """Start everything."""
        made = Settings(grpc_port=0, **{"start_wait_s": 0.2, **settings})
        engine = WorkflowEngine(
            store or MemoryStore(), registry, app_id=made.app_id, remote_workers=True
        )
        await engine.start_up()
        edge = Edge(engine, made, lambda force: None)
        shutdowns: list[bool] = []
        server = GrpcServer(engine, made, edge, request_shutdown=shutdowns.append)
        await server.start_up()
        site = cls(engine, server, edge)
        site.shutdowns = shutdowns
        return site

    async def reaches_waits(self, count: int) -> None:
        """Wait until so many answers are held back."""
        async with asyncio.timeout(120):
            while self.server.waits.count != count:  # noqa: ASYNC110 -- it tells nobody
                await asyncio.sleep(0.001)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.channel.close()
        await self.server.shut_down(drain_s=0.1)
        await self.engine.shut_down(drain_s=0.1)
