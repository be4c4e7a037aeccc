"""History events and actions over the wire of the task hub: what goes in comes out."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.server.grpc import messages as pb
from actorflow.server.grpc.actions import (
    UnknownActionError,
    actions_of,
    custom_status_of,
    has_no_such_version,
)
from actorflow.server.grpc.history import UnknownEventError, event_message, history_event
from actorflow.server.grpc.values import time_ns
from actorflow.workflow import actions as ac
from actorflow.workflow import events as ev
from actorflow.workflow.events import NEVER_NS, FailureDetails, ParentRef, Status, TimerOrigin

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
NAME = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
OPTIONAL = st.none() | TEXT
TIME = st.integers(0, NEVER_NS)
INT32 = st.integers(-(2**31), 2**31 - 1)
PROPAGATION = st.sampled_from(["", "own", "lineage"])
TRACE = st.sampled_from([None, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "odd"])
ORIGIN = st.one_of(
    st.just(TimerOrigin(kind="")),
    st.just(TimerOrigin()),
    st.builds(
        TimerOrigin, kind=st.sampled_from(["event", "activity_retry", "child_retry"]), ref=TEXT
    ),
)
FAILURE = st.recursive(
    st.builds(
        FailureDetails, error_type=TEXT, message=TEXT, stack=TEXT, non_retriable=st.booleans()
    ),
    lambda inner: st.builds(FailureDetails, error_type=TEXT, message=TEXT, inner=inner),
    max_leaves=4,
)
PARENT = st.none() | st.builds(
    ParentRef, instance_id=NAME, execution_id=TEXT, task_id=INT32, name=TEXT, app_id=TEXT
)
STALL = st.sampled_from(["PATCH_MISMATCH", "VERSION_NOT_AVAILABLE", "PAYLOAD_SIZE_EXCEEDED"])
COMMON: dict[str, Any] = {"event_id": INT32, "at_ns": TIME}
TASK: dict[str, Any] = {"task_id": INT32, "task_execution_id": TEXT}
CALL: dict[str, Any] = {
    "name": TEXT,
    "input": OPTIONAL,
    "version": OPTIONAL,
    "app_id": TEXT,
    "propagation": PROPAGATION,
    "trace_parent": TRACE,
    "rerun_of": TEXT,
}
EVENTS: dict[type, dict[str, Any]] = {
    ev.TurnStarted: {
        "version": OPTIONAL,
        "patches": st.lists(TEXT, max_size=3).map(tuple),
    },
    ev.ExecutionStarted: {
        "name": TEXT,
        "instance_id": NAME,
        "execution_id": TEXT,
        "input": OPTIONAL,
        "parent": PARENT,
        "scheduled_start_ns": st.none() | TIME,
        "version": OPTIONAL,
        "tags": st.dictionaries(TEXT, TEXT, max_size=3),
        "trace_parent": TRACE,
    },
    ev.ExecutionCompleted: {
        "status": st.sampled_from(Status),
        "result": OPTIONAL,
        "failure": st.none() | FAILURE,
    },
    ev.ExecutionTerminated: {"output": OPTIONAL, "recursive": st.booleans()},
    ev.ExecutionSuspended: {"reason": OPTIONAL},
    ev.ExecutionResumed: {"reason": OPTIONAL},
    ev.ExecutionStalled: {"reason": STALL, "description": TEXT},
    ev.TaskScheduled: {**CALL, "task_execution_id": TEXT},
    ev.TaskCompleted: {**TASK, "result": OPTIONAL},
    ev.TaskFailed: {**TASK, "failure": FAILURE},
    ev.ChildCreated: {**CALL, "instance_id": NAME, "retry_of": TEXT},
    ev.ChildCompleted: {"task_id": INT32, "result": OPTIONAL},
    ev.ChildFailed: {"task_id": INT32, "failure": FAILURE},
    ev.DetachedCreated: {"instance_id": NAME, "app_id": TEXT},
    ev.TimerCreated: {"fire_at_ns": TIME, "name": TEXT, "origin": ORIGIN, "rerun_of": TEXT},
    ev.TimerFired: {"timer_id": INT32, "fire_at_ns": TIME},
    ev.EventRaised: {"name": TEXT, "input": OPTIONAL},
    ev.EventSent: {"instance_id": NAME, "name": TEXT, "input": OPTIONAL},
}
ANY_EVENT = st.one_of([st.builds(kind, **COMMON, **fields) for kind, fields in EVENTS.items()])


def test_every_kind_of_event_is_tried_here() -> None:
    assert set(EVENTS) == set(ev.HistoryEvent.__args__)


@given(ANY_EVENT)
def test_an_event_comes_back_as_it_went(event: ev.HistoryEvent) -> None:
    data = event_message(event, "shop").SerializeToString()
    assert history_event(pb.HistoryEvent.FromString(data)) == event


def test_a_payload_that_is_absent_differs_from_an_empty_one() -> None:
    for value in (None, "", "null"):
        event = ev.TaskCompleted(task_id=1, result=value)
        message = event_message(event)
        assert message.taskCompleted.HasField("result") is (value is not None)
        assert history_event(message) == event


def test_the_time_of_a_wait_without_end_is_that_of_the_protocol() -> None:
    message = event_message(ev.TimerCreated(event_id=3, fire_at_ns=NEVER_NS))
    fire_at = message.timerCreated.fireAt
    assert (fire_at.seconds, fire_at.nanos) == (253_402_300_799, 999_999_999)


def test_a_stall_for_a_reason_of_our_own_says_in_its_description_what_it_is() -> None:
    message = event_message(ev.ExecutionStalled(reason="code", description="asked for b, not a"))
    assert message.executionStalled.reason == 1  # the nearest: code that is not there
    assert message.executionStalled.description == "asked for b, not a"


@pytest.mark.parametrize(
    ("seconds", "nanos", "at_ns"),
    [(-5, 0, 0), (2**62, 0, NEVER_NS), (1, -1, 999_999_999), (1, 2**31 - 1, 3_147_483_647)],
)
def test_a_time_beyond_the_calendar_is_moved_into_it(seconds: int, nanos: int, at_ns: int) -> None:
    assert time_ns(pb.Timestamp(seconds=seconds, nanos=nanos)) == at_ns


@pytest.mark.parametrize(
    "message",
    [
        pb.HistoryEvent(),
        pb.HistoryEvent.FromString(bytes.fromhex("7a00")),  # workflowCompleted
        pb.HistoryEvent.FromString(bytes.fromhex("22020863")),  # completed with the status 99
    ],
)
def test_an_event_that_is_not_known_is_refused(message: Any) -> None:
    with pytest.raises(UnknownEventError):
        history_event(message)


# ---- actions -------------------------------------------------------------------------------------


def response(*actions: dict[str, Any], **fields: Any) -> Any:
    """Return a turn's answer as a worker sends it."""
    return pb.WorkflowResponse(instanceId="i", actions=actions, **fields)


