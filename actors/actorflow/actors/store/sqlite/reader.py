"""Reading committed data: on the event loop while that is short, on a thread when it is not."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from actorflow.actors.store.sqlite.faults import primary_code, translated
from actorflow.actors.store.sqlite.threads import settled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

STEP = 1_000
"""Instructions of SQLite's virtual machine between two looks at the budget; a row takes ten."""

LOOP_STEPS_MAX = 20
"""How often `STEP` a read may take on the loop: about two milliseconds, the cost of two hops."""


class Reader:
    """Two connections: one for short reads on the loop, one for long reads on a thread.

    A read sees one committed state, however many statements it has, and never waits for a writer.

    Concurrency: `read` on one event loop; long reads queue behind each other.
    """

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._near = connect()
        self._far = connect()
        self._near.set_progress_handler(self._spend, STEP)
        self._steps_left = 0
        self._pool = ThreadPoolExecutor(1, "actorflow-reader")

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query` in one snapshot; it may run twice.

        Raises:
            StoreUnavailableError: the file cannot be read now.
            CorruptError: the file is damaged.
        """
        self._steps_left = LOOP_STEPS_MAX
        try:
            return _in_snapshot(self._near, query)
        except sqlite3.Error as error:
            if primary_code(error) != sqlite3.SQLITE_INTERRUPT:
                raise translated(error, self._path, written=False) from error
        job = await settled(self._pool.submit(_in_snapshot, self._far, query))
        try:
            return job.result()
        except sqlite3.Error as error:
            raise translated(error, self._path, written=False) from error

    def close(self) -> None:
        """Finish a read under way and close the connections. Blocks; not on the event loop."""
        self._pool.shutdown()
        self._near.close()
        self._far.close()

    def _spend(self) -> bool:
        self._steps_left -= 1
        return self._steps_left < 0


def _in_snapshot(connection: sqlite3.Connection, query: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN")
    try:
        return query(connection)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
