"""PURE. What the recorded requests of a workflow's code do to the world: messages and reminders.

Each function adds to the effects of the turn that recorded the event, so that request and effect
are stored by one commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from actorflow.actors.address import ActorId
from actorflow.actors.ports import Reminder
from actorflow.workflow.events import (
    NEVER_NS,
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    EventSent,
    ExecutionCompleted,
    FailureDetails,
    HistoryEvent,
    ParentRef,
    Status,
    TaskScheduled,
    TimerCreated,
)
from actorflow.workflow.requests import (
    ACTIVITY,
    RAISE,
    RESULT,
    RUN,
    START,
    TERMINATE,
    ControlRequest,
    RaiseRequest,
    StartRequest,
    WorkItem,
    app_of,
    instance_type,
    pack,
    pack_result,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorflow.actors.effects import Effects
    from actorflow.workflow.actions import CreateDetached
    from actorflow.workflow.propagation import Lineage, PropagatedHistory
    from actorflow.workflow.state import InstanceState, OpenChild


OPEN_TASKS_AT_HOME = 8
"""Open activities of one instance that stay in its own partition. More are spread over all
partitions where hosts share a fan-out; the results find their way back over links."""

SPREAD = "\x1f"
"""Between instance id and event id in the key of an activity that is spread. No id of a user has a
control character."""


class Fleet(Protocol):
    """The host and its neighbours."""

    @property
    def has_others(self) -> bool:
        """Whether there are other hosts now."""
        ...


def carry_out(
    effects: Effects,
    state: InstanceState,
    event: HistoryEvent,
    lineage: Lineage | None = None,
    fleet: Fleet | None = None,
) -> None:
    """Do what a recorded event asks for; nothing for an event that asks for nothing.

    Args:
        state: of the instance, with the event folded in.
        lineage: what it can show to others.
        fleet: who could have a part of a fan-out; None: others.
    """
    carrier = _CARRIERS.get(type(event))
    if carrier is not None:
        carrier(effects, state, event, lineage, fleet)


def start_detached(effects: Effects, action: CreateDetached) -> None:
    """Start an instance that nobody waits for."""
    request = StartRequest(
        action.name,
        action.input,
        action.scheduled_start_ns,
        trace_parent=action.trace_parent,
        version=action.version,
        tags=action.tags,
    )
    effects.send(_sibling(effects, action.app_id, action.instance_id), START, pack(request))


def cancel_timer(effects: Effects, state: InstanceState, timer_id: int) -> None:
    """Forget an open timer, and its reminder if it has one."""
    timer = state.open_timers.get(timer_id)
    state.cancel_timer(timer_id)
    if timer is not None and timer.fire_at_ns < NEVER_NS:
        effects.cancel_reminder(timer_name(state.generation, timer_id))


def end_wait(effects: Effects, state: InstanceState, name: str) -> None:
    """Forget the reminder of the oldest wait for an event that comes now. Folding the event into
    the state ends the wait itself."""
    timer_id = state.event_wait(name)
    if timer_id is not None and state.open_timers[timer_id].fire_at_ns < NEVER_NS:
        effects.cancel_reminder(timer_name(state.generation, timer_id))


def parent_ref(state: InstanceState, task_id: int, app_id: str = "") -> ParentRef:
    """Return what a child of this instance knows of its parent, whose app is named where it is not
    the child's."""
    return ParentRef(
        instance_id=state.instance_id,
        execution_id=state.execution_id,
        task_id=task_id,
        name=state.name,
        depth=1 if state.parent is None else state.parent.depth + 1,
        app_id=app_id,
    )


def report_end(
    effects: Effects, parent: ParentRef, instance_id: str, event: ExecutionCompleted
) -> None:
    """Tell the parent how its child ended. A terminated child counts as failed."""
    if event.status is Status.COMPLETED:
        completion: HistoryEvent = ChildCompleted(
            at_ns=event.at_ns, task_id=parent.task_id, result=event.result
        )
    else:
        failure = event.failure or FailureDetails(
            error_type="WorkflowTerminated", message=f"{instance_id} was terminated"
        )
        completion = ChildFailed(at_ns=event.at_ns, task_id=parent.task_id, failure=failure)
    report(effects, parent, completion)


def report(effects: Effects, parent: ParentRef, completion: HistoryEvent) -> None:
    """Send the end of a child to its parent."""
    payload = pack_result(parent.execution_id, completion)
    effects.send(_sibling(effects, parent.app_id, parent.instance_id), RESULT, payload)


