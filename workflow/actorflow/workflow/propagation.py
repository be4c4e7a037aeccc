"""PURE. History propagation: what an activity or a child gets to see of those that asked for it.

As in Dapr: scope "own" shows the history of the instance that asks, up to and with the request;
"lineage" shows before it what that instance was shown itself. Only remote workers can ask for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from actorflow.workflow.codec import encode_event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.actors.ports import ActorRecord
    from actorflow.workflow.events import HistoryEvent
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
    """What one execution can show to others: its own history, and what it was shown.

    `history` is with all payloads. The list grows, and is never changed otherwise.
    """

    __slots__ = ("_received", "history")

    def __init__(self, history: Iterable[HistoryEvent], received: PropagatedHistory | None) -> None:
        self.history = list(history)
        self._received = received

    def begin_again(self) -> None:
        """The history begins anew."""
        self.history = []

    def shown(self, scope: str, state: InstanceState, app_id: str) -> PropagatedHistory | None:
        """Return what a request with this scope is shown; None when it asks for nothing."""
        if not scope:
            return None
        events = tuple(encode_event(event) for event in self.history)
        own = HistoryChunk(app_id, state.instance_id, state.name, events)
        received = self._received.chunks if self._received and scope == LINEAGE else ()
        return PropagatedHistory(scope, (*received, own))
