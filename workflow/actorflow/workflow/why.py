"""What an instance waits for, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.workflow.model import WaitReason, parked_reason
from actorflow.workflow.state import waits

if TYPE_CHECKING:
    from actorflow.actors import ActorId
    from actorflow.workflow.events import ExecutionStarted
    from actorflow.workflow.execution import Execution
    from actorflow.workflow.host import ExecutionHost
    from actorflow.workflow.state import OpenTask

_OWN = frozenset({"stalled", "suspended"})
"""Kinds that are the instance's own state."""


def reasons_of(execution: Execution, actor: ActorId, host: ExecutionHost) -> list[WaitReason]:
    """Return what an instance waits for: its stall or pause first, then who is to run its code,
    then what that waits for. Empty when it has ended."""
    if execution.status().is_terminal:
        return []
    reasons: list[WaitReason] = []
    state, start = execution.state, execution.inbox.start
    if start is not None and (start.scheduled_start_ns or 0) > host.now_ns():
        reasons.append(
            WaitReason(
                kind="scheduled_start",
                detail="starts at the scheduled time",
                since_ns=start.at_ns,
                due_ns=start.scheduled_start_ns,
            )
        )
    if execution.problem and not state.stalled_reason:
        reasons.append(WaitReason(kind="stalled", detail=execution.problem))

    done_ids = {getattr(fact, "task_id", None) for fact in execution.inbox}

    def note(task_id: int, task: OpenTask) -> str:
        app_id = task.app_id or execution.app_id
        if task_id in done_ids:
            return "done; its result waits for the workflow's code"
        return host.why_waiting(app_id, actor.key, task_id, task.name)

    waiting = waits(state, note)
    reasons += [reason for reason in waiting if reason.kind in _OWN]
    if _wants_worker(execution, host):
        reasons.append(_for_worker(execution, start, actor, host))
    reasons += [reason for reason in waiting if reason.kind not in _OWN]
    return reasons + [parked_reason(actor.key, *parked) for parked in host.parked(actor)]


def _wants_worker(execution: Execution, host: ExecutionHost) -> bool:
    start = execution.inbox.start
    if start is not None:
        return (start.scheduled_start_ns or 0) <= host.now_ns()
    return execution.worker_wanted and not execution.problem


def _for_worker(
    execution: Execution, start: ExecutionStarted | None, actor: ActorId, host: ExecutionHost
) -> WaitReason:
    state = execution.state
    name = start.name if start is not None else state.name
    why = host.why_waiting(execution.app_id, actor.key, -1, name)
    if state.started and not state.is_remote and host.definition(name) is None:
        detail = (
            f"a host with the code of workflow {name!r}: it began in one, and no remote worker can "
            "go on with it"
        )
    elif why:
        detail = f"a worker for workflow {name!r}: {why}"
    else:
        detail = f"a worker has the turn of workflow {name!r}"
    return WaitReason(
        kind="worker", detail=detail, since_ns=start.at_ns if start is not None else None
    )
