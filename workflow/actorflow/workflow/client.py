"""Typed client for Python programs: values in and out instead of raw texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorflow.actors.values import from_payload, to_payload
from actorflow.workflow.duration import instant_ns
from actorflow.workflow.errors import WorkflowFailedError
from actorflow.workflow.events import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from actorflow.workflow.engine import WorkflowEngine
    from actorflow.workflow.model import Instance

WAIT_S = 60.0
"""How long `run` and `result` wait unless told otherwise, in seconds."""


class WorkflowClient:
    """Starts workflows and talks to them. Errors are those of `WorkflowEngine`.

    Where a workflow is asked for, pass its function or its name.
    """

    def __init__(self, engine: WorkflowEngine) -> None:
        self._engine = engine

    async def start(
        self,
        workflow: Callable[..., object] | str,
        input: object = None,
        *,
        instance_id: str = "",
        start_at: datetime | None = None,
        idempotency_key: str = "",
    ) -> str:
        """Start an instance and return its id once the start is durable.

        Args:
            start_at: not before this moment (UTC when it has no zone).
        """
        name = workflow if isinstance(workflow, str) else self._engine.name_of(workflow)
        return await self._engine.start(
            name,
            instance_id=instance_id,
            input=to_payload(input, what=f"input of workflow {name!r}"),
            scheduled_start_ns=None if start_at is None else instant_ns(start_at),
            idempotency_key=idempotency_key,
        )

    async def result(
        self, instance_id: str, *, returns: Any = None, timeout_s: float | None = WAIT_S
    ) -> Any:
        """Wait for the end and return the output, converted to type `returns` if given.

        Raises:
            WorkflowFailedError: it failed or was terminated.
            TimeoutError: not ended in time; it goes on.
        """
        instance = await self._engine.wait_for_completion(instance_id, timeout_s=timeout_s)
        if instance.status is not Status.COMPLETED:
            failure = instance.failure
            kind = failure.error_type if failure is not None else instance.status.value
            text = failure.message if failure is not None else "the instance was terminated"
            raise WorkflowFailedError(instance_id, kind, text)
        return from_payload(instance.output, returns, what=f"output of {instance_id}")

    async def run(
        self,
        workflow: Callable[..., object] | str,
        input: object = None,
        *,
        returns: Any = None,
        timeout_s: float | None = WAIT_S,
    ) -> Any:
        """Start an instance and return its result. Raises as `start` and `result`."""
        instance_id = await self.start(workflow, input)
        return await self.result(instance_id, returns=returns, timeout_s=timeout_s)

    async def raise_event(
        self, instance_id: str, name: str, data: object = None, *, event_id: str = ""
    ) -> None:
        """Raise an external event with a JSON value."""
        payload = to_payload(data, what=f"data of event {name!r}")
        await self._engine.raise_event(instance_id, name, payload, event_id=event_id)

    async def get(self, instance_id: str) -> Instance | None:
        """Return the instance as last committed, None when there is none."""
        return await self._engine.get(instance_id)

    async def suspend(self, instance_id: str, reason: str | None = None) -> None:
        """Pause an instance; what arrives is kept."""
        await self._engine.suspend(instance_id, reason)

    async def resume(self, instance_id: str, reason: str | None = None) -> None:
        """Let a paused instance go on."""
        await self._engine.resume(instance_id, reason)

    async def terminate(
        self, instance_id: str, output: object = None, *, recursive: bool = True
    ) -> None:
        """End an instance as TERMINATED, with its children if `recursive`."""
        payload = to_payload(output, what="output")
        await self._engine.terminate(instance_id, payload, recursive=recursive)

    async def purge(self, instance_id: str, *, recursive: bool = True) -> int:
        """Delete an ended instance; returns how many were deleted, descendants included."""
        return (await self._engine.purge(instance_id, recursive=recursive)).deleted_count
