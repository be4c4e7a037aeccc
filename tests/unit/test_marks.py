"""What rows say about actors that may end their hosts."""

import pytest

from actorflow.actors import ActorId
from actorflow.actors.marks import (
    CONVICTION,
    MARK,
    REASON_OF_MARK,
    Marks,
    conviction_in,
    is_void,
    mark_of,
    marks_in,
    reason_of_conviction,
)
from actorflow.actors.ports import MessageRow

ANN = ActorId("Cell", "ann")
BOB = ActorId("Cell", "bob")


def mark(id_: int, actor: ActorId, lost: int) -> MessageRow:
    message = mark_of(actor, lost)
    message.id = id_
    return message.to_row(REASON_OF_MARK)


def test_marks_of_one_actor_are_taken_together() -> None:
    rows = [
        mark(1, ANN, 1),
        mark(2, BOB, 1),
        MessageRow(3, ANN, "add", b"2"),
        MessageRow(4, ANN, "add", b"2", None, "ValueError"),
        mark(5, ANN, 2),
    ]
    assert marks_in(rows) == {ANN: Marks((1, 5), 2), BOB: Marks((2,), 1)}


@pytest.mark.parametrize("method", [MARK, CONVICTION])
def test_what_somebody_has_lifted_says_nothing_any_more(method: str) -> None:
    row = MessageRow(1, ANN, method, b"2", None, "a reason")
    assert not is_void(row)
    lifted = row._replace(parked="")
    assert is_void(lifted)
    assert marks_in([lifted]) == {}
    assert not is_void(MessageRow(1, ANN, "add", b""))


def test_a_conviction_is_found_among_what_is_parked() -> None:
    reason = reason_of_conviction(ANN, 3)
    assert reason.startswith("3 hosts were lost while Cell/ann ran")
    assert conviction_in([("add", "ValueError"), (CONVICTION, reason)]) == reason
    assert conviction_in([("add", "ValueError")]) == ""
