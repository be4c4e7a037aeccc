"""Moves instances from one store to another by way of a file: this is the export, and
`archive_import` the rest of the way.

Running instances go on where they were: what waits for them (messages, reminders, requests for a
worker) travels with them. Numbers, message ids and partitions are given anew by the receiving
store. Whoever imports and then lets both stores run has every instance twice.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from actorflow.actors.address import ActorId, partition_of
from actorflow.actors.ports import MessageRow, Query
from actorflow.workflow.apps import instance_types
from actorflow.workflow.archive_format import (
    VERSION,
    ArchiveError,
    End,
    Header,
    InstanceLine,
    MessagesLine,
    app_name,
    encode_line,
    instance_line,
    message_lines,
)
from actorflow.workflow.fsck import GROUP, HORIZON_MS, PAGE
from actorflow.workflow.fsck_rows import is_instance, not_arrived
from actorflow.workflow.outbound import SPREAD
from actorflow.workflow.requests import (
    ACTIVITY,
    INSTANCE,
    WORKER,
    WorkerWanted,
    WorkItem,
    instance_type,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from actorflow.actors.clock import Clock
    from actorflow.actors.ports import ActorRecord, PartitionStore, Recovery, Reminder


class Selection(NamedTuple):
    """Which instances to export; every member that is set must match."""

    statuses: tuple[str, ...] = ()
    id_prefix: str = ""

    def __str__(self) -> str:
        parts = [f"status {'/'.join(self.statuses)}"] if self.statuses else []
        parts += [f"ids that begin with {self.id_prefix!r}"] if self.id_prefix else []
        return ", ".join(parts) or "everything"


EVERYTHING = Selection()
"""Selects all instances."""


@dataclass(slots=True)
class Count:
    """How much was exported or imported; `skipped` instances were there already."""

    instances: int = 0
    messages: int = 0
    reminders: int = 0
    skipped: int = 0


# ---- export --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Rows:
    """What waits, by instance."""

    messages: dict[ActorId, list[MessageRow]] = field(default_factory=lambda: defaultdict(list))
    reminders: dict[ActorId, list[Reminder]] = field(default_factory=lambda: defaultdict(list))


async def export_instances(
    store: PartitionStore,
    partition_count: int,
    write: Callable[[bytes], object],
    clock: Clock,
    *,
    selection: Selection = EVERYTHING,
    progress: Callable[[int], None] = lambda count: None,
) -> Count:
    """Write an archive, line by line.

    What is exported is one state of the store only while no host runs; `OfflineStore` sees to that.

    Raises:
        StoreUnavailableError: the archive is incomplete; begin anew.
        ArchiveError: an instance cannot be exported; the text says why.
    """
    rows = await _rows(store, partition_count)
    created = datetime.fromtimestamp(clock.now_ns() // 10**9, tz=UTC).isoformat()
    write(encode_line(Header(version=VERSION, created=created, selection=str(selection))))
    count = Count()
    senders = {r.sender for rs in rows.messages.values() for r in rs if r.sender is not None}
    exported_senders: set[ActorId] = set()
    types = await instance_types(store, {actor.type for actor in rows.messages})
    async for records in _selected(store, partition_count, types, selection):
        for record in records:
            key = record.actor
            line = _line_of(record, rows.reminders.pop(key, []), rows.messages.pop(key, []))
            write(encode_line(line))
            count.instances += 1
            count.messages += len(line.messages)
            count.reminders += len(line.reminders)
            if key in senders:
                exported_senders.add(key)
        progress(count.instances)
    for key, loose in await _loose(store, partition_count, rows):
        if wanted := [row for row in loose if _travels(row, selection, exported_senders)]:
            line_app, lines = app_name(key.type), message_lines(key.key, wanted)
            write(encode_line(MessagesLine(id=key.key, app=line_app, messages=lines)))
            count.messages += len(wanted)
    write(encode_line(End(instances=count.instances, messages=count.messages)))
    return count


async def _rows(store: PartitionStore, partition_count: int) -> _Rows:
    rows = _Rows()
    recoveries: list[Recovery] = []
    for partition in range(partition_count):
        recovery = await store.recover(partition, horizon_ms=HORIZON_MS)
        for row in recovery.messages:
            _add(rows, row)
        for due in recovery.reminders:
            if is_instance(due.actor):
                rows.reminders[due.actor].append(due.reminder)
        recoveries.append(recovery._replace(messages=(), reminders=()))
    marks = {(to, mark.source): mark for to, rec in enumerate(recoveries) for mark in rec.marks}
    for source, recovery in enumerate(recoveries):
        for entry in not_arrived(source, recovery.outbox, marks):
            _add(rows, MessageRow(0, entry.target, entry.method, entry.payload, entry.sender))
    return rows


def _add(rows: _Rows, row: MessageRow) -> None:
    if row.target.type in (ACTIVITY, WORKER) or is_instance(row.target):
        rows.messages[_instance_of(row)].append(row)


def _instance_of(row: MessageRow) -> ActorId:
    """Return the instance that a message is for, or that has asked for the work."""
    if is_instance(row.target):
        return row.target
    try:
        if row.target.type == WORKER:
            app_id = unpack(WorkerWanted, row.payload).app_id
            return ActorId(instance_type(app_id), row.target.key)
        item = unpack(WorkItem, row.payload)
        return ActorId(item.asker_type, item.instance_id)
    except msgspec.MsgspecError:
        return ActorId(INSTANCE, row.target.key.partition(SPREAD)[0])


async def _selected(
    store: PartitionStore, partition_count: int, types: Iterable[str], selection: Selection
) -> AsyncIterator[list[ActorRecord]]:
    for actor_type in types:
        after = ""
        while True:
            page = await store.find(
                Query(
                    actor_type,
                    PAGE,
                    after=after,
                    phases=selection.statuses,
                    key_prefix=selection.id_prefix,
                )
            )
            for start in range(0, len(page), GROUP):
                actors = [record.actor for record in page[start : start + GROUP]]
                yield await _load(store, partition_count, actors)
            if len(page) < PAGE:
                break
            after = page[-1].actor.key


async def _load(
    store: PartitionStore, partition_count: int, actors: Iterable[ActorId]
) -> list[ActorRecord]:
    ordered = list(actors)
    by_partition: dict[int, list[ActorId]] = defaultdict(list)
    for actor in ordered:
        by_partition[partition_of(actor, partition_count)].append(actor)
    found: dict[ActorId, ActorRecord] = {}
    for partition, mine in by_partition.items():
        for record in await store.load(partition, mine, with_log=True):
            if record is not None:
                found[record.actor] = record
    return [found[actor] for actor in ordered if actor in found]


def _line_of(
    record: ActorRecord, reminders: list[Reminder], messages: list[MessageRow]
) -> InstanceLine:
    if record.summary is None:
        raise ArchiveError(
            f"instance {record.actor.key!r} is half-made: it has no status. Run fsck, or select "
            "others"
        )
    return instance_line(
        record.actor,
        record.summary,
        record.fields,
        record.log,
        reminders=reminders,
        messages=messages,
    )


async def _loose(
    store: PartitionStore, partition_count: int, rows: _Rows
) -> list[tuple[ActorId, list[MessageRow]]]:
    """Return the messages to ids without an instance."""
    keys = sorted(rows.messages)
    existing: set[ActorId] = set()
    for start in range(0, len(keys), GROUP):
        records = await _load(store, partition_count, keys[start : start + GROUP])
        existing.update(record.actor for record in records)
    return [(key, rows.messages[key]) for key in keys if key not in existing]


def _travels(row: MessageRow, selection: Selection, senders: set[ActorId]) -> bool:
    if row.sender is not None and row.sender in senders:
        return True
    return not selection.statuses and row.target.key.startswith(selection.id_prefix)
