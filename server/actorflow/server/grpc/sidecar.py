"""The part of `dapr.proto.runtime.v1.Dapr` that concerns workflows: what older SDKs call.

Alpha and beta names are the same methods. Codes and texts are those of the HTTP API.
"""

from collections.abc import Callable
from typing import Any

from actorflow.actors.errors import ActorflowError, OverloadedError
from actorflow.server import errors
from actorflow.server.config import Settings
from actorflow.server.errors import Operation, WireError, dapr_error
from actorflow.server.grpc import messages as pb
from actorflow.server.grpc.gate import Rpc, RpcCall, trace_of
from actorflow.server.grpc.status import RpcError, of_wire_error
from actorflow.server.grpc.values import fill_time
from actorflow.server.http.api import EngineApi
from actorflow.server.http.call import check_name
from actorflow.server.http.render import dapr_instance, time_ns
from actorflow.server.http.waits import InterruptedWaitError, Waits
from actorflow.server.http.workflows import (
    check_instance_id,
    check_workflow_name,
    checked_app_id,
)
from actorflow.server.metadata import ProcessMetadata
from actorflow.workflow.errors import NotTerminalError
from actorflow.workflow.events import Status

START_TIME = "dapr.workflow.start_time"
"""Option of a start: not before this time."""

_RUNNING = 2
_INITIALIZING = 0


