"""The file format: tables, identity and how a connection is made. Layout reasons: docs/adr/0003."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from actorflow.actors.errors import CorruptError, StoreUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID = 0x41464C57
"""`AFLW`, in the header of every file of ours."""

FORMAT_LEVEL = 1
"""Grows with each change that an older release cannot read; stored as SQLite's `user_version`."""

OLDEST_SQLITE = (3, 37, 0)
"""The first with STRICT tables, which refuse a value of the wrong type."""

PAGE_BYTES = 4096
"""Page size of new files; those that exist keep theirs, and any is read. See docs/adr/0003."""

WRITER_CACHE_KIB = 32 * 1024
"""Pages the writer keeps in memory: the tails of the tables and a few ten thousand actors."""

READER_CACHE_KIB = 8 * 1024
"""Pages each reading connection keeps in memory."""

OPEN_WAIT_S = 2.0
"""How long opening waits for another program's lock. Later nothing waits: the loop would."""

SCHEMA = (
    """
    CREATE TABLE partition (
        number INTEGER PRIMARY KEY,
        epoch INTEGER NOT NULL,
        token TEXT,
        seq INTEGER NOT NULL,
        commit_id TEXT NOT NULL,
        next_actor_number INTEGER NOT NULL,
        next_message_id INTEGER NOT NULL,
        abandoned INTEGER NOT NULL DEFAULT 0
    ) STRICT
    """,
    """
    CREATE TABLE actor (
        number INTEGER PRIMARY KEY,
        type TEXT NOT NULL,
        key TEXT NOT NULL,
        log_length INTEGER NOT NULL,
        label TEXT,
        phase TEXT,
        created_ms INTEGER,
        updated_ms INTEGER,
        head BLOB
    ) STRICT
    """,
    "CREATE UNIQUE INDEX actor_key ON actor (type, key)",
    "CREATE INDEX actor_phase ON actor (type, phase, key) WHERE phase IS NOT NULL",
    # One row an append. Rows are written in the order of time, so that a batch touches the last
    # pages of the table and not one page an actor; the index is a tenth of the size.
    """
    CREATE TABLE log (
        id INTEGER PRIMARY KEY,
        actor INTEGER NOT NULL,
        start INTEGER NOT NULL,
        entries BLOB NOT NULL
    ) STRICT
    """,
    "CREATE UNIQUE INDEX log_actor ON log (actor, start)",
    """
    CREATE TABLE field (
        actor INTEGER NOT NULL,
        name TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (actor, name)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE reminder (
        actor INTEGER NOT NULL,
        name TEXT NOT NULL,
        due_ms INTEGER NOT NULL,
        period_ms INTEGER NOT NULL,
        payload BLOB NOT NULL,
        PRIMARY KEY (actor, name)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX reminder_due ON reminder (due_ms, actor, name)",
    """
    CREATE TABLE message (
        id INTEGER PRIMARY KEY,
        target_type TEXT NOT NULL,
        target_key TEXT NOT NULL,
        method TEXT NOT NULL,
        payload BLOB NOT NULL,
        sender_type TEXT,
        sender_key TEXT,
        parked TEXT NOT NULL
    ) STRICT
    """,
    "INSERT INTO partition VALUES (0, 0, NULL, 0, '', 1, 1, 0)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT_LEVEL}",
)


def prepare_directory(path: Path) -> None:
    """Create the directory of the database.

    Raises:
        StoreUnavailableError: the system refuses, or its SQLite is too old.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise StoreUnavailableError(
            f"SQLite {sqlite3.sqlite_version} is too old; install {oldest} or newer", written=False
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise refused(path.parent, error) from error


def prepare_file(path: Path) -> None:
    """Create the file if there is none, and let only its owner read it.

    SQLite gives its log and its shared-memory file the mode of the database.

    Raises:
        StoreUnavailableError: the system refuses.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise refused(path, error) from error


def refused(path: Path, error: OSError) -> StoreUnavailableError:
    """Return our error for what the system says of a file. Nothing was written."""
    return StoreUnavailableError(
        f"cannot use {path}: {error.strerror}; check the path and who owns it", written=False
    )


def connect_writer(
    path: Path, *, synchronous: str, wal_limit_bytes: int, factory: type[sqlite3.Connection]
) -> sqlite3.Connection:
    """Open the one connection that writes; create or check the format first.

    Raises:
        CorruptError: a foreign file, or a format newer than this release.
        StoreUnavailableError: no write-ahead log is possible here.
        sqlite3.Error: everything else.
    """
    connection = _connect(path, factory, WRITER_CACHE_KIB)
    try:
        _check_format(connection, path)
        _use_log(connection, path)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        # The log is cut to this size when it starts again from its beginning; so a longer file
        # means that there is that much to checkpoint (see `checkpoint`).
        connection.execute(f"PRAGMA journal_size_limit = {wal_limit_bytes}")
        # Zero what is purged where that costs no extra page.
        connection.execute("PRAGMA secure_delete = FAST")
        connection.execute("PRAGMA busy_timeout = 0")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_log(connection: sqlite3.Connection, path: Path) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreUnavailableError(
            f"{path} cannot have a write-ahead log; it must be on a local disk", written=False
        )


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that only reads. Raises sqlite3.Error."""
    connection = _connect(path, sqlite3.Connection, READER_CACHE_KIB)
    connection.execute("PRAGMA query_only = ON")
    return connection


def connect_checkpointer(path: Path, *, synchronous: str) -> sqlite3.Connection:
    """Open the connection that moves pages from the log into the database. Raises sqlite3.Error."""
    connection = _connect(path, sqlite3.Connection, READER_CACHE_KIB)
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def _connect(path: Path, factory: type[sqlite3.Connection], cache_kib: int) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path,
        timeout=OPEN_WAIT_S,
        isolation_level=None,  # transactions are begun and ended by us
        check_same_thread=False,  # `store` sees to it that one thread at a time uses it
        factory=factory,
    )
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    return connection


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    level = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application_id == 0 and level == 0 and tables == 0:
        _create(connection)
    elif application_id != APPLICATION_ID:
        raise CorruptError(
            f"{path} is a SQLite database of another program; give actorflow a file of its own"
        )
    elif level > FORMAT_LEVEL:
        raise CorruptError(
            f"{path} has format level {level} of a newer actorflow, this one reads up to "
            f"{FORMAT_LEVEL}; upgrade, or use another file"
        )
    else:
        _add_columns(connection)


def _add_columns(connection: sqlite3.Connection) -> None:
    """Add what a file of an earlier release lacks; that release can still use the file."""
    names = [row[1] for row in connection.execute("PRAGMA table_info(partition)")]
    if "abandoned" not in names:
        connection.execute("ALTER TABLE partition ADD COLUMN abandoned INTEGER NOT NULL DEFAULT 0")


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
