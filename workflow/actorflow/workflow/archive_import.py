"""Imports archives that `archive` has written."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from actorflow.actors.address import ActorId
from actorflow.actors.errors import InvariantError
from actorflow.actors.ports import ActorWrite, MessageRow
from actorflow.workflow.apps import APP, NOTED
from actorflow.workflow.archive import Count
from actorflow.workflow.archive_format import (
    VERSION,
    ArchiveError,
    End,
    Header,
    InstanceLine,
    MessagesLine,
    bytes_of,
    decode_line,
    reminders_from,
    row_from,
    summary_from,
)
from actorflow.workflow.errors import InvalidRequestError
from actorflow.workflow.naming import instance_actor
from actorflow.workflow.requests import DEFAULT_APP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from actorflow.actors.ports import ActorRecord
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
        self._noted = {""}
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
        seen: set[tuple[str, str]] = set()
        for number, line in decoded:
            match line:
                case InstanceLine():
                    read.instances += 1
                    read.messages += len(line.messages)
                    if (line.app, line.id) in seen:
                        raise ArchiveError(f"line {number}: instance {line.id!r} comes twice")
                    seen.add((line.app, line.id))
                    await self._instance(number, line, existing.get(_actor(number, line)))
                case MessagesLine():
                    read.messages += len(line.messages)
                    await self._loose(number, line)
                case Header():
                    raise ArchiveError(f"line {number} is a second header")
        # The next group asks the store what exists.
        await self._flush_all()

    async def _existing(self, lines: list[tuple[int, InstanceLine]]) -> dict[ActorId, ActorRecord]:
        by_partition: dict[int, list[ActorId]] = defaultdict(list)
        for number, line in lines:
            actor = _actor(number, line)
            by_partition[self._owned.partition_of(actor)].append(actor)
        found: dict[ActorId, ActorRecord] = {}
        for partition, actors in by_partition.items():
            records = await self._owned.store.load(partition, actors, with_log=False)
            found |= {record.actor: record for record in records if record is not None}
        return found

    async def _instance(self, number: int, line: InstanceLine, old: ActorRecord | None) -> None:
        actor = _actor(number, line)
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
        await self._note(line.app)  # before the instance has its number: numbers rise
        try:
            write, log = self._write_of(partition, actor, line)
            here, elsewhere = self._rows_of(partition, line)
        except ArchiveError as error:
            raise ArchiveError(f"line {number}: {error}") from error
        size_bytes = len(line.head) if isinstance(line.head, str) else 0
        size_bytes += sum(len(value) for _, value in write.put_fields) + sum(map(len, log))
        size_bytes += sum(len(row.payload) for row in here)
        for row in elsewhere:  # before the instance: that it is there says that they are too
            await self._add_once(row)
        if len(log) > COMMIT_LOG_ENTRIES or size_bytes > COMMIT_BYTES:
            write = await self._write_log(partition, write, log)
        else:
            write = write._replace(log_append=tuple(log))
        rows = [row._replace(id=self._owned.next_message_id(partition)) for row in here]
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

    def _rows_of(
        self, partition: int, line: InstanceLine | MessagesLine
    ) -> tuple[list[MessageRow], list[MessageRow]]:
        """Return the messages of a line, without ids: of that partition, and of others."""
        rows = [row_from(line.id, message, 0) for message in line.messages]
        here = [row for row in rows if self._owned.partition_of(row.target) == partition]
        return here, [row for row in rows if row not in here]

    async def _note(self, app: str) -> None:
        """See to it that an app is on record; see `apps`."""
        if app in self._noted:
            return
        self._noted.add(app)
        actor = ActorId(APP, app)
        partition = self._owned.partition_of(actor)
        (known,) = await self._owned.store.load(partition, [actor], with_log=False)
        if known is None:
            await self._flush(partition)
            number = self._owned.next_actor_number(partition)
            await self._commit(partition, [ActorWrite(actor, number, True, summary=NOTED)], [])

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
        here, elsewhere = self._rows_of(self._owned.partition_of(_actor(number, line)), line)
        for row in (*here, *elsewhere):
            await self._add_once(row)

    async def _add_once(self, row: MessageRow) -> None:
        """Import a message that belongs to no instance's commit, unless an import that was cut off
        wrote it."""
        partition = self._owned.partition_of(row.target)
        await self._flush(partition)
        if partition not in self._pending:
            recovery = await self._owned.store.recover(partition, horizon_ms=0)
            self._pending[partition] = Counter(
                (known.target, known.method, known.payload) for known in recovery.messages
            )
        name = (row.target, row.method, row.payload)
        if self._pending[partition][name] > 0:
            self._pending[partition][name] -= 1
            return
        row = row._replace(id=self._owned.next_message_id(partition))
        await self._add(partition, None, [row], len(row.payload))
        await self._flush(partition)
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


def _actor(number: int, line: InstanceLine | MessagesLine) -> ActorId:
    try:
        return instance_actor(line.id, line.app or DEFAULT_APP)
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
