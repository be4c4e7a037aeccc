"""PURE. Instances as the task hub shows them."""

from typing import Any

from actorflow.server.grpc import messages as pb
from actorflow.server.grpc.values import (
    failure_message,
    optional_timestamp,
    status_number,
    timestamp,
    wrapped,
)
from actorflow.workflow.model import Instance


def instance_answer(instance: Instance | None, *, with_payloads: bool) -> Any:
    """Return the answer that shows an instance, or that there is none.

    Args:
        with_payloads: also input, output, custom status and failure.
    """
    if instance is None:
        return pb.GetInstanceResponse(exists=False)
    state = pb.WorkflowState(
        instanceId=instance.instance_id,
        name=instance.name,
        workflowStatus=status_number(instance.status),
        scheduledStartTimestamp=optional_timestamp(instance.scheduled_start_ns),
        createdTimestamp=timestamp(instance.created_at_ns),
        lastUpdatedTimestamp=timestamp(instance.updated_at_ns),
        executionId=wrapped(instance.execution_id),
        completedTimestamp=optional_timestamp(instance.completed_at_ns),
        parentInstanceId=wrapped(instance.parent_instance_id),
        version=wrapped(instance.version),
        tags=instance.tags,
        parentAppId=wrapped(instance.parent_app_id or None),
        startedAt=optional_timestamp(instance.started_at_ns),
    )
    if with_payloads:
        for field, text in (
            ("input", instance.input),
            ("output", instance.output),
            ("customStatus", instance.custom_status),
        ):
            if text is not None:
                getattr(state, field).value = text
        if instance.failure is not None:
            state.failureDetails.CopyFrom(failure_message(instance.failure))
    return pb.GetInstanceResponse(exists=True, workflowState=state)
