"""Whatever is encoded decodes to itself; whatever else is decoded is an event or a named error."""

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from actorflow.workflow.codec import decode_event, encode_event
from actorflow.workflow.errors import HistoryCorruptError
from actorflow.workflow.events import FailureDetails, HistoryEvent

text = st.text(st.characters(exclude_categories=["Cs"]))
integers = st.integers(min_value=-(2**63), max_value=2**63 - 1)

st.register_type_strategy(str, text)
failures = st.recursive(
    st.builds(FailureDetails, error_type=text, message=text, inner=st.none()),
    lambda inner: st.builds(FailureDetails, error_type=text, message=text, inner=inner),
    max_leaves=4,
)
events: st.SearchStrategy[HistoryEvent] = st.one_of(
    [
        st.builds(
            kind,
            **{
                name: {"event_id": integers, "at_ns": integers, "failure": failures}[name]
                for name in kind.__struct_fields__
                if name in ("event_id", "at_ns", "failure")
            },
        )
        for kind in get_args(HistoryEvent)
    ]
)


@given(events)
def test_an_event_survives_its_bytes(event: HistoryEvent) -> None:
    assert decode_event(encode_event(event)) == event


@given(events, st.data())
def test_damaged_bytes_give_an_event_or_a_named_error(
    event: HistoryEvent, data: st.DataObject
) -> None:
    record = bytearray(encode_event(event))
    position = data.draw(st.integers(min_value=0, max_value=len(record) - 1))
    record[position] = data.draw(st.integers(min_value=0, max_value=255))
    length = data.draw(st.integers(min_value=0, max_value=len(record)))
    try:
        decode_event(bytes(record[:length]))
    except HistoryCorruptError as error:
        assert str(error)  # noqa: PT017 -- either outcome is allowed