def value(text: str) -> Any:
    return pb.StringValue(value=text)


@pytest.mark.parametrize(
    ("message", "action"),
    [
        (
            {
                "id": 1,
                "scheduleTask": {
                    "name": "pay",
                    "input": {"value": "[1]"},
                    "version": {"value": "2"},
                    "taskExecutionId": "t-1",
                    "historyPropagationScope": 1,
                },
                "router": {"sourceAppID": "shop", "targetAppID": "bank"},
            },
            ac.ScheduleTask(
                id=1,
                name="pay",
                input="[1]",
                version="2",
                task_execution_id="t-1",
                app_id="bank",
                propagation="own",
            ),
        ),
        (
            {"id": 2, "scheduleTask": {"name": "pay"}, "router": {"sourceAppID": "shop"}},
            ac.ScheduleTask(id=2, name="pay"),
        ),
        (
            {
                "id": 3,
                "createChildWorkflow": {
                    "instanceId": "c",
                    "name": "ship",
                    "input": {"value": ""},
                    "historyPropagationScope": 2,
                    "retryParentInstanceInfo": {"instanceID": "b"},
                },
            },
            ac.CreateChild(
                id=3, name="ship", instance_id="c", input="", propagation="lineage", retry_of="b"
            ),
        ),
        (
            {
                "id": 4,
                "createTimer": {
                    "fireAt": {"seconds": 253_402_300_799, "nanos": 999_999_999},
                    "name": "guard",
                    "externalEvent": {"name": "Approve"},
                },
            },
            ac.CreateTimer(
                id=4,
                fire_at_ns=NEVER_NS,
                name="guard",
                origin=TimerOrigin(kind="event", ref="Approve"),
            ),
        ),
        (
            {"id": 5, "createTimer": {"fireAt": {"seconds": 7}}},
            ac.CreateTimer(id=5, fire_at_ns=7_000_000_000, origin=TimerOrigin(kind="")),
        ),
        (
            {
                "id": 6,
                "sendEvent": {
                    "instance": {"instanceId": "other"},
                    "name": "hi",
                    "data": {"value": "1"},
                },
            },
            ac.SendEvent(id=6, instance_id="other", name="hi", input="1"),
        ),
        (
            {
                "id": 7,
                "createDetachedWorkflow": {
                    "instanceId": "d",
                    "name": "audit",
                    "scheduledStartTimestamp": {"seconds": 9},
                    "tags": {"a": "b"},
                },
            },
            ac.CreateDetached(
                id=7,
                name="audit",
                instance_id="d",
                scheduled_start_ns=9_000_000_000,
                tags={"a": "b"},
            ),
        ),
        (
            {
                "id": -1,
                "completeWorkflow": {
                    "workflowStatus": 3,
                    "failureDetails": {
                        "errorType": "ValueError",
                        "errorMessage": "no",
                        "stackTrace": {"value": "line 1"},
                        "innerFailure": {"errorType": "KeyError", "isNonRetriable": True},
                    },
                },
            },
            ac.Complete(
                id=-1,
                status=Status.FAILED,
                failure=FailureDetails(
                    error_type="ValueError",
                    message="no",
                    stack="line 1",
                    inner=FailureDetails(error_type="KeyError", message="", non_retriable=True),
                ),
            ),
        ),
        (
            {
                "id": 8,
                "completeWorkflow": {
                    "workflowStatus": 2,
                    "result": {"value": "5"},
                    "carryoverEvents": [
                        {"timestamp": {"seconds": 1}, "eventRaised": {"name": "x"}},
                        {"timerFired": {"timerId": 1}},
                    ],
                },
            },
            ac.Complete(
                id=8,
                status=Status.CONTINUED_AS_NEW,
                result="5",
                carried_events=(ev.EventRaised(at_ns=1_000_000_000, name="x"),),
            ),
        ),
    ],
)
def test_an_action_says_what_the_worker_asked_for(message: Any, action: ac.Action) -> None:
    assert actions_of(response(message)) == (action,)


