"""PURE. Who is whose child, as far as their records say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.address import ActorId
from actorflow.actors.errors import CorruptError
from actorflow.workflow.codec import decode_event
from actorflow.workflow.events import ChildCreated, ExecutionStarted
from actorflow.workflow.records import history_of, inbox_of
from actorflow.workflow.requests import instance_type

if TYPE_CHECKING:
    from actorflow.actors.ports import ActorRecord


class Family(NamedTuple):
    """A run of an instance, and all that it has asked for as children, each once.

    Another instance may have had the id of one: then the child was never born. See `has`.
    """

    execution_id: str
    children: tuple[ActorId, ...]

    def has(self, record: ActorRecord) -> bool:
        """Whether an instance is a child of this run. What cannot be read counts as one: whoever
        handles it next finds out."""
        try:
            start = _start_of(record)
        except CorruptError:
            return True
        parent = start.parent if start is not None else None
        return parent is not None and parent.execution_id == self.execution_id


def family_of(record: ActorRecord) -> Family:
    """Return the family of the present run, from a record with log. Raises HistoryCorruptError."""
    found: dict[ActorId, None] = {}
    for event in history_of(record):
        if isinstance(event, ChildCreated):
            kind = instance_type(event.app_id) if event.app_id else record.actor.type
            found[ActorId(kind, event.instance_id)] = None
    start = _start_of(record)
    return Family(start.execution_id if start is not None else "", tuple(found))


def _start_of(record: ActorRecord) -> ExecutionStarted | None:
    """Return the start of the present run: one that waits comes after one that has ended."""
    for fact in inbox_of(record).values():
        if isinstance(fact, ExecutionStarted):
            return fact
    events = (decode_event(entry) for entry in record.log)
    return next((event for event in events if isinstance(event, ExecutionStarted)), None)
