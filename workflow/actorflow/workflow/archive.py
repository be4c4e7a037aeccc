"""Moves instances from one store to another by way of a file: export and import.

Running instances go on where they were: what waits for them (messages, reminders, requests for a
worker) travels with them. Numbers, message ids and partitions are given anew by the receiving
store. Whoever imports and then lets both stores run has every instance twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from actorflow.actors.address import ActorId, partition_of
from actorflow.actors.errors import InvariantError
from actorflow.actors.ports import ActorWrite, MessageRow, Query
from actorflow.workflow.archive_format import (
    VERSION,
    ArchiveError,
    End,
    Header,
    InstanceLine,
    MessagesLine,
    bytes_of,
    decode_line,
    encode_line,
    instance_line,
    message_lines,
    reminders_from,
    row_from,
    summary_from,
)
from actorflow.workflow.errors import InvalidRequestError
from actorflow.workflow.fsck import GROUP, HORIZON_MS, PAGE
from actorflow.workflow.fsck_rows import not_arrived
from actorflow.workflow.naming import instance_actor
from actorflow.workflow.requests import ACTIVITY, INSTANCE, WORKER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from actorflow.actors.clock import Clock
    from actorflow.actors.ports import ActorRecord, PartitionStore, Recovery, Reminder
    from actorflow.workflow.archive_format import Line
    from actorflow.workflow.offline import OfflineStore

LINES_AT_ONCE = 1_024
"""Lines that are imported together: some for each partition, so that commits are shared."""

LINES_BYTES = 8 * 1024 * 1024
"""Length of the lines that are imported together, one long line aside."""

COMMIT_ACTORS = 64
"""Instances in one commit."""

COMMIT_BYTES = 256 * 1024
"""Payload after which an import commits."""

COMMIT_LOG_ENTRIES = 1_000
"""Log entries in one commit; a longer history is written in pieces."""


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
    """What waits, by instance id."""

    messages: dict[str, list[MessageRow]] = field(default_factory=lambda: defaultdict(list))
    reminders: dict[str, list[Reminder]] = field(default_factory=lambda: defaultdict(list))


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
    senders = {r.sender.key for rs in rows.messages.values() for r in rs if r.sender is not None}
    exported_senders: set[str] = set()
    async for records in _selected(store, partition_count, selection):
        for record in records:
            key = record.actor.key
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
            write(encode_line(MessagesLine(id=key, messages=message_lines(wanted))))
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
            if due.actor.type == INSTANCE:
                rows.reminders[due.actor.key].append(due.reminder)
        recoveries.append(recovery._replace(messages=(), reminders=()))
    marks = {(to, mark.source): mark for to, rec in enumerate(recoveries) for mark in rec.marks}
    for source, recovery in enumerate(recoveries):
        for entry in not_arrived(source, recovery.outbox, marks):
            _add(rows, MessageRow(0, entry.target, entry.method, entry.payload, entry.sender))
    return rows


def _add(rows: _Rows, row: MessageRow) -> None:
    if row.target.type in (INSTANCE, ACTIVITY, WORKER):
        rows.messages[row.target.key].append(row)


async def _selected(
    store: PartitionStore, partition_count: int, selection: Selection
) -> AsyncIterator[list[ActorRecord]]:
    after = ""
    while True:
        page = await store.find(
            Query(
                INSTANCE,
                PAGE,
                after=after,
                phases=selection.statuses,
                key_prefix=selection.id_prefix,
            )
        )
        for start in range(0, len(page), GROUP):
            keys = [record.actor.key for record in page[start : start + GROUP]]
            yield await _load(store, partition_count, keys)
        if len(page) < PAGE:
            return
        after = page[-1].actor.key


async def _load(store: PartitionStore, partition_count: int, keys: list[str]) -> list[ActorRecord]:
    by_partition: dict[int, list[ActorId]] = defaultdict(list)
    for key in keys:
        actor = ActorId(INSTANCE, key)
        by_partition[partition_of(actor, partition_count)].append(actor)
    found: dict[str, ActorRecord] = {}
    for partition, actors in by_partition.items():
        for record in await store.load(partition, actors, with_log=True):
            if record is not None:
                found[record.actor.key] = record
    return [found[key] for key in keys if key in found]


def _line_of(
    record: ActorRecord, reminders: list[Reminder], messages: list[MessageRow]
) -> InstanceLine:
    if record.summary is None:
        raise ArchiveError(
            f"instance {record.actor.key!r} is half-made: it has no status. Run fsck, or select "
            "others"
        )
    return instance_line(
        record.actor.key,
        record.summary,
        record.fields,
        record.log,
        reminders=reminders,
        messages=messages,
    )


async def _loose(
    store: PartitionStore, partition_count: int, rows: _Rows
) -> list[tuple[str, list[MessageRow]]]:
    """Return the messages to ids without an instance."""
    keys = sorted(rows.messages)
    existing: set[str] = set()
    for start in range(0, len(keys), GROUP):
        records = await _load(store, partition_count, keys[start : start + GROUP])
        existing.update(record.actor.key for record in records)
    return [(key, rows.messages[key]) for key in keys if key not in existing]


def _travels(row: MessageRow, selection: Selection, senders: set[str]) -> bool:
    if row.sender is not None and row.sender.key in senders:
        return True
    return not selection.statuses and row.target.key.startswith(selection.id_prefix)


# ---- import --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Batch:
    """What the next commit of one partition writes."""

    actors: list[ActorWrite] = field(default_factory=list)
    messages: list[MessageRow] = field(default_factory=list)
    size_bytes: int = 0


class Importer:
    """Reads one archive into a store that nobody else uses.

    Can be repeated: with `skip_existing` what is there already is left as it is, half-made
    instances of an import that was cut off are made anew, and messages are not doubled.

    Concurrency: one `read` at a time.
    """

    def __init__(
        self,
        owned: OfflineStore,
        *,
        skip_existing: bool = False,
        progress: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._owned = owned
        self._skip_existing = skip_existing
        self._progress = progress
        self._batches: dict[int, _Batch] = {}
        self._pending: dict[int, Counter[tuple[ActorId, str, bytes]]] = {}
        self.count = Count()

    async def read(self, lines: Iterable[bytes]) -> Count:
        """Import all lines.

        Raises:
            ArchiveError: not an archive, cut off, or an instance exists already. What came before
                is imported.
            StoreUnavailableError, FencedOutError: as `OfflineStore.commit`.
        """
        numbered = enumerate(lines, 1)
        _check_header(numbered)
        read = Count()
        while group := list(_some(numbered)):
            decoded = [(number, decode_line(data, number)) for number, data in group]
            ends = [line for _, line in decoded if isinstance(line, End)]
            await self._take(decoded, read)
            if ends:
                await self._flush_all()
                _check_end(ends[0], read, is_last=isinstance(decoded[-1][1], End))
                return self.count
            self._progress(self.count.instances)
        await self._flush_all()
        raise ArchiveError("the archive was cut off: its last line is missing; import it again")

    async def _take(self, decoded: list[tuple[int, Line]], read: Count) -> None:
        instances = [(n, line) for n, line in decoded if isinstance(line, InstanceLine)]
        existing = await self._existing(instances)
        seen: set[str] = set()
        for number, line in decoded:
            match line:
                case InstanceLine():
                    read.instances += 1
                    read.messages += len(line.messages)
                    if line.id in seen:
                        raise ArchiveError(f"line {number}: instance {line.id!r} comes twice")
                    seen.add(line.id)
                    await self._instance(number, line, existing.get(line.id))
                case MessagesLine():
                    read.messages += len(line.messages)
                    await self._loose(number, line)
                case Header():
                    raise ArchiveError(f"line {number} is a second header")
        # The next group asks the store what exists.
        await self._flush_all()

    async def _existing(self, lines: list[tuple[int, InstanceLine]]) -> dict[str, ActorRecord]:
        by_partition: dict[int, list[ActorId]] = defaultdict(list)
        for number, line in lines:
            actor = _actor(number, line.id)
            by_partition[self._owned.partition_of(actor)].append(actor)
        found: dict[str, ActorRecord] = {}
        for partition, actors in by_partition.items():
            records = await self._owned.store.load(partition, actors, with_log=False)
            found |= {record.actor.key: record for record in records if record is not None}
        return found

    async def _instance(self, number: int, line: InstanceLine, old: ActorRecord | None) -> None:
        actor = ActorId(INSTANCE, line.id)
        partition = self._owned.partition_of(actor)
        if old is not None and old.summary is not None:
            if self._skip_existing:
                self.count.skipped += 1
                return
            raise ArchiveError(
                f"line {number}: instance {line.id!r} exists already; skip those with "
                "--skip-existing, or purge it"
            )
        if old is not None:
            await self._commit(partition, [ActorWrite(actor, old.number, delete=True)], [])
        try:
            write, log = self._write_of(partition, actor, line)
            rows = self._rows_of(partition, line)
        except ArchiveError as error:
            raise ArchiveError(f"line {number}: {error}") from error
        size_bytes = len(line.head) if isinstance(line.head, str) else 0
        size_bytes += sum(len(value) for _, value in write.put_fields) + sum(map(len, log))
        size_bytes += sum(len(row.payload) for row in rows)
        if len(log) > COMMIT_LOG_ENTRIES or size_bytes > COMMIT_BYTES:
            write = await self._write_log(partition, write, log)
        else:
            write = write._replace(log_append=tuple(log))
        await self._add(partition, write, rows, size_bytes)
        self.count.instances += 1
        self.count.messages += len(rows)
        self.count.reminders += len(write.put_reminders)

    def _write_of(
        self, partition: int, actor: ActorId, line: InstanceLine
    ) -> tuple[ActorWrite, list[bytes]]:
        write = ActorWrite(
            actor,
            self._owned.next_actor_number(partition),
            create=True,
            summary=summary_from(line),
            put_fields=tuple((name, bytes_of(value)) for name, value in line.fields.items()),
            put_reminders=reminders_from(line),
        )
        return write, [bytes_of(entry) for entry in line.log]

    def _rows_of(self, partition: int, line: InstanceLine | MessagesLine) -> list[MessageRow]:
        return [
            row_from(line.id, message, self._owned.next_message_id(partition))
            for message in line.messages
        ]

    async def _write_log(self, partition: int, write: ActorWrite, log: list[bytes]) -> ActorWrite:
        """Write a long log in pieces; the instance is half-made until its summary follows."""
        await self._flush(partition)  # numbers rise from commit to commit
        bare = ActorWrite(write.actor, write.number, create=True)
        start = 0
        for piece in _pieces(log):
            bare = bare._replace(log_start=start, log_append=tuple(piece))
            await self._commit(partition, [bare], [])
            bare = bare._replace(create=False)
            start += len(piece)
        return write._replace(create=bare.create)

    async def _loose(self, number: int, line: MessagesLine) -> None:
        partition = self._owned.partition_of(_actor(number, line.id))
        await self._flush(partition)
        if partition not in self._pending:
            recovery = await self._owned.store.recover(partition, horizon_ms=0)
            self._pending[partition] = Counter(
                (row.target, row.method, row.payload) for row in recovery.messages
            )
        for row in self._rows_of(partition, line):
            name = (row.target, row.method, row.payload)
            if self._pending[partition][name] > 0:
                self._pending[partition][name] -= 1  # an import that was cut off wrote it
            else:
                await self._add(partition, None, [row], len(row.payload))
                self.count.messages += 1

    # ---- committing ----------------------------------------------------------------------------

    async def _add(
        self, partition: int, write: ActorWrite | None, rows: list[MessageRow], size_bytes: int
    ) -> None:
        batch = self._batches.setdefault(partition, _Batch())
        is_full = batch.size_bytes and batch.size_bytes + size_bytes > COMMIT_BYTES
        if is_full or len(batch.actors) >= COMMIT_ACTORS:
            await self._flush(partition)
            batch = self._batches.setdefault(partition, _Batch())
        if write is not None:
            batch.actors.append(write)
        batch.messages += rows
        batch.size_bytes += size_bytes

    async def _flush_all(self) -> None:
        await asyncio.gather(*(self._flush(partition) for partition in list(self._batches)))

    async def _flush(self, partition: int) -> None:
        batch = self._batches.pop(partition, None)
        if batch is not None:
            await self._commit(partition, batch.actors, batch.messages)

    async def _commit(
        self, partition: int, actors: list[ActorWrite], rows: list[MessageRow]
    ) -> None:
        try:
            await self._owned.commit(partition, actors=tuple(actors), put_messages=tuple(rows))
        except InvariantError as error:
            ids = ", ".join(repr(write.actor.key) for write in actors[:3])
            raise ArchiveError(
                f"the store refuses what the archive holds, at instance {ids}: {error}; was the "
                "file changed by hand?"
            ) from error


def _some(numbered: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    size_bytes = 0
    for number, data in islice(numbered, LINES_AT_ONCE):
        yield number, data
        size_bytes += len(data)
        if size_bytes >= LINES_BYTES:
            return


def _actor(number: int, instance_id: str) -> ActorId:
    try:
        return instance_actor(instance_id)
    except InvalidRequestError as error:
        raise ArchiveError(f"line {number}: {error}") from error


def _pieces(log: list[bytes]) -> Iterator[list[bytes]]:
    piece: list[bytes] = []
    size_bytes = 0
    for entry in log:
        if piece and (len(piece) == COMMIT_LOG_ENTRIES or size_bytes + len(entry) > COMMIT_BYTES):
            yield piece
            piece, size_bytes = [], 0
        piece.append(entry)
        size_bytes += len(entry)
    if piece:
        yield piece


def _check_header(numbered: Iterator[tuple[int, bytes]]) -> None:
    number, data = next(numbered, (1, b""))
    try:
        header = decode_line(data, number)
    except ArchiveError:
        header = None
    if not isinstance(header, Header):
        raise ArchiveError("this is no actorflow archive: its first line is not a header")
    if header.version > VERSION:
        raise ArchiveError(
            f"the archive has version {header.version} of a newer actorflow, this one reads up to "
            f"{VERSION}; upgrade"
        )


def _check_end(end: End, read: Count, *, is_last: bool) -> None:
    if not is_last or (end.instances, end.messages) != (read.instances, read.messages):
        raise ArchiveError(
            f"the archive has {read.instances} instances and {read.messages} messages, and says "
            f"it has {end.instances} and {end.messages}: lines are missing or were added"
        )
