"""Times, instances and histories in the JSON of the wire; tokens for pages."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.server.http.pages import BadPageTokenError, PageTokens
from actorflow.server.http.render import (
    LAST_NS,
    dapr_instance,
    event_json,
    history_json,
    instance_json,
    time_ns,
    time_text,
)
from actorflow.workflow.events import (
    NEVER_NS,
    EventRaised,
    ExecutionStarted,
    FailureDetails,
    ParentRef,
    Status,
    TaskFailed,
    TimerCreated,
)
from actorflow.workflow.model import History, Instance


def instance(**changes: object) -> Instance:
    values: dict[str, object] = {
        "instance_id": "i-1",
        "name": "order",
        "status": Status.RUNNING,
        "execution_id": "e-1",
        "created_at_ns": 0,
        "updated_at_ns": 1_000_000_000,
        **changes,
    }
    return Instance(**values)  # type: ignore[arg-type]  # a table of fields


@pytest.mark.parametrize(
    ("at_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_000, "1970-01-01T00:00:00.000001Z"),
        (1_000_000, "1970-01-01T00:00:00.001Z"),
        (1_500_000_000, "1970-01-01T00:00:01.500Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (NEVER_NS, "9999-12-31T23:59:59.999999999Z"),
    ],
)
def test_time_text(at_ns: int, text: str) -> None:
    assert time_text(at_ns) == text
    assert time_ns(text) == at_ns


@given(st.integers(0, LAST_NS))
def test_every_time_survives(at_ns: int) -> None:
    assert time_ns(time_text(at_ns)) == at_ns


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-01-31T10:30:00+01:00", "2026-01-31T09:30:00Z"),
        ("2026-01-31t09:30:00.5z", "2026-01-31T09:30:00.500Z"),
    ],
)
def test_other_forms_of_a_time(text: str, same: str) -> None:
    assert time_text(time_ns(text)) == same


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-01-31",
        "2026-01-31T09:30:00",
        "2026-02-30T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2026-01-31T09:30:00.1234567890Z",
        "2026-01-31T09:30:00Z ",
        "9999-12-31T23:59:59-01:00",
        "\u0662026-01-31T09:30:00Z",
    ],
)
def test_bad_times(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- the texts are shown by another test
        time_ns(text)


def test_dapr_object_of_a_running_instance() -> None:
    shown = dapr_instance(instance(input=""), strict_pending=False)
    assert shown == {
        "instanceID": "i-1",
        "workflowName": "order",
        "createdAt": "1970-01-01T00:00:00Z",
        "lastUpdatedAt": "1970-01-01T00:00:01Z",
        "runtimeStatus": "RUNNING",
        "properties": {"dapr.workflow.input": "", "dapr.workflow.custom_status": ""},
    }


def test_dapr_object_of_a_failed_instance_has_no_output() -> None:
    failure = FailureDetails(error_type="E", message="m", stack="s")
    shown = dapr_instance(
        instance(status=Status.FAILED, output="m", failure=failure, custom_status='"x"'),
        strict_pending=False,
    )
    assert shown["properties"] == {
        "dapr.workflow.custom_status": '"x"',
        "dapr.workflow.failure.error_type": "E",
        "dapr.workflow.failure.error_message": "m",
        "dapr.workflow.failure.stack_trace": "s",
    }
    failure = FailureDetails(error_type="E", message="m")
    shown = dapr_instance(instance(status=Status.FAILED, failure=failure), strict_pending=False)
    assert "dapr.workflow.failure.stack_trace" not in shown["properties"]


def test_dapr_object_of_a_terminated_instance_may_have_output() -> None:
    item = instance(status=Status.TERMINATED, output='"enough"')
    shown = dapr_instance(item, strict_pending=False)
    assert shown["properties"]["dapr.workflow.output"] == '"enough"'


def test_dapr_object_of_a_pending_instance() -> None:
    item = instance(status=Status.PENDING, input="1")
    assert dapr_instance(item, strict_pending=True) == {
        "instanceID": "i-1",
        "createdAt": "0001-01-01T00:00:00Z",
        "lastUpdatedAt": "0001-01-01T00:00:00Z",
        "runtimeStatus": "PENDING",
    }
    assert dapr_instance(item, strict_pending=False)["properties"] == {"dapr.workflow.input": "1"}
    bare = dapr_instance(instance(status=Status.PENDING), strict_pending=False)
    assert "properties" not in bare


def test_stalled_is_unknown_to_dapr_alone() -> None:
    item = instance(status=Status.STALLED, stalled_reason="code changed")
    assert dapr_instance(item, strict_pending=False)["runtimeStatus"] == "UNKNOWN"
    shown = instance_json(item)
    assert (shown["status"], shown["stalledReason"]) == ("STALLED", "code changed")


def test_instance_json_leaves_out_what_is_absent_but_not_what_is_empty() -> None:
    assert "output" not in instance_json(instance())
    assert instance_json(instance(output=""))["output"] == ""


def test_instance_json_shows_version_tags_parents_app_and_begin_only_when_set() -> None:
    names = ("version", "tags", "parentAppID", "startedAt")
    plain = instance_json(instance())
    assert [name for name in names if name in plain] == []
    item = instance(version="2", tags={"a": "b"}, parent_app_id="billing", started_at_ns=1)
    shown = instance_json(item)
    assert [shown[name] for name in names] == [
        *("2", {"a": "b"}, "billing", "1970-01-01T00:00:00.000000001Z")
    ]


def test_failures_are_shown_with_their_causes() -> None:
    inner = FailureDetails(error_type="I", message="i")
    failure = FailureDetails(error_type="E", message="m", non_retriable=True, inner=inner)
    shown = instance_json(instance(status=Status.FAILED, failure=failure))["failure"]
    assert shown["nonRetriable"] is True
    assert shown["inner"]["errorType"] == "I"


def test_events() -> None:
    started = ExecutionStarted(
        name="order",
        instance_id="i-1",
        execution_id="e-1",
        input="",
        parent=ParentRef(instance_id="p", execution_id="pe", task_id=3),
        scheduled_start_ns=0,
        at_ns=1,
    )
    shown = event_json(started)
    assert shown["type"] == "ExecutionStarted"
    assert shown["input"] == ""
    assert shown["timestamp"] == "1970-01-01T00:00:00.000000001Z"
    assert shown["scheduledStart"] == "1970-01-01T00:00:00Z"
    assert shown["parent"] == {
        "instanceID": "p",
        "executionID": "pe",
        "taskID": 3,
        "name": "",
        "depth": 1,
    }
    assert "version" not in shown
    shown = event_json(TimerCreated(event_id=4, fire_at_ns=NEVER_NS))
    assert (shown["eventID"], shown["fireAt"][:4]) == (4, "9999")
    failed = TaskFailed(task_id=1, failure=FailureDetails(error_type="E", message="m"))
    assert event_json(failed)["failure"]["message"] == "m"


def test_history_comes_in_parts() -> None:
    events = tuple(EventRaised(name=str(number)) for number in range(5))
    history = History(instance_id="i-1", execution_id="e-1", events=events)
    first = history_json(history, start=0, limit=3)
    assert [event["name"] for event in first["events"]] == ["0", "1", "2"]
    assert (first["length"], first["nextIndex"]) == (5, 3)
    last = history_json(history, start=3, limit=3)
    assert [event["name"] for event in last["events"]] == ["3", "4"]
    assert "nextIndex" not in last
    assert history_json(history, start=99, limit=3)["events"] == []


@given(st.text(max_size=30))
def test_page_tokens_survive(after: str) -> None:
    tokens = PageTokens(["t"])
    assert tokens.decode(tokens.encode(after)) == after


def test_page_tokens_survive_the_exchange_of_api_tokens() -> None:
    token = PageTokens(["old"]).encode("i-1")
    assert PageTokens(["new", "old"]).decode(token) == "i-1"
    with pytest.raises(BadPageTokenError):
        PageTokens(["new"]).decode(token)
    with pytest.raises(BadPageTokenError):
        PageTokens([]).decode(token)


def test_time_is_utc() -> None:
    now = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
    assert time_text(int(now.timestamp()) * 1_000_000_000) == "2026-01-31T09:30:00Z"
