"""PURE. History events between the engine and the protocol, both ways.

What only we have (the sender's id of a raised event, the generation of an execution) has no field
there and is lost on the way; what only the protocol has (attestations) is not read.
"""

from collections.abc import Callable
from typing import Any

from actorflow.actors.errors import UsageError
from actorflow.server.grpc import messages as pb
from actorflow.server.grpc import values
from actorflow.server.grpc.values import (
    NS_PER_S,
    failure_details,
    optional_failure,
    optional_time_ns,
    time_ns,
    unwrapped,
)
from actorflow.workflow.events import (
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    DetachedCreated,
    EventRaised,
    EventSent,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStalled,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    HistoryEvent,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
    TurnStarted,
)


class UnknownEventError(UsageError):
    """A history event from outside is of a kind, or has a value, that this release does not know.

    Raised to the sender, and nothing of the message was used.
    """

    code = "UNKNOWN_EVENT"


def event_message(event: HistoryEvent, app_id: str = "") -> Any:
    """Return an event as a message. `app_id` is that of the instance whose history it is."""
    message = pb.HistoryEvent()
    fill_event(message, event, app_id)
    return message


def fill_event(message: Any, event: HistoryEvent, app_id: str) -> None:
    """Fill an empty message, as `event_message`."""
    field, write = _WRITERS[type(event)]
    message.eventId = event.event_id
    time = message.timestamp
    time.seconds, time.nanos = divmod(event.at_ns, NS_PER_S)
    target_app_id = getattr(event, "app_id", "")
    if target_app_id:
        message.router.sourceAppID, message.router.targetAppID = app_id, target_app_id
    write(getattr(message, field), event)


def history_event(message: Any) -> HistoryEvent:
    """Return an event from outside. Raises UnknownEventError."""
    kind: str = message.WhichOneof("eventType") or ""
    read = _READERS.get(kind)
    if read is None:
        raise UnknownEventError(
            f"history event of kind {kind or 'none'}: known are {', '.join(sorted(_READERS))}"
        )
    common = {"event_id": message.eventId, "at_ns": time_ns(message.timestamp)}
    if message.HasField("router") and kind in _ROUTED:
        common["app_id"] = values.target_app_id(message)
    return read(getattr(message, kind), common)


# ---- to the protocol -----------------------------------------------------------------------------

# Filled in place: a message that is given to another one's constructor is copied, field by field.


def _write_turn(body: Any, event: TurnStarted) -> None:
    body.SetInParent()  # also one that says nothing
    if event.version is not None:
        body.version.name = event.version
    if event.patches:
        body.version.patches.extend(event.patches)


def _write_start(body: Any, event: ExecutionStarted) -> None:
    body.name = event.name
    if event.version is not None:
        body.version.value = event.version
    if event.input is not None:
        body.input.value = event.input
    body.workflowInstance.instanceId = event.instance_id
    body.workflowInstance.executionId.value = event.execution_id
    if event.parent is not None:
        values.fill_parent(body.parentInstance, event.parent)
    if event.scheduled_start_ns is not None:
        values.fill_time(body.scheduledStartTimestamp, event.scheduled_start_ns)
    if event.trace_parent:
        values.fill_trace(body.parentTraceContext, event.trace_parent, event.trace_state)
    if event.tags:
        body.tags.update(event.tags)


def _write_completed(body: Any, event: ExecutionCompleted) -> None:
    body.workflowStatus = values.status_number(event.status)
    if event.result is not None:
        body.result.value = event.result
    if event.failure is not None:
        values.fill_failure(body.failureDetails, event.failure)


def _write_terminated(body: Any, event: ExecutionTerminated) -> None:
    body.recurse = event.recursive
    if event.output is not None:
        body.input.value = event.output


def _write_reason(body: Any, event: ExecutionSuspended | ExecutionResumed) -> None:
    body.SetInParent()
    if event.reason is not None:
        body.input.value = event.reason


def _write_stalled(body: Any, event: ExecutionStalled) -> None:
    body.reason = values.stall_number(event.reason)
    if event.description:
        body.description = event.description


def _write_request(body: Any, event: TaskScheduled | ChildCreated) -> None:
    """Fill what every request to run code has."""
    body.name = event.name
    if event.version is not None:
        body.version.value = event.version
    if event.input is not None:
        body.input.value = event.input
    if event.trace_parent:
        values.fill_trace(body.parentTraceContext, event.trace_parent)
    if event.propagation:
        values.fill_propagation(body, event.propagation)
    if event.rerun_of:
        body.rerunParentInstanceInfo.instanceID = event.rerun_of


