"""A store in dicts: nothing survives the process. For tests, simulation and trials.

Deterministic: the same calls at the same clock give the same answers in the same order.
"""

from __future__ import annotations

import logging
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actorflow.actors.clock import Clock, SystemClock
from actorflow.actors.errors import UsageError
from actorflow.actors.lease import (
    DEAD,
    Standing,
    abandoned_now,
    advanced,
    fault_in,
    next_epoch,
    refusal,
)
from actorflow.actors.ports import (
    Acquired,
    ActorRecord,
    CommitResult,
    DueReminder,
    EntryId,
    Held,
    Lease,
    Recovery,
)
from actorflow.actors.query import check_query

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from actorflow.actors.address import ActorId
    from actorflow.actors.ports import (
        ActorWrite,
        Commit,
        LinkEntry,
        LinkMark,
        MessageRow,
        Query,
        Reminder,
        Summary,
    )

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _StoredActor:
    actor: ActorId
    number: int
    summary: Summary | None = None
    fields: dict[str, bytes] = field(default_factory=dict)
    log: list[bytes] = field(default_factory=list)
    reminders: dict[str, Reminder] = field(default_factory=dict)

    def copy(self) -> _StoredActor:
        return _StoredActor(
            self.actor,
            self.number,
            self.summary,
            dict(self.fields),
            list(self.log),
            dict(self.reminders),
        )


@dataclass(slots=True)
class _Partition:
    standing: Standing = field(default_factory=Standing)
    until_ms: int = 0
    ttl_ms: int = 0
    actors: dict[ActorId, _StoredActor] = field(default_factory=dict)
    messages: dict[int, MessageRow] = field(default_factory=dict)
    outbox: dict[tuple[int, EntryId], LinkEntry] = field(default_factory=dict)
    marks: dict[int, LinkMark] = field(default_factory=dict)
    cursor: str = ""
    abandoned: int = 0

    def copy(self) -> _Partition:
        twin = copy(self)
        twin.actors = {actor: stored.copy() for actor, stored in self.actors.items()}
        twin.messages = dict(self.messages)
        twin.outbox = dict(self.outbox)
        twin.marks = dict(self.marks)
        return twin


class MemorySnapshot:
    """All that a `MemoryStore` held at one moment. Opaque; give it to `MemoryStore.restore`."""

    def __init__(self, partitions: dict[int, _Partition]) -> None:
        self._partitions = {number: part.copy() for number, part in partitions.items()}

    def _thaw(self) -> dict[int, _Partition]:
        return {number: part.copy() for number, part in self._partitions.items()}


