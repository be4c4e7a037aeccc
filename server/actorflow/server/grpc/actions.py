"""PURE. What a worker answers, in the words of the engine: actions of a turn, ends of an activity.

An action that we do not know, or one that says nothing, is an error: to leave it out would let the
workflow wait for ever for something that nobody has asked for.
"""

from collections.abc import Callable
from typing import Any

from actorflow.actors.errors import UsageError
from actorflow.server.grpc import values
from actorflow.server.grpc.values import (
    optional_failure,
    optional_time_ns,
    time_ns,
    unwrapped,
)
from actorflow.workflow.actions import (
    Action,
    Complete,
    CreateChild,
    CreateDetached,
    CreateTimer,
    ScheduleTask,
    SendEvent,
)
from actorflow.workflow.events import EventRaised, Status

VERSION_NOT_AVAILABLE = "workflowVersionNotAvailable"
"""The action by which a worker says that it does not have the code of the history's version."""

_ENDS = (Status.COMPLETED, Status.CONTINUED_AS_NEW, Status.FAILED, Status.TERMINATED)


class UnknownActionError(UsageError):
    """A worker asked for something that this release does not know."""

    code = "UNKNOWN_ACTION"


def has_no_such_version(response: Any) -> bool:
    """Whether the worker says that it lacks the code of the history's version."""
    return any(_says_no_such_version(_kind(message), message) for message in response.actions)


def _kind(message: Any) -> str:
    return message.WhichOneof("workflowActionType") or ""


def _says_no_such_version(kind: str, message: Any) -> bool:
    # The Java SDK says it by an end that is none.
    return kind == VERSION_NOT_AVAILABLE or (
        kind == "completeWorkflow"
        and values.status_of(message.completeWorkflow.workflowStatus) is Status.STALLED
    )


def actions_of(response: Any) -> tuple[Action, ...]:
    """Return the actions of a turn, but for those that say that there is no such version.

    Raises:
        UnknownActionError: one of them is not known; nothing of the turn may be used.
    """
    actions = []
    for message in response.actions:
        kind = _kind(message)
        if not _says_no_such_version(kind, message):
            actions.append(_action(kind, message))
    return tuple(actions)


def custom_status_of(response: Any) -> str | None:
    """Return the custom status of a turn. It replaces the one before, also when it is None; some
    SDKs send the empty text for none."""
    return unwrapped(response, "customStatus") or None


def _action(kind: str, message: Any) -> Action:
    read = _READERS.get(kind)
    if read is None:
        raise UnknownActionError(
            f"the worker asks for the action {kind or 'none'!r} (id {message.id}), which this "
            f"server cannot do; known are {', '.join(sorted(_READERS))}"
        )
    return read(getattr(message, kind), message)


def _task(body: Any, message: Any) -> Action:
    return ScheduleTask(
        id=message.id,
        name=body.name,
        input=unwrapped(body, "input"),
        task_execution_id=body.taskExecutionId,
        version=unwrapped(body, "version"),
        app_id=values.target_app_id(message),
        propagation=values.propagation_of(body),
    )


def _child(body: Any, message: Any) -> Action:
    return CreateChild(
        id=message.id,
        name=body.name,
        instance_id=body.instanceId,
        input=unwrapped(body, "input"),
        version=unwrapped(body, "version"),
        app_id=values.target_app_id(message),
        propagation=values.propagation_of(body),
        retry_of=body.retryParentInstanceInfo.instanceID,
    )


def _detached(body: Any, message: Any) -> Action:
    return CreateDetached(
        id=message.id,
        name=body.name,
        instance_id=body.instanceId,
        input=unwrapped(body, "input"),
        scheduled_start_ns=optional_time_ns(body, "scheduledStartTimestamp"),
        version=unwrapped(body, "version"),
        app_id=values.target_app_id(message),
        tags=dict(body.tags),
        trace_parent=values.trace_parent(body),
    )


def _timer(body: Any, message: Any) -> Action:
    return CreateTimer(
        id=message.id,
        fire_at_ns=time_ns(body.fireAt),
        origin=values.timer_origin(body),
        name=body.name,
    )


def _send(body: Any, message: Any) -> Action:
    return SendEvent(
        id=message.id,
        instance_id=body.instance.instanceId,
        name=body.name,
        input=unwrapped(body, "data"),
    )


def _complete(body: Any, message: Any) -> Action:
    status = values.status_of(body.workflowStatus)
    if status not in _ENDS:
        raise UnknownActionError(
            f"the worker ends the workflow with the status {body.workflowStatus}, which is no end "
            "that this server knows"
        )
    return Complete(
        id=message.id,
        status=status,
        result=unwrapped(body, "result"),
        failure=optional_failure(body),
        # Only raised events are carried over: all else belongs to the execution that ends.
        carried_events=tuple(
            EventRaised(
                at_ns=time_ns(event.timestamp),
                name=event.eventRaised.name,
                input=unwrapped(event.eventRaised, "input"),
            )
            for event in body.carryoverEvents
            if event.WhichOneof("eventType") == "eventRaised"
        ),
    )


_READERS: dict[str, Callable[[Any, Any], Action]] = {
    "scheduleTask": _task,
    "createChildWorkflow": _child,
    "createDetachedWorkflow": _detached,
    "createTimer": _timer,
    "sendEvent": _send,
    "completeWorkflow": _complete,
}
