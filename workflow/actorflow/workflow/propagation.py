"""PURE. History propagation: what an activity or a child gets to see of those that asked for it.

As in Dapr: scope "own" shows the history of the instance that asks, up to and with the request;
"lineage" shows before it what that instance was shown itself. Only remote workers can ask for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from actorflow.workflow.codec import decode_event, encode_event
from actorflow.workflow.events import ExecutionStarted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.actors.ports import ActorRecord
    from actorflow.workflow.state import InstanceState

PROPAGATED = "propagated"
"""Field of an instance that was shown a history when it was started."""

OWN = "own"
LINEAGE = "lineage"


class HistoryChunk(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The history of one instance, as encoded events, oldest first."""

    app_id: str
    instance_id: str
    workflow_name: str
    events: tuple[bytes, ...]


class PropagatedHistory(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Histories from the furthest ancestor to the instance that asked. `scope` is OWN or
    LINEAGE."""

    scope: str
    chunks: tuple[HistoryChunk, ...]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(PropagatedHistory).decode


def encode_propagated(history: PropagatedHistory) -> bytes:
    """Return the stored form."""
    return _encode(history)


def propagated_of(record: ActorRecord) -> PropagatedHistory | None:
    """Return what an instance was shown when it was started. Raises msgspec.DecodeError."""
    stored = record.fields.get(PROPAGATED)
    return _decode(stored) if stored is not None else None


class Lineage:
    """What one execution can show to others: its own log, and what it was shown."""

    __slots__ = ("_log", "_received")

    def __init__(self, log: Iterable[bytes], received: PropagatedHistory | None) -> None:
        self._log = list(log)
        self._received = received

    def add(self, entry: bytes) -> None:
        """Note an event that was appended to the log."""
        self._log.append(entry)

    @property
    def log(self) -> list[bytes]:
        """The log so far: the list grows, and is never changed otherwise."""
        return self._log

    def begin_again(self) -> None:
        """The log begins anew."""
        self._log = []

    def shown(self, scope: str, state: InstanceState, app_id: str) -> PropagatedHistory | None:
        """Return what a request with this scope is shown; None when it asks for nothing."""
        if not scope:
            return None
        events = tuple(_with_input(entry, state.input) for entry in self._log)
        own = HistoryChunk(app_id, state.instance_id, state.name, events)
        received = self._received.chunks if self._received and scope == LINEAGE else ()
        return PropagatedHistory(scope, (*received, own))


def _with_input(entry: bytes, text: str | None) -> bytes:
    """The log keeps the input of the start elsewhere: put it back."""
    if text is None:
        return entry
    event = decode_event(entry)
    return encode_event(replace(event, input=text)) if type(event) is ExecutionStarted else entry