def _write_task(body: Any, event: TaskScheduled) -> None:
    _write_request(body, event)
    body.taskExecutionId = event.task_execution_id


def _write_task_completed(body: Any, event: TaskCompleted) -> None:
    body.taskScheduledId = event.task_id
    if event.result is not None:
        body.result.value = event.result
    body.taskExecutionId = event.task_execution_id


def _write_task_failed(body: Any, event: TaskFailed) -> None:
    body.taskScheduledId = event.task_id
    values.fill_failure(body.failureDetails, event.failure)
    body.taskExecutionId = event.task_execution_id


def _write_child(body: Any, event: ChildCreated) -> None:
    _write_request(body, event)
    body.instanceId = event.instance_id
    if event.retry_of:
        body.retryParentInstanceInfo.instanceID = event.retry_of


def _write_child_completed(body: Any, event: ChildCompleted) -> None:
    body.taskScheduledId = event.task_id
    if event.result is not None:
        body.result.value = event.result


def _write_child_failed(body: Any, event: ChildFailed) -> None:
    body.taskScheduledId = event.task_id
    values.fill_failure(body.failureDetails, event.failure)


def _write_detached(body: Any, event: DetachedCreated) -> None:
    body.instanceId = event.instance_id


def _write_timer(body: Any, event: TimerCreated) -> None:
    values.fill_time(body.fireAt, event.fire_at_ns)
    if event.name:
        body.name = event.name
    values.fill_origin(body, event.origin)
    if event.rerun_of:
        body.rerunParentInstanceInfo.instanceID = event.rerun_of


def _write_fired(body: Any, event: TimerFired) -> None:
    values.fill_time(body.fireAt, event.fire_at_ns)
    body.timerId = event.timer_id


def _write_raised(body: Any, event: EventRaised) -> None:
    body.name = event.name
    if event.input is not None:
        body.input.value = event.input


def _write_sent(body: Any, event: EventSent) -> None:
    body.instanceId = event.instance_id
    body.name = event.name
    if event.input is not None:
        body.input.value = event.input


_WRITERS: dict[type, tuple[str, Callable[[Any, Any], None]]] = {
    TurnStarted: ("workflowStarted", _write_turn),
    ExecutionStarted: ("executionStarted", _write_start),
    ExecutionCompleted: ("executionCompleted", _write_completed),
    ExecutionTerminated: ("executionTerminated", _write_terminated),
    ExecutionSuspended: ("executionSuspended", _write_reason),
    ExecutionResumed: ("executionResumed", _write_reason),
    ExecutionStalled: ("executionStalled", _write_stalled),
    TaskScheduled: ("taskScheduled", _write_task),
    TaskCompleted: ("taskCompleted", _write_task_completed),
    TaskFailed: ("taskFailed", _write_task_failed),
    ChildCreated: ("childWorkflowInstanceCreated", _write_child),
    ChildCompleted: ("childWorkflowInstanceCompleted", _write_child_completed),
    ChildFailed: ("childWorkflowInstanceFailed", _write_child_failed),
    DetachedCreated: ("detachedWorkflowInstanceCreated", _write_detached),
    TimerCreated: ("timerCreated", _write_timer),
    TimerFired: ("timerFired", _write_fired),
    EventRaised: ("eventRaised", _write_raised),
    EventSent: ("eventSent", _write_sent),
}
"""The field of each kind of event, and what fills it."""

_ROUTED = frozenset(
    {"taskScheduled", "childWorkflowInstanceCreated", "detachedWorkflowInstanceCreated"}
)
"""Kinds whose router says where something goes; with the others it says where they came from."""

# ---- from the protocol ---------------------------------------------------------------------------

_Common = dict[str, Any]
"""`event_id` and `at_ns`, which every event has."""


def _turn(body: Any, common: _Common) -> HistoryEvent:
    version = body.version
    return TurnStarted(
        version=version.name if version.HasField("name") else None,
        patches=tuple(version.patches),
        **common,
    )


def _start(body: Any, common: _Common) -> HistoryEvent:
    return ExecutionStarted(
        name=body.name,
        instance_id=body.workflowInstance.instanceId,
        execution_id=body.workflowInstance.executionId.value,
        input=unwrapped(body, "input"),
        parent=values.parent_ref(body.parentInstance) if body.HasField("parentInstance") else None,
        scheduled_start_ns=optional_time_ns(body, "scheduledStartTimestamp"),
        version=unwrapped(body, "version"),
        tags=dict(body.tags),
        trace_parent=values.trace_parent(body),
        trace_state=values.trace_state(body),
        **common,
    )


