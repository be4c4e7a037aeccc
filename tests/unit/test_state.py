"""The state of an instance as the fold of its history, and what it waits for."""

from typing import Any

import pytest

from actorflow.workflow.events import (
    NEVER_NS,
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    EventRaised,
    ExecutionCompleted,
    ExecutionResumed,
    ExecutionStalled,
    ExecutionStarted,
    ExecutionSuspended,
    ExecutionTerminated,
    FailureDetails,
    HistoryEvent,
    ParentRef,
    Status,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
    TimerCreated,
    TimerFired,
    TimerOrigin,
    TurnStarted,
)
from actorflow.workflow.state import InstanceState, OpenChild, OpenTask, OpenTimer, waits

FAILURE = FailureDetails(error_type="E", message="m")
START = ExecutionStarted(
    at_ns=10,
    name="flow",
    instance_id="i",
    execution_id="x",
    input="1",
    parent=ParentRef(instance_id="p", execution_id="y", task_id=1),
    generation=2,
    version="v",
    scheduled_start_ns=5,
)


def state_of(*events: HistoryEvent) -> InstanceState:
    """Return the fold of some events."""
    state = InstanceState()
    for event in events:
        state.apply(event)
    return state


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], Status.PENDING),
        ([TurnStarted()], Status.PENDING),
        ([START], Status.RUNNING),
        ([START, ExecutionSuspended()], Status.SUSPENDED),
        ([START, ExecutionSuspended(), ExecutionSuspended(), ExecutionResumed()], Status.RUNNING),
        ([START, ExecutionStalled(reason="R")], Status.STALLED),
        ([START, ExecutionSuspended(), ExecutionStalled(reason="R")], Status.STALLED),
        ([START, ExecutionStalled(reason="R"), TurnStarted()], Status.RUNNING),
        ([START, ExecutionTerminated()], Status.RUNNING),
        ([START, ExecutionCompleted(status=Status.FAILED)], Status.FAILED),
        ([START, ExecutionSuspended(), ExecutionCompleted(status=Status.TERMINATED)], "TERMINATED"),
    ],
)
def test_the_status_follows_from_history(events: list[Any], status: Status) -> None:
    assert state_of(*events).status == status


def test_the_start_fills_in_who_it_is() -> None:
    state = state_of(TurnStarted(at_ns=9), START)
    assert (state.name, state.instance_id, state.execution_id) == ("flow", "i", "x")
    assert (state.input, state.generation, state.version) == ("1", 2, "v")
    assert state.parent is not None
    assert state.parent.instance_id == "p"
    assert (state.created_at_ns, state.updated_at_ns, state.scheduled_start_ns) == (10, 10, 5)
    assert state.history_length == 2
    assert state.completed_at_ns is None


def test_the_end_keeps_its_result_and_opens_nothing() -> None:
    end = ExecutionCompleted(at_ns=30, status=Status.FAILED, result="r", failure=FAILURE)
    state = state_of(
        START,
        TaskScheduled(event_id=1, name="a"),
        TimerCreated(event_id=2, fire_at_ns=99),
        ChildCreated(event_id=3, instance_id="i:0003", name="c"),
        end,
    )
    assert (state.output, state.failure, state.completed_at_ns) == ("r", FAILURE, 30)
    assert not state.open_tasks
    assert not state.open_timers
    assert not state.open_children
    assert state.children_seen == ["i:0003"]
    assert waits(state) == []


def test_what_is_open_is_kept_by_id_until_it_is_answered() -> None:
    events: list[HistoryEvent] = [
        START,
        TaskScheduled(event_id=1, at_ns=11, name="a", task_execution_id="t1"),
        TaskScheduled(event_id=2, at_ns=11, name="b", task_execution_id="t2"),
        TimerCreated(event_id=3, at_ns=11, fire_at_ns=99),
        ChildCreated(event_id=4, at_ns=11, instance_id="k", name="c"),
        ChildCreated(event_id=5, at_ns=11, instance_id="l", name="c"),
    ]
    state = state_of(*events)
    assert state.open_tasks == {1: OpenTask("a", 11, 1, "t1"), 2: OpenTask("b", 11, 1, "t2")}
    assert state.open_timers == {3: OpenTimer(99, TimerOrigin(), 11)}
    assert state.open_children == {4: OpenChild("k", "c", 11), 5: OpenChild("l", "c", 11)}
    state = state_of(
        *events,
        TaskCompleted(task_id=1),
        TaskFailed(task_id=2, failure=FAILURE),
        TimerFired(timer_id=3),
        ChildCompleted(task_id=4),
        ChildFailed(task_id=5, failure=FAILURE),
        TaskCompleted(task_id=77),
        TimerFired(timer_id=77),
        ChildCompleted(task_id=77),
    )
    assert not state.open_tasks
    assert not state.open_timers
    assert not state.open_children
    assert state.children_seen == ["k", "l"]


