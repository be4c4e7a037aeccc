"""PURE. From the actions of a turn to the history events that record them."""

from collections.abc import Callable, Iterable

from actorflow.workflow.actions import (
    Action,
    Complete,
    CreateChild,
    CreateDetached,
    CreateTimer,
    ScheduleTask,
    SendEvent,
)
from actorflow.workflow.events import (
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    DetachedCreated,
    EventSent,
    ExecutionCompleted,
    HistoryEvent,
    Status,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
)


def record(actions: Iterable[Action], *, instance_id: str, at_ns: int) -> tuple[HistoryEvent, ...]:
    """Return the events that record `actions`, in their order.

    `CancelTimer` is recorded nowhere, and a completion as CONTINUED_AS_NEW neither: the next
    execution begins with an empty history.

    Args:
        instance_id: of the instance that asks; the default id of a child begins with it.
        at_ns: time of the fact that caused the actions.
    """
    events: list[HistoryEvent] = []
    for action in actions:
        event = event_of(action, instance_id, at_ns)
        if event is not None:
            events.append(event)
    return tuple(events)


def event_of(action: Action, instance_id: str, at_ns: int) -> HistoryEvent | None:
    """Return the event that records one action, None for one that is recorded nowhere."""
    recorder = _RECORDERS.get(type(action))
    return recorder(action, instance_id, at_ns) if recorder is not None else None


def outlives_execution(fact: HistoryEvent) -> bool:
    """Whether a fact that waits behind a continue-as-new is for the next execution too.

    Results and timers are not: the next execution uses the same ids for other things.
    """
    return not isinstance(
        fact, TaskCompleted | TaskFailed | ChildCompleted | ChildFailed | TimerFired
    )


def child_instance_id(parent_instance_id: str, action_id: int) -> str:
    """Return the id of a child for which the code named none."""
    return f"{parent_instance_id}:{action_id:04x}"


def _task(action: ScheduleTask, instance_id: str, at_ns: int) -> HistoryEvent:
    return TaskScheduled(
        event_id=action.id,
        at_ns=at_ns,
        name=action.name,
        input=action.input,
        task_execution_id=action.task_execution_id,
        version=action.version,
        app_id=action.app_id,
        propagation=action.propagation,
    )


def _child(action: CreateChild, instance_id: str, at_ns: int) -> HistoryEvent:
    return ChildCreated(
        event_id=action.id,
        at_ns=at_ns,
        instance_id=action.instance_id or child_instance_id(instance_id, action.id),
        name=action.name,
        input=action.input,
        version=action.version,
        app_id=action.app_id,
        propagation=action.propagation,
        retry_of=action.retry_of,
    )


def _detached(action: CreateDetached, instance_id: str, at_ns: int) -> HistoryEvent:
    return DetachedCreated(
        event_id=action.id,
        at_ns=at_ns,
        instance_id=action.instance_id,
        name=action.name,
        input=action.input,
        app_id=action.app_id,
    )


def _timer(action: CreateTimer, instance_id: str, at_ns: int) -> HistoryEvent:
    return TimerCreated(
        event_id=action.id,
        at_ns=at_ns,
        fire_at_ns=action.fire_at_ns,
        name=action.name,
        origin=action.origin,
    )


def _sent(action: SendEvent, instance_id: str, at_ns: int) -> HistoryEvent:
    return EventSent(
        event_id=action.id,
        at_ns=at_ns,
        instance_id=action.instance_id,
        name=action.name,
        input=action.input,
    )


def _completed(action: Complete, instance_id: str, at_ns: int) -> HistoryEvent | None:
    if action.status is Status.CONTINUED_AS_NEW:
        return None
    return ExecutionCompleted(
        event_id=action.id,
        at_ns=at_ns,
        status=action.status,
        result=action.result,
        failure=action.failure,
    )


# One dictionary look-up an action: a chain of isinstance tests costs more than the event itself.
_RECORDERS: dict[type[Action], Callable[..., HistoryEvent | None]] = {
    ScheduleTask: _task,
    CreateChild: _child,
    CreateDetached: _detached,
    CreateTimer: _timer,
    SendEvent: _sent,
    Complete: _completed,
}
