"""PURE. What hosts tell each other: letters to partitions and to hosts, and their bytes.

A letter may be lost, repeated or late; whoever sends one must not depend on it. Exactly-once comes
from links (`link.py`), durability from commits.
"""

from typing import Any, NamedTuple

import msgspec

from actorflow.actors.errors import ActorCallError, ActorflowError, encodable, text_of
from actorflow.actors.ports import EntryId, LinkEntry, LinkMark


class _Letter(msgspec.Struct, frozen=True, tag_field="k", omit_defaults=True, array_like=True):
    """Base of all letters."""


class Call(_Letter, frozen=True, tag="call"):
    """To a partition: a call from a host that does not own it. `chain` lists the actors that wait
    for the answer; `durable` asks for it when the message is stored, not when its turn ended."""

    id: str
    reply_to: str
    target: tuple[str, str]
    method: str
    payload: bytes
    chain: tuple[tuple[str, str], ...] = ()
    sender: tuple[str, str] | None = None
    durable: bool = False


class Answer(_Letter, frozen=True, tag="answer"):
    """To a host: the answer to one of its calls, or an error as code, text and fields."""

    id: str
    payload: bytes = b""
    code: str = ""
    text: str = ""
    fields: dict[str, Any] = {}


class LinkBatch(_Letter, frozen=True, tag="link"):
    """To a partition: entries of a link, in order. `skip` is a mark (id and lineage) that the
    receiver once named: the sender keeps nothing between it and the first entry."""

    source: int
    entries: tuple[LinkEntry, ...]
    skip: tuple[EntryId, int] | None = None


class LinkAck(_Letter, frozen=True, tag="ack"):
    """To a partition: how far `destination` has stored its link; `gap` asks to send from
    there."""

    destination: int
    mark: EntryId
    lineage: int = 0
    gap: bool = False


class WatchRequest(_Letter, frozen=True, tag="watch"):
    """To a partition: tell `host` when this actor's summary has one of these phases, once. Without
    phases tell it of each change, for a while."""

    actor: tuple[str, str]
    host: str
    phases: tuple[str, ...] = ()


class NoticeLetter(_Letter, frozen=True, tag="notice"):
    """To a host: a watched summary changed; an empty phase and label stand for a deleted actor."""

    actor: tuple[str, str]
    summary: tuple[str, str, int, int, bytes] | None


class Offer(_Letter, frozen=True, tag="offer"):
    """To a host: this partition is free and meant for you."""

    partition: int


class NewOwner(NamedTuple):
    """A partition with a new owner, and how far that one has the links of others."""

    partition: int
    epoch: int
    marks: tuple[LinkMark, ...]


class NewOwners(_Letter, frozen=True, tag="owners"):
    """To a host: `host` owns these partitions now. It waits for a `Heard`."""

    host: str
    partitions: tuple[NewOwner, ...]


class Heard(_Letter, frozen=True, tag="heard"):
    """To a host: what sends to these partitions (number and epoch) at `host` knows."""

    host: str
    partitions: tuple[tuple[int, int], ...]


class HostLetter(_Letter, frozen=True, tag="host"):
    """To a host: a word of the layer above, which listens for its `topic`."""

    topic: str
    sender: str
    payload: bytes = b""


Letter = (
    Call
    | Answer
    | LinkBatch
    | LinkAck
    | WatchRequest
    | NoticeLetter
    | Offer
    | NewOwners
    | Heard
    | HostLetter
)

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Letter] = msgspec.msgpack.Decoder(Letter)


def encode_letter(letter: Letter) -> bytes:
    """Return the bytes of a letter."""
    return _encode(letter)


def decode_letter(data: bytes) -> Letter:
    """Return a letter. Raises msgspec.DecodeError for anything that is not one."""
    return _decoder.decode(data)


def answer_of(call_id: str, error: BaseException) -> Answer:
    """Return an answer that carries an error as text."""
    code = error.code if isinstance(error, ActorflowError) else ActorCallError.code
    fields = {
        name: encodable(value) if isinstance(value, str) else value
        for name, value in vars(error).items()
        if isinstance(value, str | int | float | bool) and not name.startswith("_")
    }
    return Answer(call_id, b"", code, text_of(error) or type(error).__name__, fields)


def error_of(answer: Answer) -> ActorflowError:
    """Return the error that an answer carries, of the same class if this program knows it."""
    for kind in _error_classes(ActorflowError):
        if kind.code == answer.code:
            error = kind.__new__(kind)
            Exception.__init__(error, answer.text)
            vars(error).update(answer.fields)
            return error
    return ActorCallError(answer.code, answer.text)


def _error_classes(base: type[ActorflowError]) -> list[type[ActorflowError]]:
    found = [base]
    for kind in base.__subclasses__():
        found.extend(_error_classes(kind))
    return found
