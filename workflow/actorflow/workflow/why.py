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


def reasons_of(execution: Execution, actor: ActorId, host: ExecutionHost) -> list[WaitReason]:
    """Return what an instance waits for, what its code waits for last; empty when it has ended."""
    reasons: list[WaitReason] = []
    state, start = execution.state, execution.pending_start
    if start is not None and (start.scheduled_start_ns or 0) > host.now_ns():
        reasons.append(
            WaitReason(
                kind="scheduled_start",
                detail="starts at the scheduled time",
                since_ns=start.at_ns,
                due_ns=start.scheduled_start_ns,
            )
        )
    elif start is not None or (execution.worker_wanted and not execution.problem):
        reasons.append(_for_worker(execution, start, actor, host))
    if execution.problem and not state.stalled_reason:
        reasons.append(WaitReason(kind="stalled", detail=execution.problem))

    def note(task_id: int, task: OpenTask) -> str:
        app_id = task.app_id or execution.app_id
        if any(getattr(fact, "task_id", None) == task_id for fact in execution.inbox):
            return "done; its result waits for the workflow's code"
        return host.why_waiting(app_id, actor.key, task_id, task.name)

    reasons += waits(state, note)
    if not execution.status().is_terminal:
        reasons += [parked_reason(method, reason) for method, reason in host.parked(actor)]
    return reasons


def _for_worker(
    execution: Execution, start: ExecutionStarted | None, actor: ActorId, host: ExecutionHost
) -> WaitReason:
    name = start.name if start is not None else execution.state.name
    why = host.why_waiting(execution.app_id, actor.key, -1, name)
    if why:
        detail = f"a worker for workflow {name!r}: {why}"
    else:
        detail = f"a worker has the turn of workflow {name!r}"
    return WaitReason(
        kind="worker", detail=detail, since_ns=start.at_ns if start is not None else None
    )
