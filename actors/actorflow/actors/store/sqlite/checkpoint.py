"""Keeps the write-ahead log short without making a commit wait for the disk.

The bulk is copied by a thread and connection of their own while commits go on. What was committed
meanwhile is little; it is copied in a moment when the writer stands still, because the log only
starts again from its beginning when nothing is left to copy.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from actorflow.actors.store.sqlite.threads import settled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_log = logging.getLogger(__name__)

BACKLOG_FACTOR = 4
"""Growth during one checkpoint, in units of its limit, after which commits wait for its end."""


class Checkpointer:
    """Starts a checkpoint whenever the log has grown by `limit_bytes`.

    `pause_writer` runs a function while no commit runs, and returns its future. The connection is
    owned by this object. It has read already, so the log exists, and SQLite keeps that very file
    until the connection is closed.

    Raises:
        OSError: the log cannot be opened; the connection is the caller's then.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        database: Path,
        *,
        limit_bytes: int,
        pause_writer: Callable[[Callable[[], bool]], Future[bool]],
    ) -> None:
        self._connection = connection
        log_path = database.with_name(database.name + "-wal")
        self._log_fd = os.open(log_path, os.O_RDONLY | os.O_CLOEXEC)
        self._limit_bytes = limit_bytes
        self._due_bytes = limit_bytes
        self._pause_writer = pause_writer
        self._pool = ThreadPoolExecutor(1, "actorflow-checkpoint")
        self._running: Future[None] | None = None
        self._is_behind = False

    @property
    def has_room(self) -> bool:
        """Whether `wait_room` would not suspend."""
        return not self._is_behind

    async def wait_room(self) -> None:
        """Wait for a checkpoint that the commits outrun. Does not suspend otherwise."""
        if self._is_behind and self._running is not None:
            await settled(self._running)
            self._is_behind = False

    def after_commit(self) -> None:
        """Start a checkpoint if the log is long and none is under way. Costs one `lseek`."""
        log_bytes = self._log_bytes()
        if self._running is not None and not self._running.done():
            self._is_behind = log_bytes > self._due_bytes + BACKLOG_FACTOR * self._limit_bytes
        elif log_bytes > self._due_bytes:
            self._running = self._pool.submit(self._run)

    def close(self) -> None:
        """Finish a checkpoint under way and close the connection. Blocks; not on the event loop."""
        self._pool.shutdown()
        os.close(self._log_fd)
        self._connection.close()

    def _run(self) -> None:
        try:
            self._copy()
            complete = self._pause_writer(self._copy).result()
        except sqlite3.Error as error:
            _log.warning("checkpoint failed, the log stays longer", extra={"cause": str(error)})
            complete = False
        # A reader that still needs old pages, or a full disk: wait for as much growth again. A
        # complete one lets the next commit cut the file, see `journal_size_limit`.
        self._due_bytes = self._limit_bytes + (0 if complete else self._log_bytes())

    def _copy(self) -> bool:
        """Copy what can be copied without waiting; True when it reached the end of its log."""
        _, in_log, copied = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return bool(in_log == copied)

    def _log_bytes(self) -> int:
        return os.lseek(self._log_fd, 0, os.SEEK_END)
