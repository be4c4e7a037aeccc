"""What one client does again and again, by name, so that other processes can be told to do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow.workflow.engine import WorkflowEngine

Op: TypeAlias = "Callable[[WorkflowEngine], Awaitable[object]]"
"""One operation of one client."""

WAIT_S = 60.0
"""Longest that any single operation may take."""


async def run(engine: WorkflowEngine, name: str, text: str, *, instance_id: str = "") -> None:
    """Start a workflow and wait for its end."""
    instance_id = await engine.start(name, instance_id=instance_id, input=text)
    await engine.wait_for_completion(instance_id, timeout_s=WAIT_S)


async def approve(engine: WorkflowEngine) -> None:
    """Start a workflow, raise the event it waits for, wait for the end."""
    instance_id = await engine.start("approval")
    await engine.wait_for_start(instance_id, timeout_s=WAIT_S)
    await engine.raise_event(instance_id, "approve", '"yes"')
    await engine.wait_for_completion(instance_id, timeout_s=WAIT_S)


def op_named(name: str) -> Op:
    """Return an operation: `approve`, or `WORKFLOW:INPUT` for one that is run to its end, with
    `given/` before it under an id of the client's own."""
    if name == "approve":
        return approve
    _, given, rest = name.rpartition("/")
    workflow, _, text = rest.partition(":")
    if given:
        return lambda engine: run(engine, workflow, text, instance_id=str(uuid4()))
    return lambda engine: run(engine, workflow, text)
