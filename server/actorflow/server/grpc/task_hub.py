"""The management half of `TaskHubSidecarService`: what every current SDK's client calls.

Handlers translate; what happens is the engine's. Codes and texts are in `status`; texts that SDKs
look for are noted where they are made.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from actorflow.actors.errors import ActorflowError, OverloadedError
from actorflow.server.config import Settings
from actorflow.server.grpc import messages as pb
from actorflow.server.grpc import values
from actorflow.server.grpc.gate import MARGIN_BYTES, Rpc, RpcCall, trace_of
from actorflow.server.grpc.history import event_message
from actorflow.server.grpc.instances import instance_answer
from actorflow.server.grpc.status import Code, RpcError, invalid, of_engine_error
from actorflow.server.grpc.values import optional_time_ns, unwrapped
from actorflow.server.http.api import EngineApi
from actorflow.server.http.pages import BadPageTokenError, PageTokens
from actorflow.server.http.waits import InterruptedWaitError, Waits
from actorflow.server.trace import Trace, checked_trace
from actorflow.workflow.errors import (
    InstanceExistsError,
    InstanceNotFoundError,
    InvalidRequestError,
    NotTerminalError,
)
from actorflow.workflow.model import Instance
from actorflow.workflow.naming import instance_actor

PAGE_MAX = 1_000
"""Instances read at a time for a list of ids."""

EFFECT_WAIT_S = 10.0
"""How long the answer to a termination is held back for its effect."""

_Errors = Callable[[Any, ActorflowError], RpcError]


class TaskHubService:
    """See the module docstring."""

    def __init__(self, engine: EngineApi, settings: Settings, waits: Waits) -> None:
        self._engine = engine
        self._settings = settings
        self._waits = waits
        self._pages = PageTokens(settings.api_tokens)
        # A list is cut before it has the size of the largest message.
        self._ids_max_bytes = max(settings.max_body_bytes // 2, MARGIN_BYTES)

    def rpcs(self) -> list[Rpc]:
        """Return the methods."""
        table: list[tuple[str, Any, Any, _Errors]] = [
            ("Hello", pb.Empty, self.hello, _plain),
            ("StartInstance", pb.CreateInstanceRequest, self.start, _plain),
            ("GetInstance", pb.GetInstanceRequest, self.get, _plain),
            ("WaitForInstanceStart", pb.GetInstanceRequest, self.wait_for_start, _plain),
            ("WaitForInstanceCompletion", pb.GetInstanceRequest, self.wait_for_completion, _plain),
            ("RaiseEvent", pb.RaiseEventRequest, self.raise_event, _plain),
            (
                "TerminateInstance",
                pb.TerminateRequest,
                self.terminate,
                _prefixed("failed to submit termination request: "),
            ),
            (
                "SuspendInstance",
                pb.SuspendRequest,
                self.suspend,
                _prefixed("failed to suspend workflow: "),
            ),
            (
                "ResumeInstance",
                pb.ResumeRequest,
                self.resume,
                _prefixed("failed to resume workflow: "),
            ),
            (
                "PurgeInstances",
                pb.PurgeInstancesRequest,
                self.purge,
                _prefixed("failed to purge workflow state: "),
            ),
            (
                "RerunWorkflowFromEvent",
                pb.RerunWorkflowFromEventRequest,
                self.rerun,
                _rerun_error,
            ),
            ("ListInstanceIDs", pb.ListInstanceIDsRequest, self.list_ids, _plain),
            ("GetInstanceHistory", pb.GetInstanceHistoryRequest, self.history, _history_error),
        ]
        return [
            Rpc(f"/{pb.TASK_HUB}/{name}", request, handle, errors)
            for name, request, handle, errors in table
        ]

    async def hello(self, _: Any, __: RpcCall) -> Any:
        """Say that somebody is here. Workers ask before they open a stream, so that a server that
        stops must say no: they would come back at once, and again."""
        self._waits.check_running()
        return pb.Empty()

    async def start(self, request: Any, call: RpcCall) -> Any:
        """Start an instance. Unless it starts later, the answer waits for its first turn."""
        app_id = self._admit(request, call)
        scheduled_start_ns = optional_time_ns(request, "scheduledStartTimestamp")
        trace = _trace(request, call)
        instance_id = await self._engine.start(
            request.name,
            instance_id=request.instanceId,
            input=unwrapped(request, "input"),
            scheduled_start_ns=scheduled_start_ns,
            unique=request.enforceUniqueInstanceId,
            version=unwrapped(request, "version") or None,
            tags=dict(request.tags),
            trace_parent=trace.parent,
            trace_state=trace.state,
            app_id=app_id,
        )
        if scheduled_start_ns is None:
            # The start is durable; the rest is a courtesy, for clients that look at once.
            await self._await_effect(self._engine.wait_for_start, instance_id, app_id)
        return pb.CreateInstanceResponse(instanceId=instance_id)

    async def get(self, request: Any, call: RpcCall) -> Any:
        """Show an instance, or that there is none."""
        app_id = self._admit(request, call)
        instance = await self._engine.get(request.instanceId, app_id=app_id)
        return instance_answer(instance, with_payloads=request.getInputsAndOutputs)

    async def wait_for_start(self, request: Any, call: RpcCall) -> Any:
        """Show an instance as soon as its first turn is committed."""
        return await self._wait(request, call, self._engine.wait_for_start)

    async def wait_for_completion(self, request: Any, call: RpcCall) -> Any:
        """Show an instance as soon as it has ended."""
        return await self._wait(request, call, self._engine.wait_for_completion)

    async def raise_event(self, request: Any, call: RpcCall) -> Any:
        """Give an instance an event."""
        app_id = self._admit(request, call)
        await self._engine.raise_event(
            request.instanceId, request.name, unwrapped(request, "input"), app_id=app_id
        )
        return pb.RaiseEventResponse()

    async def terminate(self, request: Any, call: RpcCall) -> Any:
        """End an instance; the answer waits until it has ended."""
        app_id = self._admit(request, call)
        await self._engine.terminate(
            request.instanceId,
            unwrapped(request, "output"),
            recursive=request.recursive,
            app_id=app_id,
        )
        await self._await_effect(self._engine.wait_for_completion, request.instanceId, app_id)
        return pb.TerminateResponse()

    async def suspend(self, request: Any, call: RpcCall) -> Any:
        """Hold an instance."""
        app_id = self._admit(request, call)
        await self._engine.suspend(request.instanceId, unwrapped(request, "reason"), app_id=app_id)
        return pb.SuspendResponse()

    async def resume(self, request: Any, call: RpcCall) -> Any:
        """Let an instance go on."""
        app_id = self._admit(request, call)
        await self._engine.resume(request.instanceId, unwrapped(request, "reason"), app_id=app_id)
        return pb.ResumeResponse()

    async def purge(self, request: Any, call: RpcCall) -> Any:
        """Delete one instance that has ended, or with `force` any."""
        app_id = self._admit(request, call)
        kind = request.WhichOneof("request")
        if kind == "purgeInstanceFilter":
            raise RpcError(Code.UNKNOWN, "multi-instance purge is not implemented")
        if kind is None:
            raise invalid("the request names no instance to purge")
        result = await self._engine.purge(
            request.instanceId, recursive=request.recursive, force=request.force, app_id=app_id
        )
        answer = pb.PurgeInstancesResponse(deletedInstanceCount=result.deleted_count)
        answer.isComplete.value = True
        return answer

    async def rerun(self, request: Any, call: RpcCall) -> Any:
        """Start a new instance from an event in the history of an ended one."""
        app_id = self._admit(request, call)
        instance_id = await self._engine.rerun(
            request.sourceInstanceID,
            request.eventID,
            new_instance_id=request.newInstanceID,
            input=unwrapped(request, "input"),
            overwrite_input=request.overwriteInput,
            new_child_instance_id=request.newChildWorkflowInstanceID,
            app_id=app_id,
        )
        await self._await_effect(self._engine.wait_for_start, instance_id, app_id)
        return pb.RerunWorkflowFromEventResponse(newInstanceID=instance_id)

    async def list_ids(self, request: Any, call: RpcCall) -> Any:
        """Show the ids of all instances, or a page of them."""
        app_id = self._admit(request, call)
        wanted = request.pageSize or None
        answer = pb.ListInstanceIDsResponse()
        after = self._after(request.continuationToken)
        size_bytes = 0
        while size_bytes < self._ids_max_bytes:
            count = len(answer.instanceIds)
            limit = PAGE_MAX if wanted is None else min(PAGE_MAX, wanted - count)
            page = await self._engine.list(limit=limit, after=after, app_id=app_id)
            ids = [instance.instance_id for instance in page.instances]
            answer.instanceIds.extend(ids)
            size_bytes += sum(len(instance_id.encode()) + 4 for instance_id in ids)
            if page.next_after is None:
                return answer
            after = page.next_after
            if wanted is not None and count + len(ids) >= wanted:
                break
        answer.continuationToken = self._pages.encode(after)
        return answer

    async def history(self, request: Any, call: RpcCall) -> Any:
        """Show the committed history of an instance, all of it."""
        app_id = self._admit(request, call)
        history = await self._engine.history(request.instanceId, app_id=app_id)
        own_app_id = app_id or self._settings.app_id
        return pb.GetInstanceHistoryResponse(
            events=[event_message(event, own_app_id) for event in history.events]
        )

    # ---- what they share -----------------------------------------------------------------------

    def _admit(self, request: Any, call: RpcCall) -> str:
        """Refuse calls while the server stops; return the app that is meant, "" for our own.

        The one that the request names must be there: a misspelt one would wait for ever. The one
        that the caller says it is of may have workers later.
        """
        self._waits.check_running()
        app_id = ""
        if "router" in request.DESCRIPTOR.fields_by_name and request.HasField("router"):
            app_id = request.router.targetAppID
        if not app_id:
            return call.app_id()
        if not self._engine.knows_app(app_id):
            raise RpcError(
                Code.FAILED_PRECONDITION,
                f"did not find address for actor 'dapr.internal.default.{app_id}.workflow': this "
                f"server is of the app ID '{self._settings.app_id}', and no other host or worker "
                f"is of '{app_id}'",
            )
        return app_id

    async def _wait(
        self, request: Any, call: RpcCall, wait_for: Callable[..., Coroutine[Any, Any, Instance]]
    ) -> Any:
        """Wait without end: the client's deadline ends the call, and with it this wait."""
        app_id = self._admit(request, call)
        instance_actor(request.instanceId)  # an id that none can have is refused, not awaited
        reached = wait_for(request.instanceId, timeout_s=None, may_appear=True, app_id=app_id)
        instance = await self._waits.until_stop(reached)
        return instance_answer(instance, with_payloads=request.getInputsAndOutputs)

    async def _await_effect(
        self, wait_for: Callable[..., Coroutine[Any, Any, Instance]], instance_id: str, app_id: str
    ) -> None:
        timeout_s = min(EFFECT_WAIT_S, self._settings.start_wait_s)
        effect = wait_for(instance_id, timeout_s=None, app_id=app_id)
        try:
            await self._waits.until_stop(effect, timeout_s=timeout_s)
        except (InterruptedWaitError, OverloadedError, InstanceNotFoundError):
            return  # what was asked for is committed; that its effect cannot be seen is no error

    def _after(self, token: str) -> str:
        if not token:
            return ""
        try:
            return self._pages.decode(token)
        except BadPageTokenError:
            raise invalid("the continuationToken is not one that this server gave out") from None


