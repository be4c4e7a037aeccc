"""Actions of a turn become the events that record them."""

from actorflow.workflow.actions import (
    CancelTimer,
    Complete,
    CreateChild,
    CreateDetached,
    CreateTimer,
    ScheduleTask,
    SendEvent,
)
from actorflow.workflow.events import (
    ChildCreated,
    DetachedCreated,
    EventSent,
    ExecutionCompleted,
    FailureDetails,
    Status,
    TaskScheduled,
    TimerCreated,
    TimerOrigin,
)
from actorflow.workflow.turn import child_instance_id, record

ORIGIN = TimerOrigin(kind="event", ref="e")


def test_each_action_is_recorded_in_order() -> None:
    failure = FailureDetails(error_type="E", message="m")
    events = record(
        [
            ScheduleTask(id=1, name="a", input="1", task_execution_id="t"),
            CreateTimer(id=2, fire_at_ns=9, origin=ORIGIN),
            CreateChild(id=3, name="c", input="2"),
            CreateChild(id=4, name="c", instance_id="k"),
            CancelTimer(timer_id=2),
            SendEvent(id=5, instance_id="o", name="n", input="3"),
            CreateDetached(id=6, name="d", instance_id="s", input="4", scheduled_start_ns=8),
            Complete(id=7, status=Status.FAILED, result="5", failure=failure),
        ],
        instance_id="i",
        at_ns=7,
    )
    assert events == (
        TaskScheduled(event_id=1, at_ns=7, name="a", input="1", task_execution_id="t"),
        TimerCreated(event_id=2, at_ns=7, fire_at_ns=9, origin=ORIGIN),
        ChildCreated(event_id=3, at_ns=7, instance_id="i:0003", name="c", input="2"),
        ChildCreated(event_id=4, at_ns=7, instance_id="k", name="c"),
        EventSent(event_id=5, at_ns=7, instance_id="o", name="n", input="3"),
        DetachedCreated(event_id=6, at_ns=7, instance_id="s", name="d", input="4"),
        ExecutionCompleted(event_id=7, at_ns=7, status=Status.FAILED, result="5", failure=failure),
    )


def test_a_continuation_is_recorded_nowhere() -> None:
    end = Complete(id=1, status=Status.CONTINUED_AS_NEW, result="1")
    assert record([end], instance_id="i", at_ns=7) == ()


def test_default_child_ids_have_at_least_four_digits() -> None:
    assert child_instance_id("p", 1) == "p:0001"
    assert child_instance_id("p:0001", 0x12345) == "p:0001:12345"