def _completed(body: Any, common: _Common) -> HistoryEvent:
    status = values.status_of(body.workflowStatus)
    if status is None:
        raise UnknownEventError(f"completion with the status {body.workflowStatus}")
    return ExecutionCompleted(
        status=status,
        result=unwrapped(body, "result"),
        failure=optional_failure(body),
        **common,
    )


def _terminated(body: Any, common: _Common) -> HistoryEvent:
    return ExecutionTerminated(output=unwrapped(body, "input"), recursive=body.recurse, **common)


def _suspended(body: Any, common: _Common) -> HistoryEvent:
    return ExecutionSuspended(reason=unwrapped(body, "input"), **common)


def _resumed(body: Any, common: _Common) -> HistoryEvent:
    return ExecutionResumed(reason=unwrapped(body, "input"), **common)


def _stalled(body: Any, common: _Common) -> HistoryEvent:
    return ExecutionStalled(
        reason=values.stall_reason(body.reason), description=body.description, **common
    )


def _task(body: Any, common: _Common) -> HistoryEvent:
    return TaskScheduled(
        name=body.name,
        input=unwrapped(body, "input"),
        task_execution_id=body.taskExecutionId,
        version=unwrapped(body, "version"),
        propagation=values.propagation_of(body),
        trace_parent=values.trace_parent(body),
        rerun_of=body.rerunParentInstanceInfo.instanceID,
        **common,
    )


def _task_completed(body: Any, common: _Common) -> HistoryEvent:
    return TaskCompleted(
        task_id=body.taskScheduledId,
        result=unwrapped(body, "result"),
        task_execution_id=body.taskExecutionId,
        **common,
    )


def _task_failed(body: Any, common: _Common) -> HistoryEvent:
    return TaskFailed(
        task_id=body.taskScheduledId,
        failure=failure_details(body.failureDetails),
        task_execution_id=body.taskExecutionId,
        **common,
    )


def _child(body: Any, common: _Common) -> HistoryEvent:
    return ChildCreated(
        instance_id=body.instanceId,
        name=body.name,
        input=unwrapped(body, "input"),
        version=unwrapped(body, "version"),
        propagation=values.propagation_of(body),
        trace_parent=values.trace_parent(body),
        rerun_of=body.rerunParentInstanceInfo.instanceID,
        retry_of=body.retryParentInstanceInfo.instanceID,
        **common,
    )


def _child_completed(body: Any, common: _Common) -> HistoryEvent:
    return ChildCompleted(task_id=body.taskScheduledId, result=unwrapped(body, "result"), **common)


def _child_failed(body: Any, common: _Common) -> HistoryEvent:
    return ChildFailed(
        task_id=body.taskScheduledId, failure=failure_details(body.failureDetails), **common
    )


def _detached(body: Any, common: _Common) -> HistoryEvent:
    return DetachedCreated(instance_id=body.instanceId, **common)


def _timer(body: Any, common: _Common) -> HistoryEvent:
    return TimerCreated(
        fire_at_ns=time_ns(body.fireAt),
        name=body.name,
        origin=values.timer_origin(body),
        rerun_of=body.rerunParentInstanceInfo.instanceID,
        **common,
    )


def _fired(body: Any, common: _Common) -> HistoryEvent:
    return TimerFired(timer_id=body.timerId, fire_at_ns=time_ns(body.fireAt), **common)


def _raised(body: Any, common: _Common) -> HistoryEvent:
    return EventRaised(name=body.name, input=unwrapped(body, "input"), **common)


def _sent(body: Any, common: _Common) -> HistoryEvent:
    return EventSent(
        instance_id=body.instanceId, name=body.name, input=unwrapped(body, "input"), **common
    )


_READERS: dict[str, Callable[[Any, _Common], HistoryEvent]] = {
    "workflowStarted": _turn,
    "executionStarted": _start,
    "executionCompleted": _completed,
    "executionTerminated": _terminated,
    "executionSuspended": _suspended,
    "executionResumed": _resumed,
    "executionStalled": _stalled,
    "taskScheduled": _task,
    "taskCompleted": _task_completed,
    "taskFailed": _task_failed,
    "childWorkflowInstanceCreated": _child,
    "childWorkflowInstanceCompleted": _child_completed,
    "childWorkflowInstanceFailed": _child_failed,
    "detachedWorkflowInstanceCreated": _detached,
    "timerCreated": _timer,
    "timerFired": _fired,
    "eventRaised": _raised,
    "eventSent": _sent,
}
