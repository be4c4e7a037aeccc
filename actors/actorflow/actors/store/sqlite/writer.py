"""The one connection that writes, and the one thread on which its COMMITs may wait for the disk."""

from __future__ import annotations

import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from actorflow.actors.store.sqlite.faults import translated
from actorflow.actors.store.sqlite.threads import settled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


class Writer:
    """Transactions on one connection, one at a time.

    A failed transaction is rolled back and leaves the connection as good as new; if even that
    fails, the connection is replaced by `connect` before its next use.

    Concurrency: `begin` and `commit` run on the event loop, after `wait_idle` and without an await
    in between. `commit_on_thread` and `pause` use the writer's thread.
    """

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._connect = connect
        self._connection: sqlite3.Connection | None = connect()
        self._pool = ThreadPoolExecutor(1, "actorflow-writer")
        self._commit_job: Future[None] | None = None
        self._pause_job: Future[bool] | None = None

    async def wait_idle(self) -> None:
        """Wait until no COMMIT and no pause is under way. Does not suspend when there is none."""
        while not self.is_idle:
            if self._commit_job is not None:
                await settled(self._commit_job)
            if self._pause_job is not None:
                await settled(self._pause_job)

    def begin(self, work: Callable[[sqlite3.Connection], tuple[T, bool]]) -> tuple[T, bool]:
        """Open a transaction and run `work`, which returns its result and whether to keep it.

        Unless it is kept, the transaction is rolled back.

        Raises:
            StoreUnavailableError: `written` is False; rolled back.
            CorruptError: the file is damaged; rolled back.
        """
        try:
            connection = self._usable()
            connection.execute("BEGIN IMMEDIATE")
            result, keep = work(connection)
        except sqlite3.Error as error:
            self._abandon()
            raise translated(error, self._path, written=False) from error
        except BaseException:
            self._abandon()
            raise
        if not keep:
            self._abandon()
        return result, keep

    def commit(self) -> None:
        """Make the open transaction durable.

        Raises:
            StoreUnavailableError: `written` is None, because the log may hold the transaction
                although the disk refused to confirm it.
        """
        try:
            self._usable().execute("COMMIT")
        except sqlite3.Error as error:
            self._abandon()
            raise translated(error, self._path, written=None) from error

    async def commit_on_thread(self) -> None:
        """Do `commit` on the writer's thread. It goes on when the caller is cancelled."""
        self._commit_job = self._pool.submit(self.commit)
        (await settled(self._commit_job)).result()

    def pause(self, work: Callable[[], bool]) -> Future[bool]:
        """Run `work` on the writer's thread; transactions wait for its end. Callable on any thread.

        One that has begun already may overlap with `work`.
        """
        self._pause_job = self._pool.submit(work)
        return self._pause_job

    def close(self) -> None:
        """Finish what is under way and close the connection. Blocks; not on the event loop."""
        self._pool.shutdown()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def is_idle(self) -> bool:
        """Whether no COMMIT and no pause is under way."""
        commit, pause = self._commit_job, self._pause_job
        return (commit is None or commit.done()) and (pause is None or pause.done())

    def _usable(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _abandon(self) -> None:
        connection = self._connection
        if connection is None:
            return
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        if connection.in_transaction:
            connection.close()
            self._connection = None