def report_end_again(effects: Effects, state: InstanceState) -> None:
    """Tell a parent that starts its child a second time how it ended: its store lost what it knew.
    Nothing while the child is open, since its end will be reported."""
    if state.parent is not None and state.terminal_status is not None:
        event = ExecutionCompleted(
            at_ns=state.completed_at_ns or state.updated_at_ns,
            status=state.terminal_status,
            result=state.output,
            failure=state.failure,
        )
        report_end(effects, state.parent, state.instance_id, event)


def terminate_children(effects: Effects, children: Iterable[OpenChild], execution_id: str) -> None:
    """Terminate children, and theirs; the execution id tells them from later users of their ids."""
    payload = pack(ControlRequest(None, True, execution_id))
    for child in children:
        effects.send(_sibling(effects, child.app_id, child.instance_id), TERMINATE, payload)


def timer_name(generation: int, timer_id: int) -> str:
    """Return the name of the reminder behind a timer: unique across executions of an instance."""
    return f"timer:{generation}:{timer_id}"


def timer_of(name: str) -> tuple[int, int] | None:
    """Return generation and timer id of a reminder's name, None for another kind."""
    kind, _, rest = name.partition(":")
    if kind != "timer":
        return None
    generation, _, timer_id = rest.partition(":")
    return int(generation), int(timer_id)


def _propagated(
    effects: Effects,
    state: InstanceState,
    event: TaskScheduled | ChildCreated,
    lineage: Lineage | None,
) -> PropagatedHistory | None:
    if lineage is None:
        return None
    return lineage.shown(event.propagation, state, app_of(effects.actor.type))


def _schedule_task(
    effects: Effects,
    state: InstanceState,
    event: TaskScheduled,
    lineage: Lineage | None,
    fleet: Fleet | None,
) -> None:
    item = WorkItem(
        state.instance_id,
        state.execution_id,
        state.name,
        event.event_id,
        event.name,
        event.task_execution_id,
        event.input,
        state.open_tasks[event.event_id].attempt,
        event.app_id or app_of(effects.actor.type),
        effects.actor.type,
        event.version,
        event.trace_parent or state.trace_parent,
        state.trace_state,
        _propagated(effects, state, event, lineage),
    )
    key = state.instance_id
    if len(state.open_tasks) > OPEN_TASKS_AT_HOME and _is_shared(state, fleet):
        key = f"{key}{SPREAD}{event.event_id}"
    effects.send(ActorId(ACTIVITY, key), RUN, pack(item))


def _is_shared(state: InstanceState, fleet: Fleet | None) -> bool:
    """Whether other hosts are to have a part of a fan-out.

    A host that is alone keeps what remote workers do at home, where a result is one commit and no
    link: hosts that join later are lent it. Code of the process itself would have to stay.
    """
    return not state.is_remote or fleet is None or fleet.has_others


def _start_child(
    effects: Effects,
    state: InstanceState,
    event: ChildCreated,
    lineage: Lineage | None,
    _: object,
) -> None:
    parent = parent_ref(state, event.event_id, app_of(effects.actor.type) if event.app_id else "")
    request = StartRequest(
        event.name,
        event.input,
        parent=parent,
        version=event.version,
        trace_parent=event.trace_parent or state.trace_parent,
        trace_state=state.trace_state,
        propagated=_propagated(effects, state, event, lineage),
    )
    effects.send(_sibling(effects, event.app_id, event.instance_id), START, pack(request))


def _set_timer(effects: Effects, state: InstanceState, event: TimerCreated, *_: object) -> None:
    if event.fire_at_ns < NEVER_NS:
        due_ms = -(-event.fire_at_ns // 1_000_000)  # rounded up: never early
        effects.set_reminder(Reminder(timer_name(state.generation, event.event_id), due_ms, 0, b""))


def _send_event(effects: Effects, _: InstanceState, event: EventSent, *__: object) -> None:
    request = RaiseRequest(event.name, event.input)
    effects.send(_sibling(effects, "", event.instance_id), RAISE, pack(request))


def _sibling(effects: Effects, app_id: str, instance_id: str) -> ActorId:
    """Return an instance of another app, or ("") of the same one as the instance of these
    effects."""
    return ActorId(instance_type(app_id) if app_id else effects.actor.type, instance_id)


_CARRIERS: dict[
    type, Callable[[Effects, InstanceState, Any, Lineage | None, Fleet | None], None]
] = {
    TaskScheduled: _schedule_task,
    ChildCreated: _start_child,
    TimerCreated: _set_timer,
    EventSent: _send_event,
}
