"""A turn that a remote worker has done, taken into the execution.

The worker saw the committed history and the facts that waited; it answers with what the code asks
for. The answer counts only if nothing has changed since but more facts: then it is recorded, the
facts first, and each request becomes an effect, as if the code had run here.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from actorflow.workflow.actions import CancelTimer, Complete
from actorflow.workflow.events import ExecutionStalled, ExecutionStarted, TurnStarted
from actorflow.workflow.propagation import Lineage
from actorflow.workflow.turn import outlives_execution

if TYPE_CHECKING:
    from actorflow.actors.effects import Effects
    from actorflow.workflow.events import HistoryEvent
    from actorflow.workflow.execution import Execution
    from actorflow.workflow.requests import TurnDone

_log = logging.getLogger(__name__)

PATCH_MISMATCH = "PATCH_MISMATCH"
VERSION_NOT_AVAILABLE = "VERSION_NOT_AVAILABLE"
PAYLOAD_SIZE_EXCEEDED = "PAYLOAD_SIZE_EXCEEDED"


def take_turn(
    execution: Execution, effects: Effects, done: TurnDone, *, is_asked_for: bool
) -> None:
    """Take a turn, unless it is late: then the facts wait for the next one.

    Args:
        is_asked_for: it ends the request for a worker that the instance has made; else somebody
            did a turn whose request went to another worker too.
    """
    if done.execution_id != execution.present_id or execution.state.terminal_status is not None:
        return
    if is_asked_for:
        execution.worker_wanted = False
    if done.stalled is not None and not is_asked_for:
        _stall(execution, effects, *done.stalled)  # no turn, and whoever was asked is still asked
    elif _is_of_now(execution, done):
        stalled = done.stalled or _patch_mismatch(execution, done)
        if stalled is not None:
            _stall(execution, effects, *stalled)
        else:
            _apply(execution, effects, done)
    if execution.inbox and execution.state.terminal_status is None:
        execution.want_worker(effects)
    execution.store_summary(effects)


def _is_of_now(execution: Execution, done: TurnDone) -> bool:
    return done.history_length == execution.state.history_length and 0 < done.fact_count <= len(
        execution.inbox
    )


def _patch_mismatch(execution: Execution, done: TurnDone) -> tuple[str, str] | None:
    """Say why the worker's code is not the code that began: the patches of the history must come
    first in its own, in the same order."""
    known = execution.state.patches
    if done.patches[: len(known)] == known:
        return None
    text = (
        f"Patch mismatch. History patches: [{', '.join(known)}], current patches: "
        f"[{', '.join(done.patches)}]. Connect a worker with the code that this instance began with"
    )
    return PATCH_MISMATCH, text


def _stall(execution: Execution, effects: Effects, reason: str, description: str) -> None:
    """Put the stall on record, once; the facts, even the start, wait for the next worker that
    connects."""
    state = execution.state
    if (state.stalled_reason, state.stalled_description) == (reason, description):
        return
    ids = {"instance_id": effects.actor.key, "reason": reason, "cause": description[:500]}
    _log.error("instance stalled", extra=ids)
    stalled = ExecutionStalled(at_ns=execution.now_ns(), reason=reason, description=description)
    execution.record(effects, stalled)


def _apply(execution: Execution, effects: Effects, done: TurnDone) -> None:
    if execution.lineage is None:
        execution.lineage = Lineage((), execution.received)
    facts = execution.inbox.take_all(effects)
    seen, unseen = facts[: done.fact_count], facts[done.fact_count :]
    patches = done.patches[len(execution.state.patches) :]
    started = TurnStarted(at_ns=done.at_ns, version=done.version, patches=patches)
    execution.record(effects, started)
    for fact in seen:
        if isinstance(fact, ExecutionStarted):
            execution.store_input(effects, fact)
        execution.record(effects, fact)
    at_ns = execution.now_ns()
    following: list[HistoryEvent] | None = None
    # SDKs keep from suspended code all that the history says, also that it has been asked for
    # something before it was suspended: so they ask again.
    known_id = execution.state.last_action_id
    for action in done.actions:
        if not isinstance(action, Complete | CancelTimer) and action.id <= known_id:
            continue
        if execution.state.terminal_status is not None or following is not None:
            break  # only the first end counts
        following = execution.act(effects, action, at_ns)
    if execution.state.terminal_status is None:
        if following is not None:
            unseen = [*following, *filter(outlives_execution, unseen)]
        execution.keep(effects, unseen)
    if done.custom_status != execution.custom_status:
        execution.store_custom_status(effects, done.custom_status)
