"""Events to bytes and back, and what is said of bytes that are no event."""

import pytest

from actorflow.workflow.codec import decode_event, encode_event
from actorflow.workflow.errors import HistoryCorruptError
from actorflow.workflow.events import EventRaised, ExecutionStarted, TaskCompleted, TimerCreated


def test_a_record_begins_with_its_version_and_is_readable() -> None:
    record = encode_event(TaskCompleted(at_ns=5, task_id=1, result='"ok"'))
    assert record == b'1{"k":"taskok","at_ns":5,"task_id":1,"result":"\\"ok\\""}'


def test_defaults_are_not_stored() -> None:
    assert encode_event(TimerCreated(fire_at_ns=1)) == b'1{"k":"timer","fire_at_ns":1}'


def test_absent_and_empty_payloads_differ() -> None:
    absent, empty = EventRaised(name="e"), EventRaised(name="e", input="")
    assert decode_event(encode_event(absent)) == absent
    assert decode_event(encode_event(empty)) == empty
    assert absent != empty


def test_unknown_fields_are_ignored() -> None:
    record = b'1{"k":"event","name":"e","added_later":{"a":[1]}}'
    assert decode_event(record) == EventRaised(name="e")


def test_records_of_the_first_release_stay_readable() -> None:
    record = (
        b'1{"k":"start","at_ns":7,"name":"w","instance_id":"i","execution_id":"x","input":"1",'
        b'"parent":{"instance_id":"p","execution_id":"y","task_id":3},"tags":{"a":"b"}}'
    )
    event = decode_event(record)
    assert isinstance(event, ExecutionStarted)
    assert (event.name, event.tags, event.generation) == ("w", {"a": "b"}, 1)
    assert event.parent is not None
    assert event.parent.task_id == 3


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (b"", "is empty"),
        (b'2{"k":"event","name":"e"}', "is not a format version"),
        (b"\x00\x01", "is not a format version"),
        (b"1", "truncated"),
        (b'1{"k":"event","na', "truncated"),
        (b'1{"k":"event","name":"\xff"}', "begins b'1{"),
        (b'1{"k":"event"}', "missing required field `name`"),
        (b'1{"k":"event","name":5}', "Expected `str`, got `int`"),
        (b'1{"k":"invented","name":"e"}', "Invalid value 'invented'"),
        (b"1[]", "Expected `object`"),
        (b"1" + b"[" * 100_000, "cannot be decoded"),
    ],
)
def test_corrupt_bytes_are_named(record: bytes, problem: str) -> None:
    with pytest.raises(HistoryCorruptError) as caught:
        decode_event(record)
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 500
