"""The management half of `TaskHubSidecarService`: what every current SDK's client calls.

Handlers translate; what happens is the engine's. Codes and texts are in `status`; texts that SDKs
look for are noted where they are made.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from actorflow.actors.errors import ActorflowError, OverloadedError
from actorflow.server.config import Settings
from actorflow.server.grpc import messages as pb
from actorflow.server.grpc.gate import MARGIN_BYTES, Rpc, RpcCall
from actorflow.server.grpc.history import event_message
from actorflow.server.grpc.instances import instance_answer
from actorflow.server.grpc.status import Code, RpcError, invalid, of_engine_error
from actorflow.server.grpc.values import optional_time_ns, trace_parent, unwrapped
from actorflow.server.http.api import EngineApi
from actorflow.server.http.pages import BadPageTokenError, PageTokens
from actorflow.server.http.waits import InterruptedWaitError, Waits
from actorflow.server.http.workflows import checked_trace_parent
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

APPEARS_FIRST_S = 0.05
"""A wait for an instance that does not exist looks for it after this pause; it doubles."""

APPEARS_MAX_S = 1.0

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
        """Say that somebody is here."""
        return pb.Empty()

    async def start(self, request: Any, _: RpcCall) -> Any:
        """Start an instance. Unless it starts later, the answer waits for its first turn."""
        self._admit(request)
        scheduled_start_ns = optional_time_ns(request, "scheduledStartTimestamp")
        instance_id = await self._engine.start(
            request.name,
            instance_id=request.instanceId,
            input=unwrapped(request, "input"),
            scheduled_start_ns=scheduled_start_ns,
            unique=request.enforceUniqueInstanceId,
            trace_parent=checked_trace_parent(trace_parent(request)),
        )
        if scheduled_start_ns is None:
            # The start is durable; the rest is a courtesy, for clients that look at once.
            await self._await_effect(self._engine.wait_for_start, instance_id)
        return pb.CreateInstanceResponse(instanceId=instance_id)

    async def get(self, request: Any, _: RpcCall) -> Any:
        """Show an instance, or that there is none."""
        self._admit(request)
        instance = await self._engine.get(request.instanceId)
        return instance_answer(instance, with_payloads=request.getInputsAndOutputs)

    async def wait_for_start(self, request: Any, _: RpcCall) -> Any:
        """Show an instance as soon as its first turn is committed."""
        return await self._wait(request, self._engine.wait_for_start)

    async def wait_for_completion(self, request: Any, _: RpcCall) -> Any:
        """Show an instance as soon as it has ended."""
        return await self._wait(request, self._engine.wait_for_completion)

    async def raise_event(self, request: Any, _: RpcCall) -> Any:
        """Give an instance an event."""
        self._admit(request)
        await self._engine.raise_event(
            request.instanceId, request.name, unwrapped(request, "input")
        )
        return pb.RaiseEventResponse()

    async def terminate(self, request: Any, _: RpcCall) -> Any:
        """End an instance; the answer waits until it has ended."""
        self._admit(request)
        await self._engine.terminate(
            request.instanceId, unwrapped(request, "output"), recursive=request.recursive
        )
        await self._await_effect(self._engine.wait_for_completion, request.instanceId)
        return pb.TerminateResponse()

    async def suspend(self, request: Any, _: RpcCall) -> Any:
        """Hold an instance."""
        self._admit(request)
        await self._engine.suspend(request.instanceId, unwrapped(request, "reason"))
        return pb.SuspendResponse()

    async def resume(self, request: Any, _: RpcCall) -> Any:
        """Let an instance go on."""
        self._admit(request)
        await self._engine.resume(request.instanceId, unwrapped(request, "reason"))
        return pb.ResumeResponse()

    async def purge(self, request: Any, _: RpcCall) -> Any:
        """Delete one instance that has ended, or with `force` any."""
        self._admit(request)
        kind = request.WhichOneof("request")
        if kind == "purgeInstanceFilter":
            raise RpcError(Code.UNKNOWN, "multi-instance purge is not implemented")
        if kind is None:
            raise invalid("the request names no instance to purge")
        result = await self._engine.purge(
            request.instanceId, recursive=request.recursive, force=request.force
        )
        answer = pb.PurgeInstancesResponse(deletedInstanceCount=result.deleted_count)
        answer.isComplete.value = True
        return answer

    async def rerun(self, request: Any, _: RpcCall) -> Any:
        """Start a new instance from an event in the history of an ended one."""
        self._admit(request)
        if request.HasField("newChildWorkflowInstanceID"):
            raise invalid(
                "newChildWorkflowInstanceID is not supported: the child keeps its instance ID"
            )
        instance_id = await self._engine.rerun(
            request.sourceInstanceID,
            request.eventID,
            new_instance_id=request.newInstanceID,
            input=unwrapped(request, "input"),
            overwrite_input=request.overwriteInput,
        )
        await self._await_effect(self._engine.wait_for_start, instance_id)
        return pb.RerunWorkflowFromEventResponse(newInstanceID=instance_id)

    async def list_ids(self, request: Any, _: RpcCall) -> Any:
        """Show the ids of all instances, or a page of them."""
        self._admit(request)
        wanted = request.pageSize or None
        answer = pb.ListInstanceIDsResponse()
        after = self._after(request.continuationToken)
        size_bytes = 0
        while size_bytes < self._ids_max_bytes:
            count = len(answer.instanceIds)
            limit = PAGE_MAX if wanted is None else min(PAGE_MAX, wanted - count)
            page = await self._engine.list(limit=limit, after=after)
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

    async def history(self, request: Any, _: RpcCall) -> Any:
        """Show the committed history of an instance, all of it."""
        self._admit(request)
        history = await self._engine.history(request.instanceId)
        app_id = self._settings.app_id
        return pb.GetInstanceHistoryResponse(
            events=[event_message(event, app_id) for event in history.events]
        )

    # ---- what they share -----------------------------------------------------------------------

    def _admit(self, request: Any) -> None:
        """Refuse calls while the server stops, and those for an app that is not here."""
        self._waits.check_running()
        if "router" not in request.DESCRIPTOR.fields_by_name or not request.HasField("router"):
            return
        app_id = request.router.targetAppID
        if app_id not in ("", self._settings.app_id):
            raise RpcError(
                Code.FAILED_PRECONDITION,
                f"did not find address for actor 'dapr.internal.default.{app_id}.workflow': this "
                f"server runs only the app ID '{self._settings.app_id}'",
            )

    async def _wait(self, request: Any, wait_for: Callable[..., Awaitable[Instance]]) -> Any:
        """Wait without end: the client's deadline ends the call, and with it this wait."""
        self._admit(request)
        instance = await self._waits.until_stop(_appears(request.instanceId, wait_for))
        return instance_answer(instance, with_payloads=request.getInputsAndOutputs)

    async def _await_effect(
        self, wait_for: Callable[..., Awaitable[Instance]], instance_id: str
    ) -> None:
        async def effect() -> None:
            await wait_for(instance_id, timeout_s=min(EFFECT_WAIT_S, self._settings.start_wait_s))

        # What was asked for is committed; that its effect cannot be seen is no error.
        ignored = (TimeoutError, InterruptedWaitError, OverloadedError, InstanceNotFoundError)
        with contextlib.suppress(*ignored):
            await self._waits.until_stop(effect())

    def _after(self, token: str) -> str:
        if not token:
            return ""
        try:
            return self._pages.decode(token)
        except BadPageTokenError:
            raise invalid("the continuationToken is not one that this server gave out") from None


async def _appears(instance_id: str, wait_for: Callable[..., Awaitable[Instance]]) -> Instance:
    """Wait for an instance, also until it is started."""
    instance_actor(instance_id)  # an id that none can have is refused, not awaited
    pause_s = APPEARS_FIRST_S
    while True:
        try:
            return await wait_for(instance_id, timeout_s=None)
        except InstanceNotFoundError:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, APPEARS_MAX_S)


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
