"""Letters between hosts: every kind survives its bytes, errors keep their class."""

from __future__ import annotations

import msgspec
import pytest

from actorflow.actors.address import ActorId
from actorflow.actors.errors import (
    ActorCallError,
    ActorflowError,
    CallCycleError,
    NotOwnerError,
    OverloadedError,
    StoreUnavailableError,
)
from actorflow.actors.letters import (
    Answer,
    Call,
    Heard,
    LinkAck,
    LinkBatch,
    NewOwner,
    NewOwners,
    NoticeLetter,
    Offer,
    WatchRequest,
    answer_of,
    decode_letter,
    encode_letter,
    error_of,
)
from actorflow.actors.ports import EntryId, LinkEntry, LinkMark, Summary
from actorflow.workflow.errors import InstanceNotFoundError

ANN = ActorId("Account", "änn")
ENTRY = LinkEntry(3, EntryId(7, 1), 99, EntryId(6, 4), ANN, "add", b"\x00\xff", ANN)

LETTERS = [
    Call("id", "host", ANN, "add", b"1", (ANN,), ANN, durable=True),
    Call("id", "host", ANN, "add", b""),
    Answer("id", b"\x00"),
    Answer("id", code="USAGE", text="no", fields={"n": 1}),
    LinkBatch(1, (ENTRY, ENTRY._replace(sender=None))),
    LinkBatch(1, (ENTRY,), skip=(EntryId(2, 3), 4)),
    NewOwners("host", (NewOwner(1, 2**62, (LinkMark(2, EntryId(3, 4), 5),)),)),
    Heard("host", ((1, 2**62),)),
    LinkAck(1, EntryId(2, 3), 4),
    LinkAck(1, EntryId(0, 0), gap=True),
    WatchRequest(ANN, "host"),
    NoticeLetter(ANN, Summary("l", "p", 1, 2, b"h")),
    NoticeLetter(ANN, None),
    Offer(5),
]


@pytest.mark.parametrize("letter", LETTERS, ids=lambda letter: type(letter).__name__)
def test_every_letter_survives_its_bytes(letter: object) -> None:
    assert decode_letter(encode_letter(letter)) == letter  # type: ignore[arg-type]  # one of them


def test_an_error_whose_text_cannot_be_encoded_reaches_its_caller() -> None:
    """An author's error may name a file as `os.fsdecode` does. To raise here would end the drain of
    a partition in the middle: its actor, and all that waits behind, would never go on."""
    raised = ActorCallError("FileNotFoundError", "no b\udcffd.txt", "the stack \ud800")
    answer = decode_letter(encode_letter(answer_of("id", raised)))
    assert isinstance(answer, Answer)
    error = error_of(answer)
    assert isinstance(error, ActorCallError)
    assert "no b\\udcffd.txt" in str(error)
    assert vars(error).keys() == vars(raised).keys()


def test_entries_come_back_as_entries() -> None:
    """They are compared by position; a plain tuple would do that too, but has no names."""
    letter = decode_letter(encode_letter(LinkBatch(1, (ENTRY,))))
    assert isinstance(letter, LinkBatch)
    assert isinstance(letter.entries[0].id, EntryId)
    assert letter.entries[0].target == ANN


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01\x02\x03", b"null"])
def test_what_is_no_letter_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_letter(data)


@pytest.mark.parametrize(
    "error",
    [
        NotOwnerError("moved"),
        OverloadedError("the mailbox", 5),
        StoreUnavailableError("down", written=None),
        CallCycleError((ANN, ANN)),
        ActorCallError("ValueError", "bad", "stack"),
        InstanceNotFoundError("i-1"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_keep_class_text_and_fields(error: ActorflowError) -> None:
    letter = decode_letter(encode_letter(answer_of("id", error)))
    assert isinstance(letter, Answer)
    back = error_of(letter)
    assert type(back) is type(error)
    assert str(back) == str(error)
    for name, value in vars(error).items():
        if isinstance(value, str | int | bool):
            assert getattr(back, name) == value


def test_an_unknown_error_is_still_an_error() -> None:
    back = error_of(Answer("id", code="FROM_THE_FUTURE", text="what"))
    assert isinstance(back, ActorCallError)
    assert "what" in str(back)
    foreign = answer_of("id", ValueError("odd"))
    assert isinstance(error_of(foreign), ActorCallError)
