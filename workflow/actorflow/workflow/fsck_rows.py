"""PURE. What waits in all partitions, ordered by whom it brings on; and rules of links.

Messages on their way between partitions count like those that have arrived.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from actorflow.actors.address import ActorId, partition_of
from actorflow.actors.marks import MARK
from actorflow.workflow.errors import HistoryCorruptError
from actorflow.workflow.fsck_rules import Finding
from actorflow.workflow.requests import (
    ACTIVITY,
    GO_ON,
    INSTANCE,
    RESULT,
    START,
    TURN,
    WORKER,
    WORKER_READY,
    StartRequest,
    WorkerWanted,
    WorkItem,
    instance_type,
    unpack,
    unpack_result,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from actorflow.actors.ports import (
        DueReminder,
        LinkEntry,
        LinkMark,
        MessageRow,
        Recovery,
        Reminder,
    )
    from actorflow.workflow.events import ParentRef


class Parked(NamedTuple):
    """A message that is no longer delivered, and where it lies."""

    partition: int
    row: MessageRow


class Waiting:
    """Counts of messages by what they bring on, and reminders by their instance.

    Instances are named by their actors, since two apps may use the same id. work, results: by
    instance, execution and action. starts: child and parent. wakers: messages that make an instance
    look at its inbox. workers: requests for a worker. `others` are reminders of actors that are no
    workflow instances. A parked message counts where it belongs, since it is a finding of its own.
    """

    def __init__(self) -> None:
        self.work: Counter[tuple[ActorId, str, int]] = Counter()
        self.results: Counter[tuple[ActorId, str, int]] = Counter()
        self.starts: set[tuple[ActorId, ParentRef]] = set()
        self.wakers: Counter[ActorId] = Counter()
        self.workers: Counter[ActorId] = Counter()
        self.to_instance: Counter[ActorId] = Counter()
        self.reminders: dict[ActorId, dict[str, Reminder]] = defaultdict(dict)
        self.numbers: dict[ActorId, int] = {}
        self.others: list[tuple[int, DueReminder]] = []
        self.parked: list[Parked] = []
        self.link_findings: set[Finding] = set()
        self.message_count = 0
        self.reminder_count = 0
        self.on_link_count = 0

    def add_partition(self, partition: int, recovery: Recovery) -> Iterator[Finding]:
        """Take the rows of one partition; yield what cannot be read."""
        for row in recovery.messages:
            self.message_count += 1
            if row.parked and row.method != MARK:
                self.parked.append(Parked(partition, row))
            if fault := self.add_message(row.target, row.method, row.payload):
                yield Finding("message", row.target.key, f"message {row.id}: {fault}")
        for due in recovery.reminders:
            self.reminder_count += 1
            if is_instance(due.actor):
                self.reminders[due.actor][due.reminder.name] = due.reminder
                self.numbers[due.actor] = due.number
            else:
                self.others.append((partition, due))

    def add_entries(self, entries: Iterable[LinkEntry]) -> Iterator[Finding]:
        """Take entries of links that have not arrived; yield what cannot be read."""
        for entry in entries:
            self.on_link_count += 1
            if fault := self.add_message(entry.target, entry.method, entry.payload):
                yield Finding("message", entry.target.key, f"entry {entry.id} of a link: {fault}")

    def add_message(self, target: ActorId, method: str, payload: bytes) -> str:
        """Count one message; return why it cannot be read, or an empty text."""
        try:
            if target.type == ACTIVITY:
                item = unpack(WorkItem, payload)
                asker = ActorId(item.asker_type, item.instance_id)
                self.work[asker, item.execution_id, item.task_id] += 1
            elif target.type == WORKER:
                wanted = unpack(WorkerWanted, payload)
                self.workers[ActorId(instance_type(wanted.app_id), target.key)] += 1
            elif is_instance(target):
                self._add_to_instance(target, method, payload)
        except (msgspec.MsgspecError, HistoryCorruptError, ValueError) as error:
            return f"a {method!r} for {target.type} cannot be read: {error}"
        return ""

    def _add_to_instance(self, actor: ActorId, method: str, payload: bytes) -> None:
        self.to_instance[actor] += 1
        if method == RESULT:
            execution_id, event = unpack_result(payload)
            self.results[actor, execution_id, getattr(event, "task_id", 0)] += 1
        elif method == START:
            parent = unpack(StartRequest, payload).parent
            if parent is not None:
                self.starts.add((actor, parent))
        elif method in (WORKER_READY, GO_ON, TURN):
            self.wakers[actor] += 1


def is_instance(actor: ActorId) -> bool:
    """Whether an actor is a workflow instance, of whichever app."""
    return actor.type.partition("@")[0] == INSTANCE


def not_arrived(
    source: int, outbox: Sequence[LinkEntry], marks: Mapping[tuple[int, int], LinkMark]
) -> Iterator[LinkEntry]:
    """Yield the entries that their receivers have not stored yet.

    Args:
        marks: by destination and source.
    """
    for entry in outbox:
        mark = marks.get((entry.destination, source))
        if mark is None or entry.id > mark.id:
            yield entry


def link_faults(
    source: int,
    outbox: Sequence[LinkEntry],
    marks: Mapping[tuple[int, int], LinkMark],
    partition_count: int,
) -> Iterator[str]:
    """Yield what is wrong with the links that leave a partition (I8)."""
    last: dict[int, LinkEntry] = {}
    for entry in outbox:
        before = last.get(entry.destination)
        last[entry.destination] = entry
        if entry.destination == source or not 0 <= entry.destination < partition_count:
            yield f"an entry goes to partition {entry.destination}"
        elif partition_of(entry.target, partition_count) != entry.destination:
            yield f"entry {entry.id} for {entry.target} goes to the wrong partition"
        elif before is not None and entry.prev != before.id:
            yield f"the link to {entry.destination} has a gap between {before.id} and {entry.id}"
        elif before is None:
            mark = marks.get((entry.destination, source))
            if mark is not None and entry.prev > mark.id:
                yield (
                    f"partition {entry.destination} has the link up to {mark.id}, and nothing is "
                    f"kept before {entry.id}: messages are missing"
                )
    for destination, entry in last.items():
        mark = marks.get((destination, source))
        if mark is not None and mark.id > entry.id:
            yield (
                f"partition {destination} has the link up to {mark.id}, beyond the last entry "
                f"{entry.id}: this partition's store lost data"
            )