class SidecarService:
    """See the module docstring."""

    def __init__(
        self,
        engine: EngineApi,
        settings: Settings,
        waits: Waits,
        metadata: ProcessMetadata,
        request_shutdown: Callable[[bool], None],
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._waits = waits
        self._metadata = metadata
        self._request_shutdown = request_shutdown

    def rpcs(self) -> list[Rpc]:
        """Return the methods."""
        table = [
            ("StartWorkflow", pb.StartWorkflowRequest, self.start, errors.START),
            ("GetWorkflow", pb.GetWorkflowRequest, self.get, errors.GET),
            ("RaiseEventWorkflow", pb.RaiseEventWorkflowRequest, self.raise_event, errors.RAISE),
            ("PauseWorkflow", pb.PauseWorkflowRequest, self.pause, errors.PAUSE),
            ("ResumeWorkflow", pb.ResumeWorkflowRequest, self.resume, errors.RESUME),
            ("TerminateWorkflow", pb.TerminateWorkflowRequest, self.terminate, errors.TERMINATE),
            ("PurgeWorkflow", pb.PurgeWorkflowRequest, self.purge, errors.PURGE),
        ]
        workflow_rpcs = [
            Rpc(f"/{pb.DAPR}/{name}{suffix}", request, handle, self._translator(operation))
            for suffix in ("Alpha1", "Beta1")
            for name, request, handle, operation in table
        ]
        return [
            *workflow_rpcs,
            Rpc(f"/{pb.DAPR}/GetMetadata", pb.GetMetadataRequest, self.get_metadata),
            Rpc(f"/{pb.DAPR}/SetMetadata", pb.SetMetadataRequest, self.set_metadata),
            Rpc(f"/{pb.DAPR}/Shutdown", pb.Empty, self.shutdown),
        ]

    async def start(self, request: Any, call: RpcCall) -> Any:
        """Start an instance; answer when it is durable, and a worker is there or long awaited."""
        self._waits.check_running()
        name = request.workflow_name
        if request.instance_id:
            check_instance_id(request.instance_id)
        if not name:
            raise WireError(400, "ERR_WORKFLOW_NAME_MISSING", "workflow name is not configured")
        check_workflow_name(name)
        app_id = checked_app_id(self._engine, request.app_id, errors.START, name)
        start_ns = _start_ns(name, request.options.get(START_TIME, ""))
        trace = trace_of(call)
        instance_id = await self._engine.start(
            name,
            instance_id=request.instance_id,
            input=_text(request.input, "input"),
            scheduled_start_ns=start_ns,
            trace_parent=trace.parent,
            trace_state=trace.state,
            app_id=app_id,
        )
        if not self._engine.connected_workers():
            await self._await_worker()
        return pb.StartWorkflowResponse(instance_id=instance_id)

    async def get(self, request: Any, _: RpcCall) -> Any:
        """Show an instance; of one that is not there, nothing but its id."""
        instance_id, app_id = self._subject(request, errors.GET)
        instance = await self._engine.get(instance_id, app_id=app_id)
        if instance is None:
            return pb.GetWorkflowResponse(instance_id=instance_id)
        shown = dapr_instance(instance, strict_pending=self._settings.strict_pending)
        answer = pb.GetWorkflowResponse(
            instance_id=instance_id,
            workflow_name=shown.get("workflowName", ""),
            runtime_status=shown["runtimeStatus"],
            properties=shown.get("properties", {}),
        )
        if "workflowName" in shown:
            fill_time(answer.created_at, instance.created_at_ns)
            fill_time(answer.last_updated_at, instance.updated_at_ns)
        return answer

    async def raise_event(self, request: Any, _: RpcCall) -> Any:
        """Give an instance an event."""
        instance_id = self._subject_id(request)
        if not request.event_name:
            raise WireError(400, "ERR_WORKFLOW_EVENT_NAME_MISSING", "missing workflow event name")
        check_name("workflow event", "ERR_WORKFLOW_EVENT_NAME_INVALID", request.event_name)
        app_id = checked_app_id(self._engine, request.app_id, errors.RAISE, instance_id)
        data = _text(request.event_data, "event_data") if request.event_data else None
        await self._engine.raise_event(instance_id, request.event_name, data, app_id=app_id)
        return pb.Empty()

    async def pause(self, request: Any, _: RpcCall) -> Any:
        """Hold an instance."""
        instance_id, app_id = self._subject(request, errors.PAUSE)
        await self._engine.suspend(instance_id, app_id=app_id)
        return pb.Empty()

    async def resume(self, request: Any, _: RpcCall) -> Any:
        """Let an instance go on."""
        instance_id, app_id = self._subject(request, errors.RESUME)
        await self._engine.resume(instance_id, app_id=app_id)
        return pb.Empty()

    async def terminate(self, request: Any, _: RpcCall) -> Any:
        """End an instance and its children."""
        instance_id, app_id = self._subject(request, errors.TERMINATE)
        await self._engine.terminate(instance_id, app_id=app_id)
        return pb.Empty()

    async def purge(self, request: Any, _: RpcCall) -> Any:
        """Delete an ended instance and its children."""
        instance_id, app_id = self._subject(request, errors.PURGE)
        try:
            await self._engine.purge(instance_id, app_id=app_id)
        except NotTerminalError:
            # Dapr's purge reads the history, and a pending instance has none: it counts as missing.
            instance = await self._engine.get(instance_id, app_id=app_id)
            if instance is not None and instance.status is Status.PENDING:
                raise errors.instance_not_found(instance_id) from None
            raise
        return pb.Empty()

    async def get_metadata(self, _: Any, __: RpcCall) -> Any:
        """Describe this process."""
        is_ready = not self._metadata.problems()
        answer = pb.GetMetadataResponse(
            id=self._settings.app_id,
            runtime_version=self._metadata.version,
            extended_metadata=self._metadata.extended,
            actor_runtime={
                "runtime_status": _RUNNING if is_ready else _INITIALIZING,
                "host_ready": is_ready,
                "placement": f"placement: {'connected' if is_ready else 'disconnected'}",
            },
        )
        workers = self._metadata.connected_workers
        if workers:
            answer.workflows.connected_workers = workers
        return answer

    async def set_metadata(self, request: Any, _: RpcCall) -> Any:
        """Add a text to the metadata of this process."""
        self._metadata.put(request.key, request.value)
        return pb.Empty()

    async def shutdown(self, _: Any, call: RpcCall) -> Any:
        """Ask the process to end: in order, or with `dapr-force-shutdown: true` at once."""
        self._request_shutdown(call.first("dapr-force-shutdown").lower() == "true")
        return pb.Empty()

    def _subject(self, request: Any, operation: Operation) -> tuple[str, str]:
        """Run the checks of the operations that take no payload; return instance and app id."""
        instance_id = self._subject_id(request)
        return instance_id, checked_app_id(self._engine, request.app_id, operation, instance_id)

    def _subject_id(self, request: Any) -> str:
        self._waits.check_running()
        instance_id: str = request.instance_id
        if not instance_id:
            raise WireError(400, "ERR_INSTANCE_ID_PROVIDED_MISSING", "no instance ID was provided")
        return instance_id

    async def _await_worker(self) -> None:
        try:
            await self._waits.until_stop(self._engine.wait_for_worker(self._settings.start_wait_s))
        except (InterruptedWaitError, OverloadedError):
            return  # the start is durable; holding back the answer is only a courtesy

    def _translator(self, operation: Operation) -> Callable[[Any, ActorflowError], RpcError]:
        strict_status = self._settings.strict_status

        def worded(request: Any, err: ActorflowError) -> RpcError:
            is_start = operation is errors.START
            wire_error = dapr_error(
                operation,
                request.workflow_name if is_start else request.instance_id,
                err,
                event_name=request.event_name if operation is errors.RAISE else "",
                strict_status=strict_status,
            )
            return of_wire_error(wire_error)

        return worded


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as err:
        raise errors.malformed(f"{what} is invalid UTF-8 at byte {err.start}") from None


def _start_ns(name: str, text: str) -> int | None:
    if not text:
        return None
    try:
        return time_ns(text)
    except ValueError:
        cause = 'start times must be in RFC3339 format (e.g. "2009-11-10T23:00:00Z")'
        raise WireError(500, errors.START.code, errors.START.text.format(name, cause)) from None
