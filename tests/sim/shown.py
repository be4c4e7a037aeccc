"""What a worker is shown, held against what is committed: it may come from a host's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.actors.store.memory import MemoryStore, _record
from actorflow.workflow.events import ExecutionStarted, TurnStarted
from actorflow.workflow.propagation import propagated_of
from actorflow.workflow.records import history_of, inbox_of
from actorflow.workflow.workitem import TurnItem

if TYPE_CHECKING:
    from actorflow.actors.ports import ActorRecord
    from actorflow.workflow.streams import Item


class Shown:
    """Counts the turns that could be checked: of the others the instance has gone on since."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.checked = 0

    def check(self, item: Item) -> None:
        """Raise AssertionError for a turn that shows what was never so."""
        if not isinstance(item, TurnItem):
            return
        record = self._record_of(item)
        if record is None:
            return
        history, facts = history_of(record), list(inbox_of(record).values())
        starts = [event for event in (*facts, *history) if isinstance(event, ExecutionStarted)]
        is_now = bool(starts) and starts[0].execution_id == item.execution_id
        if not is_now or len(history) != len(item.past_events) or not facts:
            return
        began, *shown = item.new_events
        assert isinstance(began, TurnStarted)
        assert list(item.past_events) == history
        assert shown == facts[: len(shown)]
        assert began.at_ns >= max(event.at_ns for event in (*history, *shown))
        assert item.propagated == propagated_of(record)
        self.checked += 1

    def _record_of(self, item: TurnItem) -> ActorRecord | None:
        instance = item.token.instance(item.instance_id)
        for partition in self._store._partitions.values():
            for actor in partition.actors.values():
                if actor.actor == instance:
                    return _record(actor, with_log=True)
        return None
