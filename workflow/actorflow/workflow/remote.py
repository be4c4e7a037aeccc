"""A turn that a remote worker has done, taken into the execution.

The worker saw the committed history and the facts that waited; it answers with what the code asks
for. The answer counts only if nothing has changed since but more facts: then it is recorded, the
facts first, and each request becomes an effect, as if the code had run here.
"""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING

from actorflow.actors.address import checked_actor_id
from actorflow.actors.errors import InvalidActorIdError
from actorflow.workflow.actions import (
    CancelTimer,
    Complete,
    CreateChild,
    CreateDetached,
    CreateTimer,
    ScheduleTask,
    SendEvent,
)
from actorflow.workflow.events import ExecutionStalled, ExecutionStarted, TurnStarted
from actorflow.workflow.propagation import Lineage
from actorflow.workflow.requests import instance_type
from actorflow.workflow.turn import outlives_execution

if TYPE_CHECKING:
    from actorflow.actors.effects import Effects
    from actorflow.workflow.events import HistoryEvent
    from actorflow.workflow.execution import Execution
    from actorflow.workflow.limits import Limits
    from actorflow.workflow.requests import TurnDone
    from actorflow.workflow.state import InstanceState

_log = logging.getLogger(__name__)

_WITHOUT_ID = (Complete, CancelTimer)

PATCH_MISMATCH = "PATCH_MISMATCH"
VERSION_NOT_AVAILABLE = "VERSION_NOT_AVAILABLE"
PAYLOAD_SIZE_EXCEEDED = "PAYLOAD_SIZE_EXCEEDED"
INVALID_ACTION = "INVALID_ACTION"
HISTORY_TOO_LONG = "HISTORY_TOO_LONG"


def take_turn(
    execution: Execution, effects: Effects, done: TurnDone, limits: Limits, *, is_asked_for: bool
) -> None:
    """Take a turn, unless it is late: then the facts wait for the next one.

    Args:
        limits: of one instance.
        is_asked_for: it ends the request for a worker that the instance has made; else somebody
            did a turn whose request went to another worker too.
    """
    if execution.state.terminal_status is not None:
        return
    if done.execution_id != execution.present_id:
        # It has ended a request, and maybe not its own: a token is no proof. One more is harmless.
        if is_asked_for and execution.inbox and execution.worker_wanted:
            execution.worker_wanted = False
            execution.want_worker(effects)
        return
    if is_asked_for:
        execution.worker_wanted = False
    if done.stalled is not None and not is_asked_for:
        _stall(execution, effects, *done.stalled)  # no turn, and whoever was asked is still asked
    elif _is_of_now(execution, done):
        stalled = done.stalled or _patch_mismatch(execution, done)
        stalled = stalled or _impossible(execution.state, done, limits)
        if stalled is not None:
            _stall(execution, effects, *stalled)
        else:
            _apply(execution, effects, done)
    if execution.inbox and execution.state.terminal_status is None:
        execution.want_worker(effects)
    execution.store_summary(effects)


def _is_of_now(execution: Execution, done: TurnDone) -> bool:
    state = execution.state
    if done.history_length != state.history_length or done.fact_count <= 0:
        return False
    seen_ns = [fact.at_ns for fact in islice(execution.inbox, done.fact_count)]
    # No worker was shown a turn that is older than its facts: somebody has changed the token.
    return len(seen_ns) == done.fact_count and done.at_ns >= max(state.updated_at_ns, *seen_ns)


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


def _impossible(state: InstanceState, done: TurnDone, limits: Limits) -> tuple[str, str] | None:
    """Say why what the code asks for cannot be done. All of it is done or nothing: to leave a part
    out would let the code wait for it for ever."""
    count, count_max = len(done.actions), limits.actions_per_step_max
    if count > count_max:
        return INVALID_ACTION, (
            f"the worker asks for {count:,} actions in one turn, and the limit is {count_max:,} "
            "(actions_per_step_max); wait for some before asking for more"
        )
    asked_ids: set[int] = set()
    for action in done.actions:
        # An end has no id that anybody refers to: the Python SDK gives its own failures -1.
        if isinstance(action, _WITHOUT_ID) or 0 <= action.id <= state.last_action_id:
            continue
        flaw = f"id {action.id} twice" if action.id in asked_ids else _flaw(action)
        if flaw:
            return INVALID_ACTION, (
                f"the worker asks in one turn for {type(action).__name__} with {flaw}; connect one "
                "whose code does not"
            )
        asked_ids.add(action.id)
    length = state.history_length + done.fact_count + count
    if length > limits.history_events_max and not any(
        isinstance(a, Complete) for a in done.actions
    ):
        return HISTORY_TOO_LONG, (
            f"the history would have more than {limits.history_events_max:,} events; use "
            "continue-as-new in the workflow's loop. Raise the limit to let this instance go on"
        )
    return None


def _flaw(action: ScheduleTask | CreateChild | CreateDetached | CreateTimer | SendEvent) -> str:
    """Say what is wrong with one action; "" for nothing. Whether a child may have its id is said
    where the child would be, as an error that the code can catch."""
    if action.id < 0:
        return f"id {action.id}, which is below 0"
    try:
        if isinstance(action, ScheduleTask | CreateChild):
            if action.app_id:
                checked_actor_id(instance_type(action.app_id), "any")
        elif isinstance(action, CreateDetached):
            checked_actor_id(instance_type(action.app_id), action.instance_id)
    except InvalidActorIdError as error:
        return f"an address that cannot be: {error}"
    return ""


def _stall(execution: Execution, effects: Effects, reason: str, description: str) -> None:
    """Put the stall on record, once; the facts, even the start, wait for the next worker that
    connects."""
    state = execution.state
    # How large it is, is another number each time: with the stalls on record the history grows.
    is_same = description == state.stalled_description or reason == PAYLOAD_SIZE_EXCEEDED
    if reason == state.stalled_reason and is_same:
        return
    ids = {"instance_id": effects.actor.key, "reason": reason, "cause": description[:500]}
    _log.error("instance stalled", extra=ids)
    stalled = ExecutionStalled(at_ns=execution.now_ns(), reason=reason, description=description)
    execution.record(effects, stalled)


def _apply(execution: Execution, effects: Effects, done: TurnDone) -> None:
    if execution.lineage is None:
        execution.lineage = Lineage((), execution.received)
    seen = execution.inbox.take(effects, done.fact_count)
    patches = done.patches[len(execution.state.patches) :]
    started = TurnStarted(at_ns=done.at_ns, version=done.version, patches=patches)
    execution.record(effects, started)
    for fact in seen:
        if type(fact) is ExecutionStarted:
            execution.store_input(effects, fact)
        execution.record(effects, fact)
    at_ns = execution.now_ns()
    following: list[HistoryEvent] | None = None
    # SDKs keep from suspended code all that the history says, also that it has been asked for
    # something before it was suspended: so they ask again.
    known_id = execution.state.last_action_id
    for action in done.actions:
        if not isinstance(action, _WITHOUT_ID) and action.id <= known_id:
            continue
        if execution.state.terminal_status is not None or following is not None:
            break  # only the first end counts
        following = execution.act(effects, action, at_ns)
    if execution.state.terminal_status is None and following is not None:
        unseen = execution.inbox.take_all(effects)
        execution.keep(effects, [*following, *filter(outlives_execution, unseen)])
    if done.custom_status != execution.custom_status:
        execution.store_custom_status(effects, done.custom_status)