def _trace(request: Any, call: RpcCall) -> Trace:
    """Return the trace context of a start: some SDKs say it, some instrument their channel."""
    if request.HasField("parentTraceContext"):
        state = values.trace_state(request)
        said = checked_trace(values.trace_parent(request), [state] if state else [])
        if said.parent:
            return said
    return trace_of(call)


def _plain(_: Any, err: ActorflowError) -> RpcError:
    return of_engine_error(err)


def _prefixed(prefix: str) -> _Errors:
    """Return a wording that puts Dapr's prefix before what it says of instances."""

    def worded(_: Any, err: ActorflowError) -> RpcError:
        is_of_instance = isinstance(err, (InstanceNotFoundError, NotTerminalError))
        return of_engine_error(err, prefix if is_of_instance else "")

    return worded


def _rerun_error(request: Any, err: ActorflowError) -> RpcError:
    match err:
        case InstanceNotFoundError():
            text = f"workflow instance does not exist with ID '{request.sourceInstanceID}'"
            return RpcError(Code.NOT_FOUND, text)
        case NotTerminalError() | InvalidRequestError():
            return RpcError(Code.INVALID_ARGUMENT, str(err))
        case InstanceExistsError():
            return RpcError(Code.ALREADY_EXISTS, str(err))
    return of_engine_error(err)


def _history_error(request: Any, err: ActorflowError) -> RpcError:
    if isinstance(err, InstanceNotFoundError):
        return RpcError(Code.NOT_FOUND, f"workflow instance '{request.instanceId}' not found")
    return of_engine_error(err)