@pytest.mark.parametrize(
    "message",
    [
        {"id": 1},
        {"id": 1, "terminateWorkflow": {"instanceId": "x"}},
        {"id": 1, "completeWorkflow": {"workflowStatus": 99}},
        {"id": 1, "completeWorkflow": {"workflowStatus": 0}},
        {"id": 1, "completeWorkflow": {"workflowStatus": 7}},
    ],
)
def test_an_action_that_is_not_known_is_refused(message: Any) -> None:
    with pytest.raises(UnknownActionError):
        actions_of(response({"id": 0, "scheduleTask": {"name": "pay"}}, message))


@pytest.mark.parametrize(
    "said", [{"workflowVersionNotAvailable": {}}, {"completeWorkflow": {"workflowStatus": 8}}]
)
def test_a_version_that_is_not_there_is_no_action(said: Any) -> None:
    """The second is how the Java SDK says it."""
    answer = response({"id": 1, **said})
    assert has_no_such_version(answer)
    assert actions_of(answer) == ()
    assert not has_no_such_version(response({"id": 1, "scheduleTask": {"name": "pay"}}))


def test_an_empty_custom_status_is_none() -> None:
    assert custom_status_of(response()) is None
    assert custom_status_of(response(customStatus=value(""))) is None
    assert custom_status_of(response(customStatus=value('"half"'))) == '"half"'