def test_an_event_ends_the_oldest_wait_for_its_name() -> None:
    def wait(event_id: int, name: str) -> TimerCreated:
        origin = TimerOrigin(kind="event", ref=name)
        return TimerCreated(event_id=event_id, fire_at_ns=NEVER_NS, origin=origin)

    state = state_of(START, wait(1, "x"), wait(2, "Y"), wait(3, "y"), EventRaised(name="y"))
    assert list(state.open_timers) == [1, 3]
    state.apply(EventRaised(name="nobody"))
    state.cancel_timer(3)
    state.cancel_timer(99)
    assert list(state.open_timers) == [1]


def test_attempts_are_counted_over_retries() -> None:
    origin = TimerOrigin(kind="activity_retry", ref="t")
    first = TaskScheduled(event_id=1, name="a", task_execution_id="t")
    state = state_of(
        START,
        first,
        TaskFailed(task_id=1, failure=FAILURE),
        TimerCreated(event_id=2, at_ns=20, fire_at_ns=50, origin=origin),
    )
    (reason,) = waits(state)
    assert (reason.kind, reason.attempt, reason.due_ns) == ("retry", 2, 50)
    state.apply(TimerFired(timer_id=2))
    state.apply(TaskScheduled(event_id=3, name="a", task_execution_id="t"))
    assert state.open_tasks[3].attempt == 2
    state.apply(TaskCompleted(task_id=3))
    assert state.attempts_of("t") == 1


def test_a_child_that_is_tried_again_is_seen_once() -> None:
    origin = TimerOrigin(kind="child_retry", ref="k")
    state = state_of(
        START,
        ChildCreated(event_id=1, instance_id="k", name="c"),
        ChildFailed(task_id=1, failure=FAILURE),
        TimerCreated(event_id=2, fire_at_ns=50, origin=origin),
        TimerFired(timer_id=2),
        ChildCreated(event_id=3, instance_id="k", name="c"),
    )
    assert state.children_seen == ["k"]
    (reason,) = waits(state)
    assert (reason.kind, reason.detail, reason.attempt) == ("child", "c (k)", 2)


def test_termination_is_remembered_and_stays_recursive() -> None:
    assert not state_of(START).terminate_requested
    state = state_of(
        START, ExecutionTerminated(recursive=True), ExecutionTerminated(recursive=False)
    )
    assert state.terminate_requested
    assert state.terminate_recursive is True
    assert state_of(START, ExecutionTerminated(recursive=False)).terminate_recursive is False


def test_every_wait_has_a_reason_a_person_can_read() -> None:
    event = TimerOrigin(kind="event", ref="Approve")
    state = state_of(
        START,
        TimerCreated(event_id=1, at_ns=15, fire_at_ns=NEVER_NS, origin=event),
        TaskScheduled(event_id=2, at_ns=12, name="pay"),
        TimerCreated(event_id=3, at_ns=13, fire_at_ns=90),
        TimerCreated(event_id=4, at_ns=14, fire_at_ns=91, origin=TimerOrigin(ref="call")),
        ExecutionSuspended(at_ns=16),
        ExecutionStalled(at_ns=17, reason="NON_DETERMINISM", description="changed"),
    )
    told = [(r.kind, r.detail, r.since_ns, r.due_ns) for r in waits(state)]
    assert told == [
        ("stalled", "NON_DETERMINISM: changed", None, None),
        ("suspended", "facts are kept until it is resumed", None, None),
        ("activity", "pay", 12, None),
        ("timer", "timer", 13, 90),
        ("timer", "time-out of a call", 14, 91),
        ("event", "Approve", 15, None),
    ]
