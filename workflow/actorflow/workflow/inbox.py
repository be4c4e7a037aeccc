"""PURE. Facts of one instance that its code cannot take yet, in order, each stored as a field."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from msgspec.structs import replace

from actorflow.workflow.events import (
    ExecutionResumed,
    ExecutionStarted,
    ExecutionSuspended,
    HistoryEvent,
)
from actorflow.workflow.records import inbox_field, inbox_of, stripped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actorflow.actors.effects import Effects
    from actorflow.actors.ports import ActorRecord


class Inbox:
    """Empty most of the time, and then without a dictionary: there is one an instance.

    `start` is the start that no code has seen yet, None when there is none.
    """

    __slots__ = ("_facts", "_next", "start")

    def __init__(self, record: ActorRecord | None = None) -> None:
        """Read what is stored. Raises HistoryCorruptError."""
        facts = inbox_of(record) if record is not None else {}
        self._facts: dict[str, HistoryEvent] | None = None
        if facts:
            self._facts = {inbox_field(index): fact for index, fact in facts.items()}
        self._next = max(facts) + 1 if facts else 0
        self.start = _first_start(facts.values())

    def __len__(self) -> int:
        return len(self._facts) if self._facts is not None else 0

    def __iter__(self) -> Iterator[HistoryEvent]:
        return iter(self._facts.values() if self._facts is not None else ())

    @property
    def suspends(self) -> bool | None:
        """Whether the newest word on it is to suspend; None when none of the facts says."""
        for fact in reversed(list(self)):
            if isinstance(fact, ExecutionSuspended | ExecutionResumed):
                return isinstance(fact, ExecutionSuspended)
        return None

    def put(self, effects: Effects, fact: HistoryEvent) -> None:
        """Add one fact behind the others."""
        if self._facts is None:
            self._facts = {}
        if type(fact) is ExecutionStarted and self.start is None:
            self.start = fact
        name = inbox_field(self._next)
        self._facts[name] = fact
        effects.put_field(name, stripped(fact))
        self._next += 1

    def take(self, effects: Effects, count: int) -> list[HistoryEvent]:
        """Remove and return so many facts, the oldest; the others stay where they are."""
        facts = self._facts
        if facts is None or count >= len(facts):
            return self.take_all(effects)
        names = list(islice(facts, count))
        for name in names:
            effects.delete_field(name)
        taken = [facts.pop(name) for name in names]
        if self.start is not None:
            self.start = _first_start(facts.values())
        return taken

    def take_all(self, effects: Effects, *, since_ns: int = 0) -> list[HistoryEvent]:
        """Remove and return all facts, oldest first. What came before `since_ns`, when the history
        grew past them, came then: time does not run backwards in a history."""
        if self._facts is None:
            return []
        facts, self._facts, self._next, self.start = self._facts, None, 0, None
        for name in facts:
            effects.delete_field(name)
        return [
            replace(fact, at_ns=since_ns) if fact.at_ns < since_ns else fact
            for fact in facts.values()
        ]


def _first_start(facts: Iterable[HistoryEvent]) -> ExecutionStarted | None:
    return next((fact for fact in facts if isinstance(fact, ExecutionStarted)), None)
