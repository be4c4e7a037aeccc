"""PURE. Facts of one instance that its code cannot take yet, in order, each stored as a field."""

from __future__ import annotations

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
    from collections.abc import Iterator

    from actorflow.actors.effects import Effects
    from actorflow.actors.ports import ActorRecord


class Inbox:
    """Empty most of the time, and then without a dictionary: there is one an instance."""

    __slots__ = ("_facts", "_next")

    def __init__(self, record: ActorRecord | None = None) -> None:
        """Read what is stored. Raises HistoryCorruptError."""
        facts = inbox_of(record) if record is not None else {}
        self._facts: dict[int, HistoryEvent] | None = facts or None
        self._next = max(facts) + 1 if facts else 0

    def __len__(self) -> int:
        return len(self._facts) if self._facts is not None else 0

    def __iter__(self) -> Iterator[HistoryEvent]:
        return iter(self._facts.values() if self._facts is not None else ())

    @property
    def start(self) -> ExecutionStarted | None:
        """The start that no code has seen yet."""
        if self._facts is not None:
            for fact in self._facts.values():
                if type(fact) is ExecutionStarted:
                    return fact
        return None

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
        self._facts[self._next] = fact
        effects.put_field(inbox_field(self._next), stripped(fact))
        self._next += 1

    def take_all(self, effects: Effects, *, since_ns: int = 0) -> list[HistoryEvent]:
        """Remove and return all facts, oldest first. What came before `since_ns`, when the history
        grew past them, came then: time does not run backwards in a history."""
        if self._facts is None:
            return []
        facts, self._facts, self._next = self._facts, None, 0
        for index in facts:
            effects.delete_field(inbox_field(index))
        return [
            replace(fact, at_ns=since_ns) if fact.at_ns < since_ns else fact
            for fact in facts.values()
        ]
