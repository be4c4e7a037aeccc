"""PURE. Work for remote workers as messages, and their answers in the words of the engine."""

from collections.abc import Callable
from typing import Any

from actorflow.server.grpc import messages as pb
from actorflow.server.grpc import values
from actorflow.server.grpc.actions import (
    UnknownActionError,
    actions_of,
    custom_status_of,
    has_no_such_version,
)
from actorflow.server.grpc.history import event_message, fill_event
from actorflow.server.grpc.values import optional_failure, unwrapped
from actorflow.workflow.codec import decode_event
from actorflow.workflow.events import FailureDetails, HistoryEvent, TaskCompleted, TaskFailed
from actorflow.workflow.propagation import PropagatedHistory
from actorflow.workflow.remote import VERSION_NOT_AVAILABLE
from actorflow.workflow.requests import TurnDone
from actorflow.workflow.workitem import ActivityItem, TurnItem, token_text

UNKNOWN_ACTION = "UNKNOWN_ACTION"
"""Why an instance stalls whose worker asks for something that this release cannot do."""


def turn_message(item: TurnItem, app_id: str, known: int = 0) -> Any:
    """Return a turn as a `WorkItem`.

    Args:
        app_id: of the instance.
        known: how many of the first past events the worker has in its memory; they are left out.
    """
    # Filled in place: a message that is given to another one's constructor is copied.
    work = pb.WorkItem(completionToken=token_text(item.token))
    request = work.workflowRequest
    request.instanceId = item.instance_id
    request.executionId.value = item.execution_id
    for event in item.past_events[known:]:
        fill_event(request.pastEvents.add(), event, app_id)
    for event in item.new_events:
        fill_event(request.newEvents.add(), event, app_id)
    if item.propagated is not None:
        request.propagatedHistory.CopyFrom(propagated_message(item.propagated))
    if known:
        request.cachedHistory.eventCount = known
    return work


def activity_message(item: ActivityItem) -> Any:
    """Return an activity as a `WorkItem`."""
    asked = item.request
    work = pb.WorkItem(completionToken=token_text(item.token))
    request = work.activityRequest
    request.name = asked.name
    if asked.version is not None:
        request.version.value = asked.version
    if asked.input is not None:
        request.input.value = asked.input
    instance = request.workflowInstance
    instance.instanceId = asked.instance_id
    instance.executionId.value = asked.execution_id
    request.taskId = asked.task_id
    request.taskExecutionId = asked.task_execution_id
    if asked.trace_parent:
        values.fill_trace(request.parentTraceContext, asked.trace_parent, asked.trace_state)
    if asked.propagated is not None:
        request.propagatedHistory.CopyFrom(propagated_message(asked.propagated))
    return work


def propagated_message(history: PropagatedHistory | None) -> Any:
    """Return the history that an activity or child is shown as a message, None for none."""
    if history is None:
        return None
    chunks = [
        pb.PropagatedHistoryChunk(
            rawEvents=[
                event_message(decode_event(event), chunk.app_id).SerializeToString(
                    deterministic=True
                )
                for event in chunk.events
            ],
            appId=chunk.app_id,
            instanceId=chunk.instance_id,
            workflowName=chunk.workflow_name,
        )
        for chunk in history.chunks
    ]
    return pb.PropagatedHistory(scope=values.propagation_number(history.scope), chunks=chunks)


def turn_done(response: Any) -> TurnDone:
    """Return what a worker made of a turn; what it was shown is for the engine to fill in.

    An action that we do not know stalls the instance: nothing of the turn is used.
    """
    stalled: tuple[str, str] | None = None
    try:
        actions = actions_of(response)
    except UnknownActionError as err:
        actions, stalled = (), (UNKNOWN_ACTION, str(err))
    version: str | None = None
    patches: tuple[str, ...] = ()
    if response.HasField("version"):
        version = response.version.name if response.version.HasField("name") else None
        patches = tuple(response.version.patches)
    # Only what was left out can say so.
    if len(actions) < len(response.actions) and has_no_such_version(response):
        said = f" {version!r}" if version else ""
        stalled = (
            VERSION_NOT_AVAILABLE,
            f"Version not available: the worker does not have the version{said} of the workflow "
            "that this instance began with; connect one that has",
        )
    return TurnDone("", 0, 0, 0, actions, custom_status_of(response), version, patches, stalled)


def activity_event(
    response: Any, at_ns: int, *, too_large: str = ""
) -> Callable[[str], HistoryEvent]:
    """Return what makes the end of an activity out of its task execution id.

    Args:
        too_large: why the result is not taken: then the activity has failed.
    """
    task_id: int = response.taskId
    if too_large:
        failure: FailureDetails | None = FailureDetails(
            error_type="PayloadTooLarge", message=too_large, non_retriable=True
        )
        result = None
    else:
        failure, result = optional_failure(response), unwrapped(response, "result")

    def event(task_execution_id: str) -> HistoryEvent:
        if failure is not None:
            return TaskFailed(
                at_ns=at_ns, task_id=task_id, failure=failure, task_execution_id=task_execution_id
            )
        return TaskCompleted(
            at_ns=at_ns, task_id=task_id, result=result, task_execution_id=task_execution_id
        )

    return event
