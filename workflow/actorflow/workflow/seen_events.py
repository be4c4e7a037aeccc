"""The ids of the events that an instance has taken, so that a repeated raise has no effect."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING

from actorflow.workflow.codec import decode_event
from actorflow.workflow.events import EventRaised
from actorflow.workflow.records import EVENT_IDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.actors import ActorRecord
    from actorflow.workflow.events import HistoryEvent

REMEMBERED = 1_000
"""Newest ids of an instance that are remembered."""

DIGEST_BYTES = 16
"""Of each id only so much of a hash is kept."""


class SeenEvents:
    """Remembers the newest ids, oldest first. Events without an id are always new."""

    __slots__ = ("_digests",)

    def __init__(self, stored: bytes = b"") -> None:
        starts = range(0, len(stored), DIGEST_BYTES)
        self._digests = OrderedDict.fromkeys(stored[at : at + DIGEST_BYTES] for at in starts)

    def take(self, event_id: str) -> bool:
        """Remember an id; return whether it is new."""
        if not event_id:
            return True
        digest = sha256(event_id.encode()).digest()[:DIGEST_BYTES]
        if digest in self._digests:
            return False
        self._digests[digest] = None
        if len(self._digests) > REMEMBERED:
            self._digests.popitem(last=False)
        return True

    def to_bytes(self) -> bytes:
        """Return what the constructor takes."""
        return b"".join(self._digests)


def seen_events_of(record: ActorRecord, inbox: Iterable[HistoryEvent]) -> SeenEvents | None:
    """Return the ids in a stored instance; None when there are none.

    Those of its earlier executions are a field of their own, the others are in its history and
    among the facts that no worker has seen.
    """
    stored = record.fields.get(EVENT_IDS)
    events = [decode_event(entry) for entry in record.log if b'"dedup_id"' in entry]
    ids = [event.dedup_id for event in (*events, *inbox) if isinstance(event, EventRaised)]
    if stored is None and not any(ids):
        return None
    seen = SeenEvents(stored or b"")
    for event_id in ids:
        seen.take(event_id)
    return seen
