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
    ExecutionStalled,
    ExecutionStarted,
    HistoryEvent,
    TaskScheduled,
    TimerCreated,
    TurnStarted,
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
    new_child_instance_id: str = "",
) -> SeedRequest:
    """Return what the new instance begins with.

    The history up to the fact that made the code ask for the event is copied; that fact is then
    given to the code once more, so that it asks again, for this and for what it asked for in the
    same step. For a remote worker the step is a whole turn, with all its facts. What was open
    before is driven again. Errors are Dapr's, with its texts.

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
    _check_changes(history[index], event_id, overwrite_input, new_child_instance_id)
    if _is_remote(history):
        first, last = _turn_of(history, index)
        # What it waited for in vain before says nothing of this one.
        copied: list[HistoryEvent] = [
            event for event in history[:first] if not isinstance(event, ExecutionStalled)
        ]
    else:
        first = last = _causing_fact(history, index)
        copied, first = list(history[:first]), first - 1
    facts = history[first + 1 : last + 1]
    return SeedRequest(
        tuple(encode_event(_renamed(e, new_instance_id, execution_id)) for e in copied),
        tuple(encode_event(_renamed(e, new_instance_id, execution_id)) for e in facts),
        event_id,
        source.instance_id,
        overwrite_input,
        input,
        new_child_instance_id,
    )


def _check_changes(
    event: HistoryEvent, event_id: int, overwrite_input: bool, new_child_instance_id: str
) -> None:
    if overwrite_input and isinstance(event, TimerCreated):
        raise InvalidRequestError(
            f"cannot write input to timer event '{event_id}': a timer has no input"
        )
    if new_child_instance_id and not isinstance(event, ChildCreated):
        raise InvalidRequestError(
            f"event '{event_id}' is not a child workflow: it takes no new child instance ID"
        )


def _is_remote(history: Sequence[HistoryEvent]) -> bool:
    """Whether remote workers have run it: then facts and actions are grouped in turns."""
    for event in history:
        if isinstance(event, ExecutionStarted | TurnStarted):
            return isinstance(event, TurnStarted)
    return False


def _turn_of(history: Sequence[HistoryEvent], index: int) -> tuple[int, int]:
    """Return the index of the TurnStarted of the turn that asked for an event, and that of its last
    fact."""
    first = index
    while not isinstance(history[first], TurnStarted):
        first -= 1
    last = first
    while history[last + 1].event_id < 0:
        last += 1
    return first, last


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