class MemoryStore:
    """`PartitionStore` in memory, for any number of partitions. Closing it keeps the data.

    Concurrency: one event loop; no method suspends.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._partitions: dict[int, _Partition] = {}

    def snapshot(self) -> MemorySnapshot:
        """Return a copy of everything, ownership included."""
        return MemorySnapshot(self._partitions)

    def restore(self, snapshot: MemorySnapshot) -> None:
        """Go back to a snapshot, as a store does that lost its tail in a fail-over."""
        self._partitions = snapshot._thaw()  # noqa: SLF001 -- two halves of one value

    async def open(self) -> None:
        """Do nothing: the data is there."""

    async def close(self) -> None:
        """Do nothing: the data stays, so that a test can open it again."""

    async def acquire(self, partition: int, token: str, *, ttl_ms: int) -> Acquired | Held:
        """Take the partition; see `Ownership.acquire`."""
        if not token:
            raise UsageError("an owner's token must not be empty")
        part = self._partition(partition)
        now_ms = self._now_ms()
        holder = part.standing.token
        if holder not in (None, token) and part.until_ms > now_ms:
            return Held(str(holder), part.until_ms - now_ms, part.standing.epoch)
        epoch = next_epoch(part.standing, now_ms)
        part.abandoned = abandoned_now(part.standing, token, part.abandoned, now_ms)
        part.standing = part.standing._replace(epoch=epoch, token=token)
        part.ttl_ms = ttl_ms
        part.until_ms = now_ms + ttl_ms
        return Acquired(
            Lease(partition, epoch, token),
            part.standing.seq,
            part.standing.next_actor_number,
            part.standing.next_message_id,
            part.abandoned,
        )

    async def renew(self, lease: Lease, *, ttl_ms: int) -> bool:
        """Extend the lease; see `Ownership.renew`."""
        part = self._partition(lease.partition)
        if not _owns(part.standing, lease):
            return False
        part.ttl_ms = ttl_ms
        part.until_ms = self._now_ms() + ttl_ms
        return True

    async def release(self, lease: Lease, *, dead: bool = False) -> None:
        """Give the partition up; see `Ownership.release`."""
        part = self._partition(lease.partition)
        if _owns(part.standing, lease):
            part.standing = part.standing._replace(token=DEAD if dead else None)
            part.until_ms = 0

    async def commit(self, commit: Commit) -> CommitResult:
        """Apply the commit as a whole, or nothing of it; see `Store.commit`."""
        part = self._partition(commit.lease.partition)
        refused = refusal(part.standing, commit)
        if refused is not None:
            return refused
        if fault := fault_in(part.standing, commit) or _fault_against(part, commit):
            _log.error("commit is malformed", extra={"commit": commit.commit_id, "fault": fault})
            return CommitResult.BAD
        _apply(part, commit)
        part.standing = advanced(part.standing, commit)
        part.until_ms = self._now_ms() + part.ttl_ms
        return CommitResult.OK

    async def recover(self, partition: int, *, horizon_ms: int) -> Recovery:
        """Read what waits; see `Store.recover`."""
        part = self._partition(partition)
        reminders = (due for due in _reminders(part) if due.reminder.due_ms < horizon_ms)
        return Recovery(
            tuple(part.messages[id_] for id_ in sorted(part.messages)),
            tuple(sorted(reminders, key=_due_order)),
            tuple(part.outbox[place] for place in sorted(part.outbox)),
            tuple(part.marks[source] for source in sorted(part.marks)),
            part.cursor,
        )

    async def due(
        self, partition: int, *, from_ms: int, until_ms: int, limit: int
    ) -> Sequence[DueReminder]:
        """Read reminders of a window; see `Store.due`."""
        found = [
            due
            for due in _reminders(self._partition(partition))
            if from_ms <= due.reminder.due_ms < until_ms
        ]
        found.sort(key=_due_order)
        return found[: max(0, limit)]

    async def load(
        self, partition: int, actors: Sequence[ActorId], *, with_log: bool
    ) -> list[ActorRecord | None]:
        """Read many actors; see `Store.load`."""
        part = self._partition(partition)
        return [
            _record(stored, with_log=with_log) if (stored := part.actors.get(actor)) else None
            for actor in actors
        ]

    async def find(self, query: Query) -> list[ActorRecord]:
        """Search all partitions; see `Store.find`."""
        check_query(query)
        found = [
            stored
            for _, part in sorted(self._partitions.items())
            for stored in part.actors.values()
            if _matches(stored, query)
        ]
        found.sort(key=lambda stored: stored.actor.key)
        return [
            ActorRecord(stored.actor, stored.number, stored.summary, {}, len(stored.log))
            for stored in found[: query.limit]
        ]

    def _partition(self, number: int) -> _Partition:
        return self._partitions.setdefault(number, _Partition())

    def _now_ms(self) -> int:
        return self._clock.now_ns() // 1_000_000


def _owns(standing: Standing, lease: Lease) -> bool:
    return standing.epoch == lease.epoch and standing.token == lease.token


def _reminders(part: _Partition) -> Iterator[DueReminder]:
    for stored in part.actors.values():
        for reminder in stored.reminders.values():
            yield DueReminder(stored.actor, stored.number, reminder)


def _due_order(due: DueReminder) -> tuple[int, int, str]:
    return due.reminder.due_ms, due.number, due.reminder.name


def _record(stored: _StoredActor, *, with_log: bool) -> ActorRecord:
    return ActorRecord(
        stored.actor,
        stored.number,
        stored.summary,
        dict(stored.fields),
        len(stored.log),
        tuple(stored.log) if with_log else (),
    )


def _matches(stored: _StoredActor, query: Query) -> bool:
    key = stored.actor.key
    if stored.actor.type != query.actor_type or not key.startswith(query.key_prefix):
        return False
    if query.after and key <= query.after:
        return False
    return _summary_matches(stored.summary, query)


def _summary_matches(summary: Summary | None, query: Query) -> bool:
    if summary is None:
        return not (
            query.phases
            or query.label
            or query.created_from_ms is not None
            or query.created_to_ms is not None
        )
    return (
        (not query.phases or summary.phase in query.phases)
        and (not query.label or summary.label == query.label)
        and (query.created_from_ms is None or summary.created_ms >= query.created_from_ms)
        and (query.created_to_ms is None or summary.created_ms < query.created_to_ms)
    )


def _fault_against(part: _Partition, commit: Commit) -> str:
    """Return how the commit contradicts what is stored, or an empty text."""
    gone: set[ActorId] = set()
    for write in commit.actors:
        if write.delete:
            stored = part.actors.get(write.actor)
            if stored is None or stored.number != write.number:
                return f"actor {write.number}: there is none to delete"
            gone.add(write.actor)
    created: set[ActorId] = set()
    for write in commit.actors:
        if not write.delete:
            stored = None if write.actor in gone else part.actors.get(write.actor)
            if fault := _fault_in_target(stored, created, write):
                return f"actor {write.number}: {fault}"
    for message_id in (*commit.delete_messages, *(id_ for id_, _ in commit.park_messages)):
        if message_id not in part.messages:
            return f"message {message_id} is not stored"
    return _fault_in_values(commit)


def _fault_in_target(stored: _StoredActor | None, created: set[ActorId], write: ActorWrite) -> str:
    if write.create:
        if stored is not None or write.actor in created:
            return "exists already"
        created.add(write.actor)
        return ""
    if stored is None or stored.number != write.number:
        return "does not exist under this number"
    length = 0 if write.log_reset else len(stored.log)
    if write.log_append and write.log_start != length:
        return f"log has {length} entries, not {write.log_start}"
    return ""


def _fault_in_values(commit: Commit) -> str:
    """Refuse what a store with typed columns cannot hold."""
    for value in _values(commit):
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                return f"{value!r} is not valid Unicode"
        elif not -(2**63) <= value < 2**63:
            return f"{value} does not fit in 64 bits"
    return ""


def _values(commit: Commit) -> Iterator[str | int]:
    yield commit.seq
    yield commit.commit_id
    for write in commit.actors:
        yield write.number + 1  # the number after it is stored as well
        yield from write.actor
        if write.summary is not None:
            yield from write.summary[:4]
        yield from (name for name, _ in write.put_fields)
        yield from write.delete_fields
        yield from write.delete_reminders
        for reminder in write.put_reminders:
            yield from reminder[:3]
    for message in commit.put_messages:
        yield from (message.id + 1, *message.target, *(message.sender or ()))
        yield from (message.method, message.parked)
    yield from (reason for _, reason in commit.park_messages)


def _apply(part: _Partition, commit: Commit) -> None:
    for write in commit.actors:
        if write.delete:
            del part.actors[write.actor]
    for write in commit.actors:
        if not write.delete:
            _apply_write(part, write)
    for message_id in commit.delete_messages:
        del part.messages[message_id]
    for message_id, reason in commit.park_messages:
        part.messages[message_id] = part.messages[message_id]._replace(parked=reason)
    part.messages.update((message.id, message) for message in commit.put_messages)
    _apply_links(part, commit)


def _apply_links(part: _Partition, commit: Commit) -> None:
    part.outbox.update(((entry.destination, entry.id), entry) for entry in commit.put_outbox)
    for destination, last in commit.trim_outbox:
        for place in [p for p in part.outbox if p[0] == destination and p[1] <= last]:
            del part.outbox[place]
    part.marks.update((mark.source, mark) for mark in commit.put_marks)
    part.cursor = commit.cursor or part.cursor


def _apply_write(part: _Partition, write: ActorWrite) -> None:
    if write.create:
        part.actors[write.actor] = _StoredActor(write.actor, write.number)
    stored = part.actors[write.actor]
    if write.summary is not None:
        stored.summary = write.summary
    stored.fields.update(write.put_fields)
    _drop(stored.fields, write.delete_fields)
    if write.log_reset:
        stored.log.clear()
    stored.log.extend(write.log_append)
    stored.reminders.update((reminder.name, reminder) for reminder in write.put_reminders)
    _drop(stored.reminders, write.delete_reminders)


def _drop(items: dict[str, bytes] | dict[str, Reminder], names: Iterable[str]) -> None:
    for name in names:
        items.pop(name, None)
