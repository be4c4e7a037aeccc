"""PURE. Instances as the task hub shows them."""

from typing import Any

from actorflow.server.grpc import messages as pb
from actorflow.server.grpc.values import fill_failure, fill_time, status_number
from actorflow.workflow.model import Instance


def instance_answer(instance: Instance | None, *, with_payloads: bool) -> Any:
    """Return the answer that shows an instance, or that there is none.

    Args:
        with_payloads: also input, output, custom status and failure.
    """
    if instance is None:
        return pb.GetInstanceResponse(exists=False)
    answer = pb.GetInstanceResponse(exists=True)
    state = answer.workflowState  # filled in place: a message given to a constructor is copied
    state.instanceId = instance.instance_id
    state.name = instance.name
    state.workflowStatus = status_number(instance.status)
    fill_time(state.createdTimestamp, instance.created_at_ns)
    fill_time(state.lastUpdatedTimestamp, instance.updated_at_ns)
    if instance.scheduled_start_ns is not None:
        fill_time(state.scheduledStartTimestamp, instance.scheduled_start_ns)
    if instance.started_at_ns is not None:
        fill_time(state.startedAt, instance.started_at_ns)
    if instance.completed_at_ns is not None:
        fill_time(state.completedTimestamp, instance.completed_at_ns)
    if instance.tags:
        state.tags.update(instance.tags)
    texts = [
        ("executionId", instance.execution_id),
        ("version", instance.version),
        ("parentInstanceId", instance.parent_instance_id),
        ("parentAppId", instance.parent_app_id or None),
    ]
    if with_payloads:
        texts += [
            ("input", instance.input),
            ("output", instance.output),
            ("customStatus", instance.custom_status),
        ]
        if instance.failure is not None:
            fill_failure(state.failureDetails, instance.failure)
    for field, text in texts:
        if text is not None:
            getattr(state, field).value = text
    return answer
