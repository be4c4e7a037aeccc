"""Joins the parts of the embedded store, and decides what runs on the loop and what on a thread.

The work of a commit is done on the event loop: it is a few microseconds a row, and a thread would
have to win the interpreter lock back after every row. What waits for the disk, the COMMIT itself,
goes to the writer's thread when it has to sync or is large.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypeVar

from actorflow.actors.clock import Clock, SystemClock
from actorflow.actors.errors import StoreUnavailableError, UsageError
from actorflow.actors.lease import DEAD, Standing, abandoned_now, next_epoch
from actorflow.actors.ports import Acquired, CommitResult, Held, Lease
from actorflow.actors.query import check_query
from actorflow.actors.store.sqlite import reads, schema
from actorflow.actors.store.sqlite.checkpoint import Checkpointer
from actorflow.actors.store.sqlite.faults import translated
from actorflow.actors.store.sqlite.lock import FileLock
from actorflow.actors.store.sqlite.reader import Reader
from actorflow.actors.store.sqlite.writer import Writer
from actorflow.actors.store.sqlite.writes import (
    apply_commit,
    read_abandoned,
    read_standing,
    write_abandoned,
    write_standing,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from actorflow.actors.address import ActorId
    from actorflow.actors.ports import ActorRecord, Commit, DueReminder, Query, Recovery

Durability: TypeAlias = Literal["local", "fsync"]
"""What survives: with `local` kill -9 of anything, with `fsync` a power cut as well."""

T = TypeVar("T")

INLINE_ROWS_MAX = 1_024
"""Actors and messages up to which a `local` COMMIT stays on the loop: some 5 ms. No batch of the
runtime is larger; on a thread they were slower at every size (docs/adr/0003)."""

WAL_LIMIT_BYTES = 8 * 1024 * 1024
"""Growth of the write-ahead log after which a checkpoint starts; see docs/adr/0003."""


class _Parts(NamedTuple):
    """What exists while the store is open."""

    writer: Writer
    reader: Reader
    checkpointer: Checkpointer


class SqliteStore:
    """`PartitionStore` in one SQLite file, for partition 0 only.

    Args:
        path: the database; its directory is created. Beside it lie `-wal`, `-shm` and `-lock`.
        durability: `local` or `fsync`.
        clock: for leases and epochs only.
        wal_limit_bytes: growth of the write-ahead log between checkpoints.
        connection_factory: class of the writing connection, for tests that inject faults.

    Concurrency: one event loop. One process a file, enforced by a lock; so a lease of another
    process is over with that process, and the time when a lease ends is kept in memory only.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "local",
        clock: Clock | None = None,
        wal_limit_bytes: int = WAL_LIMIT_BYTES,
        connection_factory: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> None:
        # Two names of one file must meet at one lock.
        self._path = Path(path).resolve()
        self._syncs = durability == "fsync"
        self._clock = clock or SystemClock()
        self._wal_limit_bytes = wal_limit_bytes
        self._connection_factory = connection_factory
        self._lock = FileLock(self._path)
        self._parts: _Parts | None = None
        self._until_ms = 0
        self._ttl_ms = 0
        self._standing = Standing()  # of the last commit; see `apply_commit`

    async def open(self) -> None:
        """Take the file; create it or check its format; see `Store.open`. Works on a thread."""
        if self._parts is not None:
            raise UsageError(f"{self._path} is open already")
        self._until_ms = 0
        self._parts = await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """Finish what runs, close the file, give it up; see `Store.close`. Harmless when closed."""
        parts, self._parts = self._parts, None
        if parts is not None:
            await asyncio.shield(asyncio.to_thread(self._close, parts))

    async def acquire(self, partition: int, token: str, *, ttl_ms: int) -> Acquired | Held:
        """Take the partition; see `Ownership.acquire`.

        Raises:
            UsageError: an empty token, or a partition that this store does not have.
        """
        _check_partition(partition)
        if not token:
            raise UsageError("an owner's token must not be empty")
        now_ms = self._now_ms()

        def take(connection: sqlite3.Connection) -> tuple[tuple[Standing, int] | Held, bool]:
            stored = read_standing(connection)
            if stored.token not in (None, token) and self._until_ms > now_ms:
                return Held(str(stored.token), self._until_ms - now_ms, stored.epoch), False
            taken = stored._replace(epoch=next_epoch(stored, now_ms), token=token)
            write_standing(connection, taken)
            abandoned = abandoned_now(stored, token, read_abandoned(connection), now_ms)
            write_abandoned(connection, abandoned)
            return (taken, abandoned), True

        answer = await self._transact(take)
        if isinstance(answer, Held):
            return answer
        taken, abandoned = answer
        self._ttl_ms = ttl_ms
        self._until_ms = now_ms + ttl_ms
        lease = Lease(partition, taken.epoch, token)
        return Acquired(lease, taken.seq, taken.next_actor_number, taken.next_message_id, abandoned)

    async def renew(self, lease: Lease, *, ttl_ms: int) -> bool:
        """Extend the lease; see `Ownership.renew`. Writes nothing."""
        standing = await self._read(read_standing)
        if not _owns(standing, lease):
            return False
        self._ttl_ms = ttl_ms
        self._until_ms = self._now_ms() + ttl_ms
        return True

    async def release(self, lease: Lease, *, dead: bool = False) -> None:
        """Give the partition up; see `Ownership.release`."""

        def give_up(connection: sqlite3.Connection) -> tuple[bool, bool]:
            standing = read_standing(connection)
            ours = _owns(standing, lease)
            if ours:
                write_standing(connection, standing._replace(token=DEAD if dead else None))
            return ours, ours

        if await self._transact(give_up):
            self._until_ms = 0

    async def commit(self, commit: Commit) -> CommitResult:
        """Apply the commit as a whole, or nothing of it; see `Store.commit`.

        Raises:
            CorruptError: the file is damaged; nothing was written.
        """
        if commit.lease.partition != 0:
            return CommitResult.FENCED
        result = await self._transact(partial(self._apply, commit), rows=_rows(commit))
        if result is CommitResult.OK:
            self._until_ms = self._now_ms() + self._ttl_ms
        return result

    def commit_at_once(self, commit: Commit) -> CommitResult | None:
        """See `CommitsAtOnce`: a small commit under `local`, while no other work is under way."""
        parts, rows = self._parts, _rows(commit)
        if (
            parts is None
            or self._syncs
            or commit.lease.partition != 0
            or rows > INLINE_ROWS_MAX
            or not (parts.checkpointer.has_room and parts.writer.is_idle)
        ):
            return None
        result, keep = parts.writer.begin(partial(self._apply, commit))
        if keep:
            parts.writer.commit()
            parts.checkpointer.after_commit()
            self._until_ms = self._now_ms() + self._ttl_ms
        return result

    async def recover(self, partition: int, *, horizon_ms: int) -> Recovery:
        """Read what waits; see `Store.recover`."""
        _check_partition(partition)
        return await self._read(partial(reads.recover, horizon_ms=horizon_ms))

    async def due(
        self, partition: int, *, from_ms: int, until_ms: int, limit: int
    ) -> Sequence[DueReminder]:
        """Read reminders of a window; see `Store.due`."""
        _check_partition(partition)
        return await self._read(
            partial(reads.due, from_ms=from_ms, until_ms=until_ms, limit=max(0, limit))
        )

    async def load(
        self, partition: int, actors: Sequence[ActorId], *, with_log: bool
    ) -> list[ActorRecord | None]:
        """Read many actors; see `Store.load`."""
        _check_partition(partition)
        return await self._read(partial(reads.load, actors=actors, with_log=with_log))

    async def find(self, query: Query) -> list[ActorRecord]:
        """Search; see `Store.find`."""
        check_query(query)
        return await self._read(partial(reads.find, query=query))

    def _apply(self, commit: Commit, connection: sqlite3.Connection) -> tuple[CommitResult, bool]:
        result, self._standing = apply_commit(connection, commit, self._standing)
        return result, result is CommitResult.OK

    async def _transact(
        self, work: Callable[[sqlite3.Connection], tuple[T, bool]], *, rows: int = 1
    ) -> T:
        parts = self._open_parts()
        await parts.checkpointer.wait_room()
        await parts.writer.wait_idle()
        if self._parts is not parts:
            raise self._closed()
        result, keep = parts.writer.begin(work)
        if keep:
            if self._syncs or rows > INLINE_ROWS_MAX:
                await parts.writer.commit_on_thread()
            else:
                parts.writer.commit()
            if self._parts is parts:
                parts.checkpointer.after_commit()
        return result

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return await self._open_parts().reader.read(query)

    def _open_parts(self) -> _Parts:
        if self._parts is None:
            raise self._closed()
        return self._parts

    def _closed(self) -> StoreUnavailableError:
        return StoreUnavailableError(f"{self._path} is not open", written=False)

    def _now_ms(self) -> int:
        return self._clock.now_ns() // 1_000_000

    def _open(self) -> _Parts:
        schema.prepare_directory(self._path)
        with ExitStack() as undo:
            self._lock.acquire()
            undo.callback(self._lock.release)
            schema.prepare_file(self._path)
            try:
                parts = self._connect(undo)
            except sqlite3.Error as error:
                raise translated(error, self._path, written=False) from error
            except OSError as error:
                raise schema.refused(self._path, error) from error
            undo.pop_all()
        return parts

    def _connect(self, undo: ExitStack) -> _Parts:
        synchronous = "FULL" if self._syncs else "NORMAL"
        writer = Writer(
            self._path,
            partial(
                schema.connect_writer,
                self._path,
                synchronous=synchronous,
                wal_limit_bytes=self._wal_limit_bytes,
                factory=self._connection_factory,
            ),
        )
        undo.callback(writer.close)
        reader = Reader(self._path, partial(schema.connect_reader, self._path))
        undo.callback(reader.close)
        connection = schema.connect_checkpointer(self._path, synchronous=synchronous)
        undo.callback(connection.close)
        checkpointer = Checkpointer(
            connection,
            self._path,
            limit_bytes=self._wal_limit_bytes,
            pause_writer=writer.pause,
        )
        return _Parts(writer, reader, checkpointer)

    def _close(self, parts: _Parts) -> None:
        # The writer last: SQLite copies and removes the log when the last connection closes.
        with ExitStack() as stack:
            stack.callback(self._lock.release)
            stack.callback(parts.writer.close)
            stack.callback(parts.reader.close)
            stack.callback(parts.checkpointer.close)


def _rows(commit: Commit) -> int:
    return len(commit.actors) + len(commit.put_messages) + len(commit.delete_messages)


def _owns(standing: Standing, lease: Lease) -> bool:
    return lease.partition == 0 and (standing.epoch, standing.token) == lease[1:]


def _check_partition(partition: int) -> None:
    if partition != 0:
        raise UsageError(f"this store has one partition, 0; there is no partition {partition}")
