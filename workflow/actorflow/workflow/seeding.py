"""The beginning of a rerun: an execution that starts with a copy of another one's history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.workflow.events import ExecutionStarted
from actorflow.workflow.outbound import carry_out

if TYPE_CHECKING:
    from actorflow.actors.effects import Effects
    from actorflow.workflow.events import HistoryEvent
    from actorflow.workflow.execution import Execution


def seed(
    execution: Execution,
    effects: Effects,
    history: list[HistoryEvent],
    facts: list[HistoryEvent],
    override: tuple[int, str | None] | None,
) -> None:
    """Begin with a copied history, drive again what was open in it, then take `facts`.

    Args:
        override: id of an action, and the input that it gets instead of what the code passes.
    """
    for event in history:
        if isinstance(event, ExecutionStarted):
            execution.store_input(effects, event)
        execution.record(effects, event)
    if history:
        execution.rebuild(history)
    state = execution.state
    open_ids = {*state.open_tasks, *state.open_timers, *state.open_children}
    for event in history:
        if event.event_id in open_ids:
            carry_out(effects, state, event)
    execution.override = override
    try:
        execution.take(effects, *facts)
    finally:
        execution.override = None
