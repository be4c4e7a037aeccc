"""What SQLite's errors mean to a caller, in words a person can act on."""

from __future__ import annotations

import sqlite3

from actorflow.actors.errors import CorruptError, StoreUnavailableError

_CAUSES = {
    sqlite3.SQLITE_FULL: "the disk is full, or the database has reached its size limit; free space",
    sqlite3.SQLITE_IOERR: "the disk does not answer, or its file system has no space left",
    sqlite3.SQLITE_BUSY: "another program holds a lock on the file; end that program",
    sqlite3.SQLITE_LOCKED: "another program holds a lock on the file; end that program",
    sqlite3.SQLITE_READONLY: "the file or its directory is read-only; make it writable",
    sqlite3.SQLITE_CANTOPEN: "the file or its directory cannot be opened; check path and owner",
    sqlite3.SQLITE_PERM: "access is denied; check the owner of the file",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
}

_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}

REFUSED_DATA = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeEncodeError,
)
"""Raised by a statement whose values break a constraint or cannot be stored: the commit is BAD."""


def primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, 0 when the error came from the Python module."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def translated(
    error: sqlite3.Error, path: object, *, written: bool | None
) -> StoreUnavailableError | CorruptError:
    """Return our error for one of SQLite's. `written` is as in `StoreUnavailableError`."""
    code = primary_code(error)
    if code in _CORRUPT:
        return CorruptError(f"{path} is damaged or not a SQLite database ({error}); kept as it is")
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    cause = _CAUSES.get(code, "SQLite gave up")
    return StoreUnavailableError(f"{path}: {cause} ({name}: {error})", written=written)
