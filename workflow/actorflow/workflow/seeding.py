"""The beginning of a rerun: an execution that starts with a copy of another one's history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from actorflow.workflow.errors import HistoryCorruptError
from actorflow.workflow.events import (
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    ExecutionStarted,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)
from actorflow.workflow.outbound import carry_out
from actorflow.workflow.propagation import Lineage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.actors.effects import Effects
    from actorflow.actors.ports import ActorRecord
    from actorflow.workflow.events import HistoryEvent
    from actorflow.workflow.execution import Execution
    from actorflow.workflow.outbound import Fleet

REDO = "redo"
"""Field that holds a `Redo` until the code has asked for the event."""


class Redo(msgspec.Struct, frozen=True, omit_defaults=True):
    """The event that a rerun repeats, and what it gets instead of what the code passes. `rerun_of`
    is the instance that is repeated."""

    event_id: int
    rerun_of: str
    overwrite_input: bool = False
    input: str | None = None
    child_instance_id: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Redo).decode


def redo_of(record: ActorRecord) -> Redo | None:
    """Return what the code has yet to ask for again. Raises HistoryCorruptError."""
    stored = record.fields.get(REDO)
    if stored is None:
        return None
    try:
        return _decode(stored)
    except msgspec.MsgspecError as error:
        raise HistoryCorruptError(f"the rerun of {record.actor} cannot be read: {error}") from error


def seed(
    execution: Execution,
    effects: Effects,
    history: list[HistoryEvent],
    facts: list[HistoryEvent],
    redo: Redo,
    fleet: Fleet,
) -> None:
    """Begin with a copied history, drive again what was open in it, then take `facts`."""
    for event in history:
        if isinstance(event, ExecutionStarted):
            execution.store_input(effects, event)
        execution.record(effects, event)
    state = execution.state
    if history and not state.is_remote:
        execution.rebuild(history)
    open_ids = {*state.open_tasks, *state.open_timers, *state.open_children} - _answered(facts)
    for count, event in enumerate(history, 1):
        if event.event_id in open_ids:
            carry_out(effects, state, event, Lineage(history[:count], execution.received), fleet)
    if state.is_remote:
        execution.lineage = Lineage(history, execution.received)
    execution.redo = redo
    effects.put_field(REDO, _encode(redo))
    execution.take(effects, *facts)


def redone(execution: Execution, effects: Effects, event: HistoryEvent) -> HistoryEvent:
    """Return an event that the code asks for as the rerun wants it."""
    redo = execution.redo
    if redo is None or event.event_id != redo.event_id:
        return event
    forget_redo(execution, effects)
    if not isinstance(event, TaskScheduled | ChildCreated | TimerCreated):
        return event
    changed: dict[str, str | None] = {"rerun_of": redo.rerun_of}
    if redo.overwrite_input and not isinstance(event, TimerCreated):
        changed["input"] = redo.input
    if redo.child_instance_id and isinstance(event, ChildCreated):
        changed["instance_id"] = redo.child_instance_id
    return replace(event, **changed)


def forget_redo(execution: Execution, effects: Effects) -> None:
    """The code has asked for the event, or never will."""
    if execution.redo is not None:
        execution.redo = None
        effects.delete_field(REDO)


def _answered(facts: Iterable[HistoryEvent]) -> set[int]:
    ids = set()
    for fact in facts:
        if isinstance(fact, TaskCompleted | TaskFailed | ChildCompleted | ChildFailed):
            ids.add(fact.task_id)
        elif isinstance(fact, TimerFired):
            ids.add(fact.timer_id)
    return ids
