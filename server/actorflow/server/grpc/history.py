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
    failure_message,
    optional_failure,
    optional_time_ns,
    optional_timestamp,
    time_ns,
    timestamp,
    unwrapped,
    wrapped,
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
        message.router.CopyFrom(values.router(target_app_id, app_id))
    body = getattr(message, field)
    body.SetInParent()  # also one that says nothing
    body.MergeFrom(write(event))


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


def _turn_message(event: TurnStarted) -> Any:
    if event.version is None and not event.patches:
        return pb.WorkflowStartedEvent()
    version = pb.WorkflowVersion(patches=event.patches, name=event.version)
    return pb.WorkflowStartedEvent(version=version)


def _start_message(event: ExecutionStarted) -> Any:
    return pb.ExecutionStartedEvent(
        name=event.name,
        version=wrapped(event.version),
        input=wrapped(event.input),
        workflowInstance=pb.WorkflowInstance(
            instanceId=event.instance_id, executionId=wrapped(event.execution_id)
        ),
        parentInstance=values.parent_message(event.parent),
        scheduledStartTimestamp=optional_timestamp(event.scheduled_start_ns),
        parentTraceContext=values.trace_context(event.trace_parent, event.trace_state),
        tags=event.tags,
    )


def _completed_message(event: ExecutionCompleted) -> Any:
    return pb.ExecutionCompletedEvent(
        workflowStatus=values.status_number(event.status),
        result=wrapped(event.result),
        failureDetails=failure_message(event.failure),
    )


def _terminated_message(event: ExecutionTerminated) -> Any:
    return pb.ExecutionTerminatedEvent(input=wrapped(event.output), recurse=event.recursive)


def _stalled_message(event: ExecutionStalled) -> Any:
    return pb.ExecutionStalledEvent(
        reason=values.stall_number(event.reason), description=event.description or None
    )


def _task_message(event: TaskScheduled) -> Any:
    return pb.TaskScheduledEvent(
        name=event.name,
        version=wrapped(event.version),
        input=wrapped(event.input),
        parentTraceContext=values.trace_context(event.trace_parent),
        taskExecutionId=event.task_execution_id,
        historyPropagationScope=values.propagation_number(event.propagation),
        **values.rerun_fields(event.rerun_of),
    )


def _task_completed_message(event: TaskCompleted) -> Any:
    return pb.TaskCompletedEvent(
        taskScheduledId=event.task_id,
        result=wrapped(event.result),
        taskExecutionId=event.task_execution_id,
    )


def _task_failed_message(event: TaskFailed) -> Any:
    return pb.TaskFailedEvent(
        taskScheduledId=event.task_id,
        failureDetails=failure_message(event.failure),
        taskExecutionId=event.task_execution_id,
    )


def _child_message(event: ChildCreated) -> Any:
    return pb.ChildWorkflowInstanceCreatedEvent(
        instanceId=event.instance_id,
        name=event.name,
        version=wrapped(event.version),
        input=wrapped(event.input),
        parentTraceContext=values.trace_context(event.trace_parent),
        historyPropagationScope=values.propagation_number(event.propagation),
        retryParentInstanceInfo=values.retry_info(event.retry_of),
        **values.rerun_fields(event.rerun_of),
    )


def _child_completed_message(event: ChildCompleted) -> Any:
    return pb.ChildWorkflowInstanceCompletedEvent(
        taskScheduledId=event.task_id, result=wrapped(event.result)
    )


def _child_failed_message(event: ChildFailed) -> Any:
    return pb.ChildWorkflowInstanceFailedEvent(
        taskScheduledId=event.task_id, failureDetails=failure_message(event.failure)
    )


def _timer_message(event: TimerCreated) -> Any:
    return pb.TimerCreatedEvent(
        fireAt=timestamp(event.fire_at_ns),
        name=event.name or None,
        **values.origin_fields(event.origin),
        **values.rerun_fields(event.rerun_of),
    )


def _sent_message(event: EventSent) -> Any:
    return pb.EventSentEvent(
        instanceId=event.instance_id, name=event.name, input=wrapped(event.input)
    )


_WRITERS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    TurnStarted: ("workflowStarted", _turn_message),
    ExecutionStarted: ("executionStarted", _start_message),
    ExecutionCompleted: ("executionCompleted", _completed_message),
    ExecutionTerminated: ("executionTerminated", _terminated_message),
    ExecutionSuspended: (
        "executionSuspended",
        lambda event: pb.ExecutionSuspendedEvent(input=wrapped(event.reason)),
    ),
    ExecutionResumed: (
        "executionResumed",
        lambda event: pb.ExecutionResumedEvent(input=wrapped(event.reason)),
    ),
    ExecutionStalled: ("executionStalled", _stalled_message),
    TaskScheduled: ("taskScheduled", _task_message),
    TaskCompleted: ("taskCompleted", _task_completed_message),
    TaskFailed: ("taskFailed", _task_failed_message),
    ChildCreated: ("childWorkflowInstanceCreated", _child_message),
    ChildCompleted: ("childWorkflowInstanceCompleted", _child_completed_message),
    ChildFailed: ("childWorkflowInstanceFailed", _child_failed_message),
    DetachedCreated: (
        "detachedWorkflowInstanceCreated",
        lambda event: pb.DetachedWorkflowInstanceCreatedEvent(instanceId=event.instance_id),
    ),
    TimerCreated: ("timerCreated", _timer_message),
    TimerFired: (
        "timerFired",
        lambda event: pb.TimerFiredEvent(
            fireAt=timestamp(event.fire_at_ns), timerId=event.timer_id
        ),
    ),
    EventRaised: (
        "eventRaised",
        lambda event: pb.EventRaisedEvent(name=event.name, input=wrapped(event.input)),
    ),
    EventSent: ("eventSent", _sent_message),
}

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
