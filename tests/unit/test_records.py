"""How an instance lies in the store, and what comes back."""

import json

from actorflow.actors import ActorId
from actorflow.actors.ports import ActorRecord, Summary
from actorflow.workflow.events import ExecutionStarted, HistoryEvent, ParentRef, TurnStarted
from actorflow.workflow.records import as_before_details, head_of, instance_of, summary_of
from actorflow.workflow.state import InstanceState

OLD_HEAD = b'{"execution_id":"x","created_at_ns":10,"updated_at_ns":20,"history_length":2}'
"""As written before heads had version, tags and time of the start."""


def summary(*events: HistoryEvent) -> Summary:
    state = InstanceState()
    for event in events:
        state.apply(event)
    return summary_of(state, start_key="", worker_wanted=False)


def record(of: Summary) -> ActorRecord:
    return ActorRecord(ActorId("workflow", "i"), 1, of, {}, 0)


def start(**changes: object) -> ExecutionStarted:
    fields = {"at_ns": 10, "name": "flow", "instance_id": "i", "execution_id": "x", **changes}
    return ExecutionStarted(**fields)  # type: ignore[arg-type]  # a table of fields


def test_version_tags_app_of_the_parent_and_time_of_the_start_come_back() -> None:
    parent = ParentRef(instance_id="p", execution_id="y", task_id=1, app_id="billing")
    began = start(version="2", tags={"a": "b", "": "é"}, parent=parent)
    stored = summary(TurnStarted(at_ns=30), began, TurnStarted(at_ns=40))
    shown = instance_of(record(stored))
    assert (shown.version, shown.tags) == ("2", {"a": "b", "": "é"})
    assert (shown.parent_instance_id, shown.parent_app_id) == ("p", "billing")
    assert (shown.created_at_ns, shown.started_at_ns) == (10, 30)


def test_what_is_not_set_takes_no_room_in_the_head() -> None:
    stored = summary(start())
    assert set(json.loads(stored.head)) == {
        *("execution_id", "created_at_ns", "updated_at_ns", "history_length")
    }
    shown = instance_of(record(stored))
    assert (shown.version, shown.tags, shown.parent_app_id) == (None, {}, "")
    assert shown.started_at_ns is None


def test_older_heads_can_be_read() -> None:
    older = record(Summary("flow", "RUNNING", 0, 0, OLD_HEAD))
    assert head_of(older).history_length == 2
    shown = instance_of(older)
    assert (shown.version, shown.tags, shown.started_at_ns) == (None, {}, None)


def test_a_summary_as_older_releases_wrote_it() -> None:
    newer = summary(TurnStarted(at_ns=20), start(version="2", tags={"a": "b"}))
    assert as_before_details(newer) == newer._replace(head=OLD_HEAD)
    plain = summary(start())
    assert as_before_details(plain) == plain
