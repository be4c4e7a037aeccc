"""PURE. Rerun: which part of a history a new instance begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from actorflow.workflow.codec import encode_event
from actorflow.workflow.errors import (
    HistoryEventNotFoundError,
    InvalidRequestError,
    NotTerminalError,
)
from actorflow.workflow.events import (
    ChildCreated,
    ExecutionStarted,
    HistoryEvent,
    TaskScheduled,
    TimerCreated,
)
from actorflow.workflow.requests import SeedRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.workflow.model import Instance


def seed_request(  # noqa: PLR0913 -- all of one request
    source: Instance,
    history: Sequence[HistoryEvent],
    event_id: int,
    *,
    new_instance_id: str,
    execution_id: str,
    input: str | None,
    overwrite_input: bool,
) -> SeedRequest:
    """Return what the new instance begins with.

    The history up to the fact that made the code ask for the event is copied; that fact is then
    given to the code once more, so that it asks again, for this and for what it asked for in the
    same step. What was open before is driven again. Errors are Dapr's, with its texts.

    Raises:
        NotTerminalError, HistoryEventNotFoundError, InvalidRequestError: see their texts.
    """
    if not source.status.is_terminal:
        raise NotTerminalError(
            source.instance_id, f"'{source.instance_id}' is not in a terminal state"
        )
    if source.parent_instance_id is not None:
        raise InvalidRequestError(f"'{source.instance_id}': cannot rerun from child-workflows")
    if new_instance_id == source.instance_id:
        raise InvalidRequestError(
            f"rerun workflow instance ID must be different from the original '{new_instance_id}'"
        )
    index = _index_of(source.instance_id, history, event_id)
    if overwrite_input and isinstance(history[index], TimerCreated):
        raise InvalidRequestError(f"event {event_id} is a timer, which has no input to overwrite")
    fact_index = _causing_fact(history, index)
    copied = [_renamed(event, new_instance_id, execution_id) for event in history[:fact_index]]
    fact = _renamed(history[fact_index], new_instance_id, execution_id)
    return SeedRequest(
        tuple(map(encode_event, copied)),
        (encode_event(fact),),
        event_id,
        overwrite_input,
        input,
    )


def _index_of(instance_id: str, history: Sequence[HistoryEvent], event_id: int) -> int:
    for index, event in enumerate(history):
        if event.event_id != event_id or event_id < 0:
            continue
        if isinstance(event, TaskScheduled | TimerCreated | ChildCreated):
            return index
    raise HistoryEventNotFoundError(
        f"'{instance_id}' does not have history event with ID '{event_id}' that can be run again: "
        "an activity, a timer or a child workflow"
    )


def _causing_fact(history: Sequence[HistoryEvent], index: int) -> int:
    """Events with an id record actions and follow directly on the fact that caused them."""
    while history[index].event_id >= 0:
        index -= 1
    return index


def _renamed(event: HistoryEvent, instance_id: str, execution_id: str) -> HistoryEvent:
    if isinstance(event, ExecutionStarted):
        return replace(
            event,
            instance_id=instance_id,
            execution_id=execution_id,
            generation=1,
            scheduled_start_ns=None,
        )
    return event
